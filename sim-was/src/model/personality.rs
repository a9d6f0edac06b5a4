//! Which version of IIS the server behaves like, where versions differ.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A version of IIS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Personality {
    /// IIS 10, Windows Server 2016 to 2022.
    #[default]
    Iis10,
    /// IIS 6, Windows Server 2003: WAS is a part of W3SVC, and the metabase holds the configuration.
    Iis6,
}

impl Personality {
    /// Its name, as it is typed: `iis10` or `iis6`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Iis10 => "iis10",
            Self::Iis6 => "iis6",
        }
    }
}

impl fmt::Display for Personality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Personality {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Iis10, Self::Iis6]
            .into_iter()
            .find(|personality| personality.name().eq_ignore_ascii_case(text))
            .ok_or_else(|| format!("\"{text}\" is no personality; known: iis10, iis6"))
    }
}
