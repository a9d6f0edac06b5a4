//! What is to be changed, in the words of appcmd: section, element, attribute.

use std::fmt;
use std::str::FromStr;

use super::EditError;

/// The section of the pools.
const POOLS: &str = "system.applicationHost/applicationPools";
/// The section of the sites.
const SITES: &str = "system.applicationHost/sites";

/// Attributes, each with its value.
type Attributes = Vec<(String, String)>;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Change {
    /// The section, e.g. `system.applicationHost/applicationPools`.
    pub section: String,
    /// The `<location>` that it is committed to, e.g. `Shop/api`; empty for the file itself.
    pub location: String,
    /// The way from the section to the element; empty for the section itself.
    pub element: Vec<Step>,
    /// What is done there.
    pub act: Act,
    /// Whether the file inherits from others, as a web.config does: an entry that it does not have
    /// itself may be removed.
    pub inherits: bool,
}

/// One step on the way to an element.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Step {
    /// A child element, e.g. `processModel`.
    Child(String),
    /// The entry of a collection that has these attributes, e.g. `[name='Shop']`; in their place may stand one
    /// without a value that says where the entry is: `@start`, `@end` or its number from 0, `@2`.
    Entry(Vec<(String, String)>),
}

/// Where in a collection something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Position {
    /// Before the others.
    Start,
    /// Behind the others.
    End,
    /// At a number from 0. Assumed: a new entry is counted among those that the file has itself.
    Number(usize),
}

impl Position {
    /// What a word such as `@start` says.
    pub(in crate::config) fn of(word: &str) -> Option<Self> {
        match word.strip_prefix('@')? {
            number if number.bytes().all(|b| b.is_ascii_digit()) => {
                number.parse().ok().map(Self::Number)
            }
            word if word.eq_ignore_ascii_case("start") => Some(Self::Start),
            word if word.eq_ignore_ascii_case("end") => Some(Self::End),
            _ => None,
        }
    }

    /// What is there in a list.
    pub(in crate::config) fn pick<T>(self, list: impl IntoIterator<Item = T>) -> Option<T> {
        let mut list = list.into_iter();
        match self {
            Self::Start => list.next(),
            Self::End => list.last(),
            Self::Number(number) => list.nth(number),
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start => f.write_str("@start"),
            Self::End => f.write_str("@end"),
            Self::Number(number) => write!(f, "@{number}"),
        }
    }
}

/// What is done.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Act {
    /// Give an attribute a value.
    Set {
        /// Its name.
        attribute: String,
        /// Its value.
        value: String,
    },
    /// Take an attribute away, so that its default holds.
    DeleteAttribute {
        /// Its name.
        attribute: String,
    },
    /// Add an entry to the collection.
    Add {
        /// Its attributes.
        attributes: Vec<(String, String)>,
        /// Where it goes.
        at: Position,
    },
    /// Remove an entry of the collection.
    Remove {
        /// What it is known by.
        keys: Vec<(String, String)>,
    },
    /// Empty the collection, of what it has and of what it would inherit.
    Clear,
    /// Take the element away, with everything in it.
    DeleteElement,
    /// Say whether inner levels may have the section.
    Lock {
        /// Whether they may not.
        locked: bool,
    },
}

impl Change {
    /// A change in the file itself.
    pub fn new(section: &str, element: Vec<Step>, act: Act) -> Self {
        Self {
            section: section.to_owned(),
            location: String::new(),
            element,
            act,
            inherits: false,
        }
    }

    /// A change of a section in the words of appcmd, without the section: `[name='X'].type:Y`, `+[name='X']`, `-files`.
    pub fn within(section: &str, words: &str) -> Result<Self, EditError> {
        let (sign, rest) = sign_of(words);
        let (path, value) = split_value(rest);
        let (element, act) = act_of(sign, path, value).map_err(|why| EditError::Syntax {
            text: words.to_owned(),
            why,
        })?;
        Ok(Self::new(section, element, act))
    }

    /// The same change, committed to a `<location>`.
    #[must_use]
    pub fn at(mut self, location: &str) -> Self {
        location.trim_matches('/').clone_into(&mut self.location);
        self
    }

    /// Sets an attribute of a pool; `path` is e.g. `processModel.idleTimeout`.
    pub fn pool(pool: &str, path: &str, value: &str) -> Self {
        let pool = Step::Entry(vec![("name".to_owned(), pool.to_owned())]);
        Self::set_below(POOLS, vec![pool], path, value)
    }

    /// Sets an attribute of a site; `path` is e.g. `limits.maxConnections`.
    pub fn site(site: &str, path: &str, value: &str) -> Self {
        let site = Step::Entry(vec![("name".to_owned(), site.to_owned())]);
        Self::set_below(SITES, vec![site], path, value)
    }

