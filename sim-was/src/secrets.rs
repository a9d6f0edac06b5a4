//! What may not be written down: values of passwords, connection strings, keys and environment variables.
//!
//! Assumed: logs are ours, and whoever reads them needs no password; what a pool gives its workers in
//! `environmentVariables` is as secret as one.

use serde_json::Value;

use crate::config::edit::{Act, Change, Step};
use crate::control::Command;

/// What stands for a secret.
const HIDDEN: &str = "*";
/// What the names of attributes end with whose values are secret, in lower case: also `sqlConnectionString` and
/// `stateConnectionString` of `sessionState`, and both keys of `machineKey`. One that may hold another comes first.
/// Assumed: nobody needs what else a connection string says in a log; it is text that is written in many ways.
const SECRETS: [&str; 4] = [
    "connectionstring",
    "password",
    "validationkey",
    "decryptionkey",
];
/// The collection whose values are secret.
const VARIABLES: &str = "environmentvariables";

/// A command without secrets.
#[must_use]
pub fn command_without_secrets(command: &Command) -> Command {
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
        if is_secret(name) || is_variable && name.eq_ignore_ascii_case("value") {
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

/// Whether the value of an attribute is secret, by its name or the way to it.
pub(crate) fn is_secret_setting(path: &str) -> bool {
    let is_value = || path.to_ascii_lowercase().ends_with(".value");
    is_secret(path) || path.to_ascii_lowercase().contains(VARIABLES) && is_value()
}

/// What is shown of a secret.
pub(crate) fn hidden() -> String {
    HIDDEN.to_owned()
}

fn is_secret(name: &str) -> bool {
    let name = name.rsplit(['.', '\'', '/']).next().unwrap_or(name);
    let name = name.replace('_', "").to_lowercase();
    SECRETS.iter().any(|secret| name.ends_with(secret))
}

/// A command line without the secrets that it sets: `/processModel.password:…`, `[path='/',password='…']`,
/// `/+environmentVariables.[name='A',value='…']`.
pub fn words_without_secrets<'w>(words: impl IntoIterator<Item = &'w str>) -> String {
    shown_and_hidden(words).0
}

/// Why a command line was refused, without the secrets that it sets: words may be quoted there, or a part of one.
pub fn refusal_without_secrets<'w>(
    refusal: &str,
    words: impl IntoIterator<Item = &'w str>,
) -> String {
    let (_, hidden) = shown_and_hidden(words);
    text_without(refusal, hidden)
}

/// Why a command was refused, without its secrets.
pub fn effect_without_secrets(effect: &mut Value, command: &Command) {
    let mut hidden = Vec::new();
    let of = |command| serde_json::to_value(command).unwrap_or_default();
    differing(
        &of(command),
        &of(&command_without_secrets(command)),
        &mut hidden,
    );
    each_text(effect, &|text| *text = text_without(text, hidden.clone()));
}

/// What a body of the REST API asks for, without passwords and without the values of environment variables, which
/// are hidden whatever they are: the body need not be one that anybody understands.
#[must_use]
pub fn body_without_secrets(body: &Value) -> Value {
    let mut shown = body.clone();
    hide_in(&mut shown, false);
    shown
}

/// A text about a body, without the secrets of the body: it may be quoted there.
pub fn text_without_secrets_of(body: &Value, text: &str) -> String {
    let mut hidden = Vec::new();
    differing(body, &body_without_secrets(body), &mut hidden);
    text_without(text, hidden)
}

fn hide_in(value: &mut Value, is_variable: bool) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let of_variables = name.replace('_', "").to_lowercase().contains(VARIABLES);
                if is_secret(name) && !value.is_null() {
                    *value = HIDDEN.into();
                } else {
                    let is_name = name.eq_ignore_ascii_case("name");
                    hide_in(value, of_variables || is_variable && !is_name);
                }
            }
        }
        Value::Array(values) => {
            for value in values {
                hide_in(value, is_variable);
            }
        }
        Value::String(_) | Value::Number(_) | Value::Bool(_) if is_variable => {
            *value = HIDDEN.into();
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The texts of one value that are others in another one of the same shape.
fn differing(one: &Value, other: &Value, found: &mut Vec<String>) {
    match (one, other) {
        (Value::String(text), Value::String(shown)) if text != shown => found.push(text.clone()),
        (Value::Array(ones), Value::Array(others)) => {
            for (one, other) in ones.iter().zip(others) {
                differing(one, other, found);
            }
        }
        (Value::Object(ones), Value::Object(others)) => {
            for (one, other) in ones.values().zip(others.values()) {
                differing(one, other, found);
            }
        }
        (one, other) if one != other => {
            found.push(one.to_string());
            leaves(one, found);
        }
        _ => {}
    }
}

/// The texts and numbers in a value.
fn leaves(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => found.push(text.clone()),
        Value::Number(number) => found.push(number.to_string()),
        Value::Array(values) => values.iter().for_each(|value| leaves(value, found)),
        Value::Object(values) => values.values().for_each(|value| leaves(value, found)),
        Value::Null | Value::Bool(_) => {}
    }
}

