//! `/metrics`: the counters under the names of the `windows_exporter`, in the text format of Prometheus.
//!
//! Source: `windows_exporter`, collectors iis, service, process and cs; families are sorted by name,
//! labels too, figures are printed as Go's `%g` does. `promtool check metrics` misses `_total` in some
//! names: they are the exporter's, and dashboards ask for them. One family is our own, and is named for it.

use std::fmt::Write;

use sim_httpsys::clockwork::UtcClock;
use sim_httpsys::counters::QueueReading;
use sim_was::control::{CounterReadings, Service, ServiceStatus};
use sim_was::counters::AppPoolWas;

use crate::perfmon::{APP_POOL_WAS, Counter, VERB_COUNTERS, W3SVC_W3WP, WEB_SERVICE, counters};

mod families;

/// A metric family of the IIS collector.
struct Family {
    name: &'static str,
    object: &'static str,
    kind: Kind,
    shape: Shape,
    /// The counters whose sum it is.
    counters: &'static [&'static str],
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
        }
    }
}

/// How the samples of a family are labelled.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// By instance alone.
    Plain,
    /// Threads that are busy.
    Busy,
    /// User and kernel mode apart.
    Modes,
    /// The time since 1970 at which an uptime has begun.
    StartTime,
    /// A sample for each state that there is.
    State,
    /// A sample for each status that is counted.
    Statuses,
    /// A sample for each verb.
    Verbs,
}

/// A worker process as the kernel shows it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ProcessReading {
    /// Its pid.
    pub pid: u32,
    /// Its parent's.
    pub parent: u32,
    /// Seconds of processor time in user mode.
    pub user_s: f64,
    /// Seconds of processor time in the kernel.
    pub privileged_s: f64,
    /// Bytes that are resident.
    pub working_set: u64,
    /// Bytes that are its own.
    pub private_bytes: u64,
}

/// Everything that a scrape is made of.
#[derive(Clone, Debug, Default)]
pub struct Scrape {
    /// The counters; `None` if the services did not answer.
    pub readings: Option<CounterReadings>,
    /// The worker processes.
    pub processes: Vec<ProcessReading>,
    /// The name of this machine.
    pub hostname: String,
    /// Translates the moments of the readings: the same at every scrape, so that what began at one moment
    /// is shown at one time.
    pub clock: UtcClock,
}

/// The page that a scrape gets.
pub fn render(scrape: &Scrape) -> String {
    let mut page = Page::default();
    let drivers = scrape.readings.iter().flat_map(|all| &all.driver);
    page.held(drivers.flat_map(|driver| &driver.request_queues));
    page.family(
        "windows_cs_hostname",
        "The name of this machine.",
        Kind::Gauge,
    );
    let host = scrape.hostname.as_str();
    page.sample(&[("domain", ""), ("fqdn", host), ("hostname", host)], 1.0);
    let name = "windows_exporter_collector_success";
    page.family(
        name,
        "Whether a collector has got its figures.",
        Kind::Gauge,
    );
    let success = f64::from(u8::from(scrape.readings.is_some()));
    page.sample(&[("collector", "iis")], success);
    if let Some(readings) = &scrape.readings {
        let counters = counters(readings);
        for family in &families::FAMILIES {
            match family.shape {
                Shape::StartTime => page.start_times(family, &readings.app_pools, scrape.clock),
                Shape::Plain
                | Shape::Busy
                | Shape::Modes
                | Shape::State
                | Shape::Statuses
                | Shape::Verbs => page.iis(family, &counters),
            }
        }
    }
    page.processes(&scrape.processes);
    if let Some(readings) = &scrape.readings {
        page.services(&readings.services);
    }
    page.text
}

/// How a size is read.
type ReadBytes = fn(&ProcessReading) -> u64;

#[derive(Default)]
struct Page {
    text: String,
    /// The family whose samples follow.
    name: &'static str,
    /// Its head, until it has a sample.
    head: String,
}

impl Page {
    fn family(&mut self, name: &'static str, help: &str, kind: Kind) {
        self.name = name;
        self.head = format!("# HELP {name} {help}\n# TYPE {name} {}\n", kind.name());
    }

