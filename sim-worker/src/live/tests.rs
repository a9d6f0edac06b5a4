//! Files below a root and nowhere else; command lines.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::files::{Found, read};
use super::*;
use crate::model::FileOutcome;

fn look(root: &Path, path: &str) -> Option<String> {
    match read(root, &[path.to_owned()], None) {
        Found::Outcome(FileOutcome::Contents { contents, .. }) => {
            Some(String::from_utf8(contents.to_vec()).unwrap())
        }
        Found::Outcome(_) | Found::Large { .. } => None,
    }
}

#[test]
fn names_differ_in_more_than_case_or_not_at_all() {
    let site = tempfile::tempdir().unwrap();
    fs::create_dir_all(site.path().join("Images/Small")).unwrap();
    fs::write(site.path().join("Images/Small/Logo.PNG"), "logo").unwrap();
    assert_eq!(
        look(site.path(), "images/SMALL/logo.png").as_deref(),
        Some("logo")
    );
    assert_eq!(look(site.path(), "images/small/logo.pn"), None);
    fs::write(site.path().join("Images/Small/logo.png"), "exact").unwrap();
    assert_eq!(
        look(site.path(), "Images/Small/logo.png").as_deref(),
        Some("exact")
    );
    assert_eq!(
        look(site.path(), "images/SMALL/LOGO.png").as_deref(),
        Some("logo")
    );
}

#[test]
fn nothing_outside_of_the_site_is_read() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret.txt"), "secret").unwrap();
    let site = outside.path().join("site");
    fs::create_dir(&site).unwrap();
    fs::write(site.join("a.txt"), "a").unwrap();
    symlink("a.txt", site.join("inside.txt")).unwrap();
    symlink("../secret.txt", site.join("up.txt")).unwrap();
    symlink(outside.path().join("secret.txt"), site.join("absolute.txt")).unwrap();
    symlink(outside.path(), site.join("folder")).unwrap();
    symlink("/proc/self", site.join("process")).unwrap();
    assert_eq!(look(&site, "inside.txt").as_deref(), Some("a"));
    for path in [
        "up.txt",
        "UP.txt",
        "absolute.txt",
        "folder/secret.txt",
        "Folder/Secret.txt",
        "../secret.txt",
        "a.txt/../../secret.txt",
        "/etc/passwd",
        "process/environ",
        "..",
        "site/../../secret.txt",
    ] {
        assert_eq!(look(&site, path), None, "{path}");
    }
}

#[test]
fn only_files_are_read() {
    let site = tempfile::tempdir().unwrap();
    fs::create_dir(site.path().join("folder")).unwrap();
    let fifo = site.path().join("fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )
    .unwrap();
    assert_eq!(look(site.path(), "fifo"), None);
    let folder = read(site.path(), &["folder".to_owned()], None);
    assert!(matches!(folder, Found::Outcome(FileOutcome::Directory)));
}

#[test]
fn an_unchanged_file_is_not_read_again_and_a_large_one_elsewhere() {
    let site = tempfile::tempdir().unwrap();
    fs::write(site.path().join("a"), "a").unwrap();
    let first = read(site.path(), &["none".to_owned(), "a".to_owned()], None);
    let Found::Outcome(FileOutcome::Contents {
        candidate: 1,
        stamp,
        ..
    }) = first
    else {
        panic!("{first:?}")
    };
    let again = read(
        site.path(),
        &["none".to_owned(), "a".to_owned()],
        Some((1, stamp)),
    );
    assert!(matches!(again, Found::Outcome(FileOutcome::Unchanged)));
    fs::write(site.path().join("b"), vec![0; 300 << 10]).unwrap();
    assert!(matches!(
        read(site.path(), &["b".to_owned()], None),
        Found::Large { .. }
    ));
}

fn words(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

#[test]
fn a_command_line_is_read() {
    let line = "-ap DefaultAppPool -v v4.0 -l webengine4.dll -a /run/ipm -h /pool.config -w  -m 0 -t 20 -ta 0 -device /run/httpsys";
    let args = Args::parse(&words(line)).unwrap();
    assert_eq!((args.pool.as_str(), args.trace), ("DefaultAppPool", None));
    assert_eq!(
        Args::parse(&words("-ap")),
        Err(ArgsError::NoValue("-ap".into()))
    );
    assert_eq!(
        Args::parse(&words("-x y")),
        Err(ArgsError::Unknown("-x".into()))
    );
    assert_eq!(Args::parse(&words("-ap a")), Err(ArgsError::Missing("-a")));
}

#[test]
fn a_peer_that_goes_with_its_last_word_is_missed() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let mut pipe = pipe::Pipe::new(ours);
    theirs.write_all(b"last").unwrap();
    drop(theirs);
    // Both are one event, and there will be no other.
    pipe.ended = true;
    pipe.read();
    assert!(pipe.more && !pipe.closed);
    pipe.read();
    assert!(pipe.closed);
}
