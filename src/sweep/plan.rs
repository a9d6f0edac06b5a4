//! A plan: which scenario, what is varied, which operations, which seeds.
//!
//! ```toml
//! scenario = "../scenarios/reset-vs-recycle.toml"   # relative to the plan; the built-in one if absent
//! variant = "AlwaysRunning"                         # only if the scenario has variants
//! operations = ["none", "iisreset", "recycle"]      # the scenario's if absent
//! seeds = "0..100"                                  # from 0 up to but without 100
//!
//! [[vary]]
//! key = "load.rate"                                 # a dotted key of the scenario, of costs or a pool
//! range = { from = 100, to = 500, step = 100 }      # both ends included; or factor = 2
//!
//! [[vary]]
//! key = "costs.spawn"
//! values = ["5ms", { lognormal_median = "20ms", sigma = 0.5 }]
//!
//! [[vary]]
//! key = "pool[Shop].processModel.shutdownTimeLimit" # also site[NAME]…, and system.…/… as for appcmd
//! values = ["00:00:05", "00:01:30"]
//! ```
//!
//! The points are all combinations; the first key varies slowest. Everything that a file names is read
//! once, here, and is in the hash of the plan.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::json;
use toml::{Spanned, Table, Value};

use super::path::{KeyPath, keys_of};
use super::{FNV_START, fnv};
use crate::scenario::{Operation, Scenario, ScenarioError, in_words, not_utf8};
use crate::virtual_world::costs::{self, Costs};

mod error;
mod overlap;
mod target;
mod vary;

pub use error::PlanError;
use target::Target;
pub use vary::Axis;

/// The largest number of rows: what a signed number of 32 bits can count, for those who read the files.
pub(super) const ROWS_MAX: u64 = i32::MAX as u64;

/// What of a scenario is the plan's own business.
const OWN_KEYS: [&str; 7] = [
    "name",
    "about",
    "operations",
    "trials",
    "seed",
    "variant",
    "expect",
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    name: Option<String>,
    #[serde(default)]
    scenario: Option<PathBuf>,
    #[serde(default)]
    variant: Option<Spanned<String>>,
    #[serde(default)]
    costs: Option<PathBuf>,
    #[serde(default)]
    operations: Option<Spanned<Vec<Operation>>>,
    seeds: Spanned<String>,
    #[serde(default)]
    vary: Vec<vary::Part>,
}

/// A plan, checked.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Its name.
    pub name: String,
    /// The file, as it was named.
    pub file: String,
    /// What is done at each point with each seed.
    pub operations: Vec<Operation>,
    /// The seeds.
    pub seeds: Range<u64>,
    /// What is varied.
    pub axes: Vec<Axis>,
    scenario: Table,
    costs: Table,
    hash: u64,
}

/// What one point means.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The scenario; a trial of it with a unit's seed is `compare --seed SEED --trials 1`.
    pub scenario: Scenario,
    /// What things cost.
    pub costs: Costs,
}

impl Plan {
    /// Reads a plan and all that it names, and checks every value of every key.
    pub fn read(path: &Path) -> Result<Self, PlanError> {
        let text = read(path)?;
        let folder = path.parent().unwrap_or(Path::new("."));
        Self::parse(&text, &path.display().to_string(), folder)
    }

    /// Understands the text of a plan; `folder` is where the files that it names lie.
    pub fn parse(text: &str, file: &str, folder: &Path) -> Result<Self, PlanError> {
        let parsed: File = toml::from_str(text).map_err(|error| PlanError::Parse {
            file: file.to_owned(),
            message: in_words(&error.to_string()),
        })?;
        let base = match &parsed.scenario {
            Some(path) => Scenario::read(&folder.join(path))?,
            None => Scenario::reset_vs_recycle()?,
        };
        let at = |offset| error::At::new(file, text, offset);
        let base = story(&base, parsed.variant.as_ref(), &at)?;
        let costs_text = match &parsed.costs {
            Some(path) => read(&folder.join(path))?,
            None => costs::DEFAULT_PROFILE.to_owned(),
        };
        let costs = costs_table(&costs_text).map_err(|message| PlanError::Parse {
            file: parsed.costs.map_or_else(
                || "the default profile of costs".to_owned(),
                |path| folder.join(path).display().to_string(),
            ),
            message,
        })?;
        let operations = match parsed.operations {
            Some(operations) => own_operations(operations.get_ref(), &at(operations.span().start))?,
            None => base.operations.clone(),
        };
        let seeds = seeds(parsed.seeds.get_ref(), &at(parsed.seeds.span().start))?;
        let axes = vary::axes(parsed.vary, &at)?;
        let mut plan = Self {
            name: parsed.name.unwrap_or_else(|| base.name.clone()),
            file: file.to_owned(),
            operations,
            seeds,
            axes,
            scenario: table_of(&base)?,
            costs,
            hash: 0,
        };
        plan.check()?;
        overlap::refuse(&plan.axes, &plan.scenario)?;
        plan.hash = plan.hashed();
        Ok(plan)
    }

