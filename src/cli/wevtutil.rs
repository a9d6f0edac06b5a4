//! `wevtutil`: asks the event log of a root, whether a server runs there or not.
//!
//! Source: the usage text of wevtutil.exe: `qe` prints XML unless `/f:text`, the oldest event first
//! unless `/rd:true`. Left out: everything that changes, exports or describes logs.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use sim_was::event_record::{Channel, EventRecord};
use sim_was::live::{event_log_path, read_event_log};

use super::event_query::{Query, milliseconds};
use super::structured_query::StructuredQuery;
use super::take_root;

const HELP: &str = "Windows Events Command Line Utility, as far as iis-sim has it.

wevtutil { qe | query-events } <log> [/OPTION:VALUE ...] [--root DIR]
wevtutil { el | enum-logs }

  <log>          System (WAS, W3SVC, iisreset, the service control manager) or Application;
                 with /lf:true the path of a .jsonl file
  /q:VALUE       XPath query to filter the events, e.g.
                 /q:\"*[System[Provider[@Name='Microsoft-Windows-WAS'] and (EventID=5079)]]\"
  /f:VALUE       text, XML (default) or RenderedXml
  /c:VALUE       the maximum number of events to read
  /rd:VALUE      true: the newest event first
  /e:VALUE       the name of a root element around the XML
  /sq:true       <log> is a file with a structured query, a <QueryList>; /q: takes one, too
  /lf:true       <log> is a file of events
  /l:, /uni:     taken, and without effect: texts are English, and UTF-8

Examples:
  iis-sim wevtutil qe System /f:text /c:5 /rd:true
  iis-sim wevtutil qe System /q:\"*[System[(EventID=5002 or EventID=5009)]]\" /f:text";

/// How events are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Xml,
    RenderedXml,
    Text,
}

/// A command line of `qe`, taken apart.
#[derive(Debug)]
struct Wish {
    log: String,
    asked: Asked,
    format: Format,
    count: usize,
    newest_first: bool,
    element: Option<String>,
    is_file: bool,
    is_query_file: bool,
}

/// Which events are asked for.
#[derive(Debug)]
enum Asked {
    /// All of a log.
    All,
    /// Some of a log.
    Some(Query),
    /// Those of a list, whose logs it names itself.
    Listed(StructuredQuery),
}

impl Asked {
    fn parse(text: &str) -> Result<Self, String> {
        let parsed = if text.trim_start().starts_with('<') {
            StructuredQuery::parse(text).map(Self::Listed)
        } else {
            Query::parse(text)
                .map(Self::Some)
                .map_err(|error| error.to_string())
        };
        parsed.map_err(|error| format!("The specified query is invalid: {error}"))
    }
}

/// Runs `wevtutil` with the words after its name.
pub(super) fn main(mut words: Vec<String>) -> ExitCode {
    let root = match take_root(&mut words) {
        Ok(root) => root,
        Err(message) => return wrong(&message),
    };
    let verb = words.first().map(|word| word.to_ascii_lowercase());
    match verb.as_deref() {
        Some("qe" | "query-events") => match Wish::parse(&words[1..]) {
            Ok(wish) => query_events(&root, &wish),
            Err(message) => wrong(&message),
        },
        Some("el" | "enum-logs") => {
            for channel in Channel::ALL {
                println!("{}", channel.name());
            }
            ExitCode::SUCCESS
        }
        Some("/?" | "-?" | "--help") | None => {
            println!("{HELP}");
            ExitCode::SUCCESS
        }
        Some(other) => wrong(&format!("Invalid command: {other}")),
    }
}

fn wrong(message: &str) -> ExitCode {
    eprintln!("{message}\n\n{HELP}");
    ExitCode::FAILURE
}