fn each_text(value: &mut Value, change: &impl Fn(&mut String)) {
    match value {
        Value::String(text) => change(text),
        Value::Array(values) => values.iter_mut().for_each(|value| each_text(value, change)),
        Value::Object(values) => values
            .values_mut()
            .for_each(|value| each_text(value, change)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// A text without those words.
fn text_without(text: &str, mut hidden: Vec<String>) -> String {
    // A refusal of the server is told as it is spelt in the code, with a backslash before what is special.
    let as_spelt = |secret: &String| format!("{secret:?}").trim_matches('"').to_owned();
    let spelt: Vec<String> = hidden.iter().map(as_spelt).collect();
    hidden.extend(spelt);
    // One may be the beginning of another.
    hidden.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    let mut shown = text.to_owned();
    for secret in hidden.iter().filter(|secret| !secret.is_empty()) {
        shown = text_without_word(&shown, secret);
    }
    shown
}

/// A text without a secret. A short one is taken for itself only where it is no part of a word.
fn text_without_word(text: &str, secret: &str) -> String {
    let is_short = secret.len() < 4;
    let mut shown = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(secret) {
        let (before, after) = (&rest[..at], &rest[at + secret.len()..]);
        let is_part = before.ends_with(char::is_alphanumeric)
            || after.starts_with(char::is_alphanumeric)
            || (before.is_empty() && shown.ends_with(char::is_alphanumeric));
        shown.push_str(before);
        let is_word = is_short && is_part;
        shown.push_str(if is_word { secret } else { HIDDEN });
        rest = after;
    }
    shown.push_str(rest);
    shown
}

/// A command line without its secrets, and those.
fn shown_and_hidden<'w>(words: impl IntoIterator<Item = &'w str>) -> (String, Vec<String>) {
    let mut hidden = Vec::new();
    let words = words.into_iter().map(|word| {
        let mut shown = word.to_owned();
        for name in SECRETS {
            shown = hidden_after(&shown, name, &mut hidden);
        }
        if word.to_ascii_lowercase().contains(VARIABLES) {
            hidden_after(&shown, "value", &mut hidden)
        } else {
            shown
        }
    });
    let shown = words.collect::<Vec<_>>().join(" ");
    (shown, hidden)
}

/// A word without what is said of an attribute whose name ends so.
fn hidden_after(word: &str, name: &str, hidden: &mut Vec<String>) -> String {
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
            let secret = &quoted[..quoted.len() - rest.len()];
            hidden.extend([secret.to_owned(), secret.replace("''", "'")]);
        } else if rest.starts_with([':', '=']) {
            shown.push_str(&rest[..1]);
            shown.push_str(HIDDEN);
            hidden.push(rest[1..].to_owned());
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
            (
                "/+[name='D',connectionString='Server=s;Password=p;x=y',providerName='z']",
                "/+[name='D',connectionString='*',providerName='z']",
            ),
            (
                "/[name='D'].connectionString:Server=s;Pwd=p",
                "/[name='D'].connectionString:*",
            ),
            ("/section:connectionStrings", "/section:connectionStrings"),
            ("/sqlConnectionString:Pwd=a", "/sqlConnectionString:*"),
            ("/stateConnectionString:a", "/stateConnectionString:*"),
            ("/validationKey:ABC", "/validationKey:*"),
            ("/DecryptionKey:ABC", "/DecryptionKey:*"),
            ("/validation:SHA1", "/validation:SHA1"),
            ("/managedRuntimeVersion:v4.0", "/managedRuntimeVersion:v4.0"),
            ("/+files.[value='a.htm']", "/+files.[value='a.htm']"),
        ] {
            assert_eq!(words_without_secrets([word]), shown);
        }
    }

    #[test]
    fn a_refusal_is_shown_without_the_secrets_that_it_quotes() {
        let section = "/section:applicationPools";
        for (word, refusal, shown) in [
            (
                "-[name='P'].environmentVariables.[name='A',value='x''y']",
                "[name='P'].environmentVariables.[name='A',value='x''y'] is no change: no \"x'y\"",
                "[name='P'].environmentVariables.[name='A',value='*'] is no change: no \"*\"",
            ),
            ("/processModel.password:is", "this is no is", "this * no *"),
            ("/x.password:a", "aa b-a aaa", "aa b-* aaa"),
            ("/x.password:a\\b\"c", r#"\na\\b\"c"#, r"\n*"),
            ("/queueLength:5", "5 is too few", "5 is too few"),
        ] {
            let text = refusal_without_secrets(refusal, [section, word]);
            assert_eq!(text, shown, "{word}");
        }
        let words = "+[name='P'].environmentVariables.[name='A',value='b']";
        let changes =
            vec![Change::within("system.applicationHost/applicationPools", words).unwrap()];
        let command = Command::ChangeConfiguration { changes };
        let mut effect = serde_json::json!({"refused": {"Failed": {"message": "'b' is bad"}}});
        effect_without_secrets(&mut effect, &command);
        assert_eq!(effect["refused"]["Failed"]["message"], "'*' is bad");
    }

    #[test]
    fn a_body_is_shown_without_passwords_and_values_of_environment_variables() {
        use serde_json::json;
        let body = json!({
            "name": "P", "queue_length": 5,
            "identity": {"username": "u", "Password": "hunter2"},
            "password": ["hunter3", 77],
            "connection_string": "Pwd=p", "machineKey": {"validationKey": "k"},
            "environment_variables": [{"name": "A", "value": "b"}],
            "environmentVariables": {"A": {"b": true}},
        });
        let shown = body_without_secrets(&body);
        let wanted = json!({
            "name": "P", "queue_length": 5,
            "identity": {"username": "u", "Password": "*"},
            "password": "*",
            "connection_string": "*", "machineKey": {"validationKey": "*"},
            "environment_variables": [{"name": "A", "value": "*"}],
            "environmentVariables": {"A": {"b": "*"}},
        });
        assert_eq!(shown, wanted);
        let text = "5: [\"hunter3\",77] is not a string; \"hunter2\" and 77 are not, and b is no A";
        let shown = "5: * is not a string; \"*\" and * are not, and * is no A";
        assert_eq!(text_without_secrets_of(&body, text), shown);
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
            ("machineKey.decryptionKey:K", "machineKey.decryptionKey:*"),
            (
                "[name='D'].connectionString:Pwd=p",
                "[name='D'].connectionString:*",
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
