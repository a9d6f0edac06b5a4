//! Where in a scenario's text the thing is that a message is about.

use sim_worker::application::Behaviour;
use toml::de::{DeArray, DeTable, DeValue};

/// The message with the line of the key that it begins with, e.g. of `load.rate must lie …`; as it is if the
/// text has no such key.
pub(super) fn with_line(text: &str, message: &str) -> String {
    match line_of(text, message) {
        Some(line) => format!("line {line}: {message}"),
        None => message.to_owned(),
    }
}

/// The first key of more parts than a table may have below it, with its line: its error has none.
pub(super) fn deep_key(text: &str) -> Option<String> {
    /// Source: the toml crate's recursion limit.
    const PARTS_MAX: usize = 80;
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
    let of_line = |line: &str| {
        let keys = line.split(|c| !is_part(c));
        keys.map(|key| key.matches('.').count() + 1).max()
    };
    let mut lines = text.lines().enumerate();
    lines.find_map(|(index, line)| {
        let parts = of_line(line).filter(|parts| *parts >= PARTS_MAX)?;
        Some(format!(
            "line {}: a key of {parts} parts is too deep",
            index + 1
        ))
    })
}

/// A list whose entries messages call by a name.
struct Entry {
    /// How such a message begins, up to the name in quotes.
    before: &'static str,
    /// The list, or a list in each entry of another one.
    lists: &'static [&'static str],
    name: &'static str,
}

const fn entry(before: &'static str, lists: &'static [&'static str], name: &'static str) -> Entry {
    Entry {
        before,
        lists,
        name,
    }
}

const ENTRIES: [Entry; 4] = [
    entry("[[expect]] ", &["expect"], "that"),
    entry("two variants are called ", &["variant"], "name"),
    entry("variant ", &["variant"], "name"),
    entry("content ", &["application", "content"], "path"),
];

impl Entry {
    /// Where the name stands that the message begins with; of two that are alike, the second.
    fn find(&self, table: &DeTable<'_>, message: &str) -> Option<usize> {
        let called = message.strip_prefix(self.before)?;
        let mut tables = vec![table];
        for list in self.lists {
            let below = tables.iter().filter_map(|table| array(table, list));
            tables = below.flat_map(tables_of).collect();
        }
        let names = tables.iter().filter_map(|entry| entry.get(self.name));
        let mut names = names.filter(|name| {
            let DeValue::String(name) = name.get_ref() else {
                return false;
            };
            called.starts_with(&format!("{name:?}"))
        });
        names.next_back().map(|name| name.span().start)
    }
}

/// The line of the first mistake in a page of an application's behaviour, whose reader knows its place only in
/// the behaviour as it is written by us.
pub(super) fn line_in_behaviour(text: &str) -> Option<usize> {
    let values: toml::Table = toml::from_str(text).ok()?;
    let parsed = DeTable::parse(text).ok()?;
    let applications = array(parsed.get_ref(), "application")?;
    let written = values.get("application")?.as_array()?;
    let wrong = |value: &toml::Value| {
        let written = value.get("behaviour")?.as_table()?.to_string();
        let wrong = Behaviour::parse("behaviour", &written).err()?;
        Some((written, wrong.line))
    };
    let mut all = applications.iter().zip(written);
    let (application, (written, line)) = all.find_map(|(at, value)| Some((at, wrong(value)?)))?;
    let before: Vec<&str> = written.lines().take(line).collect();
    let headings = before.iter().filter(|line| line.starts_with("[[page]]"));
    let page = headings.count().checked_sub(1)?;
    // A mistake of the whole page is told at its heading.
    let key = before
        .last()?
        .split_once(" = ")
        .map_or("path", |(key, _)| key);
    let behaviour = table(application.get_ref())?.get("behaviour")?;
    let pages = array(table(behaviour.get_ref())?, "page")?;
    let mut keys = table(pages.get(page)?.get_ref())?.iter();
    let (key, _) = keys.find(|(name, _)| name.get_ref() == key)?;
    Some(text.get(..key.span().start)?.matches('\n').count() + 1)
}

/// Where the second of two `[[application]]` that are for the same names its site.
fn find_same_application(table: &DeTable<'_>, message: &str) -> Option<usize> {
    let text = |table: &DeTable<'_>, name: &str| {
        let DeValue::String(text) = table.get(name)?.get_ref() else {
            return None;
        };
        Some(text.to_string())
    };
    let mut all = tables_of(array(table, "application")?);
    let found = all.rfind(|application| {
        let path = text(application, "path").unwrap_or_else(|| "/".to_owned());
        let site = text(application, "site").unwrap_or_default();
        message.starts_with(&format!(
            "two [[application]] are for {path:?} of site {site:?}"
        ))
    });
    Some(found?.get("site")?.span().start)
}

