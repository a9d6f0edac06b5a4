//! From the checked file to a [`Configuration`] with every default filled in.
//!
//! What stops WAS stops us (events 5172 and 5036): XML that is not well-formed, and anything in
//! `system.applicationHost` that breaks the schema, unless it lies inside of one pool or one site: then only
//! that one cannot be started. Tools, and WAS while it runs, go on with the sections that are not concerned. What WAS only complains about becomes a [`ConfigWarning`]. A mistake in
//! `system.webServer` or `system.web` is a warning too: IIS starts, and answers 500.19 to the requests that need
//! the section.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use roxmltree::Node;
use sim_worker::configuration::PeriodicRestart;
use sim_worker::ipm::RecycleReason;

use super::broken::BrokenSection;
use super::check::{self, Finding, FindingKind};
use super::layers::Layers;
use super::raw::{self, ConfigError};
use super::recorder::Recorder;
use super::schema::{self, Element};
use super::sections::{Sections, keys_from};
use super::settings::Scope;
use super::site_log;
use super::warning;
use super::web_config::WebConfig;
use super::{
    ApplicationPool, ConfigHistory, ConfigWarning, Configuration, Cpu, CpuAction, Failure,
    Identity, ProcessModel, Recycling, WebLimits, faults, locks, range, sites, web_config,
};

/// The section of the pools.
const POOLS: &str = "system.applicationHost/applicationPools";
/// WAS could not read a part of the configuration.
pub(super) const UNREADABLE: u16 = 5172;
/// WAS ignores a pool whose name is too long.
const POOL_NAME_LONG: u16 = 5050;
/// WAS ignores a pool without a name.
const POOL_NAME_EMPTY: u16 = 5051;
/// `idleTimeout` makes `periodicRestart` pointless.
const IDLE_BEYOND_RESTART: u16 = 5152;
/// WAS detected invalid configuration data of a site; also everything that has no id of its own.
///
/// Source: events 5174, 5179 and 5180, "WAS detected invalid configuration data" of a site, an application or
/// a binding. Assumed: in this order, and which of them stands for the rest.
pub(super) const INVALID_DATA: u16 = 5174;
/// The same, of an application.
pub(super) const INVALID_APPLICATION: u16 = 5179;
/// The same, of a binding.
pub(super) const INVALID_BINDING: u16 = 5180;

/// Source: IIS schema: identityType `SpecificUser` is 3.
const SPECIFIC_USER: u32 = 3;
/// Source: WMI reference, `ApplicationPool.Name`: at most 64 characters.
const POOL_NAME_MAX: usize = 64;
/// So many complaints about one file are shown; the rest is counted.
const WARNINGS_MAX: usize = 200;

/// Reads applicationHost.config from its bytes, in any encoding that Windows may have given it.
pub fn load_bytes(bytes: &[u8], file_name: &str) -> Result<Configuration, ConfigError> {
    load(&raw::decode(bytes, file_name)?, file_name)
}

/// Reads applicationHost.config alone, without the web.config files of its applications.
pub fn load(text: &str, file_name: &str) -> Result<Configuration, ConfigError> {
    resolve(text, file_name, &[])?.whole()
}

/// The same, also if there are sections in it that cannot be used: those are in
/// [`Configuration::broken_sections`], and what is said of them here is worth nothing.
///
/// Source: Microsoft's configuration system reads a section when it is asked for; a tool that is not gets no error.
pub fn load_sections(text: &str, file_name: &str) -> Result<Configuration, ConfigError> {
    resolve(text, file_name, &[])
}

/// Reads applicationHost.config with the files around it, outer ones first.
pub(super) fn resolve(
    text: &str,
    file_name: &str,
    around: &[WebConfig<'_>],
) -> Result<Configuration, ConfigError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let document = raw::parse(text, file_name)?;
    let root = document.root_element();
    if root.tag_name().name() != "configuration" {
        let message = format!(
            "begins with <{}>, not <configuration>",
            root.tag_name().name()
        );
        return Err(ConfigError::at(
            file_name,
            text,
            root.range().start,
            message,
        ));
    }
    if let Some((at, message)) = locks::mistake(root) {
        return Err(ConfigError::at(file_name, text, at, message));
    }
    let sections = Sections::of_all(root, around);
    let mut resolver = Resolver::new(file_name, root);
    resolver.check(&sections);
    let application_pools = resolver.application_pools(&sections);
    let mut sites = sites::resolve(&mut resolver, &sections, &application_pools);
    let web_limits = web_limits(&sections);
    web_config::note_chains(&mut sites, around);
    resolver.recorder.rest(root);
    for file in around {
        let settings = &mut resolver.recorder.settings;
        settings.insert(file.scope(), &file.file.name, "", file.stamp(), (1, 0));
    }
    let broken_sections = std::mem::take(&mut resolver.broken);
    Ok(Configuration {
        broken_sections,
        application_pools,
        sites,
        web_limits,
        central_log: site_log::central(&section(&sections, "log")),
        config_history: config_history(&sections),
        settings: std::mem::take(&mut resolver.recorder.settings),
        warnings: resolver.finish(),
    })
}

