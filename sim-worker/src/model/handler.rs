//! A page's handler while it runs: the body that it reads, what it takes, what goes wrong with it, what it answers.

use bytes::BytesMut;
use sim_httpsys::api::{CachePolicy, UrlContext};
use sim_httpsys::clockwork::Instant;

use super::caches::{Entry, hold};
use super::http_context::{Body, HttpContext, Missing, Notification, Waits};
use super::modules::custom_error::Refusal;
use super::modules::{Reply, managed_handler};
use super::response_policy::output_key;
use super::{Death, Doer, Timer, Work, WorkerProcess};
use crate::application::{Draws, Fault, Purpose};
use crate::facts::{CacheLayer, Fact};
use crate::ipm::RecycleReason;

impl WorkerProcess {
    /// Runs the handler: first its CPU time and memory.
    pub(super) fn execute(&mut self, mut context: Box<HttpContext>, page: usize, now: Instant) {
        context.enters(
            Notification::ExecuteRequestHandler,
            "ManagedPipelineHandler",
        );
        let url_context = context.request.url_context;
        let loaded = &self.domains[&url_context].pages[page];
        if context.body != Body::Whole && loaded.page.reads_body {
            return self.read_body(context);
        }
        let draws = Draws::of(context.request.activity, context.request.id, loaded.hash);
        let (mut cpu, mut plan) = match managed_handler::plan(loaded, &context.request, draws) {
            Ok(planned) => planned,
            Err(refusal) => return self.refuse(context, &refusal, now),
        };
        if let Some(cache) = &loaded.page.application_cache {
            let key = managed_handler::cache_key(loaded, draws);
            let (hit, expired) = self.values.look_up((url_context, key), now);
            if !hit {
                cpu += cache.miss_cpu.at(draws.draw(Purpose::MissCpu));
                plan.wait += cache.miss_wait.at(draws.draw(Purpose::MissWait));
                plan.missing = Some(Box::new(Missing {
                    key,
                    bytes: cache.bytes,
                    ttl: cache.ttl,
                }));
            }
            let expired = expired.map(|entry| value_of(context.application, entry));
            self.removed(CacheLayer::Application, expired.into_iter().collect());
            self.state(Fact::CacheLookup {
                layer: CacheLayer::Application,
                hit,
            });
        }
        let allocate = plan.allocate.saturating_add(plan.leak);
        context.plan = plan;
        if cpu.is_zero() && allocate == 0 {
            return self.wait(context, page, now);
        }
        context.waits = Waits::Run;
        self.start_work(
            Work::Run { cpu, allocate },
            Doer::Request(context.request.id),
        );
        self.park(context);
    }

    /// Then it waits, holding its thread.
    pub(super) fn wait(&mut self, mut context: Box<HttpContext>, page: usize, now: Instant) {
        if context.plan.wait.is_zero() {
            return self.end_handler(context, page, now);
        }
        context.waits = Waits::Timer;
        self.deadlines
            .set(Timer::Request(context.request.id), now + context.plan.wait);
        self.park(context);
    }

    /// Then it answers, or what is wrong with it happens.
    pub(super) fn end_handler(&mut self, mut context: Box<HttpContext>, page: usize, now: Instant) {
        if let Some(Missing { key, bytes, ttl }) = context.plan.missing.as_deref().copied() {
            let application = context.request.url_context;
            let replaced = self
                .values
                .insert((application, key), hold(bytes), now + ttl);
            let of = context.application;
            let replaced = replaced.map(|entry| value_of(of, entry));
            let (key, bytes) = value_of(of, (key, bytes));
            self.removed(CacheLayer::Application, replaced.into_iter().collect());
            self.state(Fact::CacheInsert {
                layer: CacheLayer::Application,
                key,
                bytes,
                expires: Some(now + ttl),
            });
        }
        let death = match context.plan.fault {
            Fault::None => return self.respond(context, page, now),
            Fault::Unhealthy => {
                self.request_recycle(Some(RecycleReason::IsapiUnhealthy));
                return self.respond(context, page, now);
            }
            Fault::Zombie => {
                self.symptoms.answers_requests = false;
                context.waits = Waits::Hang;
                return self.park(context);
            }
            Fault::Deaf => {
                self.symptoms.answers_pings = false;
                return self.respond(context, page, now);
            }
            Fault::Exception => {
                let what = "System.ApplicationException: the page was told to throw.";
                return self.refuse(context, &Refusal::because(500, 0, what), now);
            }
            Fault::Hang => {
                context.waits = Waits::Hang;
                return self.park(context);
            }
            Fault::Reset => return self.give_up(context, now),
            Fault::Cut => return self.begin_response(context, now),
            Fault::Crash => Death::SegmentationFault,
            Fault::Abort => Death::Abort,
            Fault::Exit => Death::Exit(context.plan.exit_code),
        };
        context.waits = Waits::Death;
        self.start_work(Work::Die(death), Doer::Request(context.request.id));
        self.park(context);
    }

    /// The response of a page.
    fn respond(&mut self, context: Box<HttpContext>, page: usize, now: Instant) {
        let url_context = context.request.url_context;
        let process = self.process;
        let (policy, kept) = (self.driver_policy(&context), self.keeps_output(&context));
        let Some(domain) = self.domains.get_mut(&url_context) else {
            return;
        };
        let loaded = &mut domain.pages[page];
        let (headers, body) = if let Some(response) = &loaded.response {
            response.clone()
        } else if managed_handler::is_constant(loaded) {
            let response = managed_handler::response(loaded, process, None, "", exactly);
            loaded.response.insert(response).clone()
        } else {
            let note = if loaded.page.application_cache.is_some() {
                if context.plan.missing.is_some() {
                    "application cache: miss\n"
                } else {
                    "application cache: hit\n"
                }
            } else {
                ""
            };
            let size = usize::try_from(loaded.page.session_bytes).expect("sizes are bounded");
            let state = context
                .session
                .and_then(|held| Some((held.found, self.sessions.visit(held.number, size)?)));
            let seen = state.map(|(found, session)| managed_handler::Seen {
                id: &session.id,
                found,
                visits: session.visits,
            });
            let (pieces, is_kept) = (
                &mut self.pieces,
                kept.is_some() || policy != CachePolicy::Nocache,
            );
            let room = |bytes| {
                if is_kept {
                    exactly(bytes)
                } else {
                    pieces.piece(bytes)
                }
            };
            managed_handler::response(loaded, process, seen, note, room)
        };
        if let Some(kept) = kept
            && context.request.text.bytes(context.request.text.verb) == b"GET"
        {
            let key = output_key(&context.request);
            let (entry, gone) =
                self.responses
                    .insert(key, (headers.clone(), body.clone()), now + kept);
            self.removed(CacheLayer::Output, gone);
            if let Some((key, bytes)) = entry {
                self.state(Fact::CacheInsert {
                    layer: CacheLayer::Output,
                    key,
                    bytes,
                    expires: Some(now + kept),
                });
            }
        }
        self.finish(
            context,
            Reply {
                status: 200,
                substatus: 0,
                headers,
                body,
                policy,
            },
            now,
        );
    }
}

/// A value as facts name it: applications of one process may have pages of the same name.
pub(super) fn value_of(application: UrlContext, (key, bytes): Entry) -> Entry {
    (key ^ application.0, bytes)
}

/// Memory for a response that is kept.
fn exactly(bytes: usize) -> BytesMut {
    BytesMut::with_capacity(bytes)
}
