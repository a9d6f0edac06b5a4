//! The load process against a tiny server that does one wrong thing at a time.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::load::book::{
    Book, ConnectionEnded, ConnectionKind, ConnectionRecord, SessionSeen, TlsKind,
};
use crate::load::outcome::Outcome;
use crate::load::plan::Stream;
use crate::load::plan_file::Target;
use crate::load::profile::Profile;

/// What the server does with a request, by its path.
const ANSWERS: &[(&str, &str)] = &[
    (
        "/ok",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Sim-Worker: 77\r\n\r\nhello",
    ),
    (
        "/503",
        "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    ),
    (
        "/404",
        "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
    ),
    (
        "/500",
        "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n",
    ),
    ("/half", "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nhel"),
    ("/half-head", "HTTP/1.1 200 OK\r\nContent-Le"),
    (
        "/half-rst",
        "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nhel",
    ),
    ("/garbage", "this is not HTTP at all\r\n\r\n"),
    ("/rst", ""),
    ("/fin", ""),
    (
        "/fin-later",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    ),
    (
        "/rst-later",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    ),
    (
        "/session",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Sim-Session: new\r\n\
         Set-Cookie: ASP.NET_SessionId=abc; path=/; HttpOnly\r\n\r\n",
    ),
];

async fn serve<S>(mut stream: S, reset: impl Fn(&S))
where
    S: AsyncReadExt + AsyncWriteExt + Unpin,
{
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return,
            }
        }
        let head = String::from_utf8(head).unwrap();
        let path = head.split(' ').nth(1).unwrap().to_owned();
        if path == "/silent" {
            std::future::pending::<()>().await;
        }
        let mut answer = ANSWERS
            .iter()
            .find(|(url, _)| *url == path)
            .unwrap()
            .1
            .to_owned();
        if head.contains("cookie: ASP.NET_SessionId=abc") {
            answer = answer.replace("new", "found");
        }
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        match path.as_str() {
            "/rst" | "/half-rst" | "/rst-later" => {
                // The client shall have read what came before the reset.
                tokio::time::sleep(Duration::from_millis(30)).await;
                return reset(&stream);
            }
            "/fin" | "/half" | "/half-head" | "/garbage" | "/503" | "/fin-later" => return,
            _ => {}
        }
    }
}

async fn clear_text_server() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::task::spawn_local(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let reset = |stream: &TcpStream| stream.set_zero_linger().unwrap();
            tokio::task::spawn_local(serve(stream, reset));
        }
    });
    address
}

async fn tls_server() -> std::net::SocketAddr {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::task::spawn_local(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::task::spawn_local(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    serve(stream, |tls| tls.get_ref().0.set_zero_linger().unwrap()).await;
                }
            });
        }
    });
    address
}

/// A plan for one URL: uniform arrivals, no probes to speak of.
fn plan(address: std::net::SocketAddr, url: &str) -> PlanFile {
    let text = format!(
        "rate = 50\narrivals = 'uniform'\nkeep_alive_connections = 2\none_shot_share = 0\n\
         tls_share = 0\nusers = 1\ndeadline = '300ms'\nslow = '250ms'\nlate_bound = '1s'\n\
         [[mix]]\nurl = '{url}'\nsession = true\n\
         [probes]\ninterval = '100ms'\nurl = '/ok'\nmarker = 'ell'\n"
    );
    let profile: Profile = toml::from_str(&text).unwrap();
    let target = |secure| Target {
        host: None,
        secure,
        address,
        seen_as: None,
    };
    PlanFile {
        profile,
        seed: 1,
        duration: Duration::from_millis(200),
        targets: vec![target(false), target(true)],
        host: "localhost".to_owned(),
        first_id: 100,
        book: "/dev/null".into(),
    }
}

fn in_a_loop<T>(work: impl Future<Output = T>) -> T {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default());
    runtime.unwrap().block_on(work)
}

