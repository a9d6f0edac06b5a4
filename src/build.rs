//! Which build of iis-sim this is: results of different builds are not to be mixed.
//!
//! The build script of the package finds it out. The identity does not say whether it is a debug or a
//! release build: under the virtual clock both do the same.

use std::fmt;

/// What a build was made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Build {
    /// Version of the package.
    pub version: &'static str,
    /// The commit that was checked out, 12 hexadecimal digits; `None` if it was built outside a
    /// repository or without git.
    pub commit: Option<&'static str>,
    /// Whether the sources differed from the commit.
    pub is_dirty: bool,
    /// A hash of all sources, 8 hexadecimal digits.
    pub sources: &'static str,
    /// A hash of `Cargo.lock`, 8 hexadecimal digits: which libraries.
    pub lock: &'static str,
}

/// The build that is running.
pub const BUILD: Build = Build {
    version: env!("CARGO_PKG_VERSION"),
    commit: match env!("IIS_SIM_COMMIT") {
        commit if commit.is_empty() => None,
        commit => Some(commit),
    },
    is_dirty: matches!(env!("IIS_SIM_DIRTY").as_bytes(), b"true"),
    sources: env!("IIS_SIM_SOURCES"),
    lock: env!("IIS_SIM_LOCK"),
};

/// The identity of the build that is running, e.g. `3009f80a1b2c+lock.5c0ffee1`; with changes that are
/// not committed `3009f80a1b2c-dirty.0badcafe+lock.5c0ffee1`, where the middle is a hash of the
/// sources; without a commit `sources.0badcafe+lock.5c0ffee1`.
pub fn id() -> String {
    BUILD.to_string()
}

impl fmt::Display for Build {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sources, lock) = (self.sources, self.lock);
        match (self.commit, self.is_dirty) {
            (Some(commit), false) => write!(f, "{commit}+lock.{lock}"),
            (Some(commit), true) => write!(f, "{commit}-dirty.{sources}+lock.{lock}"),
            (None, _) => write!(f, "sources.{sources}+lock.{lock}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLEAN: Build = Build {
        version: "1.2.3",
        commit: Some("3009f80a1b2c"),
        is_dirty: false,
        sources: "0badcafe",
        lock: "5c0ffee1",
    };

    #[test]
    fn a_clean_build_is_its_commit_and_its_libraries() {
        assert_eq!(CLEAN.to_string(), "3009f80a1b2c+lock.5c0ffee1");
    }

    #[test]
    fn two_dirty_builds_of_one_commit_are_told_apart() {
        let dirty = Build {
            is_dirty: true,
            ..CLEAN
        };
        let other = Build {
            sources: "0ddba115",
            ..dirty
        };
        assert!(dirty.to_string().starts_with("3009f80a1b2c-dirty."));
        assert_ne!(dirty.to_string(), other.to_string());
    }

    #[test]
    fn without_a_commit_the_sources_stand_for_it() {
        let unpacked = Build {
            commit: None,
            ..CLEAN
        };
        assert_eq!(unpacked.to_string(), "sources.0badcafe+lock.5c0ffee1");
    }

    #[test]
    fn the_running_build_knows_its_sources_and_its_libraries() {
        assert_eq!(BUILD.sources.len(), 8);
        assert_eq!(BUILD.lock.len(), 8);
        assert!(id().contains(BUILD.lock));
    }
}
