//! Static files that a scenario brings along.

use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::{Deserialize, Serialize};

/// A family of static files.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Content {
    /// The path below the application; `{n}` counts from 0, as in the load's mix.
    pub path: String,
    /// How many.
    #[serde(default = "one")]
    pub count: u32,
    /// The size of each, bytes.
    pub bytes: u32,
}

fn one() -> u32 {
    1
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
                let message = format!("content path {:?} leaves its application", self.path);
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
