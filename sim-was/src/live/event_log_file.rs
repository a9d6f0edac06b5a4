//! The event log on disk: `Windows/System32/winevt/System.jsonl` and `Application.jsonl`.
//!
//! Several programs write to it (WAS, the launcher that plays the service control manager, iisreset),
//! so a record is numbered and appended under a lock of the file. A line that a crash has torn is left
//! behind, and skipped when the log is read.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use sim_httpsys::clockwork::UtcTime;
use sim_httpsys::live::regular_file;

use crate::event_log::Event;
use crate::event_record::{Channel, EventRecord};

/// Where a log lies below a root.
pub fn event_log_path(root: &Path, channel: Channel) -> PathBuf {
    let file = format!("{}.jsonl", channel.name());
    root.join("Windows/System32/winevt").join(file)
}

/// The name that this machine's records carry.
fn computer() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "localhost".to_owned(),
        name => name.to_owned(),
    }
}

/// Appends to the logs of a root.
#[derive(Debug)]
pub struct EventLogFile {
    logs: [Log; 2],
    computer: String,
}

impl EventLogFile {
    /// Opens both logs of a root, making what is missing.
    pub fn open(root: &Path) -> io::Result<Self> {
        let log = |channel| Log::open(&event_log_path(root, channel));
        let [system, application] = Channel::ALL;
        Ok(Self {
            logs: [log(system)?, log(application)?],
            computer: computer(),
        })
    }

    /// Writes an event down.
    pub fn write(&mut self, event: &Event, at: UtcTime) -> io::Result<()> {
        let record = EventRecord::new(event, 0, at, &self.computer);
        self.logs[record.channel as usize].append(record)
    }
}

/// One log.
#[derive(Debug)]
struct Log {
    file: File,
    /// How long the file was when this process wrote last, and that record's number.
    known: Option<(u64, u64)>,
}

impl Log {
    fn open(path: &Path) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut options = OpenOptions::new();
        let options = options.create(true).read(true).append(true);
        let file = regular_file::open_with(options, path)?;
        Ok(Self { file, known: None })
    }

    fn append(&mut self, mut record: EventRecord) -> io::Result<()> {
        flock(&self.file, FlockOperation::LockExclusive)?;
        let written = self.append_locked(&mut record);
        flock(&self.file, FlockOperation::Unlock)?;
        written
    }

    fn append_locked(&mut self, record: &mut EventRecord) -> io::Result<()> {
        let length = self.file.metadata()?.len();
        let (last, torn) = match self.known {
            Some((known, last)) if known == length => (last, false),
            Some(_) | None => last_record(&mut self.file, length)?,
        };
        record.event_record_id = last + 1;
        let mut line = Vec::new();
        if torn {
            line.push(b'\n');
        }
        serde_json::to_writer(&mut line, &record)?;
        line.push(b'\n');
        self.known = None;
        self.file.write_all(&line)?;
        self.known = Some((length + line.len() as u64, last + 1));
        Ok(())
    }
}

/// Enough for the last lines of a log.
const TAIL: u64 = 64 << 10;

/// The number of the last record, and whether the line after it was never finished.
fn last_record(file: &mut File, length: u64) -> io::Result<(u64, bool)> {
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
    let mut tail = Vec::new();
    file.take(TAIL).read_to_end(&mut tail)?;
    let torn = tail.last().is_some_and(|byte| *byte != b'\n');
    let mut lines = tail.rsplit(|byte| *byte == b'\n');
    let number = lines.find_map(|line| serde_json::from_slice::<EventRecord>(line).ok());
    Ok((number.map_or(0, |record| record.event_record_id), torn))
}

/// The records of a log, the oldest first. A log that does not exist is empty.
pub fn read_event_log(path: &Path) -> io::Result<Vec<EventRecord>> {
    let file = match regular_file::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut records = Vec::new();
    for line in BufReader::new(file).split(b'\n') {
        if let Ok(record) = serde_json::from_slice(&line?) {
            records.push(record);
        }
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Event {
        Event::rapid_fail("P")
    }

    #[test]
    fn two_writers_number_their_records_in_one_row() {
        let root = tempfile::tempdir().unwrap();
        let mut one = EventLogFile::open(root.path()).unwrap();
        let mut other = EventLogFile::open(root.path()).unwrap();
        for _ in 0..3 {
            one.write(&event(), UtcTime(0)).unwrap();
            other.write(&event(), UtcTime(0)).unwrap();
        }
        let path = event_log_path(root.path(), Channel::System);
        let records = read_event_log(&path).unwrap();
        let numbers: Vec<u64> = records.iter().map(|r| r.event_record_id).collect();
        assert_eq!(numbers, [1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn a_torn_line_spoils_only_itself() {
        let root = tempfile::tempdir().unwrap();
        let path = event_log_path(root.path(), Channel::System);
        EventLogFile::open(root.path())
            .unwrap()
            .write(&event(), UtcTime(0))
            .unwrap();
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{\"EventID\":50").unwrap();
        let mut again = EventLogFile::open(root.path()).unwrap();
        again.write(&event(), UtcTime(0)).unwrap();
        let records = read_event_log(&path).unwrap();
        let numbers: Vec<u64> = records.iter().map(|r| r.event_record_id).collect();
        assert_eq!(numbers, [1, 2]);
    }
}
