//! Where and how a site's answered requests are logged.

use serde::{Deserialize, Serialize};

/// Where and how a site's answered requests are logged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogSettings {
    /// The folder, as a path of this machine (…/LogFiles/W3SVC1).
    pub directory: String,
    /// What a line looks like.
    pub format: LogFormat,
    /// The columns of a W3C log (`logExtFileFlags`).
    pub fields: LogFields,
    /// What a W3C line says after them (`customFields`).
    pub custom_fields: Vec<CustomLogField>,
    /// When a new file is begun.
    pub period: LogPeriod,
    /// For [`LogPeriod::MaxSize`]: the size at which a new file is begun, in bytes.
    pub truncate_size: u64,
    /// Whether the days, weeks and months of a W3C log are those of local time (`localTimeRollover`).
    pub is_local: bool,
    /// The longest line of a W3C log, its end included, in bytes (`maxLogLineLength`).
    pub line_max: u32,
    /// The longest custom field, in bytes (`maxCustomFieldLength`).
    pub custom_field_max: u32,
}

impl LogSettings {
    /// A daily W3C log with the default columns. Source: IIS 10 schema, `logFile`.
    pub fn daily(directory: String) -> Self {
        Self {
            directory,
            format: LogFormat::W3c,
            fields: LogFields::DEFAULT,
            custom_fields: Vec::new(),
            period: LogPeriod::Daily,
            truncate_size: 20 << 20,
            is_local: false,
            line_max: 65_536,
            custom_field_max: 4_096,
        }
    }
}

/// What the lines of a site's log look like (`logFormat`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogFormat {
    /// W3C extended: columns by choice. The default.
    W3c,
    /// The fixed, comma-separated format of IIS.
    Iis,
    /// NCSA common.
    Ncsa,
}

/// A column of a W3C log that shows a header of the request (`customFields`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustomLogField {
    /// What the column is called.
    pub name: String,
    /// The header's name; `None` for a column that is always empty.
    pub header: Option<String>,
}

/// A set of W3C log columns, by the bits of `logExtFileFlags`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LogFields(pub u32);

impl LogFields {
    /// Source: IIS 10 schema, `logExtFileFlags`, default: `Date, Time, ClientIP, UserName, ServerIP,
    /// Method, UriStem, UriQuery, TimeTaken, HttpStatus, Win32Status, ServerPort, UserAgent,
    /// HttpSubStatus, Referer`.
    pub const DEFAULT: Self = Self(
        1 | 2
            | 4
            | 8
            | 64
            | 128
            | 256
            | 512
            | 16384
            | 1024
            | 2048
            | 32768
            | 65536
            | 2_097_152
            | 262_144,
    );

    /// Whether the column with this bit is in the set.
    pub fn has(self, bit: u32) -> bool {
        self.0 & bit != 0
    }
}

/// When a new W3C log file is begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogPeriod {
    /// At a size.
    MaxSize,
    /// At midnight UTC. The default.
    Daily,
    /// Every week.
    Weekly,
    /// Every month.
    Monthly,
    /// Every hour.
    Hourly,
}