/// What is needed while resolving: where things are, and the complaints.
pub(super) struct Resolver<'a> {
    file: &'a str,
    root: Node<'a, 'a>,
    text: &'a str,
    /// What is said, setting by setting.
    pub(super) recorder: Recorder,
    warnings: Vec<ConfigWarning>,
    said: BTreeSet<(u16, String)>,
    unsaid: usize,
    /// What breaks the schema inside of a pool or a site, by where that begins.
    faults: BTreeMap<usize, String>,
    /// The sections of `system.applicationHost` that cannot be used, each with the first reason.
    broken: Vec<BrokenSection>,
    /// The first mistake in a section that requests need, by its location in lower case.
    request_faults: BTreeMap<String, String>,
    /// The last byte whose line was asked for, and that line: complaints mostly come in order.
    last: (usize, usize),
}

impl<'a> Resolver<'a> {
    fn new(file: &'a str, root: Node<'a, 'a>) -> Self {
        let text = root.document().input_text();
        Self {
            file,
            root,
            text,
            recorder: Recorder::new(text),
            warnings: Vec::new(),
            said: BTreeSet::new(),
            last: (0, 1),
            unsaid: 0,
            faults: BTreeMap::new(),
            broken: Vec::new(),
            request_faults: BTreeMap::new(),
        }
    }

    /// Complains, once, about what the text names.
    pub(super) fn warn(&mut self, event: u16, text: impl Into<String>) {
        self.warn_with(event, text, &[]);
    }

    /// Complains, once, with the insertion strings of the event.
    fn warn_with(&mut self, event: u16, text: impl Into<String>, data: &[(&str, &str)]) {
        self.complain(event, String::new(), text.into(), data);
    }

    fn complain(&mut self, event: u16, place: String, text: String, data: &[(&str, &str)]) {
        let data = data.iter();
        let data = data.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        self.say(ConfigWarning {
            event,
            text,
            place,
            data: data.collect(),
        });
    }

    fn say(&mut self, warning: ConfigWarning) {
        if self.warnings.len() >= WARNINGS_MAX {
            self.unsaid += 1;
        } else if self.said.insert((warning.event, warning.text.clone())) {
            self.warnings.push(warning);
        }
    }

    /// Complains about a place in the file, with its line.
    pub(super) fn warn_at(&mut self, event: u16, at: usize, text: &str) {
        self.warn_at_with(event, at, text, &[]);
    }

    /// The same, with the insertion strings of the event.
    pub(super) fn warn_at_with(
        &mut self,
        event: u16,
        at: usize,
        text: &str,
        data: &[(&str, &str)],
    ) {
        if self.warnings.len() >= WARNINGS_MAX {
            self.unsaid += 1;
            return;
        }
        let line = self.line(at);
        let text = format!("{}: line {line}: {text}", self.file);
        self.complain(event, warning::place(self.root, at), text, data);
    }

    fn line(&mut self, at: usize) -> usize {
        let (byte, line) = if at < self.last.0 { (0, 1) } else { self.last };
        let between = &self.text.as_bytes()[byte..at];
        self.last = (at, line + between.split(|&b| b == b'\n').count() - 1);
        self.last.1
    }

    fn finish(mut self) -> Vec<ConfigWarning> {
        if self.unsaid > 0 {
            let text = format!("{}: {} more warnings are not shown", self.file, self.unsaid);
            self.warnings.push(ConfigWarning {
                event: INVALID_DATA,
                text,
                place: String::new(),
                data: Vec::new(),
            });
        }
        self.warnings
    }

    fn error_at(&self, at: usize, text: &str) -> ConfigError {
        ConfigError::at(self.file, self.text, at, text)
    }

