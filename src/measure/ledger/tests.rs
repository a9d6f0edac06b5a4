//! Each legal pair of ends, and each that does not fit.

use sim_httpsys::api::{ActivityId, Ends, RequestId, RequestQueueName, SiteId, Verb};

use sim_worker::facts;

use super::*;
use crate::load::plan::Stream;
use crate::measure::read::{HttpErrLine, W3cLine};
use crate::measure::synthetic::{PORT, SERVER, at, attempt, connection};

const CONNECTION: ConnectionId = ConnectionId(9);
const WORKER: ProcessId = ProcessId(4711);

/// What client, driver, worker and logs say; one attempt with id 1, unless more is said.
struct Story {
    observation: Observation,
}

impl Story {
    fn client(outcome: Outcome) -> Self {
        let mut observation = Observation {
            httpsys: Some(Vec::new()),
            w3c: Some(Vec::new()),
            httperr: Some(Vec::new()),
            ..Observation::default()
        };
        let mut one = attempt(1, Stream::Load, at(10.0), outcome);
        one.connection = Some(0);
        observation.book.attempts.push(one);
        observation.book.connections.push(connection(9.0));
        Self { observation }.fact(-99.0, Fact::EndpointOpen { port: 80 })
    }

    fn fact(mut self, ms: f64, fact: Fact) -> Self {
        let facts = self.observation.httpsys.get_or_insert_default();
        facts.push(Traced { at: at(ms), fact });
        self
    }

    fn connected(self) -> Self {
        self.connected_to(CONNECTION, SERVER.into())
    }

    fn connected_to(self, connection: ConnectionId, local: SocketAddr) -> Self {
        let client = ([127, 0, 0, 1], PORT).into();
        self.fact(
            9.0,
            Fact::ConnConnect {
                connection,
                ends: Ends { client, local },
                secure: false,
            },
        )
    }

    fn cleanup(self, ms: f64, end: ConnectionEnd) -> Self {
        self.fact(
            ms,
            Fact::ConnCleanup {
                connection: CONNECTION,
                end,
                requests: 1,
            },
        )
    }

    fn parsed(self) -> Self {
        self.connected().fact(
            10.1,
            Fact::Parse {
                request: RequestId(5),
                activity: ActivityId(1),
                connection: CONNECTION,
            },
        )
    }

    fn answered(self, status: u16) -> Self {
        self.parsed().send_complete(1, status)
    }

    fn send_complete(self, id: u64, status: u16) -> Self {
        self.fact(
            10.8,
            Fact::SendComplete {
                request: RequestId(5),
                activity: ActivityId(id),
                site: SiteId(1),
                process: WORKER,
                status,
                bytes: 10,
                verb: Verb::Get,
                received: 10,
                is_file: false,
                took: 1,
            },
        )
    }

    fn refused(self, status: u16, reason: ReasonPhrase) -> Self {
        let fact = Fact::FastResp {
            request: RequestId(5),
            activity: ActivityId(1),
            connection: CONNECTION,
            status,
            reason,
            queue: Some(RequestQueueName("A".to_owned())),
        };
        self.parsed().fact(10.5, fact)
    }

    fn dropped(self, reason: ReasonPhrase) -> Self {
        let fact = Fact::Dropped {
            request: RequestId(5),
            activity: ActivityId(1),
            connection: CONNECTION,
            reason,
            queue: None,
            process: Some(WORKER),
            partial: false,
        };
        self.parsed().fact(10.5, fact)
    }

    fn w3c(mut self, attempt: u64, status: u16) -> Self {
        self.observation.w3c.get_or_insert_default().push(W3cLine {
            attempt: Some(attempt),
            uri_stem: "/".to_owned(),
            status,
            win32_status: Some(0),
            time_taken_ms: Some(1),
        });
        self
    }

    fn httperr(mut self, reason: &str, uri: Option<&str>) -> Self {
        self.observation
            .httperr
            .get_or_insert_default()
            .push(HttpErrLine {
                client_port: Some(PORT),
                uri: uri.map(str::to_owned),
                status: None,
                reason: reason.to_owned(),
                queue: None,
            });
        self
    }

    fn worker(mut self, facts: Vec<facts::Fact>) -> Self {
        let facts = facts
            .into_iter()
            .map(|fact| Traced { at: at(10.5), fact })
            .collect();
        self.observation
            .workers
            .get_or_insert_default()
            .insert(WORKER, facts);
        self
    }

    fn ledger(&self) -> Ledger {
        Ledger::reconcile(&self.observation).unwrap()
    }

