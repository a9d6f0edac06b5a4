//! Where tools read and write: the configuration file of a root, and the server that runs there.

use std::cell::{Cell, RefCell};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use sim_httpsys::clockwork::Instant;
use sim_httpsys::live::clock::clock_now;
use sim_httpsys::live::regular_file;
use sim_was::config::edit::{self, Change, EditError};
use sim_was::config::view::Views;
use sim_was::config::{ConfigError, Fault, decode, load_sections};
use sim_was::control::client::{AskError, ask_for, ask_telling, nobody_listens};
use sim_was::control::{Answer, Command, Refusal};
use sim_was::live::{Asker, AuditLog, ConfigLock, replaced_file};
use sim_was::secrets::without_secrets;

use crate::live_world::server::running_config_path;

/// A root.
pub(crate) struct Store {
    root: PathBuf,
    config: PathBuf,
    /// For whom the server is asked, if not for whoever runs this process.
    on_behalf_of: Option<String>,
    /// Called if the server takes its time.
    waiting: fn(),
    /// What was done without the server, for the audit log.
    deeds: RefCell<Vec<(Value, Value)>>,
    /// The server has refused something, and has written that down.
    is_refused: Cell<bool>,
    begun: Instant,
    /// Nobody else changes applicationHost.config, as long as this is there.
    lock: RefCell<Option<ConfigLock>>,
}

/// How long another tool is waited for that changes a file. Assumed: it takes that long only if it stands still.
const LOCK_MAX: Duration = Duration::from_secs(10);

