//! `system.webServer/security/requestFiltering` as a worker needs it, apart from its limits.
//!
//! Assumed: a list that an applicationHost.config leaves out is the one that IIS ships, so that a short
//! configuration hides what a real server hides; one that it writes is all there is.

use std::sync::LazyLock;

use roxmltree::{Document, Node};
use sim_worker::configuration::{DENIED_EXTENSIONS, HIDDEN_SEGMENTS, Listed, RequestFiltering};

use super::layers::Layers;

pub(super) fn read(section: &Layers<'_>) -> RequestFiltering {
    let list = |name: &'static str| {
        let list = section.child(name);
        match shipped()
            .children()
            .find(|list| list.tag_name().name() == name)
        {
            Some(shipped) if !list.is_of_server() => list.above(shipped),
            Some(_) | None => list,
        }
    };
    let texts = |name: &'static str, attribute: &str| -> Vec<String> {
        let entries = list(name).entries("add", false).0;
        let entries = entries
            .iter()
            .map(|entry| entry.text(attribute).to_lowercase());
        entries.filter(|text| !text.is_empty()).collect()
    };
    RequestFiltering {
        allow_double_escaping: section.flag("allowDoubleEscaping"),
        allow_high_bit_characters: section.flag("allowHighBitCharacters"),
        verbs: listed(&list("verbs"), "verb"),
        deny_url_sequences: texts("denyUrlSequences", "sequence"),
        hidden_segments: texts("hiddenSegments", "segment"),
        file_extensions: listed(&list("fileExtensions"), "fileExtension"),
    }
}

fn listed(list: &Layers<'_>, key: &str) -> Listed {
    let entries = list.entries("add", false).0;
    let pair = |entry: &Layers<'_>| (entry.text(key).to_lowercase(), entry.flag("allowed"));
    Listed {
        allow_unlisted: list.flag("allowUnlisted"),
        allowed: entries.iter().map(pair).collect(),
    }
}

/// The section as IIS ships it.
fn shipped() -> Node<'static, 'static> {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        let segments = HIDDEN_SEGMENTS.map(|segment| format!("<add segment='{segment}' />"));
        let extensions = DENIED_EXTENSIONS
            .map(|extension| format!("<add fileExtension='{extension}' allowed='false' />"));
        format!(
            "<requestFiltering><hiddenSegments>{}</hiddenSegments><fileExtensions>{}</fileExtensions>\
             </requestFiltering>",
            segments.concat(),
            extensions.concat()
        )
    });
    static SECTION: LazyLock<Document<'static>> =
        LazyLock::new(|| Document::parse(&TEXT).expect("it is put together above"));
    SECTION.root_element()
}