    #[track_caller]
    fn is_explained(&self, way: &str) {
        let ledger = self.ledger();
        assert_eq!(
            (ledger.explained, ledger.unexplained),
            (1, 0),
            "{:?}",
            ledger.examples
        );
        assert_eq!(ledger.ways.keys().collect::<Vec<_>>(), [way]);
    }

    #[track_caller]
    fn is_unexplained(&self, why: &str) {
        let ledger = self.ledger();
        assert_eq!(ledger.unexplained, 1, "{:?}", ledger.examples);
        assert!(
            ledger.examples[0].why.contains(why),
            "{:?}",
            ledger.examples
        );
    }
}

#[test]
fn a_success_was_answered_and_logged_once() {
    Story::client(Outcome::Ok)
        .answered(200)
        .w3c(1, 200)
        .is_explained("ok / answered");
    Story::client(Outcome::Slow)
        .answered(200)
        .w3c(1, 200)
        .is_explained("slow / answered");
    Story::client(Outcome::Http5xx)
        .answered(500)
        .w3c(1, 500)
        .is_explained("http_5xx / answered");
    Story::client(Outcome::Http4xx)
        .answered(404)
        .w3c(1, 404)
        .is_explained("http_4xx / answered");
}

#[test]
fn a_success_without_exactly_one_right_w3c_line_is_unexplained() {
    let ok = || Story::client(Outcome::Ok).answered(200);
    ok().is_unexplained("no W3C line");
    ok().w3c(1, 200).w3c(1, 200).is_unexplained("2 W3C lines");
    ok().w3c(1, 304).is_unexplained("says 304");
}

#[test]
fn a_hit_in_the_cache_is_logged_like_any_answer() {
    let hit = Fact::SrvdFrmCache {
        request: RequestId(5),
        activity: ActivityId(1),
        site: SiteId(1),
        entry: 1,
        status: 200,
        bytes: 10,
        verb: Verb::Get,
        received: 10,
    };
    let story = || Story::client(Outcome::Ok).parsed().fact(10.5, hit.clone());
    story().w3c(1, 200).is_explained("ok / from_cache");
    story().is_unexplained("no W3C line");
}

#[test]
fn a_503_of_the_driver_is_in_the_error_log_and_one_of_the_application_is_not() {
    let by_driver = || Story::client(Outcome::Http503).refused(503, ReasonPhrase::QueueFull);
    by_driver()
        .httperr("QueueFull", Some("/"))
        .is_explained("http_503 / refused_by_driver");
    by_driver().is_unexplained("no HTTPERR line");
    by_driver().w3c(1, 503).is_unexplained("it has a W3C line");
    Story::client(Outcome::Http503)
        .answered(503)
        .w3c(1, 503)
        .is_explained("http_503 / answered");
}

#[test]
fn different_statuses_on_both_sides_are_unexplained() {
    Story::client(Outcome::Http503)
        .answered(200)
        .w3c(1, 200)
        .is_unexplained("the client saw http_503");
    Story::client(Outcome::Ok)
        .refused(503, ReasonPhrase::Disabled)
        .httperr("Disabled", Some("/"))
        .is_unexplained("the client saw ok");
}

#[test]
fn a_refused_connection_needs_a_closed_endpoint() {
    let closed = |story: Story| {
        story.fact(
            5.0,
            Fact::EndpointClose {
                port: 80,
                connections: 1,
            },
        )
    };
    closed(Story::client(Outcome::Refused)).is_explained("refused / endpoint_closed");
    Story::client(Outcome::Refused).is_unexplained("every endpoint was open");
    let early = Story::client(Outcome::Refused)
        .fact(
            -90.0,
            Fact::EndpointClose {
                port: 80,
                connections: 1,
            },
        )
        .fact(-80.0, Fact::EndpointOpen { port: 80 });
    early.is_unexplained("every endpoint was open");
    closed(Story::client(Outcome::Refused))
        .w3c(1, 200)
        .is_unexplained("never parsed it");
}

#[test]
fn a_reset_in_flight_was_dropped_and_named_in_the_error_log() {
    let reason = ReasonPhrase::ConnectionAbandonedByReqQueue;
    let dropped = |outcome| Story::client(outcome).dropped(reason);
    let line = "Connection_Abandoned_By_ReqQueue";
    dropped(Outcome::ResetInflight)
        .httperr(line, Some("/"))
        .is_explained("reset_inflight / dropped");
    dropped(Outcome::Truncated)
        .httperr(line, Some("/"))
        .is_explained("truncated / dropped");
    dropped(Outcome::ResetInflight).is_unexplained("no HTTPERR line");
    dropped(Outcome::Ok)
        .httperr(line, Some("/"))
        .is_unexplained("the client saw ok");
    dropped(Outcome::ResetIdle)
        .httperr(line, Some("/"))
        .is_unexplained("the client saw reset_idle");
}