impl Wish {
    fn parse(words: &[String]) -> Result<Self, String> {
        let mut wish = Self {
            log: String::new(),
            asked: Asked::All,
            format: Format::Xml,
            count: usize::MAX,
            newest_first: false,
            element: None,
            is_file: false,
            is_query_file: false,
        };
        for word in words {
            match word
                .strip_prefix(['/', '-'])
                .filter(|_| !wish.is_path(word))
            {
                None if wish.log.is_empty() => wish.log.clone_from(word),
                None => return Err(format!("Too many arguments: {word}")),
                Some(option) => wish.option(option)?,
            }
        }
        if wish.log.is_empty() {
            return Err("The log is missing: System or Application.".to_owned());
        }
        // Source: wevtutil's usage text: with /sq the path is that of a file that contains a structured query.
        if wish.is_query_file {
            let text = std::fs::read_to_string(&wish.log);
            let text = text.map_err(|error| format!("{}: {error}", wish.log))?;
            wish.asked = Asked::parse(text.trim_start_matches('\u{feff}'))?;
        }
        Ok(wish)
    }

    /// Whether a word that begins with a slash is the path of a file.
    fn is_path(&self, word: &str) -> bool {
        self.log.is_empty() && word.starts_with('/') && !word.contains(':')
    }

    fn option(&mut self, option: &str) -> Result<(), String> {
        let (name, value) = option.split_once(':').unwrap_or((option, ""));
        let value = value.trim_matches('"');
        let wrong = |valid: &str| format!("Invalid value for option {name}: '{value}'. {valid}");
        let truth = || match value.to_ascii_lowercase().as_str() {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err(wrong("true or false is valid.")),
        };
        match name.to_ascii_lowercase().as_str() {
            "q" | "query" => {
                self.asked = Asked::parse(value)?;
            }
            "f" | "format" => {
                self.format = match value.to_ascii_lowercase().as_str() {
                    "xml" => Format::Xml,
                    "renderedxml" => Format::RenderedXml,
                    "text" => Format::Text,
                    _ => return Err(wrong("XML, Text and RenderedXml are valid.")),
                };
            }
            "c" | "count" => {
                self.count = value
                    .parse()
                    .map_err(|_| wrong("A whole number is valid."))?;
            }
            "rd" | "reversedirection" => self.newest_first = truth()?,
            "e" | "element" => self.element = Some(value.to_owned()),
            "lf" | "logfile" => self.is_file = truth()?,
            "sq" | "structuredquery" => self.is_query_file = truth()?,
            // Texts are English, and UTF-8.
            "l" | "locale" => {}
            "uni" | "unicode" => drop(truth()?),
            _ => return Err(format!("Invalid option: /{name}")),
        }
        Ok(())
    }

    /// Where the events lie.
    fn paths(&self, root: &Path) -> Result<Vec<PathBuf>, String> {
        match &self.asked {
            Asked::Listed(list) if !self.is_file => {
                let channels = list.channels().into_iter();
                channels.map(|channel| log_of(channel, root)).collect()
            }
            Asked::Listed(_) | Asked::All | Asked::Some(_) => Ok(vec![self.path(root)?]),
        }
    }

    fn path(&self, root: &Path) -> Result<PathBuf, String> {
        if self.is_file {
            return Ok(PathBuf::from(&self.log));
        }
        let named = |channel: &Channel| channel.name().eq_ignore_ascii_case(&self.log);
        match Channel::ALL.into_iter().find(named) {
            Some(channel) => log_of(channel, root),
            // Source: winerror.h, ERROR_EVT_CHANNEL_NOT_FOUND (15007).
            None => Err(format!(
                "The specified channel could not be found. Check channel configuration. ('{}'; System and Application exist)",
                self.log
            )),
        }
    }

    fn selects(&self, record: &EventRecord, now_ms: f64) -> bool {
        match &self.asked {
            Asked::All => true,
            Asked::Some(query) => query.selects(&record.tree(), now_ms),
            Asked::Listed(list) => list.selects(record, now_ms),
        }
    }
}

