//! The life of a request in a worker, from the driver's completion to the response.
//!
//! ```text
//!   BeginRequest ─► (application starts) ─► request filtering ─► map handler ─┬► a file: files.rs
//!                                                                            └► a page:
//!   output cache ─► thread ─► compile ─► session ─► run ─► wait ─► respond ─► update caches ─► end
//! ```
//!
//! Each step either calls the next one or parks the request in [`HttpContext`] with what it waits
//! for; what ends the wait calls [`WorkerProcess::resume`] or its kin. A request that waits for nothing
//! runs through in one go, which is the path that matters for speed.

use sim_httpsys::api::{RequestId, SharedRequest};
use sim_httpsys::clockwork::Instant;
use sim_httpsys::clockwork::mutants::{Mutant, mutated};

use super::app_domain::{AppDomain, AppDomainState, Compiled};
use super::app_offline;
use super::files::{below, lower_case_with_slashes, redirect};
use super::http_context::{HeldSession, HttpContext, Notification, Waits};
use super::modules::custom_error::{self, Refusal};
use super::modules::{Reply, request_filtering, session};
use super::response_policy::output_key;
use super::session_state::{self, Lookup};
use super::{Lifecycle, Outcome, Timer, WorkerProcess};
use crate::application::{Access, Draws};
use crate::facts::{CacheLayer, Fact, SessionId};

impl WorkerProcess {
    /// A pending receive has completed.
    pub(super) fn begin_request(&mut self, request: SharedRequest, now: Instant) {
        self.posted = self.posted.saturating_sub(1);
        let (id, activity) = (request.id, request.activity);
        self.state(Fact::RequestBegan {
            request: id,
            activity,
        });
        if matches!(self.lifecycle, Lifecycle::Stopping { .. }) {
            return self.state(Fact::RequestAborted {
                request: id,
                activity,
            });
        }
        self.in_flight += 1;
        self.post_receives();
        let recycle = self.health.request(now);
        self.request_recycle(recycle);
        if mutated(Mutant::LoseRequest) && id.0.is_multiple_of(100) {
            return;
        }
        let context = self.memory_for(HttpContext::new(request, now));
        if self.is_one_too_many(&context) {
            return self.refuse(context, &Refusal::new(503, 2), now);
        }
        self.enter_application(context, now);
    }

    /// Counts a request of an application; true if it has as many as it may.
    ///
    /// Source: `serverRuntime/@appConcurrentRequestLimit`, and its status 503.2.
    fn is_one_too_many(&mut self, context: &HttpContext) -> bool {
        let application = context.application;
        let requests = self.concurrent.entry(application).or_default();
        *requests += 1;
        let limit = |domain: &AppDomain| domain.application.concurrent_requests_max;
        let domain = self.domains.get(&application);
        domain.is_some_and(|domain| *requests > limit(domain))
    }

    /// Waits for the application to be started, if it is not.
    pub(super) fn enter_application(&mut self, mut context: Box<HttpContext>, now: Instant) {
        if !self.symptoms.answers_requests {
            context.waits = Waits::Hang;
            return self.park(context);
        }
        let application = context.request.url_context;
        if let Some(last) = self.leaving.get_mut(&application) {
            *last = now;
        }
        let Some(domain) = self.domains.get_mut(&application) else {
            return self.await_application(context, now);
        };
        // Source: IIS status 500.19: "configuration data is invalid", which is looked at before anything is run.
        if let Some(message) = &domain.application.settings.error {
            let refusal = Refusal::because(500, 19, message.clone());
            return self.refuse(context, &refusal, now);
        }
        let splash = domain.shows_splash();
        match &mut domain.state {
            AppDomainState::Started | AppDomainState::Offline => self.map(context, now),
            AppDomainState::Failed(message) => {
                let refusal = Refusal::because(500, 19, message.clone());
                self.refuse(context, &refusal, now);
            }
            AppDomainState::Starting { .. } if splash => self.map(context, now),
            AppDomainState::Reading { waiting, .. } | AppDomainState::Starting { waiting, .. } => {
                context.waits = Waits::Start;
                waiting.push(context.request.id);
                self.park(context);
            }
            AppDomainState::Unloading => {
                let refusal = Refusal::because(503, 0, "the application is being unloaded");
                self.refuse(context, &refusal, now);
            }
            AppDomainState::Unloaded => {
                self.start_application(application, now);
                self.enter_application(context, now);
            }
        }
    }

