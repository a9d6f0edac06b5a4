//! Which field of JSON is which attribute of the configuration, and how a value is written in each.
//!
//! Source: microsoft/IIS.Administration, `ApplicationPoolHelper` and its documentation: units are minutes or
//! seconds, where the configuration has times; values are read as strings too.

use serde_json::{Map, Value};
use sim_was::config::view::View;

use super::resource::ApiError;

/// A field.
pub(super) struct Field {
    /// Where it is in JSON, with dots.
    pub(super) json: &'static str,
    /// Where it is in the configuration, with dots.
    pub(super) attribute: &'static str,
    kind: Kind,
}

/// How a value is written.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    Flag,
    Number,
    /// A time, as a number of so many seconds each.
    Time(u64),
    /// One of several, in JSON as IIS spells it: `Integrated`. Source: microsoft/IIS.Administration: `Enum.GetName`.
    Choice(&'static [&'static str]),
    /// Whether a word is among the flags of the attribute.
    Among(&'static str),
}

const MINUTES: Kind = Kind::Time(60);
const SECONDS: Kind = Kind::Time(1);

const fn field(json: &'static str, attribute: &'static str, kind: Kind) -> Field {
    Field {
        json,
        attribute,
        kind,
    }
}

const fn log_event(json: &'static str, word: &'static str) -> Field {
    field(json, "recycling.logEventOnRecycle", Kind::Among(word))
}

/// The fields of an application pool, besides its name, id, status and schedule.
pub(super) const POOL: &[Field] = &[
    field("auto_start", "autoStart", Kind::Flag),
    field(
        "pipeline_mode",
        "managedPipelineMode",
        Kind::Choice(&["Integrated", "Classic"]),
    ),
    field(
        "managed_runtime_version",
        "managedRuntimeVersion",
        Kind::Text,
    ),
    field("enable_32bit_win64", "enable32BitAppOnWin64", Kind::Flag),
    field("queue_length", "queueLength", Kind::Number),
    field(
        "start_mode",
        "startMode",
        Kind::Choice(&["OnDemand", "AlwaysRunning"]),
    ),
    field("cpu.limit", "cpu.limit", Kind::Number),
    field("cpu.limit_interval", "cpu.resetInterval", MINUTES),
    field(
        "cpu.action",
        "cpu.action",
        Kind::Choice(&["NoAction", "KillW3wp", "Throttle", "ThrottleUnderLoad"]),
    ),
    field(
        "cpu.processor_affinity_enabled",
        "cpu.smpAffinitized",
        Kind::Flag,
    ),
    field(
        "process_model.idle_timeout",
        "processModel.idleTimeout",
        MINUTES,
    ),
    field(
        "process_model.max_processes",
        "processModel.maxProcesses",
        Kind::Number,
    ),
    field(
        "process_model.pinging_enabled",
        "processModel.pingingEnabled",
        Kind::Flag,
    ),
    field(
        "process_model.ping_interval",
        "processModel.pingInterval",
        SECONDS,
    ),
    field(
        "process_model.ping_response_time",
        "processModel.pingResponseTime",
        SECONDS,
    ),
    field(
        "process_model.shutdown_time_limit",
        "processModel.shutdownTimeLimit",
        SECONDS,
    ),
    field(
        "process_model.startup_time_limit",
        "processModel.startupTimeLimit",
        SECONDS,
    ),
    field(
        "process_model.idle_timeout_action",
        "processModel.idleTimeoutAction",
        Kind::Choice(&["Terminate", "Suspend"]),
    ),
    field(
        "identity.identity_type",
        "processModel.identityType",
        Kind::Choice(&[
            "LocalSystem",
            "LocalService",
            "NetworkService",
            "SpecificUser",
            "ApplicationPoolIdentity",
        ]),
    ),
    field("identity.username", "processModel.userName", Kind::Text),
    field(
        "identity.load_user_profile",
        "processModel.loadUserProfile",
        Kind::Flag,
    ),
    field(
        "recycling.disable_overlapped_recycle",
        "recycling.disallowOverlappingRotation",
        Kind::Flag,
    ),
    field(
        "recycling.disable_recycle_on_config_change",
        "recycling.disallowRotationOnConfigChange",
        Kind::Flag,
    ),
    log_event("recycling.log_events.time", "Time"),
    log_event("recycling.log_events.requests", "Requests"),
    log_event("recycling.log_events.schedule", "Schedule"),
    log_event("recycling.log_events.memory", "Memory"),
    log_event("recycling.log_events.isapi_unhealthy", "IsapiUnhealthy"),
    log_event("recycling.log_events.on_demand", "OnDemand"),
    log_event("recycling.log_events.config_change", "ConfigChange"),
    log_event("recycling.log_events.private_memory", "PrivateMemory"),
    field(
        "recycling.periodic_restart.time_interval",
        "recycling.periodicRestart.time",
        MINUTES,
    ),
    field(
        "recycling.periodic_restart.private_memory",
        "recycling.periodicRestart.privateMemory",
        Kind::Number,
    ),
    field(
        "recycling.periodic_restart.request_limit",
        "recycling.periodicRestart.requests",
        Kind::Number,
    ),
    field(
        "recycling.periodic_restart.virtual_memory",
        "recycling.periodicRestart.memory",
        Kind::Number,
    ),
    field(
        "rapid_fail_protection.enabled",
        "failure.rapidFailProtection",
        Kind::Flag,
    ),
    field(
        "rapid_fail_protection.load_balancer_capabilities",
        "failure.loadBalancerCapabilities",
        Kind::Choice(&["TcpLevel", "HttpLevel"]),
    ),
    field(
        "rapid_fail_protection.interval",
        "failure.rapidFailProtectionInterval",
        MINUTES,
    ),
    field(
        "rapid_fail_protection.max_crashes",
        "failure.rapidFailProtectionMaxCrashes",
        Kind::Number,
    ),
    field(
        "rapid_fail_protection.auto_shutdown_exe",
        "failure.autoShutdownExe",
        Kind::Text,
    ),
    field(
        "rapid_fail_protection.auto_shutdown_params",
        "failure.autoShutdownParams",
        Kind::Text,
    ),
    field(
        "process_orphaning.enabled",
        "failure.orphanWorkerProcess",
        Kind::Flag,
    ),
    field(
        "process_orphaning.orphan_action_exe",
        "failure.orphanActionExe",
        Kind::Text,
    ),
    field(
        "process_orphaning.orphan_action_params",
        "failure.orphanActionParams",
        Kind::Text,
    ),
];

