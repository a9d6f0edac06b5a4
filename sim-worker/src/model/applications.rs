//! How a worker starts, warms and stops its applications.

use sim_httpsys::api::{ActivityId, RequestId, UrlContext};
use sim_httpsys::clockwork::Instant;

use super::app_domain::{AppDomainState, Compiled};
use super::app_offline::APP_OFFLINE;
use super::{Doer, FileOutcome, FileSeen, Lifecycle, Timer, Work, WorkerProcess};
use crate::application::{Behaviour, Draws, FILE_NAME, Purpose, hash};
use crate::facts::{CacheLayer, Fact};

/// Draws for what no request pays for: the same in every worker.
pub(super) fn draws(context: UrlContext, purpose: &str) -> Draws {
    Draws::of(ActivityId(0), RequestId(context.0), hash(purpose))
}

impl WorkerProcess {
    /// Starts the applications that are to be warm before the worker is ready.
    pub(super) fn preload(&mut self, now: Instant) {
        let preloaded = self
            .domains
            .iter()
            .filter(|(_, domain)| domain.application.preload || domain.application.auto_start);
        let preloaded: Vec<UrlContext> = preloaded.map(|(&context, _)| context).collect();
        self.lifecycle = Lifecycle::Preloading {
            left: preloaded.len(),
        };
        if preloaded.is_empty() {
            return self.ready(now);
        }
        for context in preloaded {
            self.start_application(context, now);
        }
    }

    /// Begins an application's start: its "code" is read first.
    pub(super) fn start_application(&mut self, context: UrlContext, now: Instant) {
        let Some(domain) = self.domains.get_mut(&context) else {
            return;
        };
        domain.state = AppDomainState::Reading {
            began: now,
            waiting: Vec::new(),
        };
        match domain.root() {
            Some(root) => {
                let read = Work::ReadFile {
                    root,
                    candidates: vec![APP_OFFLINE.to_owned(), FILE_NAME.to_owned()],
                    unless: None,
                };
                self.start_work(read, Doer::ReadApplication(context));
            }
            None => self.application_read(context, FileOutcome::NotFound, now),
        }
    }

    /// The file `simulation.toml` was read, or is not there.
    pub(super) fn application_read(
        &mut self,
        context: UrlContext,
        file: FileOutcome,
        now: Instant,
    ) {
        let may_be_read = !matches!(file, FileOutcome::Denied | FileOutcome::TooLarge);
        let behaviour = match file {
            FileOutcome::Contents { contents, .. } => match str::from_utf8(&contents) {
                Ok(text) => Behaviour::parse(FILE_NAME, text).map_err(|error| error.to_string()),
                Err(_) => Err(format!("{FILE_NAME} is not UTF-8")),
            },
            FileOutcome::NotFound | FileOutcome::Directory | FileOutcome::Unchanged => {
                Ok(Behaviour::built_in())
            }
            FileOutcome::Denied => Err(format!("{FILE_NAME} may not be read")),
            FileOutcome::TooLarge => Err(format!("{FILE_NAME} is too large")),
        };
        let Some(domain) = self.domains.get_mut(&context) else {
            return;
        };
        let AppDomainState::Reading { began, waiting } =
            std::mem::replace(&mut domain.state, AppDomainState::Unloaded)
        else {
            return;
        };
        match behaviour {
            Err(_) if domain.offline.is_some() && may_be_read => {
                domain.load(Behaviour::everywhere());
                domain.state = AppDomainState::Offline;
                self.runnable.extend(waiting);
                self.preloaded(now);
            }
            Err(message) => {
                domain.state = AppDomainState::Failed(message);
                if !may_be_read {
                    // What was taken for a locked `app_offline.htm` was this, or the whole folder is locked.
                    self.watch(context, FILE_NAME, FileSeen::Unreadable);
                }
                self.runnable.extend(waiting);
                self.preloaded(now);
            }
            Ok(behaviour) => {
                domain.load(behaviour);
                if domain.offline.is_some() {
                    domain.state = AppDomainState::Offline;
                    self.runnable.extend(waiting);
                    return self.preloaded(now);
                }
                domain.state = AppDomainState::Starting {
                    began,
                    waiting: Vec::new(),
                };
                if domain.shows_splash() {
                    self.runnable.extend(waiting);
                } else {
                    domain.wait_for_start(waiting);
                }
                let cpu = domain
                    .behaviour
                    .start
                    .cpu
                    .at(draws(context, "start cpu").draw(Purpose::Start));
                let allocate = domain.behaviour.start.allocate;
                if cpu.is_zero() && allocate == 0 {
                    self.application_ran(context, Vec::new(), now);
                } else {
                    self.start_work(Work::Run { cpu, allocate }, Doer::StartApplication(context));
                }
            }
        }
    }

