//! What may not be written down: values of passwords and of environment variables.
//!
//! Assumed: logs are ours, and whoever reads them needs no password; what a pool gives its workers in
//! `environmentVariables` is as secret as one.

use crate::config::edit::{Act, Change, Step};
use crate::control::Command;

/// What stands for a secret.
const HIDDEN: &str = "*";
/// The collection whose values are secret.
const VARIABLES: &str = "environmentvariables";

/// A command without secrets.
pub(super) fn command_without_secrets(command: &Command) -> Command {
    let mut shown = command.clone();
    if let Command::ChangeConfiguration { changes } = &mut shown {
        for change in changes {
            *change = without_secrets(change);
        }
    }
    shown
}

/// A change without secrets.
#[must_use]
pub fn without_secrets(change: &Change) -> Change {
    let mut shown = change.clone();
    let is_variable = change.element.iter().any(|step| match step {
        Step::Child(name) => name.eq_ignore_ascii_case(VARIABLES),
        Step::Entry(_) => false,
    });
    let hide = |name: &str, value: &mut String| {
        if is_password(name) || is_variable && name.eq_ignore_ascii_case("value") {
            HIDDEN.clone_into(value);
        }
    };
    let hide_all = |attributes: &mut Vec<(String, String)>| {
        for (name, value) in attributes {
            hide(name, value);
        }
    };
    for step in &mut shown.element {
        if let Step::Entry(keys) = step {
            hide_all(keys);
        }
    }
    match &mut shown.act {
        Act::Set { attribute, value } => hide(attribute, value),
        Act::Add { attributes, .. } => hide_all(attributes),
        Act::Remove { keys } => hide_all(keys),
        Act::DeleteAttribute { .. } | Act::Clear | Act::DeleteElement | Act::Lock { .. } => {}
    }
    shown
}

fn is_password(name: &str) -> bool {
    let name = name.rsplit(['.', '\'', '/']).next().unwrap_or(name);
    name.to_lowercase().ends_with("password")
}

/// A command line without the secrets that it sets: `/processModel.password:…`, `[path='/',password='…']`,
/// `/+environmentVariables.[name='A',value='…']`.
pub fn words_without_secrets<'w>(words: impl IntoIterator<Item = &'w str>) -> String {
    let words = words.into_iter().map(|word| {
        let shown = hidden_after(word, "password");
        if word.to_ascii_lowercase().contains(VARIABLES) {
            hidden_after(&shown, "value")
        } else {
            shown
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// A word without what is said of an attribute whose name ends so.
fn hidden_after(word: &str, name: &str) -> String {
    let mut shown = String::new();
    let mut rest = word;
    while let Some(at) = rest.to_ascii_lowercase().find(name) {
        let end = at + name.len();
        shown.push_str(&rest[..end]);
        rest = &rest[end..];
        if let Some(quoted) = rest.strip_prefix("='") {
            shown.push_str("='");
            shown.push_str(HIDDEN);
            rest = after_quote(quoted);
        } else if rest.starts_with([':', '=']) {
            shown.push_str(&rest[..1]);
            shown.push_str(HIDDEN);
            rest = "";
        }
    }
    shown.push_str(rest);
    shown
}

/// What follows a text in quotes, from the closing quote on; a quote in it is written twice.
fn after_quote(mut text: &str) -> &str {
    loop {
        let Some(at) = text.find('\'') else {
            return "";
        };
        match text[at..].strip_prefix("''") {
            Some(rest) => text = rest,
            None => return &text[at..],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_is_shown_without_passwords_and_values_of_environment_variables() {
        for (word, shown) in [
            ("/processModel.password:Secret1", "/processModel.password:*"),
            ("-Password:a'b", "-Password:*"),
            (
                "/+x.[path='/',password='S''s',userName='u']",
                "/+x.[path='/',password='*',userName='u']",
            ),
            (
                "/+environmentVariables.[name='DB_PASSWORD',value='hunter2']",
                "/+environmentVariables.[name='DB_PASSWORD',value='*']",
            ),
            (
                "/[name='P'].environmentVariables.[name='A'].value:b",
                "/[name='P'].environmentVariables.[name='A'].value:*",
            ),
            ("/managedRuntimeVersion:v4.0", "/managedRuntimeVersion:v4.0"),
            ("/+files.[value='a.htm']", "/+files.[value='a.htm']"),
        ] {
            assert_eq!(words_without_secrets([word]), shown);
        }
    }

    #[test]
    fn a_change_is_shown_without_passwords_and_values_of_environment_variables() {
        let section = "system.applicationHost/applicationPools";
        for (words, shown) in [
            (
                "[name='P'].processModel.password:S",
                "[name='P'].processModel.password:*",
            ),
            (
                "[name='P'].processModel.userName:u",
                "[name='P'].processModel.userName:u",
            ),
            ("+[name='P',password='S']", "+[name='P',password='*']"),
            (
                "+[name='P'].environmentVariables.[name='A',value='b']",
                "+[name='P'].environmentVariables.[name='A',value='*']",
            ),
            (
                "[name='P'].environmentVariables.[name='A'].value:b",
                "[name='P'].environmentVariables.[name='A'].value:*",
            ),
        ] {
            let change = |words: &str| Change::within(section, words).unwrap();
            assert_eq!(without_secrets(&change(words)), change(shown), "{words}");
        }
    }
}
