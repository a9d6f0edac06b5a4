//! A stored run: what it was made of and what came of it, so that it can be run again and held against
//! itself.
//!
//! One JSON file. Its options are all that a run depends on besides the build, so it needs no other
//! file. The digest decides whether a replay has done the same; the trail says where it did not.

use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;

use super::compare::Compared;
use super::costs::Costs;
use super::swarm::{self, Plan, SwarmError};
use super::track::{Line, Track, Trail, Watch};
use super::trial::{Trial, TrialError};
use crate::build;
use crate::measure::{Metrics, TrialResult};
use crate::scenario::{Operation, Scenario, in_words};

/// The name and version of the schema.
pub const SCHEMA: &str = "iis-sim/record/1";

/// Facts that are shown before the first one that differs.
const FACTS_BEFORE: u64 = 3;
/// Facts that are shown at most.
const FACTS_SHOWN: u64 = 12;

/// A stored run, or several with the same options.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// [`SCHEMA`].
    pub schema: String,
    /// The build that has run it. Another one may do something else; that decides nothing.
    pub build: String,
    /// What was run.
    pub subject: Subject,
    /// What came of it.
    pub runs: Vec<Recorded>,
}

/// What was run, and all that it depends on.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", tag = "kind")]
pub enum Subject {
    /// Trials of a scenario.
    Compare {
        /// With everything that the command line has changed.
        scenario: Box<Scenario>,
        /// The text of the profile of costs.
        costs: String,
    },
    /// A seed of a swarm.
    Swarm {
        /// What it stands for.
        plan: Box<Plan>,
    },
    /// A plan that has broken an invariant once, and must keep every one from then on. It has no digest:
    /// it is for every build.
    Regression {
        /// The plan.
        plan: Box<Plan>,
        /// The name of the invariant, e.g. `Q2`.
        broke: String,
        /// What was seen, and in what.
        story: String,
    },
}

/// What came of one run.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recorded {
    /// The operation, if it was a trial of a scenario.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<Operation>,
    /// The seed.
    pub seed: u64,
    /// What was broken, e.g. `Q2`; `None` if the run came to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broke: Option<String>,
    /// The digest over all facts, sixteen hexadecimal digits in text.
    #[serde(with = "sixteen_digits")]
    pub digest: u64,
    /// How many facts there were.
    pub facts: u64,
    /// What the digest was on the way.
    pub trail: Trail,
    /// What was measured, if it was a trial of a scenario.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub metrics: Value,
}

/// What a replay has shown of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// What was run, in words.
    pub words: String,
    /// What it did this time.
    pub digest: u64,
    /// How many facts there were this time.
    pub facts: u64,
    /// Why it has not come to its end this time.
    pub failure: Option<String>,
    /// Where it has done something else than was recorded; `None` if nowhere, or nothing was recorded.
    pub difference: Option<Difference>,
    /// What else is not as it was recorded, in words: a figure that was measured, or what was broken.
    pub besides: Option<String>,
    /// Whether it has done what it had to: the same as before, or, if it is a regression, nothing wrong.
    pub is_right: bool,
}

/// Where two runs part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The digest that was recorded.
    pub recorded: u64,
    /// How many facts were recorded.
    pub recorded_facts: u64,
    /// The number of the first fact that differs, or several of which one does. `None` if none differs as the
    /// trail has it: then the recorded digest or number of facts is not that of the recorded run.
    pub first: Option<Range<u64>>,
    /// The facts of this time from a few before it.
    pub lines: Vec<Line>,
}

