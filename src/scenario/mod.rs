//! A scenario: the server, the applications and what they cost, the load, the probes, the operations.
//!
//! One TOML file, typed, unknown keys refused with their line. Plain data: what is done with it is
//! the business of the worlds.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use sim_httpsys::model::Parameters;
use sim_was::model::Personality;
use sim_worker::application::Behaviour;

use crate::load::profile::Profile;
use crate::load::table;
use crate::measure::Metrics;

mod clock;
mod content;
pub mod expectation;
mod farm;
mod many;
mod operation;
mod place;
mod served;
pub(crate) mod timing;
mod variant;
mod words;

pub use clock::Clock;
pub use content::Content;
pub use expectation::Expectation;
pub use farm::Farm;
pub use many::Many;
pub use operation::{Operation, Step};
pub use served::Served;
pub use timing::Timing;
pub use variant::{Story, Variant};
pub(crate) use words::{in_words, not_utf8};

/// What `compare` runs when no file is named: the text of
/// `examples/scenarios/reset-vs-recycle.toml`.
pub const RESET_VS_RECYCLE: &str = include_str!("../../examples/scenarios/reset-vs-recycle.toml");

/// A scenario file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Scenario {
    /// The file that it was read from, for messages; empty if from none.
    #[serde(skip)]
    pub file: String,
    /// Its name, for reports.
    pub name: String,
    /// One sentence: what it is meant to show.
    #[serde(default)]
    pub about: String,
    /// Under which clock it is run if nobody asks for one; live without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<Clock>,
    /// What is compared. The order is that of the report; trials are run in another one.
    #[serde(default = "operations_default")]
    pub operations: Vec<Operation>,
    /// How often each operation is measured, on a fresh server each time.
    #[serde(default = "trials_default")]
    pub trials: u32,
    /// From which every random draw is derived.
    #[serde(default = "seed_default")]
    pub seed: u64,
    /// When an operation begins and when watching it ends.
    #[serde(default, deserialize_with = "table::table")]
    pub timing: Timing,
    /// The server.
    #[serde(default, deserialize_with = "table::table")]
    pub server: ServerPart,
    /// The applications whose content or behaviour the scenario brings along.
    #[serde(default, rename = "application")]
    pub applications: Vec<ApplicationPart>,
    /// Several such servers behind a balancer, which the load goes to. Live clock only.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "table::optional"
    )]
    pub farm: Option<Farm>,
    /// The load and the probes.
    #[serde(deserialize_with = "table::table")]
    pub load: Profile,
    /// The same with some keys changed, each an arm of its own in `iis-sim run`.
    #[serde(default, rename = "variant", skip_serializing_if = "Vec::is_empty")]
    pub variants: Vec<Variant>,
    /// What it is meant to show.
    #[serde(default, rename = "expect", skip_serializing_if = "Vec::is_empty")]
    pub expectations: Vec<Expectation>,
}

/// Most attempts of a trial, those of pauses included. Assumed: each takes some 200 bytes of memory.
pub(crate) const ATTEMPTS_MAX: f64 = 50_000_000.0;

fn operations_default() -> Vec<Operation> {
    vec![Operation::None, Operation::Iisreset, Operation::Recycle]
}

fn trials_default() -> u32 {
    3
}

fn seed_default() -> u64 {
    1
}

/// The server of a scenario.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct ServerPart {
    /// An applicationHost.config, relative to the scenario file. Not together with `config-text`.
    pub config: Option<PathBuf>,
    /// The text of an applicationHost.config.
    pub config_text: Option<String>,
    /// Pools and sites that are added to it by the hundred.
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "table::optional"
    )]
    pub many: Option<Many>,
    /// Changes to it, in the words of appcmd, e.g.
    /// `system.applicationHost/applicationPools[name='DefaultAppPool'].queueLength:5000`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub set: Vec<String>,
    /// What the operation `config-change` changes while the server runs, in the same words. Without it:
    /// recycling.periodicRestart.requests of the pool, to its greatest value.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub change: Vec<String>,
    /// The pool that operations on a pool act on; the first of the file if none is named.
    pub pool: Option<String>,
    /// What the driver reads when it is loaded.
    #[serde(deserialize_with = "table::table")]
    pub httpsys: Parameters,
    /// Which version of IIS the services behave like, where versions differ: `iis10` or `iis6`.
    pub personality: Personality,
}

/// One application of a scenario.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ApplicationPart {
    /// Its site's name.
    pub site: String,
    /// Its path in the site.
    #[serde(default = "root_path")]
    pub path: String,
    /// Static files that are made for it.
    #[serde(default)]
    pub content: Vec<Content>,
    /// What it costs and does: becomes its `simulation.toml`.
    #[serde(default, deserialize_with = "behaviour")]
    pub behaviour: Option<toml::Table>,
}

