//! The BACKUP object: copies of the configuration. Source: `%windir%\System32\inetsrv\backup\NAME`.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use jiff::Timestamp;
use serde_json::json;
use sim_was::control::client::AskError;
use sim_was::control::{Answer, Command, Service, ServiceStatus};

use super::grammar::{Object, Sentence};
use super::rows::Row;
use super::{Failure, StoreError};
use crate::administration::store::{Store, at};

const FILE: &str = "applicationHost.config";
/// Source: appcmd stops the server while it restores; the limit is iisreset's.
const STOP_MS: u64 = 20_000;

/// Does what is asked of the BACKUP object, beside `list`.
pub(super) fn run(sentence: &Sentence, store: &Store) -> Result<ExitCode, Failure> {
    match sentence.verb.as_str() {
        "add" => add(sentence, store),
        "delete" => {
            let (name, folder) = existing(sentence, store)?;
            fs::remove_dir_all(&folder).map_err(|source| at(&folder, source))?;
            store.has_done(json!({"DeleteBackup": {"name": name}}));
            println!("BACKUP object \"{name}\" deleted");
            Ok(ExitCode::SUCCESS)
        }
        "restore" => restore(sentence, store),
        verb => Err(Failure::Message(format!(
            "Command '{verb}' is not supported on BACKUP.  Run 'appcmd.exe /?' to display supported \
             commands."
        ))),
    }
}

fn folder(store: &Store) -> PathBuf {
    store.root().join("Windows/System32/inetsrv/backup")
}

fn names(store: &Store) -> Result<Vec<String>, StoreError> {
    let folder = folder(store);
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(at(&folder, source)),
    };
    let copies = entries
        .flatten()
        .filter(|entry| entry.path().join(FILE).is_file());
    let mut names: Vec<String> = copies
        .filter_map(|e| e.file_name().into_string().ok())
        .collect();
    names.sort();
    Ok(names)
}

/// What `list` finds. Assumed: `BACKUP.NAME`, as other objects have it.
pub(super) fn rows(store: &Store) -> Result<Vec<Row>, StoreError> {
    let row = |name: String| Row {
        line: format!("BACKUP \"{name}\""),
        properties: vec![("BACKUP.NAME", name)],
        related: None,
        view: None,
    };
    Ok(names(store)?.into_iter().map(row).collect())
}

fn add(sentence: &Sentence, store: &Store) -> Result<ExitCode, Failure> {
    let given = sentence.identifier().or_else(|| sentence.parameter("name"));
    // Source: appcmd: the default name is the time, `20060519T172530`. Assumed: here in UTC, as the logs.
    let name = given.map_or_else(
        || Timestamp::now().strftime("%Y%m%dT%H%M%S").to_string(),
        str::to_owned,
    );
    if name.contains(['/', '\\']) || name.starts_with('.') {
        return Err(Failure::Message(format!(
            "\"{name}\" is no name for a backup."
        )));
    }
    if names(store)?
        .iter()
        .any(|other| other.eq_ignore_ascii_case(&name))
    {
        return Err(Failure::Message(format!(
            "A backup \"{name}\" exists already."
        )));
    }
    let folder = folder(store).join(&name);
    fs::create_dir_all(&folder).map_err(|source| at(&folder, source))?;
    let copy = folder.join(FILE);
    store.copy_to(&copy)?;
    store.has_done(json!({"AddBackup": {"name": name}}));
    println!("BACKUP object \"{name}\" added");
    Ok(ExitCode::SUCCESS)
}

fn existing(sentence: &Sentence, store: &Store) -> Result<(String, PathBuf), Failure> {
    let wanted = super::name_of(sentence, Object::Backup)?;
    let names = names(store)?;
    let name = names
        .into_iter()
        .find(|name| name.eq_ignore_ascii_case(&wanted));
    let name = name.ok_or(Failure::NotFound {
        object: Object::Backup,
        identifier: wanted,
    })?;
    let folder = folder(store).join(&name);
    Ok((name, folder))
}

/// Whether the server says that its services do not run.
fn are_stopped(store: &Store) -> bool {
    let Ok(Answer::Services(states)) = store.ask(&Command::ServiceStatus) else {
        return false;
    };
    let mut states = states.into_iter();
    states.all(|(_, status)| status == ServiceStatus::Stopped)
}

/// Source: appcmd `restore backup /stop`: the server is stopped meanwhile, by default.
fn restore(sentence: &Sentence, store: &Store) -> Result<ExitCode, Failure> {
    let (name, folder) = existing(sentence, store)?;
    let services = vec![Service::W3svc, Service::Was];
    let stop = Command::StopServices {
        services: services.clone(),
        timeout_ms: STOP_MS,
        force: true,
        reset_by: None,
    };
    let stops = sentence
        .parameter("stop")
        .is_none_or(|stop| !stop.eq_ignore_ascii_case("false"));
    let is_running = match store.ask_if_running(&Command::ServiceStatus) {
        Ok(answer) => answer.is_some() && stops,
        Err(StoreError::Ask(AskError::NotRunning { .. })) => false,
        Err(error) => return Err(error.into()),
    };
    if is_running {
        store.ask(&stop)?;
    }
    store.hold();
    let copied = store.take_copy(&folder.join(FILE));
    store.let_go();
    let started = if is_running {
        let services = services.into_iter().rev().collect();
        store.ask(&Command::StartServices { services }).map(|_| ())
    } else {
        Ok(())
    };
    let started = started.map_err(|error| {
        let failure = Failure::from(error);
        // One that takes its time may still start.
        if are_stopped(store) {
            Failure::AndStopped(Box::new(failure))
        } else {
            failure
        }
    });
    if copied.is_ok() {
        let effect = match &started {
            Ok(()) => json!("done"),
            Err(failure) => {
                let is_stopped = matches!(failure, Failure::AndStopped(_));
                json!({
                    "file": "restored",
                    "services": is_stopped.then_some("stopped"),
                    "not_started": failure.text(),
                })
            }
        };
        let deed = json!({"RestoreBackup": {"name": name, "file": store.config()}});
        store.has_caused(deed, effect);
    }
    started?;
    copied?;
    println!("Restored configuration from backup \"{name}\"");
    Ok(ExitCode::SUCCESS)
}