/// Why a record could not be used.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The file could not be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is no record.
    #[error("{}: {source}; a record is written by `iis-sim compare --clock virtual --record FILE`", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong, with line and column.
        source: serde_json::Error,
    },
    /// It is one of another time.
    #[error("{}: schema {found:?}; this build reads {SCHEMA:?}", path.display())]
    Schema {
        /// The file.
        path: PathBuf,
        /// What it says.
        found: String,
    },
    /// It was made of something, and nothing came of that.
    #[error("{}: holds no run", path.display())]
    NoRun {
        /// The file.
        path: PathBuf,
    },
    /// Its profile of costs.
    #[error("costs: {}", in_words(&.0.to_string()))]
    Costs(#[from] toml::de::Error),
    /// Its scenario cannot be run at all, so it is not what was recorded.
    #[error("its scenario cannot be run: {0}")]
    Trial(#[source] TrialError),
    /// Its plan cannot be run at all, so it is not what was recorded.
    #[error("its plan cannot be run: {0}")]
    Plan(#[source] SwarmError),
}

impl Record {
    /// The record of a comparison.
    pub fn of_comparison(scenario: &Scenario, costs: String, compared: &Compared) -> Self {
        let pairs = compared.results.iter().zip(&compared.tracks);
        Self {
            schema: SCHEMA.to_owned(),
            build: build::id(),
            subject: Subject::Compare {
                scenario: Box::new(scenario.clone()),
                costs,
            },
            runs: pairs
                .map(|(result, track)| Recorded::of(result, track))
                .collect(),
        }
    }

    /// The record of a seed of a swarm. Runs it once more, and keeps its trail.
    pub fn of_seed(plan: &Plan) -> Self {
        let (ran, track) = swarm::run_watched(plan, Watch::Trail);
        Self {
            schema: SCHEMA.to_owned(),
            build: build::id(),
            subject: Subject::Swarm {
                plan: Box::new(plan.clone()),
            },
            runs: vec![Recorded {
                operation: None,
                seed: plan.seed,
                broke: ran.err().map(|error| error.name().to_owned()),
                digest: track.digest,
                facts: track.facts,
                trail: track.trail,
                metrics: Value::Null,
            }],
        }
    }

    /// The record of a plan that must never again do what it did.
    pub fn of_regression(plan: &Plan, broke: &str, story: String) -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            build: build::id(),
            subject: Subject::Regression {
                plan: Box::new(plan.clone()),
                broke: broke.to_owned(),
                story,
            },
            runs: Vec::new(),
        }
    }

    /// Reads a record.
    pub fn read(path: &Path) -> Result<Self, RecordError> {
        let text = std::fs::read_to_string(path).map_err(|source| RecordError::File {
            path: path.to_owned(),
            source,
        })?;
        let parsed = serde_json::from_str(&text);
        let record: Self = parsed.map_err(|source| RecordError::Parse {
            path: path.to_owned(),
            source,
        })?;
        if record.schema != SCHEMA {
            return Err(RecordError::Schema {
                path: path.to_owned(),
                found: record.schema,
            });
        }
        let has_runs = !matches!(record.subject, Subject::Regression { .. });
        if has_runs && record.runs.is_empty() {
            let path = path.to_owned();
            return Err(RecordError::NoRun { path });
        }
        Ok(record)
    }

    /// Writes it.
    ///
    /// # Panics
    ///
    /// Never: a record is plain data.
    pub fn write(&self, path: &Path) -> Result<(), RecordError> {
        let mut text = serde_json::to_string_pretty(self).expect("a record is plain data");
        text.push('\n');
        std::fs::write(path, text).map_err(|source| RecordError::File {
            path: path.to_owned(),
            source,
        })
    }

    /// Whether it was recorded by the build that is running.
    pub fn is_of_this_build(&self) -> bool {
        self.build == build::id()
    }

    /// In which its runs are not exactly those that its subject asks for, in words: one that is missing, is
    /// there twice, or is of another seed or operation.
    pub fn strays(&self) -> Vec<String> {
        let runs = self.runs.len() as u64;
        let (asked, all) = match &self.subject {
            Subject::Compare { scenario, .. } => {
                let rounds = u64::from(scenario.trials).min(runs);
                let rounds = 0..u32::try_from(rounds).unwrap_or(u32::MAX);
                let of_round = |round| {
                    let seed = scenario.seed_of_round(round);
                    let operations = scenario.operations.iter();
                    operations.map(move |operation| (seed, Some(*operation)))
                };
                let all = u64::from(scenario.trials) * scenario.operations.len() as u64;
                (rounds.flat_map(of_round).collect(), all)
            }
            Subject::Swarm { plan } => (vec![(plan.seed, None)], 1),
            Subject::Regression { .. } => (Vec::new(), 0),
        };
        let words = |(seed, operation): &(u64, Option<Operation>)| match operation {
            Some(operation) => format!("{operation}, seed {seed}"),
            None => format!("swarm, seed {seed}"),
        };
        let mut strays = Vec::new();
        let mut left = asked.clone();
        for run in self.runs.iter().map(|run| (run.seed, run.operation)) {
            if let Some(place) = left.iter().position(|asked| *asked == run) {
                left.remove(place);
            } else if asked.contains(&run) {
                strays.push(format!("{} is recorded twice", words(&run)));
            } else {
                let run = words(&run);
                strays.push(format!("{run} is recorded, and nobody asked for it"));
            }
        }
        if let Some(missing) = left.first() {
            let words = words(missing);
            strays.push(format!("{words} is asked for, and was not recorded"));
        }
        if runs != all && strays.is_empty() {
            strays.push(format!(
                "{all} runs are asked for, and {runs} were recorded"
            ));
        }
        strays
    }

    /// Runs everything again. `watcher` is told what was shown of each run, and may end it.
    pub fn replay(&self, watcher: &mut dyn FnMut(&Replayed) -> bool) -> Result<(), RecordError> {
        match &self.subject {
            Subject::Compare { scenario, costs } => {
                let costs = Costs::parse(costs)?;
                let usable = scenario.check_changed().map_err(TrialError::from);
                usable.map_err(RecordError::Trial)?;
                for recorded in &self.runs {
                    let trial = Trial {
                        scenario,
                        operation: recorded.operation.unwrap_or(Operation::None),
                        seed: recorded.seed,
                        costs: &costs,
                    };
                    let words = format!("{}, seed {}", trial.operation, trial.seed);
                    let replayed = recorded.replay(words, &|watch| {
                        let (ran, track) = trial.run_watched(watch);
                        let (failure, metrics) = match ran {
                            Ok(run) => (None, as_read(&run.result.metrics)),
                            Err(error) if is_of_what_is_run(&error) => {
                                return Err(RecordError::Trial(error));
                            }
                            Err(error) => (Some(("trial", error.to_string())), Value::Null),
                        };
                        Ok(Rerun {
                            failure,
                            track,
                            metrics,
                        })
                    })?;
                    if !watcher(&replayed) {
                        break;
                    }
                }
            }
            Subject::Swarm { plan } => {
                for recorded in &self.runs {
                    let words = format!("swarm, seed {}", plan.seed);
                    let replayed = recorded.replay(words, &|watch| Rerun::of(plan, watch))?;
                    if !watcher(&replayed) {
                        break;
                    }
                }
            }
            Subject::Regression { plan, broke, .. } => {
                let Rerun { failure, track, .. } = Rerun::of(plan, Watch::Digest)?;
                watcher(&Replayed {
                    words: format!("plan that once broke {broke}"),
                    digest: track.digest,
                    facts: track.facts,
                    is_right: failure.is_none(),
                    failure: failure.map(|(_, text)| text),
                    difference: None,
                    besides: None,
                });
            }
        }
        Ok(())
    }
}

