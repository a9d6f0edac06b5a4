//! Tests of what a balancer's log says.

use super::*;

fn said(line: &str) -> Option<Said> {
    Stamped::parse(line, Instant(7)).map(|stamped| stamped.said)
}

#[test]
fn lines_of_haproxy_are_understood() {
    let relayed = |attempt, server, status, termination: &str, is_redispatched| {
        Some(Said::Relayed(Relayed {
            attempt,
            server,
            status,
            termination: termination.to_owned(),
            is_redispatched,
        }))
    };
    for (line, expected) in [
        (
            "relayed 12 server-3 200 -- 0",
            relayed(Some(12), Some(2), 200, "--", false),
        ),
        (
            "relayed 13 <NOSRV> 503 SC 0",
            relayed(Some(13), None, 503, "SC", false),
        ),
        (
            "relayed - server-1 200 -- +1",
            relayed(None, Some(0), 200, "--", true),
        ),
        (
            "Health check for server farm/server-1 failed, reason: Layer4 connection problem, info: \
             \"Connection refused\", check duration: 0ms, status: 1/2 UP.",
            Some(Said::CheckFailed(0)),
        ),
        (
            "Server farm/server-2 is DOWN, reason: Layer4 timeout, check duration: 50ms. 2 active and 0 \
             backup servers left. 0 sessions active, 0 requeued, 0 remaining in queue.",
            Some(Said::Down(1)),
        ),
        (
            "Server farm/server-2 is UP, reason: Layer7 check passed, code: 200, check duration: 1ms. 3 \
             active and 0 backup servers online. 0 sessions requeued, 0 total in queue.",
            Some(Said::Up(1)),
        ),
    ] {
        assert_eq!(said(line), expected, "{line}");
    }
}

#[test]
fn other_lines_and_torn_ones_say_nothing() {
    for line in [
        "",
        "relayed",
        "relayed 1 server-1 20",
        "relayed 1 server-1 many -- 0",
        "Health check for server farm/server-1 succeeded, reason: Layer7 check passed, code: 200",
        "Health check for server farm/server-0 failed, reason: none",
        "Server farm/server-99999999999999999999999 is DOWN",
        "backend farm has no server available!",
    ] {
        assert_eq!(said(line), None, "{line:?}");
    }
}

#[test]
fn what_ended_a_request_is_told_by_two_letters() {
    let relayed = |termination: &str| Relayed {
        attempt: None,
        server: None,
        status: 503,
        termination: termination.to_owned(),
        is_redispatched: false,
    };
    assert!(relayed("--").is_in_order());
    for own in ["SC", "sH", "sQ", "SH", "PR", "RH"] {
        let is_own = relayed(own).is_own_answer();
        assert_eq!(is_own, own != "PR", "{own}");
    }
    assert!(!relayed("SD").is_own_answer() && relayed("SD").cut_by_server());
    assert!(!relayed("CD").is_own_answer() && !relayed("CD").cut_by_server());
}

#[test]
fn only_what_follows_the_operation_and_only_server_0_is_counted() {
    let at = |at, said| Stamped {
        at: Instant(at),
        said,
    };
    let ms = 1_000_000;
    let lines = [
        at(ms, Said::Down(0)),
        at(2 * ms, Said::Up(0)),
        at(11 * ms, Said::CheckFailed(0)),
        at(12 * ms, Said::CheckFailed(0)),
        at(12 * ms, Said::Down(0)),
        at(13 * ms, Said::CheckFailed(2)),
        at(40 * ms, Said::Up(0)),
    ];
    let seen = Balancer::of(&lines, &[], 3, Instant(10 * ms));
    assert_eq!(
        (seen.servers, seen.checks_failed, seen.taken_out),
        (3, 2, 1)
    );
    assert_eq!((seen.noticed_ms, seen.back_ms), (Some(2.0), Some(30.0)));
    assert_eq!(seen.checks_failed_elsewhere, 1);
    assert_eq!(seen.while_out.total(), 0);
}
