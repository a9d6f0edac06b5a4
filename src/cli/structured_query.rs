//! Structured queries of event logs: which events of which logs, and which of them not.
//!
//! Source: "Consuming Events", Query Schema: `<QueryList><Query Id="0" Path="System"><Select Path="System">*[…]</Select>
//! <Suppress Path="System">*[…]</Suppress></Query></QueryList>`; a `Path` of `Query` stands for those that are left
//! out below it. Left out: logs in files (`file://`).

use sim_was::config::parse_xml;
use sim_was::event_record::{Channel, EventRecord};

use super::event_query::Query;

/// A list of queries, taken apart.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct StructuredQuery(Vec<Part>);

/// One query of the list.
#[derive(Clone, Debug, Default, PartialEq)]
struct Part {
    selects: Vec<Filter>,
    suppresses: Vec<Filter>,
}

#[derive(Clone, Debug, PartialEq)]
struct Filter {
    channel: Channel,
    query: Query,
}

impl Filter {
    fn selects(&self, record: &EventRecord, now_ms: f64) -> bool {
        self.channel == record.channel && self.query.selects(&record.tree(), now_ms)
    }
}

impl StructuredQuery {
    /// Takes the XML of a list apart.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let document = parse_xml(text, "the query").map_err(|error| error.to_string())?;
        let list = document.root_element();
        if list.tag_name().name() != "QueryList" {
            return Err("a structured query is a <QueryList>".to_owned());
        }
        let mut parts = Vec::new();
        for query in list.children().filter(roxmltree::Node::is_element) {
            let above = query.attribute("Path");
            let mut part = Part::default();
            for filter in query.children().filter(roxmltree::Node::is_element) {
                let path = filter.attribute("Path").or(above).unwrap_or_default();
                let channel = Channel::ALL.into_iter();
                let mut channel = channel.filter(|known| known.name().eq_ignore_ascii_case(path));
                let channel = channel.next().ok_or_else(|| {
                    format!("there is no log \"{path}\"; System and Application exist")
                })?;
                let text = filter.text().unwrap_or_default().trim();
                let query = Query::parse(text).map_err(|error| error.to_string())?;
                let filter_of = Filter { channel, query };
                match filter.tag_name().name() {
                    "Select" => part.selects.push(filter_of),
                    "Suppress" => part.suppresses.push(filter_of),
                    other => return Err(format!("<{other}> is neither Select nor Suppress")),
                }
            }
            parts.push(part);
        }
        Ok(Self(parts))
    }

    /// The logs that it asks.
    pub(super) fn channels(&self) -> Vec<Channel> {
        let is_asked = |channel: &Channel| {
            let mut selects = self.0.iter().flat_map(|part| &part.selects);
            selects.any(|filter| filter.channel == *channel)
        };
        Channel::ALL.into_iter().filter(is_asked).collect()
    }

    /// Whether an event is asked for.
    pub(super) fn selects(&self, record: &EventRecord, now_ms: f64) -> bool {
        self.0.iter().any(|part| {
            let any = |filters: &[Filter]| filters.iter().any(|f| f.selects(record, now_ms));
            any(&part.selects) && !any(&part.suppresses)
        })
    }
}

#[cfg(test)]
mod tests {
    use sim_httpsys::clockwork::UtcTime;
    use sim_was::event_log::Event;

    use super::*;

    #[test]
    fn what_is_selected_and_not_suppressed_is_asked_for() {
        let list = |suppressed: &str| {
            let text = format!(
                "<QueryList><Query Id=\"0\" Path=\"System\"><Select>*[System[(Level &lt;= 3)]]</Select>\
                 <Suppress Path=\"System\">*[System[EventID={suppressed}]]</Suppress></Query></QueryList>"
            );
            StructuredQuery::parse(&text).unwrap()
        };
        let event = EventRecord::new(&Event::rapid_fail("P"), 7, UtcTime(0), "HOST");
        assert!(list("5079").selects(&event, 0.0));
        assert!(!list("5002").selects(&event, 0.0));
        assert_eq!(list("1").channels(), [Channel::System]);
    }

    #[test]
    fn a_list_that_makes_no_sense_is_refused() {
        let select = |path: &str, query: &str| {
            format!("<QueryList><Query><Select Path='{path}'>{query}</Select></Query></QueryList>")
        };
        for text in [
            "<QueryList>".to_owned(),
            "<Query/>".to_owned(),
            select("Security", "*"),
            select("System", "*["),
        ] {
            assert!(StructuredQuery::parse(&text).is_err(), "{text}");
        }
        assert!(StructuredQuery::parse(&select("System", "*")).is_ok());
    }
}