async fn run_to_its_end(plan: &PlanFile) -> Book {
    let (sender, mut commands) = unbounded_channel();
    sender
        .send(Command::Go(clock::now() + Duration::from_millis(20)))
        .unwrap();
    generator::generate(plan, &mut commands, |_| ())
        .await
        .unwrap()
}

fn load_outcomes(book: &Book) -> Vec<Outcome> {
    book.attempts
        .iter()
        .filter(|a| a.stream == Stream::Load)
        .map(|a| a.outcome)
        .collect()
}

/// What the attempts of a load end as when the server answers `url` in its way.
fn outcomes_of(url: &str, one_shot_share: f64) -> Vec<Outcome> {
    let book = in_a_loop(async {
        let mut plan = plan(clear_text_server().await, url);
        plan.profile.one_shot_share = one_shot_share;
        run_to_its_end(&plan).await
    });
    let outcomes = load_outcomes(&book);
    assert_eq!(outcomes.len(), 9, "one record for each planned attempt");
    outcomes
}

#[track_caller]
fn all(url: &str, expected: Outcome) {
    for one_shot_share in [0.0, 1.0] {
        let outcomes = outcomes_of(url, one_shot_share);
        assert!(
            outcomes.iter().all(|o| *o == expected),
            "{url}: {outcomes:?}"
        );
    }
}

#[test]
fn whole_responses_are_named_by_their_status() {
    all("/ok", Outcome::Ok);
    all("/404", Outcome::Http4xx);
    all("/500", Outcome::Http5xx);
    all("/503", Outcome::Http503);
}

#[test]
fn a_connection_that_ends_before_the_head_is_reset_in_flight() {
    all("/rst", Outcome::ResetInflight);
    all("/fin", Outcome::ResetInflight);
    all("/half-head", Outcome::ResetInflight);
}

#[test]
fn a_body_that_ends_early_is_truncated_and_one_that_is_reset_is_reset() {
    all("/half", Outcome::Truncated);
    all("/half-rst", Outcome::ResetInflight);
}

#[test]
fn an_answer_that_is_not_http_is_no_whole_response() {
    all("/garbage", Outcome::Truncated);
}

#[test]
fn no_answer_is_a_timeout_after_the_deadline_from_the_planned_time() {
    let book = in_a_loop(async {
        let address = clear_text_server().await;
        run_to_its_end(&plan(address, "/silent")).await
    });
    for attempt in book.attempts.iter().filter(|a| a.stream == Stream::Load) {
        assert_eq!(attempt.outcome, Outcome::Timeout);
        assert!(attempt.latency_ms() >= 300.0, "{}", attempt.latency_ms());
    }
    let extra = |c: &&ConnectionRecord| c.kind == ConnectionKind::Extra;
    assert!(
        book.connections.iter().any(|c| extra(&c)),
        "nobody waits for a busy connection"
    );
}

#[test]
fn a_closed_port_refuses() {
    let book = in_a_loop(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        run_to_its_end(&plan(address, "/ok")).await
    });
    assert!(
        book.attempts.iter().all(|a| a.outcome == Outcome::Refused),
        "probes too"
    );
    assert!(book.connections.is_empty());
    assert!(book.summary.unwrap().valid, "the generator did its part");
}

#[test]
fn a_kept_connection_that_dies_idle_is_noticed_without_a_request_on_it() {
    for (url, how) in [
        ("/fin-later", ConnectionEnded::Fin),
        ("/rst-later", ConnectionEnded::Rst),
    ] {
        let book = in_a_loop(async {
            let address = clear_text_server().await;
            let mut plan = plan(address, url);
            plan.profile.rate = 10.0;
            run_to_its_end(&plan).await
        });
        assert_eq!(load_outcomes(&book), [Outcome::Ok]);
        let attempt = book
            .attempts
            .iter()
            .find(|a| a.stream == Stream::Load)
            .unwrap();
        let connection = &book.connections[attempt.connection.unwrap() as usize];
        assert_eq!(connection.how, Some(how));
        assert!(!connection.in_flight);
        assert!(connection.closed.unwrap() >= attempt.first_byte.unwrap());
    }
}

