//! What the server of a scenario is to be: its configuration, ready for one operation.

use std::collections::BTreeSet;

use sim_was::config::edit::{self, Change, EditError};
use sim_was::config::{Configuration, Site, default_config};

use crate::measure::log_gap::log_gap;

use super::{ApplicationPart, Operation, Scenario, ScenarioError, place};

/// The server of a scenario.
#[derive(Clone, Debug)]
pub struct Served {
    /// The text of its applicationHost.config.
    pub text: String,
    /// What the text means.
    pub configuration: Configuration,
    /// The pool that operations act on.
    pub pool: String,
    /// What `config-change` changes.
    pub changes: Vec<Change>,
    name: String,
}

impl Scenario {
    /// The server that `operation` is performed on.
    pub fn served(&self, operation: Operation) -> Result<Served, ScenarioError> {
        let own_text = default_config::DEFAULT_CONFIG;
        let text = self.server.config_text.as_deref().unwrap_or(own_text);
        let mut text = text.trim_start().to_owned();
        if let Some(many) = &self.server.many {
            text = many
                .add_to(&text)
                .map_err(|why| invalid(self.label(), why))?;
        }
        text = self.edited(&text, &self.server.set)?;
        let mut configuration = self.understand(&text)?;
        let first = || {
            let first = configuration.application_pools.first();
            first.map(|pool| pool.name.clone()).unwrap_or_default()
        };
        let pool = self.server.pool.clone().unwrap_or_else(first);
        let mut pools = configuration
            .application_pools
            .iter()
            .map(|pool| &pool.name);
        if self.server.pool.is_some() && !pools.clone().any(|name| *name == pool) {
            let known: Vec<&str> = pools.by_ref().map(String::as_str).collect();
            let known = known.join(", ");
            let message =
                format!("server.pool = {pool:?}: there is no such pool; there are {known}");
            return Err(invalid(self.label(), message));
        }
        if operation == Operation::RecycleNonoverlapped {
            text = edit::disallow_overlapping_rotation(&text, &pool)
                .map_err(|error| invalid(self.label(), error.to_string()))?;
            configuration = self.understand(&text)?;
        }
        if operation == Operation::SiteStopStart && site_of(&configuration, &pool).is_none() {
            return Err(invalid(
                self.label(),
                without_site(&configuration, &pool, operation),
            ));
        }
        let wrong = |error: EditError| invalid(self.label(), format!("server.change: {error}"));
        let mut changes = parsed(&self.server.change).map_err(wrong)?;
        edit::apply(&text, &changes).map_err(wrong)?;
        if changes.is_empty() {
            // Any change of it recycles the pool, and this one has no other effect.
            let path = "recycling.periodicRestart.requests";
            changes.push(Change::pool(&pool, path, "4294967295"));
        }
        Ok(Served {
            text,
            configuration,
            pool,
            changes,
            name: self.label().to_owned(),
        })
    }

    fn edited(&self, text: &str, changes: &[String]) -> Result<String, ScenarioError> {
        let wrong = |error: EditError| {
            let pools = self.pools_instead(text, &error);
            invalid(self.label(), format!("server.set: {error}{pools}"))
        };
        edit::apply(text, &parsed(changes).map_err(wrong)?).map_err(wrong)
    }

    /// The pools that there are, if a change speaks of one that is not there.
    fn pools_instead(&self, text: &str, error: &EditError) -> String {
        match (error, self.understand(text)) {
            (EditError::NoEntry { place, .. }, Ok(known)) if place.contains("applicationPools") => {
                let names = known
                    .application_pools
                    .iter()
                    .map(|pool| pool.name.as_str());
                format!(
                    "; there are the pools {}",
                    names.collect::<Vec<_>>().join(", ")
                )
            }
            _other => String::new(),
        }
    }

    fn understand(&self, text: &str) -> Result<Configuration, ScenarioError> {
        sim_was::config::load(text, "the scenario's applicationHost.config")
            .map_err(|error| invalid(self.label(), error.to_string()))
    }
}

fn parsed(changes: &[String]) -> Result<Vec<Change>, EditError> {
    changes.iter().map(|change| change.parse()).collect()
}

impl Served {
    /// The first site with an application of the pool that operations act on; empty without one.
    pub fn site(&self) -> &str {
        site_of(&self.configuration, &self.pool).unwrap_or_default()
    }

    /// Why there is not a line that can be read for every answered request, if there is not: at the beginning,
    /// or when it is changed.
    pub(crate) fn log_gap(&self) -> Option<String> {
        let changed = || {
            let text = edit::apply(&self.text, &self.changes).ok()?;
            sim_was::config::load(&text, &self.name).ok()
        };
        log_gap(&self.configuration).or_else(|| log_gap(&changed()?))
    }

    /// The ports that it is to listen on.
    pub(crate) fn ports(&self) -> BTreeSet<u16> {
        let sites = self.configuration.sites.iter();
        let bindings = sites.flat_map(|site| &site.bindings);
        let http = bindings.filter_map(|binding| binding.http.as_ref());
        http.map(|http| http.port).collect()
    }

