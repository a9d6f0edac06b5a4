//! The grammar of appcmd: `APPCMD <command> <object> [<identifier>] [/parameter:value]*`.

use super::import::Template;

/// An appcmd command line, taken apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sentence {
    /// `list`, `start` …, lower case.
    pub(super) verb: String,
    /// `SITE`, `APPPOOL` …, singular.
    pub(super) object: Option<Object>,
    /// What was written for the object, for messages.
    pub(super) object_word: String,
    /// The identifier, if one was given without a parameter name.
    pub(super) identifier: Option<String>,
    /// A word behind the identifier, which means nothing.
    pub(super) surplus: Option<String>,
    /// `/name:value` or `-name:value`, as written; a switch without a value has none.
    pub(super) parameters: Vec<(String, Option<String>)>,
    /// The element that standard input gives for the object that is to be added.
    pub(super) template: Option<Template>,
}

/// Parameters that say how, and not what.
const GENERAL: [&str; 10] = [
    "text", "xml", "in", "config", "commit", "section", "metadata", "debug", "stop", "?",
];

/// What appcmd works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Object {
    Site,
    App,
    Vdir,
    AppPool,
    Config,
    Wp,
    Request,
    Module,
    Backup,
}

impl Object {
    /// Source: appcmd's object list; plurals are accepted.
    pub(super) fn parse(word: &str) -> Option<Self> {
        match word.to_ascii_lowercase().as_str() {
            "site" | "sites" => Some(Self::Site),
            "app" | "apps" => Some(Self::App),
            "vdir" | "vdirs" => Some(Self::Vdir),
            "apppool" | "apppools" => Some(Self::AppPool),
            "config" | "configs" => Some(Self::Config),
            "module" | "modules" => Some(Self::Module),
            "backup" | "backups" => Some(Self::Backup),
            "wp" | "wps" => Some(Self::Wp),
            "request" | "requests" => Some(Self::Request),
            _ => None,
        }
    }

    /// Its name in output lines.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Site => "SITE",
            Self::App => "APP",
            Self::Vdir => "VDIR",
            Self::AppPool => "APPPOOL",
            Self::Config => "CONFIG",
            Self::Module => "MODULE",
            Self::Backup => "BACKUP",
            Self::Wp => "WP",
            Self::Request => "REQUEST",
        }
    }
}

impl Sentence {
    /// Takes a command line apart. Nothing is judged yet.
    pub(super) fn parse(words: &[String]) -> Self {
        let mut sentence = Self::default();
        let mut plain = Vec::new();
        for word in words {
            match word.strip_prefix(['/', '-']) {
                Some("") if word == "-" && plain.len() > 1 => {
                    sentence.parameters.push(("in".to_owned(), None));
                }
                // Source: Microsoft's pages: `-userName:"" --password`, where the second dash takes away.
                Some(parameter)
                    if word != "--" && !plain.is_empty() || ["/?", "-?"].contains(&&**word) =>
                {
                    sentence.parameters.push(parameter_of(parameter));
                }
                Some(_) | None => plain.push(word.clone()),
            }
        }
        let mut plain = plain.into_iter();
        sentence.verb = plain.next().unwrap_or_default().to_ascii_lowercase();
        sentence.object_word = plain.next().unwrap_or_default();
        sentence.object = Object::parse(&sentence.object_word);
        sentence.identifier = plain.next();
        sentence.surplus = plain.next();
        sentence
    }

    /// The value of a parameter, by its name without regard to case.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        let mut parameters = self.parameters.iter();
        let found = parameters.find(|(n, _)| n.eq_ignore_ascii_case(name));
        found.and_then(|(_, value)| value.as_deref())
    }

    /// Whether a switch was given, with or without a value.
    pub(super) fn has(&self, name: &str) -> bool {
        let mut parameters = self.parameters.iter();
        parameters.any(|(n, _)| n.eq_ignore_ascii_case(name))
    }

    /// The parameters that are properties of the object: to filter by, or to set.
    pub(super) fn properties(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        let is = |name: &str, names: &[&str]| names.iter().any(|n| name.eq_ignore_ascii_case(n));
        let is_property = move |(name, value): &&(String, Option<String>)| {
            // `compilation` has an attribute of that name, and the switch no value.
            let is_of_section = self.object == Some(Object::Config) && value.is_some();
            !is(name, &GENERAL) || is_of_section && is(name, &["debug"])
        };
        let properties = self.parameters.iter().filter(is_property);
        properties.map(|(name, value)| (name.as_str(), value.as_deref()))
    }

    /// The identifier, given plainly or as `/apppool.name:X`, `/site.name:X`.
    pub(super) fn identifier(&self) -> Option<&str> {
        if let Some(identifier) = &self.identifier {
            return Some(identifier);
        }
        let by_name = format!("{}.name", self.object?.name().to_ascii_lowercase());
        self.parameter(&by_name)
    }
}

/// The name ends at the first colon outside of quotes and brackets: `/+bindings.[protocol='http']` has
/// no value, `/[path='/a:b'].applicationPool:X` has one.
fn parameter_of(word: &str) -> (String, Option<String>) {
    let (mut is_quoted, mut depth) = (false, 0_u32);
    for (at, character) in word.char_indices() {
        match character {
            '\'' => is_quoted = !is_quoted,
            '[' if !is_quoted => depth += 1,
            ']' if !is_quoted => depth = depth.saturating_sub(1),
            ':' if !is_quoted && depth == 0 => {
                let value = without_quotes(&word[at + 1..]).to_owned();
                return (word[..at].to_owned(), Some(value));
            }
            _ => {}
        }
    }
    (word.to_owned(), None)
}