/// The line in which a `[[application]]` names its site.
pub(super) fn line_of_application(text: &str, index: usize) -> Option<usize> {
    let parsed = DeTable::parse(text).ok()?;
    let application = array(parsed.get_ref(), "application")?.get(index)?;
    let site = table(application.get_ref())?.get("site")?;
    Some(text.get(..site.span().start)?.matches('\n').count() + 1)
}

fn table<'v, 'i>(value: &'v DeValue<'i>) -> Option<&'v DeTable<'i>> {
    if let DeValue::Table(table) = value {
        Some(table)
    } else {
        None
    }
}

fn array<'v, 'i>(table: &'v DeTable<'i>, name: &str) -> Option<&'v DeArray<'i>> {
    if let DeValue::Array(array) = table.get(name)?.get_ref() {
        Some(array)
    } else {
        None
    }
}

fn tables_of<'v, 'i>(list: &'v DeArray<'i>) -> impl DoubleEndedIterator<Item = &'v DeTable<'i>> {
    list.iter().filter_map(|entry| table(entry.get_ref()))
}

fn line_of(text: &str, message: &str) -> Option<usize> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let path = message.split(|c| !is_part(c)).next()?;
    let parsed = DeTable::parse(text).ok()?;
    let mut table = parsed.get_ref();
    let line = |at: usize| Some(text.get(..at)?.matches('\n').count() + 1);
    if let Some(at) = ENTRIES.iter().find_map(|entry| entry.find(table, message)) {
        return line(at);
    }
    if let Some(at) = find_same_application(table, message) {
        return line(at);
    }
    let mut at = None;
    for name in path.trim_end_matches('.').split('.') {
        let Some((key, value)) = table.iter().find(|(key, _)| key.get_ref() == name) else {
            break;
        };
        at = Some(key.span().start);
        let DeValue::Table(inner) = value.get_ref() else {
            break;
        };
        table = inner;
    }
    line(at?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_of_a_list_is_found_by_its_name() {
        let text = "name = 'x'\n[[variant]]\nname = 'a'\n[[variant]]\nname = 'ab'\n[[variant]]\nname = 'a'\n\
                    [[expect]]\nchecks = []\nthat = 'it \"holds\"'\n";
        for (message, line) in [
            ("two variants are called \"a\"", Some(7)),
            ("variant \"ab\": load.rate must lie", Some(5)),
            ("[[expect]] \"it \\\"holds\\\"\": checks is empty", Some(10)),
            ("[[expect]] \"it\": checks is empty", None),
        ] {
            assert_eq!(line_of(text, message), line, "{message}");
        }
    }

    #[test]
    fn a_key_is_found_however_it_is_written() {
        let text = "name = 'x'\ntrials = 0\n[load]\nrate = -5\nprobes.interval = '0s'\n[timing]\n";
        for (message, line) in [
            ("trials = 0: at least 1 is needed", Some(2)),
            ("load.rate must lie between 0 and 1, not -5", Some(4)),
            ("load.probes.interval is too short", Some(5)),
            ("load.held.at must be before", Some(3)),
            ("two variants are called \"a\"", None),
            ("variant \"x\": load.rate must lie between 0 and 1", None),
            ("", None),
        ] {
            assert_eq!(line_of(text, message), line, "{message}");
        }
    }
}
