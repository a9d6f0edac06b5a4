//! Applications that change while the process runs: an application restarts without its process, one
//! comes, one goes.
//!
//! ```text
//!  changed:   old domain ── set apart ──► finishes its requests ─► Application_End ─► gone
//!             new domain ── Unloaded ───► started by its first request
//! ```
//!
//! Both domains live side by side, as in w3wp: what is in flight completes in the old one, everything
//! else enters the new one, and finds no session and no value of the old.
//!
//! Source: .NET reference source, `HostingEnvironment.InitiateShutdown` and `HttpRuntime.Dispose`: new
//! requests create a new domain; the old one waits for its active requests; caches are disposed of,
//! which ends all in-process sessions; then `Application_End`.
//! Assumed: it waits without limit, as integrated mode does until the native side has no request left.

use std::rc::Rc;
use std::time::Duration;

use sim_httpsys::api::{ControlCall, RequestQueueName, SharedRequest, UrlContext};
use sim_httpsys::clockwork::Instant;

use super::app_domain::{AppDomain, AppDomainState, Compiled};
use super::applications::draws;
use super::caches::Entry;
use super::handler::value_of;
use super::http_context::{HttpContext, Waits};
use super::modules::custom_error::Refusal;
use super::{Doer, Lifecycle, Timer, Work, WorkerProcess};
use crate::application::Purpose;
use crate::configuration::Application;
use crate::facts::{CacheLayer, Fact};

/// How long a request waits for WAS to tell of its application; and for how long no request must have come
/// for one that is to leave, as the old queue may still have some.
/// Assumed: URLs and workers are told on two ways, and either may be quicker; WAS sends both at once.
const STRANGER_MAX: Duration = Duration::from_secs(2);

impl WorkerProcess {
    /// WAS says how an application is now. If it restarts, or is new, its domain is a fresh one.
    pub(super) fn application_changed(
        &mut self,
        application: Application,
        restart: bool,
        now: Instant,
    ) {
        let context = application.url_context;
        let comes_back = self.leaving.remove(&context).is_some();
        if comes_back {
            self.deadlines.clear(Timer::Leave(context));
        }
        let restart = restart || comes_back;
        match self.domains.get_mut(&context) {
            Some(domain) if !restart => {
                let path = application.path.clone();
                domain.reconfigure(application);
                self.forget_files_of(context);
                self.flush_responses_below(path);
            }
            Some(_) => self.restart_application(application, now),
            None => {
                self.domains.insert(context, AppDomain::new(application));
            }
        }
        for request in self.strangers.remove(&context).unwrap_or_default() {
            self.deadlines.clear(Timer::Request(request));
            self.runnable.push_back(request);
        }
    }

    /// A fresh domain takes the place of the one that there is.
    pub(super) fn restart_application(&mut self, application: Application, now: Instant) {
        let context = application.url_context;
        let Some(domain) = self.domains.get(&context) else {
            return;
        };
        let (name, starting) = (domain.name(), domain.is_starting());
        let before = Rc::clone(&domain.application);
        self.state(Fact::ApplicationRestarted { application: name });
        self.flush_responses_below(application.path.clone());
        self.contents_lost(context);
        self.set_apart(context);
        if before.virtual_directories == application.virtual_directories {
            self.dress_files_of(&application);
        } else {
            self.forget_files_of(context);
        }
        self.domains.insert(context, AppDomain::new(application));
        if starting && matches!(self.lifecycle, Lifecycle::Preloading { .. }) {
            self.start_application(context, now);
        } else {
            self.initialize_again(context, now);
        }
    }

    /// What the driver keeps of an application was made as it was before.
    ///
    /// Source: KB911822: the worker keeps track of what it has put into the driver's cache in order to flush it
    /// when that has changed. Assumed: for an application that restarts, or whose settings change, all of it.
    fn flush_responses_below(&mut self, path: String) {
        let queue = RequestQueueName(self.pool.clone());
        self.call(ControlCall::FlushResponseCache {
            queue,
            url: Some(path),
            recursive: true,
        });
    }

