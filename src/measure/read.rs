//! Reads books, traces and logs. Everything else in [`measure`](super) is a pure function of them.
//!
//! A process that is killed cuts the last line of its file; that is tolerated and counted. Any other
//! line that cannot be read is an error with file and line.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use sim_httpsys::api::ProcessId;
use sim_httpsys::etw::{self, Traced};
use sim_was::event_log;
use sim_worker::facts;

use crate::load::book::{Book, BookLine};

/// Everything that was written down about one trial. A source that was not kept is `None`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observation {
    /// The client's book.
    pub book: Book,
    /// The facts of httpsys.
    pub httpsys: Option<Vec<Traced<etw::Fact>>>,
    /// The facts of each worker.
    pub workers: Option<BTreeMap<ProcessId, Vec<Traced<facts::Fact>>>>,
    /// The facts of was.
    pub was: Option<Vec<Traced<event_log::Fact>>>,
    /// The lines of the sites' W3C logs.
    pub w3c: Option<Vec<W3cLine>>,
    /// The lines of the HTTPERR log.
    pub httperr: Option<Vec<HttpErrLine>>,
    /// Lines that were cut because their writer was killed.
    pub cut_lines: u64,
    /// The ports that the server is to listen on, as far as they are known: one may never be opened.
    pub ports: BTreeSet<u16>,
}

/// What is needed of a line of a W3C log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct W3cLine {
    /// The attempt that it is about, from `cs(User-Agent)`.
    pub attempt: Option<u64>,
    /// `cs-uri-stem`.
    pub uri_stem: String,
    /// `sc-status`.
    pub status: u16,
    /// `sc-win32-status`.
    pub win32_status: Option<u32>,
    /// `time-taken` in milliseconds.
    pub time_taken_ms: Option<u64>,
}

/// What is needed of a line of the HTTPERR log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpErrLine {
    /// `c-port`.
    pub client_port: Option<u16>,
    /// `cs-uri`.
    pub uri: Option<String>,
    /// `sc-status`.
    pub status: Option<u16>,
    /// `s-reason`.
    pub reason: String,
    /// `s-queuename`.
    pub queue: Option<String>,
}

/// Why a file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file system said no.
    #[error("read {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line that is not what the file should hold.
    #[error("{}, line {line}: {reason}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
}

impl Observation {
    /// Reads a book.
    pub fn read_book(&mut self, path: &Path) -> Result<(), ReadError> {
        let mut book = Book::default();
        self.cut_lines += json_lines(path, |line: BookLine| book.take(line))?;
        self.book = book;
        Ok(())
    }

    /// Reads the trace of httpsys.
    pub fn read_httpsys(&mut self, path: &Path) -> Result<(), ReadError> {
        let facts = self.httpsys.get_or_insert_default();
        self.cut_lines += json_lines(path, |fact| facts.push(fact))?;
        facts.sort_by_key(|traced| traced.at);
        Ok(())
    }

    /// Reads the trace of was.
    pub fn read_was(&mut self, path: &Path) -> Result<(), ReadError> {
        let facts = self.was.get_or_insert_default();
        self.cut_lines += json_lines(path, |fact| facts.push(fact))?;
        facts.sort_by_key(|traced| traced.at);
        Ok(())
    }

    /// Reads the trace of a worker. The pid is the one that the worker stated.
    pub fn read_worker(&mut self, path: &Path) -> Result<(), ReadError> {
        let mut read: Vec<Traced<facts::Fact>> = Vec::new();
        self.cut_lines += json_lines(path, |fact| read.push(fact))?;
        let workers = self.workers.get_or_insert_default();
        let stated = read.iter().find_map(|traced| {
            let facts::Fact::Started { process, .. } = &traced.fact else {
                return None;
            };
            Some(*process)
        });
        let name = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .unwrap_or_default();
        let named = name
            .rsplit('-')
            .next()
            .and_then(|pid| pid.parse().ok())
            .map(ProcessId);
        let Some(process) = stated.or(named) else {
            if read.is_empty() {
                return Ok(());
            }
            let reason = "no Started fact, and no pid in the name".to_owned();
            return Err(ReadError::Line {
                path: path.to_owned(),
                line: 1,
                reason,
            });
        };
        workers.entry(process).or_default().extend(read);
        Ok(())
    }