impl ApplicationPart {
    /// Whether both speak of one application. Neither sites nor paths are told apart by case.
    fn is_for_the_same_as(&self, other: &Self) -> bool {
        let same = |one: &str, other: &str| one.to_lowercase() == other.to_lowercase();
        same(&self.site, &other.site) && same(&self.path, &other.path)
    }
}

/// Keeps the table as it is written, once it is known to be a [`Behaviour`].
fn behaviour<'de, D: Deserializer<'de>>(from: D) -> Result<Option<toml::Table>, D::Error> {
    let table: toml::Table = table::table(from)?;
    let text = table.to_string();
    Behaviour::parse("behaviour", &text).map_err(|wrong| {
        let place = place_of(&text, wrong.line);
        D::Error::custom(format!("behaviour: {}{place}", wrong.reason))
    })?;
    Ok(Some(table))
}

/// What stands in a line of a behaviour, and in which page: the line itself is not one of the scenario.
fn place_of(text: &str, line: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let (before, _) = lines.split_at(line.min(lines.len()));
    let heading = before.iter().rfind(|line| line.starts_with('['));
    let page = before.iter().rposition(|line| line.starts_with("[[page]]"));
    let path = page.and_then(|page| {
        let mut block = lines[page + 1..]
            .iter()
            .take_while(|line| !line.starts_with("[["));
        block.find(|line| line.starts_with("path = "))
    });
    let parts = [heading, path, before.last()];
    let mut parts: Vec<&str> = parts.into_iter().flatten().copied().collect();
    parts.dedup();
    format!(" ({})", parts.join(", "))
}

fn root_path() -> String {
    "/".to_owned()
}

/// Why a scenario could not be used.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// The file could not be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is not a scenario. The message names the line and shows it.
    #[error("{name}: {message}")]
    Parse {
        /// The file.
        name: String,
        /// What is wrong.
        message: String,
    },
    /// Its parts contradict each other.
    #[error("{name}: {message}")]
    Invalid {
        /// The file.
        name: String,
        /// What is wrong.
        message: String,
    },
}

/// The text of a file; one that is not UTF-8 is told by its line and its byte.
fn read_text(path: &Path) -> Result<String, ScenarioError> {
    let bytes = std::fs::read(path).map_err(|source| ScenarioError::Read {
        path: path.to_owned(),
        source,
    })?;
    String::from_utf8(bytes).map_err(|error| ScenarioError::Parse {
        name: path.display().to_string(),
        message: not_utf8(&error),
    })
}

impl Scenario {
    /// The scenario that `compare` runs by default.
    pub fn reset_vs_recycle() -> Result<Self, ScenarioError> {
        let folder = Path::new(".");
        Self::parse(RESET_VS_RECYCLE, "reset-vs-recycle.toml (built in)", folder)
    }

    /// Reads a scenario file and the configuration that it names.
    pub fn read(path: &Path) -> Result<Self, ScenarioError> {
        let folder = path.parent().unwrap_or(Path::new("."));
        Self::parse(&read_text(path)?, &path.display().to_string(), folder)
    }

    /// Understands the text of a scenario; `folder` is where the files that it names lie.
    pub fn parse(text: &str, name: &str, folder: &Path) -> Result<Self, ScenarioError> {
        let mut scenario: Self = toml::from_str(text).map_err(|error| {
            let wrong = error.message();
            let line = wrong.starts_with("behaviour: ");
            let line = line.then(|| place::line_in_behaviour(text)).flatten();
            ScenarioError::Parse {
                name: name.to_owned(),
                message: match (line, place::deep_key(text)) {
                    (Some(line), _) => format!("line {line}: {wrong}"),
                    (None, Some(deep)) if error.span().is_none() => deep,
                    (None, _) => in_words(&error.to_string()),
                },
            }
        })?;
        name.clone_into(&mut scenario.file);
        if let Some(config) = scenario.server.config.take() {
            if scenario.server.config_text.is_some() {
                return Err(ScenarioError::Invalid {
                    name: name.to_owned(),
                    message: "server.config and server.config-text are both there; keep one"
                        .to_owned(),
                });
            }
            let text = read_text(&folder.join(config)).map_err(|error| ScenarioError::Invalid {
                name: name.to_owned(),
                message: format!("server.config: {error}"),
            })?;
            scenario.server.config_text = Some(text);
        }
        let invalid = |message| ScenarioError::Invalid {
            name: name.to_owned(),
            message,
        };
        let placed = |message: String| invalid(place::with_line(text, &message));
        let placed_error = |error| match error {
            ScenarioError::Invalid { message, .. } => placed(message),
            error @ (ScenarioError::Read { .. } | ScenarioError::Parse { .. }) => error,
        };
        scenario.check().map_err(placed)?;
        let served = scenario.served(Operation::None).map_err(placed_error)?;
        scenario.check_applications(&served, text)?;
        let stories = scenario.stories().map_err(placed_error)?;
        let mut stories = stories.iter();
        let operates = stories.try_for_each(|story| story.scenario.check_operations());
        operates.map_err(placed_error)?;
        let arms = scenario.arms().map_err(placed_error)?;
        let mut expectations = scenario.expectations.iter();
        expectations
            .try_for_each(|expectation| expectation.check(&arms))
            .map_err(placed)?;
        Ok(scenario)
    }