    /// WAS says that an application is gone from this pool: it leaves when no request comes for it any more.
    pub(super) fn application_removed(&mut self, context: UrlContext, now: Instant) {
        if self.domains.contains_key(&context) {
            self.leaving.insert(context, now);
            // Also if it comes back: it is a new one then.
            self.lost(CacheLayer::File, self.files.entries_of(context));
            self.contents_lost(context);
            self.deadlines
                .set(Timer::Leave(context), now + STRANGER_MAX);
        }
    }

    /// Looks whether a request has come for an application that is to leave. One that comes after that is a
    /// stranger's.
    pub(super) fn leave(&mut self, context: UrlContext, now: Instant) {
        let Some(last) = self.leaving.get_mut(&context) else {
            return;
        };
        // Before it takes requests none can come; what waits for its first receive may be for this one.
        let takes_requests = match self.lifecycle {
            Lifecycle::Opening(_) | Lifecycle::Initializing | Lifecycle::Preloading { .. } => false,
            Lifecycle::Running
            | Lifecycle::Suspending(_)
            | Lifecycle::Suspended
            | Lifecycle::Draining { .. }
            | Lifecycle::Stopping { .. }
            | Lifecycle::Exited => true,
        };
        if !takes_requests {
            *last = now;
        }
        let due = *last + STRANGER_MAX;
        if now < due {
            return self.deadlines.set(Timer::Leave(context), due);
        }
        self.leaving.remove(&context);
        if let Some(domain) = self.domains.get(&context) {
            let name = domain.name();
            self.state(Fact::ApplicationRestarted { application: name });
            self.forget_files_of(context);
            self.set_apart(context);
        }
    }

    /// A request for an application that this worker does not know waits a little for it.
    pub(super) fn await_application(&mut self, mut context: Box<HttpContext>, now: Instant) {
        let (application, request) = (context.request.url_context, context.request.id);
        context.waits = Waits::Start;
        self.strangers.entry(application).or_default().push(request);
        self.deadlines
            .set(Timer::Request(request), now + STRANGER_MAX);
        self.park(context);
    }

    /// Nobody has told of a request's application.
    pub(super) fn remained_a_stranger(&mut self, context: Box<HttpContext>, now: Instant) {
        if let Some(waiting) = self.strangers.get_mut(&context.request.url_context) {
            waiting.retain(|request| *request != context.request.id);
        }
        let refusal = Refusal::because(500, 0, "this pool has no such application");
        self.refuse(context, &refusal, now);
    }

    /// Takes a domain out of the way of new requests, under a number that no request comes with.
    fn set_apart(&mut self, context: UrlContext) {
        let Some(mut domain) = self.domains.remove(&context) else {
            return;
        };
        self.forget_outputs(context);
        self.stop_watching(context);
        match &mut domain.state {
            AppDomainState::Unloaded | AppDomainState::Failed(_) | AppDomainState::Unloading => {
                self.given_back(&domain);
            }
            AppDomainState::Reading { waiting, .. } | AppDomainState::Starting { waiting, .. } => {
                // They start with the new domain; what was begun for the old one leads nowhere.
                self.runnable.extend(std::mem::take(waiting));
                self.deadlines.clear(Timer::ApplicationStart(context));
                self.works.retain(|doer| !doer.starts(context));
                self.given_back(&domain);
            }
            AppDomainState::Started | AppDomainState::Offline => {
                self.retired += 1;
                let apart = UrlContext(u64::MAX - self.retired);
                for request in self.contexts.values_mut() {
                    let here = request.request.url_context == context;
                    if here && (request.waits != Waits::Start) {
                        SharedRequest::make_mut(&mut request.request).url_context = apart;
                    }
                }
                for doer in self.works.values_mut() {
                    doer.rename(context, apart);
                }
                self.sessions.rename(context, apart);
                self.values.rename(context, apart);
                self.domains.insert(apart, domain);
                self.unloading.insert(apart);
            }
        }
    }

    /// New requests find nothing of what the pages of an application have made.
    fn contents_lost(&mut self, context: UrlContext) {
        let Some(domain) = self.domains.get(&context) else {
            return;
        };
        let pages = compiled_pages(domain);
        let values = self.values.entries_of(context).into_iter();
        let values = values.map(|entry| value_of(context, entry)).collect();
        self.lost(CacheLayer::Output, self.responses.entries_of(context));
        self.lost(CacheLayer::Application, values);
        self.lost(CacheLayer::Compiled, pages);
    }

