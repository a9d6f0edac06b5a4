//! What W3SVC tells the driver of a site's log.

use std::path::Path;

use sim_httpsys::api::LogSettings;

use crate::config::physical_path::to_unix;
use crate::config::{Site, SiteLog};

/// Where and how a site's answered requests are logged: in a file of its own, or in that of all sites, if they
/// have one together.
///
/// Source: IIS configuration reference, `centralW3CLogFile`: the folder is `W3SVC`. Assumed: a site whose log is
/// switched off is in neither.
pub(super) fn log_settings(
    site: &Site,
    central: Option<&SiteLog>,
    root: &Path,
) -> Option<LogSettings> {
    let (log, folder) = match central {
        Some(log) => (log, "W3SVC".to_owned()),
        None => (&site.log_file, format!("W3SVC{}", site.id)),
    };
    if !site.log_file.enabled || !log.enabled {
        return None;
    }
    let path = to_unix(&log.settings.directory, root).join(folder);
    Some(LogSettings {
        directory: path.to_string_lossy().into_owned(),
        ..log.settings.clone()
    })
}
