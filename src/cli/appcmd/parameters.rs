//! What a command may be told: a parameter that it does not know is refused before anything is done.
//!
//! Source: appcmd: `Unknown attribute "x".  Replace with -? for help.`
//! Absent on purpose: the properties of objects and sections, which `set`, `add` and the filters of `list` look for
//! where they are.

use super::Failure;
use super::grammar::{Object, Sentence};

/// The properties that a listing of these objects may be filtered by, also if there are none.
const OF_WORKERS: [&str; 3] = ["wp.name", "apppool.name", "site.name"];
const OF_REQUESTS: [&str; 12] = [
    "request.name",
    "wp.name",
    "apppool.name",
    "site.id",
    "site.name",
    "url",
    "verb",
    "clientip",
    "stage",
    "module",
    "time",
    "elapsed",
];

/// That there is no such attribute.
pub(super) fn unknown(name: &str) -> Failure {
    Failure::Message(format!(
        "Unknown attribute \"{name}\".  Replace with -? for help."
    ))
}

/// Refuses what the command does not know.
pub(super) fn check(sentence: &Sentence, object: Object) -> Result<(), Failure> {
    let known = known(sentence, object);
    let own_name = format!("{}.name", object.name());
    let is = |name: &str, known: &str| name.eq_ignore_ascii_case(known);
    let is_known = |name: &str| {
        let mut known = known.iter().flat_map(|known| known.iter());
        object != Object::Config && is(name, &own_name) || known.any(|known| is(name, known))
    };
    let mut properties = sentence.properties();
    let stranger = properties.find(|(name, _)| known.is_some() && !is_known(name));
    if let Some((name, _)) = stranger {
        return Err(unknown(name));
    }
    for (general, of) in [("section", Object::Config), ("stop", Object::Backup)] {
        if sentence.has(general) && object != of {
            return Err(unknown(general));
        }
    }
    Ok(())
}

/// The parameters of a command, in lower case; nothing if it takes the properties of something.
fn known(sentence: &Sentence, object: Object) -> Option<&'static [&'static str]> {
    match (sentence.verb.as_str(), object) {
        ("list", Object::Wp) => Some(&OF_WORKERS),
        ("list", Object::Request) => Some(&OF_REQUESTS),
        ("add", Object::Backup) => Some(&["name"]),
        ("add", Object::Module) => Some(&["name", "type", "precondition", "app.name"]),
        ("install", Object::Module) => Some(&["name", "image", "precondition"]),
        // What was piped in is all that is set.
        ("set", Object::Config) if sentence.template.is_some() => Some(&[]),
        ("list", Object::Config | Object::Backup) => Some(&[]),
        ("set" | "add" | "list", _) | ("search", Object::Config) => None,
        (_, Object::Module) => Some(&["name", "app.name"]),
        (_, _) => Some(&[]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> Option<String> {
        let words: Vec<String> = text.split(' ').map(str::to_owned).collect();
        let sentence = Sentence::parse(&words);
        let object = sentence.object.unwrap();
        check(&sentence, object).err().map(|failure| failure.text())
    }

    #[test]
    fn what_a_command_does_not_know_is_refused() {
        for words in [
            "delete apppool P /foo:1",
            "recycle apppool P /foo",
            "start site S /foo:1",
            "lock config /section:httpErrors /lockAttributes:errorMode",
            "clear config S /section:caching /foo:1",
            "list config /section:caching /foo:1",
            "list wp /foo:1",
            "list request /foo:1",
            "restore backup b /foo:1",
            "list backup /foo:1",
            "delete module M /type:X",
            "uninstall module M /foo:1",
            "delete app A /site.name:S",
            "delete site S /stop:false",
            "recycle apppool P /section:x",
        ] {
            let text = refused(words).unwrap_or_default();
            assert!(text.starts_with("Unknown attribute \""), "{words}: {text}");
        }
    }

    #[test]
    fn what_it_knows_is_taken() {
        for words in [
            "delete apppool /APPPOOL.NAME:P",
            "stop site /site.name:S",
            "list request /elapsed:5 /site.id:1 /xml",
            "list wp /apppool.name:P /text:wp.name",
            "restore backup /backup.name:b /stop:false",
            "add backup /name:b",
            "install module /name:N /image:C:\\n.dll",
            "clear config S /section:caching /commit:apphost",
            "delete module M /app.name:S/",
            "set site S /serverAutoStart:false",
        ] {
            assert_eq!(refused(words), None, "{words}");
        }
    }
}
