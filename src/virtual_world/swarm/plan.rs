//! What a seed stands for, as plain data: the server, the load, what is done and what goes wrong.
//!
//! Everything that was drawn is in it, so a plan can be stored, cut down and run again without the code
//! that drew it. `seed` is what the streams of the run itself (load, costs, faults) begin with.

use std::fmt::Write;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sim_was::config::{self, ApplicationPool, ConfigError, Configuration, CpuAction};
use sim_worker::configuration::{CachingProfile, ProfilePolicy};

use super::applications::host;
use super::sites::{FIRST_SITE, OtherSite};
use crate::load::profile::{MixEntry, Probes, Profile};
use crate::virtual_world::faults::Faults;

/// `cpu/@resetInterval`: as short as the schema allows.
const CPU_INTERVAL: Duration = Duration::from_mins(1);

/// One run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Where the streams of random numbers of the run begin.
    pub seed: u64,
    /// Virtual milliseconds of load with faults; half as much without faults follows at most.
    pub millis: u64,
    /// The application pools. Of the first site the first one serves `/`, each also `/` and its own name.
    pub pools: Vec<PoolPlan>,
    /// The first site.
    pub site: SitePlan,
    /// The sites besides it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other_sites: Vec<OtherSite>,
    /// The load.
    pub load: LoadPlan,
    /// What administrators do, in the order of time.
    pub operations: Vec<PlannedOperation>,
    /// What goes wrong by itself.
    pub faults: Faults,
}

/// An application pool. Times are milliseconds, and 0 means never.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "as many as the schema has, by its names"
)]
pub struct PoolPlan {
    /// Its name, also a part of URLs.
    pub name: String,
    /// `queueLength`
    pub queue_length: u32,
    /// `startMode="AlwaysRunning"`
    pub always_running: bool,
    /// `preloadEnabled` of its application
    pub preload: bool,
    /// `maxProcesses`
    pub max_processes: u32,
    /// `startupTimeLimit`
    pub startup_limit: u64,
    /// `shutdownTimeLimit`
    pub shutdown_limit: u64,
    /// `pingInterval`
    pub ping_interval: u64,
    /// `pingResponseTime`
    pub ping_response: u64,
    /// `idleTimeout`
    pub idle_timeout: u64,
    /// `disallowOverlappingRotation="false"`
    pub overlapped: bool,
    /// `periodicRestart/@time`
    pub restart_time: u64,
    /// `periodicRestart/@requests`
    pub restart_requests: u32,
    /// `periodicRestart/schedule`: times of day
    pub restart_schedule: Vec<u64>,
    /// `rapidFailProtection`
    pub rapid_fail: bool,
    /// `rapidFailProtectionMaxCrashes`
    pub crashes_max: u32,
    /// `rapidFailProtectionInterval`
    pub crash_interval: u64,
    /// `loadBalancerCapabilities="TcpLevel"`
    pub tcp_level: bool,
    /// `orphanWorkerProcess`
    pub orphan: bool,
    /// `idleTimeoutAction="Suspend"`
    pub suspend: bool,
    /// `cpu/@limit`, thousandths of a percent of the machine; `cpu/@resetInterval` is a minute.
    pub cpu_limit: u32,
    /// `cpu/@action`
    pub cpu_action: CpuAction,
}

impl Default for PoolPlan {
    /// The defaults of IIS, as far as there are any.
    fn default() -> Self {
        Self {
            name: "P0".to_owned(),
            queue_length: 1_000,
            always_running: false,
            preload: false,
            max_processes: 1,
            startup_limit: 90_000,
            shutdown_limit: 90_000,
            ping_interval: 30_000,
            ping_response: 90_000,
            idle_timeout: 1_200_000,
            overlapped: true,
            restart_time: 104_400_000,
            restart_requests: 0,
            restart_schedule: Vec::new(),
            rapid_fail: true,
            crashes_max: 5,
            crash_interval: 300_000,
            tcp_level: false,
            orphan: false,
            suspend: false,
            cpu_limit: 0,
            cpu_action: CpuAction::NoAction,
        }
    }
}

