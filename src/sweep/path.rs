//! Dotted keys: where in a scenario a value goes.
//!
//! `load.rate` · `application[path=/shop].behaviour.page[0].wait` · `pool[Shop].queueLength`. What is in
//! brackets picks an entry of a list: by its number from 0, by one of its fields, or by its name.

use std::fmt;

use toml::{Table, Value};

/// A dotted key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPath {
    text: String,
    steps: Vec<Step>,
}

/// One step of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Into a table.
    Key(String),
    /// Into a list: what is in the brackets.
    Pick(String),
}

/// Why a key leads nowhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It is not written as keys are.
    #[error("not a dotted key such as load.rate or application[path=/shop].behaviour.start.cpu")]
    Malformed,
    /// A list needs a bracket.
    #[error("{at} is a list: pick an entry, as in {at}[0] or {at}[{example}]")]
    List {
        /// Up to where it leads.
        at: String,
        /// A bracket that works.
        example: String,
    },
    /// A bracket at something that is no list.
    #[error("{at} is no list, so [{pick}] picks nothing")]
    NoList {
        /// Up to where it leads.
        at: String,
        /// The bracket.
        pick: String,
    },
    /// A bracket that picks nothing.
    #[error("{at}[{pick}] picks nothing; there is {there}")]
    NoEntry {
        /// Up to where it leads.
        at: String,
        /// The bracket.
        pick: String,
        /// What the list has.
        there: String,
    },
    /// It goes on below a plain value.
    #[error("{at} is a plain value, nothing is below it")]
    Plain {
        /// Up to where it leads.
        at: String,
    },
}

impl KeyPath {
    /// Understands a key.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let mut steps = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            if let Some(bracket) = rest.strip_prefix('[') {
                let (inside, after) = bracket.split_once(']').ok_or(PathError::Malformed)?;
                if steps.is_empty() || inside.is_empty() {
                    return Err(PathError::Malformed);
                }
                steps.push(Step::Pick(inside.to_owned()));
                rest = after;
                continue;
            }
            if !steps.is_empty() {
                rest = rest.strip_prefix('.').ok_or(PathError::Malformed)?;
            }
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            if word.is_empty() || word.chars().any(|c| c.is_whitespace() || c == ']') {
                return Err(PathError::Malformed);
            }
            steps.push(Step::Key(word.to_owned()));
            rest = after;
        }
        if steps.is_empty() {
            return Err(PathError::Malformed);
        }
        let text = text.to_owned();
        Ok(Self { text, steps })
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The steps.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Puts a value where the key leads; tables on the way that are missing are made.
    pub fn set(&self, table: &mut Table, value: Value) -> Result<(), PathError> {
        set_in_table(table, &self.steps, value, "")
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn set_in_table(
    table: &mut Table,
    steps: &[Step],
    value: Value,
    at: &str,
) -> Result<(), PathError> {
    let Some((Step::Key(word), rest)) = steps.split_first() else {
        let pick = match steps.first() {
            Some(Step::Pick(pick)) => pick.clone(),
            Some(Step::Key(_)) | None => String::new(),
        };
        let at = at.to_owned();
        return Err(PathError::NoList { at, pick });
    };
    if rest.is_empty() {
        table.insert(word.clone(), value);
        return Ok(());
    }
    let dot = if at.is_empty() { "" } else { "." };
    let at = format!("{at}{dot}{word}");
    let next = table
        .entry(word.clone())
        .or_insert_with(|| Value::Table(Table::new()));
    set_in_value(next, rest, value, &at)
}

fn set_in_value(
    place: &mut Value,
    steps: &[Step],
    value: Value,
    at: &str,
) -> Result<(), PathError> {
    match (place, steps.split_first()) {
        (place, None) => {
            *place = value;
            Ok(())
        }
        (Value::Table(table), Some(_)) => set_in_table(table, steps, value, at),
        (Value::Array(list), Some((Step::Pick(pick), rest))) => {
            let there = what_is_there(list);
            let entry = entry(list, pick).ok_or_else(|| PathError::NoEntry {
                at: at.to_owned(),
                pick: pick.clone(),
                there,
            })?;
            set_in_value(entry, rest, value, &format!("{at}[{pick}]"))
        }
        (Value::Array(list), Some((Step::Key(_), _))) => Err(PathError::List {
            at: at.to_owned(),
            example: example_of(list),
        }),
        (
            Value::String(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::Datetime(_),
            Some(_),
        ) => Err(PathError::Plain { at: at.to_owned() }),
    }
}

/// The entry of a list that a bracket picks.
fn entry<'a>(list: &'a mut [Value], pick: &str) -> Option<&'a mut Value> {
    let index = index_of(list, pick)?;
    list.get_mut(index)
}

/// The number of the entry of a list that a bracket picks: a number, or `field=value`.
fn index_of(list: &[Value], pick: &str) -> Option<usize> {
    if let Ok(index) = pick.parse::<usize>() {
        return (index < list.len()).then_some(index);
    }
    let (field, wanted) = pick.split_once('=')?;
    list.iter()
        .position(|entry| entry.get(field).and_then(Value::as_str) == Some(wanted))
}

