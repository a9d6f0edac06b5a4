//! `/in`: the objects that another appcmd has written with `/xml`, each in a sentence of its own.

use std::collections::BTreeSet;
use std::io::Read;

use roxmltree::Node;
use sim_was::config::parse_xml;
use sim_was::control::Refusal;

use super::Failure;
use super::grammar::{Object, Sentence};
use super::import::Template;

/// The most that is read. Assumed: enough for a hundred thousand objects.
const SIZE_MAX: u64 = 16 << 20;

/// `sentence` once for each object that standard input names: the object itself if it is of this kind,
/// else the objects that belong to it.
pub(super) fn sentences(sentence: &Sentence, object: Object) -> Result<Vec<Sentence>, Failure> {
    let mut text = String::new();
    let read = std::io::stdin().take(SIZE_MAX).read_to_string(&mut text);
    read.map_err(|_| bad_data())?;
    understand(sentence, object, &text)
}

fn understand(sentence: &Sentence, object: Object, text: &str) -> Result<Vec<Sentence>, Failure> {
    let document = parse_xml(text.trim_start(), "standard input").map_err(|_| bad_data())?;
    let root = document.root_element();
    if !root.has_tag_name("appcmd") {
        return Err(bad_data());
    }
    let mut sentences = Vec::new();
    let mut seen = BTreeSet::new();
    for node in root.children().filter(Node::is_element) {
        let mut one = sentence.clone();
        one.parameters
            .retain(|(name, _)| !name.eq_ignore_ascii_case("in"));
        if object == Object::Config {
            of_config(&mut one, node)?;
        } else {
            of_object(&mut one, object, node)?;
        }
        // Assumed: what several objects belong to is meant once, as the pool of a web garden's worker processes.
        let is_new = match &one.identifier {
            Some(name) if sentence.verb != "add" && object != Object::Config => {
                seen.insert(name.to_lowercase())
            }
            Some(_) | None => true,
        };
        if is_new {
            sentences.push(one);
        }
    }
    Ok(sentences)
}

/// Where, and which section.
///
/// Assumed: sites, applications and virtual directories stand for their configuration paths.
fn of_config(one: &mut Sentence, node: Node<'_, '_>) -> Result<(), Failure> {
    let name = |name: &str| node.attribute(name).map(str::to_owned);
    let (path, section) = match node.tag_name().name() {
        "CONFIG" => (
            name("path"),
            Some(name("CONFIG.SECTION").ok_or_else(bad_data)?),
        ),
        "CONFIGSEARCH" => (
            Some(name("path").ok_or_else(bad_data)?),
            name("CONFIG.SECTION"),
        ),
        tag @ ("SITE" | "APP" | "VDIR") => {
            let path = name(&format!("{tag}.NAME"));
            (Some(path.ok_or_else(bad_data)?), None)
        }
        _ => return Err(bad_data()),
    };
    if !one.has("section") {
        let section = section.map(|section| ("section".to_owned(), Some(section)));
        one.parameters.extend(section);
    }
    one.identifier = one.identifier.take().or(path);
    let element = node.children().find(Node::is_element);
    one.template = element.filter(|_| one.verb == "set").map(Template::of);
    Ok(())
}

fn of_object(one: &mut Sentence, object: Object, node: Node<'_, '_>) -> Result<(), Failure> {
    let name = |name: &str| node.attribute(name).map(str::to_owned);
    let element = node.children().find(Node::is_element);
    let own_name = format!("{}.NAME", object.name());
    let tag = node.tag_name().name();
    let its_name = format!("{tag}.NAME");
    if let Some(element) = element.filter(|_| one.verb == "add") {
        one.template = Some(Template::of(element));
        if let Some(site) = name("SITE.NAME") {
            one.parameters.push(("site.name".to_owned(), Some(site)));
        }
        if let Some(app) = name("APP.NAME").filter(|_| object == Object::Vdir) {
            one.parameters.push(("app.name".to_owned(), Some(app)));
        }
        return Ok(());
    }
    if let Some(identifier) = name(&own_name) {
        one.identifier = Some(identifier);
        return Ok(());
    }
    let identifier = name(&its_name).ok_or_else(bad_data)?;
    if one.verb == "add" {
        one.parameters.push((its_name, Some(identifier)));
        return Ok(());
    }
    let mut relations = relations(object, tag).iter();
    let relation = relations.find(|relation| node.has_attribute(**relation));
    match relation.filter(|_| one.verb == "list") {
        Some(relation) => {
            one.parameters
                .push(((*relation).to_owned(), name(relation)));
            Ok(())
        }
        None => Err(Failure::Message(format!(
            "Must specify the {0} object with identifier or /{0}.NAME parameter; {tag} objects do not tell it.",
            object.name()
        ))),
    }
}

