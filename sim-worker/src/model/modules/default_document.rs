//! `DefaultDocumentModule`: what a folder answers with, and where a URL lies on the disk.

use crate::configuration::{Application, VirtualDirectory};

/// A path below an application, split into the folder on disk and what follows it.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    /// The virtual directory that it lies in.
    pub(crate) directory: &'a VirtualDirectory,
    /// Below it, segments joined by `/`; empty for its root.
    pub(crate) relative: String,
}

/// Where a path (below the application, any case) lies: in the virtual directory with the longest
/// path that it begins with. `None` if it tries to climb.
pub(crate) fn place<'a>(application: &'a Application, path: &str) -> Option<Place<'a>> {
    let segments: Vec<&str> = segments(path).collect();
    if segments
        .iter()
        .any(|&segment| segment == ".." || segment == "." || segment.contains('\0'))
    {
        return None;
    }
    let depth = |directory: &&VirtualDirectory| segments_of(&directory.path).count();
    let holds = |directory: &&VirtualDirectory| {
        let mut below = segments.iter();
        segments_of(&directory.path).all(|name| {
            below
                .next()
                .is_some_and(|segment| segment.to_lowercase() == name.to_lowercase())
        })
    };
    let directory = application
        .virtual_directories
        .iter()
        .filter(holds)
        .max_by_key(depth)?;
    let relative = segments[depth(&directory)..].join("/");
    Some(Place {
        directory,
        relative,
    })
}

/// The segments of a path. Windows takes a backslash for a slash.
fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.split(['/', '\\'])
        .filter(|segment| !segment.is_empty())
}

fn segments_of(path: &str) -> impl Iterator<Item = &str> {
    segments(path)
}

/// Where to look for the document of a folder: the default documents in order, the folder itself last
/// (so that a folder without one can be told from no folder).
pub(crate) fn candidates(folder: &str, documents: &[String]) -> Vec<String> {
    let below = |name: &String| {
        if folder.is_empty() {
            name.clone()
        } else {
            format!("{folder}/{name}")
        }
    };
    let mut candidates: Vec<String> = documents
        .iter()
        .filter(|name| segments(name).all(|s| s != ".." && s != "."))
        .map(below)
        .collect();
    candidates.push(folder.to_owned());
    candidates
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tests::application;

    #[test]
    fn the_longest_virtual_directory_wins_whatever_the_case() {
        let mut application = application("/srv/www");
        let images = VirtualDirectory {
            path: "/Images".into(),
            physical_path: "/srv/images".into(),
        };
        application.virtual_directories.push(images);
        let found = place(&application, "/IMAGES/a/Logo.png").unwrap();
        assert_eq!(
            (found.directory.path.as_str(), found.relative.as_str()),
            ("/Images", "a/Logo.png")
        );
        let found = place(&application, "/images2/x").unwrap();
        assert_eq!(
            (found.directory.path.as_str(), found.relative.as_str()),
            ("/", "images2/x")
        );
    }

    #[test]
    fn a_path_that_climbs_lies_nowhere() {
        let application = application("/srv/www");
        for path in ["/../etc/passwd", "/a/..\\..\\b", "/a/./b", "/..", "/a\0b"] {
            assert!(place(&application, path).is_none(), "{path}");
        }
    }
}
