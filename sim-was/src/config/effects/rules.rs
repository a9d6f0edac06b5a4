//! The table: a setting, what changing it causes, and where Microsoft says so.

use super::EffectKind;
use crate::config::ApplicationPool;
use crate::config::settings::{DECLARATIONS, Difference, OVERRIDE_MODE, Scope};
use crate::config::unheeded;
use crate::model::Personality;

/// What a change causes, and why.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub(super) kind: EffectKind,
    pub(super) why: String,
    pub(super) source: &'static str,
}

impl Rule {
    fn new(kind: EffectKind, why: &str, source: &'static str) -> Self {
        Self {
            kind,
            why: why.to_owned(),
            source,
        }
    }
}

const RECYCLES: &str = "owscott, \"Application Pool Recycles from IIS 7 Setting Changes\": time, idle time-out, ping interval, limits, orphan action, CLR, pipeline mode, 32 bit, CPU limit and affinity, identity";
const METABASE: &str =
    "TechNet cc780868: metabase changes of a pool notify W3SVC, which recycles it";
const REFERENCE: &str = "IIS configuration reference";
const LOCKING: &str = "IIS configuration reference, \"How to use locking in IIS configuration\"";
const GETTING_STARTED: &str =
    "Microsoft, \"Getting started with configuration in IIS 7 and above\"";
const ASP_NET: &str = ".NET reference source, ApplicationShutdownReason ConfigurationChange";
const ASSUMED: &str = "assumed: no document says; like its neighbours";

/// Settings of a pool that it takes up without a new process; the rest recycles it.
///
/// Source: owscott's list of attributes that recycle names the others; IIS configuration reference: the
/// queue length is HTTP.sys's.
const POOL_LIVE: [(&str, &str); 11] = [
    (
        "queueLength",
        "W3SVC sets the new limit on the queue in HTTP.sys; what waits stays.",
    ),
    (
        "autoStart",
        "It says whether the pool is started with WAS: it matters at the next start.",
    ),
    (
        "startMode",
        "WAS starts a worker now if the pool is to be always running; a running one stays.",
    ),
    (
        "failure.loadBalancerCapabilities",
        "HTTP.sys answers for the pool in the new way from now on.",
    ),
    (
        "failure.rapidFailProtection",
        "WAS counts failures by the new rule from now on.",
    ),
    (
        "failure.rapidFailProtectionInterval",
        "WAS counts failures by the new rule from now on.",
    ),
    (
        "failure.rapidFailProtectionMaxCrashes",
        "WAS counts failures by the new rule from now on.",
    ),
    (
        "failure.autoShutdownExe",
        "WAS runs the new program when rapid-fail protection trips.",
    ),
    (
        "failure.autoShutdownParams",
        "WAS runs the program with the new parameters when rapid-fail protection trips.",
    ),
    (
        "recycling.disallowOverlappingRotation",
        "The next recycle goes by it.",
    ),
    (
        "recycling.disallowRotationOnConfigChange",
        "The next change of the pool goes by it.",
    ),
];

/// What a difference causes.
///
/// `pool_of_it` is the pool as it is then, if it is one that differs; what `is_own` is kept from child applications.
pub(super) fn rule(
    difference: &Difference,
    pool_of_it: Option<&ApplicationPool>,
    is_own: bool,
    personality: Personality,
) -> Rule {
    let (path, section) = (
        difference.key.path.as_str(),
        difference.key.section.as_str(),
    );
    let value = difference.new.as_ref().or(difference.old.as_ref());
    let value = value.map_or("", String::as_str);
    if let Some(instead) = unheeded::instead_of(&difference.key, value) {
        let why = format!("It has no effect here: {instead}.");
        return Rule::new(EffectKind::None, &why, REFERENCE);
    }
    match &difference.key.scope {
        Scope::Pool(_) if path.is_empty() => existence_of_pool(difference, pool_of_it),
        Scope::Pool(_) => pool(path, personality),
        Scope::Site(_) => site(path),
        Scope::Application(..) => application(path),
        Scope::VirtualDirectory(..) => directory(path),
        Scope::Location(location) => {
            let rule = of_section(section, path, location, personality);
            if is_own && rule.kind == EffectKind::ApplicationRestart {
                of_own_section()
            } else {
                rule
            }
        }
        Scope::WebConfig(_) => Rule::new(
            EffectKind::ApplicationRestart,
            "The application watches its web.config and restarts, and so do applications below that inherit from it; the process stays.",
            ASP_NET,
        ),
    }
}