    /// The folder of an application, as a Windows path.
    pub fn folder_of(&self, part: &ApplicationPart) -> Result<&str, ScenarioError> {
        let sites = &self.configuration.sites;
        let site = sites.iter().find(|site| site.name == part.site);
        let application =
            site.and_then(|site| site.applications.iter().find(|app| app.path == part.path));
        let wrong = |what: &str| {
            let message = format!(
                "[[application]] names {:?} of site {:?}, which {what}",
                part.path, part.site
            );
            invalid(&self.name, message)
        };
        let application = application.ok_or_else(|| wrong("the configuration does not have"))?;
        let mut directories = application.virtual_directories.iter();
        let directory = directories.find(|directory| directory.path == "/");
        directory
            .map(|directory| directory.physical_path.as_str())
            .ok_or_else(|| {
                wrong("has no virtual directory \"/\" in the configuration, so that its files lie nowhere")
            })
    }
}

impl Scenario {
    /// Whether every operation has something to act on.
    pub(crate) fn check_operations(&self) -> Result<(), ScenarioError> {
        if self.operations.contains(&Operation::SiteStopStart) {
            self.served(Operation::SiteStopStart)?;
        }
        Ok(())
    }

    /// Whether the configuration has every application that the scenario brings something for; `text` is the
    /// scenario's. A variant may be the one that has it.
    pub(super) fn check_applications(
        &self,
        served: &Served,
        text: &str,
    ) -> Result<(), ScenarioError> {
        let parts = self.applications.iter().enumerate();
        for (index, part) in parts.filter(|_| self.variants.is_empty()) {
            if let Err(ScenarioError::Invalid { message, .. }) = served.folder_of(part) {
                let line = place::line_of_application(text, index);
                let line = line.map(|line| format!("line {line}: "));
                let message = format!("{}{message}", line.unwrap_or_default());
                return Err(invalid(self.label(), message));
            }
        }
        Ok(())
    }
}

/// The first site with an application of a pool.
fn site_of<'a>(configuration: &'a Configuration, pool: &str) -> Option<&'a str> {
    let serves = |site: &&Site| {
        let mut applications = site.applications.iter();
        applications.any(|application| application.application_pool == pool)
    };
    let site = configuration.sites.iter().find(serves);
    site.map(|site| site.name.as_str())
}

/// What is said if an operation on a site has none to act on.
fn without_site(configuration: &Configuration, pool: &str, operation: Operation) -> String {
    let pools = configuration.application_pools.iter();
    let pools = pools.map(|pool| pool.name.as_str());
    let valid = pools.filter(|pool| site_of(configuration, pool).is_some());
    let valid = valid.collect::<Vec<_>>().join(", ");
    format!(
        "server.pool: {operation} stops and starts a site of the pool that is operated on, and none has an \
         application in {pool:?}; pools with one are {valid}"
    )
}

fn invalid(name: &str, message: String) -> ScenarioError {
    ScenarioError::Invalid {
        name: name.to_owned(),
        message,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn refused(set: &str) -> String {
        let text = format!(
            "name = 'x'\n[server]\nset = [{set}]\n[load]\n[[application]]\nsite = 'Default Web Site'\n\
             path = '/shop'"
        );
        let scenario = Scenario::parse(&text, "test.toml", Path::new("."));
        scenario.unwrap_err().to_string()
    }

    #[test]
    fn what_an_application_of_the_scenario_lacks_is_named() {
        let said = refused("");
        assert!(
            said.starts_with("test.toml: line 6: [[application]] names \"/shop\" of site")
                && said.contains("which the configuration does not have"),
            "{said}"
        );
        let application =
            "\"+system.applicationHost/sites.[name='Default Web Site'].[path='/shop']\"";
        let said = refused(application);
        assert!(
            said.contains("which has no virtual directory \"/\""),
            "{said}"
        );
    }

    #[test]
    fn a_site_is_stopped_only_if_the_pool_has_one() {
        let text = "name = 'x'\noperations = ['site-stop-start']\n[load]\n[server]\npool = 'Unused'\n\
                    set = [\"+system.applicationHost/applicationPools.[name='Unused']\"]\n";
        let read = |text: &str| Scenario::parse(text, "test.toml", Path::new("."));
        let said = read(text).unwrap_err().to_string();
        assert!(
            said.starts_with("test.toml: line 5: ")
                && said.contains("\"Unused\"; pools with one are DefaultAppPool"),
            "{said}"
        );
        read(&text.replace("site-stop-start", "recycle")).unwrap();
        // A variant may be what says which pool.
        let variant = format!("{text}[[variant]]\nname = 'v'\nserver.pool = 'DefaultAppPool'\n");
        read(&variant).unwrap();
        let neither = variant.replace("'DefaultAppPool'", "'Unused'");
        read(&neither).unwrap_err();
    }
}
