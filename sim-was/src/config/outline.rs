//! The collections of sections that have no schema here (`ipSecurity`, `rewrite/rules` …): what their
//! entries are called, and what tells them apart. Their attributes are not judged.
//!
//! Source: `IIS_schema.xml`, `rewrite_schema.xml`, `arr_schema.xml`, `FTP_schema.xml`, `aspnetcore_schema_v2.xml`
//! and `ASPNET_schema.xml`: `addElement`, `isUniqueKey` and `isCombinedKey`, as Microsoft's configuration reference
//! shows them in its samples. All of these collections are emptied by `clear`, and take entries away by `remove`.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::machine;
use super::schema::{Attribute, Element, Key};
use super::value::{Kind, TimeFormat};

/// A section, and its collections: the path of one, then what its entries are known by, alone or together, with
/// the value of a key that is not written (empty unless given). `rule[]` is each entry `rule`.
pub(super) type Outline = (&'static str, &'static [&'static str]);

/// Collections in which what an inner level adds comes before what it inherits.
/// Assumed: `mergeAppend="false"` for failed request tracing, where the first rule that fits a request is taken.
const INNER_FIRST: [&str; 1] = ["system.webServer/tracing/traceFailedRequests"];

/// What a rule of URL Rewrite has in it.
/// Assumed: the keys of a condition; the product shows only that two conditions may test one input.
const RULE: [&str; 3] = [
    "rule[] name",
    "rule[].conditions.add[] input pattern negate=false",
    "rule[].serverVariables.set[] name",
];

const OUTLINES: &[Outline] = &[
    (
        "system.applicationHost/customMetadata",
        &["key[] path", "key[].property[] id"],
    ),
    ("system.applicationHost/listenerAdapters", &["add[] name"]),
    (
        "system.applicationHost/serviceAutoStartProviders",
        &["add[] name"],
    ),
    // Assumed: a rule for FTP is known by all that it is for, as one for the web is.
    (
        "system.ftpServer/security/authorization",
        &["add[] users roles permissions"],
    ),
    (
        "system.ftpServer/security/ipSecurity",
        &["add[] ipAddress subnetMask=255.255.255.255 domainName"],
    ),
    (
        "system.ftpServer/security/requestFiltering",
        &[
            "commands.add[] command",
            "denyUrlSequences.add[] sequence",
            "fileExtensions.add[] fileExtension",
            "hiddenSegments.add[] segment",
        ],
    ),
    (
        "system.webServer/aspNetCore",
        &[
            "environmentVariables.environmentVariable[] name",
            "handlerSettings.handlerSetting[] name",
        ],
    ),
    (
        "system.webServer/cors",
        &[
            "add[] origin",
            "add[].allowHeaders.add[] header",
            "add[].allowMethods.add[] method",
            "add[].exposeHeaders.add[] header",
        ],
    ),
    ("system.webServer/globalModules", &["add[] name"]),
    (
        "system.webServer/httpPlatform",
        &["environmentVariables.environmentVariable[] name"],
    ),
    (
        "system.webServer/httpProtocol",
        &["customHeaders.add[] name", "redirectHeaders.add[] name"],
    ),
    ("system.webServer/httpRedirect", &["add[] wildcard"]),
    ("system.webServer/httpTracing", &["traceUrls.add[] value"]),
    ("system.webServer/isapiFilters", &["filter[] name"]),
    (
        "system.webServer/rewrite/allowedServerVariables",
        &["add[] name"],
    ),
    ("system.webServer/rewrite/globalRules", &RULE),
    (
        "system.webServer/rewrite/outboundRules",
        &[
            "rule[] name",
            "rule[].conditions.add[] input pattern negate=false",
            "preConditions.preCondition[] name",
            "preConditions.preCondition[].add[] input pattern negate=false",
            "customTags.tags[] name",
            "customTags.tags[].tag[] name attribute",
        ],
    ),
    (
        "system.webServer/rewrite/providers",
        &["provider[] name", "provider[].settings.add[] key"],
    ),
    (
        "system.webServer/rewrite/rewriteMaps",
        &["rewriteMap[] name", "rewriteMap[].add[] key"],
    ),
    ("system.webServer/rewrite/rules", &RULE),
    (
        "system.webServer/security/applicationDependencies",
        &["application[] name", "application[].add[] groupId"],
    ),
    (
        "system.webServer/security/authentication/iisClientCertificateMappingAuthentication",
        &[
            "manyToOneMappings.add[] name",
            "manyToOneMappings.add[].rules.add[] certificateField certificateSubField matchCriteria",
            "oneToOneMappings.add[] certificate",
        ],
    ),
    (
        "system.webServer/security/authentication/windowsAuthentication",
        &["providers.add[] value", "extendedProtection.spn[] name"],
    ),
    (
        "system.webServer/security/authorization",
        &["add[] users roles verbs"],
    ),
    (
        "system.webServer/security/ipSecurity",
        &["add[] ipAddress subnetMask=255.255.255.255 domainName"],
    ),
    (
        "system.webServer/security/isapiCgiRestriction",
        &["add[] path"],
    ),
    (
        "system.webServer/tracing/traceFailedRequests",
        &["add[] path", "add[].traceAreas.add[] provider"],
    ),
    (
        "system.webServer/tracing/traceProviderDefinitions",
        &["add[] name", "add[].areas.add[] name"],
    ),
    (
        "webFarms",
        &["webFarm[] name", "webFarm[].server[] address"],
    ),
];

static ELEMENTS: LazyLock<BTreeMap<&'static str, Element>> =
    LazyLock::new(|| all().map(element).collect());

fn all() -> impl Iterator<Item = &'static Outline> {
    OUTLINES.iter().chain(machine::OUTLINES)
}

/// What is known of a section without a schema.
pub(super) fn of(section: &str) -> Option<&'static Element> {
    ELEMENTS.get(section)
}