    /// `Application_Start` has burnt its CPU time; now it waits.
    pub(super) fn application_ran(&mut self, context: UrlContext, memory: Vec<u8>, now: Instant) {
        let Some(domain) = self.domains.get_mut(&context) else {
            return;
        };
        domain.memory = memory;
        let wait = domain
            .behaviour
            .start
            .wait
            .at(draws(context, "start wait").draw(Purpose::Start));
        if wait.is_zero() {
            self.application_started(context, now);
        } else {
            self.deadlines
                .set(Timer::ApplicationStart(context), now + wait);
        }
    }

    /// `Application_Start` has returned: those who waited go on.
    pub(super) fn application_started(&mut self, context: UrlContext, now: Instant) {
        let Some(domain) = self.domains.get_mut(&context) else {
            return;
        };
        let AppDomainState::Starting { began, waiting } =
            std::mem::replace(&mut domain.state, AppDomainState::Started)
        else {
            return;
        };
        let application = domain.name();
        let took = now.saturating_since(began);
        self.runnable.extend(waiting);
        self.state(Fact::ApplicationStarted {
            application,
            took: u64::try_from(took.as_nanos()).unwrap_or(u64::MAX),
        });
        self.initialize_application(context, now);
    }

    /// One more preloaded application is warm (or will never be).
    pub(super) fn preloaded(&mut self, now: Instant) {
        if let Lifecycle::Preloading { left } = self.lifecycle {
            self.lifecycle = Lifecycle::Preloading { left: left - 1 };
            if left == 1 {
                self.ready(now);
            }
        }
    }

    /// Compiles (or loads) a page and runs the JIT on it, for the first request that wants it.
    pub(super) fn begin_compiling(&mut self, context: UrlContext, page: usize, draws: Draws) {
        let Some(domain) = self.domains.get_mut(&context) else {
            return;
        };
        let loaded = &mut domain.pages[page];
        loaded.compiled = Compiled::Compiling(Vec::new());
        let draw = draws.draw(Purpose::Compile);
        let page_cost = if loaded.page.compiled_on_disk {
            loaded.page.load
        } else {
            loaded.page.compile
        };
        let cpu = page_cost.at(draw) + loaded.page.jit.at(draw);
        let allocate = loaded.page.code;
        if cpu.is_zero() && allocate == 0 {
            self.compiled(context, page, Vec::new());
        } else {
            self.start_work(Work::Run { cpu, allocate }, Doer::Compile(context, page));
        }
    }

    /// A page is compiled: those who waited for it go on.
    pub(super) fn compiled(&mut self, context: UrlContext, page: usize, code: Vec<u8>) {
        let Some(domain) = self.domains.get_mut(&context) else {
            return;
        };
        let loaded = &mut domain.pages[page];
        // By the name that its application has: the domain may have been set apart.
        let key = loaded.hash ^ domain.application.url_context.0;
        let bytes = loaded.page.code;
        if let Compiled::Compiling(waiting) =
            std::mem::replace(&mut loaded.compiled, Compiled::Yes(code))
        {
            self.runnable.extend(waiting);
        }
        self.state(Fact::CacheInsert {
            layer: CacheLayer::Compiled,
            key,
            bytes,
            expires: None,
        });
    }

    /// Stops the applications that were started; then the process exits.
    ///
    /// Source: .NET reference source, `HttpRuntime.Dispose`: caches are disposed of, which ends all
    /// in-process sessions, then `Application_End` runs.
    pub(super) fn stop_applications(&mut self, now: Instant) {
        for (application, session) in self.sessions.end_all() {
            let expired = false;
            self.state(Fact::SessionEnd {
                application,
                session,
                expired,
            });
        }
        let started = self
            .domains
            .iter()
            .filter(|(_, domain)| matches!(domain.state, AppDomainState::Started));
        let started: Vec<UrlContext> = started.map(|(&context, _)| context).collect();
        self.lifecycle = Lifecycle::Stopping {
            left: started.len(),
        };
        if started.is_empty() {
            return self.exit(0);
        }
        for context in started {
            let stop = &self.domains[&context].behaviour.stop;
            let cpu = stop.cpu.at(draws(context, "stop cpu").draw(Purpose::Start));
            if cpu.is_zero() {
                self.application_wound_up(context, now);
            } else {
                self.start_work(
                    Work::Run { cpu, allocate: 0 },
                    Doer::StopApplication(context),
                );
            }
        }
    }

    /// `Application_End` has burnt its CPU time; now it waits.
    pub(super) fn application_wound_up(&mut self, context: UrlContext, now: Instant) {
        let Some(domain) = self.domains.get(&context) else {
            return;
        };
        let stop = &domain.behaviour.stop;
        let wait = stop
            .wait
            .at(draws(context, "stop wait").draw(Purpose::Start));
        if wait.is_zero() {
            self.application_stopped(context);
        } else {
            self.deadlines
                .set(Timer::ApplicationStop(context), now + wait);
        }
    }

    /// One more application is stopped.
    pub(super) fn application_stopped(&mut self, context: UrlContext) {
        if self.unloaded(context) {
            return;
        }
        if let Lifecycle::Stopping { left } = self.lifecycle {
            self.lifecycle = Lifecycle::Stopping { left: left - 1 };
            if left == 1 {
                self.exit(0);
            }
        }
    }
}
