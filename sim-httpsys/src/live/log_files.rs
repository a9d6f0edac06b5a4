//! The log files: a W3C log per site, and the HTTPERR log.
//!
//! What a line looks like and how a file is called is the business of [`crate::logging`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::rolling_file::{LogFault, RollingFile, newest};
use crate::api::LogPeriod;
use crate::clockwork::{Instant, UtcClock};
use crate::logging::{self, HttpErrRecord, LogEntry, W3cRecord};

/// How long a line may be kept back.
/// Assumed: a second; HTTP.sys is said to take up to a minute, which would make every reader wait.
const BEHIND_MAX: Duration = Duration::from_secs(1);

/// Where the error log lies below the simulated `C:\`.
/// Source: KB820729, `%SystemRoot%\System32\LogFiles\HTTPERR`.
pub(super) const ERROR_LOG_FOLDER: &str = "Windows/System32/LogFiles/HTTPERR";

/// Who is told of a log file that cannot be written: the root, and what is wrong.
pub type Telling = fn(&Path, &LogFault);

/// All log files.
#[derive(Debug)]
pub(super) struct LogFiles {
    root: PathBuf,
    telling: Telling,
    clock: UtcClock,
    /// The name of this machine.
    computer: String,
    sites: BTreeMap<String, SiteLog>,
    errors: ErrorLog,
    /// Since when something is kept back.
    behind_since: Option<Instant>,
}

impl LogFiles {
    pub(super) fn new(
        root: &Path,
        error_log_size_max: u64,
        clock: UtcClock,
        telling: Telling,
    ) -> Self {
        Self {
            root: root.to_owned(),
            telling,
            clock,
            computer: computer_name(),
            sites: BTreeMap::new(),
            errors: ErrorLog::new(root.join(ERROR_LOG_FOLDER), error_log_size_max),
            behind_since: None,
        }
    }

    /// Writes a line, or keeps it back for a while.
    pub(super) fn write(&mut self, entry: &LogEntry, now: Instant) {
        match entry {
            LogEntry::W3c(record) => {
                let directory = &record.settings.directory;
                if !self.sites.contains_key(directory) {
                    self.sites
                        .insert(directory.clone(), SiteLog::new(PathBuf::from(directory)));
                }
                let site = self
                    .sites
                    .get_mut(directory)
                    .expect("it was just put there");
                site.write(record, &self.computer, self.clock);
                tell(&mut site.file, self.telling, &self.root);
            }
            LogEntry::HttpErr(record) => {
                self.errors.write(record, self.clock);
                tell(&mut self.errors.file, self.telling, &self.root);
            }
        }
        self.behind_since.get_or_insert(now);
    }

    /// When lines that are kept back have to be written.
    pub(super) fn flush_due(&self) -> Option<Instant> {
        self.behind_since.map(|since| since + BEHIND_MAX)
    }

    /// Writes what has been kept back for long enough.
    pub(super) fn flush_if_due(&mut self, now: Instant) {
        if self.flush_due().is_some_and(|due| due <= now) {
            self.flush();
        }
    }

    /// Writes what is kept back.
    pub(super) fn flush(&mut self) {
        self.behind_since = None;
        let sites = self.sites.values_mut().map(|site| &mut site.file);
        for file in sites
            .chain([&mut self.errors.file])
            .filter(|file| file.is_behind())
        {
            file.flush();
            tell(file, self.telling, &self.root);
        }
    }
}

fn tell(file: &mut RollingFile, telling: Telling, root: &Path) {
    if let Some(fault) = file.take_fault() {
        telling(root, &fault);
    }
}

/// The W3C log of one site.
#[derive(Debug)]
struct SiteLog {
    file: RollingFile,
    /// The hour (UTC, since 1970) for which the present file was chosen: names change on the hour.
    hour: Option<u64>,
    /// What the present file's header says.
    fields: crate::api::LogFields,
    name: String,
    /// For logs that are rolled by size: the present file's number.
    number: u32,
}

impl SiteLog {
    fn new(directory: PathBuf) -> Self {
        let number = newest(&directory, "u_extend").unwrap_or(1);
        let fields = crate::api::LogFields(0);
        Self {
            file: RollingFile::new(directory),
            hour: None,
            fields,
            name: String::new(),
            number,
        }
    }

    fn write(&mut self, record: &W3cRecord, computer: &str, clock: UtcClock) {
        let settings = &record.settings;
        let utc = clock.utc(record.at);
        let hour = utc.unix_seconds() / 3600;
        let full = settings.period == LogPeriod::MaxSize
            && self.hour.is_some()
            && self.file.size() >= settings.truncate_size;
        if full {
            self.number += 1;
        }
        if full || self.hour != Some(hour) || self.fields != settings.fields {
            let name = logging::w3c_file_name(settings.period, utc, self.number);
            if name != self.name || self.fields != settings.fields {
                self.file.begin(&name);
                self.file
                    .append_header(|out| logging::w3c_header(settings.fields, utc, out));
                self.name = name;
                self.fields = settings.fields;
            }
            self.hour = Some(hour);
        }
        self.file
            .append(|out| logging::write_w3c_line(record, computer, out, clock.utc(record.at)));
    }
}

/// What the machine is called: `s-computername`; empty if nobody says.
fn computer_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname");
    name.unwrap_or_default().trim().to_owned()
}

/// The HTTPERR log.
#[derive(Debug)]
struct ErrorLog {
    file: RollingFile,
    size_max: u64,
    number: u32,
    open: bool,
}

impl ErrorLog {
    fn new(directory: PathBuf, size_max: u64) -> Self {
        let number = newest(&directory, "httperr").unwrap_or(1);
        Self {
            file: RollingFile::new(directory),
            size_max,
            number,
            open: false,
        }
    }

    fn write(&mut self, record: &HttpErrRecord, clock: UtcClock) {
        while !self.open || self.file.size() >= self.size_max {
            if self.open {
                self.number += 1;
            }
            self.open = true;
            self.file.begin(&logging::httperr_file_name(self.number));
            if self.file.size() < self.size_max {
                let utc = clock.utc(record.at);
                self.file
                    .append_header(|out| logging::httperr_header(utc, out));
            }
        }
        self.file
            .append(|out| logging::write_httperr_line(record, out, clock.utc(record.at)));
    }
}