#[test]
fn a_request_that_was_never_sent_is_reset_idle() {
    // The listener accepts nothing: the handshake waits, and dies when the listener goes.
    let book = in_a_loop(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::task::spawn_local(async move {
            tokio::time::sleep(Duration::from_millis(220)).await;
            drop(listener);
        });
        let mut plan = plan(address, "/ok");
        plan.profile.tls_share = 1.0;
        plan.profile.deadline = Duration::from_secs(5);
        run_to_its_end(&plan).await
    });
    let outcomes = load_outcomes(&book);
    assert!(
        outcomes.iter().all(|o| *o == Outcome::ResetIdle),
        "{outcomes:?}"
    );
}

#[test]
fn an_announced_close_is_no_surprise() {
    let book = in_a_loop(async {
        let address = clear_text_server().await;
        run_to_its_end(&plan(address, "/503")).await
    });
    let of_load = |c: &&ConnectionRecord| c.kind == ConnectionKind::KeepAlive && c.requests > 0;
    let ends: Vec<_> = book
        .connections
        .iter()
        .filter(of_load)
        .map(|c| c.how)
        .collect();
    assert!(
        ends.iter()
            .all(|how| *how == Some(ConnectionEnded::Announced)),
        "{ends:?}"
    );
}

#[test]
fn a_user_brings_the_session_cookie_back() {
    let book = in_a_loop(async {
        let address = clear_text_server().await;
        run_to_its_end(&plan(address, "/session")).await
    });
    let seen: Vec<_> = book
        .attempts
        .iter()
        .filter(|a| a.stream == Stream::Load)
        .map(|a| a.session)
        .collect();
    assert_eq!(seen[0], Some(SessionSeen::New));
    assert!(
        seen[1..].iter().all(|s| *s == Some(SessionSeen::Found)),
        "{seen:?}"
    );
}

#[test]
fn the_book_says_who_answered_when_and_over_what() {
    let seen_as = "10.0.0.1:80".parse().unwrap();
    let book = in_a_loop(async {
        let mut plan = plan(clear_text_server().await, "/ok");
        plan.targets[0].seen_as = Some(seen_as);
        run_to_its_end(&plan).await
    });
    let mut ids: Vec<_> = book.attempts.iter().map(|a| a.id).collect();
    assert_eq!(ids[0], 100);
    ids.dedup();
    assert_eq!(
        ids.len(),
        book.attempts.len(),
        "load and probes share one count"
    );
    for attempt in &book.attempts {
        assert_eq!(attempt.outcome, Outcome::Ok);
        assert_eq!(
            (attempt.worker, attempt.bytes, attempt.status),
            (Some(77), 5, Some(200))
        );
        assert!(attempt.planned <= attempt.sent);
        assert!(attempt.sent <= attempt.first_byte.unwrap());
        assert!(attempt.first_byte.unwrap() <= attempt.finished);
        let connection = &book.connections[attempt.connection.unwrap() as usize];
        assert_eq!(connection.server, seen_as);
        assert_ne!(connection.local_port, 0);
    }
    let mut written = Vec::new();
    book.write(&mut written).unwrap();
    let mut read = Book::default();
    for line in written
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
    {
        read.take(serde_json::from_slice(line).unwrap());
    }
    assert_eq!(read, book);
}

#[test]
fn a_probe_without_its_marker_has_failed() {
    let book = in_a_loop(async {
        let address = clear_text_server().await;
        let mut plan = plan(address, "/ok");
        plan.profile.probes.marker = Some("good bye".to_owned());
        run_to_its_end(&plan).await
    });
    let probes: Vec<_> = book
        .attempts
        .iter()
        .filter(|a| a.stream != Stream::Load)
        .collect();
    assert!(!probes.is_empty() && probes.iter().all(|p| p.outcome == Outcome::Truncated));
}