fn existence_of_pool(difference: &Difference, new: Option<&ApplicationPool>) -> Rule {
    if let (Some(_), None) = (&difference.old, &difference.new) {
        return Rule::new(
            EffectKind::Live,
            "The pool is gone: its workers are told to stop, and its queue is closed; other pools are not touched.",
            REFERENCE,
        );
    }
    let worker = match new {
        Some(pool) if !pool.auto_start => "it stays stopped until it is started",
        Some(pool) if pool.always_running => {
            "its worker is started at once, because its startMode is AlwaysRunning"
        }
        Some(_) | None => "the first request brings its worker",
    };
    let why = format!("WAS takes the pool in and W3SVC makes its queue; {worker}.");
    Rule::new(EffectKind::Live, &why, REFERENCE)
}

fn pool(path: &str, personality: Personality) -> Rule {
    if let Some((_, why)) = POOL_LIVE.iter().find(|(name, _)| *name == path) {
        return Rule::new(
            EffectKind::Live,
            why,
            "IIS configuration reference, applicationPools/add",
        );
    }
    if [
        "recycling.logEventOnRecycle",
        "processModel.logEventOnProcessModel",
    ]
    .contains(&path)
    {
        return Rule::new(EffectKind::Live, "The next event goes by it.", REFERENCE);
    }
    let listed = path.starts_with("recycling.periodicRestart.")
        || path.starts_with("cpu.")
        || path.starts_with("failure.orphan")
        || path.starts_with("processModel.identity")
        || [
            "processModel.idleTimeout",
            "processModel.pingInterval",
            "processModel.startupTimeLimit",
            "processModel.shutdownTimeLimit",
            "processModel.userName",
            "processModel.password",
            "managedRuntimeVersion",
            "managedPipelineMode",
            "enable32BitAppOnWin64",
        ]
        .contains(&path);
    let source = match (listed, personality) {
        (true, Personality::Iis10) => RECYCLES,
        (true, Personality::Iis6) => METABASE,
        (false, _) if path.starts_with("environmentVariables") => {
            "assumed: a process is given its environment when it is created"
        }
        (false, _) => ASSUMED,
    };
    Rule::new(
        EffectKind::PoolRecycle,
        "WAS recycles the pool, because its worker processes were started with the old value (event 5080).",
        source,
    )
}

fn site(path: &str) -> Rule {
    if path.is_empty() {
        return Rule::new(
            EffectKind::SiteRebind,
            "A site comes, goes or is renamed: W3SVC changes its URLs in HTTP.sys; no worker is recycled and no other site is touched. The applications of one that goes, or gets another id, end with their sessions and caches.",
            GETTING_STARTED,
        );
    }
    if path.starts_with("bindings.") {
        return Rule::new(
            EffectKind::SiteRebind,
            "W3SVC registers the site's URLs anew; only this binding opens or closes.",
            GETTING_STARTED,
        );
    }
    if path.starts_with("ftpServer.") {
        return Rule::new(
            EffectKind::None,
            "Neither WAS nor W3SVC nor the workers read this part of a site; it belongs to the FTP service.",
            REFERENCE,
        );
    }
    if path == "limits.maxBandwidth" {
        return unthrottled();
    }
    if path == "serverAutoStart" {
        return Rule::new(
            EffectKind::Live,
            "It says whether the site is started with W3SVC: it matters at the next start.",
            REFERENCE,
        );
    }
    Rule::new(
        EffectKind::Live,
        "W3SVC sets it on the site's URL groups in HTTP.sys; connections stay.",
        REFERENCE,
    )
}

