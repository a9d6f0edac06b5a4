//! Settings of logging and of limits that are read, shown and written, and that nothing goes by here.

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
                is_limited.then_some(UNTHROTTLED)
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

impl Configuration {
    /// The settings that are not the default and have no effect here, a sentence each.
    pub fn unheeded(&self) -> Vec<String> {
        let mut said = Vec::new();
        for (key, setting) in &self.settings.map {
            let value = &setting.value;
            let Some(instead) = instead_of(key, value) else {
                continue;
            };
            let text = format!("{key} {value} has no effect here: {instead}");
            if !said.contains(&text) {
                said.push(text);
            }
        }
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
        let effects = effects_of(&plain, &other, Personality::Iis10);
        assert!(!effects.is_empty());
        for effect in effects {
            assert_eq!(effect.kind, EffectKind::None, "{effect:?}");
            assert!(effect.why.contains("no effect here"), "{effect:?}");
        }
    }
}