    /// Finds out who answers: a page with a handler, or a file.
    fn map(&mut self, mut context: Box<HttpContext>, now: Instant) {
        context.notification = Notification::MapRequestHandler;
        let domain = self.domains.get_mut(&context.request.url_context);
        if let Some(page) = domain.and_then(|domain| domain.page_again(&context.request)) {
            return self.managed(context, page, now);
        }
        let domain = &self.domains[&context.request.url_context];
        let request = SharedRequest::clone(&context.request);
        let text = &request.text;
        if text.path.is_empty() {
            // `OPTIONS *`.
            return self.static_file(context, String::from("/"), (0, None), now);
        }
        let path = Some(text.str(text.path)).filter(|path| !path.is_empty());
        let Some(path) = path.and_then(|path| below(&domain.application.path, path)) else {
            return self.refuse(context, &Refusal::new(404, 0), now);
        };
        let path = lower_case_with_slashes(path);
        let settings = domain.application.settings_at(&path);
        if let Some(message) = &settings.error {
            let refusal = Refusal::because(500, 19, message.clone());
            return self.refuse(context, &refusal, now);
        }
        let rules = (&settings.request_limits, &settings.request_filtering);
        if let Err(refusal) = request_filtering::check(&context.request, &path, rules) {
            return self.refuse(context, &refusal, now);
        }
        if path.is_empty() {
            let reply = redirect(&context);
            return self.finish(context, reply, now);
        }
        if let Some(page) = domain.page_at(&path) {
            if let Some(domain) = self.domains.get_mut(&request.url_context) {
                domain.remember_page(&request, page);
            }
            return self.managed(context, page, now);
        }
        let mut documents = (settings.default_documents.len(), None);
        if path.ends_with('/') {
            let names = settings.default_documents.iter().enumerate();
            let with_page = |(index, name): (usize, &String)| {
                Some((
                    index,
                    domain.page_at(&format!("{path}{}", name.to_lowercase()))?,
                ))
            };
            if let Some((index, page)) = names.into_iter().find_map(with_page) {
                documents = (index, Some(page));
            }
        }
        if let (0, Some(page)) = documents {
            return self.managed(context, page, now);
        }
        self.static_file(context, path.into_owned(), documents, now);
    }

    /// A page with a managed handler: perhaps the output cache has its response.
    pub(super) fn managed(&mut self, mut context: Box<HttpContext>, page: usize, now: Instant) {
        let domain = &self.domains[&context.request.url_context];
        if let Some(text) = &domain.offline {
            let reply = app_offline::reply(text, self.process);
            return self.finish(context, reply, now);
        }
        let is_visitor = !context.simulated;
        if is_visitor && domain.shows_splash() {
            return self.show_splash(context, now);
        }
        context.page = Some(page);
        context.enters(Notification::ResolveRequestCache, "HttpCacheModule");
        let text = &context.request.text;
        let verb = text.bytes(text.verb);
        if !matches!(verb, b"GET" | b"HEAD" | b"POST") {
            // Source: handler PageHandlerFactory-Integrated: verbs GET, HEAD, POST, DEBUG.
            let reply = custom_error::reply(&Refusal::new(405, 0), "Allow: GET, HEAD, POST\r\n");
            return self.finish(context, reply, now);
        }
        if verb != b"POST" && self.keeps_output(&context).is_some() {
            let (response, expired) = self.responses.get(&output_key(&context.request), now);
            self.removed(CacheLayer::Output, expired.into_iter().collect());
            self.state(Fact::CacheLookup {
                layer: CacheLayer::Output,
                hit: response.is_some(),
            });
            if let Some(response) = response {
                let policy = self.driver_policy(&context);
                let (headers, body) = (response.headers, response.body);
                let reply = Reply {
                    status: 200,
                    substatus: 0,
                    headers,
                    body,
                    policy,
                };
                return self.finish(context, reply, now);
            }
        }
        context.enters(Notification::MapRequestHandler, "ManagedPipelineHandler");
        if self.threads.take_or_wait(context.request.id) {
            context.has_thread = true;
            self.compile(context, page, now);
        } else {
            context.waits = Waits::Thread;
            self.park(context);
        }
    }

    /// The page must be compiled in this process.
    fn compile(&mut self, mut context: Box<HttpContext>, page: usize, now: Instant) {
        let url_context = context.request.url_context;
        let Some(domain) = self.domains.get_mut(&url_context) else {
            return;
        };
        let loaded = &mut domain.pages[page];
        match &mut loaded.compiled {
            Compiled::Yes(_) => {
                self.state(Fact::CacheLookup {
                    layer: CacheLayer::Compiled,
                    hit: true,
                });
                return self.take_session(context, page, now);
            }
            Compiled::Compiling(waiting) => waiting.push(context.request.id),
            Compiled::No => {
                let draws = Draws::of(context.request.activity, context.request.id, loaded.hash);
                let free = loaded.page.code == 0
                    && loaded.page.jit.is_zero()
                    && if loaded.page.compiled_on_disk {
                        loaded.page.load.is_zero()
                    } else {
                        loaded.page.compile.is_zero()
                    };
                self.begin_compiling(url_context, page, draws);
                if free {
                    self.state(Fact::CacheLookup {
                        layer: CacheLayer::Compiled,
                        hit: false,
                    });
                    return self.take_session(context, page, now);
                }
                let domain = self
                    .domains
                    .get_mut(&url_context)
                    .expect("it was there above");
                if let Compiled::Compiling(waiting) = &mut domain.pages[page].compiled {
                    waiting.push(context.request.id);
                }
            }
        }
        self.state(Fact::CacheLookup {
            layer: CacheLayer::Compiled,
            hit: false,
        });
        context.waits = Waits::Compiling;
        self.park(context);
    }

