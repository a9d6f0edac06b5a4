//! Keys that set the same thing: of two, the later would hold, and rows would be labelled with what the earlier says.

use sim_was::config::edit::{self, Act, Change};
use toml::{Table, Value};

use super::error::PlanError;
use super::target::Target;
use super::vary::Axis;
use crate::sweep::path::resolved;

/// Where a key leads, in words that are alike for keys that are.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Word {
    /// Into a table, an element or an attribute, or to the entry of a list with this number.
    Key(String),
    /// To the entry of a collection that has these attributes.
    Entry(Vec<(String, String)>),
}

type Place = Vec<Word>;

/// How two places lie to each other, if they have anything in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Overlap {
    Same,
    FirstWithinSecond,
    SecondWithinFirst,
}

/// Refuses two keys of which one sets what the other does, or a part of it. `scenario` is what they are put into.
pub(super) fn refuse(axes: &[Axis], scenario: &Table) -> Result<(), PlanError> {
    let is_varied = |axis: &Axis| ["server", "server.set"].contains(&axis.key.text());
    let always = if axes.iter().any(is_varied) {
        Vec::new()
    } else {
        of_set(server_set(scenario))
    };
    let places: Vec<Vec<Place>> = axes.iter().map(|axis| places(axis, scenario)).collect();
    for (index, axis) in axes.iter().enumerate() {
        for (earlier, its) in axes[..index].iter().zip(&places) {
            let Some(overlap) = first_overlap(&places[index], its) else {
                continue;
            };
            let (other, line) = (earlier.key.text(), earlier.line());
            let message = match overlap {
                Overlap::Same => format!("it sets what {other} in line {line} sets; keep one"),
                Overlap::FirstWithinSecond => {
                    format!(
                        "it lies within {other} in line {line}, which sets all of that; keep one"
                    )
                }
                Overlap::SecondWithinFirst => {
                    format!(
                        "{other} in line {line} lies within it, and it sets all of that; keep one"
                    )
                }
            };
            return Err(axis.wrong_key(&message, &[]));
        }
        // What is varied by name in the configuration is edited before `server.set`.
        let is_edited = match axis.target {
            Target::Pool(..) | Target::Site(..) | Target::Section(_) => true,
            Target::Scenario | Target::Costs(_) => false,
        };
        if is_edited && first_overlap(&places[index], &always).is_some() {
            let message = "the scenario's own server.set sets it, whatever its value is here; take it out there";
            return Err(axis.wrong_key(message, &[]));
        }
    }
    Ok(())
}

fn places(axis: &Axis, scenario: &Table) -> Vec<Place> {
    let keys = |words: Vec<String>| words.into_iter().map(Word::Key).collect::<Place>();
    match &axis.target {
        Target::Costs(path) => {
            let mut words = resolved(path.steps(), &Table::new());
            words.insert(0, "costs".to_owned());
            vec![keys(words)]
        }
        Target::Scenario => {
            let words = resolved(axis.key.steps(), scenario);
            let of_set = match words.first_chunk() {
                Some([server, set]) if (server.as_str(), set.as_str()) == ("server", "set") => {
                    of_set(axis.values.iter())
                }
                Some(_) | None => Vec::new(),
            };
            let own = std::iter::once(keys(words));
            own.chain(of_set).collect()
        }
        Target::Pool(..) | Target::Site(..) | Target::Section(_) => {
            let changes = axis.values.iter().take(1);
            let changes = changes.filter_map(|value| axis.target.change(value)?.ok());
            changes.map(|change| of_change(&change)).collect()
        }
    }
}

/// What the scenario's configuration is changed in, whatever the point.
fn server_set(scenario: &Table) -> impl Iterator<Item = &Value> {
    let server = scenario.get("server").and_then(Value::as_table);
    server.and_then(|server| server.get("set")).into_iter()
}

/// The places that values of `server.set`, or entries of it, change.
fn of_set<'a>(values: impl Iterator<Item = &'a Value>) -> Vec<Place> {
    let texts = values.flat_map(|value| match value.as_array() {
        Some(list) => list.iter().filter_map(Value::as_str).collect(),
        None => Vec::from_iter(value.as_str()),
    });
    let changes = texts.filter_map(|text| text.parse::<Change>().ok());
    changes.map(|change| of_change(&change)).collect()
}

/// A place in the configuration, without regard to case, as names in it are compared.
fn of_change(change: &Change) -> Place {
    let key = |text: &str| Word::Key(text.to_lowercase());
    let entry = |of: &[(String, String)]| {
        let lower = of.iter().map(|(n, v)| (n.to_lowercase(), v.to_lowercase()));
        Word::Entry(lower.collect())
    };
    let mut place = vec![key("server"), key("config-text")];
    place.extend([key(&change.location), key(&change.section)]);
    place.extend(change.element.iter().map(|step| match step {
        edit::Step::Child(name) => key(name),
        edit::Step::Entry(of) => entry(of),
    }));
    match &change.act {
        Act::Set { attribute, .. } | Act::DeleteAttribute { attribute } => {
            place.push(key(attribute));
        }
        Act::Add {
            attributes: keys, ..
        }
        | Act::Remove { keys } => place.push(entry(keys)),
        Act::Clear | Act::DeleteElement | Act::Lock { .. } => {}
    }
    place
}

fn first_overlap(first: &[Place], second: &[Place]) -> Option<Overlap> {
    let mut pairs = first
        .iter()
        .flat_map(|one| second.iter().map(move |other| (one, other)));
    pairs.find_map(|(one, other)| overlap(one, other))
}

fn overlap(first: &[Word], second: &[Word]) -> Option<Overlap> {
    let mut pairs = first.iter().zip(second);
    if !pairs.all(|(one, other)| may_be_same(one, other)) {
        return None;
    }
    Some(match first.len().cmp(&second.len()) {
        std::cmp::Ordering::Equal => Overlap::Same,
        std::cmp::Ordering::Greater => Overlap::FirstWithinSecond,
        std::cmp::Ordering::Less => Overlap::SecondWithinFirst,
    })
}

/// An entry may be known by some of its attributes, or by all of them.
fn may_be_same(one: &Word, other: &Word) -> bool {
    match (one, other) {
        (Word::Key(one), Word::Key(other)) => one == other,
        (Word::Entry(one), Word::Entry(other)) => {
            let within = |few: &[(String, String)], many: &[(String, String)]| {
                few.iter().all(|attribute| many.contains(attribute))
            };
            within(one, other) || within(other, one)
        }
        (Word::Key(_), Word::Entry(_)) | (Word::Entry(_), Word::Key(_)) => false,
    }
}