    /// Responses that pages have made belong to their domain.
    fn forget_outputs(&mut self, context: UrlContext) {
        let gone = self.responses.forget_application(context);
        self.removed(CacheLayer::Output, gone);
    }

    /// Goes on with domains that have no request left.
    pub(super) fn unload_the_finished(&mut self, now: Instant) {
        if self.unloading.is_empty() {
            return;
        }
        let busy = |apart: UrlContext| {
            let mut requests = self.contexts.iter();
            let mut works = self.works.iter();
            requests.any(|(_, context)| context.request.url_context == apart)
                || works.any(|(_, doer)| matches!(doer, Doer::Compile(of, _) if *of == apart))
        };
        let finished: Vec<_> = self
            .unloading
            .iter()
            .copied()
            .filter(|a| !busy(*a))
            .collect();
        for apart in finished {
            self.unloading.remove(&apart);
            self.unload(apart, now);
        }
    }

    /// Sessions and values end, then `Application_End` runs.
    fn unload(&mut self, apart: UrlContext, now: Instant) {
        for (application, session) in self.sessions.end_all_of(apart) {
            let expired = false;
            self.state(Fact::SessionEnd {
                application,
                session,
                expired,
            });
        }
        let gone = self.values.forget_application(apart).into_iter();
        let of = self
            .domains
            .get(&apart)
            .map_or(apart, |domain| domain.application.url_context);
        let gone = gone.map(|entry| value_of(of, entry)).collect();
        self.removed(CacheLayer::Application, gone);
        self.forget_outputs(apart);
        self.forget_files_of(apart);
        let pages = self.domains.get(&apart).map(compiled_pages);
        self.removed(CacheLayer::Compiled, pages.unwrap_or_default());
        let Some(domain) = self.domains.get_mut(&apart) else {
            return;
        };
        if domain.offline.is_some() {
            // It had never started.
            self.forget_domain(apart);
            return;
        }
        domain.state = AppDomainState::Unloading;
        let cpu = domain
            .behaviour
            .stop
            .cpu
            .at(draws(apart, "stop cpu").draw(Purpose::Start));
        if cpu.is_zero() {
            self.application_wound_up(apart, now);
        } else {
            let work = Work::Run { cpu, allocate: 0 };
            self.start_work(work, Doer::StopApplication(apart));
        }
    }

    /// `Application_End` of a domain that was set apart has returned: true if it was one.
    pub(super) fn unloaded(&mut self, context: UrlContext) -> bool {
        let was_apart = self
            .domains
            .get(&context)
            .is_some_and(|domain| matches!(domain.state, AppDomainState::Unloading));
        if was_apart {
            self.forget_domain(context);
        }
        was_apart
    }

    fn forget_domain(&mut self, context: UrlContext) {
        if let Some(domain) = self.domains.remove(&context) {
            self.given_back(&domain);
        }
    }

    /// What a domain has allocated goes with it.
    fn given_back(&mut self, domain: &AppDomain) {
        self.allocated = self.allocated.saturating_sub(domain.allocated);
    }
}

/// What a domain has compiled: it is of no use to the next one, and stays until the domain unloads.
fn compiled_pages(domain: &AppDomain) -> Vec<Entry> {
    let compiled = |compiled: &Compiled| matches!(compiled, Compiled::Yes(_));
    let pages = domain.pages.iter().filter(|page| compiled(&page.compiled));
    pages
        .map(|page| {
            let of = domain.application.url_context;
            (page.hash ^ of.0, page.page.code)
        })
        .collect()
}

impl Doer {
    /// Whether it belongs to the start of an application.
    fn starts(&self, context: UrlContext) -> bool {
        match self {
            Self::ReadApplication(of)
            | Self::ReadOfflineApplication(of)
            | Self::StartApplication(of) => *of == context,
            Self::Initialize
            | Self::Request(_)
            | Self::WatchOffline(_)
            | Self::StopApplication(_)
            | Self::Compile(..)
            | Self::Watch(_) => false,
        }
    }

    fn rename(&mut self, from: UrlContext, to: UrlContext) {
        if let Self::Compile(context, _) = self
            && *context == from
        {
            *context = to;
        }
    }
}