    /// The page may need its client's session, and its lock.
    fn take_session(&mut self, mut context: Box<HttpContext>, page: usize, now: Instant) {
        let request = &context.request;
        let domain = &self.domains[&request.url_context];
        let access = domain.pages[page].page.session;
        // Source: .NET reference source, `SessionStateModule.InitModuleFromConfig`: nothing is set up for mode Off.
        // Assumed: a page that only may use a session does without it.
        let settings = domain.application.session_state;
        if access == Access::None || !settings.enabled {
            return self.execute(context, page, now);
        }
        context.enters(Notification::AcquireRequestState, "Session");
        let (id, scope) = (context.request.id, session::scope(&context.request));
        let held = if let Some(held) = context.session {
            held
        } else {
            let request = SharedRequest::clone(&context.request);
            let brought = session::id_of(&request);
            let application = context.application;
            let activity = request.activity;
            let timeout = u64::try_from(settings.timeout.as_nanos()).unwrap_or(u64::MAX);
            let held = match (
                brought,
                brought.and_then(|id| self.sessions.find(scope, id)),
            ) {
                (_, Some((number, session))) => {
                    self.state(Fact::SessionFound {
                        application,
                        session,
                        activity,
                        timeout,
                    });
                    let found = Lookup::Here;
                    HeldSession { number, found }
                }
                (brought, None) => {
                    let scopes = (scope, application);
                    let (number, session) = self.sessions.begin(scopes, brought, id, now);
                    if brought.is_some() {
                        let session = SessionId::clone(&session);
                        self.state(Fact::SessionMissing {
                            application,
                            session,
                        });
                    }
                    self.state(Fact::SessionStart {
                        application,
                        session,
                        activity,
                        timeout,
                    });
                    let found = brought.map_or(Lookup::New, |_| Lookup::Lost);
                    HeldSession { number, found }
                }
            };
            context.session = Some(held);
            held
        };
        if self
            .sessions
            .acquire(held.number, id, access == Access::Write)
        {
            if context.waits == Waits::Session {
                self.sessions.wait_no_more(held.number);
            }
            return self.execute(context, page, now);
        }
        if context.waits != Waits::Session && !self.sessions.wait(held.number) {
            let refusal = Refusal::because(
                500,
                0,
                "The request queue limit of the session is exceeded.",
            );
            return self.refuse(context, &refusal, now);
        }
        context.waits = Waits::Session;
        self.deadlines
            .set(Timer::Request(id), now + session_state::POLL);
        self.park(context);
    }

    /// What a request waited for is there.
    pub(super) fn resume(&mut self, request: RequestId, now: Instant) {
        let Some(mut context) = self.contexts.remove(request) else {
            return;
        };
        match (context.waits, context.page) {
            (Waits::Start, _) => self.enter_application(context, now),
            (Waits::Thread, Some(page)) => {
                context.has_thread = true;
                self.compile(context, page, now);
            }
            (Waits::Compiling, Some(page)) => self.take_session(context, page, now),
            (_, _) => {
                debug_assert!(false, "{:?} is not resumed", context.waits);
                self.contexts.insert(request, context);
            }
        }
    }

    /// A request's timer has fired.
    pub(super) fn request_woken(&mut self, request: RequestId, now: Instant) {
        let Some(context) = self.contexts.remove(request) else {
            return;
        };
        match (context.waits, context.page) {
            (Waits::Start, _) => self.remained_a_stranger(context, now),
            (Waits::Session, Some(page)) => self.take_session(context, page, now),
            (Waits::Timer, Some(page)) => self.end_handler(context, page, now),
            (Waits::Cut, _) => self.give_up(context, now),
            (_, _) => {
                self.contexts.insert(request, context);
            }
        }
    }

    /// A request's work is done.
    pub(super) fn request_work_done(&mut self, request: RequestId, outcome: Outcome, now: Instant) {
        let Some(mut context) = self.contexts.remove(request) else {
            return;
        };
        match (context.waits, context.page, outcome) {
            (Waits::File, _, Outcome::File(file)) => self.file_read(context, file, now),
            (Waits::Run, Some(page), Outcome::Done { mut memory }) => {
                let freed = usize::try_from(context.plan.allocate).unwrap_or(usize::MAX);
                if context.plan.leak > 0 {
                    self.leaked.push(memory.split_off(freed.min(memory.len())));
                }
                context.memory = memory;
                self.wait(context, page, now);
            }
            (_, _, _) => {
                self.contexts.insert(request, context);
            }
        }
    }

    /// Remembers a request that waits.
    pub(super) fn park(&mut self, context: Box<HttpContext>) {
        self.contexts.insert(context.request.id, context);
    }

    /// States that entries have left a cache.
    pub(super) fn removed(&mut self, layer: CacheLayer, entries: Vec<(u64, u64)>) {
        for (key, bytes) in entries {
            self.state(Fact::CacheRemove { layer, key, bytes });
        }
    }

    /// States that no new request will find these entries.
    pub(super) fn lost(&mut self, layer: CacheLayer, entries: Vec<(u64, u64)>) {
        for (key, bytes) in entries {
            self.state(Fact::CacheLost { layer, key, bytes });
        }
    }
}