/// How something is run again.
type Again<'a> = dyn Fn(Watch) -> Result<Rerun, RecordError> + 'a;

/// What came of running something again: what is broken and how, and what was kept.
struct Rerun {
    failure: Option<(&'static str, String)>,
    track: Track,
    metrics: Value,
}

impl Rerun {
    fn of(plan: &Plan, watch: Watch) -> Result<Self, RecordError> {
        let (ran, track) = swarm::run_watched(plan, watch);
        let failure = match ran {
            Ok(_) => None,
            Err(
                error @ (SwarmError::Range(_)
                | SwarmError::Configuration(_)
                | SwarmError::Load(_)
                | SwarmError::Target(_)),
            ) => return Err(RecordError::Plan(error)),
            Err(error) => Some((error.name(), error.to_string())),
        };
        Ok(Self {
            failure,
            track,
            metrics: Value::Null,
        })
    }
}

/// Whether a trial could not even begin.
fn is_of_what_is_run(error: &TrialError) -> bool {
    match error {
        TrialError::Scenario(_)
        | TrialError::Farm(_)
        | TrialError::Profile(_)
        | TrialError::Target { .. }
        | TrialError::Content(_) => true,
        TrialError::Refused(_)
        | TrialError::Broken { .. }
        | TrialError::Interrupted
        | TrialError::Silence(_) => false,
    }
}

impl Recorded {
    fn of(result: &TrialResult, track: &Track) -> Self {
        Self {
            operation: Some(result.operation),
            seed: result.seed,
            broke: None,
            digest: track.digest,
            facts: track.facts,
            trail: track.trail.clone(),
            metrics: serde_json::json!(result.metrics),
        }
    }

