//! Settings of logging and of limits that are read, shown and written, and that nothing goes by here.

use super::Configuration;
use super::settings::{Key, Scope};

/// What comes instead of a setting that is not heeded. Absent: `sslFlags`, of which only some are.
pub(super) fn instead_of(key: &Key) -> Option<&'static str> {
    match (&key.scope, key.section.as_str(), key.path.as_str()) {
        (Scope::Site(_), _, "logFile.logFormat") => Some("requests are logged in the W3C format"),
        (Scope::Site(_), _, path) if path.starts_with("logFile.customFields") => {
            Some("the log has the columns of logExtFileFlags only")
        }
        (Scope::Site(_), _, "limits.maxBandwidth")
        | (Scope::Location(_), "system.applicationHost/webLimits", "maxGlobalBandwidth") => {
            Some("bandwidth is not limited")
        }
        (Scope::Location(_), "system.webServer/httpLogging", "selectiveLogging") => {
            Some("every request is logged")
        }
        (
            Scope::Pool(_)
            | Scope::Site(_)
            | Scope::Application(..)
            | Scope::VirtualDirectory(..)
            | Scope::Location(_)
            | Scope::WebConfig(_),
            _,
            _,
        ) => None,
    }
}

impl Configuration {
    /// The settings that are not the default and have no effect here, a sentence each.
    pub fn unheeded(&self) -> Vec<String> {
        // Source: IIS schema: the defaults.
        let is_default = |value: &str| ["W3C", "LogAll", "4294967295"].contains(&value);
        let mut said = Vec::new();
        for (key, setting) in &self.settings.map {
            let Some(instead) = instead_of(key).filter(|_| !is_default(&setting.value)) else {
                continue;
            };
            let mut key = key.clone();
            // One sentence for all fields of a site.
            let value = if key.path.starts_with("logFile.customFields") {
                key.path.truncate("logFile.customFields".len());
                String::new()
            } else {
                format!(" {}", setting.value)
            };
            let text = format!("{key}{value} has no effect here: {instead}");
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
        let plain = text("4294967295", "logFormat=\"W3C\">");
        assert_eq!(plain.unheeded(), [""; 0]);
        let fields = "logFormat=\"NCSA\"><customFields><add logFieldName=\"a\" sourceName=\"b\" \
                      sourceType=\"RequestHeader\" /></customFields>";
        let other = text("5000", fields);
        assert_eq!(
            other.unheeded(),
            [
                "site 1: logFile.customFields has no effect here: the log has the columns of logExtFileFlags only",
                "site 1: logFile.logFormat NCSA has no effect here: requests are logged in the W3C format",
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
