//! The logs of answered requests: `site/logFile`, and `log`, where all sites have one together.

use sim_httpsys::api::{CustomLogField, LogFields, LogFormat, LogPeriod, LogSettings};

use super::SiteLog;
use super::layers::Layers;

/// The bit of `logTargetW3C` for a file.
const FILE: u32 = 1;

/// How a site logs for itself.
///
/// Assumed: a format that a plug-in brings (`Custom`) is W3C, as there are no plug-ins here.
pub(super) fn of_site(log: &Layers<'_>) -> SiteLog {
    let format = match log.number("logFormat") {
        0 => LogFormat::Iis,
        1 => LogFormat::Ncsa,
        _ => LogFormat::W3c,
    };
    let custom = log.child("customFields");
    let custom_fields = custom.entries("add", false).0;
    // Source: IIS 8.5, `logTargetW3C`: W3C lines may go to ETW alone; nobody reads that here.
    let is_in_file = format != LogFormat::W3c || log.number("logTargetW3C") & FILE != 0;
    SiteLog {
        enabled: log.flag("enabled") && is_in_file,
        settings: LogSettings {
            format,
            custom_fields: custom_fields.iter().map(custom_field).collect(),
            custom_field_max: custom.number("maxCustomFieldLength"),
            line_max: log.number("maxLogLineLength"),
            ..file(log)
        },
    }
}

/// The log of all sites, if they have one together.
pub(super) fn central(log: &Layers<'_>) -> Option<SiteLog> {
    // Source: IIS schema: Site 0, CentralBinary 1, CentralW3C 2.
    if log.number("centralLogFileMode") != 2 {
        return None;
    }
    let log = log.child("centralW3CLogFile");
    Some(SiteLog {
        enabled: log.flag("enabled"),
        settings: file(&log),
    })
}

/// What both have.
fn file(log: &Layers<'_>) -> LogSettings {
    LogSettings {
        fields: LogFields(log.number("logExtFileFlags")),
        period: match log.number("period") {
            0 => LogPeriod::MaxSize,
            2 => LogPeriod::Weekly,
            3 => LogPeriod::Monthly,
            4 => LogPeriod::Hourly,
            _ => LogPeriod::Daily,
        },
        truncate_size: log.long("truncateSize"),
        is_local: log.flag("localTimeRollover"),
        ..LogSettings::daily(log.text("directory"))
    }
}

/// Of the three kinds of source only a header of the request is known when the line is written.
fn custom_field(field: &Layers<'_>) -> CustomLogField {
    let is_request_header = field.number("sourceType") == 0;
    CustomLogField {
        name: field.text("logFieldName"),
        header: is_request_header.then(|| field.text("sourceName")),
    }
}
