//! A record of the Windows event log, as it lies in a file and as people read it.
//!
//! On disk it is one JSON object a line, under the names of the event schema; [`EventRecord::xml`]
//! and [`EventRecord::text`] are the two layouts of `wevtutil qe`. Left out, because a simulated
//! event has none: correlation, process and thread, user.

use std::fmt::{self, Write};

use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sim_httpsys::clockwork::UtcTime;

use crate::event_log::{Event, Level};

/// A record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct EventRecord {
    /// The event's number.
    #[serde(rename = "EventID")]
    pub event_id: u16,
    /// Who has written it, by its full name.
    pub provider_name: String,
    /// 2 error, 3 warning, 4 information.
    pub level: u8,
    /// The level in a word.
    pub level_display_name: String,
    /// When, UTC, e.g. `2026-01-01T00:00:00.25Z`.
    pub time_created: String,
    /// In which log.
    pub channel: Channel,
    /// Its place in that log, from 1.
    #[serde(rename = "EventRecordID")]
    pub event_record_id: u64,
    /// On which machine.
    pub computer: String,
    /// The text.
    pub message: String,
    /// The insertion strings, by name, in their order.
    pub event_data: EventData,
}

/// A log of the simulated machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Channel {
    /// What WAS, W3SVC and the service control manager write.
    System,
    /// What applications and worker processes write.
    Application,
}

impl Channel {
    /// Both.
    pub const ALL: [Self; 2] = [Self::System, Self::Application];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::System => "System",
            Self::Application => "Application",
        }
    }

    /// The channel that a source writes to. Source: the event viewer's folders "Windows Logs": WAS,
    /// `HttpEvent`, IIS-W3SVC, IIS-IISReset and the service control manager are under System, workers and ASP.NET
    /// under Application.
    pub fn of_source(source: &str) -> Self {
        match source {
            "WAS"
            | "Microsoft-Windows-HttpEvent"
            | "Microsoft-Windows-IIS-W3SVC"
            | "IIS-IISReset"
            | "Service Control Manager" => Self::System,
            _ => Self::Application,
        }
    }
}

/// Insertion strings with their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventData(pub Vec<(String, String)>);

/// What is known about an event source besides its events.
struct Provider {
    name: &'static str,
    guid: Option<&'static str>,
    source_name: Option<&'static str>,
}

/// Source: `Microsoft-Windows-WAS` as its events show it: the GUID, `EventSourceName='WAS'`, classic.
fn provider(source: &str) -> Provider {
    let (name, guid, source_name) = match source {
        "WAS" | "Microsoft-Windows-WAS" => (
            "Microsoft-Windows-WAS",
            Some("{524B5D04-133C-4A62-8362-64E8EDB9CE40}"),
            Some("WAS"),
        ),
        "Microsoft-Windows-IIS-W3SVC" => ("Microsoft-Windows-IIS-W3SVC", None, Some("W3SVC")),
        "IIS-IISReset" | "Microsoft-Windows-IIS-IISReset" => {
            ("Microsoft-Windows-IIS-IISReset", None, Some("IIS-IISReset"))
        }
        "Microsoft-Windows-HttpEvent" => ("Microsoft-Windows-HttpEvent", None, Some("HTTP")),
        "Service Control Manager" => (
            "Service Control Manager",
            Some("{555908d1-a6d7-4695-8e1e-26931d2012f4}"),
            Some("Service Control Manager"),
        ),
        "Microsoft-Windows-IIS-W3SVC-WP" => {
            ("Microsoft-Windows-IIS-W3SVC-WP", None, Some("W3SVC-WP"))
        }
        _ => ("Application Error", None, None),
    };
    Provider {
        name,
        guid,
        source_name,
    }
}

impl EventRecord {
    /// The record of an event that is the `id`th of its log.
    pub fn new(event: &Event, id: u64, at: UtcTime, computer: &str) -> Self {
        let (level, word) = match event.level {
            Level::Error => (2, "Error"),
            Level::Warning => (3, "Warning"),
            Level::Information => (4, "Information"),
        };
        let mut data = event.data.clone();
        if let Some(pool) = &event.pool
            && !data.iter().any(|(name, _)| name == "AppPoolID")
        {
            data.insert(0, ("AppPoolID".to_owned(), pool.clone()));
        }
        Self {
            event_id: event.id,
            provider_name: known_provider(&event.source),
            level,
            level_display_name: word.to_owned(),
            time_created: at.timestamp().to_string(),
            channel: Channel::of_source(&event.source),
            event_record_id: id,
            computer: computer.to_owned(),
            message: event.message.clone(),
            event_data: EventData(data),
        }
    }

