//! Whether the logs of a server can be held against the book of its clients.

use sim_httpsys::api::LogFormat;
use sim_was::config::{Configuration, Site, SiteLog};
use sim_worker::configuration::{PathSettings, RequestLogging};

/// The columns that tell whose line it is, and of what: `cs(User-Agent)`, `sc-status`.
const COLUMNS: [u32; 2] = [65_536, 1_024];
/// Where logs are looked for.
const DIRECTORY: &str = r"%SystemDrive%\inetpub\logs\LogFiles";

/// Why there is not a line that can be read for every answered request, if there is not.
pub fn log_gap(configuration: &Configuration) -> Option<String> {
    let central = configuration.central_log.as_ref();
    let gap = |site: &Site| {
        let why = gap_of(site, central)?;
        Some(format!("site '{}' {why}", site.name))
    };
    configuration.sites.iter().find_map(gap)
}

fn gap_of(site: &Site, central: Option<&SiteLog>) -> Option<&'static str> {
    let log = central.unwrap_or(&site.log_file);
    let logs_all = |settings: &PathSettings| settings.logging == RequestLogging::All;
    let mut applications = site.applications.iter();
    if !(site.log_file.enabled && log.enabled) {
        Some("has no log file")
    } else if log.settings.format != LogFormat::W3c {
        Some("has no W3C log")
    } else if !COLUMNS.iter().all(|bit| log.settings.fields.has(*bit)) {
        Some("logs without cs(User-Agent) or sc-status")
    } else if !log.settings.directory.eq_ignore_ascii_case(DIRECTORY) {
        Some("has its log in another folder")
    } else if !applications.all(|app| logs_all(&app.settings) && app.paths.values().all(logs_all)) {
        Some("does not log every request")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::scenario::{Operation, Scenario};

    fn gap(set: &str) -> Option<String> {
        let text = format!(
            "name = \"logs\"\n[server]\nset = [\"{set}\"]\n[load]\nrate = 10\nmix = [{{ url = \"/\" }}]\n"
        );
        let scenario = Scenario::parse(&text, "logs.toml", Path::new(".")).unwrap();
        scenario.served(Operation::ConfigChange).unwrap().log_gap()
    }

    #[test]
    fn a_log_that_does_not_say_everything_is_named() {
        let log = "system.applicationHost/sites[name='Default Web Site'].logFile";
        for (set, why) in [
            (
                "system.applicationHost/webLimits.headerWaitTimeout:00:00:01",
                None,
            ),
            (
                "system.applicationHost/log.centralLogFileMode:CentralW3C",
                None,
            ),
            (&format!("{log}.enabled:false"), Some("has no log file")),
            (&format!("{log}.logFormat:NCSA"), Some("has no W3C log")),
            (
                &format!("{log}.directory:C:\\\\logs"),
                Some("has its log in another folder"),
            ),
            (
                &format!("{log}.logExtFileFlags:Date,Time,HttpStatus"),
                Some("logs without cs(User-Agent) or sc-status"),
            ),
            (
                "system.webServer/httpLogging.dontLog:true",
                Some("does not log every request"),
            ),
        ] {
            let expected = why.map(|why| format!("site 'Default Web Site' {why}"));
            assert_eq!(gap(set), expected, "{set}");
        }
    }
}
