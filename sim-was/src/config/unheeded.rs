//! Settings of logging and of limits that are read, shown and written, and that nothing goes by here.

use std::collections::{BTreeMap, BTreeSet};

use super::Configuration;
use super::settings::{Key, Scope};

/// What comes instead of a setting with a value that is not heeded. Absent: `sslFlags`, of which only some are.
pub(super) fn instead_of(key: &Key, value: &str) -> Option<&'static str> {
    match &key.scope {
        Scope::Site(_) => of_site(&key.path, value),
        Scope::Location(_) => match key.section.as_str() {
            "system.applicationHost/log" => of_log(&key.path, value),
            "system.applicationHost/webLimits" => {
                let is_limited = key.path == "maxGlobalBandwidth" && value != UNLIMITED;
                let is_timed = key.path == "connectionTimeout" && value != CONNECTION_TIMEOUT;
                let instead = is_limited.then_some(UNTHROTTLED);
                instead.or(is_timed.then_some("each site has a limit of its own"))
            }
            _ => None,
        },
        Scope::Pool(_)
        | Scope::Application(..)
        | Scope::VirtualDirectory(..)
        | Scope::WebConfig(_) => None,
    }
}

/// Source: IIS schema: the default of both limits.
const UNLIMITED: &str = "4294967295";
/// Source: IIS schema: its default.
const CONNECTION_TIMEOUT: &str = "00:02:00";
const UNTHROTTLED: &str = "bandwidth is not limited";

fn of_site(path: &str, value: &str) -> Option<&'static str> {
    let is_known_late = || value.contains("ResponseHeader") || value.contains("ServerVariable");
    match path {
        "logFile.logFormat" if value == "Custom" => {
            Some("there is no log plug-in, and requests are logged in the W3C format")
        }
        "logFile.logTargetW3C" if value.contains("ETW") => {
            Some("nothing is sent to ETW, only to a file")
        }
        "logFile.flushByEntryCountW3CLog" if value != "0" => {
            Some("lines are in the file within a second")
        }
        "logFile.logSiteId" if value == "false" => Some("sites are logged by their numbers"),
        "hsts.enabled" if value == "true" => {
            Some("no header is added to responses, and nothing is redirected")
        }
        "traceFailedRequestsLogging.enabled" if value == "true" => {
            Some("failed requests are not traced")
        }
        "limits.maxBandwidth" if value != UNLIMITED => Some(UNTHROTTLED),
        _ if path.starts_with("logFile.customFields") && is_known_late() => {
            Some("its column is empty, because only headers of the request are logged")
        }
        _ => None,
    }
}

fn of_log(path: &str, value: &str) -> Option<&'static str> {
    match path {
        "centralLogFileMode" if value == "CentralBinary" => Some("every site has a log of its own"),
        "logInUTF8" if value == "false" => Some("logs are written in UTF-8"),
        _ => None,
    }
}

/// The section with headers that are to be added.
const PROTOCOL: &str = "system.webServer/httpProtocol";
/// The section of URL Rewrite, which is no part of IIS and not of this one either.
const REWRITE: &str = "system.webServer/rewrite";

/// What has no effect as a whole, and is one sentence for all that stands in it at a place.
fn as_a_whole(key: &Key) -> Option<(&'static str, &'static str)> {
    let section = key.section.as_str();
    let of_rewrite = section.strip_prefix(REWRITE);
    match section {
        // Its installer declares a section for each kind of rules.
        _ if of_rewrite.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) => {
            Some(("", "URLs are not rewritten"))
        }
        PROTOCOL if key.path.starts_with("customHeaders.add[") => {
            Some(("customHeaders", "no header is added to responses"))
        }
        "system.webServer/security/authorization" if key.path.starts_with("add[") => {
            Some(("", "nobody can log on, and everybody is let in"))
        }
        _ => None,
    }
}

