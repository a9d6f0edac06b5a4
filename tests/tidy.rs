//! The style that a compiler does not check.

use std::path::{Path, PathBuf};

/// Files that may be longer than the limit, and why.
const LONGER_ON_PURPOSE: [&str; 0] = [];
/// Past this, a noun is missing.
const LINES_MAX: usize = 800;

fn sources() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for folder in [
        "src",
        "sim-httpsys/src",
        "sim-worker/src",
        "sim-was/src",
        "examples",
        "benches",
    ] {
        collect(&root.join(folder), &mut found);
    }
    found.sort();
    found
}

fn collect(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
    for entry in std::fs::read_dir(folder)
        .expect("a source folder")
        .flatten()
    {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).expect("a source file");
            found.push((path, text));
        }
    }
}

fn offenders(wrong: impl Fn(&Path, &str) -> bool) -> Vec<PathBuf> {
    let files = sources().into_iter();
    files
        .filter(|(path, text)| wrong(path, text))
        .map(|(path, _)| path)
        .collect()
}

#[test]
fn every_file_says_what_it_is() {
    let silent = offenders(|_, text| !text.starts_with("//! ") || text.starts_with("//! x"));
    assert!(silent.is_empty(), "without a module doc: {silent:?}");
}

#[test]
fn no_file_is_so_long_that_a_noun_is_missing() {
    let long = offenders(|path, text| {
        let expected = LONGER_ON_PURPOSE.iter().any(|name| path.ends_with(name));
        text.lines().count() > LINES_MAX && !expected
    });
    assert!(long.is_empty(), "longer than {LINES_MAX} lines: {long:?}");
}

#[test]
fn models_are_pure() {
    let words = [
        "tokio",
        "std::net::Tcp",
        "std::fs",
        "std::thread",
        "std::env",
        "std::process",
        "SystemTime",
        "std::time::Instant",
        "Mutex",
        "Arc<",
        "rand::",
        "async fn",
    ];
    let impure = offenders(|path, text| {
        let is_model = path.components().any(|part| part.as_os_str() == "model");
        let code = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        is_model
            && code
                .clone()
                .any(|line| words.iter().any(|word| line.contains(word)))
    });
    assert!(
        impure.is_empty(),
        "a model names IO, a clock, a lock or randomness: {impure:?}"
    );
}

#[test]
fn nothing_is_left_undone() {
    let words = ["todo!(", "unimplemented!(", "FIXME", "XXX"];
    let undone = offenders(|_, text| words.iter().any(|word| text.contains(word)));
    assert!(undone.is_empty(), "{undone:?}");
}