    /// Source: events of WAS: qualifiers 16384 information, 32768 warning, 49152 error.
    fn qualifiers(&self) -> u16 {
        match self.level {
            2 => 49152,
            3 => 32768,
            _ => 16384,
        }
    }

    /// The event as XML, on one line.
    pub fn xml(&self, rendered: bool) -> String {
        let mut xml = String::from(
            "<Event xmlns='http://schemas.microsoft.com/win/2004/08/events/event'><System>",
        );
        self.system(&mut xml);
        xml.push_str("</System><EventData>");
        for (name, value) in &self.event_data.0 {
            let _ = write!(xml, "<Data Name='{}'>{}</Data>", Xml(name), Xml(value));
        }
        xml.push_str("</EventData>");
        if rendered {
            let _ = write!(
                xml,
                "<RenderingInfo Culture='en-US'><Message>{}</Message><Level>{}</Level><Task></Task><Opcode></Opcode><Channel>{}</Channel><Provider>{}</Provider><Keywords><Keyword>Classic</Keyword></Keywords></RenderingInfo>",
                Xml(&self.message),
                self.level_display_name,
                self.channel.name(),
                Xml(&self.provider_name),
            );
        }
        xml.push_str("</Event>");
        xml
    }

    fn system(&self, xml: &mut String) {
        let provider = provider(&self.provider_name);
        let _ = write!(xml, "<Provider Name='{}'", Xml(&self.provider_name));
        if let Some(guid) = provider.guid {
            let _ = write!(xml, " Guid='{guid}'");
        }
        if let Some(name) = provider.source_name {
            let _ = write!(xml, " EventSourceName='{name}'");
        }
        let _ = write!(
            xml,
            "/><EventID Qualifiers='{}'>{}</EventID><Version>0</Version><Level>{}</Level><Task>0</Task><Opcode>0</Opcode><Keywords>0x80000000000000</Keywords><TimeCreated SystemTime='{}'/><EventRecordID>{}</EventRecordID><Correlation/><Execution ProcessID='0' ThreadID='0'/><Channel>{}</Channel><Computer>{}</Computer><Security/>",
            self.qualifiers(),
            self.event_id,
            self.level,
            self.time_created,
            self.event_record_id,
            self.channel.name(),
            Xml(&self.computer),
        );
    }

    /// The event as `wevtutil qe /f:text` prints it, with its place in the output.
    pub fn text(&self, index: usize) -> String {
        let date = self.time_created.trim_end_matches('Z');
        let date = match date.split_once('.') {
            Some((seconds, fraction)) => format!("{seconds}.{fraction:0<3.3}"),
            None => format!("{date}.000"),
        };
        format!(
            "Event[{index}]:\n  Log Name: {}\n  Source: {}\n  Date: {date}\n  Event ID: {}\n  Task: N/A\n  Level: {}\n  Opcode: N/A\n  Keyword: Classic\n  User: N/A\n  User Name: N/A\n  Computer: {}\n  Description: \n{}\n",
            self.channel.name(),
            self.provider_name,
            self.event_id,
            self.level_display_name,
            self.computer,
            self.message,
        )
    }

    /// What a query may ask about it: elements, their attributes and texts.
    pub fn tree(&self) -> Node {
        let known = provider(&self.provider_name);
        let mut source = Node::leaf("Provider", "").with("Name", &self.provider_name);
        for (name, value) in [("Guid", known.guid), ("EventSourceName", known.source_name)] {
            source = match value {
                Some(value) => source.with(name, value),
                None => source,
            };
        }
        let time = Node::leaf("TimeCreated", "").with("SystemTime", &self.time_created);
        let id = Node::leaf("EventID", &self.event_id.to_string())
            .with("Qualifiers", &self.qualifiers().to_string());
        let system = Node::parent(
            "System",
            vec![
                source,
                id,
                Node::leaf("Version", "0"),
                Node::leaf("Level", &self.level.to_string()),
                Node::leaf("Task", "0"),
                Node::leaf("Opcode", "0"),
                Node::leaf("Keywords", "36028797018963968"),
                time,
                Node::leaf("EventRecordID", &self.event_record_id.to_string()),
                Node::leaf("Execution", "")
                    .with("ProcessID", "0")
                    .with("ThreadID", "0"),
                Node::leaf("Channel", self.channel.name()),
                Node::leaf("Computer", &self.computer),
            ],
        );
        let data = self.event_data.0.iter();
        let data = data.map(|(name, value)| Node::leaf("Data", value).with("Name", name));
        let data = Node::parent("EventData", data.collect());
        Node::parent("Event", vec![system, data])
    }
}