/// What modules would do that are not here; their sections restart applications all the same.
fn of_requests(key: &Key, value: &str) -> Option<&'static str> {
    let section = key.section.strip_prefix("system.webServer/")?;
    // Sections without a schema keep a value as it was typed.
    let is = |wanted: &str| value.eq_ignore_ascii_case(wanted);
    match (section, key.path.as_str()) {
        ("security/authentication/anonymousAuthentication", "enabled") if is("false") => {
            Some("everybody is let in, as nobody can log on")
        }
        ("security/access", "sslFlags") if !(value.is_empty() || is("None")) => {
            Some("requests over http are answered, too")
        }
        ("security/ipSecurity", "allowUnlisted") if is("false") => Some("every address is let in"),
        // The name of an entry without a schema is all that is written in it.
        ("security/ipSecurity", path) if path.to_lowercase().contains("allowed='false'") => {
            Some("every address is let in")
        }
        ("httpRedirect", "enabled") if is("true") => Some("nothing is redirected"),
        ("directoryBrowse", "enabled") if is("true") => {
            Some("no folder is listed, and one without a default document is 403.14")
        }
        ("httpErrors", path) if path.to_lowercase().ends_with("responsemode") => {
            (!is("File")).then_some("the worker's own page for the status is sent")
        }
        _ => None,
    }
}

impl Configuration {
    /// The settings that are not the default and have no effect here, a sentence each for the first three
    /// places, and how many more there are.
    pub fn unheeded(&self) -> Vec<String> {
        const PLACES_MAX: usize = 3;
        let mut places = BTreeMap::<&str, usize>::new();
        let (mut known, mut said) = (BTreeSet::new(), Vec::new());
        for (key, setting) in &self.settings.map {
            let value = &setting.value;
            let (text, instead) = if let Some(instead) = instead_of(key, value) {
                let text = format!("{key} {value} has no effect here: {instead}");
                (text, instead)
            } else if let Some((path, instead)) = as_a_whole(key) {
                let mut section = key.clone();
                path.clone_into(&mut section.path);
                let text = format!("{section} has no effect here: {instead}");
                (text, instead)
            } else if let Some(instead) = of_requests(key, value) {
                let text = format!("{key} {value} has no effect on requests here: {instead}");
                (text, instead)
            } else {
                continue;
            };
            if known.insert(text.clone()) {
                let count = places.entry(instead).or_default();
                *count += 1;
                if *count <= PLACES_MAX {
                    said.push(text);
                }
            }
        }
        let more = places.iter().filter(|(_, count)| **count > PLACES_MAX);
        said.extend(more.map(|(instead, count)| {
            let more = count - PLACES_MAX;
            format!("so it is with {more} more settings: {instead}")
        }));
        said
    }
}

#[cfg(test)]
mod tests {
    use crate::config::effects::{EffectKind, effects_of};
    use crate::config::load;
    use crate::model::Personality;

