//! Sections of `system.applicationHost` that cannot be used, beside the others, which can.

use super::{ConfigError, Configuration};

/// A section in which something that concerns all of it breaks the schema.
#[derive(serde::Serialize, serde::Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct BrokenSection {
    /// E.g. `system.applicationHost/applicationPools`.
    pub section: String,
    /// What is wrong.
    pub error: ConfigError,
}

impl Configuration {
    /// The same, if all of its sections can be used.
    pub fn whole(self) -> Result<Self, ConfigError> {
        match self.broken_sections.first() {
            Some(broken) => Err(broken.error.clone()),
            None => Ok(self),
        }
    }

    /// Why a section cannot be used, if so.
    pub fn broken(&self, section: &str) -> Option<&ConfigError> {
        let mut broken = self.broken_sections.iter();
        let broken = broken.find(|broken| broken.section.eq_ignore_ascii_case(section))?;
        Some(&broken.error)
    }
}
