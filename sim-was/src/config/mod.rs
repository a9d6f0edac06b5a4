//! applicationHost.config: as written (`raw.rs`) → checked against the schema (`schema.rs`) →
//! resolved, with every default filled in ([`Configuration`], made by `resolve.rs`).
//!
//! After that nothing can be invalid.
//!
//! ```text
//! bytes ─ raw ─► XML tree ─ sections ─► sections ─ check (schema, value) ─► findings
//!                                           └─── layers, collection ─► resolve, sites, web_server
//! ```
//!
//! The files around it, machine.config and the web.config of every application, are read by
//! [`load_tree`].

mod binding;
mod broken;
mod check;
mod collection;
mod compare;
pub mod default_config;
pub mod edit;
pub mod effects;
mod entries;
mod faults;
mod kept;
mod layers;
mod locks;
mod machine;
mod open_view;
mod order;
mod outline;
pub mod physical_path;
mod range;
mod raw;
mod recorder;
mod request_filtering;
mod resolve;
mod schema;
mod sections;
pub mod settings;
mod site_log;
mod sites;
mod unheeded;
mod value;
pub mod view;
mod view_attributes;
mod warning;
mod web_config;
mod web_server;
mod written;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use sim_worker::configuration::{
    Initialization, PathSettings, PeriodicRestart, SessionStateSettings,
};
use sim_worker::ipm::RecycleReason;

pub use broken::BrokenSection;
pub use faults::Fault;
pub use kept::Kept;
pub(crate) use kept::keep_sections;
pub use locks::SECTION_LOCKED;
pub use machine::AllowDefinition;
pub use raw::{ConfigError, decode, parse as parse_xml};
pub use resolve::{load, load_bytes, load_sections};
pub use warning::ConfigWarning;
pub(crate) use warning::without_lines;
pub use web_config::{Around, Disk, FRAMEWORK, FoundFile, load_tree, load_tree_sections};

/// Everything that the server acts on.
#[derive(serde::Serialize, serde::Deserialize, Clone, Debug, Default, PartialEq)]
pub struct Configuration {
    /// Application pools, in the order of the file.
    pub application_pools: Vec<ApplicationPool>,
    /// Sites, in the order of the file.
    pub sites: Vec<Site>,
    /// `system.applicationHost/webLimits`.
    pub web_limits: WebLimits,
    /// `system.applicationHost/log`: the log of all sites, if they have one together.
    pub central_log: Option<SiteLog>,
    /// `system.applicationHost/configHistory`.
    pub config_history: ConfigHistory,
    /// The same, setting by setting, with their lines.
    pub settings: settings::Settings,
    /// The sections of `system.applicationHost` that cannot be used; WAS does not start with any.
    pub broken_sections: Vec<BrokenSection>,
    /// What WAS would log about the file (events 5041, 5152 …), each a ready sentence with its id.
    pub warnings: Vec<ConfigWarning>,
}

impl Configuration {
    /// What breaks the schema inside of a pool or a site, with whose it is.
    pub fn faults(&self) -> impl Iterator<Item = (settings::Scope, &str)> {
        let pools = self.application_pools.iter().filter_map(|pool| {
            let scope = settings::Scope::Pool(pool.name.clone());
            Some((scope, pool.fault.as_deref()?))
        });
        let sites = self
            .sites
            .iter()
            .filter_map(|site| Some((settings::Scope::Site(site.id), site.fault.as_deref()?)));
        pools.chain(sites)
    }

    /// The folders (Windows paths) in which a web.config would count: those of all applications.
    pub fn web_config_folders(&self) -> BTreeSet<String> {
        let directories = self.virtual_directories();
        let folders = directories.map(|directory| directory.physical_path.as_str());
        folders.chain([FRAMEWORK]).map(str::to_owned).collect()
    }