/// The fields of a website, besides its name, id, status, path and bindings.
pub(super) const SITE: &[Field] = &[
    field("server_auto_start", "serverAutoStart", Kind::Flag),
    field(
        "limits.connection_timeout",
        "limits.connectionTimeout",
        SECONDS,
    ),
    field("limits.max_bandwidth", "limits.maxBandwidth", Kind::Number),
    field(
        "limits.max_connections",
        "limits.maxConnections",
        Kind::Number,
    ),
];

impl Field {
    /// Its value in JSON.
    fn read(&self, view: &View) -> Value {
        self.value_of(view.attribute(self.attribute).unwrap_or_default())
    }

    /// Its value in JSON if its attribute is this text.
    fn value_of(&self, text: &str) -> Value {
        match self.kind {
            Kind::Text | Kind::Choice(_) => Value::from(text),
            Kind::Flag => Value::from(text.eq_ignore_ascii_case("true")),
            Kind::Number => text.parse::<u64>().map_or(Value::Null, Value::from),
            Kind::Time(unit) => seconds(text).map_or(Value::Null, |all| Value::from(all / unit)),
            Kind::Among(word) => {
                Value::from(words(text).any(|known| known.eq_ignore_ascii_case(word)))
            }
        }
    }

    /// The attribute's text for a value of JSON; `view` is how it is now.
    fn write(&self, value: &Value, view: &View) -> Result<String, ApiError> {
        let said = match value {
            Value::String(text) => text.clone(),
            Value::Bool(_) | Value::Number(_) => value.to_string(),
            Value::Null | Value::Array(_) | Value::Object(_) => {
                return Err(self.wrong(value, "a string, a number or a boolean"));
            }
        };
        let flag = || match said.to_ascii_lowercase().as_str() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(self.wrong(value, "true or false")),
        };
        match self.kind {
            Kind::Text => Ok(said),
            Kind::Flag => Ok(flag()?.to_string()),
            Kind::Number => match said.parse::<u64>() {
                Ok(number) => Ok(number.to_string()),
                Err(_) => Err(self.wrong(value, "a whole number from 0")),
            },
            Kind::Time(unit) => {
                let number = said.parse::<u64>().ok().and_then(|n| n.checked_mul(unit));
                number.map(time).ok_or_else(|| {
                    let unit = if unit == 60 { "minutes" } else { "seconds" };
                    self.wrong(value, &format!("a whole number of {unit}"))
                })
            }
            Kind::Choice(known) => {
                let found = known.iter().find(|word| word.eq_ignore_ascii_case(&said));
                found
                    .map(|word| (*word).to_owned())
                    .ok_or_else(|| self.wrong(value, &format!("one of {}", known.join(", "))))
            }
            Kind::Among(word) => {
                let now = view.attribute(self.attribute).unwrap_or_default();
                let mut flags: Vec<&str> = words(now)
                    .filter(|known| !known.eq_ignore_ascii_case(word))
                    .collect();
                if flag()? {
                    flags.push(word);
                }
                Ok(flags.join(", "))
            }
        }
    }

    fn wrong(&self, value: &Value, valid: &str) -> ApiError {
        ApiError::field(self.json, &format!("{value} is not valid; give {valid}"))
    }
}

