//! The pages of an application without a `simulation.toml`: a teacher with curl can use any site.

use std::time::Duration;

use super::{Access, ApplicationCache, Behaviour, Distribution, Fault, Page};

/// A page whose cost its query may choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuiltIn {
    /// `/wait.aspx?time=MS` waits.
    Wait,
    /// `/cpu.aspx?time=MS` burns.
    Cpu,
    /// `/session.aspx` counts visits.
    Session,
    /// `/cache.aspx` uses the application's cache.
    Cache,
    /// `/leak.aspx?bytes=N` never gives back.
    Leak,
    /// `/alloc.aspx?bytes=N` gives back at the end of the request.
    Alloc,
    /// `/exit.aspx?code=N` ends the process.
    Exit,
}

/// The longest wait or burn that a query may ask for.
pub(crate) const TIME_MAX: Duration = Duration::from_mins(10);
/// The most bytes that a query may ask for.
pub(crate) const BYTES_MAX: u64 = 256 << 20;

impl Behaviour {
    /// What an application without a `simulation.toml` does. Nothing costs anything by itself.
    pub fn built_in() -> Self {
        let page = |path: &str, built_in| Page {
            built_in,
            ..Page::at(path)
        };
        let fault = |path: &str, fault| Page {
            fault,
            ..Page::at(path)
        };
        Self {
            start: super::Start::default(),
            stop: super::Stop::default(),
            pages: vec![
                page("/default.aspx", None),
                page("/wait.aspx", Some(BuiltIn::Wait)),
                page("/cpu.aspx", Some(BuiltIn::Cpu)),
                Page {
                    session: Access::Write,
                    ..page("/session.aspx", Some(BuiltIn::Session))
                },
                Page {
                    application_cache: Some(ApplicationCache {
                        keys: 100,
                        zipf: 1.0,
                        bytes: 4096,
                        miss_cpu: Distribution::ZERO,
                        miss_wait: Distribution::ZERO,
                        ttl: Duration::from_mins(10),
                    }),
                    ..page("/cache.aspx", Some(BuiltIn::Cache))
                },
                page("/leak.aspx", Some(BuiltIn::Leak)),
                page("/alloc.aspx", Some(BuiltIn::Alloc)),
                fault("/crash.aspx", Fault::Crash),
                Page {
                    fault: Fault::Exit,
                    ..page("/exit.aspx", Some(BuiltIn::Exit))
                },
                fault("/hang.aspx", Fault::Hang),
                fault("/error.aspx", Fault::Exception),
                fault("/reset.aspx", Fault::Reset),
                fault("/cut.aspx", Fault::Cut),
                fault("/unhealthy.aspx", Fault::Unhealthy),
                fault("/zombie.aspx", Fault::Zombie),
                fault("/deaf.aspx", Fault::Deaf),
            ],
        }
    }
}
