//! Where tools read and write: the configuration file of a root, and the server that runs there.

use std::fs;
use std::path::{Path, PathBuf};

use sim_was::config::edit::{self, Change, EditError};
use sim_was::config::{ConfigError, decode, load};
use sim_was::control::client::{AskError, ask_for, ask_telling};
use sim_was::control::{Answer, Command, Refusal};

use crate::live_world::server::running_config_path;

/// A root.
pub(crate) struct Store {
    root: PathBuf,
    config: PathBuf,
    /// For whom the server is asked, if not for whoever runs this process.
    on_behalf_of: Option<String>,
    /// Called if the server takes its time.
    waiting: fn(),
}

/// Why something was not read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("{}: {source}", path.display())]
    File {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("Configuration error\n{0}")]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Edit(#[from] EditError),
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error("the server refused: {0:?}")]
    Refused(Refusal),
}

impl Store {
    pub(crate) fn new(root: PathBuf) -> Self {
        let config = running_config_path(&root);
        Self {
            // A link stays a link: what it points to is replaced.
            config: config.canonicalize().unwrap_or(config),
            root,
            on_behalf_of: None,
            waiting: || {},
        }
    }

    /// The same; whoever waits is told by this.
    #[must_use]
    pub(crate) fn telling(self, waiting: fn()) -> Self {
        Self { waiting, ..self }
    }

    /// The same, for somebody that the audit log is to name.
    #[must_use]
    pub(crate) fn on_behalf_of(self, who: &str) -> Self {
        Self {
            on_behalf_of: Some(who.to_owned()),
            ..self
        }
    }

    fn put(&self, command: &Command) -> Result<Answer, AskError> {
        match &self.on_behalf_of {
            None => ask_telling(&self.root, command, self.waiting),
            Some(who) => ask_for(&self.root, command, who),
        }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The configuration file.
    pub(crate) fn config(&self) -> &Path {
        &self.config
    }

    /// What messages call the configuration file.
    pub(crate) fn name(&self) -> String {
        self.config.display().to_string()
    }

    /// The text of the configuration file.
    pub(crate) fn text(&self) -> Result<String, StoreError> {
        let bytes = fs::read(&self.config).map_err(|source| at(&self.config, source))?;
        Ok(decode(&bytes, &self.name())?.into_owned())
    }

    /// The text of the configuration file if it were changed.
    pub(crate) fn with(&self, changes: &[Change]) -> Result<String, StoreError> {
        Ok(edit::apply(&self.text()?, changes)?)
    }

    /// Asks the running server.
    pub(crate) fn ask(&self, command: &Command) -> Result<Answer, StoreError> {
        is_done(self.put(command)?)
    }

    /// Asks the server, if one runs.
    pub(crate) fn ask_if_running(&self, command: &Command) -> Result<Option<Answer>, StoreError> {
        match self.put(command) {
            Ok(answer) => is_done(answer).map(Some),
            Err(AskError::NotRunning { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Changes applicationHost.config: through the server if one runs, so that it is carried out and
    /// recorded; else in the file.
    pub(crate) fn change(&self, changes: &[Change]) -> Result<(), StoreError> {
        let text = self.text()?;
        // What the server would only say in words is found out here, and nothing is written that it could not read.
        load(&edit::apply(&text, changes)?, &self.name())?;
        if !self.order(changes.to_vec())? {
            change_file(&self.config, changes)?;
        }
        Ok(())
    }
}

impl Store {
    /// Has a running server make changes that the file is good with: whether one runs.
    pub(crate) fn order(&self, changes: Vec<Change>) -> Result<bool, StoreError> {
        let command = Command::ChangeConfiguration { changes };
        Ok(self.ask_if_running(&command)?.is_some())
    }

    /// Whether a server runs at the root.
    pub(crate) fn is_running(&self) -> Result<bool, StoreError> {
        Ok(self.ask_if_running(&Command::ServiceStatus)?.is_some())
    }

    /// Writes applicationHost.config anew, if it still is as it was and no server runs: whether that was done.
    pub(crate) fn replace(&self, before: &str, after: &str) -> Result<bool, StoreError> {
        let bytes = fs::read(&self.config).map_err(|source| at(&self.config, source))?;
        if self.is_running()? || decode(&bytes, &self.name())? != before {
            return Ok(false);
        }
        replace_file(&self.config, &edit::encoded_like(&bytes, after))?;
        Ok(true)
    }
}

/// Something that is wrong with a file.
pub(crate) fn at(path: &Path, source: std::io::Error) -> StoreError {
    StoreError::File {
        path: path.to_owned(),
        source,
    }
}

/// Changes a configuration file on the disk; one that is not there begins as an empty web.config.
pub(crate) fn change_file(path: &Path, changes: &[Change]) -> Result<(), StoreError> {
    replace_file(path, &changed_file(path, changes)?)
}

/// The bytes of a configuration file if it were changed.
pub(crate) fn changed_file(path: &Path, changes: &[Change]) -> Result<Vec<u8>, StoreError> {
    const EMPTY: &[u8] =
        b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<configuration>\r\n</configuration>\r\n";
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => EMPTY.to_vec(),
        Err(source) => return Err(at(path, source)),
    };
    Ok(edit::apply_to_bytes(
        &bytes,
        &path.display().to_string(),
        changes,
    )?)
}

/// Puts a file in the place of another at once.
pub(crate) fn replace_file(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    // A link stays a link: what it points to is replaced, and who may read that stays as it is.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut partial = target.clone().into_os_string();
    partial.push(".new");
    let partial = PathBuf::from(partial);
    fs::write(&partial, bytes).map_err(|source| at(&partial, source))?;
    if let Ok(replaced) = fs::metadata(&target) {
        let permissions = replaced.permissions();
        fs::set_permissions(&partial, permissions).map_err(|source| at(&partial, source))?;
    }
    fs::rename(&partial, &target).map_err(|source| at(path, source))
}

/// An answer, unless it is a refusal.
fn is_done(answer: Answer) -> Result<Answer, StoreError> {
    if let Answer::Refused(refusal) = answer {
        return Err(StoreError::Refused(refusal));
    }
    Ok(answer)
}
