//! Tells the program which build it is: commit, sources and `Cargo.lock`, for `src/build.rs` of the lab.
//!
//! Without git, or outside a repository, the sources' own hash stands for the commit, and that is said.
//! A debug build is not made again for a new commit alone; it keeps saying what it was built from.

#![expect(
    clippy::disallowed_methods,
    reason = "cargo talks to a build script through its environment"
)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// What the results of a run can depend on.
const SOURCES: [&str; 11] = [
    "build.rs",
    "Cargo.toml",
    "src",
    "examples/scenarios/reset-vs-recycle.toml",
    "sim-httpsys/Cargo.toml",
    "sim-httpsys/src",
    "sim-worker/Cargo.toml",
    "sim-worker/src",
    "sim-was/Cargo.toml",
    "sim-was/src",
    "Cargo.lock",
];

fn main() {
    for path in SOURCES {
        println!("cargo::rerun-if-changed={path}");
    }
    let sources = format!("{:08x}", fold(hash_of(&SOURCES)));
    let (commit, is_dirty) = match commit() {
        Some(commit) => (commit, is_dirty()),
        None => (String::new(), false),
    };
    println!("cargo::rustc-env=IIS_SIM_COMMIT={commit}");
    println!("cargo::rustc-env=IIS_SIM_DIRTY={is_dirty}");
    println!("cargo::rustc-env=IIS_SIM_SOURCES={sources}");
    let lock = format!("{:08x}", fold(hash_of(&["Cargo.lock"])));
    println!("cargo::rustc-env=IIS_SIM_LOCK={lock}");
    if env::var("PROFILE").is_ok_and(|profile| profile != "debug") {
        watch_commit();
    }
}

/// The commit that is checked out, 12 digits; `None` if there is no git or this is no repository of ours.
fn commit() -> Option<String> {
    // A package that was unpacked inside somebody else's repository has not that one's commit.
    git(&["ls-files", "--error-unmatch", "build.rs"])?;
    git(&["rev-parse", "--short=12", "HEAD"])
}

fn is_dirty() -> bool {
    let mut words = vec!["status", "--porcelain", "--"];
    words.extend(SOURCES);
    git(&words).is_none_or(|status| !status.is_empty())
}

/// What git prints, if it succeeds.
fn git(words: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .args(words)
        .env("GIT_OPTIONAL_LOCKS", "0")
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// Runs this again after a commit.
fn watch_commit() {
    for file in ["HEAD", "logs/HEAD"] {
        let Some(path) = git(&["rev-parse", "--git-path", file]) else {
            return;
        };
        if Path::new(&path).exists() {
            println!("cargo::rerun-if-changed={path}");
        }
    }
}

/// A number that changes with the name or the contents of any of these files and folders.
fn hash_of(paths: &[&str]) -> u64 {
    let mut files = Vec::new();
    for path in paths {
        collect(Path::new(path), &mut files);
    }
    files.sort();
    let mut hash = 0xcbf2_9ce4_8422_2325;
    for file in files {
        let name = format!("{}\n", file.display());
        hash = fnv(hash, name.as_bytes());
        hash = fnv(hash, &fs::read(&file).unwrap_or_default());
    }
    hash
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) {
    if !path.is_dir() {
        files.push(path.to_owned());
        return;
    }
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        collect(&entry.path(), files);
    }
}

/// Source: Fowler, Noll, Vo: FNV-1a, 64 bits.
fn fnv(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// The same in 32 bits.
fn fold(hash: u64) -> u64 {
    (hash >> 32) ^ (hash & 0xffff_ffff)
}
