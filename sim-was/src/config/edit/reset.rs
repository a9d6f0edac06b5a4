//! What is taken away by its name: an attribute, or an element with everything in it.
//!
//! Source: IIS: `IAppHostElement::Clear` takes away what a level says of an element, so that what it inherits is in
//! effect again; appcmd does so for `/-name`. Of a collection no entry is left, also of those that it inherits.

use super::change::{Act, Change, Step};
use super::locate::Place;
use super::splice::{self, Splice};
use super::{EditError, apply_one};
use crate::config::raw::ConfigError;
use crate::config::view::View;

/// What a name stands for at a place.
pub(super) enum Named<'n> {
    /// An attribute, as it is written.
    Attribute(&'n str),
    /// An element in the place's.
    Element,
    /// Nothing that the file itself writes.
    Elsewhere,
}

/// Takes away what has a name at a place.
pub(super) fn splices(
    text: &str,
    mut place: Place<'_>,
    name: &str,
    inherits: bool,
) -> Result<Vec<Splice>, EditError> {
    match place.named(name, inherits)? {
        Named::Attribute(_) if !place.missing.is_empty() => Ok(Vec::new()),
        Named::Attribute(name) => {
            let nodes = place.nodes.iter();
            let found = nodes.filter_map(|node| node.attribute_node(name));
            Ok(found
                .map(|attribute| splice::remove_attribute(text, attribute.range()))
                .collect())
        }
        Named::Element => {
            place.descend(&[Step::Child(name.to_owned())])?;
            let nodes = place.nodes.iter().filter(|_| place.missing.is_empty());
            if place.entry_names().is_empty() {
                return Ok(nodes.map(|node| splice::remove(text, *node)).collect());
            }
            let entries = nodes.flat_map(|node| place.entries_and_takers(*node));
            Ok(entries.map(|entry| splice::remove(text, entry)).collect())
        }
        Named::Elsewhere => Ok(Vec::new()),
    }
}

/// Whether an element has, or may have, something of this name, at any level.
pub(super) fn is_there(element: &View, name: &str) -> bool {
    let is_it = |known: &&str| known.eq_ignore_ascii_case(name);
    element.knows(name)
        || element.child(name).is_some()
        || element.key_names().iter().any(is_it)
        || Place::is_lock(name)
}

/// The change that does it for a file that inherits, if there is something to do: a collection that would have
/// inherited entries is emptied.
pub(super) fn localized(
    text: &str,
    change: Change,
    effective: &dyn Fn(&str) -> Result<Option<View>, ConfigError>,
) -> Result<Option<Change>, EditError> {
    let Act::DeleteAttribute { attribute } = &change.act else {
        return Ok(Some(change));
    };
    let view = effective(text)?;
    let element = view.as_ref().and_then(|view| view.at(&change.element));
    let after = match apply_one(text, &change) {
        // It is inherited, and nothing is there to be taken away.
        Err(EditError::Unknown { .. }) if element.is_some_and(|e| is_there(e, attribute)) => {
            return Ok(None);
        }
        after => after?,
    };
    let view = effective(&after)?;
    let element = view.as_ref().and_then(|view| view.at(&change.element));
    let left = element.and_then(|element| element.child(attribute));
    let is_entry = |left: &View, child: &View| !left.has_single(&child.name);
    if left.is_some_and(|left| left.children.iter().any(|child| is_entry(left, child))) {
        let mut element = change.element.clone();
        element.push(Step::Child(attribute.clone()));
        let act = Act::Clear;
        return Ok(Some(Change {
            element,
            act,
            ..change
        }));
    }
    Ok(Some(change))
}

#[cfg(test)]
mod tests {
    use super::super::inherited;
    use super::*;
    use crate::config::edit::apply;
    use crate::config::view::Views;
    use crate::config::{Around, FoundFile};

    const POOLS: &str = "system.applicationHost/applicationPools";

    fn host(pool: &str, defaults: &str) -> String {
        format!(
            "<configuration><system.applicationHost><applicationPools><add name=\"P\">{pool}</add>\
             <applicationPoolDefaults>{defaults}</applicationPoolDefaults></applicationPools></system.applicationHost>\
             </configuration>"
        )
    }

    /// A file after changes of what it has and inherits.
    fn after(text: &str, section: &str, change: &str) -> Result<String, EditError> {
        let effective = |text: &str| Views::new(text, "x").section(section, "");
        let change = change.parse::<Change>()?;
        apply(text, &inherited::localized(text, &[change], &effective)?)
    }