/// The provider's full name; a source that is not known stands for itself.
fn known_provider(source: &str) -> String {
    match provider(source).name {
        "Application Error" => source.to_owned(),
        name => name.to_owned(),
    }
}

/// An element of an event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its attributes.
    pub attributes: Vec<(String, String)>,
    /// Its text.
    pub text: String,
    /// The elements in it.
    pub children: Vec<Node>,
}

impl Node {
    fn leaf(name: &str, text: &str) -> Self {
        Self {
            name: name.to_owned(),
            text: text.to_owned(),
            ..Self::default()
        }
    }

    fn parent(name: &str, children: Vec<Self>) -> Self {
        Self {
            name: name.to_owned(),
            children,
            ..Self::default()
        }
    }

    fn with(mut self, attribute: &str, value: &str) -> Self {
        let attribute = (attribute.to_owned(), value.to_owned());
        self.attributes.push(attribute);
        self
    }
}

/// Text as it stands in XML between tags or single quotes.
struct Xml<'a>(&'a str);

impl fmt::Display for Xml<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '\'' => f.write_str("&apos;")?,
                '"' => f.write_str("&quot;")?,
                '\t' | '\n' => f.write_char(character)?,
                control if control.is_control() => f.write_char('\u{fffd}')?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

impl Serialize for EventData {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for EventData {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = EventData;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("named texts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<EventData, A::Error> {
                let mut data = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    data.push(entry);
                }
                Ok(EventData(data))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

#[cfg(test)]
mod tests {
    use sim_httpsys::api::ProcessId;
    use sim_worker::ipm::RecycleReason;

    use super::*;

    fn record() -> EventRecord {
        let event = Event::recycle(RecycleReason::Time, "A & B", ProcessId(7));
        EventRecord::new(&event, 3, UtcTime(1_767_225_600_250_000_000), "HOST")
    }

    #[test]
    fn a_line_of_the_log_is_json_under_the_names_of_the_event_schema() {
        let line = serde_json::to_string(&record()).unwrap();
        let start = r#"{"EventID":5074,"ProviderName":"Microsoft-Windows-WAS","Level":4,"LevelDisplayName":"Information","TimeCreated":"2026-01-01T00:00:00.25Z","Channel":"System","EventRecordID":3,"Computer":"HOST","Message":"A worker process with process id of '7' serving application pool 'A & B'"#;
        assert!(line.starts_with(start), "{line}");
        assert!(
            line.ends_with(r#""EventData":{"ProcessID":"7","AppPoolID":"A & B"}}"#),
            "{line}"
        );
        assert_eq!(
            serde_json::from_str::<EventRecord>(&line).unwrap(),
            record()
        );
    }

    #[test]
    fn the_text_is_laid_out_as_wevtutil_does() {
        let text = record().text(0);
        assert!(
            text.starts_with(
                "Event[0]:\n  Log Name: System\n  Source: Microsoft-Windows-WAS\n  Date: 2026-01-01T00:00:00.250\n  Event ID: 5074\n  Task: N/A\n  Level: Information\n"
            ),
            "{text}"
        );
        assert!(text.contains("\n  Description: \nA worker process with"));
    }

    #[test]
    fn the_xml_is_well_formed_whatever_a_pool_is_called() {
        let xml = record().xml(true);
        let parsed = roxmltree::Document::parse(&xml).unwrap();
        let find = |name: &str| {
            parsed
                .descendants()
                .find(|n| {
                    n.has_tag_name((
                        "http://schemas.microsoft.com/win/2004/08/events/event",
                        name,
                    ))
                })
                .unwrap()
        };
        assert_eq!(find("EventID").text(), Some("5074"));
        assert_eq!(find("EventID").attribute("Qualifiers"), Some("16384"));
        assert_eq!(find("Provider").attribute("EventSourceName"), Some("WAS"));
        assert_eq!(find("Data").attribute("Name"), Some("ProcessID"));
        assert!(find("Message").text().unwrap().contains("'A & B'"));
    }
}