/// Why something was not read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("Configuration error\n{0}")]
    Config(#[from] ConfigError),
    /// A section that breaks the schema can be neither shown nor changed.
    #[error("Configuration error\n{fault}")]
    Section { section: String, fault: Fault },
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
            deeds: RefCell::default(),
            is_refused: Cell::default(),
            begun: clock_now(),
            lock: RefCell::default(),
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
        let answer = match &self.on_behalf_of {
            None => ask_telling(&self.root, command, self.waiting),
            Some(who) => ask_for(&self.root, command, who),
        };
        if matches!(answer, Ok(Answer::Refused(_))) && !command.is_question() {
            self.is_refused.set(true);
        }
        answer
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

    /// Copies the configuration file, with who may read it.
    pub(crate) fn copy_to(&self, copy: &Path) -> Result<(), StoreError> {
        let bytes = regular_file::read(&self.config).map_err(|source| at(&self.config, source))?;
        replaced_file::write_like(copy, &bytes, &self.config).map_err(|source| at(copy, source))
    }

    /// Puts what a copy says in the place of the configuration file.
    pub(crate) fn take_copy(&self, copy: &Path) -> Result<(), StoreError> {
        let bytes = regular_file::read(copy).map_err(|source| at(copy, source))?;
        let is_there = self.config.exists();
        let like = if is_there { &self.config } else { copy };
        replaced_file::replace(&self.config, &bytes, like)
            .map_err(|source| at(&self.config, source))
    }

    /// The text of the configuration file.
    pub(crate) fn text(&self) -> Result<String, StoreError> {
        let bytes = regular_file::read(&self.config).map_err(|source| at(&self.config, source))?;
        Ok(decode(&bytes, &self.name())?.into_owned())
    }

    /// The text of the configuration file, in which nothing of this section breaks the schema.
    pub(crate) fn section_text(&self, section: &str) -> Result<String, StoreError> {
        let (text, name) = (self.text()?, self.name());
        load_sections(&text, &name)?;
        if let Some(fault) = Views::new(&text, &name).mistake(section, "")? {
            let section = section.to_owned();
            return Err(StoreError::Section { section, fault });
        }
        Ok(text)
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

    /// Whether a text can be read as far as it was changed. Source: appcmd, which reads the sections that it needs.
    pub(crate) fn check(&self, after: &str, changes: &[Change]) -> Result<(), StoreError> {
        let read = load_sections(after, &self.name())?;
        let mut sections = changes.iter().map(|change| change.section.as_str());
        match sections.find_map(|section| read.broken(section)) {
            Some(error) => Err(error.clone().into()),
            None => Ok(()),
        }
    }

    /// Changes applicationHost.config: through the server if one runs, so that it is carried out and
    /// recorded; else in the file.
    pub(crate) fn change(&self, changes: &[Change]) -> Result<(), StoreError> {
        // What the server would only say in words is found out here, and nothing is written that it could not read.
        self.check(&self.with(changes)?, changes)?;
        if !self.order(changes.to_vec())? {
            self.hold();
            self.check(&self.with(changes)?, changes)?;
            change_file(&self.config, changes)?;
            self.has_changed(&self.config, changes);
        }
        Ok(())
    }
}

impl Store {
    /// Something was done without the server: the audit log is to say so.
    pub(crate) fn has_done(&self, deed: Value) {
        self.has_caused(deed, json!("done"));
    }

    /// The same, with what came of it.
    pub(crate) fn has_caused(&self, deed: Value, effect: Value) {
        self.deeds.borrow_mut().push((deed, effect));
    }

    /// A file was changed without the server.
    pub(crate) fn has_changed(&self, file: &Path, changes: &[Change]) {
        let changes: Vec<Change> = changes.iter().map(without_secrets).collect();
        self.has_done(json!({"ChangeFile": {"file": file, "changes": changes}}));
    }

    /// Writes into the audit log what the server does not: what was done without it, or that `wanted` was not done.
    /// A root without a configuration is no server, and gets no log.
    pub(crate) fn write_down(&self, wanted: &Value, refusal: Option<&str>) {
        let mut deeds = self.deeds.take();
        let is_refused = self.is_refused.take();
        if let Some(refusal) = refusal.filter(|_| deeds.is_empty() && !is_refused) {
            deeds.push((wanted.clone(), json!({ "refused": refusal })));
        }
        if deeds.is_empty() || !self.config.exists() {
            return;
        }
        // Whoever may not write there has changed nothing, as a rule.
        let Ok(log) = AuditLog::open(&self.root) else {
            return;
        };
        let asker = Asker::this_process(self.on_behalf_of.clone());
        for (deed, effect) in &deeds {
            log.write(&asker, deed, effect, clock_now() - self.begun);
        }
    }
}

impl Store {
    /// Lets nobody else change applicationHost.config until this is gone. A running server changes it for whoever
    /// asks, so that is for what is done without one.
    pub(crate) fn hold(&self) {
        let mut lock = self.lock.borrow_mut();
        if lock.is_none() {
            *lock = lock_of(&self.config);
        }
    }

    /// Lets others change it again.
    pub(crate) fn let_go(&self) {
        self.lock.take();
    }

    /// The same as [`Self::hold`], if no server runs.
    pub(crate) fn hold_unless_running(&self) {
        if nobody_listens(&self.root) {
            self.hold();
        }
    }

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
        if self.is_running()? {
            return Ok(false);
        }
        self.hold();
        let bytes = regular_file::read(&self.config).map_err(|source| at(&self.config, source))?;
        if decode(&bytes, &self.name())? != before {
            return Ok(false);
        }
        replace_file(&self.config, &edit::encoded_like(&bytes, after))?;
        self.has_done(json!({"ReplaceFile": {"file": self.config}}));
        Ok(true)
    }
}

/// Something that is wrong with a file.
pub(crate) fn at(path: &Path, source: io::Error) -> StoreError {
    StoreError::File {
        path: path.to_owned(),
        source,
    }
}

/// Lets nobody else change a file of the configuration, as long as it is there.
pub(crate) fn lock_of(path: &Path) -> Option<ConfigLock> {
    ConfigLock::take(path, LOCK_MAX)
}

/// Changes a configuration file on the disk; one that is not there begins as an empty web.config.
pub(crate) fn change_file(path: &Path, changes: &[Change]) -> Result<(), StoreError> {
    replace_file(path, &changed_file(path, changes)?)
}

/// The bytes of a configuration file if it were changed.
pub(crate) fn changed_file(path: &Path, changes: &[Change]) -> Result<Vec<u8>, StoreError> {
    const EMPTY: &[u8] =
        b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<configuration>\r\n</configuration>\r\n";
    let bytes = match regular_file::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => EMPTY.to_vec(),
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
    replaced_file::replace(path, bytes, path).map_err(|source| at(path, source))
}

/// An answer, unless it is a refusal.
fn is_done(answer: Answer) -> Result<Answer, StoreError> {
    if let Answer::Refused(refusal) = answer {
        return Err(StoreError::Refused(refusal));
    }
    Ok(answer)
}