/// Responses are sent as fast as their clients take them.
fn unthrottled() -> Rule {
    Rule::new(
        EffectKind::None,
        "IIS would have HTTP.sys throttle responses from now on; the simulated one does not, so that it has no effect here.",
        REFERENCE,
    )
}

fn application(path: &str) -> Rule {
    match path {
        "" => Rule::new(
            EffectKind::SiteRebind,
            "An application comes or goes: W3SVC changes its URLs in HTTP.sys, and running workers are told; nothing is recycled.",
            GETTING_STARTED,
        ),
        "applicationPool" => Rule::new(
            EffectKind::ApplicationRestart,
            "The application stops in its old pool and starts in the new one with its next request; neither pool is recycled.",
            "IIS native API reference, GL_APPLICATION_STOP",
        ),
        "enabledProtocols" => Rule::new(
            EffectKind::SiteRebind,
            "The application's URLs are registered or removed.",
            REFERENCE,
        ),
        _ => Rule::new(
            EffectKind::NextWorkerStart,
            "It is looked at when a worker process starts.",
            REFERENCE,
        ),
    }
}

/// An application is moved, and there is no pool where it goes.
pub(super) fn moved_nowhere(pool: &str, stopped_site: Option<&str>) -> Rule {
    let ignored = format!(
        "There is no application pool '{pool}': the application stops in its old pool and is ignored (event 5179)"
    );
    let why = match stopped_site {
        Some(site) => format!(
            "{ignored}. It is the root application, so '{site}' is stopped: a site cannot run without."
        ),
        None => format!(
            "{ignored}; its URLs go to the application above it. Nothing else of the site is touched."
        ),
    };
    Rule {
        kind: EffectKind::SiteRebind,
        why,
        source: GETTING_STARTED,
    }
}

/// An application is moved, and there was no pool where it comes from.
pub(super) fn moved_from_nowhere(pool: &str) -> Rule {
    let why = format!(
        "There was no application pool '{pool}', so that the application was ignored: it comes now, and so does its site if it is the root application."
    );
    Rule {
        kind: EffectKind::SiteRebind,
        why,
        source: GETTING_STARTED,
    }
}

/// A site has another name than before, and locations have not gone with it.
pub(super) fn renamed_without(lost: bool, gained: bool) -> Rule {
    let lost = if lost {
        "The locations keep the old name: what they say is lost for the site's applications. "
    } else {
        ""
    };
    let gained = if gained {
        "Locations have the new name already: what they say holds for the site's applications from now on. "
    } else {
        ""
    };
    Rule {
        kind: EffectKind::ApplicationRestart,
        why: format!(
            "{lost}{gained}They restart in their processes with what holds for them now; nothing is recycled."
        ),
        source: "IIS configuration reference, location: path is the name of the site and a path in it",
    }
}

fn directory(path: &str) -> Rule {
    match path {
        "" => Rule::new(
            EffectKind::Live,
            "A virtual directory comes or goes: running workers are told; nothing restarts.",
            GETTING_STARTED,
        ),
        "physicalPath" => Rule::new(
            EffectKind::ApplicationRestart,
            "The application restarts in the same process, because its physical path changed.",
            ".NET reference source, ApplicationShutdownReason PhysicalApplicationPathChanged",
        ),
        "userName" | "password" | "logonMethod" => Rule::new(
            EffectKind::ApplicationRestart,
            "The worker would read the directory's files as another user: the application restarts in the same process, because nothing that was read with the old credentials is to stay.",
            ASSUMED,
        ),
        "allowSubDirConfig" => Rule::new(
            EffectKind::ApplicationRestart,
            "It says whether a web.config in a folder below the directory counts: the application restarts in the same process, because its configuration is another one.",
            ASP_NET,
        ),
        _ => Rule::new(
            EffectKind::ApplicationRestart,
            "The application restarts in the same process, because its configuration is another one.",
            ASSUMED,
        ),
    }
}