    fn sample(&mut self, labels: &[(&str, &str)], value: f64) {
        self.text.push_str(&std::mem::take(&mut self.head));
        self.text.push_str(self.name);
        for (at, (label, text)) in labels.iter().enumerate() {
            let mark = if at == 0 { '{' } else { ',' };
            let _ = write!(self.text, "{mark}{label}=\"{}\"", escaped(text));
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {}", go_g(value));
    }

    fn begin(&mut self, family: &Family) {
        let help = match family.counters {
            [] => format!("{}, by kind.", family.object),
            names => format!("{}: {}.", family.object, names.join(" + ")),
        };
        self.family(family.name, &help, family.kind);
    }

    fn iis(&mut self, family: &Family, counters: &[Counter]) {
        self.begin(family);
        for (instance, of_instance) in instances(family.object, counters) {
            let sum = |names: &[&str]| names.iter().filter_map(|n| of_instance.read(n)).sum();
            let (pid, app) = instance.split_once('_').unwrap_or(("", instance));
            let labels: &[(&str, &str)] = match family.object {
                WEB_SERVICE => &[("site", instance)],
                APP_POOL_WAS => &[("app", instance)],
                W3SVC_W3WP => &[("app", app), ("pid", pid)],
                _ if instance.is_empty() => &[],
                // Source: windows_exporter: the label of a queue is called site.
                _ => &[("site", instance)],
            };
            match family.shape {
                Shape::Plain => self.sample(labels, sum(family.counters)),
                Shape::Busy => {
                    let value = sum(family.counters);
                    self.sample(&[labels, &[("state", "busy")]].concat(), value);
                }
                Shape::Modes => self.modes(family.counters, &of_instance),
                Shape::StartTime => {}
                Shape::State => self.states(labels, sum(family.counters)),
                Shape::Statuses => self.statuses(labels, &of_instance),
                Shape::Verbs => self.verbs(instance, &of_instance),
            }
        }
    }

    /// Not the time of the scrape less the uptime, which is told in whole seconds: that would go up and down.
    fn start_times(&mut self, family: &Family, pools: &[(String, AppPoolWas)], clock: UtcClock) {
        self.begin(family);
        let is_current = family.counters == ["Current Application Pool Uptime"];
        for (name, pool) in pools {
            let began = if is_current {
                pool.current_uptime_began
            } else {
                pool.total_uptime_began
            };
            let began = clock.utc(began).timestamp().as_duration();
            self.sample(&[("app", name)], began.as_secs_f64());
        }
    }

    fn modes(&mut self, names: &[&str], of: &OfInstance<'_>) {
        let user = names.iter().filter(|name| !name.starts_with("Kernel: "));
        let kernel = user.clone().map(|name| of.read(&format!("Kernel: {name}")));
        let kernel: Vec<f64> = kernel.flatten().collect();
        if !kernel.is_empty() {
            self.sample(&[("mode", "kernel")], kernel.iter().sum());
        }
        let user = user.filter_map(|name| of.read(name)).sum();
        self.sample(&[("mode", "user")], user);
    }

    fn states(&mut self, labels: &[(&str, &str)], state: f64) {
        for (number, name) in [
            (1_u8, "Uninitialized"),
            (2, "Initialized"),
            (3, "Running"),
            (4, "Disabling"),
            (5, "Disabled"),
            (6, "Shutdown Pending"),
            (7, "Delete Pending"),
        ] {
            let is_it = (state - f64::from(number)).abs() < 0.5;
            let labels = [labels, &[("state", name)]].concat();
            self.sample(&labels, f64::from(u8::from(is_it)));
        }
    }

    fn statuses(&mut self, labels: &[(&str, &str)], of: &OfInstance<'_>) {
        for status in ["401", "403", "404", "500"] {
            let name = format!("% {status} HTTP Response Sent");
            let labels = [labels, &[("status_code", status)]].concat();
            self.sample(&labels, of.read(&name).unwrap_or(0.0));
        }
    }

    fn verbs(&mut self, site: &str, of: &OfInstance<'_>) {
        for name in VERB_COUNTERS {
            let verb = name
                .trim_start_matches("Total ")
                .trim_end_matches(" Requests");
            let method = match verb {
                "Other Request Methods" => "other".to_owned(),
                verb => verb.to_ascii_uppercase(),
            };
            let labels = [("method", method.as_str()), ("site", site)];
            self.sample(&labels, of.read(name).unwrap_or(0.0));
        }
    }

    fn processes(&mut self, processes: &[ProcessReading]) {
        let texts: Vec<(String, String)> = processes
            .iter()
            .map(|process| (process.parent.to_string(), process.pid.to_string()))
            .collect();
        let each = || processes.iter().zip(&texts);
        self.family(
            "windows_process_cpu_time_total",
            "Processor time, seconds.",
            Kind::Counter,
        );
        for (process, (parent, pid)) in each() {
            for (mode, value) in [
                ("privileged", process.privileged_s),
                ("user", process.user_s),
            ] {
                let labels = [
                    ("creating_process_id", parent.as_str()),
                    ("mode", mode),
                    ("process", "w3wp"),
                    ("process_id", pid),
                ];
                self.sample(&labels, value);
            }
        }
        let families: [(&'static str, &str, ReadBytes); 2] = [
            ("windows_process_private_bytes", "Bytes of its own.", |p| {
                p.private_bytes
            }),
            (
                "windows_process_working_set_bytes",
                "Bytes resident.",
                |p| p.working_set,
            ),
        ];
        for (name, help, read) in families {
            self.family(name, help, Kind::Gauge);
            for (process, (parent, pid)) in each() {
                let labels = [
                    ("creating_process_id", parent.as_str()),
                    ("process", "w3wp"),
                    ("process_id", pid),
                ];
                self.sample(&labels, figure(read(process)));
            }
        }
    }

    /// What no exporter of Windows can tell, because no counter does: that a worker takes requests and is
    /// silent while it answers its pings.
    fn held<'a>(&mut self, queues: impl Iterator<Item = &'a QueueReading>) {
        self.family(
            "iis_sim_oldest_delivered_request_age_seconds",
            "How long the request that workers have held longest has been held.",
            Kind::Gauge,
        );
        for queue in queues {
            let age = figure(queue.max_delivered_age_ms) / 1000.0;
            self.sample(&[("app", queue.name.0.as_ref())], age);
        }
    }

    fn services(&mut self, services: &[(Service, ServiceStatus)]) {
        let name = "windows_service_state";
        self.family(
            name,
            "The state of a service: 1 for the one that it is in.",
            Kind::Gauge,
        );
        for (service, status) in services {
            let service = service.name().to_ascii_lowercase();
            let is = |state: &str| {
                state
                    == match status {
                        ServiceStatus::Stopped => "stopped",
                        ServiceStatus::StartPending => "start pending",
                        ServiceStatus::StopPending => "stop pending",
                        ServiceStatus::Running => "running",
                    }
            };
            for state in [
                "continue pending",
                "pause pending",
                "paused",
                "running",
                "start pending",
                "stop pending",
                "stopped",
            ] {
                let labels = [("name", service.as_str()), ("state", state)];
                self.sample(&labels, f64::from(u8::from(is(state))));
            }
        }
    }
}

/// The counters of one instance.
struct OfInstance<'a>(Vec<&'a Counter>);

