//! applicationHost.config on the disk: read, edited in place of an administrator, watched, and kept
//! for the history.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::config::edit::{Change, apply_to_bytes};
use crate::config::{self, Configuration, FoundFile};
use crate::control::FILE_NOT_FOUND;

/// The file.
#[derive(Debug)]
pub(super) struct ConfigFile {
    path: PathBuf,
    root: PathBuf,
}

impl ConfigFile {
    pub(super) fn new(path: PathBuf, root: PathBuf) -> Self {
        Self { path, root }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn bytes(&self) -> Result<Vec<u8>, String> {
        fs::read(&self.path).map_err(|error| {
            if error.kind() == io::ErrorKind::NotFound {
                format!("{}: {FILE_NOT_FOUND}", self.name())
            } else {
                format!("{}: {error}", self.name())
            }
        })
    }

    /// What the file says now, with the web.config files of its applications.
    pub(super) fn read(&self) -> Result<Configuration, String> {
        self.understand(&self.bytes()?)
    }

    fn understand(&self, bytes: &[u8]) -> Result<Configuration, String> {
        let mut find = |path: &str| find_file(path, &self.root);
        config::load_tree(bytes, &self.name(), &mut find).map_err(|error| error.to_string())
    }

    /// Makes changes, if the file is good with them: it is replaced as a whole.
    pub(super) fn edit(&self, changes: &[Change]) -> Result<Configuration, String> {
        let bytes = self.bytes()?;
        let edited =
            apply_to_bytes(&bytes, &self.name(), changes).map_err(|error| error.to_string())?;
        let configuration = self.understand(&edited)?;
        if configuration.faults().next().is_some() {
            // What broke a pool before may have moved to another line.
            let before = self.understand(&bytes)?;
            let mut new = configuration.faults();
            let is_new = |(scope, _): &(_, &str)| !before.faults().any(|(old, _)| old == *scope);
            if let Some((_, fault)) = new.find(is_new) {
                return Err(fault.to_owned());
            }
        }
        if edited != bytes {
            replace(&self.path, &edited).map_err(|error| format!("{}: {error}", self.name()))?;
        }
        Ok(configuration)
    }

    /// Looks whether the file has to go into the history, and puts it there.
    ///
    /// Source: IIS configuration reference, `configHistory`: copies are kept in
    /// `inetpub\history\CFGHISTORY_%010d`, at most `maxHistories`; every `period` the Application Host
    /// Helper Service looks whether the file has changed.
    pub(super) fn keep_history(&self, history: &config::ConfigHistory) -> io::Result<()> {
        if !history.enabled {
            return Ok(());
        }
        let folder = config::physical_path::to_unix(&history.path, &self.root);
        fs::create_dir_all(&folder)?;
        let name = self
            .path
            .file_name()
            .unwrap_or("applicationHost.config".as_ref());
        let now = fs::read(&self.path)?;
        let mut kept = histories(&folder)?;
        let newest = kept.last().copied().unwrap_or(0);
        let same =
            fs::read(folder.join(history_name(newest)).join(name)).is_ok_and(|old| old == now);
        if !same {
            let copy = folder.join(history_name(newest + 1));
            fs::create_dir_all(&copy)?;
            fs::write(copy.join(name), now)?;
            kept.push(newest + 1);
        }
        let surplus = kept.len().saturating_sub(history.max_histories as usize);
        for number in &kept[..surplus] {
            fs::remove_dir_all(folder.join(history_name(*number)))?;
        }
        Ok(())
    }
}

/// Looks for a file by its Windows path, whatever the case of its own name.
pub fn find_file(path: &str, root: &Path) -> Option<FoundFile> {
    let wanted = config::physical_path::to_unix(path, root);
    let name = wanted.file_name()?.to_str()?;
    let names = fs::read_dir(wanted.parent()?).ok()?.filter_map(Result::ok);
    let found = names
        .map(|entry| entry.path())
        .filter(|path| {
            path.file_name()
                .is_some_and(|n| n.eq_ignore_ascii_case(name))
        })
        .min()?;
    let modified = fs::metadata(&found).and_then(|data| data.modified()).ok();
    let since = modified.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
    Some(FoundFile {
        name: found.display().to_string(),
        bytes: fs::read(&found).map_err(|error| error.to_string()),
        modified: since.map_or(0, |span| u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)),
    })
}

fn history_name(number: u64) -> String {
    format!("CFGHISTORY_{number:010}")
}

/// The numbers of the copies, the oldest first.
fn histories(folder: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let number = name
            .to_str()
            .and_then(|name| name.strip_prefix("CFGHISTORY_"));
        numbers.extend(number.and_then(|number| number.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Writes a file as a whole or not at all; who may read it stays as it is.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // A link stays a link: what it points to is replaced.
    let path = fs::canonicalize(path)?;
    let mut partial = path.clone().into_os_string();
    partial.push(".new");
    let partial = PathBuf::from(partial);
    fs::write(&partial, bytes)?;
    fs::set_permissions(&partial, fs::metadata(&path)?.permissions())?;
    fs::rename(&partial, &path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ConfigHistory;

    #[test]
    fn the_history_keeps_the_last_versions_and_only_what_differs() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("applicationHost.config");
        let file = ConfigFile::new(path.clone(), root.path().to_owned());
        let history = ConfigHistory {
            max_histories: 3,
            ..ConfigHistory::default()
        };
        for version in [1, 1, 2, 3, 4] {
            fs::write(&path, format!("version {version}")).unwrap();
            file.keep_history(&history).unwrap();
        }
        let folder = root.path().join("inetpub/history");
        assert_eq!(histories(&folder).unwrap(), [2, 3, 4]);
        let newest = folder.join("CFGHISTORY_0000000004/applicationHost.config");
        assert_eq!(fs::read_to_string(newest).unwrap(), "version 4");
    }

    #[test]
    fn an_edit_replaces_the_file_and_a_bad_one_leaves_it() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("applicationHost.config");
        fs::write(&path, config::default_config::DEFAULT_CONFIG).unwrap();
        let file = ConfigFile::new(path.clone(), root.path().to_owned());
        let pool = "DefaultAppPool";
        let configuration = file
            .edit(&[Change::pool(pool, "queueLength", "77")])
            .unwrap();
        assert_eq!(configuration.application_pools[0].queue_length, 77);
        let before = fs::read(&path).unwrap();
        assert!(
            file.edit(&[Change::pool(pool, "queueLength", "7")])
                .is_err()
        );
        assert!(
            file.edit(&[Change::pool("nobody", "queueLength", "77")])
                .is_err()
        );
        assert_eq!(fs::read(&path).unwrap(), before);
    }
}
