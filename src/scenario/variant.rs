//! Variants of a scenario: the same story with some keys changed, side by side in one report.
//!
//! ```toml
//! [[variant]]
//! name = "AlwaysRunning"
//! server.config-text = "…"
//! load.rate = 100
//! ```
//!
//! Whatever a `[[variant]]` names besides `name` is laid over the scenario: tables are merged, anything
//! else is replaced. Each arm of the report is a variant with one of its operations.

use serde::{Deserialize, Serialize};

use super::{Operation, Scenario, ScenarioError, in_words};

/// A variant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Variant {
    /// Its name, as the report and the expectations call it.
    pub name: String,
    /// What is laid over the scenario.
    #[serde(flatten)]
    pub changes: toml::Table,
}

/// A variant as it is run: a scenario without variants.
#[derive(Clone, Debug)]
pub struct Story {
    /// The variant's name; empty if the scenario has none.
    pub variant: String,
    /// What is run.
    pub scenario: Scenario,
}

impl Story {
    /// What an arm of the report is called: the variant, the operation, or both.
    pub fn arm(&self, operation: Operation) -> String {
        match (self.variant.as_str(), self.scenario.operations.len()) {
            ("", _) => operation.name().to_owned(),
            (variant, 1) => variant.to_owned(),
            (variant, _) => format!("{variant}, {operation}"),
        }
    }
}

impl Scenario {
    /// Every variant, ready to run; the scenario itself if it names none.
    pub fn stories(&self) -> Result<Vec<Story>, ScenarioError> {
        if self.variants.is_empty() {
            let (variant, scenario) = (String::new(), self.clone());
            return Ok(vec![Story { variant, scenario }]);
        }
        let story = |variant: &Variant| {
            let scenario = self
                .with(variant)
                .map_err(|message| ScenarioError::Invalid {
                    name: self.label().to_owned(),
                    message: format!("variant {:?}: {message}", variant.name),
                })?;
            let variant = variant.name.clone();
            Ok(Story { variant, scenario })
        };
        self.variants.iter().map(story).collect()
    }

    /// What the arms of its report are called.
    pub fn arms(&self) -> Result<Vec<String>, ScenarioError> {
        let stories = self.stories()?;
        let arms = stories.iter().flat_map(|story| {
            let operations = story.scenario.operations.iter();
            operations.map(|operation| story.arm(*operation))
        });
        Ok(arms.collect())
    }

    fn with(&self, variant: &Variant) -> Result<Self, String> {
        let base = Self {
            variants: Vec::new(),
            expectations: Vec::new(),
            ..self.clone()
        };
        let mut table = toml::Table::try_from(base).map_err(|error| error.to_string())?;
        lay_over(&mut table, &variant.changes);
        let text = toml::to_string(&table).map_err(|error| error.to_string())?;
        let mut scenario: Self =
            toml::from_str(&text).map_err(|error| in_words(error.message()))?;
        scenario.file.clone_from(&self.file);
        scenario.check()?;
        Ok(scenario)
    }
}

fn lay_over(table: &mut toml::Table, changes: &toml::Table) {
    for (key, change) in changes {
        match (table.get_mut(key), change) {
            (Some(toml::Value::Table(below)), toml::Value::Table(change)) => {
                lay_over(below, change);
            }
            (Some(_) | None, _) => {
                table.insert(key.clone(), change.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::scenario::RESET_VS_RECYCLE;

    fn with(addition: &str) -> Result<Vec<Story>, ScenarioError> {
        let text = format!("{RESET_VS_RECYCLE}\n{addition}");
        Scenario::parse(&text, "test.toml", Path::new("."))?.stories()
    }

    #[test]
    fn a_variant_changes_what_it_names_and_nothing_else() {
        let stories = with("[[variant]]\nname = 'slow'\nload.rate = 7\ntiming.watch-max = '9s'");
        let [slow] = stories.unwrap().try_into().expect("one variant");
        let plain = Scenario::reset_vs_recycle().unwrap();
        assert!((slow.scenario.load.rate - 7.0).abs() < 1e-9);
        assert_eq!(slow.scenario.timing.watch_max.as_secs(), 9);
        assert_eq!(slow.scenario.load.mix, plain.load.mix);
        assert_eq!(slow.scenario.server.config_text, plain.server.config_text);
        assert_eq!(slow.scenario.applications.len(), plain.applications.len());
        assert_eq!(slow.arm(Operation::Recycle), "slow, recycle");
    }

    #[test]
    fn a_scenario_without_variants_is_its_own_story() {
        let [story] = with("").unwrap().try_into().expect("itself");
        assert_eq!(story.arm(Operation::Recycle), "recycle");
    }

    #[test]
    fn a_variant_that_changes_what_is_not_there_is_named_with_its_key() {
        let error = with("[[variant]]\nname = 'odd'\nload.speed = 7").unwrap_err();
        let text = error.to_string();
        assert!(text.contains("\"odd\"") && text.contains("speed"), "{text}");
    }
}