/// Whether the path is a section group on the way to such a section.
pub(super) fn is_group(path: &str) -> bool {
    let is_below = |section: &&str| {
        let rest = section.strip_prefix(path);
        rest.is_some_and(|rest| rest.starts_with('/'))
    };
    ELEMENTS.keys().any(is_below)
}

fn element((section, collections): &'static Outline) -> (&'static str, Element) {
    let mut element = Element {
        inner_first: INNER_FIRST.contains(section),
        ..Element::default()
    };
    for collection in *collections {
        let mut words = collection.split(' ');
        let path = words.next().unwrap_or_default();
        let keys: Vec<&str> = words.collect();
        let entry = element.reach(path);
        let kind = match keys.len() {
            1 => Key::Unique,
            _ => Key::Combined,
        };
        for key in keys {
            let (name, default) = key.split_once('=').unwrap_or((key, ""));
            let default = (!default.is_empty()).then(|| default.to_owned());
            entry.insert(name, attribute(kind, default));
        }
    }
    open(&mut element);
    (section, element)
}

fn attribute(key: Key, default: Option<String>) -> Attribute {
    Attribute {
        kind: Kind::String,
        default,
        range: None,
        validate: None,
        values: BTreeMap::new(),
        required: false,
        key: Some(key),
        format: TimeFormat::Text,
    }
}

/// Says of all elements that there may be more in them.
fn open(element: &mut Element) {
    element.foreign = true;
    for inner in element
        .children
        .values_mut()
        .chain(element.entries.values_mut())
    {
        open(inner);
    }
}

#[cfg(test)]
mod tests {
    use super::super::schema;
    use super::*;

    #[test]
    fn an_outline_is_for_a_section_without_a_schema_and_stands_in_order() {
        for (section, _) in all() {
            assert!(schema::section(section).is_none(), "{section}");
        }
        for (section, collections) in OUTLINES {
            assert!(!collections.is_empty(), "{section}");
        }
        for outlines in [OUTLINES, machine::OUTLINES] {
            assert!(outlines.is_sorted_by_key(|(section, _)| *section));
        }
    }

    #[test]
    fn entries_lie_in_entries() {
        let rules = of("system.webServer/rewrite/rules").unwrap();
        let conditions = &rules.entries["rule"].children["conditions"];
        assert_eq!(
            conditions.entries["add"].keys(),
            [["input", "negate", "pattern"]]
        );
        assert!(
            is_group("system.webServer/rewrite") && !is_group("system.webServer/rewrite/rules")
        );
    }
}
