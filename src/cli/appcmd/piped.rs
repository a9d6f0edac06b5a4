//! `/in`: the objects that another appcmd has written with `/xml`, each in a sentence of its own.

use std::io::Read;

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
    let own_name = format!("{}.NAME", object.name());
    let mut sentences = Vec::new();
    for node in root.children().filter(roxmltree::Node::is_element) {
        let mut one = sentence.clone();
        one.parameters
            .retain(|(name, _)| !name.eq_ignore_ascii_case("in"));
        let name = |name: &str| node.attribute(name).map(str::to_owned);
        let element = node.children().find(roxmltree::Node::is_element);
        if object == Object::Config {
            let section = name("CONFIG.SECTION").ok_or_else(bad_data)?;
            one.parameters.push(("section".to_owned(), Some(section)));
            one.identifier = one.identifier.or_else(|| name("path"));
            one.template = element.map(Template::of);
        } else if let Some(element) = element.filter(|_| sentence.verb == "add") {
            one.template = Some(Template::of(element));
            if let Some(site) = name("SITE.NAME") {
                one.parameters.push(("site.name".to_owned(), Some(site)));
            }
            if let Some(app) = name("APP.NAME").filter(|_| object == Object::Vdir) {
                one.parameters.push(("app.name".to_owned(), Some(app)));
            }
        } else if let Some(identifier) = name(&own_name) {
            one.identifier = Some(identifier);
        } else {
            let of = format!("{}.NAME", node.tag_name().name());
            let identifier = name(&of).ok_or_else(bad_data)?;
            one.parameters.push((of, Some(identifier)));
        }
        sentences.push(one);
    }
    Ok(sentences)
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
