//! The sections that every server has, whatever its own file declares: those of ASP.NET.
//!
//! Absent on purpose: what machine.config declares for other parts of the .NET Framework (`system.serviceModel`,
//! `system.diagnostics` …), which no web server looks at.

use super::outline::Outline;

/// The sections, and what is known of their collections.
///
/// Source: machine.config of the .NET Framework 4, `configSections`; the keys are those of its configuration
/// reference. Those that have a schema (`system.web/compilation` …) are not here.
pub(super) const OUTLINES: &[Outline] = &[
    ("appSettings", &["add[] key"]),
    ("connectionStrings", &["add[] name"]),
    ("system.net/mailSettings/smtp", &[]),
    ("system.web/anonymousIdentification", &[]),
    (
        "system.web/authentication",
        &["forms.credentials.user[] name"],
    ),
    // Order tells here, and the same rule may be there twice.
    ("system.web/authorization", &["allow[]", "deny[]"]),
    ("system.web/browserCaps", &[]),
    ("system.web/caching/outputCache", &["providers.add[] name"]),
    (
        "system.web/caching/outputCacheSettings",
        &["outputCacheProfiles.add[] name"],
    ),
    (
        "system.web/caching/sqlCacheDependency",
        &["databases.add[] name"],
    ),
    ("system.web/clientTarget", &["add[] alias"]),
    ("system.web/customErrors", &["error[] statusCode"]),
    ("system.web/deployment", &[]),
    ("system.web/deviceFilters", &["filter[] name"]),
    ("system.web/fullTrustAssemblies", &[]),
    ("system.web/globalization", &[]),
    (
        "system.web/healthMonitoring",
        &[
            "bufferModes.add[] name",
            "eventMappings.add[] name",
            "profiles.add[] name",
            "providers.add[] name",
            "rules.add[] name",
        ],
    ),
    ("system.web/httpCookies", &[]),
    ("system.web/httpHandlers", &["add[] path verb"]),
    ("system.web/httpModules", &["add[] name"]),
    ("system.web/identity", &[]),
    ("system.web/machineKey", &[]),
    ("system.web/membership", &["providers.add[] name"]),
    ("system.web/mobileControls", &["device[] name"]),
    ("system.web/pages", &["namespaces.add[] namespace"]),
    ("system.web/partialTrustVisibleAssemblies", &[]),
    ("system.web/processModel", &[]),
    (
        "system.web/profile",
        &[
            "providers.add[] name",
            "properties.add[] name",
            "properties.group[] name",
            "properties.group[].add[] name",
        ],
    ),
    ("system.web/protocols", &["add[] name"]),
    ("system.web/roleManager", &["providers.add[] name"]),
    ("system.web/securityPolicy", &["trustLevel[] name"]),
    ("system.web/sessionPageState", &[]),
    ("system.web/siteMap", &["providers.add[] name"]),
    ("system.web/trace", &[]),
    ("system.web/trust", &[]),
    ("system.web/urlMappings", &["add[] url"]),
    ("system.web/webControls", &[]),
    (
        "system.web/webParts",
        &[
            "personalization.providers.add[] name",
            "transformers.add[] name",
        ],
    ),
    ("system.web/webServices", &["protocols.add[] name"]),
    ("system.web/xhtmlConformance", &[]),
];

/// Down to which level a section may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AllowDefinition {
    /// At every level, folders included.
    Everywhere,
    /// Down to the web.config of an application.
    MachineToApplication,
    /// In the files of the .NET Framework.
    MachineToWebRoot,
    /// In machine.config.
    MachineOnly,
}

impl AllowDefinition {
    /// What machine.config says of a section.
    ///
    /// Source: machine.config of the .NET Framework 4, `allowDefinition`; the configuration reference of each section
    /// repeats it.
    pub(super) fn of(section: &str) -> Self {
        const TO_APPLICATION: [&str; 19] = [
            "anonymousIdentification",
            "authentication",
            "caching/cache",
            "caching/outputCache",
            "caching/outputCacheSettings",
            "caching/sqlCacheDependency",
            "fullTrustAssemblies",
            "healthMonitoring",
            "hostingEnvironment",
            "machineKey",
            "membership",
            "partialTrustVisibleAssemblies",
            "profile",
            "roleManager",
            "securityPolicy",
            "sessionState",
            "siteMap",
            "trust",
            "urlMappings",
        ];
        match section.strip_prefix("system.web/") {
            Some("deployment" | "processModel") => Self::MachineOnly,
            Some("protocols") => Self::MachineToWebRoot,
            Some(name) if TO_APPLICATION.contains(&name) => Self::MachineToApplication,
            Some(_) | None => Self::Everywhere,
        }
    }
}

/// Whether machine.config declares a section that has no schema here.
pub(super) fn declares(section: &str) -> bool {
    names().any(|name| name == section)
}

/// The sections that machine.config declares, of those that have no schema here.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    OUTLINES.iter().map(|(name, _)| *name)
}
