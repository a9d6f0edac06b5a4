//! The log files: a log per site or one for all, and the HTTPERR log.
//!
//! What a line looks like and how a file is called is the business of [`crate::logging`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use jiff::tz::TimeZone;

use super::rolling_file::{LogFault, RollingFile, newest};
use crate::api::{LogFormat, LogPeriod, LogSettings};
use crate::clockwork::civil::Civil;
use crate::clockwork::{Instant, UtcClock, UtcTime};
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
    machine: Machine,
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
            machine: Machine {
                computer: computer_name(),
                zone: TimeZone::system(),
            },
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
                    self.sites.insert(directory.clone(), SiteLog::new(record));
                }
                let site = self
                    .sites
                    .get_mut(directory)
                    .expect("it was just put there");
                site.write(record, &self.machine, self.clock.utc(record.at));
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

/// Where the lines are written.
#[derive(Debug)]
struct Machine {
    computer: String,
    zone: TimeZone,
}

impl Machine {
    /// How far the wall clock is ahead, in seconds.
    fn offset(&self, utc: UtcTime) -> i32 {
        self.zone.to_offset(utc.timestamp()).seconds()
    }
}

/// The log of one site, or of all.
#[derive(Debug)]
struct SiteLog {
    file: RollingFile,
    /// The hour (UTC, since 1970) for which the present file was chosen: names change on the hour.
    hour: Option<u64>,
    /// Those by which the present file was chosen.
    settings: Rc<LogSettings>,
    name: String,
    /// For logs that are rolled by size: the present file's number.
    number: u32,
}

impl SiteLog {
    fn new(first: &W3cRecord) -> Self {
        let directory = PathBuf::from(&first.settings.directory);
        Self {
            hour: None,
            settings: Rc::clone(&first.settings),
            name: String::new(),
            number: newest_number(&first.settings),
            file: RollingFile::new(directory),
        }
    }

    fn write(&mut self, record: &W3cRecord, machine: &Machine, utc: UtcTime) {
        let settings = &record.settings;
        let hour = utc.unix_seconds() / 3600;
        let is_new = !Rc::ptr_eq(settings, &self.settings) && *settings != self.settings;
        let full = settings.period == LogPeriod::MaxSize
            && self.hour.is_some()
            && self.file.size() >= settings.truncate_size;
        if full {
            self.number += 1;
        }
        let around = logging::around_number;
        if is_new && around(settings) != around(&self.settings) {
            self.number = newest_number(settings);
        }
        if full || is_new || self.hour != Some(hour) {
            let civil = Civil::from(utc.ahead(if is_local(settings) {
                machine.offset(utc)
            } else {
                0
            }));
            let name = logging::site_file_name(settings, civil, self.number);
            let shape = |settings: &LogSettings| (settings.fields, settings.custom_fields.clone());
            if name != self.name || is_new && shape(settings) != shape(&self.settings) {
                self.file.begin(&name);
                self.file
                    .append_header(|out| logging::site_header(settings, utc, out));
                self.name = name;
            }
            self.settings = Rc::clone(settings);
            self.hour = Some(hour);
        }
        let computer = &machine.computer;
        self.file.append(|out| match settings.format {
            LogFormat::W3c => logging::write_w3c_line(record, computer, out, utc),
            LogFormat::Iis | LogFormat::Ncsa => {
                logging::write_fixed_line(record, computer, out, utc, machine.offset(utc));
            }
        });
    }
}

/// Source: IIS 6 documentation, "Log File Formats": W3C logs begin at midnight UTC if nothing else is said, the
/// others at that of local time. Assumed: names change on the hour of UTC, in zones with half hours, too.
fn is_local(settings: &LogSettings) -> bool {
    settings.is_local || settings.format != LogFormat::W3c
}

fn newest_number(settings: &LogSettings) -> u32 {
    let (prefix, suffix) = logging::around_number(settings);
    newest(Path::new(&settings.directory), prefix, suffix).unwrap_or(1)
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
        let number = newest(&directory, "httperr", ".log").unwrap_or(1);
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
