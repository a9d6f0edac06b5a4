//! Several servers behind a balancer: `[farm]` of a scenario.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::load::profile::duration_text;

/// Servers, all alike, behind a real HAProxy. The operation is performed on the first of them.
///
/// Source for the names and what they mean: HAProxy's manual, `check`, `inter`, `fall`, `rise`,
/// `timeout check`; its own defaults are 2 s, 3 and 2. Assumed: the values here, quick enough for a
/// trial of seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Farm {
    /// How many.
    pub servers: usize,
    /// What a health check asks each server for; 200 is healthy.
    pub check_url: String,
    /// From one health check of a server to the next.
    #[serde(with = "duration_text")]
    pub check_interval: Duration,
    /// How long an answer to one may take.
    #[serde(with = "duration_text")]
    pub check_timeout: Duration,
    /// So many failed checks in a row take a server out.
    pub fall: u32,
    /// So many good ones bring it back.
    pub rise: u32,
    /// How long a server may take to answer a request, before its client gets 504.
    #[serde(with = "duration_text")]
    pub server_timeout: Duration,
}

impl Default for Farm {
    fn default() -> Self {
        Self {
            servers: 3,
            check_url: "/".to_owned(),
            check_interval: Duration::from_millis(100),
            check_timeout: Duration::from_millis(500),
            fall: 2,
            rise: 2,
            server_timeout: Duration::from_secs(30),
        }
    }
}

impl Farm {
    /// What is wrong with it.
    pub(super) fn check(&self) -> Result<(), String> {
        if !(2..=16).contains(&self.servers) {
            return Err(format!("farm.servers = {}: 2 to 16", self.servers));
        }
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-?=&%~".contains(c);
        if !self.check_url.starts_with('/') || !self.check_url.chars().all(is_plain) {
            return Err(format!(
                "farm.check-url = {:?}: a path with / in front, of letters, digits and /._-?=&%~",
                self.check_url
            ));
        }
        for (name, value) in [("fall", self.fall), ("rise", self.rise)] {
            if !(1..=100).contains(&value) {
                return Err(format!("farm.{name} = {value}: 1 to 100"));
            }
        }
        for (name, value) in [
            ("check-interval", self.check_interval),
            ("check-timeout", self.check_timeout),
            ("server-timeout", self.server_timeout),
        ] {
            let most = Duration::from_hours(1);
            if !(Duration::from_millis(1)..=most).contains(&value) {
                return Err(format!("farm.{name}: from 1ms to 1h"));
            }
        }
        Ok(())
    }
}
