//! What a simulated application costs and does.
//!
//! An application's "code" is the file `simulation.toml` in its root folder: it names the pages
//! that have a managed handler and what each of them takes. Static files need no entry. An
//! application without such a file has the built-in pages of [`Behaviour::built_in`].
//!
//! Costs are distributions. Nothing here draws: a request's draw is derived from its activity id, so
//! that the same attempt costs the same in every arm of a comparison.

use std::time::Duration;

use serde::Deserialize;

mod built_in;
mod distribution;
mod text;

pub use built_in::BuiltIn;
pub(crate) use built_in::{BYTES_MAX, TIME_MAX};
pub(crate) use distribution::unit;
pub use distribution::{Distribution, Draws, Purpose, hash, splitmix64};
pub use text::deserialize_size;
pub(crate) use text::duration;

/// The file, in the root folder of an application.
pub const FILE_NAME: &str = "simulation.toml";

/// The behaviour of one application.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Behaviour {
    /// `Application_Start`: what the first request of an application waits for.
    #[serde(default)]
    pub start: Start,
    /// `Application_End`: when the application is stopped in order.
    #[serde(default)]
    pub stop: Stop,
    /// Its pages.
    #[serde(default, rename = "page")]
    pub pages: Vec<Page>,
}

/// The `[start]` table.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Start {
    /// CPU time on one thread.
    pub cpu: Distribution,
    /// For example a database connection.
    pub wait: Distribution,
    /// Bytes, held until the process ends.
    #[serde(deserialize_with = "text::deserialize_size")]
    pub allocate: u64,
}

/// The `[stop]` table.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Stop {
    /// CPU time on one thread.
    pub cpu: Distribution,
    /// Time that it waits.
    pub wait: Distribution,
}

/// A `[[page]]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Page {
    /// Below the application, with its slash, no regard to case; `*` matches a run of characters.
    pub path: String,
    /// CPU time of the first use in a process, unless it is compiled on disk.
    pub compile: Distribution,
    /// Whether its compiled form survives in Temporary ASP.NET Files.
    pub compiled_on_disk: bool,
    /// CPU time of loading the compiled form, if it is on disk.
    pub load: Distribution,
    /// CPU time of its first execution. The JIT's work survives nothing.
    pub jit: Distribution,
    /// Bytes that the compiled page holds.
    #[serde(deserialize_with = "text::deserialize_size")]
    pub code: u64,
    /// CPU time of a request.
    pub cpu: Distribution,
    /// Time that a request waits.
    pub wait: Distribution,
    /// Whether it reads the body of its request, before anything else.
    pub reads_body: bool,
    /// The size of its body.
    #[serde(deserialize_with = "text::deserialize_size")]
    pub bytes: u64,
    /// How it uses the session.
    pub session: Access,
    /// Bytes that it leaves in a session.
    #[serde(deserialize_with = "text::deserialize_size")]
    pub session_bytes: u64,
    /// Bytes that it holds during the request.
    #[serde(deserialize_with = "text::deserialize_size")]
    pub allocate: u64,
    /// Bytes that it never gives back.
    #[serde(deserialize_with = "text::deserialize_size")]
    pub leak: u64,
    /// How long its responses stay in the worker's output cache.
    #[serde(deserialize_with = "text::deserialize_duration_maybe")]
    pub output_cache: Option<Duration>,
    /// How long the driver may keep its responses.
    #[serde(deserialize_with = "text::deserialize_duration_maybe")]
    pub kernel_cache: Option<Duration>,
    /// What it keeps in the application's cache.
    pub application_cache: Option<ApplicationCache>,
    /// What goes wrong.
    pub fault: Fault,
    /// Its built-in meaning, which no file can give it.
    #[serde(skip)]
    pub built_in: Option<BuiltIn>,
}

impl Default for Page {
    /// A page of 1 KiB that costs nothing.
    fn default() -> Self {
        Self {
            path: String::new(),
            compile: Distribution::ZERO,
            compiled_on_disk: false,
            load: Distribution::ZERO,
            jit: Distribution::ZERO,
            code: 0,
            cpu: Distribution::ZERO,
            wait: Distribution::ZERO,
            reads_body: true,
            bytes: 1024,
            session: Access::None,
            session_bytes: 0,
            allocate: 0,
            leak: 0,
            output_cache: None,
            kernel_cache: None,
            application_cache: None,
            fault: Fault::None,
            built_in: None,
        }
    }
}