    #[test]
    fn what_has_no_effect_is_said() {
        let text = |limits: &str, log: &str| {
            let text = format!(
                r#"<configuration><system.applicationHost>
                <webLimits maxGlobalBandwidth="{limits}" />
                <applicationPools><add name="DefaultAppPool" /></applicationPools>
                <sites><site name="S" id="1"><application path="/"><virtualDirectory path="/" physicalPath="C:\s" />
                </application><logFile {log}</logFile></site></sites></system.applicationHost></configuration>"#
            );
            load(&text, "x").unwrap()
        };
        let field = |kind: &str| {
            format!(
                "<customFields><add logFieldName=\"a\" sourceName=\"b\" sourceType=\"{kind}\" /></customFields>"
            )
        };
        let plain = text("4294967295", "logFormat=\"W3C\">");
        assert_eq!(plain.unheeded(), [""; 0]);
        let heeded = format!("logFormat=\"NCSA\">{}", field("RequestHeader"));
        assert_eq!(text("4294967295", &heeded).unheeded(), [""; 0]);
        let fields = format!("logFormat=\"Custom\">{}", field("ServerVariable"));
        let other = text("5000", &fields);
        assert_eq!(
            other.unheeded(),
            [
                "site 1: logFile.customFields.add[logFieldName='a'].sourceType ServerVariable has no effect here: its column is empty, because only headers of the request are logged",
                "site 1: logFile.logFormat Custom has no effect here: there is no log plug-in, and requests are logged in the W3C format",
                "system.applicationHost/webLimits: maxGlobalBandwidth 5000 has no effect here: bandwidth is not limited",
            ]
        );
        let silent = r#"<configuration><system.applicationHost><webLimits connectionTimeout="00:00:03" />
            <sites><site name="S" id="1"><hsts enabled="true" /><traceFailedRequestsLogging enabled="true" />
            </site></sites></system.applicationHost></configuration>"#;
        assert_eq!(
            load(silent, "x").unwrap().unheeded(),
            [
                "site 1: hsts.enabled true has no effect here: no header is added to responses, and nothing is redirected",
                "site 1: traceFailedRequestsLogging.enabled true has no effect here: failed requests are not traced",
                "system.applicationHost/webLimits: connectionTimeout 00:00:03 has no effect here: each site has a limit of its own",
            ]
        );
        let modules = r#"<configuration><system.webServer><security><access sslFlags="Ssl, SslNegotiateCert" />
            <authentication><anonymousAuthentication enabled="false" /></authentication>
            <ipSecurity allowUnlisted="false" /></security><httpRedirect enabled="false" destination="/x" />
            <httpProtocol><customHeaders><clear /><add name="A" value="b" /><add name="C" value="d" /></customHeaders>
            </httpProtocol><directoryBrowse enabled="true" />
            <httpErrors><error statusCode="404" path="/a" responseMode="ExecuteURL" />
            <error statusCode="500" path="b.htm" responseMode="File" /></httpErrors>
            <rewrite><rules><rule name="a"><match url="x" /></rule><rule name="b" /></rules></rewrite></system.webServer>
            <location path="S"><system.webServer><httpRedirect enabled="true" /></system.webServer></location></configuration>"#;
        assert_eq!(
            load(modules, "x").unwrap().unheeded(),
            [
                "system.webServer/directoryBrowse: enabled true has no effect on requests here: no folder is listed, and one without a default document is 403.14",
                "system.webServer/httpErrors: error[statusCode='404'].responseMode ExecuteURL has no effect on requests here: the worker's own page for the status is sent",
                "system.webServer/httpProtocol: customHeaders has no effect here: no header is added to responses",
                "system.webServer/rewrite has no effect here: URLs are not rewritten",
                "system.webServer/security/access: sslFlags Ssl, SslNegotiateCert has no effect on requests here: requests over http are answered, too",
                "system.webServer/security/authentication/anonymousAuthentication: enabled false has no effect on requests here: everybody is let in, as nobody can log on",
                "system.webServer/security/ipSecurity: allowUnlisted false has no effect on requests here: every address is let in",
                "system.webServer/httpRedirect for \"s\": enabled true has no effect on requests here: nothing is redirected",
            ]
        );
        let declared = r#"<configuration><configSections><sectionGroup name="system.webServer">
            <sectionGroup name="rewrite"><section name="rules" /></sectionGroup>
            <sectionGroup name="security"><section name="ipSecurity" /><section name="authorization" /></sectionGroup>
            </sectionGroup></configSections><system.webServer>
            <rewrite><rules><rule name="a"><match url="x" /></rule></rules></rewrite>
            <security><ipSecurity><add ipAddress="127.0.0.1" allowed="False" /></ipSecurity>
            <authorization><add accessType="Deny" users="*" /></authorization></security></system.webServer></configuration>"#;
        let said = load(declared, "x").unwrap().unheeded();
        for instead in [
            "URLs are not rewritten",
            "every address is let in",
            "everybody is let in",
        ] {
            let of_it = said.iter().filter(|text| text.ends_with(instead));
            assert_eq!(of_it.count(), 1, "{instead}: {said:#?}");
        }
        let place = |n| {
            format!(
                "<location path=\"S/{n}\"><system.webServer><httpRedirect enabled=\"true\" /></system.webServer></location>"
            )
        };
        let places = (0..20).map(place).collect::<Vec<_>>().concat();
        let many = load(&format!("<configuration>{places}</configuration>"), "x").unwrap();
        assert_eq!(many.unheeded().len(), 4);
        assert_eq!(
            many.unheeded()[3],
            "so it is with 17 more settings: nothing is redirected"
        );
        let effects = effects_of(&plain, &other, Personality::Iis10);
        assert!(!effects.is_empty());
        for effect in effects {
            assert_eq!(effect.kind, EffectKind::None, "{effect:?}");
            assert!(effect.why.contains("no effect here"), "{effect:?}");
        }
    }
}
