//! The MODULE object: which modules an application has. They are listed and edited as IIS does; what a
//! worker really runs is the same for all.
//!
//! Source: Microsoft's pages on modules: `add`, `delete` and `set` enable, disable and edit a module in
//! `modules`, of the server or of `/app.name`; `install` and `uninstall` also put it into `globalModules`
//! and take it away.

use std::process::ExitCode;

use sim_was::config::edit::{Act, Change, Position, Step};
use sim_was::config::view::View;

use super::commit::Commit;
use super::grammar::{Object, Sentence};
use super::rows::Row;
use super::sections::{self, Files};
use super::{Failure, name_of, print};
use crate::administration::store::Store;

const MODULES: &str = "system.webServer/modules";
const GLOBAL: &str = "system.webServer/globalModules";

/// Does what is asked of the MODULE object.
pub(super) fn run(sentence: &Sentence, store: &Store) -> Result<ExitCode, Failure> {
    let location = sentence.parameter("app.name").unwrap_or_default();
    let location = location.trim_matches('/');
    if sentence.verb == "list" {
        return list(sentence, store, location);
    }
    let given = sentence.identifier.clone();
    let name = match given.or_else(|| sentence.parameter("name").map(str::to_owned)) {
        Some(name) => name,
        None => name_of(sentence, Object::Module)?,
    };
    let listed = |section: &str, what: &[&str]| added(section, sentence, &name, what);
    let says = |what: &str, done: &str| format!("{what} object \"{name}\" {done}");
    let (changes, lines) = match sentence.verb.as_str() {
        "add" => {
            let add = listed(MODULES, &["type", "preCondition"]);
            (vec![add], vec![says("MODULE", "added")])
        }
        "install" => {
            if sentence.parameter("image").is_none() {
                return Err(Failure::Message(
                    "Must specify the image of the module with /image:<path>.".to_owned(),
                ));
            }
            let global = listed(GLOBAL, &["image", "preCondition"]);
            let enabled = listed(MODULES, &["preCondition"]);
            let lines = vec![says("GLOBAL MODULE", "added"), says("MODULE", "added")];
            (vec![global, enabled], lines)
        }
        "delete" => {
            find(store, MODULES, location, &name)?;
            (
                vec![removed(MODULES, &name)],
                vec![says("MODULE", "deleted")],
            )
        }
        "uninstall" => {
            find(store, GLOBAL, "", &name)?;
            let mut changes = vec![removed(GLOBAL, &name)];
            let enabled = find(store, MODULES, "", &name).is_ok();
            changes.extend(enabled.then(|| removed(MODULES, &name)));
            (changes, vec![says("GLOBAL MODULE", "deleted")])
        }
        "set" => {
            find(store, MODULES, location, &name)?;
            let changes = sentence.properties().filter_map(|(attribute, value)| {
                let is_own = ["type", "preCondition"]
                    .iter()
                    .any(|a| a.eq_ignore_ascii_case(attribute));
                let act = Act::Set {
                    attribute: attribute.to_owned(),
                    value: value.unwrap_or_default().to_owned(),
                };
                let entry = vec![Step::Entry(vec![("name".to_owned(), name.clone())])];
                is_own.then(|| Change::new(MODULES, entry, act))
            });
            (changes.collect(), vec![says("MODULE", "changed")])
        }
        verb => {
            return Err(Failure::Message(format!(
                "Command '{verb}' is not supported on MODULE.  Run 'appcmd.exe /?' to display supported \
                 commands."
            )));
        }
    };
    // Source: Microsoft's page on `appcmd add module`: that of an application goes into its web.config.
    if location.is_empty() {
        store.change(&changes)?;
    } else {
        let (commit, files) = (Commit::of(sentence, store, location)?, Files::of(store)?);
        sections::make(&commit, (store, &files), (MODULES, &changes), location)?;
    }
    for line in lines {
        println!("{line}");
    }
    Ok(ExitCode::SUCCESS)
}

fn added(section: &str, sentence: &Sentence, name: &str, what: &[&str]) -> Change {
    let mut attributes = vec![("name".to_owned(), name.to_owned())];
    for attribute in what {
        let value = sentence.parameter(attribute).map(str::to_owned);
        attributes.extend(value.map(|value| ((*attribute).to_owned(), value)));
    }
    Change::new(
        section,
        Vec::new(),
        Act::Add {
            attributes,
            at: Position::End,
        },
    )
}

fn removed(section: &str, name: &str) -> Change {
    let keys = vec![("name".to_owned(), name.to_owned())];
    Change::new(section, Vec::new(), Act::Remove { keys })
}

/// A module as it is in effect at a location.
fn find(store: &Store, section: &str, location: &str, name: &str) -> Result<View, Failure> {
    let view = Files::of(store)?.views().section(section, location)?;
    let is_it = |view: &View| {
        view.attribute("name")
            .is_some_and(|n| n.eq_ignore_ascii_case(name))
    };
    let mut entries = view.into_iter().flat_map(|view| view.children);
    entries
        .find(|entry| entry.name == "add" && is_it(entry))
        .ok_or_else(|| Failure::NotFound {
            object: Object::Module,
            identifier: name.to_owned(),
        })
}

/// Source: appcmd: `MODULE "HttpCacheModule" ( native, preCondition: )`; a managed module has its type there.
/// Assumed: `/type:native` and `/type:managed` are all modules of a kind, anything else is the type of a managed one.
fn list(sentence: &Sentence, store: &Store, location: &str) -> Result<ExitCode, Failure> {
    let view = Files::of(store)?.views().section(MODULES, location)?;
    let mut modules = view.map_or_else(Vec::new, |view| view.children);
    modules.retain(|module| module.name == "add");
    let mut sentence = sentence.clone();
    let kind = sentence.parameter("type").map(str::to_ascii_lowercase);
    let kind = kind.filter(|kind| ["native", "managed"].contains(&&**kind));
    if let Some(kind) = &kind {
        modules.retain(|module| is_native(module) == (kind == "native"));
    }
    // They have been looked at.
    sentence.parameters.retain(|(name, _)| {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        let is_looked_at = is("app.name") || kind.is_some() && is("type");
        !is_looked_at
    });
    let rows: Vec<Row> = modules.into_iter().map(row).collect();
    print::list(&[sentence], Object::Module, &rows)
}

fn is_native(module: &View) -> bool {
    module.attribute("type").is_none_or(str::is_empty)
}

fn row(module: View) -> Row {
    let text = |attribute| module.attribute(attribute).unwrap_or_default().to_owned();
    Row {
        line: line(&module),
        properties: vec![
            ("MODULE.NAME", text("name")),
            ("type", text("type")),
            ("preCondition", text("preCondition")),
        ],
        related: None,
        view: Some(module),
    }
}

fn line(module: &View) -> String {
    let text = |attribute| module.attribute(attribute).unwrap_or_default();
    let kind = match text("type") {
        "" => "native".to_owned(),
        managed => format!("type:{managed}"),
    };
    let condition = text("preCondition");
    format!(
        "MODULE \"{}\" ( {kind}, preCondition:{condition} )",
        text("name")
    )
}
