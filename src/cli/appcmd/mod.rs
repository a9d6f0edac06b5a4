//! `appcmd`: the administrator's command line since IIS 7.
//!
//! As the real tool it reads applicationHost.config itself, so it works also while no server runs; what only a
//! running server knows (states, worker processes, requests) it asks for. A change goes through the
//! server if one runs, and into the file if none does. Output lines and errors are those of the real
//! tool. Absent on purpose: the TRACE object, `migrate`, `/metadata`, `/debug`.
//!
//! * `grammar` – the command line; `parameters` – what a command may be told
//! * `store` – the file, and the server behind it
//! * `url` – URLs as identifiers
//! * `rows`, `filters`, `print` – what `list` finds, what of it is asked for, and how it is shown
//! * `edits` – `set`, `add`, `delete` of sites, applications, directories and pools
//! * `help` – `/?`
//! * `sections` – the CONFIG object, `commit` – where its changes go; `modules` – the MODULE object; `backups` – the BACKUP object; `piped`, `import`, `piped_edits` – `/in`

use std::process::ExitCode;

use serde_json::json;
use sim_was::config::edit::EditError;
use sim_was::config::{ConfigError, load_sections};
use sim_was::control::client::AskError;
use sim_was::control::{Command, Refusal};
use sim_was::secrets::{refusal_without_secrets, words_without_secrets};

use super::{say_waiting, take_root};
use crate::administration::store::{Store, StoreError};
use grammar::{Object, Sentence};

mod backups;
mod commit;
mod edits;
mod filters;
mod grammar;
mod help;
mod import;
mod modules;
mod parameters;
mod piped;
mod piped_edits;
mod print;
mod rows;
mod sections;

mod url;

/// Source: a published test of appcmd: exit code 1168 (`ERROR_NOT_FOUND`) where an object is not
/// found. An exit code on Linux has eight bits, so its low byte is what a shell sees.
const NOT_FOUND: u16 = 1168;

/// Source: appcmd: `Failed to add duplicate collection element "X".`; Microsoft's page on startup tasks of cloud
/// services: `ERRORLEVEL 183 occurs when trying to add a section that already exists` (`ERROR_ALREADY_EXISTS`).
const ALREADY_EXISTS: u8 = 183;

/// Source: published outputs of appcmd: `Cannot find requested collection element.`; build servers show its exit
/// code: 4312 (`ERROR_OBJECT_NOT_FOUND`).
const NO_ENTRY: u16 = 4312;

/// Source: published outputs of appcmd: `Failed to process input: The parameter 'x' must begin with a / or -
/// (HRESULT=80070057).` Assumed: its exit code is that of the error, `ERROR_INVALID_PARAMETER`.
const INVALID_PARAMETER: u8 = 87;

/// Why a command was not carried out.
#[derive(Debug)]
enum Failure {
    /// In words.
    Message(String),
    /// An entry of a collection is there already.
    Duplicate { entry: String },
    /// An entry of a collection is not there.
    NoEntry,
    /// By the server.
    Refused(Refusal),
    /// The words are no command.
    Input(String),
    /// And because of that the services do not run any more.
    AndStopped(Box<Failure>),
    /// Something was not found.
    NotFound { object: Object, identifier: String },
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Refused(refusal) => Self::Refused(refusal),
            StoreError::Edit(error) => error.into(),
            StoreError::Ask(AskError::TimedOut { .. }) => Self::Refused(Refusal::TimedOut),
            StoreError::Config(error) => error.into(),
            StoreError::Section { fault, .. } => {
                Self::configuration(&fault.file, fault.line, &fault.text)
            }
            error @ (StoreError::File { .. } | StoreError::Ask(_)) => {
                Self::Message(error.to_string())
            }
        }
    }
}