    /// Reads a W3C log.
    pub fn read_w3c(&mut self, path: &Path) -> Result<(), ReadError> {
        let (lines, cut) = parse_w3c(&text(path)?).map_err(|bad| bad.at(path))?;
        self.w3c.get_or_insert_default().extend(lines);
        self.cut_lines += cut;
        Ok(())
    }

    /// Reads a HTTPERR log.
    pub fn read_httperr(&mut self, path: &Path) -> Result<(), ReadError> {
        let (lines, cut) = parse_httperr(&text(path)?).map_err(|bad| bad.at(path))?;
        self.httperr.get_or_insert_default().extend(lines);
        self.cut_lines += cut;
        Ok(())
    }
}

fn text(path: &Path) -> Result<String, ReadError> {
    let bytes = fs::read(path).map_err(|source| ReadError::File {
        path: path.to_owned(),
        source,
    })?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Hands every line to `take`; gives the number of lines that were cut (0 or 1).
fn json_lines<T: DeserializeOwned>(path: &Path, mut take: impl FnMut(T)) -> Result<u64, ReadError> {
    let text = text(path)?;
    let lines = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.is_empty());
    let ends_whole = text.is_empty() || text.ends_with('\n');
    let last = text.lines().count().saturating_sub(1);
    for (index, line) in lines {
        match serde_json::from_str(line) {
            Ok(item) => take(item),
            Err(_) if index == last && !ends_whole => return Ok(1),
            Err(error) => {
                return Err(BadLine {
                    line: index + 1,
                    reason: error.to_string(),
                }
                .at(path));
            }
        }
    }
    Ok(0)
}

/// A line of a log that cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub struct BadLine {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub reason: String,
}

impl BadLine {
    fn at(self, path: &Path) -> ReadError {
        ReadError::Line {
            path: path.to_owned(),
            line: self.line,
            reason: self.reason,
        }
    }
}

/// The lines of a W3C log, by the columns that its `#Fields` name; and how many were cut.
pub fn parse_w3c(text: &str) -> Result<(Vec<W3cLine>, u64), BadLine> {
    rows(text, |row| {
        Ok(W3cLine {
            attempt: row.value("cs(User-Agent)").and_then(attempt_of),
            uri_stem: row.value("cs-uri-stem").unwrap_or_default().to_owned(),
            status: row.number("sc-status")?.ok_or("no sc-status")?,
            win32_status: row.number("sc-win32-status")?,
            time_taken_ms: row.number("time-taken")?,
        })
    })
}

/// The lines of a HTTPERR log, by the columns that its `#Fields` name; and how many were cut.
pub fn parse_httperr(text: &str) -> Result<(Vec<HttpErrLine>, u64), BadLine> {
    rows(text, |row| {
        Ok(HttpErrLine {
            client_port: row.number("c-port")?,
            uri: row.value("cs-uri").map(str::to_owned),
            status: row.number("sc-status")?,
            reason: row.value("s-reason").ok_or("no s-reason")?.to_owned(),
            queue: row.value("s-queuename").map(str::to_owned),
        })
    })
}

fn attempt_of(agent: &str) -> Option<u64> {
    agent.strip_prefix("iis-sim-load/")?.parse().ok()
}

struct Row<'a> {
    names: &'a [String],
    values: Vec<&'a str>,
}

impl Row<'_> {
    fn value(&self, name: &str) -> Option<&str> {
        let index = self.names.iter().position(|column| column == name)?;
        self.values
            .get(index)
            .copied()
            .filter(|value| *value != "-")
    }

    fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, String> {
        let parse = |value: &str| value.parse().map_err(|_| format!("{name} is {value:?}"));
        self.value(name).map(parse).transpose()
    }
}