#[test]
fn a_reset_before_the_head_was_parsed_needs_an_end_of_the_connection() {
    for outcome in [Outcome::ResetInflight, Outcome::ResetIdle] {
        let way = format!("{outcome} / connection_ended");
        let story = || Story::client(outcome).connected();
        story()
            .cleanup(10.5, ConnectionEnd::ServerReset)
            .is_explained(&way);
        story()
            .cleanup(10.5, ConnectionEnd::ServerFin)
            .is_explained(&way);
        story()
            .cleanup(10.5, ConnectionEnd::ClientFin)
            .is_unexplained("ended by ClientFin");
        story().is_unexplained("is open");
    }
}

#[test]
fn a_connection_that_was_never_accepted_dies_with_its_endpoint() {
    let story = || Story::client(Outcome::ResetInflight);
    story()
        .fact(
            10.2,
            Fact::EndpointClose {
                port: 80,
                connections: 0,
            },
        )
        .is_explained("reset_inflight / never_accepted");
    story().is_unexplained("no such connection");
}

#[test]
fn a_slow_client_tries_a_connection_that_the_server_has_ended_long_ago() {
    let story = |opened| {
        let mut story = Story::client(Outcome::ResetInflight)
            .connected()
            .cleanup(10.5, ConnectionEnd::ServerFin);
        let book = &mut story.observation.book;
        book.connections[0].opened = at(opened);
        (book.attempts[0].sent, book.attempts[0].finished) = (at(100.0), at(101.0));
        story
    };
    story(9.1).is_explained("reset_inflight / connection_ended");
    story(20.0).is_unexplained("no such connection");
}

#[test]
fn a_connection_from_the_same_port_to_another_address_is_another_one() {
    // As at an iisreset whose clients speak http and https: the system gives a port once for each.
    let other = ConnectionId(10);
    let gone = |story: Story| {
        story.fact(
            10.5,
            Fact::ConnCleanup {
                connection: other,
                end: ConnectionEnd::ClientFin,
                requests: 1,
            },
        )
    };
    let to_443 = SocketAddr::from((SERVER.0, 443));
    let story = Story::client(Outcome::ResetInflight)
        .connected()
        .connected_to(other, to_443)
        .cleanup(10.5, ConnectionEnd::ServerReset);
    gone(story).is_explained("reset_inflight / connection_ended");
    let story = Story::client(Outcome::ResetInflight).connected_to(other, to_443);
    gone(story).is_unexplained("no such connection");
}

#[test]
fn an_answer_that_a_reset_overtook_is_explained_by_the_reset() {
    let story = |end| {
        Story::client(Outcome::ResetInflight)
            .answered(200)
            .w3c(1, 200)
            .cleanup(10.9, end)
    };
    story(ConnectionEnd::ServerReset).is_explained("reset_inflight / answered_then_reset");
    story(ConnectionEnd::ServerFin).is_unexplained("the client saw reset_inflight");
}

#[test]
fn a_client_that_gave_up_may_have_been_answered_dropped_or_never_heard() {
    Story::client(Outcome::Timeout)
        .answered(200)
        .w3c(1, 200)
        .is_explained("timeout / answered");
    Story::client(Outcome::Timeout)
        .dropped(ReasonPhrase::ClientReset)
        .httperr("Client_Reset", Some("/"))
        .is_explained("timeout / dropped");
    Story::client(Outcome::Timeout).is_explained("timeout / not_parsed");
    Story::client(Outcome::Timeout)
        .parsed()
        .is_unexplained("nothing followed");
    Story::client(Outcome::Abandoned).is_explained("abandoned / not_parsed");
    Story::client(Outcome::NotSent).is_explained("not_sent / not_parsed");
    Story::client(Outcome::NotSent)
        .answered(200)
        .w3c(1, 200)
        .is_unexplained("not_sent");
}

#[test]
fn an_answer_that_the_driver_does_not_know_is_unexplained() {
    Story::client(Outcome::Ok).is_unexplained("never saw it");
    Story::client(Outcome::Truncated).is_unexplained("never saw it");
    Story::client(Outcome::Ok)
        .connected()
        .send_complete(1, 200)
        .is_unexplained("never parsed");
    Story::client(Outcome::Ok)
        .answered(200)
        .send_complete(1, 200)
        .w3c(1, 200)
        .is_unexplained("more than once");
}