    fn replay(&self, words: String, run: &Again<'_>) -> Result<Replayed, RecordError> {
        let Rerun {
            failure,
            track,
            metrics,
        } = run(Watch::Trail)?;
        let is_same = track.digest == self.digest && track.facts == self.facts;
        let difference = (!is_same).then(|| self.difference(run, &track));
        let broke = failure.as_ref().map(|(name, _)| *name);
        let besides = if broke == self.broke.as_deref() {
            other_figure("", &self.metrics, &metrics)
        } else {
            let name = |broke: Option<&str>| broke.unwrap_or("nothing").to_owned();
            Some(format!(
                "it broke {} when it was recorded, and {} now",
                name(self.broke.as_deref()),
                name(broke)
            ))
        };
        Ok(Replayed {
            words,
            digest: track.digest,
            facts: track.facts,
            is_right: is_same && besides.is_none(),
            failure: failure.map(|(_, text)| text),
            difference: difference.transpose()?,
            besides,
        })
    }

    /// Looks for where a run has done something else, and runs it once more to see what that was.
    fn difference(&self, run: &Again<'_>, track: &Track) -> Result<Difference, RecordError> {
        if self.has_the_facts_of(track) {
            return Ok(Difference {
                recorded: self.digest,
                recorded_facts: self.facts,
                first: None,
                lines: Vec::new(),
            });
        }
        let first = self.trail.parting(&track.trail).unwrap_or_else(|| {
            // All hashes that both have are equal: one run has more facts than the other.
            let fewer = self.facts.min(track.facts);
            let known = fewer - fewer % self.trail.stride.max(track.trail.stride);
            known..fewer + 1
        });
        let from = first.start.saturating_sub(FACTS_BEFORE);
        let shown = from..first.end.min(from + FACTS_SHOWN);
        let again = run(Watch::Facts(shown))?.track;
        Ok(Difference {
            recorded: self.digest,
            recorded_facts: self.facts,
            first: Some(first),
            lines: again.lines,
        })
    }

    /// Whether the trail, or the digest, tells that every fact is as it was recorded.
    fn has_the_facts_of(&self, track: &Track) -> bool {
        let Trail { stride, hashes } = &self.trail;
        let is_told_to_the_end = stride * hashes.len() as u64 == track.facts;
        self.trail == track.trail && (is_told_to_the_end || self.digest == track.digest)
    }
}

/// Figures as they come out of a file: a number can lose its last digit there.
fn as_read(metrics: &Metrics) -> Value {
    let text = serde_json::to_string(metrics).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

/// The first figure that is another one now, or that is not in the record.
fn other_figure(path: &str, recorded: &Value, now: &Value) -> Option<String> {
    match (recorded, now) {
        (Value::Object(recorded), Value::Object(now)) => {
            let other = recorded.iter().find_map(|(name, value)| {
                let now = now.get(name).unwrap_or(&Value::Null);
                other_figure(&format!("{path}.{name}"), value, now)
            });
            let missing = || now.iter().find(|(name, _)| !recorded.contains_key(*name));
            other.or_else(|| {
                let (name, now) = missing()?;
                Some(format!(
                    "metrics{path}.{name} is not in the record, and is {now}"
                ))
            })
        }
        (Value::Null, Value::Object(_)) => Some(format!(
            "metrics{path} is not in the record, and is something now"
        )),
        _ if recorded == now => None,
        _ => Some(format!(
            "metrics{path} was recorded as {recorded}, and is {now}"
        )),
    }
}

mod sixteen_digits {
    use super::{Deserialize, Deserializer, Serializer, de};

    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde passes what it writes by reference"
    )]
    pub(super) fn serialize<S: Serializer>(number: &u64, sink: S) -> Result<S::Ok, S::Error> {
        sink.collect_str(&format_args!("{number:016x}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
        let text = String::deserialize(from)?;
        u64::from_str_radix(&text, 16)
            .map_err(|_| de::Error::custom(format!("{text:?} is not sixteen hexadecimal digits")))
    }
}
