//! The part of `XPath` that event queries use: paths, predicates, `and`, `or`, `not`, comparisons,
//! `timediff(@SystemTime)` and `band(Keywords, mask)`.
//!
//! Source: "Consuming Events": the event query language is a subset of `XPath` 1.0 with those two
//! functions; every path begins at the event, e.g. `*[System[(EventID=5079)]]`.

use std::fmt;

use sim_was::event_record::Node;

/// A query, taken apart: paths, of which those that lead somewhere hold.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Query(Expression);

#[derive(Clone, Debug, PartialEq)]
struct Path {
    steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq)]
struct Step {
    what: What,
    predicates: Vec<Expression>,
}

#[derive(Clone, Debug, PartialEq)]
enum What {
    Any,
    Here,
    Element(String),
    Attribute(String),
}

#[derive(Clone, Debug, PartialEq)]
enum Expression {
    Or(Vec<Expression>),
    And(Vec<Expression>),
    Not(Box<Expression>),
    Exists(Operand),
    Compare(Operand, Relation, Operand),
}

#[derive(Clone, Debug, PartialEq)]
enum Operand {
    Text(String),
    Number(f64),
    Path(Path),
    TimeDifference(Path),
    BitAnd(Path, u64),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Relation {
    Equal,
    Different,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// Where a query makes no sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NoQuery {
    at: usize,
    wanted: &'static str,
}

impl fmt::Display for NoQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "at character {}: expected {}, as in *[System[Provider[@Name='Microsoft-Windows-WAS'] and (EventID=5079)]]",
            self.at + 1,
            self.wanted
        )
    }
}

impl Query {
    /// Takes a query apart.
    pub(super) fn parse(text: &str) -> Result<Self, NoQuery> {
        let mut parser = Parser {
            text,
            at: 0,
            depth: 0,
        };
        let whole = parser.paths()?;
        parser.blank();
        if parser.at < text.len() {
            return Err(parser.wanted("the end of the query"));
        }
        Ok(Self(whole))
    }

    /// Whether an event is asked for; `now_ms` is the time since 1970 for `timediff`.
    pub(super) fn selects(&self, event: &Node, now_ms: f64) -> bool {
        let root = Node {
            children: vec![event.clone()],
            ..Node::default()
        };
        self.0.holds(&root, now_ms)
    }
}

// ---- evaluation ---------------------------------------------------------------------------------

impl Path {
    /// The texts of all nodes that the path leads to.
    fn found(&self, from: &Node, now_ms: f64) -> Vec<String> {
        let Some((last, way)) = self.steps.split_last() else {
            return Vec::new();
        };
        let mut nodes = vec![from];
        for step in way {
            nodes = step.elements(&nodes, now_ms);
        }
        if let What::Attribute(name) = &last.what {
            let attributes = nodes.iter().flat_map(|node| &node.attributes);
            let named = attributes.filter(|(attribute, _)| attribute == name);
            return named.map(|(_, value)| value.clone()).collect();
        }
        let nodes = last.elements(&nodes, now_ms);
        nodes.iter().map(|node| node.text.clone()).collect()
    }
}

impl Step {
    fn elements<'a>(&self, from: &[&'a Node], now_ms: f64) -> Vec<&'a Node> {
        let below = from.iter().flat_map(|node| &node.children);
        let named: Vec<&Node> = match &self.what {
            What::Any => below.collect(),
            What::Here => from.to_vec(),
            What::Element(name) => below.filter(|node| node.name == *name).collect(),
            What::Attribute(_) => Vec::new(),
        };
        let holds = |node: &&Node| self.predicates.iter().all(|p| p.holds(node, now_ms));
        named.into_iter().filter(holds).collect()
    }
}

