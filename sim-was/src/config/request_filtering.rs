//! `system.webServer/security/requestFiltering` as a worker needs it, apart from its limits.
//!
//! Assumed: a list that an applicationHost.config leaves out is the one that IIS ships, so that a short
//! configuration hides what a real server hides; one that it writes is all there is.

use std::collections::BTreeMap;

use roxmltree::Node;
use sim_worker::configuration::{FilteringRule, Listed, RequestFiltering};

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
        deny_query_string_sequences: texts("denyQueryStringSequences", "sequence"),
        unescape_query_string: section.flag("unescapeQueryString"),
        always_allowed_urls: texts("alwaysAllowedUrls", "url")
            .into_iter()
            .map(|url| format!("/{}", url.trim_start_matches('/')))
            .collect(),
        always_allowed_query_strings: texts("alwaysAllowedQueryStrings", "queryString")
            .into_iter()
            .map(|query| query.trim_start_matches('?').to_owned())
            .collect(),
        header_limits: header_limits(&section.child("requestLimits")),
        rules: rules(&section.child("filteringRules")),
        remove_server_header: section.flag("removeServerHeader"),
    }
}

fn header_limits(limits: &Layers<'_>) -> BTreeMap<String, u32> {
    let entries = limits.child("headerLimits").entries("add", false).0;
    let limit = |entry: &Layers<'_>| {
        let header = entry.text("header").to_lowercase();
        (header, entry.number("sizeLimit"))
    };
    entries.iter().map(limit).collect()
}

fn rules(all: &Layers<'_>) -> Vec<FilteringRule> {
    let rule = |rule: &Layers<'_>| {
        let texts = |list: &'static str, attribute: &str| -> Vec<String> {
            let entries = rule.child(list).entries("add", false).0;
            let entries = entries
                .iter()
                .map(|entry| entry.text(attribute).to_lowercase());
            entries.filter(|text| !text.is_empty()).collect()
        };
        FilteringRule {
            scan_url: rule.flag("scanUrl"),
            scan_query_string: rule.flag("scanQueryString"),
            scan_all_raw: rule.flag("scanAllRaw"),
            deny_unescaped_percent: rule.flag("denyUnescapedPercent"),
            scan_headers: texts("scanHeaders", "requestHeader"),
            applies_to: texts("appliesTo", "fileExtension"),
            deny_strings: texts("denyStrings", "string"),
        }
    };
    let rules = all.entries("filteringRule", false).0;
    rules.iter().map(rule).collect()
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
    use sim_worker::configuration::{FilteringRule, RequestFiltering};

    use crate::config::{default_config::DEFAULT_CONFIG, load};

    #[test]
    fn rules_lists_and_limits_are_what_a_worker_goes_by() {
        let filtering = "<requestFiltering removeServerHeader=\"true\" unescapeQueryString=\"false\">\
            <requestLimits><headerLimits><add header=\"X-Long\" sizeLimit=\"5\" /></headerLimits></requestLimits>\
            <denyQueryStringSequences><add sequence=\"DROP\" /></denyQueryStringSequences>\
            <alwaysAllowedUrls><add url=\"Good\" /></alwaysAllowedUrls>\
            <alwaysAllowedQueryStrings><add queryString=\"?A=b\" /></alwaysAllowedQueryStrings>\
            <filteringRules><filteringRule name=\"R\" scanUrl=\"false\"><scanHeaders><add requestHeader=\"User-Agent\" />\
            </scanHeaders><appliesTo><add fileExtension=\".ASP\" /></appliesTo><denyStrings><add string=\"Bad\" />\
            </denyStrings></filteringRule></filteringRules>";
        let text = DEFAULT_CONFIG.replace("<requestFiltering>", filtering);
        let configuration = load(&text, "applicationHost.config").unwrap();
        let settings = &configuration.sites[0].applications[0].settings;
        let rule = FilteringRule {
            scan_query_string: true,
            deny_unescaped_percent: true,
            scan_headers: vec!["user-agent".to_owned()],
            applies_to: vec![".asp".to_owned()],
            deny_strings: vec!["bad".to_owned()],
            ..FilteringRule::default()
        };
        let wanted = RequestFiltering {
            deny_query_string_sequences: vec!["drop".to_owned()],
            unescape_query_string: false,
            always_allowed_urls: vec!["/good".to_owned()],
            always_allowed_query_strings: vec!["a=b".to_owned()],
            header_limits: [("x-long".to_owned(), 5)].into(),
            rules: vec![rule],
            remove_server_header: true,
            ..RequestFiltering::default()
        };
        assert_eq!(settings.error, None);
        assert_eq!(settings.request_filtering, wanted);
    }

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