    /// Sets an attribute of an application; `application` is its path in the site, `/` or `/app`.
    pub fn application(site: &str, application: &str, path: &str, value: &str) -> Self {
        let entry =
            |name: &str, value: &str| Step::Entry(vec![(name.to_owned(), value.to_owned())]);
        let element = vec![entry("name", site), entry("path", application)];
        Self::set_below(SITES, element, path, value)
    }

    /// Sets an attribute of a virtual directory.
    pub fn virtual_directory(
        site: &str,
        application: &str,
        directory: &str,
        path: &str,
        value: &str,
    ) -> Self {
        let mut change = Self::application(site, application, path, value);
        let step = Step::Entry(vec![("path".to_owned(), directory.to_owned())]);
        change.element.insert(2, step);
        change
    }

    fn set_below(section: &str, mut element: Vec<Step>, path: &str, value: &str) -> Self {
        let (children, attribute) = path.rsplit_once('.').unwrap_or(("", path));
        let children = children.split('.').filter(|child| !child.is_empty());
        element.extend(children.map(|child| Step::Child(child.to_owned())));
        let act = Act::Set {
            attribute: attribute.to_owned(),
            value: value.to_owned(),
        };
        Self::new(section, element, act)
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = |text: &str| text.replace('\'', "''");
        let keys = |keys: &Attributes| {
            let words = keys.iter().map(|(name, value)| match Position::of(name) {
                Some(position) => position.to_string(),
                None => format!("{name}='{}'", quoted(value)),
            });
            words.collect::<Vec<_>>().join(",")
        };
        if !self.location.is_empty() {
            write!(f, "@'{}' ", quoted(&self.location))?;
        }
        match &self.act {
            Act::Add { .. } => write!(f, "+")?,
            Act::Remove { .. } | Act::DeleteAttribute { .. } => write!(f, "-")?,
            Act::DeleteElement => write!(f, "delete ")?,
            Act::Clear => write!(f, "clear ")?,
            Act::Lock { locked: true } => write!(f, "lock ")?,
            Act::Lock { locked: false } => write!(f, "unlock ")?,
            Act::Set { .. } => {}
        }
        write!(f, "{}", self.section)?;
        for step in &self.element {
            match step {
                Step::Child(name) => write!(f, ".{name}")?,
                Step::Entry(of) => write!(f, ".[{}]", keys(of))?,
            }
        }
        match &self.act {
            Act::Set { attribute, value } => write!(f, ".{attribute}:{value}"),
            Act::DeleteAttribute { attribute } => write!(f, ".{attribute}"),
            Act::Add {
                attributes,
                at: Position::End,
            } => write!(f, ".[{}]", keys(attributes)),
            Act::Add { attributes, at } => write!(f, ".[{at},{}]", keys(attributes)),
            Act::Remove { keys: of } => write!(f, ".[{}]", keys(of)),
            Act::DeleteElement | Act::Clear | Act::Lock { .. } => Ok(()),
        }
    }
}

impl FromStr for Change {
    type Err = EditError;

    /// `SECTION[name='X'].child.attribute:VALUE` sets, `-…attribute` deletes,
    /// `+SECTION….[name='X',key='Y']` adds and `-SECTION….[name='X']` removes an entry; `@'LOCATION' `
    /// in front commits to a location. A quote in a value is written twice.
    fn from_str(text: &str) -> Result<Self, EditError> {
        let wrong = |why: &str| EditError::Syntax {
            text: text.to_owned(),
            why: why.to_owned(),
        };
        let mut rest = text.trim();
        let mut location = String::new();
        if let Some(after) = rest.strip_prefix('@') {
            (location, rest) = after
                .strip_prefix('\'')
                .and_then(quoted)
                .ok_or_else(|| wrong("after @ comes a location in single quotes"))?;
            rest = rest.trim_start();
        }
        let (sign, rest) = sign_of(rest);
        let (path, value) = split_value(rest);
        let (section, path) = split_section(path);
        if section.is_empty() {
            return Err(wrong(
                "it begins with a section, e.g. system.webServer/caching",
            ));
        }
        let (element, act) = act_of(sign, path, value).map_err(|why| wrong(&why))?;
        Ok(Self::new(section, element, act).at(&location))
    }
}

/// The sign in front of a change, and what follows.
fn sign_of(text: &str) -> (Option<char>, &str) {
    let sign = text.chars().next().filter(|c| ['+', '-'].contains(c));
    (sign, if sign.is_some() { &text[1..] } else { text })
}