    /// The folders (Windows paths, as written) below which folders may have a web.config, too.
    pub fn web_config_trees(&self) -> BTreeSet<String> {
        let directories = self.virtual_directories();
        let trees = directories.filter(|directory| directory.allow_sub_dir_config);
        trees
            .map(|directory| directory.physical_path.clone())
            .collect()
    }

    fn virtual_directories(&self) -> impl Iterator<Item = &VirtualDirectory> {
        let applications = self.sites.iter().flat_map(|site| &site.applications);
        applications.flat_map(|application| &application.virtual_directories)
    }
}

impl Application {
    /// Its folder: the physical path of its root virtual directory.
    pub fn folder(&self) -> Option<&str> {
        let mut directories = self.virtual_directories.iter();
        let root = directories.find(|directory| directory.path == "/")?;
        Some(root.physical_path.as_str())
    }

    /// What holds for a path below it, which is in lower case and begins with a slash.
    #[must_use]
    pub fn settings_at(&self, path: &str) -> &PathSettings {
        PathSettings::at(path, &self.paths, &self.settings)
    }
}

/// `applicationPools/add`.
#[derive(serde::Serialize, serde::Deserialize, Clone, Debug, PartialEq)]
pub struct ApplicationPool {
    /// Its name.
    pub name: String,
    /// What in it breaks the schema, with file and line: then it cannot be started.
    pub fault: Option<String>,
    /// `queueLength`.
    pub queue_length: u32,
    /// `autoStart`.
    pub auto_start: bool,
    /// `startMode="AlwaysRunning"`.
    pub always_running: bool,
    /// `managedRuntimeVersion`.
    pub managed_runtime_version: String,
    /// `managedRuntimeLoader`.
    pub managed_runtime_loader: String,
    /// `managedPipelineMode="Classic"`.
    pub classic: bool,
    /// `processModel`.
    pub process_model: ProcessModel,
    /// `recycling`.
    pub recycling: Recycling,
    /// `failure`.
    pub failure: Failure,
    /// `cpu`.
    pub cpu: Cpu,
    /// `environmentVariables`.
    pub environment: BTreeMap<String, String>,
}

/// `processModel`.
#[derive(serde::Serialize, serde::Deserialize, Clone, Debug, PartialEq)]
pub struct ProcessModel {
    /// `idleTimeout`; zero for never.
    pub idle_timeout: Duration,
    /// `idleTimeoutAction="Suspend"`.
    pub idle_suspend: bool,
    /// `maxProcesses`.
    pub max_processes: u32,
    /// `shutdownTimeLimit`.
    pub shutdown_time_limit: Duration,
    /// `startupTimeLimit`.
    pub startup_time_limit: Duration,
    /// `pingingEnabled`.
    pub pinging_enabled: bool,
    /// `pingInterval`.
    pub ping_interval: Duration,
    /// `pingResponseTime`.
    pub ping_response_time: Duration,
    /// `logEventOnProcessModel` has `IdleTimeout`.
    pub log_idle_timeout: bool,
    /// `identityType`, and `userName` where it needs one.
    pub identity: Identity,
}

/// `processModel/@identityType`.
///
/// Every worker of a simulation runs as the user who has started it; what counts is whether WAS could
/// log the identity on.
#[derive(serde::Serialize, serde::Deserialize, Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// `ApplicationPoolIdentity`, `NetworkService`, `LocalService` or `LocalSystem`.
    BuiltIn,
    /// `SpecificUser`, with its `userName`.
    SpecificUser(String),
}

impl Identity {
    /// Whether WAS can log it on. Assumed: a user with a name exists and may.
    pub fn is_valid(&self) -> bool {
        match self {
            Self::BuiltIn => true,
            Self::SpecificUser(name) => !name.is_empty(),
        }
    }
}

/// `recycling`.
#[derive(serde::Serialize, serde::Deserialize, Clone, Debug, PartialEq)]
pub struct Recycling {
    /// `disallowOverlappingRotation`.
    pub disallow_overlapping_rotation: bool,
    /// `disallowRotationOnConfigChange`.
    pub disallow_rotation_on_config_change: bool,
    /// `logEventOnRecycle`.
    pub log_event_on_recycle: Vec<RecycleReason>,
    /// `periodicRestart`.
    pub periodic_restart: PeriodicRestart,
}

