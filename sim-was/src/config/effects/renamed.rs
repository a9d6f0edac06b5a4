//! A site that is renamed leaves the `<location>` blocks behind that do not go with it. Those that do have not changed.

use std::collections::{BTreeMap, BTreeSet};

use super::{Effect, applications_below, pool_of, rules};
use crate::config::settings::Settings;
use crate::config::{Configuration, Site};

/// What was set, with the locations of renamed sites as they would have been written for the new names.
pub(super) fn settings(old: &Configuration, new: &Configuration) -> Settings {
    let mut settings = old.settings.clone();
    for site in &new.sites {
        let mut before = old.sites.iter().filter(|before| before.id == site.id);
        let names = before.next().map(|before| [&before.name, &site.name]);
        let Some([from, to]) = names.map(|names| names.map(|name| name.to_lowercase())) else {
            continue;
        };
        if from != to {
            settings = settings.with_site_renamed(&from, &to, &new.settings);
        }
    }
    settings
}

/// What is lost, and what holds instead, for each site that has another name than before.
pub(super) fn effects(old: &Configuration, new: &Configuration) -> Vec<Effect> {
    let before = |site: &Site| old.sites.iter().find(|before| before.id == site.id);
    let sites = new.sites.iter();
    sites
        .filter_map(|site| effect(before(site)?, site, old, new))
        .collect()
}

fn effect(before: &Site, site: &Site, old: &Configuration, new: &Configuration) -> Option<Effect> {
    let names = [&before.name, &site.name].map(|name| name.to_lowercase());
    if names[0] == names[1] {
        return None;
    }
    // A location that is new, or goes, is a difference of its own.
    let [lost, gained] = names.map(|name| stay(old, new, &name));
    let of_lost = lost.keys().map(|place| applications_below(old, place));
    let of_gained = gained.keys().map(|place| applications_below(new, place));
    let mut applications: Vec<(u32, String)> = of_lost.chain(of_gained).flatten().collect();
    applications.retain(|(id, path)| *id == site.id && pool_of(new, *id, path).is_some());
    applications.sort();
    applications.dedup();
    if applications.is_empty() {
        return None;
    }
    let pools = applications
        .iter()
        .filter_map(|(id, path)| pool_of(new, *id, path));
    let pools: BTreeSet<String> = pools.collect();
    let rule = rules::renamed_without(!lost.is_empty(), !gained.is_empty());
    let said = |places: &Places<'_>| {
        let names: Vec<&str> = places.keys().copied().collect();
        (!places.is_empty()).then(|| names.join(", "))
    };
    Some(Effect {
        what: format!("site '{}': locations", site.name),
        old: said(&lost),
        old_line: lost.values().map(|lines| lines.0).min(),
        new: said(&gained),
        new_line: gained.values().map(|lines| lines.1).min(),
        kind: rule.kind,
        pools: pools.into_iter().collect(),
        site: Some(site.id),
        applications,
        why: rule.why,
        source: rule.source.to_owned(),
    })
}

/// Places in lower case, each with its line in the old file and in the new one.
type Places<'c> = BTreeMap<&'c str, (u32, u32)>;

/// The places at a site of that name for which both files say something.
fn stay<'c>(old: &'c Configuration, new: &'c Configuration, site: &str) -> Places<'c> {
    let is = locations(new, site);
    let was = locations(old, site).into_iter();
    was.filter_map(|(place, line)| Some((place, (line, *is.get(place)?))))
        .collect()
}

/// The places at a site, or below it, for which something is written that its workers read, and the line of that.
fn locations<'c>(configuration: &'c Configuration, site: &str) -> BTreeMap<&'c str, u32> {
    let is_its = |place: &str| {
        let below = place.strip_prefix(site);
        below.is_some_and(|below| below.is_empty() || below.starts_with('/'))
    };
    let mut found = BTreeMap::new();
    for (place, section, line) in configuration.settings.sections_of_locations() {
        if section.starts_with("system.web") && is_its(place) {
            let first = found.entry(place).or_insert(line);
            *first = line.min(*first);
        }
    }
    found
}