fn log_of(channel: Channel, root: &Path) -> Result<PathBuf, String> {
    if root.is_dir() {
        return Ok(event_log_path(root, channel));
    }
    Err(format!(
        "{}: no server has run there; name its folder with --root",
        root.display()
    ))
}

fn query_events(root: &Path, wish: &Wish) -> ExitCode {
    let read = |path: &PathBuf| {
        read_event_log(path).map_err(|error| format!("{}: {error}", path.display()))
    };
    let records = wish
        .paths(root)
        .and_then(|paths| paths.iter().map(read).collect::<Result<Vec<_>, _>>())
        .map(|logs| logs.concat());
    let mut records = match records {
        Ok(records) => records,
        Err(message) => {
            eprintln!("Failed to read events.\n{message}");
            return ExitCode::FAILURE;
        }
    };
    if let Asked::Listed(_) = wish.asked {
        // Those of several logs as they have happened.
        records.sort_by_key(|record| record.time_created.parse::<jiff::Timestamp>().ok());
    }
    if wish.newest_first {
        records.reverse();
    }
    let now = sim_httpsys::live::clock::utc_now();
    let now_ms = milliseconds(now.timestamp());
    let wanted = records.iter().filter(|r| wish.selects(r, now_ms));
    if let Some(element) = &wish.element {
        println!("<{element}>");
    }
    for (index, record) in wanted.take(wish.count).enumerate() {
        println!(
            "{}",
            match wish.format {
                Format::Xml => record.xml(false),
                Format::RenderedXml => record.xml(true),
                Format::Text => record.text(index),
            }
        );
    }
    if let Some(element) = &wish.element {
        println!("</{element}>");
    }
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(words: &[&str]) -> Result<Wish, String> {
        Wish::parse(
            &words
                .iter()
                .map(|&word| word.to_owned())
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn options_are_read_in_their_short_and_long_forms() {
        let short = wish(&[
            "System",
            "/q:*[System[EventID=5079]]",
            "/f:text",
            "/c:3",
            "/rd:true",
        ]);
        let short = short.unwrap();
        assert_eq!(
            (short.format, short.count, short.newest_first),
            (Format::Text, 3, true)
        );
        let long = wish(&["System", "/format:RenderedXml", "/count:1"]).unwrap();
        assert_eq!((long.format, long.count), (Format::RenderedXml, 1));
        let list = "/q:<QueryList><Query><Select Path='System'>*</Select></Query></QueryList>";
        let listed = wish(&["System", list, "/l:en-US", "/uni:true"]).unwrap();
        assert!(matches!(listed.asked, Asked::Listed(_)));
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("query.xml").display().to_string();
        std::fs::write(&file, &list["/q:".len()..]).unwrap();
        let listed = wish(&[&file, "/sq:true"]).unwrap();
        let paths = listed.paths(folder.path()).unwrap();
        assert!(paths[0].ends_with("System.jsonl"), "{paths:?}");
    }

    #[test]
    fn what_is_wrong_is_named_with_what_would_be_right() {
        assert!(wish(&[]).is_err_and(|m| m.contains("System or Application")));
        assert!(wish(&["System", "/c:x"]).is_err_and(|m| m.contains("'x'")));
        assert!(wish(&["System", "/f:pdf"]).is_err_and(|m| m.contains("RenderedXml")));
        assert!(wish(&["System", "/q:*[("]).is_err_and(|m| m.contains("query is invalid")));
        let unquoted = wish(&["System", "/q:*[System[EventID=abc]]"]);
        assert!(unquoted.is_err_and(|m| m.contains("query is invalid")));
        assert!(wish(&["System", "/zz:1"]).is_err_and(|m| m.contains("/zz")));
        let path = wish(&["Security"])
            .unwrap()
            .path(Path::new("/"))
            .unwrap_err();
        assert!(path.contains("Security") && path.contains("Application"));
    }
}