#[test]
fn tls_sessions_are_resumed() {
    let book = in_a_loop(async {
        let secure = tls_server().await;
        let mut plan = plan(clear_text_server().await, "/ok");
        plan.targets[1].address = secure;
        plan.profile.tls_share = 1.0;
        plan.profile.one_shot_share = 1.0;
        plan.profile.keep_alive_connections = 1;
        run_to_its_end(&plan).await
    });
    assert!(load_outcomes(&book).iter().all(|o| *o == Outcome::Ok));
    let made: Vec<_> = book
        .attempts
        .iter()
        .filter(|a| a.stream == Stream::Load)
        .map(|a| a.tls)
        .collect();
    assert!(made.contains(&TlsKind::Resumed), "{made:?}");
    assert!(!made.contains(&TlsKind::None), "{made:?}");
    assert!(book.connections.iter().any(|c| c.tls == TlsKind::Full));
}

#[test]
fn failures_over_tls_have_the_same_names() {
    let cases = [
        ("/rst", Outcome::ResetInflight),
        ("/half", Outcome::Truncated),
        ("/half-rst", Outcome::ResetInflight),
        ("/fin", Outcome::ResetInflight),
    ];
    for (url, expected) in cases {
        let book = in_a_loop(async {
            let secure = tls_server().await;
            let mut plan = plan(clear_text_server().await, url);
            plan.targets[1].address = secure;
            plan.profile.tls_share = 1.0;
            run_to_its_end(&plan).await
        });
        let outcomes = load_outcomes(&book);
        assert!(
            outcomes.iter().all(|o| *o == expected),
            "{url}: {outcomes:?}"
        );
    }
}

#[test]
fn stop_ends_the_plan_and_names_what_it_cut() {
    let book = in_a_loop(async {
        let mut plan = plan(clear_text_server().await, "/silent");
        plan.duration = Duration::from_mins(1);
        plan.profile.deadline = Duration::from_mins(1);
        let (sender, mut commands) = unbounded_channel();
        sender.send(Command::Go(clock::now())).unwrap();
        let mut lines = 0;
        let tell = |progress: Progress| {
            lines += 1;
            if progress.done >= 2 {
                let _ = sender.send(Command::Stop);
            }
        };
        generator::generate(&plan, &mut commands, tell)
            .await
            .unwrap()
    });
    let outcomes = load_outcomes(&book);
    assert!(!outcomes.is_empty() && outcomes.len() < 500);
    assert!(
        outcomes.iter().all(|o| *o == Outcome::Abandoned),
        "{outcomes:?}"
    );
    assert!(book.summary.unwrap().stopped);
}

#[test]
fn a_parent_that_is_gone_ends_the_run() {
    let result = in_a_loop(async {
        let plan = plan(clear_text_server().await, "/ok");
        let (sender, mut commands) = unbounded_channel();
        sender.send(Command::Go(clock::now())).unwrap();
        sender.send(Command::ParentGone).unwrap();
        generator::generate(&plan, &mut commands, |_| ()).await
    });
    assert!(matches!(result, Err(LoadError::ParentGone)));
}

#[test]
fn a_host_without_target_is_named() {
    let result = in_a_loop(async {
        let mut plan = plan("127.0.0.1:1".parse().unwrap(), "/ok");
        plan.targets.clear();
        let (_sender, mut commands) = unbounded_channel();
        generator::generate(&plan, &mut commands, |_| ()).await
    });
    assert_eq!(
        result.unwrap_err().to_string(),
        "no http binding of the server takes the host localhost: add one, or set load.tls_share (the share \
         of attempts over https) to 1"
    );
}

#[test]
fn commands_are_understood_or_refused() {
    assert_eq!(Command::parse("go 12\n"), Some(Command::Go(Instant(12))));
    assert_eq!(Command::parse("stop"), Some(Command::Stop));
    assert_eq!(Command::parse("go away"), None);
}