/// `failure`.
#[derive(serde::Serialize, serde::Deserialize, Clone, Debug, PartialEq)]
pub struct Failure {
    /// `loadBalancerCapabilities="TcpLevel"`.
    pub tcp_level: bool,
    /// `orphanWorkerProcess`.
    pub orphan_worker_process: bool,
    /// `orphanActionExe`.
    pub orphan_action_exe: String,
    /// `orphanActionParams`.
    pub orphan_action_params: String,
    /// `rapidFailProtection`.
    pub rapid_fail_protection: bool,
    /// `rapidFailProtectionInterval`.
    pub rapid_fail_protection_interval: Duration,
    /// `rapidFailProtectionMaxCrashes`.
    pub rapid_fail_protection_max_crashes: u32,
    /// `autoShutdownExe`.
    pub auto_shutdown_exe: String,
    /// `autoShutdownParams`.
    pub auto_shutdown_params: String,
}

/// `cpu`.
#[derive(serde::Serialize, serde::Deserialize, Clone, Debug, PartialEq)]
pub struct Cpu {
    /// `limit`, in 1/1000 of a percent of the whole machine; 0 for none.
    pub limit: u32,
    /// `action`.
    pub action: CpuAction,
    /// `resetInterval`.
    pub reset_interval: Duration,
    /// `smpProcessorAffinityMask` with `smpProcessorAffinityMask2` above it, if `smpAffinitized`.
    pub affinity: Option<u64>,
}

impl Default for Cpu {
    /// Source: IIS schema: limit 0, action `NoAction`, resetInterval 00:05:00, smpAffinitized false.
    fn default() -> Self {
        Self {
            limit: 0,
            action: CpuAction::NoAction,
            reset_interval: Duration::from_mins(5),
            affinity: None,
        }
    }
}

/// `cpu/@action`.
#[derive(serde::Serialize, serde::Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum CpuAction {
    /// Log only.
    NoAction,
    /// Kill the pool's workers.
    KillW3wp,
    /// A hard cap.
    Throttle,
    /// A cap when others want the processor.
    ThrottleUnderLoad,
}

/// `sites/site`.
#[derive(serde::Serialize, serde::Deserialize, Clone, Debug, PartialEq)]
pub struct Site {
    /// Its name.
    pub name: String,
    /// Its number.
    pub id: u32,
    /// What in it breaks the schema, with file and line: then it cannot be started.
    pub fault: Option<String>,
    /// `serverAutoStart`.
    pub server_auto_start: bool,
    /// Its bindings, all protocols.
    pub bindings: Vec<Binding>,
    /// `limits`.
    pub limits: SiteLimits,
    /// `logFile`.
    pub log_file: SiteLog,
    /// Its applications.
    pub applications: Vec<Application>,
}

/// `bindings/binding`.
#[derive(serde::Serialize, serde::Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// `protocol`, as written.
    pub protocol: String,
    /// `bindingInformation`, as written.
    pub information: String,
    /// `sslFlags`.
    pub ssl_flags: u32,
    /// What it means to HTTP.sys, for http and https.
    pub http: Option<HttpBinding>,
}

/// An http or https binding, understood.
#[derive(serde::Serialize, serde::Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct HttpBinding {
    /// Whether it is https.
    pub secure: bool,
    /// The address, `None` for `*`.
    pub address: Option<IpAddr>,
    /// The port.
    pub port: u16,
    /// The host, empty for any; may begin with `*.`.
    pub host: String,
}