    fn check(&mut self, sections: &Sections<'a>) {
        let mut seen = BTreeMap::<(faults::Block, &str), Node<'_, '_>>::new();
        for (name, location, section) in sections.iter() {
            let of_the_host = name.strip_prefix("system.applicationHost/");
            let place = of_the_host.unwrap_or(name);
            let mut findings = check::check(section.node, section.schema, place);
            let first = *seen
                .entry((faults::block(section.node), name))
                .or_insert(section.node);
            if first != section.node
                && (of_the_host.is_some() || self.warnings.len() < WARNINGS_MAX)
            {
                let line = self.line(first.range().start);
                findings.push(Finding {
                    at: section.node.range().start,
                    text: format!(
                        "{}; it stands first in line {line}",
                        faults::already_defined(name)
                    ),
                    kind: FindingKind::Violation,
                });
            }
            if of_the_host.is_some() && !location.is_empty() {
                self.warn_at(
                    INVALID_DATA,
                    section.node.range().start,
                    &format!("section {name} counts for the whole server; the one for location \"{location}\" is ignored"),
                );
            } else if of_the_host.is_some() {
                let owners = owners(section.node, section.schema);
                for finding in findings {
                    self.judge(place, finding, &owners);
                }
            } else {
                let location_key = location.to_lowercase();
                let is_new =
                    first == section.node && !self.request_faults.contains_key(&location_key);
                let twice = is_new
                    .then(|| faults::twice(sections, (name, &location_key), section))
                    .flatten();
                findings.extend(twice.map(|(at, text)| Finding {
                    at,
                    text,
                    kind: FindingKind::Violation,
                }));
                for finding in findings {
                    self.about_requests((name, location), &finding);
                }
            }
        }
    }

    /// A finding in `system.applicationHost`.
    ///
    /// Assumed: what breaks one pool or one site stops that one. Microsoft documents event 5172 for a file that
    /// cannot be read, and not how much of it is lost; administrators see the other pools go on. What all
    /// inherit, or what cannot be told from another entry, concerns the whole section.
    fn judge(&mut self, section: &str, finding: Finding, owners: &[Range<usize>]) {
        match finding.kind {
            FindingKind::OutOfRange(value) => self.say(range::warning(section, &value)),
            FindingKind::Doubt => self.warn_at(INVALID_DATA, finding.at, &finding.text),
            FindingKind::Violation => {
                let error = self.error_at(finding.at, &finding.text);
                let before = owners.partition_point(|owner| owner.start < finding.at);
                let owner = before.checked_sub(1).and_then(|index| owners.get(index));
                let place = warning::place(self.root, finding.at);
                self.complain(UNREADABLE, place, error.to_string(), &[]);
                if let Some(owner) = owner.filter(|owner| finding.at < owner.end) {
                    self.faults
                        .entry(owner.start)
                        .or_insert_with(|| error.to_string());
                } else {
                    let section = format!("system.applicationHost/{section}");
                    if !self.broken.iter().any(|known| known.section == section) {
                        self.broken.push(BrokenSection { section, error });
                    }
                }
            }
        }
    }

    /// What breaks the schema inside of an entry.
    pub(super) fn fault_of(&self, entry: Node<'_, '_>) -> Option<String> {
        self.faults.get(&entry.range().start).cloned()
    }

    /// A finding in a section that only requests need.
    fn about_requests(&mut self, (section, location): (&str, &str), finding: &Finding) {
        if finding.is_doubt() || !section.starts_with("system.webServer/") {
            self.warn_at(INVALID_DATA, finding.at, &finding.text);
            return;
        }
        let whose = match location {
            "" => "every request".to_owned(),
            location => format!("requests below \"{location}\""),
        };
        let text = format!("{}; IIS answers {whose} with 500.19", finding.text);
        self.warn_at(INVALID_DATA, finding.at, &text);
        let (file, line, text) = (self.file, self.line(finding.at), &finding.text);
        self.request_faults
            .entry(location.to_lowercase())
            .or_insert_with(|| format!("{file}: line {line}: {text}"));
    }

    /// The locations below a place in which this file has a mistake.
    pub(super) fn mistakes_below(&self, place: &str) -> impl Iterator<Item = String> {
        let start = format!("{place}/");
        let found: Vec<String> = keys_from(&self.request_faults, &start).collect();
        found.into_iter()
    }

    /// What in this file makes requests for the first of some locations fail: the outermost mistake.
    pub(super) fn request_fault(&self, locations: &[String]) -> Option<&str> {
        let mut outermost = locations.iter().rev();
        outermost
            .find_map(|location| self.request_faults.get(location))
            .map(String::as_str)
    }