impl From<ConfigError> for Failure {
    /// Source: the text of IIS's error 500.19: `Configuration file is not well-formed XML`.
    fn from(error: ConfigError) -> Self {
        let is_of_file = error.message.starts_with(char::is_lowercase);
        let text = match error.message.as_str() {
            text if text.starts_with(NOT_WELL_FORMED) => {
                format!("Configuration file {NOT_WELL_FORMED}")
            }
            text if is_of_file => format!("Configuration file {text}"),
            text => text.to_owned(),
        };
        Self::configuration(&error.file, error.line, &text)
    }
}

/// How messages about a file that is no XML begin.
const NOT_WELL_FORMED: &str = "is not well-formed XML";

impl Failure {
    /// In words.
    fn text(&self) -> String {
        match self {
            Self::Message(text) | Self::Input(text) => text.clone(),
            Self::Duplicate { entry } => {
                format!("Failed to add duplicate collection element \"{entry}\".")
            }
            Self::AndStopped(failure) => failure.text(),
            Self::NoEntry => "Cannot find requested collection element.".to_owned(),
            Self::Refused(refusal) => format!("{refusal:?}"),
            Self::NotFound { object, identifier } => {
                let object = object.name();
                format!("Cannot find {object} object with identifier \"{identifier}\".")
            }
        }
    }

    /// Source: appcmd: `ERROR ( message:Configuration error`, then file, line and description, a line each.
    fn configuration(file: &str, line: u32, text: &str) -> Self {
        Self::Message(format!(
            "Configuration error\nFilename: {file}\nLine Number: {line}\nDescription: {text}\n."
        ))
    }
}

impl From<EditError> for Failure {
    /// Source: appcmd: `Unknown attribute "x".  Replace with -? for help.`
    fn from(error: EditError) -> Self {
        Self::Message(match error {
            EditError::Unreadable(error) => return error.into(),
            EditError::Unknown {
                what: "attribute",
                name,
                ..
            } => {
                return parameters::unknown(&name);
            }
            EditError::Duplicate { keys, .. } => {
                let first = keys.into_iter().next();
                let entry = first.map_or_else(String::new, |(_, value)| value);
                return Self::Duplicate { entry };
            }
            EditError::NoEntry { .. } => return Self::NoEntry,
            other @ (EditError::Syntax { .. }
            | EditError::NoSection(_)
            | EditError::Unknown { .. }
            | EditError::Invalid { .. }) => other.to_string(),
        })
    }
}

/// Runs `appcmd` with the words after its name.
pub(super) fn main(mut words: Vec<String>) -> ExitCode {
    let root = match take_root(&mut words) {
        Ok(root) => root,
        Err(message) => return fail(Failure::Message(message)),
    };
    let mut sentence = Sentence::parse(&words);
    if sentence.verb.is_empty() || sentence.verb == "help" || sentence.has("?") {
        println!("{}", help::of(&sentence));
        return ExitCode::SUCCESS;
    }
    let Some(object) = sentence.object else {
        return fail(Failure::Message(format!(
            "Object '{}' is not supported.  Run 'appcmd.exe /?' to display supported objects.",
            sentence.object_word
        )));
    };
    if let Some(word) = &sentence.surplus {
        return fail(Failure::Input(format!(
            "The parameter '{word}' must begin with a / or - (HRESULT=80070057)."
        )));
    }
    if sentence.has("metadata") {
        let text = "Parameter 'metadata' is not supported.  Run 'appcmd.exe /?' to display supported parameters.";
        return fail(Failure::Message(text.to_owned()));
    }
    let store = Store::new(root).telling(say_waiting);
    // What is read is what is changed.
    if !["list", "search"].contains(&sentence.verb.as_str()) {
        store.hold_unless_running();
    }
    let found = resolve_url(&mut sentence, object, &store);
    if let Err(failure) = found.and_then(|()| rows::resolve_site(&mut sentence, object, &store)) {
        return fail(failure);
    }
    let run = |sentence: &Sentence| {
        let done = carry_out(sentence, object, &store);
        write_down(&words, sentence, &store, done.as_ref().err());
        done.unwrap_or_else(fail)
    };
    if !sentence.has("in") {
        return run(&sentence);
    }
    let sentences = match piped::sentences(&sentence, object) {
        Ok(sentences) => sentences,
        Err(failure) => return fail(failure),
    };
    if sentence.verb == "list" && object == Object::Config && sentence.has("xml") {
        return sections::list_as_xml(&sentences, &store).unwrap_or_else(fail);
    }
    if sentence.verb == "list" && !matches!(object, Object::Config | Object::Module) {
        return list_all(&sentences, object, &store).unwrap_or_else(fail);
    }
    let is_edit = ["set", "add", "delete"].contains(&sentence.verb.as_str());
    let is_own = matches!(
        object,
        Object::Site | Object::App | Object::Vdir | Object::AppPool
    );
    let done = if is_edit && is_own {
        piped_edits::run_all(&sentences, object, &store).unwrap_or(0)
    } else {
        0
    };
    write_down(&words, &sentence, &store, None);
    // All of them are tried; the first that fails says how it went.
    let codes: Vec<ExitCode> = sentences[done..].iter().map(run).collect();
    let mut failures = codes.into_iter().filter(|code| *code != ExitCode::SUCCESS);
    failures.next().unwrap_or(ExitCode::SUCCESS)
}