fn rows<T>(
    text: &str,
    take: impl Fn(&Row<'_>) -> Result<T, String>,
) -> Result<(Vec<T>, u64), BadLine> {
    let mut names: Vec<String> = Vec::new();
    let mut taken = Vec::new();
    let ends_whole = text.is_empty() || text.ends_with('\n');
    let last = text.lines().count().saturating_sub(1);
    for (index, line) in text.lines().enumerate() {
        if let Some(fields) = line.strip_prefix("#Fields:") {
            names = fields.split_whitespace().map(str::to_owned).collect();
            continue;
        }
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let is_cut = index == last && !ends_whole;
        if is_cut {
            return Ok((taken, 1));
        }
        let row = Row {
            names: &names,
            values: line.split(' ').collect(),
        };
        let result = if row.values.len() == names.len() {
            take(&row)
        } else {
            Err(format!(
                "{} columns, but #Fields names {}",
                row.values.len(),
                names.len()
            ))
        };
        taken.push(result.map_err(|reason| BadLine {
            line: index + 1,
            reason,
        })?);
    }
    Ok((taken, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const W3C: &str = "#Software: Microsoft Internet Information Services 10.0\n#Version: 1.0\n\
        #Date: 2026-01-01 00:00:00\n#Fields: date time cs-uri-stem cs(User-Agent) sc-status \
        sc-win32-status time-taken\n2026-01-01 00:00:01 /a iis-sim-load/17 200 0 3\n\
        2026-01-01 00:00:01 /b curl/8 404 2 -\n";

    #[test]
    fn a_w3c_line_is_read_by_the_columns_that_the_file_names() {
        let (lines, cut) = parse_w3c(W3C).unwrap();
        assert_eq!((lines.len(), cut), (2, 0));
        assert_eq!((lines[0].attempt, lines[0].status), (Some(17), 200));
        assert_eq!(lines[0].time_taken_ms, Some(3));
        assert_eq!((lines[1].attempt, lines[1].win32_status), (None, Some(2)));
    }

    #[test]
    fn a_cut_last_line_is_counted_and_a_bad_one_elsewhere_is_an_error() {
        let (lines, cut) = parse_w3c(&format!("{W3C}2026-01-01 00:0")).unwrap();
        assert_eq!((lines.len(), cut), (2, 1));
        let bad = parse_w3c(&format!("{W3C}2026-01-01 00:0\n")).unwrap_err();
        assert_eq!(bad.line, 7);
    }

    #[test]
    fn a_httperr_line_is_read_in_the_format_of_server_2022() {
        let text = "#Fields: date time c-ip c-port s-ip s-port cs-version cs-method cs-uri \
            streamid streamid_ex sc-status s-siteid s-reason s-queuename transport\n\
            2026-01-01 00:00:01 127.0.0.1 50001 127.0.0.1 80 HTTP/1.1 GET /x - - 503 1 QueueFull \
            DefaultAppPool -\n2026-01-01 00:00:01 127.0.0.1 50002 127.0.0.1 80 - - - - - - - \
            Timer_ConnectionIdle - -\n";
        let (lines, _) = parse_httperr(text).unwrap();
        assert_eq!(
            (lines[0].client_port, lines[0].status),
            (Some(50001), Some(503))
        );
        assert_eq!(lines[0].queue.as_deref(), Some("DefaultAppPool"));
        assert_eq!(
            (lines[1].uri.clone(), lines[1].reason.as_str()),
            (None, "Timer_ConnectionIdle")
        );
    }

    #[test]
    fn a_trace_whose_writer_was_killed_loses_its_last_line_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w3wp-4711.jsonl");
        let started = r#"{"at":5,"fact":{"Started":{"process":4711,"pool":"A"}}}"#;
        fs::write(&path, format!("{started}\n{{\"at\":6,\"fact\":\"Rea")).unwrap();
        let mut observation = Observation::default();
        observation.read_worker(&path).unwrap();
        assert_eq!(observation.cut_lines, 1);
        assert_eq!(observation.workers.unwrap()[&ProcessId(4711)].len(), 1);
        fs::write(&path, format!("{{\"at\":6,\n{started}\n")).unwrap();
        let error = Observation::default().read_worker(&path).unwrap_err();
        assert!(error.to_string().contains("line 1"), "{error}");
    }
}