/// The first site, and what holds for all. Times are milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SitePlan {
    /// `limits/@maxConnections`
    pub connections_max: Option<u32>,
    /// `limits/@connectionTimeout`
    pub connection_timeout: u64,
    /// `webLimits/@headerWaitTimeout`
    pub header_wait: u64,
    /// Whether a worker's entries leave the response cache with it.
    pub flush_owned: bool,
    /// Bytes of the response cache.
    pub cache_bytes: u64,
    /// For how long files are kept there, seconds; 0 is until they change.
    pub cache_seconds: u64,
}

impl Default for SitePlan {
    fn default() -> Self {
        Self {
            connections_max: None,
            connection_timeout: 120_000,
            header_wait: 0,
            flush_owned: true,
            cache_bytes: 256 << 20,
            cache_seconds: 0,
        }
    }
}

/// The load: a mix over all pools of all sites, and probes of the first one of the first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoadPlan {
    /// Attempts a second.
    pub rate: f64,
    /// Kept-alive connections.
    pub keep_alive_connections: u32,
    /// The share of attempts with a connection of their own.
    pub one_shot_share: f64,
    /// The share of attempts that speak TLS.
    pub tls_share: f64,
    /// How long clients wait, milliseconds.
    pub deadline: u64,
    /// How long a page waits that waits, milliseconds.
    pub wait: u64,
    /// How often such a page is asked for; 3 is as often as a plain one.
    pub wait_weight: u32,
    /// How much a page computes that computes, milliseconds.
    pub cpu: u64,
    /// How often a static file is asked for.
    pub file_weight: u32,
    /// From one probe to the next, milliseconds.
    pub probe_interval: u64,
    /// Bytes that are posted to pages; 0 is that nobody posts.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub body_bytes: u32,
}

/// Something that an administrator does, or the machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedOperation {
    /// When, nanoseconds from the beginning of the load.
    pub at: u64,
    /// What.
    pub act: Act,
    /// With which pool, if it is about one.
    pub pool: String,
    /// What is set, if something is: `processModel.idleTimeout:00:01:00` of the pool, `limits.…` of the site.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub set: String,
    /// With which site, if it is about one: its number.
    #[serde(default = "first_site", skip_serializing_if = "is_first_site")]
    pub site: u32,
    /// With which of its applications, if it is about one: its path. It comes or moves to the pool.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub application: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_nothing(bytes: &u32) -> bool {
    *bytes == 0
}