/// A URL as identifier stands for the object that serves it.
fn resolve_url(sentence: &mut Sentence, object: Object, store: &Store) -> Result<(), Failure> {
    let Some(word) = sentence.identifier.as_deref().filter(|w| w.contains("://")) else {
        return Ok(());
    };
    let configuration = load_sections(&store.text()?, &store.name())?;
    let name = url::name_of(word, object, &configuration).map_err(|url::Malformed| {
        Failure::Message(format!(
            "Invalid identifier \"{word}\": a URL is scheme://host[:port][/path]."
        ))
    })?;
    if let Some(name) = name {
        sentence.identifier = Some(name);
    }
    Ok(())
}

/// Writes into the audit log what the server does not write there: what was done in files, and what was refused
/// before the server was asked.
fn write_down(words: &[String], sentence: &Sentence, store: &Store, failure: Option<&Failure>) {
    if ["list", "search"].contains(&sentence.verb.as_str()) {
        return;
    }
    let said = || words.iter().map(String::as_str);
    let shown = words_without_secrets(said());
    let wanted = json!({"Appcmd": {"words": shown, "identifier": sentence.identifier()}});
    let refusal = failure.map(|failure| refusal_without_secrets(&failure.text(), said()));
    store.write_down(&wanted, refusal.as_deref());
}

fn carry_out(sentence: &Sentence, object: Object, store: &Store) -> Result<ExitCode, Failure> {
    if help::has_command(&sentence.verb, object) {
        parameters::check(sentence, object)?;
    }
    match (sentence.verb.as_str(), object) {
        (_, Object::Config) => sections::run(sentence, store),
        (_, Object::Module) => modules::run(sentence, store),
        (verb, Object::Backup) if verb != "list" => backups::run(sentence, store),
        ("list", _) => list_all(std::slice::from_ref(sentence), object, store),
        ("set" | "add" | "delete", Object::Site | Object::App | Object::Vdir | Object::AppPool) => {
            edits::run(sentence, object, store)
        }
        ("start" | "stop", Object::AppPool | Object::Site) | ("recycle", Object::AppPool) => {
            operate(sentence, object, store)
        }
        (verb, _) => Err(Failure::Message(format!(
            "Command '{verb}' is not supported on {}.  Run 'appcmd.exe /?' to display supported \
             commands.",
            object.name()
        ))),
    }
}

/// Lists what some sentences ask for, each object once.
fn list_all(sentences: &[Sentence], object: Object, store: &Store) -> Result<ExitCode, Failure> {
    for sentence in sentences {
        parameters::check(sentence, object)?;
    }
    let by_site = sentences.iter().any(|one| one.has("site.name"));
    let rows = match object {
        Object::Backup => backups::rows(store)?,
        Object::Site
        | Object::App
        | Object::Vdir
        | Object::AppPool
        | Object::Wp
        | Object::Request
        | Object::Config
        | Object::Module => rows::of(object, store, by_site)?,
    };
    print::list(sentences, object, &rows)
}