/// By what a listing finds the objects that belong to a piped one, the closest first.
///
/// Source: Microsoft's examples: `appcmd list wp /xml | appcmd list site /in`. Assumed: by the names that the objects
/// have in common; a request does not tell its application, and an application not its requests.
fn relations(object: Object, piped: &str) -> &'static [&'static str] {
    match (object, piped) {
        (Object::App | Object::Vdir, "REQUEST") | (Object::Request, "APP" | "VDIR") => &[],
        (Object::Site, _) => &["APPPOOL.NAME"],
        (Object::App, _) => &["SITE.NAME", "APPPOOL.NAME"],
        (Object::Vdir, _) => &["APP.NAME", "SITE.NAME", "APPPOOL.NAME"],
        (Object::AppPool, "SITE") => &["SITE.NAME"],
        (Object::Wp, _) => &["APPPOOL.NAME", "SITE.NAME"],
        (Object::Request, _) => &["WP.NAME", "SITE.NAME", "APPPOOL.NAME"],
        (Object::Module, _) => &["APP.NAME"],
        (Object::AppPool | Object::Config | Object::Backup, _) => &[],
    }
}

/// Source: appcmd with bad XML: `ERROR ( hresult:8007000d, … The data is invalid. )`.
fn bad_data() -> Failure {
    Failure::Refused(Refusal::failed(0x8007_000d, "The data is invalid."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sentences(words: &str, input: &str) -> Result<Vec<Sentence>, Failure> {
        let words: Vec<String> = words.split(' ').map(str::to_owned).collect();
        let sentence = Sentence::parse(&words);
        let object = sentence.object.unwrap();
        understand(&sentence, object, input)
    }

    #[test]
    fn pools_that_were_listed_are_recycled_one_by_one() {
        let input = "<appcmd><APPPOOL APPPOOL.NAME='A' state='Started' /><APPPOOL APPPOOL.NAME='B' /></appcmd>";
        let sentences = sentences("recycle apppool /in", input).unwrap();
        let names: Vec<_> = sentences.iter().map(Sentence::identifier).collect();
        assert_eq!(names, [Some("A"), Some("B")]);
    }

    #[test]
    fn requests_are_listed_for_each_worker_that_was_listed() {
        let input = "<appcmd><WP WP.NAME='7' APPPOOL.NAME='A' /></appcmd>";
        let [one] = sentences("list request /in", input)
            .unwrap()
            .try_into()
            .unwrap();
        assert_eq!(one.parameter("wp.name"), Some("7"));
        assert!(!one.has("in"));
    }

    #[test]
    fn a_listing_finds_what_belongs_to_what_was_listed() {
        let wp = "<WP WP.NAME='7' APPPOOL.NAME='A' />";
        let site = "<SITE SITE.NAME='S' SITE.ID='1' />";
        let app = "<APP path='/' APP.NAME='S/' APPPOOL.NAME='A' SITE.NAME='S' />";
        for (words, piped, filter) in [
            ("list site /in", wp, Some("APPPOOL.NAME")),
            ("list app /in", wp, Some("APPPOOL.NAME")),
            ("list app /in", site, Some("SITE.NAME")),
            ("list vdir /in", app, Some("APP.NAME")),
            ("list apppool /in", site, Some("SITE.NAME")),
            ("list wp /in", app, Some("APPPOOL.NAME")),
            ("list request /in", site, Some("SITE.NAME")),
            ("list request /in", app, None),
            ("start apppool /in", site, None),
            ("delete app /in", site, None),
        ] {
            let found = sentences(words, &format!("<appcmd>{piped}</appcmd>"));
            let found = found.ok().map(|all| all[0].parameters[0].0.clone());
            assert_eq!(found.as_deref(), filter, "{words} {piped}");
        }
    }

    #[test]
    fn the_pool_of_several_worker_processes_is_meant_once() {
        let wp = |pid| format!("<WP WP.NAME='{pid}' APPPOOL.NAME='A' />");
        let input = format!("<appcmd>{}{}</appcmd>", wp(7), wp(8));
        assert_eq!(sentences("recycle apppool /in", &input).unwrap().len(), 1);
    }

    #[test]
    fn what_was_searched_and_what_has_a_path_stands_for_its_configuration() {
        let of = |words: &str, piped: &str| {
            let found = sentences(words, &format!("<appcmd>{piped}</appcmd>")).unwrap();
            let section = found[0].parameter("section").map(str::to_owned);
            (found[0].identifier.clone().unwrap(), section)
        };
        let found = "<CONFIGSEARCH path='MACHINE/WEBROOT/APPHOST/S' CONFIG.SECTION='a/b' />";
        let expected = (
            "MACHINE/WEBROOT/APPHOST/S".to_owned(),
            Some("a/b".to_owned()),
        );
        assert_eq!(of("clear config /in", found), expected);
        let app = "<APP APP.NAME='S/shop' SITE.NAME='S' />";
        assert_eq!(of("list config /in", app), ("S/shop".to_owned(), None));
    }

    #[test]
    fn what_is_no_list_is_invalid_data() {
        let deep = format!(
            "<appcmd>{}{}</appcmd>",
            "<a>".repeat(100_000),
            "</a>".repeat(100_000)
        );
        for input in ["", "hello", "<x/>", "<appcmd><SITE/></appcmd>", &deep] {
            let refused = sentences("recycle apppool /in", input);
            let expected = matches!(
                refused,
                Err(Failure::Refused(Refusal::Failed {
                    hresult: 0x8007_000d,
                    ..
                }))
            );
            assert!(expected, "{input}");
        }
    }
}