/// All fields of an object.
pub(super) fn read(fields: &[Field], view: &View) -> Map<String, Value> {
    let mut object = Map::new();
    for field in fields {
        put(&mut object, field.json, field.read(view));
    }
    object
}

/// Puts a value where its path says.
pub(super) fn put(object: &mut Map<String, Value>, path: &str, value: Value) {
    match path.split_once('.') {
        None => {
            object.insert(path.to_owned(), value);
        }
        Some((first, rest)) => {
            let inner = object
                .entry(first)
                .or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(inner) = inner {
                put(inner, rest, value);
            }
        }
    }
}

/// The fields of a body with their paths, e.g. `process_model.idle_timeout`; arrays are values.
pub(super) fn flat(body: &Map<String, Value>) -> Vec<(String, Value)> {
    let mut all = Vec::new();
    for (name, value) in body {
        if let Value::Object(inner) = value {
            let inner = flat(inner).into_iter();
            all.extend(inner.map(|(path, value)| (format!("{name}.{path}"), value)));
        } else {
            all.push((name.clone(), value.clone()));
        }
    }
    all
}

/// The field of an attribute at a place of the configuration, as messages about changes tell them.
pub(super) fn field_of(place: &str, attribute: &str) -> String {
    // What is below the entry of the object: `…/add[name='P']/processModel`.
    let below = place.rsplit_once(']').map_or("", |(_, below)| below);
    let element = below.trim_matches('/').replace('/', ".");
    if element == "recycling.periodicRestart.schedule" {
        return SCHEDULE.to_owned();
    }
    if element == "bindings" {
        return element;
    }
    let path = if element.is_empty() {
        attribute.to_owned()
    } else {
        format!("{element}.{attribute}")
    };
    let fields = if place.contains("/applicationPools") {
        POOL
    } else {
        SITE
    };
    if path == "id" {
        return "key".to_owned();
    }
    let known = fields.iter().find(|field| field.attribute == path);
    known.map_or_else(|| in_json(&path), |field| field.json.to_owned())
}