    fn application_pools(&mut self, sections: &Sections<'a>) -> Vec<ApplicationPool> {
        let all = section(sections, "applicationPools");
        let defaults = all.nodes_of("applicationPoolDefaults");
        let mut pools = Vec::new();
        for entry in all.entries("add", false).0 {
            let name = entry.text("name");
            match name.chars().count() {
                0 => self.warn(
                    POOL_NAME_EMPTY,
                    "The application pool id is empty. The application pool will be ignored.",
                ),
                length if length > POOL_NAME_MAX => self.warn_with(
                    POOL_NAME_LONG,
                    format!(
                        "The application pool id '{name}' exceeds length limits. It is '{length}' \
                         characters and cannot be more than '{POOL_NAME_MAX}' characters. The \
                         application pool will therefore be ignored."
                    ),
                    &[
                        ("AppPoolID", &name),
                        ("Length", &length.to_string()),
                        ("LengthMax", &POOL_NAME_MAX.to_string()),
                    ],
                ),
                _ => {
                    let mut nodes = vec![entry.own()];
                    nodes.extend(&defaults);
                    let layers = Layers::new(all.entry_schema("add"), nodes);
                    let mut pool = application_pool(&layers);
                    pool.fault = self.fault_of(entry.own());
                    let scope = Scope::Pool(pool.name.clone());
                    self.recorder.object(&scope, POOLS, &layers, &[]);
                    self.compare_idle_and_restart(&pool);
                    pools.push(pool);
                }
            }
        }
        pools
    }

    fn compare_idle_and_restart(&mut self, pool: &ApplicationPool) {
        let idle = pool.process_model.idle_timeout;
        let restart = pool.recycling.periodic_restart.time;
        if !idle.is_zero() && !restart.is_zero() && idle >= restart {
            self.warn_with(
                IDLE_BEYOND_RESTART,
                format!(
                    "Application pool '{}' has an IdleTimeout equal to or greater than the \
                     PeriodicRestart time. This can cause unexpected loss of application state.",
                    pool.name
                ),
                &[("AppPoolID", pool.name.as_str())],
            );
        }
    }
}

/// The pools or sites of a section that can be told apart, in the order of the file.
fn owners(section: Node<'_, '_>, schema: &Element) -> Vec<Range<usize>> {
    let entries = section.children().filter(|child| {
        let element = child.tag_name().name();
        let keys: &[&str] = match element {
            "add" => &["name"],
            "site" => &["name", "id"],
            _ => return false,
        };
        let entry = schema.entries.get(element);
        let is_good = |key: &&str| {
            let attribute = entry.and_then(|entry| entry.attributes.get(*key));
            let value = child.attribute(*key);
            attribute
                .zip(value)
                .is_some_and(|(attribute, value)| attribute.check(value).is_ok())
        };
        keys.iter().all(is_good)
    });
    entries.map(|entry| entry.range()).collect()
}

/// A section of `system.applicationHost`, as far as it is there.
pub(super) fn section<'a>(sections: &Sections<'a>, name: &str) -> Layers<'a> {
    let path = format!("system.applicationHost/{name}");
    let nodes = sections
        .at("", &path)
        .iter()
        .rev()
        .map(|section| section.node)
        .collect();
    Layers::new(
        schema::section(&path).expect("asked for by a name in the schema"),
        nodes,
    )
}

fn web_limits(sections: &Sections<'_>) -> WebLimits {
    let limits = section(sections, "webLimits");
    WebLimits {
        demand_start_threshold: limits.number("demandStartThreshold"),
        header_wait_timeout: limits.time("headerWaitTimeout"),
        min_bytes_per_second: limits.number("minBytesPerSecond"),
        dynamic_idle_threshold: limits.number("dynamicIdleThreshold"),
    }
}

fn config_history(sections: &Sections<'_>) -> ConfigHistory {
    let history = section(sections, "configHistory");
    ConfigHistory {
        enabled: history.flag("enabled"),
        path: history.text("path"),
        max_histories: history.number("maxHistories"),
        period: history.time("period"),
    }
}

