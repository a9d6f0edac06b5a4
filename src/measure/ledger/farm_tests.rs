//! Each legal triple of client, balancer and driver, and each that does not fit.

use sim_httpsys::api::{ActivityId, ConnectionId, RequestId, SiteId, Verb};
use sim_httpsys::clockwork::Instant;
use sim_httpsys::model::ReasonPhrase;

use super::*;
use crate::load::book::ConnectionRecord;
use crate::load::plan::Stream;
use crate::measure::synthetic::{at, attempt, connection};

/// One attempt with id 1 on a connection that has served others, and what is said of it.
struct Story {
    book: Book,
    log: Vec<Stamped>,
    servers: Vec<Vec<Traced<Fact>>>,
}

fn client(outcome: Outcome) -> Story {
    let mut book = Book::default();
    let mut one = attempt(1, Stream::Load, at(10.0), outcome);
    one.connection = Some(0);
    book.attempts.push(one);
    book.connections.push(ConnectionRecord {
        requests: 5,
        ..connection(-10.0)
    });
    Story {
        book,
        log: Vec::new(),
        servers: vec![Vec::new(); 3],
    }
}

impl Story {
    fn relayed(mut self, attempt: u64, server: Option<usize>, status: u16, end: &str) -> Self {
        let said = Said::Relayed(Relayed {
            attempt: Some(attempt),
            server,
            status,
            termination: end.to_owned(),
            is_redispatched: false,
        });
        self.log.push(Stamped { at: at(11.0), said });
        self
    }

    fn fact(mut self, server: usize, fact: Fact) -> Self {
        self.servers[server].push(Traced { at: at(10.5), fact });
        self
    }

    fn answered(self, server: usize, attempt: u64, status: u16) -> Self {
        let entry = 1;
        let fact = Fact::SrvdFrmCache {
            request: RequestId(9),
            activity: ActivityId(attempt),
            site: SiteId(1),
            entry,
            status,
            bytes: 10,
            verb: Verb::Get,
            received: 10,
        };
        self.fact(server, fact)
    }

    fn dropped(self, server: usize) -> Self {
        let fact = Fact::Dropped {
            request: RequestId(9),
            activity: ActivityId(1),
            connection: ConnectionId(3),
            reason: ReasonPhrase::ConnectionDropped,
            queue: None,
            process: None,
            partial: false,
        };
        self.fact(server, fact)
    }

    fn reconcile(&self) -> Ledger {
        Ledger::reconcile_farm(&self.book, &self.log, &self.servers)
    }

    fn is(&self, way: &str) {
        let ledger = self.reconcile();
        assert_eq!(
            (ledger.attempts, ledger.explained, ledger.unexplained),
            (1, 1, 0),
            "{ledger:?}"
        );
        assert_eq!(ledger.ways.keys().collect::<Vec<_>>(), [way]);
    }

    fn does_not_fit(&self) {
        let ledger = self.reconcile();
        assert!(ledger.unexplained > 0, "{ledger:?}");
    }
}

#[test]
fn an_answer_is_that_of_the_server_that_the_balancer_names() {
    let answered = |server| {
        client(Outcome::Ok)
            .relayed(1, Some(1), 200, "--")
            .answered(server, 1, 200)
    };
    answered(1).is("ok / answered");
    answered(2).does_not_fit();
    answered(1).answered(2, 1, 200).does_not_fit();
    client(Outcome::Ok)
        .relayed(1, Some(1), 200, "--")
        .does_not_fit();
    client(Outcome::Ok).answered(1, 1, 200).does_not_fit();
    let another_status = client(Outcome::Ok).relayed(1, Some(1), 404, "--");
    another_status.answered(1, 1, 404).does_not_fit();
}

#[test]
fn an_answer_of_the_balancer_needs_no_server() {
    client(Outcome::Http503)
        .relayed(1, None, 503, "SC")
        .is("http_503 / answered_by_balancer");
    client(Outcome::Http503)
        .relayed(1, None, 503, "CD")
        .does_not_fit();
}

#[test]
fn a_cut_is_logged_unless_both_sides_were_kept_alive() {
    client(Outcome::Truncated)
        .relayed(1, Some(0), 200, "SD")
        .dropped(0)
        .is("truncated / cut_by_server");
    client(Outcome::ResetInflight)
        .dropped(0)
        .is("reset_inflight / cut_by_server_unlogged");
    let mut first_on_its_connection = client(Outcome::ResetInflight).dropped(0);
    first_on_its_connection.book.connections[0].requests = 1;
    first_on_its_connection.does_not_fit();
    client(Outcome::ResetInflight)
        .answered(0, 1, 200)
        .does_not_fit();
}

#[test]
fn what_nobody_attempted_and_what_was_attempted_twice_does_not_fit() {
    let fine = || {
        client(Outcome::Ok)
            .relayed(1, Some(0), 200, "--")
            .answered(0, 1, 200)
    };
    fine().answered(2, 0, 200).is("ok / answered");
    fine().answered(2, 7, 200).does_not_fit();
    fine().relayed(7, Some(0), 200, "--").does_not_fit();
    fine().relayed(1, Some(0), 200, "--").does_not_fit();
    let mut twice = fine();
    twice
        .book
        .attempts
        .push(attempt(1, Stream::Load, Instant(5), Outcome::Ok));
    twice.does_not_fit();
}