impl Expression {
    fn holds(&self, node: &Node, now_ms: f64) -> bool {
        match self {
            Self::Or(parts) => parts.iter().any(|part| part.holds(node, now_ms)),
            Self::And(parts) => parts.iter().all(|part| part.holds(node, now_ms)),
            Self::Not(part) => !part.holds(node, now_ms),
            Self::Exists(Operand::BitAnd(path, mask)) => {
                let values = path.found(node, now_ms);
                let bits = values.iter().filter_map(|text| text.parse::<u64>().ok());
                bits.into_iter().any(|bits| bits & mask != 0)
            }
            Self::Exists(operand) => !operand.values(node, now_ms).is_empty(),
            Self::Compare(left, relation, right) => {
                let right = right.values(node, now_ms);
                let left = left.values(node, now_ms);
                left.iter()
                    .any(|l| right.iter().any(|r| relation.holds(l, r)))
            }
        }
    }
}

impl Operand {
    /// Whether it is the same for every event.
    fn is_literal(&self) -> bool {
        match self {
            Self::Text(_) | Self::Number(_) => true,
            Self::Path(_) | Self::TimeDifference(_) | Self::BitAnd(_, _) => false,
        }
    }

    fn values(&self, node: &Node, now_ms: f64) -> Vec<String> {
        match self {
            Self::Text(text) => vec![text.clone()],
            Self::Number(number) => vec![number.to_string()],
            Self::Path(path) => path.found(node, now_ms),
            Self::TimeDifference(path) => {
                let times = path.found(node, now_ms);
                let times = times
                    .iter()
                    .filter_map(|t| t.parse::<jiff::Timestamp>().ok());
                let age = |time: jiff::Timestamp| now_ms - milliseconds(time);
                times.map(|time| age(time).to_string()).collect()
            }
            Self::BitAnd(path, mask) => {
                let values = path.found(node, now_ms);
                let bits = values.iter().filter_map(|text| text.parse::<u64>().ok());
                bits.map(|bits| (bits & mask).to_string()).collect()
            }
        }
    }
}

/// A moment, in milliseconds since 1970.
#[expect(
    clippy::cast_precision_loss,
    reason = "milliseconds of this millennium fit"
)]
pub(super) fn milliseconds(time: jiff::Timestamp) -> f64 {
    time.as_millisecond() as f64
}

impl Relation {
    fn holds(self, left: &str, right: &str) -> bool {
        let order = match (left.parse::<f64>(), right.parse::<f64>()) {
            (Ok(left), Ok(right)) => left.partial_cmp(&right),
            _ => Some(left.cmp(right)),
        };
        let Some(order) = order else { return false };
        match self {
            Self::Equal => order.is_eq(),
            Self::Different => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
        }
    }
}

// ---- parsing ------------------------------------------------------------------------------------