/// `physicalPath` → `physical_path`.
fn in_json(path: &str) -> String {
    let mut name = String::new();
    for letter in path.chars() {
        if letter.is_ascii_uppercase() {
            name.push('_');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

/// The field of the times of day at which a pool recycles.
pub(super) const SCHEDULE: &str = "recycling.periodic_restart.schedule";

/// What attribute becomes what by a body. Fields in `others` are somebody else's; `view` is how the object
/// is now.
pub(super) fn write(
    fields: &[Field],
    body: &Map<String, Value>,
    others: &[&str],
    view: &View,
) -> Result<Vec<(&'static str, String)>, ApiError> {
    // Flags of one attribute add up.
    let mut view = view.clone();
    let mut changes: Vec<(&'static str, String)> = Vec::new();
    for (path, value) in flat(body) {
        let is_other = |other: &&str| path == **other || path.starts_with(&format!("{other}."));
        if others.iter().any(is_other) {
            continue;
        }
        let Some(field) = fields.iter().find(|field| field.json == path) else {
            let below = format!("{path}.");
            if fields.iter().any(|field| field.json.starts_with(&below)) {
                return Err(ApiError::field(&path, "an object is expected"));
            }
            let known: Vec<&str> = fields.iter().map(|field| field.json).collect();
            let known = [others, &known].concat().join(", ");
            return Err(ApiError::field(
                &path,
                &format!("unknown field; known: {known}"),
            ));
        };
        let text = field.write(&value, &view)?;
        // A client that sends back all that it was given changes only what it has changed.
        if field.read(&view) == field.value_of(&text) {
            continue;
        }
        set(&mut view, field.attribute, &text);
        changes.retain(|(attribute, _)| *attribute != field.attribute);
        changes.push((field.attribute, text));
    }
    Ok(changes)
}

/// Writes an attribute in a view.
fn set(view: &mut View, path: &str, text: &str) {
    let (element, name) = path.rsplit_once('.').unwrap_or(("", path));
    let mut at = view;
    for step in element.split('.').filter(|step| !step.is_empty()) {
        let found = at.children.iter_mut().find(|child| child.name == step);
        let Some(found) = found else { return };
        at = found;
    }
    if let Some(attribute) = at.attributes.iter_mut().find(|a| a.name == name) {
        text.clone_into(&mut attribute.value);
    }
}

fn words(flags: &str) -> impl Iterator<Item = &str> {
    flags
        .split(',')
        .map(str::trim)
        .filter(|word| !word.is_empty())
}

/// `[d.]hh:mm:ss` in seconds.
fn seconds(text: &str) -> Option<u64> {
    let (days, clock) = text.split_once('.').unwrap_or(("0", text));
    let mut parts = clock.split(':').map(|part| part.parse::<u64>().ok());
    let (hours, minutes, seconds) = (parts.next()??, parts.next()??, parts.next()??);
    Some(((days.parse::<u64>().ok()? * 24 + hours) * 60 + minutes) * 60 + seconds)
}

fn time(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let clock = format!("{:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60);
    if days == 0 {
        clock
    } else {
        format!("{days}.{clock}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_the_configuration_has_them() {
        for (text, all) in [("00:20:00", 1200), ("1.05:00:00", 104_400), ("00:00:00", 0)] {
            assert_eq!(seconds(text), Some(all));
            assert_eq!(time(all), text);
        }
        assert_eq!(seconds("soon"), None);
    }

    #[test]
    fn an_attribute_is_told_by_its_field() {
        let pool = "system.applicationHost/applicationPools/add[name='P']";
        let site = "system.applicationHost/sites/site[name='S']";
        for (place, attribute, field) in [
            (pool.to_owned(), "queueLength", "queue_length"),
            (pool.to_owned(), "name", "name"),
            (
                format!("{pool}/processModel"),
                "maxProcesses",
                "process_model.max_processes",
            ),
            (
                format!("{pool}/recycling/periodicRestart/schedule"),
                "value",
                SCHEDULE,
            ),
            (
                format!("{site}/application[path='/']"),
                "physicalPath",
                "physical_path",
            ),
            (format!("{site}/bindings"), "protocol", "bindings"),
            ("system.applicationHost/sites".to_owned(), "id", "key"),
        ] {
            assert_eq!(field_of(&place, attribute), field, "{place} {attribute}");
        }
    }

    #[test]
    fn bodies_are_flattened_and_put_together_again() {
        let body: Value = serde_json::json!({"a": {"b": {"c": 1}, "d": [1]}, "e": "x"});
        let flat = flat(body.as_object().unwrap());
        let mut again = Map::new();
        for (path, value) in flat {
            put(&mut again, &path, value);
        }
        assert_eq!(Value::Object(again), body);
    }
}