impl OfInstance<'_> {
    /// Rates stand for the same totals under another name and are not meant.
    fn read(&self, name: &str) -> Option<f64> {
        let found = self.0.iter().find(|counter| counter.name == name);
        found.map(|counter| counter.value)
    }
}

/// The instances of an object but for the total, with their counters, in their order.
fn instances<'a>(object: &str, counters: &'a [Counter]) -> Vec<(&'a str, OfInstance<'a>)> {
    let mut list: Vec<(&str, OfInstance<'_>)> = Vec::new();
    for counter in counters.iter().filter(|counter| counter.object == object) {
        let instance = counter.instance.as_deref().unwrap_or("");
        if instance == "_Total" {
            continue;
        }
        match list.last_mut().filter(|(name, _)| *name == instance) {
            Some((_, of_instance)) => of_instance.0.push(counter),
            None => list.push((instance, OfInstance(vec![counter]))),
        }
    }
    list
}

#[expect(
    clippy::cast_precision_loss,
    reason = "figures of Prometheus are floating point"
)]
fn figure(value: u64) -> f64 {
    value as f64
}

fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\\\").replace('"', "\\\"");
    text.replace('\n', "\\n")
}

/// A figure as Go's `strconv` prints it with `'g'` and the shortest precision.
fn go_g(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let scientific = format!("{value:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else {
        return scientific;
    };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..21).contains(&exponent) && !(6..21).contains(&exponent) {
        return format!("{value}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

#[cfg(test)]
mod tests {
    use sim_httpsys::api::SiteId;
    use sim_httpsys::clockwork::{Instant, UtcTime};
    use sim_httpsys::counters::{Snapshot, WebService};

    use super::*;

    #[test]
    fn figures_are_printed_as_go_prints_them() {
        for (value, text) in [
            (0.0, "0"),
            (1.0, "1"),
            (2.5, "2.5"),
            (999_999.0, "999999"),
            (1_000_000.0, "1e+06"),
            (1_795_571_612.0, "1.795571612e+09"),
            (0.000_012, "1.2e-05"),
            (-3.0, "-3"),
        ] {
            assert_eq!(go_g(value), text);
        }
    }

    #[test]
    fn families_are_sorted_named_once_and_labelled_as_by_the_exporter() {
        let mut site = WebService::default();
        site.total_requests_by_verb[0] = 7;
        let readings = CounterReadings {
            services: vec![(Service::W3svc, ServiceStatus::Running)],
            sites: vec![(1, "My \"Site\"".to_owned())],
            driver: Some(Snapshot {
                web_service: vec![(SiteId(1), site)],
                ..Snapshot::default()
            }),
            ..CounterReadings::default()
        };
        let page = render(&Scrape {
            readings: Some(readings),
            ..Scrape::default()
        });
        let line = "windows_iis_requests_total{method=\"GET\",site=\"My \\\"Site\\\"\"} 7\n";
        assert!(page.contains(line), "{page}");
        assert!(page.contains("windows_service_state{name=\"w3svc\",state=\"running\"} 1\n"));
        assert!(page.contains("windows_iis_server_uri_cache_hits_total{mode=\"kernel\"} 0\n"));
        assert!(!page.contains("_Total"));
        let names: Vec<&str> = page
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE "))
            .filter_map(|line| line.split(' ').next())
            .collect();
        assert!(names.is_sorted_by(|a, b| a < b), "{names:?}");
    }

    #[test]
    fn a_driver_that_does_not_answer_has_no_samples_and_none_that_read_0() {
        let readings = CounterReadings {
            sites: vec![(1, "Shop".to_owned())],
            ..CounterReadings::default()
        };
        let page = render(&Scrape {
            readings: Some(readings),
            ..Scrape::default()
        });
        assert!(!page.contains("site=\"Shop\""), "{page}");
        assert!(!page.contains("mode=\"kernel\""), "{page}");
        assert!(page.contains("windows_iis_server_uri_cache_hits_total{mode=\"user\"} 0\n"));
    }

    #[test]
    fn a_running_pool_is_shown_with_one_start_time() {
        let page = |uptime: u64| {
            let pool = AppPoolWas {
                current_application_pool_uptime_s: uptime,
                total_application_pool_uptime_s: uptime,
                current_uptime_began: Instant(2_500_000_000),
                total_uptime_began: Instant(1_250_000_000),
                ..AppPoolWas::default()
            };
            let readings = CounterReadings {
                app_pools: vec![("P".to_owned(), pool)],
                ..CounterReadings::default()
            };
            render(&Scrape {
                readings: Some(readings),
                clock: UtcClock::reading(UtcTime(1_000_000_000), Instant(0)),
                ..Scrape::default()
            })
        };
        for uptime in [0, 1, 2] {
            let page = page(uptime);
            for line in [
                "windows_iis_current_application_pool_start_time{app=\"P\"} 3.5\n",
                "windows_iis_total_application_pool_start_time{app=\"P\"} 2.25\n",
            ] {
                assert!(page.contains(line), "{line}{page}");
            }
        }
    }

    #[test]
    fn every_family_of_the_collector_has_counters_to_be_read_from() {
        let readings = CounterReadings {
            app_pools: vec![("P".to_owned(), AppPoolWas::default())],
            driver: Some(Snapshot::default()),
            ..CounterReadings::default()
        };
        let known = counters(&readings);
        for family in &families::FAMILIES {
            let objects = known
                .iter()
                .filter(|counter| counter.object == family.object);
            let names: Vec<&str> = objects.map(|counter| counter.name).collect();
            let is_queue = family.object == crate::perfmon::REQUEST_QUEUES;
            for name in family.counters.iter().filter(|_| !is_queue) {
                assert!(names.contains(name), "{}: {name}", family.name);
            }
        }
    }
}