    /// Whether it can be measured: one that was changed since it was understood, or comes from a record.
    pub(crate) fn check_changed(&self) -> Result<(), ScenarioError> {
        self.check().map_err(|message| ScenarioError::Invalid {
            name: self.label().to_owned(),
            message,
        })
    }

    /// Understands a scenario that was put together from parts; `table` has no `name`, and nothing that
    /// names a file.
    #[cfg(feature = "live")]
    pub(crate) fn of_table(mut table: toml::Table, name: &str) -> Result<Self, ScenarioError> {
        table.insert("name".to_owned(), name.into());
        let scenario: Self =
            table
                .try_into()
                .map_err(|error: toml::de::Error| ScenarioError::Parse {
                    name: name.to_owned(),
                    message: in_words(&error.to_string()),
                })?;
        scenario.check_changed()?;
        Ok(scenario)
    }

    fn check(&self) -> Result<(), String> {
        if self.trials == 0 {
            return Err("trials = 0: at least 1 is needed".to_owned());
        }
        if self.operations.is_empty() {
            return Err("operations is empty: name at least one".to_owned());
        }
        for (index, operation) in self.operations.iter().enumerate() {
            if self.operations[..index].contains(operation) {
                return Err(format!("operations names {operation} twice"));
            }
        }
        for (index, variant) in self.variants.iter().enumerate() {
            if self.variants[..index]
                .iter()
                .any(|other| other.name == variant.name)
            {
                return Err(format!("two variants are called {:?}", variant.name));
            }
        }
        for (index, part) in self.applications.iter().enumerate() {
            let before = &self.applications[..index];
            if before.iter().any(|other| other.is_for_the_same_as(part)) {
                return Err(format!(
                    "two [[application]] are for {:?} of site {:?}; keep one",
                    part.path, part.site
                ));
            }
        }
        let contents = self.applications.iter().flat_map(|part| &part.content);
        content::check(contents)?;
        if let Some(farm) = &self.farm {
            farm.check()?;
        }
        self.load.check().map_err(|error| error.to_string())?;
        let httpsys = self.server.httpsys.check();
        httpsys.map_err(|error| format!("server.httpsys.{error}"))?;
        let timing = &self.timing;
        for (min, max, name) in [
            (timing.warm_up_min, timing.warm_up_max, "warm-up"),
            (timing.watch_min, timing.watch_max, "watch"),
        ] {
            if min > max {
                return Err(format!(
                    "timing.{name}-min is longer than timing.{name}-max"
                ));
            }
        }
        if timing.watch_max.is_zero() {
            return Err(
                "timing.watch-max is 0s: nothing would be seen of what the operation did"
                    .to_owned(),
            );
        }
        let attempts = self
            .load
            .attempts_in(timing.plan(self.load.probes.interval));
        if attempts > ATTEMPTS_MAX {
            return Err(format!(
                "load.rate, load.probes.interval and timing come to {attempts:.0} attempts, and at most \
                 {ATTEMPTS_MAX} can be planned"
            ));
        }
        if let Some(held) = &self.load.held
            && held.at >= timing.warm_up_min
        {
            return Err(
                "load.held.at must be before the operation: less than timing.warm-up-min"
                    .to_owned(),
            );
        }
        Ok(())
    }

    /// What messages call it: its file, or its name.
    pub(crate) fn label(&self) -> &str {
        if self.file.is_empty() {
            &self.name
        } else {
            &self.file
        }
    }

    /// Why the generator of a trial cannot say how punctual it was: nobody came.
    pub(crate) fn nobody_came(&self, metrics: &Metrics) -> Option<String> {
        if metrics.lateness.is_some() {
            return None;
        }
        let because = if self.load.pauses.is_empty() {
            "load.rate and load.probes.interval are such that nobody comes then"
        } else {
            "load.pauses leaves none of it"
        };
        Some(format!(
            "no attempt was made in the span that counts, from the end of the warm-up on: {because}"
        ))
    }

    /// The seed of a round of trials: the same for every operation in it, so that they are paired.
    pub fn seed_of_round(&self, round: u32) -> u64 {
        self.seed
            .wrapping_mul(1_000_003)
            .wrapping_add(u64::from(round))
    }

    /// Shortens it for a first look: one trial, short phases. What is measured stays the same.
    pub fn quick(&mut self) {
        self.trials = 1;
        self.timing = Timing {
            warm_up_min: Duration::from_millis(1_500),
            warm_up_max: Duration::from_millis(1_700),
            watch_min: Duration::from_millis(2_500),
            watch_max: Duration::from_millis(2_600),
            repeats_max: 1,
        };
        if let Some(held) = &mut self.load.held {
            // It begins before the operation.
            held.at = held.at.min(self.timing.warm_up_min / 2);
        }
    }
}

#[cfg(test)]
mod tests;