    /// How many points there are.
    pub fn points(&self) -> u64 {
        self.axes
            .iter()
            .map(|axis| axis.values.len() as u64)
            .fold(1, u64::saturating_mul)
    }

    /// How many units there are: points times seeds. Unit `u` is point `u / seeds` with seed
    /// `first + u % seeds`.
    pub fn units(&self) -> u64 {
        self.points().saturating_mul(self.seeds_count())
    }

    /// How many rows there are: one for each operation of each unit.
    pub fn rows(&self) -> u64 {
        self.units().saturating_mul(self.operations.len() as u64)
    }

    /// How many seeds there are.
    pub fn seeds_count(&self) -> u64 {
        self.seeds.end - self.seeds.start
    }

    /// The point of a unit.
    pub fn point_of(&self, unit: u64) -> u64 {
        unit / self.seeds_count()
    }

    /// The seed of a unit.
    pub fn seed_of(&self, unit: u64) -> u64 {
        self.seeds.start + unit % self.seeds_count()
    }

    /// The value of every key at a point.
    pub fn values_at(&self, point: u64) -> Vec<(&Axis, &Value)> {
        let mut rest = point;
        let mut values: Vec<(&Axis, &Value)> = Vec::with_capacity(self.axes.len());
        for axis in self.axes.iter().rev() {
            let count = axis.values.len() as u64;
            // Below the length of a list, so it is a usize.
            let index = usize::try_from(rest % count).unwrap_or(0);
            values.push((axis, &axis.values[index]));
            rest /= count;
        }
        values.reverse();
        values
    }

    /// A number that differs if anything differs on which a result depends, the build aside.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// What a point means.
    pub fn setting(&self, point: u64) -> Result<Setting, PlanError> {
        self.with(&self.values_at(point))
    }

    fn with(&self, values: &[(&Axis, &Value)]) -> Result<Setting, PlanError> {
        let mut scenario = self.scenario.clone();
        let mut costs = self.costs.clone();
        for (axis, value) in values {
            let value = (*value).clone();
            if let Some(change) = axis.target.change(&value) {
                let edited = change.and_then(|change| target::edit(&mut scenario, change));
                edited.map_err(|error| axis.wrong_attribute(&value, &error))?;
                continue;
            }
            let set = match &axis.target {
                Target::Costs(path) => path.set(&mut costs, value),
                Target::Scenario | Target::Pool(..) | Target::Site(..) | Target::Section(_) => {
                    axis.key.set(&mut scenario, value)
                }
            };
            set.map_err(|wrong| axis.wrong_key(&wrong.to_string(), &self.keys()))?;
        }
        let blame = |message: &str| match values.last() {
            Some((axis, value)) => axis.wrong_value(value, message, &self.keys()),
            None => PlanError::Parse {
                file: self.file.clone(),
                message: message.to_owned(),
            },
        };
        let costs = costs
            .try_into()
            .map_err(|error: toml::de::Error| blame(&in_words(&error.to_string())))?;
        let scenario = Scenario::of_table(scenario, &self.name).map_err(|error| match error {
            ScenarioError::Parse { message, .. } | ScenarioError::Invalid { message, .. } => {
                blame(&message)
            }
            ScenarioError::Read { .. } => PlanError::Scenario(error),
        })?;
        if scenario.farm.is_some() {
            return Err(blame(
                "a [farm] stands behind a real HAProxy, and a sweep runs under the virtual clock only",
            ));
        }
        let profile = scenario.load.check();
        profile.map_err(|wrong| blame(&format!("load: {wrong}")))?;
        for &operation in &self.operations {
            let served = scenario.served(operation);
            served.map_err(|error| blame(&error.to_string()))?;
        }
        Ok(Setting { scenario, costs })
    }

