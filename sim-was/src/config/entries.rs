//! Entries of collections that come or go: each is one difference, and not one for each of its attributes.

use std::collections::BTreeMap;

use super::recorder::PRESENT;
use super::settings::{Difference, Key, Scope, Setting};

type Map = BTreeMap<Key, Setting>;

/// The collection of the bindings of a site.
const BINDINGS: &str = "bindings.binding";

/// Differences with one for each entry that has come or gone as a whole.
pub(super) fn whole(old: &Map, new: &Map, differences: Vec<Difference>) -> Vec<Difference> {
    let mut all: Vec<Difference> = Vec::new();
    for difference in differences {
        let entry = entries_around(&difference.key.path).find_map(|entry| {
            let key = Key {
                path: entry.to_owned(),
                ..difference.key.clone()
            };
            (is_there(old, &key) != is_there(new, &key)).then_some(key)
        });
        let Some(key) = entry else {
            all.push(difference);
            continue;
        };
        // They come in the order of their keys.
        match all.last_mut().filter(|last| last.key == key) {
            Some(known) => known.take_in(&difference),
            None => all.push(of_entry(key, &difference)),
        }
    }
    changed_bindings(all)
}

/// The entries that a setting is in, the outermost first: `bindings.binding[protocol='http',…]`.
fn entries_around(path: &str) -> impl Iterator<Item = &str> {
    let ends = path.match_indices("']").map(|(at, end)| at + end.len());
    ends.filter(|end| path[*end..].is_empty() || path[*end..].starts_with('.'))
        .map(|end| &path[..end])
}

fn is_there(map: &Map, entry: &Key) -> bool {
    let first = map.range(entry..).next();
    first.is_some_and(|(key, _)| {
        (&key.scope, &key.section) == (&entry.scope, &entry.section)
            && key.path.starts_with(&entry.path)
    })
}

/// The first attribute of an entry that comes or goes.
fn of_entry(key: Key, first: &Difference) -> Difference {
    let whole = |value: &Option<String>| value.as_ref().map(|_| PRESENT.to_owned());
    let mut entry = Difference {
        key,
        old: whole(&first.old),
        new: whole(&first.new),
        old_place: first.old_place,
        new_place: first.new_place,
    };
    entry.take_in(first);
    entry
}

impl Difference {
    /// One more attribute of an entry that comes or goes. What tells it from others, its name has said.
    fn take_in(&mut self, attribute: &Self) {
        let path = &attribute.key.path[self.key.path.len()..];
        let path = path.trim_start_matches('.');
        let is_said = |value: &str| self.key.path.contains(&format!("{path}='{value}'"));
        let said = |whole: &mut Option<String>, value: &Option<String>| {
            if let (Some(whole), Some(value)) = (whole, value)
                && !path.is_empty()
                && !is_said(value)
            {
                let more = format!("{path}='{value}'");
                *whole = if whole == PRESENT {
                    more
                } else {
                    format!("{whole}, {more}")
                };
            }
        };
        let (mut old, mut new) = (self.old.take(), self.new.take());
        said(&mut old, &attribute.old);
        said(&mut new, &attribute.new);
        (self.old, self.new) = (old, new);
        let first =
            |one: Option<(u32, u32)>, other: Option<(u32, u32)>| one.into_iter().chain(other).min();
        self.old_place = first(self.old_place, attribute.old_place);
        self.new_place = first(self.new_place, attribute.new_place);
    }
}

/// A binding that goes and one that comes in its place are one that was changed.
///
/// Assumed: if no other of the site comes or goes; a binding has no name that would tell.
fn changed_bindings(all: Vec<Difference>) -> Vec<Difference> {
    let mut of_sites = BTreeMap::<&Scope, Vec<usize>>::new();
    for (at, one) in all.iter().enumerate() {
        let entry = one.key.path.strip_prefix(BINDINGS);
        let is_entry = entry.is_some_and(|keys| keys.starts_with('[') && keys.ends_with("']"));
        let is_one = is_entry && one.old.is_some() != one.new.is_some();
        if is_one && matches!(one.key.scope, Scope::Site(_)) {
            of_sites.entry(&one.key.scope).or_default().push(at);
        }
    }
    let mut changed = BTreeMap::<usize, Option<Difference>>::new();
    for found in of_sites.values() {
        let &[first, second] = found.as_slice() else {
            continue;
        };
        let (one, other) = (&all[first], &all[second]);
        if one.old.is_some() == other.old.is_some() {
            continue;
        }
        let is_gone = one.old.is_some();
        let (gone, come) = if is_gone { (one, other) } else { (other, one) };
        changed.insert(first, Some(changed_binding(gone, come)));
        changed.insert(second, None);
    }
    let all = all.into_iter().enumerate();
    all.filter_map(|(at, one)| match changed.remove(&at) {
        Some(changed) => changed,
        None => Some(one),
    })
    .collect()
}

fn changed_binding(gone: &Difference, come: &Difference) -> Difference {
    let named = |difference: &Difference, value: &Option<String>| {
        let keys = difference.key.path[BINDINGS.len()..].trim_matches(['[', ']']);
        let value = value.as_deref().filter(|value| *value != PRESENT);
        let more = value.map(|value| format!(", {value}")).unwrap_or_default();
        format!("{keys}{more}")
    };
    Difference {
        key: Key {
            path: BINDINGS.to_owned(),
            ..gone.key.clone()
        },
        old: Some(named(gone, &gone.old)),
        old_place: gone.old_place,
        new: Some(named(come, &come.new)),
        new_place: come.new_place,
    }
}
