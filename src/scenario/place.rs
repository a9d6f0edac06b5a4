//! Where in a scenario's text the thing is that a message is about.

use toml::de::{DeTable, DeValue};

/// The message with the line of the key that it begins with, e.g. of `load.rate must lie …`; as it is if the
/// text has no such key.
pub(super) fn with_line(text: &str, message: &str) -> String {
    match line_of(text, message) {
        Some(line) => format!("line {line}: {message}"),
        None => message.to_owned(),
    }
}

fn line_of(text: &str, message: &str) -> Option<usize> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let path = message.split(|c| !is_part(c)).next()?;
    let parsed = DeTable::parse(text).ok()?;
    let mut table = parsed.get_ref();
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
    Some(text.get(..at?)?.matches('\n').count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_however_it_is_written() {
        let text = "name = 'x'\ntrials = 0\n[load]\nrate = -5\nprobes.interval = '0s'\n[timing]\n";
        for (message, line) in [
            ("trials = 0: at least 1 is needed", Some(2)),
            ("load.rate must lie between 0 and 1, not -5", Some(4)),
            ("load.probes.interval is too short", Some(5)),
            ("load.held.at must be before", Some(3)),
            ("two variants are called \"a\"", None),
            ("", None),
        ] {
            assert_eq!(line_of(text, message), line, "{message}");
        }
    }
}
