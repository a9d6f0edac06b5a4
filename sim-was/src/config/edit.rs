//! Edits to the text of an applicationHost.config: every byte that is not concerned stays.

use roxmltree::{Document, Node};

const ATTRIBUTE: &str = "disallowOverlappingRotation";

/// Sets `recycling/@disallowOverlappingRotation="true"` for one pool.
pub fn disallow_overlapping_rotation(text: &str, pool: &str) -> Result<String, String> {
    let body = text.strip_prefix('\u{feff}').unwrap_or(text);
    let document = Document::parse(body).map_err(|error| error.to_string())?;
    let element = pool_element(&document, pool)
        .ok_or_else(|| format!("no application pool named {pool:?} in the configuration"))?;
    let recycling = element
        .children()
        .find(|node| node.has_tag_name("recycling"));
    let attribute = recycling.and_then(|node| node.attribute_node(ATTRIBUTE));
    let (range, replacement) = match (recycling, attribute) {
        (_, Some(attribute)) => (attribute.range_value(), "true".to_owned()),
        (Some(recycling), None) => {
            let after_name = recycling.range().start + "<recycling".len();
            (after_name..after_name, format!(" {ATTRIBUTE}=\"true\""))
        }
        (None, None) => new_child(
            body,
            element,
            &format!("<recycling {ATTRIBUTE}=\"true\" />"),
        ),
    };
    let mut edited = text[..text.len() - body.len()].to_owned();
    edited.push_str(&body[..range.start]);
    edited.push_str(&replacement);
    edited.push_str(&body[range.end..]);
    Ok(edited)
}

fn pool_element<'a>(document: &'a Document<'a>, pool: &str) -> Option<Node<'a, 'a>> {
    document.descendants().find(|node| {
        node.has_tag_name("add")
            && node
                .attribute("name")
                .is_some_and(|name| name.eq_ignore_ascii_case(pool))
            && node
                .parent()
                .is_some_and(|parent| parent.has_tag_name("applicationPools"))
    })
}

/// Where and what to write so that `element` gets `child` as its first child.
fn new_child(text: &str, element: Node<'_, '_>, child: &str) -> (core::ops::Range<usize>, String) {
    let range = element.range();
    if let Some(first) = element.first_child() {
        let at = first.range().start;
        return (at..at, child.to_owned());
    }
    if text[range.clone()].ends_with("/>") {
        return (range.end - 2..range.end, format!(">{child}</add>"));
    }
    let at = range.end - "</add>".len();
    (at..at, child.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edited(pool: &str) -> String {
        let text =
            format!("<c>\r\n <applicationPools>{pool}</applicationPools> <!-- x -->\r\n</c>");
        let edited = disallow_overlapping_rotation(&text, "P").unwrap();
        edited
            .replace("<c>\r\n <applicationPools>", "")
            .replace("</applicationPools> <!-- x -->\r\n</c>", "")
    }

    #[test]
    fn a_pool_without_children_gets_one() {
        let expected = "<add name=\"P\" ><recycling disallowOverlappingRotation=\"true\" /></add>";
        assert_eq!(edited("<add name=\"P\" />"), expected);
        assert_eq!(
            edited("<add name=\"P\"></add>"),
            expected.replace("\" >", "\">")
        );
    }

    #[test]
    fn an_attribute_that_is_there_is_changed() {
        let pool = |value: &str| {
            format!("<add name=\"P\"><recycling disallowOverlappingRotation=\"{value}\"/></add>")
        };
        assert_eq!(edited(&pool("false")), pool("true"));
    }

    #[test]
    fn an_element_that_is_there_gets_the_attribute() {
        assert_eq!(
            edited("<add name=\"P\"><recycling><x/></recycling></add>"),
            "<add name=\"P\"><recycling disallowOverlappingRotation=\"true\"><x/></recycling></add>"
        );
    }
}
