//! `system.webServer/security/requestFiltering` as a worker needs it, apart from its limits.
//!
//! Assumed: a list that an applicationHost.config leaves out is the one that IIS ships, so that a short
//! configuration hides what a real server hides; one that it writes is all there is.

use roxmltree::Node;
use sim_worker::configuration::{Listed, RequestFiltering};

use super::default_config;
use super::layers::Layers;

pub(super) fn read(section: &Layers<'_>) -> RequestFiltering {
    let list = |name: &'static str| {
        let list = section.child(name);
        let mut lists = shipped().into_iter().flat_map(|section| section.children());
        match lists.find(|list| list.has_tag_name(name)) {
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
fn shipped() -> Option<Node<'static, 'static>> {
    let mut sections = default_config::document().descendants();
    sections.find(|node| node.is_element() && node.has_tag_name("requestFiltering"))
}

#[cfg(test)]
mod tests {
    use sim_worker::configuration::RequestFiltering;

    use crate::config::{default_config::DEFAULT_CONFIG, load};

    #[test]
    fn what_is_shipped_is_what_a_worker_assumes() {
        let short = DEFAULT_CONFIG.replace("requestFiltering>", "requestFilterink>");
        for text in [DEFAULT_CONFIG, &short] {
            let configuration = load(text, "applicationHost.config").unwrap();
            let settings = &configuration.sites[0].applications[0].settings;
            assert_eq!(settings.request_filtering, RequestFiltering::default());
        }
    }
}