/// Source: IIS configuration reference, `location`: `inheritInChildApplications`.
fn of_own_section() -> Rule {
    Rule::new(
        EffectKind::ApplicationRestart,
        "The section holds for the application that it is in, and not for those below it (inheritInChildApplications is false): that one restarts in its process; nothing is recycled.",
        "IIS configuration reference, location: inheritInChildApplications",
    )
}

fn of_section(section: &str, path: &str, location: &str, personality: Personality) -> Rule {
    let whose = if location.is_empty() {
        "every application"
    } else {
        "the applications below it"
    };
    match section {
        // Source: IIS configuration reference, "How to use locking in IIS configuration".
        DECLARATIONS => Rule::new(
            EffectKind::Live,
            "It says who may have the section: an application whose web.config has one that is not allowed there answers 500.19 from now on, and serves again once it is allowed.",
            LOCKING,
        ),
        _ if path == OVERRIDE_MODE => Rule::new(
            EffectKind::Live,
            &format!(
                "It says whether a web.config may have the section: of {whose}, those whose web.config has it although it is locked answer 500.19 from now on."
            ),
            LOCKING,
        ),
        "system.applicationHost/webLimits" if path == "maxGlobalBandwidth" => unthrottled(),
        "system.applicationHost/webLimits" if path == "dynamicRegistrationThreshold" => Rule::new(
            EffectKind::None,
            "It would hold when WAS starts again: beyond it, a site's URLs are registered when it is first asked for. Here all sites are registered at once, so that it has no effect.",
            "IIS configuration reference, webLimits: dynamicRegistrationThreshold",
        ),
        "system.applicationHost/webLimits" | "system.applicationHost/log"
            if personality == Personality::Iis6 =>
        {
            Rule::new(
                EffectKind::ServiceRestart,
                "W3SVC reads its own settings when it starts.",
                "TechNet cc780868: some W3SVC-level settings need a service restart",
            )
        }
        "system.applicationHost/webLimits" => Rule::new(
            EffectKind::Live,
            "W3SVC and WAS go by the new limit from now on.",
            REFERENCE,
        ),
        "system.applicationHost/log" => Rule::new(
            EffectKind::ServiceRestart,
            "W3SVC opens the log that all sites share when it starts.",
            ASSUMED,
        ),
        "system.applicationHost/configHistory" => Rule::new(
            EffectKind::Live,
            "The Application Host Helper Service goes by it from now on.",
            REFERENCE,
        ),
        "system.webServer/globalModules" | "system.webServer/isapiFilters" => {
            native_module(section, personality)
        }
        _ if section.starts_with("system.webServer") || section.starts_with("system.web/") => {
            Rule::new(
                EffectKind::ApplicationRestart,
                &format!(
                    "The section holds for {whose}, which restart in their processes; nothing is recycled."
                ),
                "IIS native API reference, OnGlobalConfigurationChange; .NET reference source: \"IIS configuration change\"",
            )
        }
        _ if section.starts_with("configProtectedData") => Rule::new(
            EffectKind::None,
            "It says how encrypted sections are to be read, and the simulated services read none.",
            ASSUMED,
        ),
        _ => Rule::new(
            EffectKind::None,
            "Neither WAS nor W3SVC nor the workers read this section; it belongs to another service or module.",
            REFERENCE,
        ),
    }
}

fn native_module(section: &str, personality: Personality) -> Rule {
    if personality == Personality::Iis6 && section.ends_with("isapiFilters") {
        return Rule::new(
            EffectKind::ServiceRestart,
            "Filters of the whole server are loaded when the service starts.",
            "TechNet cc780868: ISAPI filter changes at server level need a service restart",
        );
    }
    Rule::new(
        EffectKind::PoolRecycle,
        "A native module is loaded into a worker process when it starts: the pools recycle.",
        "Microsoft, IIS modules overview: the list of global modules",
    )
}