fn application_pool(pool: &Layers<'_>) -> ApplicationPool {
    // Assumed: a pool's own variable replaces one of the same name in the defaults.
    let variables = pool.child("environmentVariables").entries("add", false).0;
    ApplicationPool {
        name: pool.text("name"),
        fault: None,
        queue_length: pool.number("queueLength"),
        auto_start: pool.flag("autoStart"),
        always_running: pool.number("startMode") == 1,
        managed_runtime_version: pool.text("managedRuntimeVersion"),
        managed_runtime_loader: pool.text("managedRuntimeLoader"),
        classic: pool.number("managedPipelineMode") == 1,
        process_model: process_model(&pool.child("processModel")),
        recycling: recycling(&pool.child("recycling")),
        failure: failure(&pool.child("failure")),
        cpu: cpu(&pool.child("cpu")),
        environment: variables
            .iter()
            .map(|v| (v.text("name"), v.text("value")))
            .collect(),
    }
}

fn process_model(model: &Layers<'_>) -> ProcessModel {
    ProcessModel {
        idle_timeout: model.time("idleTimeout"),
        idle_suspend: model.number("idleTimeoutAction") == 1,
        max_processes: model.number("maxProcesses"),
        shutdown_time_limit: model.time("shutdownTimeLimit"),
        startup_time_limit: model.time("startupTimeLimit"),
        pinging_enabled: model.flag("pingingEnabled"),
        ping_interval: model.time("pingInterval"),
        ping_response_time: model.time("pingResponseTime"),
        log_idle_timeout: model.number("logEventOnProcessModel") & 1 != 0,
        identity: if model.number("identityType") == SPECIFIC_USER {
            Identity::SpecificUser(model.text("userName"))
        } else {
            Identity::BuiltIn
        },
    }
}

fn recycling(recycling: &Layers<'_>) -> Recycling {
    let restart = recycling.child("periodicRestart");
    // Assumed: times in applicationPoolDefaults hold for every pool in addition to its own, until a
    // pool says <clear/>.
    let schedule = restart.child("schedule").entries("add", false).0;
    let mut schedule: Vec<_> = schedule
        .iter()
        .filter_map(|add| add.maybe_time("value"))
        .collect();
    schedule.sort_unstable();
    schedule.dedup();
    Recycling {
        disallow_overlapping_rotation: recycling.flag("disallowOverlappingRotation"),
        disallow_rotation_on_config_change: recycling.flag("disallowRotationOnConfigChange"),
        log_event_on_recycle: recycle_reasons(recycling.number("logEventOnRecycle")),
        periodic_restart: PeriodicRestart {
            time: restart.time("time"),
            requests: restart.number("requests"),
            schedule,
            memory_kb: restart.number("memory"),
            private_memory_kb: restart.number("privateMemory"),
        },
    }
}

/// The bits of `logEventOnRecycle`, in the order of the schema.
fn recycle_reasons(flags: u32) -> Vec<RecycleReason> {
    let all = [
        RecycleReason::Time,
        RecycleReason::Requests,
        RecycleReason::Schedule,
        RecycleReason::Memory,
        RecycleReason::IsapiUnhealthy,
        RecycleReason::OnDemand,
        RecycleReason::ConfigChange,
        RecycleReason::PrivateMemory,
    ];
    let chosen = all
        .into_iter()
        .enumerate()
        .filter(|(bit, _)| flags & (1 << bit) != 0);
    chosen.map(|(_, reason)| reason).collect()
}

fn failure(failure: &Layers<'_>) -> Failure {
    Failure {
        tcp_level: failure.number("loadBalancerCapabilities") == 1,
        orphan_worker_process: failure.flag("orphanWorkerProcess"),
        orphan_action_exe: failure.text("orphanActionExe"),
        orphan_action_params: failure.text("orphanActionParams"),
        rapid_fail_protection: failure.flag("rapidFailProtection"),
        rapid_fail_protection_interval: failure.time("rapidFailProtectionInterval"),
        rapid_fail_protection_max_crashes: failure.number("rapidFailProtectionMaxCrashes"),
        auto_shutdown_exe: failure.text("autoShutdownExe"),
        auto_shutdown_params: failure.text("autoShutdownParams"),
    }
}

fn cpu(cpu: &Layers<'_>) -> Cpu {
    Cpu {
        limit: cpu.number("limit"),
        action: match cpu.number("action") {
            1 => CpuAction::KillW3wp,
            2 => CpuAction::Throttle,
            3 => CpuAction::ThrottleUnderLoad,
            _ => CpuAction::NoAction,
        },
        reset_interval: cpu.time("resetInterval"),
        affinity: cpu.flag("smpAffinitized").then(|| {
            let (low, high): (u32, u32) = (
                cpu.number("smpProcessorAffinityMask"),
                cpu.number("smpProcessorAffinityMask2"),
            );
            u64::from(low) | u64::from(high) << 32
        }),
    }
}