/// Deepest nesting of parentheses and predicates.
const DEPTH_MAX: usize = 32;

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl Parser<'_> {
    fn wanted(&self, wanted: &'static str) -> NoQuery {
        NoQuery {
            at: self.at,
            wanted,
        }
    }

    fn blank(&mut self) {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start().len();
    }

    fn take(&mut self, token: &str) -> bool {
        self.blank();
        let there = self.text[self.at..].starts_with(token);
        if there {
            self.at += token.len();
        }
        there
    }

    /// A word that is not the beginning of a longer one.
    fn word(&mut self, word: &str) -> bool {
        self.blank();
        let rest = &self.text[self.at..];
        let Some(after) = rest.strip_prefix(word) else {
            return false;
        };
        let whole = !after.starts_with(|c: char| c.is_alphanumeric() || c == '_');
        if whole {
            self.at += word.len();
        }
        whole
    }

    fn name(&mut self) -> Option<String> {
        self.blank();
        let rest = &self.text[self.at..];
        let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
        let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        self.at += end;
        (end > 0).then(|| rest[..end].to_owned())
    }

    /// Source: queries that Event Viewer makes: `*[System[…]] and *[EventData[…]]`. Each is about the whole event.
    fn paths(&mut self) -> Result<Expression, NoQuery> {
        let mut parts = Vec::new();
        loop {
            let mut all = vec![Expression::Exists(Operand::Path(self.path()?))];
            while self.word("and") {
                all.push(Expression::Exists(Operand::Path(self.path()?)));
            }
            parts.push(Expression::And(all));
            if !self.word("or") {
                return Ok(Expression::Or(parts));
            }
        }
    }

    fn path(&mut self) -> Result<Path, NoQuery> {
        self.take("/");
        let mut steps = vec![self.step()?];
        while self.take("/") {
            steps.push(self.step()?);
        }
        Ok(Path { steps })
    }

    fn step(&mut self) -> Result<Step, NoQuery> {
        let what = if self.take("*") {
            What::Any
        } else if self.take("@") {
            let name = self.name();
            What::Attribute(name.ok_or_else(|| self.wanted("the name of an attribute"))?)
        } else if self.take(".") {
            What::Here
        } else {
            let name = self.name();
            What::Element(name.ok_or_else(|| self.wanted("* or the name of an element"))?)
        };
        let mut predicates = Vec::new();
        while self.take("[") {
            predicates.push(self.or()?);
            if !self.take("]") {
                return Err(self.wanted("]"));
            }
        }
        Ok(Step { what, predicates })
    }

    fn or(&mut self) -> Result<Expression, NoQuery> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.wanted("less nesting"));
        }
        let mut parts = vec![self.and()?];
        while self.word("or") {
            parts.push(self.and()?);
        }
        self.depth -= 1;
        Ok(if parts.len() == 1 {
            parts.remove(0)
        } else {
            Expression::Or(parts)
        })
    }

    fn and(&mut self) -> Result<Expression, NoQuery> {
        let mut parts = vec![self.term()?];
        while self.word("and") {
            parts.push(self.term()?);
        }
        Ok(if parts.len() == 1 {
            parts.remove(0)
        } else {
            Expression::And(parts)
        })
    }

    fn term(&mut self) -> Result<Expression, NoQuery> {
        let before = self.at;
        if self.word("not") {
            if self.take("(") {
                return Ok(Expression::Not(Box::new(self.closed()?)));
            }
            self.at = before;
        }
        if self.take("(") {
            return self.closed();
        }
        let left = self.operand()?;
        let Some(relation) = self.relation() else {
            return Ok(Expression::Exists(left));
        };
        self.blank();
        let at = self.at;
        let right = self.operand()?;
        // Assumed: two parts of an event are not compared, so that a word without quotes is a mistake.
        if !left.is_literal() && !right.is_literal() {
            self.at = at;
            return Err(self.wanted("a number, or a text in quotes"));
        }
        Ok(Expression::Compare(left, relation, right))
    }

    fn closed(&mut self) -> Result<Expression, NoQuery> {
        let inner = self.or()?;
        if self.take(")") {
            Ok(inner)
        } else {
            Err(self.wanted(")"))
        }
    }

    fn relation(&mut self) -> Option<Relation> {
        let relations = [
            ("!=", Relation::Different),
            ("<=", Relation::LessOrEqual),
            (">=", Relation::GreaterOrEqual),
            ("=", Relation::Equal),
            ("<", Relation::Less),
            (">", Relation::Greater),
        ];
        let found = relations.into_iter().find(|(token, _)| self.take(token));
        found.map(|(_, relation)| relation)
    }

    fn operand(&mut self) -> Result<Operand, NoQuery> {
        self.blank();
        let rest = &self.text[self.at..];
        if let Some(quote) = rest.chars().next().filter(|c| matches!(c, '\'' | '"')) {
            let Some(end) = rest[1..].find(quote) else {
                return Err(self.wanted("the closing quote"));
            };
            self.at += end + 2;
            return Ok(Operand::Text(rest[1..=end].to_owned()));
        }
        if rest.starts_with(|c: char| c.is_ascii_digit() || c == '-') {
            let number = |c: char| c.is_ascii_hexdigit() || matches!(c, '.' | '-' | 'x');
            let end = rest.find(|c| !number(c)).unwrap_or(rest.len());
            let value = number_of(&rest[..end]).ok_or_else(|| self.wanted("a number"))?;
            self.at += end;
            return Ok(Operand::Number(value));
        }
        if self.take("timediff(") {
            let path = self.path()?;
            let closed = self.take(")");
            return closed
                .then_some(Operand::TimeDifference(path))
                .ok_or_else(|| self.wanted(")"));
        }
        if self.take("band(") {
            return self.band();
        }
        Ok(Operand::Path(self.path()?))
    }

    fn band(&mut self) -> Result<Operand, NoQuery> {
        let path = self.path()?;
        if !self.take(",") {
            return Err(self.wanted(", and a mask"));
        }
        self.blank();
        let rest = &self.text[self.at..];
        let end = rest.find(')').ok_or_else(|| self.wanted(")"))?;
        let mask = match rest[..end].trim().strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16).ok(),
            None => rest[..end].trim().parse().ok(),
        };
        let mask = mask.ok_or_else(|| self.wanted("a mask, e.g. 36028797018963968"))?;
        self.at += end + 1;
        Ok(Operand::BitAnd(path, mask))
    }
}