/// Where in a section something is done, and what.
fn act_of(sign: Option<char>, path: &str, value: Option<&str>) -> Result<(Vec<Step>, Act), String> {
    let mut steps = steps(path)?;
    let last = steps.pop();
    let act = match (sign, last, value) {
        (None, Some(Step::Child(attribute)), Some(value)) => Act::Set {
            attribute,
            value: value.to_owned(),
        },
        (Some('-'), Some(Step::Child(attribute)), None) => Act::DeleteAttribute { attribute },
        (Some('-'), Some(Step::Entry(keys)), None) => Act::Remove { keys },
        (Some('+'), Some(Step::Entry(attributes)), None) => {
            let (attributes, at) = position(attributes);
            if attributes.is_empty() {
                return Err("a new entry has attributes, each name='value'".to_owned());
            }
            Act::Add { attributes, at }
        }
        _ => {
            return Err(
                "write SECTION[name='X'].child.attribute:VALUE, or +SECTION.[key='X'], or -SECTION.[key='X']"
                    .to_owned(),
            );
        }
    };
    Ok((steps, act))
}

/// The path and what stands behind the first colon that is neither in quotes nor in brackets.
fn split_value(text: &str) -> (&str, Option<&str>) {
    let (mut quoted, mut bracketed) = (false, false);
    for (at, c) in text.char_indices() {
        match c {
            '\'' => quoted = !quoted,
            '[' | ']' if !quoted => bracketed = c == '[',
            ':' if !quoted && !bracketed => return (&text[..at], Some(&text[at + 1..])),
            _ => {}
        }
    }
    (text, None)
}

/// The section, and the path in it. A section may have dots before its last slash.
fn split_section(path: &str) -> (&str, &str) {
    let bracket = path.find('[').unwrap_or(path.len());
    let name = path[..bracket].rfind('/').map_or(0, |slash| slash + 1);
    let end = path[name..bracket]
        .find('.')
        .map_or(bracket, |dot| name + dot);
    (&path[..end], path[end..].trim_start_matches('.'))
}

/// `[name='X',id='1'].child.attribute`.
fn steps(path: &str) -> Result<Vec<Step>, String> {
    let mut steps = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('[') {
            let (keys, after) = keys(inner)?;
            steps.push(Step::Entry(keys));
            rest = after;
        } else {
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            if end > 0 {
                steps.push(Step::Child(rest[..end].to_owned()));
            }
            rest = &rest[end..];
        }
        rest = rest.strip_prefix('.').unwrap_or(rest);
    }
    Ok(steps)
}

/// Takes the position out of the attributes of a new entry.
fn position(mut attributes: Attributes) -> (Attributes, Position) {
    let at = attributes.iter().find_map(|(name, _)| Position::of(name));
    attributes.retain(|(name, _)| Position::of(name).is_none());
    (attributes, at.unwrap_or(Position::End))
}

/// `name='X',id='1']`, and what follows; `@start`, `@end` or a number such as `@2` may stand among them. A quote in a
/// value is written twice. Where the quotes are missing, because a shell has taken them, a value ends at `,` or `]`.
fn keys(text: &str) -> Result<(Attributes, &str), String> {
    let mut keys = Vec::new();
    let mut rest = text;
    while rest.trim_start().starts_with('@') {
        let end = rest.find([',', ']']).ok_or("a [ has no ]")?;
        let word = rest[..end].trim();
        let position = Position::of(word);
        let position = position.ok_or_else(|| {
            format!("an entry is @start, @end or at a number such as @2, not {word}")
        })?;
        keys.push((position.to_string(), String::new()));
        if let Some(after) = rest[end..].strip_prefix(']') {
            return Ok((keys, after));
        }
        rest = &rest[end + 1..];
    }
    loop {
        let (name, after) = rest
            .split_once('=')
            .ok_or("in [ ] stand attributes, each name='value'")?;
        let (value, after) = if let Some(after) = after.strip_prefix('\'') {
            quoted(after).ok_or("a value has no closing quote")?
        } else {
            let end = after.find([',', ']']).ok_or("a [ has no ]")?;
            (after[..end].to_owned(), &after[end..])
        };
        keys.push((name.trim().to_owned(), value));
        if let Some(more) = after.strip_prefix(',') {
            rest = more;
        } else {
            let after = after.strip_prefix(']').ok_or("a [ has no ]")?;
            return Ok((keys, after));
        }
    }
}

fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut rest = text;
    loop {
        let (part, after) = rest.split_once('\'')?;
        value.push_str(part);
        match after.strip_prefix('\'') {
            Some(more) => {
                value.push('\'');
                rest = more;
            }
            None => return Some((value, after)),
        }
    }
}
