//! `system.webServer/security/requestFiltering` as a worker needs it, apart from its limits.
//!
//! Assumed: the lists that IIS ships in applicationHost.config hold below everything that is written, so that
//! a short configuration hides what a real server hides; `<remove>` and `<clear />` take them away.

use std::sync::LazyLock;

use roxmltree::{Document, Node};
use sim_worker::configuration::{DENIED_EXTENSIONS, HIDDEN_SEGMENTS, Listed, RequestFiltering};

use super::layers::Layers;

pub(super) fn read(section: &Layers<'_>) -> RequestFiltering {
    let section = section.above(shipped());
    let texts = |list: &str, attribute: &str| -> Vec<String> {
        let entries = section.child(list).entries("add", false).0;
        let entries = entries
            .iter()
            .map(|entry| entry.text(attribute).to_lowercase());
        entries.filter(|text| !text.is_empty()).collect()
    };
    RequestFiltering {
        allow_double_escaping: section.flag("allowDoubleEscaping"),
        allow_high_bit_characters: section.flag("allowHighBitCharacters"),
        verbs: listed(&section.child("verbs"), "verb"),
        deny_url_sequences: texts("denyUrlSequences", "sequence"),
        hidden_segments: texts("hiddenSegments", "segment"),
        file_extensions: listed(&section.child("fileExtensions"), "fileExtension"),
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
