//! How `list` shows what it has found: lines, all properties, one property, XML, sections.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::process::ExitCode;

use sim_was::config::edit::escape;
use sim_was::config::view::View;

use super::Failure;
use super::filters::Filters;
use super::grammar::{Object, Sentence};
use super::rows::Row;

/// Prints the rows that one of the sentences asks for, which differ in that alone. Assumed: an empty listing prints
/// nothing and exits with 1.
pub(super) fn list(
    sentences: &[Sentence],
    object: Object,
    rows: &[Row],
) -> Result<ExitCode, Failure> {
    let Some(first) = sentences.first() else {
        return Ok(ExitCode::SUCCESS);
    };
    let mut asked = Vec::new();
    for sentence in sentences {
        asked.push((sentence, Filters::of(sentence, rows)?));
    }
    let (mut found, mut missing) = (BTreeSet::new(), None);
    for (sentence, filters) in &asked {
        let passes = |row: &Row| filters.pass(row) && is_identified(sentence, object, row);
        let own: Vec<usize> = (0..rows.len()).filter(|at| passes(&rows[*at])).collect();
        if own.is_empty()
            && let Some(identifier) = sentence.identifier()
        {
            missing.get_or_insert_with(|| identifier.to_owned());
        }
        found.extend(own);
    }
    let chosen: Vec<&Row> = found.into_iter().map(|at| &rows[at]).collect();
    let is_xml = first.has("xml");
    if is_xml && (missing.is_none() || !chosen.is_empty()) {
        print!("{}", xml_of(first, object, &chosen));
    }
    for row in chosen.iter().filter(|_| !is_xml) {
        match (first.parameter("text"), &row.view) {
            (Some("*"), _) => print!("{}", all_of(object, row)),
            (Some(property), _) => println!("{}", row.property(property).unwrap_or_default()),
            (None, Some(view)) if first.has("config") => {
                print!(
                    "{}",
                    element(view, 0, first.parameter("config") == Some("*"))
                );
            }
            (None, _) => println!("{}", row.line),
        }
    }
    // What was piped in may have gone meanwhile: the others are listed.
    if let Some(identifier) = missing {
        return Err(Failure::NotFound { object, identifier });
    }
    Ok(if chosen.is_empty() && !is_xml {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// Whether a row is the object that is asked for, if one is.
fn is_identified(sentence: &Sentence, object: Object, row: &Row) -> bool {
    let own_name = format!("{}.NAME", object.name());
    let is_called = |identifier: &str| {
        let has = |property: &str| {
            row.property(property)
                .is_some_and(|value| value.eq_ignore_ascii_case(identifier))
        };
        has(&own_name)
            || (object == Object::Site && (has("SITE.ID") || serves(row, identifier)))
            || (object == Object::App && has_name_without_slash(row, &own_name, identifier))
            || (object == Object::Vdir && has_name_without_slash(row, &own_name, identifier))
    };
    sentence.identifier.as_deref().is_none_or(is_called)
}

/// A site may be named by one of its bindings.
fn serves(row: &Row, identifier: &str) -> bool {
    let bindings = row.property("bindings").unwrap_or_default();
    bindings.split(',').any(|binding| binding == identifier)
}

/// `Default Web Site` means `Default Web Site/`.
fn has_name_without_slash(row: &Row, own_name: &str, identifier: &str) -> bool {
    let name = row.property(own_name).unwrap_or_default();
    name.trim_end_matches('/')
        .eq_ignore_ascii_case(identifier.trim_end_matches('/'))
}

/// Source: appcmd `/text:*`: properties, then the element with its attributes in quotes.
fn all_of(object: Object, row: &Row) -> String {
    let mut text = format!("{}\n", object.name());
    for (name, value) in &row.properties {
        let name = match *name {
            "PipelineMode" => "managedPipelineMode",
            "RuntimeVersion" => "managedRuntimeVersion",
            name => name,
        };
        let _ = writeln!(text, "  {name}: {value}");
    }
    if let Some(view) = &row.view {
        indent(view, 1, &mut text);
    }
    text
}

/// An element with everything in it, as `/text:*` shows it.
pub(super) fn properties(view: &View) -> String {
    let mut text = String::new();
    indent(view, 1, &mut text);
    text
}

fn indent(view: &View, depth: usize, text: &mut String) {
    let space = "  ".repeat(depth);
    let _ = writeln!(text, "{space}[{}]", view.name);
    for attribute in view.attributes_in_order() {
        let _ = writeln!(text, "{space}  {}:\"{}\"", attribute.name, attribute.value);
    }
    for child in view.children_in_order() {
        indent(child, depth + 1, text);
    }
}

fn xml_of(sentence: &Sentence, object: Object, rows: &[&Row]) -> String {
    let mut text = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<appcmd>\n".to_owned();
    for row in rows {
        let attributes = row.properties.iter();
        let attributes: String = attributes
            .map(|(name, value)| attribute(name, value))
            .collect();
        let name = object.name();
        match row.view.as_ref().filter(|_| sentence.has("config")) {
            Some(view) => {
                let all = sentence.parameter("config") == Some("*");
                let _ = writeln!(text, "    <{name}{attributes}>");
                text.push_str(&element(view, 2, all));
                let _ = writeln!(text, "    </{name}>");
            }
            None => {
                let _ = writeln!(text, "    <{name}{attributes} />");
            }
        }
    }
    text.push_str("</appcmd>\n");
    text
}

/// An element as XML: what is written, or everything that takes effect.
pub(super) fn element(view: &View, depth: usize, all: bool) -> String {
    let space = "  ".repeat(depth);
    let mut text = format!("{space}<{}", view.name);
    let attributes = view.attributes.iter();
    let attributes =
        attributes.filter(|a| a.is_written || a.is_inherited || all && !a.value.is_empty());
    text.extend(attributes.map(|one| attribute(&one.name, &one.value)));
    let shown = view
        .children
        .iter()
        .filter(|child| all || child.is_in_effect());
    let children: String = shown.map(|child| element(child, depth + 1, all)).collect();
    if children.is_empty() {
        text.push_str(" />\n");
    } else {
        let _ = write!(text, ">\n{children}{space}</{}>\n", view.name);
    }
    text
}

/// ` name="value"`, written as the files are.
pub(super) fn attribute(name: &str, value: &str) -> String {
    format!(" {name}=\"{}\"", escape(value, '"'))
}
