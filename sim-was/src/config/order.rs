//! Collections whose order says something: the first document that exists is served, the first handler that
//! fits runs. That an entry has moved is a difference, though each entry is what it was.

use std::collections::BTreeMap;

use super::settings::{Difference, Key, Scope, Setting};

/// Sections whose entries are gone through in order.
///
/// Source: IIS configuration reference, each of them: "in order", "ordered list", "first match".
const ORDERED: [&str; 9] = [
    "system.webServer/applicationInitialization",
    "system.webServer/defaultDocument",
    "system.webServer/globalModules",
    "system.webServer/handlers",
    "system.webServer/isapiFilters",
    "system.webServer/modules",
    "system.webServer/rewrite/rules",
    "system.webServer/security/ipSecurity",
    "system.web/authorization",
];

type Map = BTreeMap<Key, Setting>;

/// A collection: what it belongs to, its section, and its element in it with a dot, empty for the section itself.
type Collection<'m> = (&'m Scope, &'m str, &'m str);

/// The collections in which entries that both have stand in another order.
pub(super) fn differences(old: &Map, new: &Map) -> Vec<Difference> {
    let (before, after) = (orders(old), orders(new));
    let mut found = Vec::new();
    for (collection, old) in before {
        let Some(new) = after.get(&collection) else {
            continue;
        };
        let (old_order, new_order) = (common(&old, new), common(new, &old));
        if old_order == new_order {
            continue;
        }
        let (scope, section, element) = collection;
        let line = |entries: &Entries<'_>| entries.values().min().copied();
        found.push(Difference {
            key: Key {
                scope: scope.clone(),
                section: section.to_owned(),
                path: format!("{element}order"),
            },
            old: Some(old_order.join(", ")),
            old_place: line(&old),
            new: Some(new_order.join(", ")),
            new_place: line(new),
        });
    }
    found
}

/// Entries, `add[name='x']`, and where they stand: the line, and the byte of the line.
type Entries<'m> = BTreeMap<&'m str, (u32, u32)>;

/// The entries that others have too, in their order, however they are spread over lines.
fn common<'m>(entries: &Entries<'m>, others: &Entries<'_>) -> Vec<&'m str> {
    let common = entries
        .iter()
        .filter(|(entry, _)| others.contains_key(*entry));
    let mut common: Vec<_> = common.map(|(entry, place)| (*place, *entry)).collect();
    common.sort_unstable();
    common.into_iter().map(|(_, entry)| entry).collect()
}

fn orders(map: &Map) -> BTreeMap<Collection<'_>, Entries<'_>> {
    let mut orders = BTreeMap::<Collection<'_>, Entries<'_>>::new();
    for (key, setting) in map {
        let Some((element, entry)) = entry_of(&key.path) else {
            continue;
        };
        if ORDERED.contains(&key.section.as_str()) {
            let collection = (&key.scope, key.section.as_str(), element);
            let entries = orders.entry(collection).or_default();
            let here = (setting.line, setting.column);
            let place = entries.entry(entry).or_insert(here);
            *place = here.min(*place);
        }
    }
    orders
}

/// `files.add[value='a.htm'].value` is `files.` and `add[value='a.htm']`.
fn entry_of(path: &str) -> Option<(&str, &str)> {
    let open = path.find('[')?;
    let end = path[open..]
        .find("']")
        .map_or(path.len(), |end| open + end + 2);
    let start = path[..open].rfind('.').map_or(0, |dot| dot + 1);
    Some((&path[..start], &path[start..end]))
}
