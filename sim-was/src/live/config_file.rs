//! applicationHost.config on the disk: read, edited in place of an administrator, watched, and kept
//! for the history.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use sim_httpsys::live::clock::utc_now;
use sim_httpsys::live::regular_file;

use super::config_lock::ConfigLock;
use super::content_folders;
use super::on_disk::on_disk;
use super::replaced_file::replace;
use super::watch::SETTLE;
use crate::config::edit::{Change, apply_to_bytes};
use crate::config::{self, Configuration, Disk, FoundFile};
use crate::control::{ACCESS_DENIED, FILE_NOT_FOUND};

/// How long a tool is waited for that changes the file, too. Assumed: nothing else is done meanwhile, so not long.
const LOCK_MAX: Duration = Duration::from_secs(1);

/// The file.
#[derive(Debug)]
pub(super) struct ConfigFile {
    path: PathBuf,
    root: PathBuf,
    /// The files around it as they were read last, by their Windows paths in lower case.
    around: RefCell<BTreeMap<String, AroundFile>>,
    /// One of the files was being written when it was read last.
    unsettled: Cell<bool>,
    /// The files have been read before, so that there is something to keep while one is written.
    is_known: Cell<bool>,
}

/// A file around applicationHost.config: its Windows path as it is written, and what counts of it.
type AroundFile = (String, Option<FoundFile>);

impl ConfigFile {
    pub(super) fn new(path: PathBuf, root: PathBuf) -> Self {
        Self {
            path,
            root,
            around: RefCell::default(),
            unsettled: Cell::new(false),
            is_known: Cell::new(false),
        }
    }

