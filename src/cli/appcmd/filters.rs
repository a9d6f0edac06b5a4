//! Filters of `list`: `/state:Stopped`, `/processModel.idleTimeout:$>00:10:00`.

use std::cmp::Ordering;

use super::grammar::Sentence;
use super::rows::Row;
use super::{Failure, parameters};

/// What a property has to be.
///
/// Assumed: the signs of appcmd's expressions, of which Microsoft's pages name `$=` with a `*` for any text; one
/// word has them all.
enum Test<'w> {
    /// This value: as a time, a number, a name.
    Is(&'w str),
    /// Like this text, with a `*` for any text.
    Like(&'w str),
    /// Not like it.
    Unlike(&'w str),
    /// On this side of it.
    Compared(&'w str, &'static [Ordering]),
}

impl<'w> Test<'w> {
    fn of(wanted: &'w str) -> Self {
        const MORE: Ordering = Ordering::Greater;
        const LESS: Ordering = Ordering::Less;
        // The longer signs first: `$>=` begins with `$>`.
        if let Some(text) = wanted.strip_prefix("$<>") {
            Self::Unlike(text)
        } else if let Some(value) = wanted.strip_prefix("$>=") {
            Self::Compared(value, &[MORE, Ordering::Equal])
        } else if let Some(value) = wanted.strip_prefix("$<=") {
            Self::Compared(value, &[LESS, Ordering::Equal])
        } else if let Some(value) = wanted.strip_prefix("$>") {
            Self::Compared(value, &[MORE])
        } else if let Some(value) = wanted.strip_prefix("$<") {
            Self::Compared(value, &[LESS])
        } else if let Some(text) = wanted.strip_prefix("$=") {
            Self::Like(text)
        } else {
            Self::Is(wanted)
        }
    }

    fn passes(&self, row: &Row, name: &str) -> bool {
        if let Some(names) = row.related(name) {
            let mut names = names.iter();
            return names.any(|own| match self {
                Self::Is(wanted) => own.eq_ignore_ascii_case(wanted),
                Self::Like(pattern) => is_like(own, pattern),
                Self::Unlike(pattern) => !is_like(own, pattern),
                Self::Compared(..) => false,
            });
        }
        let text = || row.property(name).unwrap_or_default();
        match self {
            Self::Is("") => text().is_empty(),
            Self::Is(value) => row.compare(name, value) == Some(Ordering::Equal),
            Self::Like(pattern) => is_like(text(), pattern),
            Self::Unlike(pattern) => !is_like(text(), pattern),
            Self::Compared(value, sides) => {
                let side = row.compare(name, value);
                side.is_some_and(|side| sides.contains(&side))
            }
        }
    }
}

/// The filters of a command, each known to every row.
pub(super) struct Filters<'s>(Vec<(&'s str, Test<'s>)>);

impl<'s> Filters<'s> {
    /// Source: appcmd: `Unknown attribute "x".  Replace with -? for help.`
    pub(super) fn of(sentence: &'s Sentence, rows: &[Row]) -> Result<Self, Failure> {
        let mut filters = Vec::new();
        for (name, wanted) in sentence.properties() {
            let elapsed = name.eq_ignore_ascii_case("elapsed");
            if !elapsed && rows.first().is_some_and(|row| !row.knows(name)) {
                return Err(parameters::unknown(name));
            }
            let Some(wanted) = wanted else {
                continue;
            };
            // Source: appcmd: `list request /elapsed:ms`, those that take so long or longer.
            filters.push(if elapsed {
                let sides = &[Ordering::Greater, Ordering::Equal];
                ("time", Test::Compared(wanted, sides))
            } else {
                (name, Test::of(wanted))
            });
        }
        Ok(Self(filters))
    }

    /// Whether a row is to be shown.
    pub(super) fn pass(&self, row: &Row) -> bool {
        self.0.iter().all(|(name, test)| test.passes(row, name))
    }
}

/// Whether a text is like a pattern in which a `*` stands for any text, without regard to case.
fn is_like(text: &str, pattern: &str) -> bool {
    let (text, pattern) = (text.to_lowercase(), pattern.to_lowercase());
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else {
        return rest.is_empty();
    };
    for part in parts {
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::is_like;

    #[test]
    fn a_star_stands_for_any_text() {
        for (text, pattern, wanted) in [
            ("Default Web Site", "*web*", true),
            ("Default Web Site", "default*site", true),
            ("Default Web Site", "web*", false),
            ("Shop", "shop", true),
            ("Shop", "sho", false),
            ("aXa", "a*a*a", false),
            ("", "*", true),
        ] {
            assert_eq!(is_like(text, pattern), wanted, "{text} {pattern}");
        }
    }
}