/// The text of applicationHost.config, which can be used, and what messages call the file.
fn usable(store: &Store) -> Result<(String, String), Failure> {
    let (text, name) = (store.text()?, store.name());
    load_sections(&text, &name)?;
    Ok((text, name))
}

/// The same, and nothing in a section breaks the schema.
fn usable_section(store: &Store, section: &str) -> Result<(String, String), Failure> {
    Ok((store.section_text(section)?, store.name()))
}

/// The identifier that a command needs.
fn name_of(sentence: &Sentence, object: Object) -> Result<String, Failure> {
    let identifier = sentence.identifier().map(str::to_owned);
    identifier.ok_or_else(|| {
        let object = object.name();
        Failure::Message(format!(
            "Must specify the {object} object with identifier or /{object}.NAME parameter."
        ))
    })
}

/// Source: appcmd: `"X" successfully started.` with a full stop, the others without.
fn operate(sentence: &Sentence, object: Object, store: &Store) -> Result<ExitCode, Failure> {
    let name = name_of(sentence, object)?;
    let (command, done) = match (sentence.verb.as_str(), object) {
        ("start", Object::Site) => (Command::StartSite { name: name.clone() }, "started."),
        ("stop", Object::Site) => (Command::StopSite { name: name.clone() }, "stopped"),
        ("start", _) => {
            let name = name.clone();
            (Command::StartApplicationPool { name }, "started.")
        }
        ("stop", _) => {
            let name = name.clone();
            (Command::StopApplicationPool { name }, "stopped")
        }
        _ => {
            let name = name.clone();
            (Command::RecycleApplicationPool { name }, "recycled")
        }
    };
    store.ask(&command)?;
    println!("\"{name}\" successfully {done}");
    Ok(ExitCode::SUCCESS)
}

fn fail(failure: Failure) -> ExitCode {
    match failure {
        Failure::NotFound { object, identifier } => not_found(object.name(), &identifier),
        Failure::Refused(Refusal::NotFound { object, identifier }) => {
            not_found(&object, &identifier)
        }
        Failure::Refused(Refusal::Failed { hresult, message }) => {
            println!("ERROR ( hresult:{hresult:08x}, message:Command execution failed.");
            println!("{message}");
            println!(". )");
            ExitCode::from(hresult.to_le_bytes()[0].max(1))
        }
        Failure::Refused(Refusal::TimedOut) => fail(Failure::Refused(Refusal::request_timeout())),
        Failure::Message(message) => {
            println!("ERROR ( message:{message} )");
            ExitCode::FAILURE
        }
        Failure::Duplicate { entry } => {
            println!("ERROR ( message:Failed to add duplicate collection element \"{entry}\". )");
            ExitCode::from(ALREADY_EXISTS)
        }
        Failure::NoEntry => {
            println!("ERROR ( message:Cannot find requested collection element. )");
            ExitCode::from(NO_ENTRY.to_le_bytes()[0])
        }
        Failure::AndStopped(failure) => {
            let code = fail(*failure);
            println!(
                "The Windows Process Activation Service and the World Wide Web Publishing Service are stopped."
            );
            code
        }
        Failure::Input(message) => {
            println!("Failed to process input: {message}");
            ExitCode::from(INVALID_PARAMETER)
        }
    }
}

fn not_found(object: &str, identifier: &str) -> ExitCode {
    println!("ERROR ( message:Cannot find {object} object with identifier \"{identifier}\". )");
    ExitCode::from(NOT_FOUND.to_le_bytes()[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_stands_still_is_a_request_timeout_of_windows() {
        let root = "iis-sim-root".into();
        let failure = Failure::from(StoreError::Ask(AskError::TimedOut { root }));
        assert!(matches!(failure, Failure::Refused(Refusal::TimedOut)));
        // 1053 in eight bits.
        assert_eq!(fail(failure), ExitCode::from(29));
    }
}