    /// Whether a file was being written when it was read last, and has to be looked at again.
    pub(super) fn is_unsettled(&self) -> bool {
        self.unsettled.get()
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn bytes(&self) -> Result<Vec<u8>, String> {
        regular_file::read(&self.path).map_err(|error| self.in_words(&error))
    }

    /// What is wrong with the file, as Windows says it where it has words for it.
    fn in_words(&self, error: &io::Error) -> String {
        let words = if error.kind() == io::ErrorKind::NotFound {
            FILE_NOT_FOUND.to_owned()
        } else if error.kind() == io::ErrorKind::PermissionDenied {
            ACCESS_DENIED.to_owned()
        } else {
            error.to_string()
        };
        format!("{}: {words}", self.name())
    }

    /// What the file says now, if all sections can be used that WAS needs.
    ///
    /// Source: event 5172 and 5036, with which WAS does not start.
    pub(super) fn read_whole(&self) -> Result<Configuration, String> {
        self.read()?.whole().map_err(|error| error.to_string())
    }

    /// What the file says now, with the web.config files of its applications.
    pub(super) fn read(&self) -> Result<Configuration, String> {
        let bytes = self.bytes()?;
        let read = self.understand(&bytes);
        if read.is_err() && is_just_now(written_at(&self.path)) {
            self.unsettled.set(true);
        }
        read
    }

    /// Whether the files in these folders (Windows paths) are not any more what was read last.
    pub(super) fn has_changed_in(&self, folders: &BTreeSet<String>) -> bool {
        let around = self.around.borrow();
        let mut files = around.iter().filter(|(path, _)| {
            let folder = path.rsplit_once('\\').map(|(folder, _)| folder);
            folder.is_some_and(|folder| folders.contains(folder))
        });
        files.any(|(_, (path, known))| {
            let now = find_file(path, &self.root);
            let is_written = |file| is_being_written(file, known.as_ref());
            now != *known && !now.as_ref().is_some_and(is_written)
        })
    }

    /// A file around applicationHost.config. One that is being written is as it was; at the start it is what it
    /// is, because nothing may be let through that it forbids.
    fn find(&self, path: &str) -> Option<FoundFile> {
        let key = path.to_lowercase();
        let mut found = find_file(path, &self.root);
        let mut around = self.around.borrow_mut();
        let known = around.get(&key).and_then(|(_, known)| known.clone());
        if found
            .as_ref()
            .is_some_and(|file| is_being_written(file, known.as_ref()))
        {
            self.unsettled.set(true);
            if self.is_known.get() {
                found = known;
            }
        }
        around.insert(key, (path.to_owned(), found.clone()));
        found
    }

    fn understand(&self, bytes: &[u8]) -> Result<Configuration, String> {
        self.unsettled.set(false);
        let read = config::load_tree_sections(bytes, &self.name(), &mut &*self);
        self.is_known.set(true);
        read.map_err(|error| error.to_string())
    }

    /// Makes changes, if the file is good with them: it is replaced as a whole.
    pub(super) fn edit(&self, changes: &[Change]) -> Result<Configuration, String> {
        let _lock = ConfigLock::take(&self.path, LOCK_MAX);
        let bytes = self.bytes()?;
        let edited =
            apply_to_bytes(&bytes, &self.name(), changes).map_err(|error| error.to_string())?;
        let configuration = self.understand(&edited)?;
        let mut sections = changes.iter().map(|change| change.section.as_str());
        if let Some(error) = sections.find_map(|section| configuration.broken(section)) {
            return Err(error.to_string());
        }
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
            replace(&self.path, &edited, &self.path).map_err(|error| self.in_words(&error))?;
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
        let folder = on_disk(&history.path, &self.root);
        fs::create_dir_all(&folder)?;
        let name = self
            .path
            .file_name()
            .unwrap_or("applicationHost.config".as_ref());
        let now = regular_file::read(&self.path)?;
        let mut kept = histories(&folder)?;
        let newest = kept.last().copied().unwrap_or(0);
        let same = regular_file::read(&folder.join(history_name(newest)).join(name))
            .is_ok_and(|old| old == now);
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

impl Disk for &ConfigFile {
    fn read(&mut self, path: &str) -> Option<FoundFile> {
        self.find(path)
    }

    fn folders(&mut self, folder: &str) -> Vec<String> {
        LocalDisk(&self.root).folders(folder)
    }
}

/// The files below a folder that stands for the drives of Windows.
#[derive(Debug)]
pub struct LocalDisk<'r>(pub &'r Path);

impl Disk for LocalDisk<'_> {
    fn read(&mut self, path: &str) -> Option<FoundFile> {
        find_file(path, self.0)
    }

    fn folders(&mut self, folder: &str) -> Vec<String> {
        let root = on_disk(folder, self.0);
        let below = content_folders::below(&root).into_iter();
        let with_file = below.filter(|folder| folder.web_config.is_some());
        let written = |found: content_folders::ContentFolder| {
            let relative = found.path.strip_prefix(&root).ok()?.to_str()?;
            Some(format!("\\{}", relative.replace('/', "\\")))
        };
        with_file.filter_map(written).collect()
    }
}

/// Looks for a file by its Windows path, whatever the case of its own name.
fn find_file(path: &str, root: &Path) -> Option<FoundFile> {
    let wanted = on_disk(path, root);
    let name = wanted.file_name()?.to_str()?;
    let names = match fs::read_dir(wanted.parent()?) {
        Ok(names) => names.filter_map(Result::ok),
        Err(error) => return unreadable(&wanted, &error),
    };
    let found = names
        .map(|entry| entry.path())
        .filter(|path| {
            path.file_name()
                .is_some_and(|n| n.eq_ignore_ascii_case(name))
        })
        .min()?;
    // When it was written is looked at last: what is written meanwhile is new.
    let bytes = regular_file::read(&found).map_err(|error| error.to_string());
    Some(FoundFile {
        name: found.display().to_string(),
        bytes,
        modified: written_at(&found),
    })
}

/// A file in a folder that may not be looked into: nobody knows what it says, so that it says not nothing.
///
/// Source: IIS status 500.19 with 0x80070005: "cannot read configuration file due to insufficient permissions",
/// which is said of the web.config whether or not there is one.
fn unreadable(wanted: &Path, error: &io::Error) -> Option<FoundFile> {
    (error.kind() == io::ErrorKind::PermissionDenied).then(|| FoundFile {
        name: wanted.display().to_string(),
        bytes: Err(error.to_string()),
        modified: 0,
    })
}

/// Whether somebody is likely to be writing a file: it makes no sense, and was written just now. Or it is another one,
/// and as old as the one that is known: a file that is opened to be written anew is made empty before its time is.
fn is_being_written(file: &FoundFile, known: Option<&FoundFile>) -> bool {
    let is_as_old =
        |known: &FoundFile| known.modified == file.modified && known.bytes != file.bytes;
    (is_just_now(file.modified) || known.is_some_and(is_as_old)) && file.is_torn()
}

fn is_just_now(written: u64) -> bool {
    let age = utc_now().0.checked_sub(written);
    age.is_some_and(|age| Duration::from_nanos(age) < SETTLE)
}

/// When a file was last written, nanoseconds since 1970; 0 if nobody knows.
fn written_at(path: &Path) -> u64 {
    let modified = fs::metadata(path).and_then(|data| data.modified()).ok();
    let since = modified.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    since.map_or(0, |span| u64::try_from(span.as_nanos()).unwrap_or(u64::MAX))
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;
    use crate::config::{ConfigHistory, ConfigWarning};
    use crate::control::Refusal;

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

    fn web_config(root: &Path) -> PathBuf {
        let folder = root.join("inetpub/wwwroot");
        fs::create_dir_all(&folder).unwrap();
        folder.join("web.config")
    }

    fn host(root: &Path) -> ConfigFile {
        let path = root.join("applicationHost.config");
        fs::write(&path, config::default_config::DEFAULT_CONFIG).unwrap();
        ConfigFile::new(path, root.to_owned())
    }

    fn fault(configuration: &Configuration) -> Option<&str> {
        let application = &configuration.sites[0].applications[0];
        application.settings.error.as_deref()
    }

    /// Makes a file look as if it had been written so long ago.
    fn age(path: &Path, age: Duration) {
        let file = fs::File::options().append(true).open(path).unwrap();
        let now = UNIX_EPOCH + Duration::from_nanos(utc_now().0);
        file.set_modified(now - age).unwrap();
    }

    #[test]
    fn a_web_config_that_is_being_written_is_as_it_was_until_it_has_settled() {
        let root = tempfile::tempdir().unwrap();
        let (file, path) = (host(root.path()), web_config(root.path()));
        for (text, age_of, broken, unsettled) in [
            ("<configuration />", SETTLE * 2, false, false),
            ("", Duration::ZERO, false, true),
            ("<configuration>", Duration::ZERO, false, true),
            ("<configuration>", SETTLE * 2, true, false),
            ("", Duration::ZERO, true, true),
            ("<configuration />", Duration::ZERO, false, false),
        ] {
            fs::write(&path, text).unwrap();
            age(&path, age_of);
            let configuration = file.read().unwrap();
            assert_eq!(fault(&configuration).is_some(), broken, "{text}");
            assert_eq!(file.is_unsettled(), unsettled, "{text}");
        }
    }

    #[test]
    fn a_web_config_that_is_empty_and_no_newer_is_being_written() {
        let root = tempfile::tempdir().unwrap();
        let (file, path) = (host(root.path()), web_config(root.path()));
        let written = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        for (text, unsettled) in [("<configuration />", false), ("", true)] {
            fs::write(&path, text).unwrap();
            let handle = fs::File::options().append(true).open(&path).unwrap();
            handle.set_modified(written).unwrap();
            assert_eq!(fault(&file.read().unwrap()), None, "{text}");
            assert_eq!(file.is_unsettled(), unsettled, "{text}");
        }
    }

    #[test]
    fn a_web_config_that_is_half_written_at_the_start_is_broken() {
        let root = tempfile::tempdir().unwrap();
        let (file, path) = (host(root.path()), web_config(root.path()));
        fs::write(&path, "<configuration>").unwrap();
        assert!(fault(&file.read().unwrap()).is_some());
        assert!(file.is_unsettled(), "it is looked at again");
    }

    #[test]
    fn what_is_no_file_or_too_large_is_broken_and_holds_up_nobody() {
        let root = tempfile::tempdir().unwrap();
        let (file, path) = (host(root.path()), web_config(root.path()));
        let sub = path.with_file_name("sub");
        fs::create_dir(&sub).unwrap();
        let fifo = |path: &Path| mknodat(CWD, path, FileType::Fifo, Mode::RWXU, 0).unwrap();
        let large = |path: &Path| {
            let file = fs::File::create(path).unwrap();
            file.set_len(regular_file::CONFIGURATION_MAX + 1).unwrap();
        };
        let zero = |path: &Path| symlink("/dev/zero", path).unwrap();
        for (make, words) in [
            (&fifo as &dyn Fn(&Path), "no regular file"),
            (&zero, "no regular file"),
            (&large, "more than 16777216 bytes"),
        ] {
            make(&path);
            let configuration = file.read().unwrap();
            let said = fault(&configuration).expect("its application is broken");
            assert!(said.contains(words), "{said}");
            assert!(said.contains("web.config"), "{said}");
            let is_told = |warning: &ConfigWarning| warning.event == 5174;
            assert!(configuration.warnings.iter().any(is_told), "{words}");
            fs::remove_file(&path).unwrap();
            make(&sub.join("web.config"));
            let configuration = file.read().unwrap();
            assert_eq!(fault(&configuration), None, "{words}: it is not its folder");
            assert!(configuration.warnings.iter().any(is_told), "{words}");
            fs::remove_file(sub.join("web.config")).unwrap();
            fs::remove_file(file.path()).unwrap();
            make(file.path());
            let error = file.read_whole().unwrap_err();
            assert!(error.contains(words), "{error}");
            fs::remove_file(file.path()).unwrap();
            host(root.path());
        }
    }

    #[test]
    fn what_differs_from_what_was_read_is_noticed() {
        let root = tempfile::tempdir().unwrap();
        let (file, path) = (host(root.path()), web_config(root.path()));
        let configuration = file.read().unwrap();
        let folders: BTreeSet<String> = configuration.sites[0].applications[0]
            .web_configs
            .iter()
            .cloned()
            .collect();
        assert!(!file.has_changed_in(&folders));
        fs::write(&path, "<configuration />").unwrap();
        assert!(file.has_changed_in(&folders));
        file.read().unwrap();
        assert!(!file.has_changed_in(&folders));
        fs::write(&path, "").unwrap();
        assert!(!file.has_changed_in(&folders), "it is being written");
    }

    #[test]
    fn a_file_that_may_not_be_read_is_access_denied() {
        let root = tempfile::tempdir().unwrap();
        let error = host(root.path()).in_words(&io::ErrorKind::PermissionDenied.into());
        let refusal = Refusal::unreadable(&error);
        assert!(matches!(
            refusal,
            Refusal::Failed {
                hresult: 0x8007_0005,
                ..
            }
        ));
        let error = host(root.path()).in_words(&io::ErrorKind::NotFound.into());
        let refusal = Refusal::unreadable(&error);
        assert!(matches!(
            refusal,
            Refusal::Failed {
                hresult: 0x8007_0002,
                ..
            }
        ));
    }

    #[test]
    fn a_folder_that_may_not_be_looked_into_may_have_a_web_config() {
        let path = Path::new("/www/web.config");
        let denied = unreadable(path, &io::ErrorKind::PermissionDenied.into());
        let denied = denied.expect("it may have one");
        assert_eq!(denied.name, "/www/web.config");
        assert!(denied.bytes.is_err());
        assert_eq!(unreadable(path, &io::ErrorKind::NotFound.into()), None);
        assert_eq!(unreadable(path, &io::ErrorKind::NotADirectory.into()), None);
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