/// `site/limits`.
#[derive(serde::Serialize, serde::Deserialize, Clone, Debug, PartialEq)]
pub struct SiteLimits {
    /// `maxBandwidth`; `None` for no limit.
    pub max_bandwidth: Option<u32>,
    /// `maxConnections`; `None` for no limit.
    pub max_connections: Option<u32>,
    /// `connectionTimeout`.
    pub connection_timeout: Duration,
    /// `maxUrlSegments`; 0 for no limit.
    pub max_url_segments: u32,
}

/// `site/logFile`, or `log/centralW3CLogFile`.
#[derive(serde::Serialize, serde::Deserialize, Clone, Debug, PartialEq)]
pub struct SiteLog {
    /// Whether there is a file.
    pub enabled: bool,
    /// How it is written; its `directory` is as written in the configuration, without the folder of the site.
    pub settings: sim_httpsys::api::LogSettings,
}

/// `site/application`.
#[derive(serde::Serialize, serde::Deserialize, Clone, Debug, PartialEq)]
pub struct Application {
    /// Its path.
    pub path: String,
    /// Its pool.
    pub application_pool: String,
    /// `enabledProtocols`.
    pub enabled_protocols: String,
    /// `preloadEnabled`.
    pub preload_enabled: bool,
    /// `serviceAutoStartEnabled`, with a `serviceAutoStartProvider`.
    pub auto_start: bool,
    /// `applicationInitialization`.
    pub initialization: Initialization,
    /// `serverRuntime/@appConcurrentRequestLimit`.
    pub concurrent_requests_max: u32,
    /// `system.web/sessionState`.
    pub session_state: SessionStateSettings,
    /// Its virtual directories.
    pub virtual_directories: Vec<VirtualDirectory>,
    /// The folders (Windows paths in lower case) whose web.config it reads, the outermost first.
    pub web_configs: Vec<String>,
    /// What `system.webServer` says for it.
    pub settings: PathSettings,
    /// What it says instead for paths below it, in lower case: `/images`.
    pub paths: BTreeMap<String, PathSettings>,
}

/// `application/virtualDirectory`.
#[derive(serde::Serialize, serde::Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct VirtualDirectory {
    /// Its path.
    pub path: String,
    /// `physicalPath`, as written.
    pub physical_path: String,
    /// `allowSubDirConfig`: whether the folders below may have a web.config of their own.
    pub allow_sub_dir_config: bool,
}

/// `configHistory`.
#[derive(serde::Serialize, serde::Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct ConfigHistory {
    /// `enabled`.
    pub enabled: bool,
    /// `path`, as written.
    pub path: String,
    /// `maxHistories`.
    pub max_histories: u32,
    /// `period`.
    pub period: Duration,
}

impl Default for ConfigHistory {
    /// Source: IIS schema: enabled, `%SYSTEMDRIVE%\inetpub\history`, 10 copies, 00:02:00.
    fn default() -> Self {
        Self {
            enabled: true,
            path: r"%SYSTEMDRIVE%\inetpub\history".to_owned(),
            max_histories: 10,
            period: Duration::from_mins(2),
        }
    }
}

/// `webLimits`.
#[derive(serde::Serialize, serde::Deserialize, Clone, Debug, PartialEq)]
pub struct WebLimits {
    /// `demandStartThreshold`.
    pub demand_start_threshold: u32,
    /// `headerWaitTimeout`; zero inherits.
    pub header_wait_timeout: Duration,
    /// `minBytesPerSecond`.
    pub min_bytes_per_second: u32,
    /// `dynamicIdleThreshold`, percent of physical memory; 0 for none.
    pub dynamic_idle_threshold: u32,
}

impl Default for WebLimits {
    /// Source: IIS schema: demandStartThreshold 2147483647, headerWaitTimeout 00:00:00,
    /// minBytesPerSecond 240, dynamicIdleThreshold 0.
    fn default() -> Self {
        Self {
            demand_start_threshold: 2_147_483_647,
            header_wait_timeout: Duration::ZERO,
            min_bytes_per_second: 240,
            dynamic_idle_threshold: 0,
        }
    }
}
