//! What a key leads into: the scenario, the costs, or the server's applicationHost.config.

use sim_was::config::default_config::DEFAULT_CONFIG;
use sim_was::config::edit::{self, Change, EditError};
use toml::{Table, Value};

use crate::sweep::path::{KeyPath, PathError, Step};

/// What a key leads into.
#[derive(Clone, Debug)]
pub(super) enum Target {
    /// The scenario.
    Scenario,
    /// The profile of costs; the key without its first word.
    Costs(KeyPath),
    /// `pool[NAME].ATTRIBUTE`: an attribute of an application pool.
    Pool(String, String),
    /// `site[NAME].ATTRIBUTE`: an attribute of a site.
    Site(String, String),
    /// An attribute as appcmd writes it: `system.applicationHost/…`.
    Section(String),
}

impl Target {
    /// Understands a key.
    pub(super) fn of(key: &KeyPath) -> Result<Self, PathError> {
        let text = key.text();
        if let Some(rest) = text.strip_prefix("costs.") {
            return Ok(Self::Costs(KeyPath::parse(rest)?));
        }
        if text.starts_with("system.") && text.contains('/') {
            return Ok(Self::Section(text.to_owned()));
        }
        let [Step::Key(word), Step::Pick(name), ..] = key.steps() else {
            return match key.steps() {
                [Step::Key(word), ..] if word == "pool" || word == "site" => Err(PathError::List {
                    at: word.clone(),
                    example: "its name".to_owned(),
                }),
                _ => Ok(Self::Scenario),
            };
        };
        let start = word.len() + name.len() + 3;
        let attribute = text.get(start..).unwrap_or("").to_owned();
        let target = match word.as_str() {
            "pool" => Self::Pool,
            "site" => Self::Site,
            _ => return Ok(Self::Scenario),
        };
        if attribute.is_empty() {
            return Err(PathError::Malformed);
        }
        Ok(target(name.clone(), attribute))
    }

    /// The change of the configuration that a value means, if it is one.
    pub(super) fn change(&self, value: &Value) -> Option<Result<Change, EditError>> {
        let text = value.as_str().map(str::to_owned);
        let text = text.unwrap_or_else(|| value.to_string());
        match self {
            Self::Scenario | Self::Costs(_) => None,
            Self::Pool(name, path) => Some(Ok(Change::pool(name, path, &text))),
            Self::Site(name, path) => Some(Ok(Change::site(name, path, &text))),
            Self::Section(path) => Some(format!("{path}:{text}").parse()),
        }
    }
}

/// Edits the configuration in a scenario.
pub(super) fn edit(scenario: &mut Table, change: Change) -> Result<(), EditError> {
    let server = scenario
        .entry("server")
        .or_insert_with(|| Value::Table(Table::new()));
    let Some(server) = server.as_table_mut() else {
        return Ok(());
    };
    let own = server.get("config-text").and_then(Value::as_str);
    let text = own.unwrap_or(DEFAULT_CONFIG).trim_start();
    let edited = edit::apply(text, &[change])?;
    server.insert("config-text".to_owned(), edited.into());
    Ok(())
}