impl Page {
    /// A page of 1 KiB that costs nothing, at `path`.
    pub fn at(path: &str) -> Self {
        Self {
            path: path.to_owned(),
            ..Self::default()
        }
    }
}

/// How a page uses the session (`EnableSessionState`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    /// Not at all.
    #[default]
    None,
    /// Shared; waits while a writer holds it.
    Read,
    /// Exclusively.
    Write,
}

/// What goes wrong when a page is executed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// The process dies of a segmentation fault.
    Crash,
    /// The process aborts.
    Abort,
    /// The process exits with code 1.
    Exit,
    /// The request is never answered and keeps its thread.
    Hang,
    /// The handler gives its request up before a byte of the response: the connection is reset.
    Reset,
    /// The same, after a first chunk of the response was sent.
    Cut,
    /// The handler throws: 500.
    Exception,
    /// The process reports itself as unhealthy (an ISAPI's `ReportUnhealthy`), and answers.
    Unhealthy,
    /// From this request on the process answers no request, and still answers pings.
    Zombie,
    /// From this request on the process answers no ping, and still answers requests.
    Deaf,
}

/// A `[page.application_cache]`: one look-up a request in `HttpRuntime.Cache`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApplicationCache {
    /// How many keys there are.
    pub keys: u32,
    /// The exponent of their popularity; 0 for all alike.
    #[serde(default)]
    pub zipf: f64,
    /// The size of a value.
    #[serde(deserialize_with = "text::deserialize_size")]
    pub bytes: u64,
    /// CPU time after a miss.
    #[serde(default)]
    pub miss_cpu: Distribution,
    /// Wait after a miss.
    #[serde(default)]
    pub miss_wait: Distribution,
    /// How long a value is good.
    #[serde(deserialize_with = "text::deserialize_duration")]
    pub ttl: Duration,
}

/// Why a `simulation.toml` was not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {reason}")]
pub struct BehaviourError {
    /// The file, as the caller named it.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// What is wrong there.
    pub reason: String,
}

/// The most bytes that a page may hold, answer or keep per entry, and that a cache may grow to.
/// Assumed: more is a slip of the pen on the machines that run a simulation.
const SIZE_MAX: u64 = 1 << 30;
/// The largest body: it is made once and kept.
const BODY_MAX: u64 = 64 << 20;

impl Behaviour {
    /// One page at every path.
    pub(crate) fn everywhere() -> Self {
        Self {
            pages: vec![Page::at("/*")],
            ..Self::default()
        }
    }

    /// Reads a `simulation.toml`. `file` is what errors call it.
    pub fn parse(file: &str, text: &str) -> Result<Self, BehaviourError> {
        let line_of = |offset: usize| text[..offset.min(text.len())].matches('\n').count() + 1;
        let error = |line, reason: String| BehaviourError {
            file: file.to_owned(),
            line,
            reason,
        };
        let behaviour: Self = toml::from_str(text).map_err(|wrong| {
            error(
                wrong.span().map_or(1, |span| line_of(span.start)),
                wrong.message().to_owned(),
            )
        })?;
        let mut seen = std::collections::BTreeSet::new();
        // TOML keeps no position of a table, so the nth page is found by its heading.
        let headings = || {
            text.lines()
                .enumerate()
                .filter(|(_, line)| line.trim_start().starts_with("[[page]]"))
        };
        for (index, page) in behaviour.pages.iter().enumerate() {
            let line = || headings().nth(index).map_or(1, |(line, _)| line + 1);
            page.check().map_err(|reason| error(line(), reason))?;
            if !seen.insert(page.path.to_lowercase()) {
                return Err(error(line(), format!("a second page `{}`", page.path)));
            }
        }
        if behaviour.start.allocate > SIZE_MAX {
            return Err(error(1, "start.allocate is larger than 1 GiB".to_owned()));
        }
        Ok(behaviour)
    }
}

