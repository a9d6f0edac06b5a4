//! The grammar of appcmd: `APPCMD <command> <object> [<identifier>] [/parameter:value]*`.

/// An appcmd command line, taken apart.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Sentence {
    /// `list`, `start` …, lower case.
    pub(super) verb: String,
    /// `SITE`, `APPPOOL` …, singular.
    pub(super) object: Option<Object>,
    /// What was written for the object, for messages.
    pub(super) object_word: String,
    /// The identifier, if one was given without a parameter name.
    pub(super) identifier: Option<String>,
    /// `/name:value` or `-name:value`; a switch without a value has none. Names are lower case.
    pub(super) parameters: Vec<(String, Option<String>)>,
}

/// What appcmd works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Object {
    Site,
    App,
    Vdir,
    AppPool,
    Wp,
    Request,
}

impl Object {
    /// Source: appcmd's object list; plurals are accepted.
    fn parse(word: &str) -> Option<Self> {
        match word.to_ascii_lowercase().as_str() {
            "site" | "sites" => Some(Self::Site),
            "app" | "apps" => Some(Self::App),
            "vdir" | "vdirs" => Some(Self::Vdir),
            "apppool" | "apppools" => Some(Self::AppPool),
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
                Some(parameter) if !word.starts_with("--") && !plain.is_empty() || word == "/?" => {
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
        sentence
    }

    /// The value of a parameter, by its lower-case name.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        let found = self.parameters.iter().find(|(n, _)| n == name);
        found.and_then(|(_, value)| value.as_deref())
    }

    /// Whether a switch was given, with or without a value.
    pub(super) fn has(&self, name: &str) -> bool {
        self.parameters.iter().any(|(n, _)| n == name)
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

fn parameter_of(word: &str) -> (String, Option<String>) {
    match word.split_once(':') {
        Some((name, value)) => (
            name.to_ascii_lowercase(),
            Some(value.trim_matches('"').to_owned()),
        ),
        None => (word.to_ascii_lowercase(), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_dash_is_as_good_as_a_slash() {
        assert_eq!(
            sentence("list wp -apppool.name:X").parameter("apppool.name"),
            Some("X")
        );
    }

    #[test]
    fn an_identifier_may_hold_a_slash() {
        let words = ["list", "app", "Default Web Site/"].map(str::to_owned);
        assert_eq!(
            Sentence::parse(&words).identifier(),
            Some("Default Web Site/")
        );
    }
}