    fn check(&self) -> Result<(), PlanError> {
        if self.rows() > ROWS_MAX {
            return Err(PlanError::TooMany {
                file: self.file.clone(),
                rows: self.rows(),
                max: ROWS_MAX,
            });
        }
        self.with(&[])?;
        for axis in &self.axes {
            for value in &axis.values {
                self.with(&[(axis, value)])?;
            }
        }
        Ok(())
    }

    /// Every key that can be varied, as far as it has a value already.
    fn keys(&self) -> Vec<String> {
        let mut keys = keys_of(&self.scenario);
        let costs = keys_of(&self.costs).into_iter();
        keys.extend(costs.map(|key| format!("costs.{key}")));
        keys
    }

    fn hashed(&self) -> u64 {
        let axes = self
            .axes
            .iter()
            .map(|axis| json!({ "key": axis.key.text(), "values": axis.values }));
        let canonical = json!({
            "schema": "iis-sim/sweep-plan/1",
            "scenario": self.scenario,
            "costs": self.costs,
            "operations": self.operations,
            "seeds": [self.seeds.start, self.seeds.end],
            "vary": axes.collect::<Vec<_>>(),
        });
        fnv(FNV_START, canonical.to_string().as_bytes())
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} points × {} seeds × {} operations = {} rows; plan {:016x}",
            self.name,
            self.points(),
            self.seeds_count(),
            self.operations.len(),
            self.rows(),
            self.hash
        )
    }
}

fn read(path: &Path) -> Result<String, PlanError> {
    let read = |source| PlanError::Read {
        path: path.to_owned(),
        source,
    };
    let bytes = std::fs::read(path).map_err(read)?;
    let text = String::from_utf8(bytes);
    text.map_err(|error| read(std::io::Error::other(not_utf8(&error))))
}

/// The profile as a table, if it is one.
fn costs_table(text: &str) -> Result<Table, String> {
    Costs::parse(text).map_err(|error| in_words(&error.to_string()))?;
    toml::from_str(text).map_err(|error| error.to_string())
}

/// The scenario with every default written out, less what is the plan's business.
fn table_of(scenario: &Scenario) -> Result<Table, PlanError> {
    let mut table = Table::try_from(scenario).map_err(|error| PlanError::Parse {
        file: scenario.name.clone(),
        message: error.to_string(),
    })?;
    for key in OWN_KEYS {
        table.remove(key);
    }
    Ok(table)
}

/// The scenario, or the variant of it that the plan names.
fn story(
    base: &Scenario,
    named: Option<&Spanned<String>>,
    at: &impl Fn(usize) -> error::At,
) -> Result<Scenario, PlanError> {
    let stories = base.stories()?;
    let known: Vec<String> = stories
        .iter()
        .map(|story| format!("{:?}", story.variant))
        .collect();
    let known = known.join(", ");
    let place = at(named.map_or(0, |named| named.span().start));
    let wanted = named.map_or("", |named| named.get_ref().as_str());
    if wanted.is_empty() && !base.variants.is_empty() {
        return Err(place.says(&format!(
            "the scenario has variants: choose one, as in variant = \"…\"; there is {known}"
        )));
    }
    let found = stories.into_iter().find(|story| story.variant == wanted);
    found.map(|story| story.scenario).ok_or_else(|| {
        if base.variants.is_empty() {
            place.says("the scenario has no variants: remove this line")
        } else {
            place.says(&format!("there is no variant {wanted:?}; there is {known}"))
        }
    })
}

fn own_operations(operations: &[Operation], at: &error::At) -> Result<Vec<Operation>, PlanError> {
    if operations.is_empty() {
        return Err(at.says("operations is empty: name at least one, e.g. \"recycle\""));
    }
    for (index, operation) in operations.iter().enumerate() {
        if operations[..index].contains(operation) {
            return Err(at.says(&format!("operations names {operation} twice")));
        }
    }
    Ok(operations.to_vec())
}

fn seeds(text: &str, at: &error::At) -> Result<Range<u64>, PlanError> {
    let bounds = || {
        let (first, end) = text.split_once("..")?;
        let (first, end) = (first.trim().parse().ok()?, end.trim().parse().ok()?);
        (first < end).then_some(first..end)
    };
    bounds().ok_or_else(|| {
        at.says(&format!(
            "seeds = {text:?} is no range: write \"A..B\", from A up to but without B, e.g. \"0..100\""
        ))
    })
}

#[cfg(test)]
mod tests;