impl Page {
    fn check(&self) -> Result<(), String> {
        if !self.path.starts_with('/') {
            return Err(format!(
                "the path of a page begins with a slash, `{}` does not",
                self.path
            ));
        }
        let sizes = [
            ("bytes", self.bytes, BODY_MAX),
            ("code", self.code, SIZE_MAX),
            ("session_bytes", self.session_bytes, SIZE_MAX),
            ("allocate", self.allocate, SIZE_MAX),
            ("leak", self.leak, SIZE_MAX),
        ];
        for (name, size, max) in sizes {
            if size > max {
                return Err(format!(
                    "{name} of `{}` is larger than {} MiB",
                    self.path,
                    max >> 20
                ));
            }
        }
        let Some(cache) = &self.application_cache else {
            return Ok(());
        };
        if cache.keys == 0 || cache.keys > 1_000_000 {
            return Err(format!(
                "keys of `{}` lies between 1 and 1000000",
                self.path
            ));
        }
        if !(0.0..=10.0).contains(&cache.zipf) {
            return Err(format!("zipf of `{}` lies between 0 and 10", self.path));
        }
        if cache.bytes.saturating_mul(u64::from(cache.keys)) > SIZE_MAX {
            return Err(format!(
                "the application cache of `{}` can grow above 1 GiB",
                self.path
            ));
        }
        Ok(())
    }
}

/// Whether `path` matches `pattern`, in which `*` stands for any run of characters. Both lower case.
pub(crate) fn matches(pattern: &str, path: &str) -> bool {
    let mut pieces = pattern.split('*');
    let Some(mut rest) = pieces.next().and_then(|first| path.strip_prefix(first)) else {
        return false;
    };
    let mut pieces = pieces.peekable();
    if pieces.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_none() {
            return rest.ends_with(piece);
        }
        let Some(at) = rest.find(piece) else {
            return false;
        };
        rest = &rest[at + piece.len()..];
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_file_is_read() {
        let text = r#"
[start]
cpu = "150ms"
wait = "50ms"
allocate = "8MiB"
[stop]
cpu = "20ms"
[[page]]
path = "/default.aspx"
compile = "120ms"
jit = "15ms"
code = "200KiB"
cpu = { exponential_mean = "300us" }
wait = "0ms"
reads_body = false
bytes = 1024
session = "write"
session_bytes = 2048
allocate = "0"
leak = "0"
output_cache = "30s"
kernel_cache = "30s"
fault = "none"
[page.application_cache]
keys = 500
zipf = 1.0
bytes = 4096
miss_cpu = "200us"
miss_wait = "5ms"
ttl = "10m"
"#;
        let behaviour = Behaviour::parse("simulation.toml", text).unwrap();
        assert_eq!(behaviour.start.allocate, 8 << 20);
        let page = &behaviour.pages[0];
        assert_eq!(page.session, Access::Write);
        assert!(!page.reads_body && Page::default().reads_body);
        assert_eq!(
            page.cpu,
            Distribution::Exponential {
                mean: Duration::from_micros(300)
            }
        );
        assert_eq!(
            page.application_cache.as_ref().unwrap().ttl,
            Duration::from_mins(10)
        );
    }

    #[test]
    fn a_mistake_is_reported_with_file_and_line() {
        let wrong = |text: &str| {
            Behaviour::parse("simulation.toml", text)
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            wrong("[start]\ncpu = \"fast\"\n"),
            "simulation.toml:2: `fast` is not a duration (write 250us, 5ms, 1.5s, 10m, 2h or hh:mm:ss)"
        );
        assert!(
            wrong("[[page]]\npath = \"/a\"\nspeed = 1\n")
                .starts_with("simulation.toml:3: unknown field `speed`")
        );
        assert!(
            wrong("[[page]]\npath = \"/a\"\n[[page]]\npath = \"b\"\n")
                .starts_with("simulation.toml:3: ")
        );
        assert!(
            wrong("[[page]]\npath = \"/a\"\n[[page]]\npath = \"/A\"\n").contains("a second page")
        );
        assert!(
            wrong("[start]\ncpu = { uniform = [\"3ms\", \"1ms\"] }\n")
                .contains("smaller duration first")
        );
    }

    #[test]
    fn a_star_matches_a_run_of_characters() {
        assert!(matches("/a/*.aspx", "/a/b/c.aspx"));
        assert!(matches("*", "/anything"));
        assert!(matches("/a*b*c", "/axxbyyc"));
        assert!(!matches("/a*b*c", "/axxc"));
        assert!(!matches("/a", "/ab"));
        assert!(!matches("/a*a", "/a"));
    }
}