    const SCHEDULE: &str = "<recycling><periodicRestart time=\"01:00:00\"><schedule><add value=\"03:00:00\" /></schedule>\
                            </periodicRestart></recycling>";

    #[test]
    fn a_collection_loses_all_that_it_has_and_its_element_stays() {
        let change = format!("-{POOLS}[name='P'].recycling.periodicRestart.schedule");
        let text = after(&host(SCHEDULE, ""), POOLS, &change).unwrap();
        assert!(
            text.contains("<periodicRestart time=\"01:00:00\">") && !text.contains("03:00"),
            "{text}"
        );
        assert_eq!(after(&text, POOLS, &change).unwrap(), text);
    }

    #[test]
    fn a_collection_that_inherits_is_emptied() {
        let change = format!("-{POOLS}[name='P'].recycling.periodicRestart.schedule");
        let text = after(&host(SCHEDULE, SCHEDULE), POOLS, &change).unwrap();
        let own = text.split("<applicationPoolDefaults>").next().unwrap();
        assert!(own.contains("<schedule><clear /></schedule>"), "{text}");
        let [pool] = Views::new(&text, "x").pools().unwrap().try_into().unwrap();
        let schedule =
            pool.attribute("recycling.periodicRestart.schedule.[value='03:00:00'].value");
        assert_eq!(schedule, None);
    }

    #[test]
    fn an_element_says_again_what_it_inherits() {
        let own = "<processModel maxProcesses=\"3\" idleTimeout=\"00:01:00\" />";
        let text = host(own, "<processModel maxProcesses=\"2\" />");
        let change = format!("-{POOLS}[name='p'].ProcessModel");
        let text = after(&text, POOLS, &change).unwrap();
        let [pool] = Views::new(&text, "x").pools().unwrap().try_into().unwrap();
        assert_eq!(pool.attribute("processModel.maxProcesses"), Some("2"));
        assert_eq!(pool.written("processModel.idleTimeout"), None);
    }

    #[test]
    fn what_is_neither_attribute_nor_element_is_unknown_with_a_schema_and_without() {
        let machine = "<configuration><system.web><machineKey validation=\"MD5\" /></system.web></configuration>";
        for (text, section, change) in [
            (host("", ""), POOLS, "[name='P'].nosuch"),
            (host("", ""), POOLS, "[name='P'].recycling.nosuch"),
            (machine.to_owned(), "system.web/machineKey", ".nosuch"),
            (machine.to_owned(), "system.web/authentication", ".forms.x"),
        ] {
            let refused = after(&text, section, &format!("-{section}{change}"));
            let is_unknown = |error| {
                matches!(
                    error,
                    EditError::Unknown {
                        what: "attribute",
                        ..
                    }
                )
            };
            assert!(refused.is_err_and(is_unknown), "{change}");
        }
        let text = after(
            machine,
            "system.web/machineKey",
            "-system.web/machineKey.validation",
        );
        assert!(!text.unwrap().contains("MD5"));
    }

    #[test]
    fn what_a_web_config_only_inherits_is_known_there() {
        let host = "<configuration><system.web><machineKey validation=\"MD5\" /></system.web><system.webServer>\
                    <defaultDocument><files><add value=\"a.htm\" /></files></defaultDocument></system.webServer>\
                    </configuration>";
        let site = |section: &str, change: &str| {
            let file = FoundFile {
                name: "web.config".to_owned(),
                bytes: Ok(b"<configuration />".to_vec()),
                modified: 0,
            };
            let views = Views::new(host, "x").with(Around::default().with("shop", file));
            let effective = |text: &str| views.committed("shop", text).section(section, "Shop");
            let change = Change {
                inherits: true,
                ..format!("-{section}.{change}").parse::<Change>().unwrap()
            };
            let text = "<configuration />";
            apply(text, &inherited::localized(text, &[change], &effective)?)
        };
        assert_eq!(
            site("system.web/machineKey", "validation").unwrap(),
            "<configuration />"
        );
        assert!(site("system.web/machineKey", "nosuch").is_err());
        let emptied = site("system.webServer/defaultDocument", "files").unwrap();
        assert!(emptied.contains("<files><clear /></files>"), "{emptied}");
    }
}
