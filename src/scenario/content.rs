//! Static files that a scenario brings along.

use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use sim_worker::application::deserialize_size;

/// A family of static files.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Content {
    /// The path below the application; `{n}` counts from 0, as in the load's mix.
    pub path: String,
    /// How many.
    #[serde(default = "one")]
    pub count: u32,
    /// The size of each: bytes, or text like "64KiB".
    #[serde(deserialize_with = "bytes")]
    pub bytes: u32,
}

fn bytes<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    let bytes = deserialize_size(from)?;
    u32::try_from(bytes)
        .map_err(|_| D::Error::custom(format!("{bytes} bytes are too many for a file")))
}

fn one() -> u32 {
    1
}

/// Bytes and files that the content of a scenario has at most, all of it together.
/// Assumed: a virtual disk is memory, and whoever wants more of it means less.
const BYTES_MAX: u64 = 1 << 30;
const FILES_MAX: u64 = 1_000_000;

/// Says what is impossible in the content of a scenario.
pub(super) fn check<'a>(all: impl Iterator<Item = &'a Content>) -> Result<(), String> {
    let (mut files, mut bytes) = (0_u64, 0_u64);
    for content in all {
        content
            .path_of(Path::new("/"), 0)
            .map_err(|error| error.to_string())?;
        files = files.saturating_add(content.count.into());
        let more = u64::from(content.count) * u64::from(content.bytes);
        bytes = bytes.saturating_add(more);
        if files > FILES_MAX || bytes > BYTES_MAX {
            return Err(format!(
                "content {:?}: with its count = {} of bytes = {} the scenario has {files} files and {bytes} \
                 bytes of content; at most {FILES_MAX} files and {BYTES_MAX} bytes can be made",
                content.path, content.count, content.bytes
            ));
        }
    }
    Ok(())
}

impl Content {
    /// Makes the files below `folder`. Their bytes are readable text, the same in every run.
    pub fn make(&self, folder: &Path) -> io::Result<()> {
        for file in self.files(folder) {
            let (path, contents) = file?;
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            fs::write(path, contents)?;
        }
        Ok(())
    }

    /// The files: where each lies below `folder`, and what is in it.
    pub fn files(&self, folder: &Path) -> impl Iterator<Item = io::Result<(PathBuf, Vec<u8>)>> {
        (0..self.count).map(move |n| {
            let path = self.path_of(folder, n)?;
            Ok((path, text(&self.path, n, self.bytes as usize)))
        })
    }

    fn path_of(&self, folder: &Path, n: u32) -> io::Result<PathBuf> {
        let relative = self.path.replace("{n}", &n.to_string());
        let mut path = folder.to_owned();
        for part in relative.split(['/', '\\']).filter(|part| !part.is_empty()) {
            if part == ".." {
                let message = format!("content {:?} leaves its application", self.path);
                return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
            }
            path.push(part);
        }
        Ok(path)
    }
}

fn text(name: &str, n: u32, bytes: usize) -> Vec<u8> {
    let line = format!("{name} {n}: static content of a scenario of iis-sim\n");
    line.bytes().cycle().take(bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_cannot_leave_its_application() {
        let content = Content {
            path: "/../x".to_owned(),
            count: 1,
            bytes: 1,
        };
        assert!(content.make(Path::new("/nowhere")).is_err());
    }

    #[test]
    fn a_size_is_a_number_of_bytes_or_text_with_its_unit() {
        let size = |bytes: &str| {
            let text = format!("path = '/x.bin'\nbytes = {bytes}");
            let content: Result<Content, _> = toml::from_str(&text);
            content
                .map(|content| content.bytes)
                .map_err(|e| e.to_string())
        };
        assert_eq!(size("4096"), Ok(4096));
        assert_eq!(size("'3MiB'"), Ok(3 << 20));
        for wrong in ["'3 miles'", "-1", "'4GiB'"] {
            let said = size(wrong).unwrap_err();
            assert!(said.contains("size") || said.contains("too many"), "{said}");
        }
    }

    #[test]
    fn content_that_no_disk_would_take_is_refused() {
        let content = |count, bytes| Content {
            path: "/x{n}.png".to_owned(),
            count,
            bytes,
        };
        assert_eq!(check([content(1_000, 1_000_000)].iter()), Ok(()));
        for all in [
            [content(1, 4_000_000_000), content(1, 1)],
            [content(1_000, 1_000_000), content(1_000, 1_000_000)],
            [content(u32::MAX, 1), content(1, 1)],
        ] {
            let error = check(all.iter()).unwrap_err();
            assert!(error.contains("at most"), "{error}");
        }
    }

    #[test]
    fn files_are_counted_from_zero_as_in_the_mix() {
        let folder = tempfile::tempdir().unwrap();
        let content = Content {
            path: "/images/{n}.png".to_owned(),
            count: 2,
            bytes: 100,
        };
        content.make(folder.path()).unwrap();
        assert_eq!(
            fs::read(folder.path().join("images/1.png")).unwrap().len(),
            100
        );
        assert!(!folder.path().join("images/2.png").exists());
    }
}