/// A decimal number, or a whole hexadecimal one.
#[expect(clippy::cast_precision_loss, reason = "what is compared is small")]
fn number_of(text: &str) -> Option<f64> {
    match text.strip_prefix("0x") {
        Some(hex) => Some(u64::from_str_radix(hex, 16).ok()? as f64),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use sim_httpsys::clockwork::UtcTime;
    use sim_was::event_log::Event;
    use sim_was::event_record::EventRecord;

    use super::*;

    /// Event 5002 of the pool `P`, a minute and a half after the beginning of 1970.
    fn selects(query: &str) -> bool {
        let at = UtcTime(90_000_000_000);
        let event = EventRecord::new(&Event::rapid_fail("P"), 7, at, "HOST");
        Query::parse(query)
            .unwrap()
            .selects(&event.tree(), 100_000.0)
    }

    #[test]
    fn the_queries_that_administrators_type_select_what_they_name() {
        assert!(selects("*"));
        assert!(selects("*[System[(EventID=5002)]]"));
        assert!(selects("Event/System[EventID=5002]"));
        assert!(selects(
            "Event[System[Provider[@Name='Microsoft-Windows-WAS'] and (Level=1 or Level=2)]]"
        ));
        assert!(selects("*[System/Level<=2]"));
        assert!(selects("*[EventData[Data[@Name='AppPoolID']='P']]"));
        assert!(selects("*[EventData/Data='P']"));
        assert!(selects("*[System[Provider[@EventSourceName='WAS']]]"));
        assert!(selects(
            "*[System[EventID=5002]] and *[EventData[Data[@Name='AppPoolID']='P']]"
        ));
        assert!(selects("*[System[EventID=1]] or *[EventData[Data='P']]"));
        assert!(!selects(
            "*[System[EventID=1]] or *[System[EventID=5002]] and *[EventData[Data='Q']]"
        ));
        assert!(selects("*[System[band(Keywords,36028797018963968)]]"));
        assert!(!selects("*[System[EventID=5079]]"));
        assert!(!selects(
            "*[System[Provider[@Name=\"Service Control Manager\"]]]"
        ));
        assert!(!selects("*[System[not(EventID > 5000)]]"));
    }

    #[test]
    fn the_age_of_an_event_is_in_milliseconds() {
        assert!(selects(
            "*[System[TimeCreated[timediff(@SystemTime) <= 10000]]]"
        ));
        assert!(!selects(
            "*[System[TimeCreated[timediff(@SystemTime) < 10000]]]"
        ));
        assert!(selects(
            "*[System[TimeCreated[@SystemTime>='1970-01-01T00:01:00Z']]]"
        ));
    }

    #[test]
    fn a_query_that_makes_no_sense_is_refused_where_it_stops_making_sense() {
        for (query, at) in [
            ("*[System[EventID=]]", 17),
            ("*[System[EventID=abc]]", 17),
            ("*[System[Provider[@Name = Service]]]", 26),
            ("*[System", 8),
            ("", 0),
            ("* x", 2),
        ] {
            let refused = Query::parse(query).unwrap_err();
            assert_eq!(refused.at, at, "{query}: {refused}");
        }
        let deep = format!("*[{}", "(".repeat(1000));
        assert!(Query::parse(&deep).is_err());
    }
}