/// The words of a key with each bracket as the number that it stands for in this table: two keys that lead to the
/// same place are the same.
pub(super) fn resolved(steps: &[Step], table: &Table) -> Vec<String> {
    let mut words = Vec::with_capacity(steps.len());
    let mut place: Option<&Value> = None;
    for (depth, step) in steps.iter().enumerate() {
        let (word, next) = match step {
            Step::Key(word) if depth == 0 => (word.clone(), table.get(word)),
            Step::Key(word) => (word.clone(), place.and_then(|place| place.get(word))),
            Step::Pick(pick) => {
                let list = place.and_then(Value::as_array);
                let index = list.and_then(|list| index_of(list, pick));
                let word = index.map_or_else(|| pick.clone(), |index| index.to_string());
                (word, list.zip(index).and_then(|(list, at)| list.get(at)))
            }
        };
        words.push(word);
        place = next;
    }
    words
}

/// Brackets that work, by the fields that entries are usually known by.
fn brackets(list: &[Value]) -> Vec<String> {
    let name = |(index, entry): (usize, &Value)| {
        let by = ["path", "url", "name"].into_iter().find_map(|field| {
            let value = entry.get(field)?.as_str()?;
            Some(format!("{field}={value}"))
        });
        by.unwrap_or_else(|| index.to_string())
    };
    list.iter().enumerate().map(name).collect()
}

fn example_of(list: &[Value]) -> String {
    brackets(list)
        .into_iter()
        .next()
        .unwrap_or_else(|| "0".to_owned())
}

fn what_is_there(list: &[Value]) -> String {
    let there: Vec<String> = brackets(list)
        .into_iter()
        .map(|bracket| format!("[{bracket}]"))
        .collect();
    if there.is_empty() {
        "no entry".to_owned()
    } else {
        there.join(", ")
    }
}

/// The keys of all values and tables below a table, as they would be written.
pub fn keys_of(table: &Table) -> Vec<String> {
    let mut found = Vec::new();
    for (word, value) in table {
        collect(word, value, &mut found);
    }
    found
}

fn collect(at: &str, value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Table(table) => {
            found.push(at.to_owned());
            for (word, value) in table {
                collect(&format!("{at}.{word}"), value, found);
            }
        }
        Value::Array(list) if list.iter().any(Value::is_table) => {
            for (bracket, entry) in brackets(list).into_iter().zip(list) {
                collect(&format!("{at}[{bracket}]"), entry, found);
            }
        }
        Value::Array(_)
        | Value::String(_)
        | Value::Integer(_)
        | Value::Float(_)
        | Value::Boolean(_)
        | Value::Datetime(_) => found.push(at.to_owned()),
    }
}

/// What was probably meant: the most alike of `keys`, if it is alike at all.
pub fn suggestion<'a>(wrong: &str, keys: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let last = |key: &str| key.rsplit('.').next().unwrap_or(key).to_owned();
    let score = |key: &str| {
        let whole = strsim::normalized_damerau_levenshtein(wrong, key);
        // A right word at the wrong place is as good a hint.
        let word = strsim::normalized_damerau_levenshtein(&last(wrong), &last(key));
        whole.max(word * 0.95)
    };
    keys.map(|key| (score(key), key))
        .filter(|(score, _)| *score >= 0.6)
        .max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(a.1)))
        .map(|(_, key)| key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(key: &str) -> Result<Table, PathError> {
        let mut table: Table = toml::from_str(
            "[load]\nrate = 5\n[[application]]\npath = '/'\n[[application]]\npath = '/shop'\n",
        )
        .unwrap();
        KeyPath::parse(key)?.set(&mut table, Value::Integer(7))?;
        Ok(table)
    }

    #[test]
    fn a_dotted_key_leads_into_tables() {
        assert_eq!(
            set("load.rate").unwrap()["load"]["rate"].as_integer(),
            Some(7)
        );
        assert_eq!(set("a.b.c").unwrap()["a"]["b"]["c"].as_integer(), Some(7));
    }

    #[test]
    fn a_bracket_picks_an_entry_by_number_or_by_field() {
        let by_number = set("application[1].x").unwrap();
        assert_eq!(by_number["application"][1]["x"].as_integer(), Some(7));
        assert_eq!(set("application[path=/shop].x").unwrap(), by_number);
    }

    #[test]
    fn a_key_that_leads_nowhere_says_what_is_there() {
        let said = |key| set(key).unwrap_err().to_string();
        assert!(said("application[path=/x].y").contains("there is [path=/], [path=/shop]"));
        assert!(said("application.x").contains("as in application[0] or application[path=/]"));
        assert!(said("load[0]").contains("no list"));
        assert!(said("load.rate.x").contains("plain value"));
        for malformed in [
            "", ".", "a.", ".a", "a b", "[0]", "a[", "a[]", "a[0]b", "a]",
        ] {
            assert_eq!(set(malformed), Err(PathError::Malformed), "{malformed:?}");
        }
    }

    #[test]
    fn what_was_meant_is_guessed_from_what_there_is() {
        let keys = ["load.rate", "load.users", "timing.watch-max"];
        let meant = |wrong| suggestion(wrong, keys.into_iter());
        assert_eq!(meant("load.raet"), Some("load.rate"));
        assert_eq!(meant("laod.rate"), Some("load.rate"));
        assert_eq!(meant("users"), Some("load.users"));
        assert_eq!(meant("something.else"), None);
    }
}