/// A head that is refused at `ms`, before the driver has read whose it is.
fn nameless(outcome: Outcome, ms: f64) -> Story {
    let mut story = Story::client(outcome).connected();
    let attempt = &mut story.observation.book.attempts[0];
    attempt.status = attempt.status.map(|_| 414);
    let (request, activity) = (RequestId(5), ActivityId(0));
    let parse = Fact::Parse {
        request,
        activity,
        connection: CONNECTION,
    };
    let refusal = Fact::FastResp {
        request,
        activity,
        connection: CONNECTION,
        status: 414,
        reason: ReasonPhrase::UrlLength,
        queue: None,
    };
    story.fact(ms, parse).fact(ms, refusal)
}

#[test]
fn a_head_that_was_refused_before_its_name_is_joined_by_its_connection() {
    nameless(Outcome::Http4xx, 10.5)
        .httperr("URL_Length", Some("/only-its-begin"))
        .is_explained("http_4xx / refused_by_driver");
    nameless(Outcome::Http4xx, 10.5).is_unexplained("no HTTPERR line");
    nameless(Outcome::Timeout, 10.5)
        .httperr("URL_Length", None)
        .is_explained("timeout / refused_by_driver");
}

#[test]
fn a_refusal_without_a_name_is_joined_with_no_attempt_that_it_does_not_fit() {
    let both_sides = |story: Story| {
        let ledger = story.httperr("URL_Length", None).ledger();
        assert_eq!(ledger.unexplained, 2, "{:?}", ledger.examples);
    };
    // Another status, another time, another port of the client, of the server, and a success.
    let mut story = nameless(Outcome::Http4xx, 10.5);
    story.observation.book.attempts[0].status = Some(400);
    both_sides(story);
    both_sides(nameless(Outcome::Http4xx, 900.0));
    let mut story = nameless(Outcome::Http4xx, 10.5);
    story.observation.book.connections[0].local_port = PORT + 1;
    both_sides(story);
    let mut story = nameless(Outcome::Http4xx, 10.5);
    story.observation.book.connections[0].server.set_port(443);
    both_sides(story);
    both_sides(nameless(Outcome::Ok, 10.5));
}

#[test]
fn what_the_server_did_for_nobody_is_unexplained() {
    let ok = || Story::client(Outcome::Ok).answered(200).w3c(1, 200);
    ok().send_complete(2, 200)
        .is_unexplained("no client attempted it");
    ok().w3c(3, 200).is_unexplained("nobody made");
    ok().httperr("QueueFull", Some("/"))
        .is_unexplained("without a fact");
}

#[test]
fn an_idle_timer_has_its_line_and_no_attempt() {
    let reason = ReasonPhrase::TimerConnectionIdle;
    let fact = Fact::ConnError {
        connection: CONNECTION,
        reason,
    };
    let story = || {
        Story::client(Outcome::Ok)
            .answered(200)
            .w3c(1, 200)
            .fact(90.0, fact.clone())
    };
    story()
        .httperr("Timer_ConnectionIdle", None)
        .is_explained("ok / answered");
    story().is_unexplained("no HTTPERR line");
}

#[test]
fn the_worker_must_know_what_it_answered_unless_it_was_killed() {
    let (request, activity) = (RequestId(5), ActivityId(1));
    let began = || facts::Fact::RequestBegan { request, activity };
    let ended = |status| facts::Fact::RequestEnded {
        request,
        activity,
        status,
    };
    let exit = || facts::Fact::Exiting { code: 0 };
    let ok = || Story::client(Outcome::Ok).answered(200).w3c(1, 200);
    ok().worker(vec![began(), ended(200), exit()])
        .is_explained("ok / answered");
    ok().worker(vec![began(), ended(500), exit()])
        .is_unexplained("the worker answered 500");
    ok().worker(vec![exit()]).is_unexplained("does not know it");
    ok().worker(vec![began()]).is_explained("ok / answered");
}

#[test]
fn an_id_that_was_used_twice_is_unexplained() {
    let mut story = Story::client(Outcome::Ok).answered(200).w3c(1, 200);
    story
        .observation
        .book
        .attempts
        .push(attempt(1, Stream::Load, at(20.0), Outcome::Ok));
    story.is_unexplained("used twice");
}

#[test]
fn without_the_drivers_facts_there_is_no_ledger() {
    assert_eq!(Ledger::reconcile(&Observation::default()), None);
}