fn first_site() -> u32 {
    FIRST_SITE
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_first_site(site: &u32) -> bool {
    *site == FIRST_SITE
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Act {
    /// iisreset
    Iisreset,
    /// iisreset /noforce
    IisresetNoforce,
    /// net stop was /y, net start w3svc
    RestartWas,
    /// net stop w3svc, net start w3svc
    RestartW3svc,
    /// Stop the pool, start it when it has stopped
    StopStart,
    /// Stop the pool
    StopPool,
    /// Start the pool
    StartPool,
    /// Recycle the pool
    Recycle,
    /// kill -9 of the pool's workers
    KillW3wp,
    /// kill -9 of was
    KillWas,
    /// was stands still for a while
    FreezeWas,
    /// Stop the site
    StopSite,
    /// Start the site
    StartSite,
    /// Write to every static file of all sites
    ChangeContent,
    /// Let the pool's queue hold ten requests
    ShortenQueue,
    /// Let it hold 65535
    LengthenQueue,
    /// Let the pool's workers be processes of 32 bits, for which it is recycled
    To32Bit,
    /// Let them be processes of 64 bits again
    To64Bit,
    /// Forbid that the pool is recycled for a change of its configuration
    KeepOnChange,
    /// Change one more setting of the pool or of the site
    Set,
    /// Take the application out of the site
    RemoveApplication,
    /// Put the application into the site, in the pool
    AddApplication,
    /// Let the application be one of the pool
    MoveApplication,
    /// Set the clock of the machine forward by 29 hours
    ClockForward,
    /// Set it back by an hour
    ClockBack,
}

impl Plan {
    /// The text of its applicationHost.config, with times as exact as the schema allows.
    pub fn configuration_text(&self) -> String {
        // A vector of bytes takes every write.
        let mut text = "<configuration><system.applicationHost><applicationPools>\n".to_owned();
        for pool in &self.pools {
            let _ = writeln!(
                text,
                "<add name=\"{}\" queueLength=\"{}\" startMode=\"{}\"><processModel maxProcesses=\"{}\" />\
                 <recycling disallowOverlappingRotation=\"{}\"><periodicRestart requests=\"{}\" />\
                 </recycling><failure rapidFailProtection=\"{}\" rapidFailProtectionMaxCrashes=\"{}\" \
                 loadBalancerCapabilities=\"{}\" orphanWorkerProcess=\"{}\" /></add>",
                pool.name,
                pool.queue_length,
                if pool.always_running {
                    "AlwaysRunning"
                } else {
                    "OnDemand"
                },
                pool.max_processes,
                !pool.overlapped,
                pool.restart_requests,
                pool.rapid_fail,
                pool.crashes_max,
                if pool.tcp_level {
                    "TcpLevel"
                } else {
                    "HttpLevel"
                },
                pool.orphan,
            );
        }
        text.push_str("</applicationPools><sites><site name=\"Default Web Site\" id=\"1\">\n");
        if let Some(first) = self.pools.first() {
            let _ = write!(text, "{}", application("/", "wwwroot", first));
        }
        for pool in &self.pools {
            let path = format!("/{}", pool.name);
            let _ = write!(text, "{}", application(&path, &pool.name, pool));
        }
        text.push_str(
            "<bindings><binding protocol=\"http\" bindingInformation=\"*:80:\" />\
             <binding protocol=\"https\" bindingInformation=\"*:443:\" /></bindings></site>",
        );
        for site in &self.other_sites {
            site.write(self, &mut text);
        }
        text.push_str("</sites>\n</system.applicationHost></configuration>\n");
        text
    }

    /// Its configuration. Times are exact to the millisecond, which no file can say.
    pub fn configuration(&self) -> Result<Configuration, ConfigError> {
        self.read(&self.configuration_text())
    }

    /// What a text says that began as its configuration.
    pub(super) fn read(&self, text: &str) -> Result<Configuration, ConfigError> {
        let name = format!("the configuration of seed {}", self.seed);
        let mut configuration = config::load(text, &name)?;
        // What was changed meanwhile is as the text says, to the second.
        let begun = config::load(&self.configuration_text(), &name)?;
        let pools = configuration.application_pools.iter_mut();
        for ((pool, planned), begun) in pools.zip(&self.pools).zip(&begun.application_pools) {
            planned.set_times(pool, begun);
        }
        for (site, begun) in configuration.sites.iter_mut().zip(&begun.sites) {
            let changed = site.limits.clone();
            let mut others = self.other_sites.iter();
            if let Some(other) = others.find(|other| other.number == site.id) {
                other.set(site);
            } else {
                site.limits.max_connections = self.site.connections_max;
                site.limits.connection_timeout =
                    Duration::from_millis(self.site.connection_timeout);
            }
            if changed.max_connections != begun.limits.max_connections {
                site.limits.max_connections = changed.max_connections;
            }
            if changed.connection_timeout != begun.limits.connection_timeout {
                site.limits.connection_timeout = changed.connection_timeout;
            }
            if site.id != FIRST_SITE {
                continue;
            }
            for application in &mut site.applications {
                application.settings.caching.profiles = profiles(self.site.cache_seconds);
            }
        }
        configuration.web_limits.header_wait_timeout = Duration::from_millis(self.site.header_wait);
        Ok(configuration)
    }

    /// Its load.
    pub fn profile(&self) -> Profile {
        let load = &self.load;
        let first = self
            .pools
            .iter()
            .enumerate()
            .map(|(index, pool)| match index {
                0 => (String::new(), None),
                _ => (format!("/{}", pool.name), None),
            });
        let others = self.other_sites.iter().flat_map(|site| {
            let paths = site.applications(self).into_iter().map(|(path, _)| path);
            paths.map(|path| (path, Some(site.host())))
        });
        let mut asked: Vec<(String, Option<String>)> = first.chain(others).collect();
        for (site, path) in self.passing() {
            let passing = (path.to_owned(), host(self, site));
            if !asked.contains(&passing) {
                asked.push(passing);
            }
        }
        let mut mix = Vec::new();
        for (path, host) in asked {
            let entry = |page: &str, weight: u32| MixEntry {
                url: format!("{path}/{page}"),
                weight: f64::from(weight.max(1)),
                host: host.clone(),
                ..MixEntry::default()
            };
            mix.push(entry("default.aspx", 3));
            mix.push(MixEntry {
                session: true,
                ..entry("session.aspx", 2)
            });
            mix.push(entry("cache.aspx", 1));
            let wait = format!("wait.aspx?time={}", load.wait);
            mix.push(entry(&wait, load.wait_weight));
            mix.push(entry(&format!("cpu.aspx?time={}", load.cpu), 1));
            mix.push(entry("iisstart.htm", load.file_weight));
            if load.body_bytes > 0 {
                for page in ["default.aspx", &wait, "iisstart.htm"] {
                    mix.push(MixEntry {
                        body_bytes: load.body_bytes,
                        ..entry(page, 1)
                    });
                }
            }
        }
        // So often that the driver keeps it, for as long as the application is there.
        mix.extend(self.passing().into_iter().map(|(site, path)| MixEntry {
            url: format!("{path}/iisstart.htm"),
            weight: 30.0,
            host: host(self, site),
            ..MixEntry::default()
        }));
        Profile {
            rate: load.rate,
            keep_alive_connections: load.keep_alive_connections,
            one_shot_share: load.one_shot_share,
            tls_share: load.tls_share,
            users: 20,
            mix,
            deadline: Duration::from_millis(load.deadline),
            probes: Probes {
                interval: Duration::from_millis(load.probe_interval),
                url: "/default.aspx".to_owned(),
                ..Probes::default()
            },
            ..Profile::default()
        }
    }

    /// The numbers of its sites.
    pub(super) fn sites(&self) -> impl Iterator<Item = u32> {
        let others = self.other_sites.iter().map(|site| site.number);
        std::iter::once(FIRST_SITE).chain(others)
    }

    /// For how long the plan of attempts is drawn.
    pub(super) fn load_span(&self) -> Duration {
        Duration::from_millis(self.millis + self.millis / 2)
    }
}

/// For how long files are kept in the response cache.
pub(super) fn profiles(seconds: u64) -> Vec<CachingProfile> {
    let timed = CachingProfile {
        extension: ".htm".to_owned(),
        policy: ProfilePolicy::CacheUntilChange,
        kernel_cache_policy: ProfilePolicy::CacheForTimePeriod,
        duration: Duration::from_secs(seconds),
    };
    (seconds > 0).then_some(timed).into_iter().collect()
}

/// Sets what is planned, if the text does not say something else than it did.
fn unless_changed<T: PartialEq>(value: &mut T, begun: &T, planned: T) {
    if value == begun {
        *value = planned;
    }
}

impl PoolPlan {
    fn set_times(&self, pool: &mut ApplicationPool, begun: &ApplicationPool) {
        let span = Duration::from_millis;
        let (model, was) = (&mut pool.process_model, &begun.process_model);
        let times = [
            (
                &mut model.startup_time_limit,
                was.startup_time_limit,
                self.startup_limit,
            ),
            (
                &mut model.shutdown_time_limit,
                was.shutdown_time_limit,
                self.shutdown_limit,
            ),
            (
                &mut model.ping_interval,
                was.ping_interval,
                self.ping_interval,
            ),
            (
                &mut model.ping_response_time,
                was.ping_response_time,
                self.ping_response,
            ),
            (&mut model.idle_timeout, was.idle_timeout, self.idle_timeout),
            (
                &mut pool.recycling.periodic_restart.time,
                begun.recycling.periodic_restart.time,
                self.restart_time,
            ),
        ];
        for (value, begun, planned) in times {
            unless_changed(value, &begun, span(planned));
        }
        let pings = self.ping_interval > 0;
        unless_changed(&mut model.pinging_enabled, &was.pinging_enabled, pings);
        model.idle_suspend = self.suspend;
        let restart = &mut pool.recycling.periodic_restart;
        restart.schedule = self.restart_schedule.iter().copied().map(span).collect();
        pool.failure.rapid_fail_protection_interval = span(self.crash_interval);
        pool.cpu.limit = self.cpu_limit;
        pool.cpu.action = self.cpu_action;
        pool.cpu.reset_interval = CPU_INTERVAL;
    }
}

pub(super) fn application(path: &str, folder: &str, pool: &PoolPlan) -> String {
    format!(
        "<application path=\"{path}\" applicationPool=\"{}\" preloadEnabled=\"{}\">\
         <virtualDirectory path=\"/\" physicalPath=\"%SystemDrive%\\inetpub\\{folder}\" /></application>\n",
        pool.name, pool.preload
    )
}