/// A value that stands in quotes as a whole; in others they are a part of it: `-p "%1%"`.
fn without_quotes(value: &str) -> &str {
    let inner = value.strip_prefix('"').and_then(|v| v.strip_suffix('"'));
    inner.filter(|inner| !inner.contains('"')).unwrap_or(value)
}

/// What is missing in a parameter that is to change something: a value, or the sign of what is done with an entry.
pub(super) fn is_change(name: &str, value: Option<&str>) -> Result<(), String> {
    let sign = name.chars().next().filter(|c| ['+', '-'].contains(c));
    let path = name.trim_start_matches(['+', '-']);
    let is_entry = path.ends_with(']');
    match (sign, is_entry, value) {
        (None, true, None) => Err(format!(
            "\"/{name}\" is an entry: begin with /+ to add it or with /- to remove it, or give /{name}.name:value."
        )),
        (None, true, Some(_)) => Err(format!(
            "\"/{name}\" is an entry: give the value of one of its attributes, /{name}.name:value."
        )),
        (None, false, None) => Err(format!(
            "\"/{name}\" has no value: give /{name}:value, or /-{name} to take it away."
        )),
        (Some('+'), false, _) => Err(format!(
            "\"/{name}\" is no entry: give what is added as /{name}.[name='value']."
        )),
        (Some(sign), _, Some(_)) => Err(format!(
            "\"/{name}\" has a value, and with /{sign} there is none."
        )),
        (None, false, Some(_)) | (Some(_), _, None) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_taken_away_only_if_they_stand_around_a_value() {
        for (word, value) in [
            ("/a:\"b c\"", "b c"),
            ("/a:\"\"", ""),
            ("/a:-p \"%1%\"", "-p \"%1%\""),
            ("/a:\"x\" \"y\"", "\"x\" \"y\""),
            ("/a:\"", "\""),
        ] {
            assert_eq!(parameter_of(word).1.as_deref(), Some(value), "{word}");
        }
    }

    fn sentence(text: &str) -> Sentence {
        Sentence::parse(&text.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn an_identifier_may_be_a_parameter() {
        let by_parameter = sentence("recycle apppool /apppool.name:DefaultAppPool");
        let plain = sentence("recycle AppPools DefaultAppPool");
        assert_eq!(by_parameter.identifier(), Some("DefaultAppPool"));
        assert_eq!(plain.identifier(), Some("DefaultAppPool"));
        assert_eq!(by_parameter.object, plain.object);
    }

    #[test]
    fn a_dash_alone_is_standard_input() {
        let piped = sentence("start apppool -");
        assert!(piped.has("in") && piped.identifier().is_none());
    }

    #[test]
    fn a_dash_is_as_good_as_a_slash() {
        assert_eq!(
            sentence("list wp -apppool.name:X").parameter("apppool.name"),
            Some("X")
        );
    }

    #[test]
    fn a_property_may_be_nested_and_a_collection_edited() {
        let words = [
            "set",
            "site",
            "S",
            "/+bindings.[protocol='http',bindingInformation='*:81:']",
            "/[path='/'].applicationPool:Shop",
            "/text:*",
        ];
        let sentence = Sentence::parse(&words.map(str::to_owned));
        let properties: Vec<_> = sentence.properties().collect();
        let binding = "+bindings.[protocol='http',bindingInformation='*:81:']";
        let application = ("[path='/'].applicationPool", Some("Shop"));
        assert_eq!(properties, [(binding, None), application]);
    }

    #[test]
    fn debug_is_a_switch_unless_it_is_the_attribute_of_a_section() {
        let attribute = sentence("set config /section:compilation /debug:True");
        let properties: Vec<_> = attribute.properties().collect();
        assert_eq!(properties, [("debug", Some("True"))]);
        let switch = sentence("set config /section:compilation /batch:true /debug");
        assert_eq!(switch.properties().count(), 1);
    }

    #[test]
    fn behind_a_dash_stands_what_stands_behind_a_slash() {
        let names = |text: &str| {
            let sentence = sentence(text);
            assert_eq!(sentence.identifier(), None, "{text}");
            sentence.parameters
        };
        let slashes = names("set config /section:S /userName: /-password /-c.[k='v'] /+c.[k='v']");
        let dashes = names("set config -section:S -userName: --password --c.[k='v'] -+c.[k='v']");
        assert_eq!(slashes, dashes);
        assert!(sentence("-?").has("?"));
    }

    #[test]
    fn an_identifier_may_hold_a_slash() {
        let words = ["list", "app", "Default Web Site/"].map(str::to_owned);
        assert_eq!(
            Sentence::parse(&words).identifier(),
            Some("Default Web Site/")
        );
    }

    #[test]
    fn what_is_missing_in_a_change_is_said_as_it_is_typed() {
        let said = |name: &str, value: Option<&str>| is_change(name, value).err();
        let entry = "schedule.[value='12:00:00']";
        let added = said(entry, None).unwrap();
        assert!(
            added.contains("begin with /+ to add it or with /- to remove it"),
            "{added}"
        );
        assert!(said(entry, Some("x")).unwrap().contains("].name:value"));
        for name in ["enabled", "~files"] {
            let text = said(name, None).unwrap();
            assert!(text.contains(&format!("give /{name}:value")), "{text}");
        }
        assert!(
            said("+files", None)
                .unwrap()
                .contains("/+files.[name='value']")
        );
        assert!(said("-enabled", Some("x")).is_some());
        assert_eq!(said(&format!("+{entry}"), None), None);
        assert_eq!(said(&format!("-{entry}"), None), None);
        assert_eq!(said("-enabled", None), None);
        assert_eq!(said("enabled", Some("true")), None);
    }
}
