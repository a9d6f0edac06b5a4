//! Static files: found, refused, revalidated, cut in ranges.

use std::time::Duration;

use super::bench::{configuration, starting, worker};
use crate::configuration::{FilteringRule, Listed, RequestLogging};
use crate::facts::CacheLayer;
use sim_httpsys::api::CachePolicy;

const SITE: &[(&str, &str)] = &[
    ("a.txt", "hello"),
    ("Images/Logo.PNG", "logo"),
    ("strange.xyz", "?"),
    ("web.config", "secret"),
    ("sub/index.html", "sub"),
    ("empty/a.txt", "x"),
    ("bin/a.dll", "secret"),
    ("app_data/a.txt", "secret"),
    ("code.cs", "secret"),
];

#[test]
fn a_file_is_served_whatever_the_case() {
    let mut worker = worker(SITE);
    let answer = worker.get("/IMAGES/logo.png");
    assert_eq!((answer.status(), answer.body()), ((200, 0), "logo"));
    assert_eq!(answer.header("Content-Type"), Some("image/png"));
    assert_eq!(
        answer.header("Last-Modified"),
        Some("Tue, 14 Nov 2023 22:13:20 GMT")
    );
    assert_eq!(answer.header("ETag"), Some("\"00006dc64717da01:0\""));
}

#[test]
fn a_file_without_a_tag_has_none_that_a_client_could_name() {
    let mut configuration = configuration();
    configuration.applications[0].settings.client_cache.set_etag = false;
    configuration.applications[0]
        .settings
        .caching
        .enable_kernel_cache = false;
    let mut worker = starting(configuration, SITE);
    let tag = "\"00006dc64717da01:0\"";
    for (condition, status) in [
        (String::new(), 200),
        (format!("\nIf-None-Match: {tag}"), 200),
        ("\nIf-None-Match: *".to_owned(), 304),
        (format!("\nIf-Match: {tag}"), 412),
        (format!("\nIf-Range: {tag}\nRange: bytes=0-1"), 200),
        ("\nRange: bytes=0-1".to_owned(), 206),
    ] {
        let answer = worker.request(&format!("GET /a.txt{condition}"));
        assert_eq!(answer.status(), (status, 0), "{condition}");
        assert_eq!(answer.header("ETag"), None, "{condition}");
    }
}

#[test]
fn what_a_site_forbids_is_refused_with_its_substatus() {
    let mut configuration = configuration();
    let filtering = &mut configuration.applications[0].settings.request_filtering;
    filtering.hidden_segments.push("secrets".to_owned());
    filtering.deny_url_sequences = vec!["..".to_owned(), "/empty/a".to_owned()];
    filtering.allow_high_bit_characters = false;
    filtering.verbs.allowed.insert("head".to_owned(), false);
    filtering
        .file_extensions
        .allowed
        .insert(".png".to_owned(), false);
    let mut worker = starting(configuration, SITE);
    for (asks, status) in [
        ("GET /a.txt", (200, 0)),
        ("HEAD /a.txt", (404, 6)),
        ("GET /Secrets/a.txt", (404, 8)),
        ("GET /bin/a.dll", (404, 8)),
        ("GET /EMPTY/a.txt", (404, 5)),
        ("GET /a..txt", (404, 5)),
        ("GET /Images/Logo.PNG", (404, 7)),
        ("GET /code.cs", (404, 7)),
        ("GET /caf\u{e9}.txt", (404, 12)),
        ("GET /a+b.txt", (404, 11)),
    ] {
        let answer = worker.request(asks);
        assert_eq!(answer.status(), status, "{asks}");
        assert_eq!(
            answer.0.log.map(|log| log.substatus),
            Some(status.1),
            "{asks}"
        );
    }
}

#[test]
fn only_what_is_listed_passes_if_a_site_says_so() {
    let mut configuration = configuration();
    let filtering = &mut configuration.applications[0].settings.request_filtering;
    filtering.hidden_segments.clear();
    filtering.allow_double_escaping = true;
    filtering.verbs = listed(&["get"]);
    filtering.file_extensions = listed(&[".txt", ".html"]);
    let mut worker = starting(configuration, SITE);
    for (asks, status) in [
        ("GET /a.txt", (200, 0)),
        ("GET /app_data/a.txt", (200, 0)),
        ("GET /a+b.txt", (404, 0)),
        ("HEAD /a.txt", (404, 6)),
        ("GET /Images/Logo.PNG", (404, 7)),
        ("GET /sub/", (404, 7)),
        ("GET /simulation.toml", (404, 8)),
    ] {
        assert_eq!(worker.request(asks).status(), status, "{asks}");
    }
}

#[test]
fn queries_headers_and_rules_refuse_with_their_substatus() {
    let mut configuration = configuration();
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    let filtering = &mut configuration.applications[0].settings.request_filtering;
    filtering.deny_query_string_sequences = texts(&["drop table"]);
    filtering.always_allowed_query_strings = texts(&["q=drop%20table&ok"]);
    filtering.deny_url_sequences = texts(&["..", "logo"]);
    filtering.always_allowed_urls = texts(&["/images/logo.png"]);
    filtering.header_limits.insert("x-long".to_owned(), 4);
    let rule = FilteringRule {
        scan_url: true,
        scan_query_string: true,
        deny_unescaped_percent: true,
        scan_headers: texts(&["user-agent"]),
        applies_to: texts(&[".txt"]),
        deny_strings: texts(&["evil"]),
        ..FilteringRule::default()
    };
    filtering.rules = vec![rule];
    let mut worker = starting(configuration, SITE);
    for (asks, status) in [
        ("GET /a.txt", (200, 0)),
        ("GET /a.txt?q=DROP%20Table", (404, 18)),
        ("GET /a.txt?q=drop%20table&ok", (200, 0)),
        ("GET /a..txt", (404, 5)),
        ("GET /Images/Logo.png", (200, 0)),
        ("GET /a.txt\nX-Long: 1234", (200, 0)),
        ("GET /a.txt\nX-Long: 12345", (404, 10)),
        ("GET /a.txt\nUser-Agent: An EVIL one", (404, 19)),
        ("GET /a.txt\nReferer: An evil one", (200, 0)),
        ("GET /a.txt?x=evil", (404, 19)),
        ("GET /a.txt?x=%65vil", (404, 19)),
        ("GET /evil.txt", (404, 19)),
        ("GET /a.txt?x=5%", (404, 19)),
        ("GET /sub/index.html?x=evil", (200, 0)),
    ] {
        let answer = worker.request(asks);
        assert_eq!(answer.status(), status, "{asks}");
        assert!(answer.header("Server").is_some_and(|name| !name.is_empty()));
    }
}

#[test]
fn a_site_that_names_no_server_tells_the_driver_so() {
    let mut configuration = configuration();
    let settings = &mut configuration.applications[0].settings;
    settings.request_filtering.remove_server_header = true;
    let mut worker = starting(configuration, SITE);
    for asks in ["GET /a.txt", "GET /nothing.txt", "GET /web.config"] {
        assert_eq!(worker.request(asks).header("Server"), Some(""), "{asks}");
    }
}

#[test]
fn what_is_not_to_be_logged_is_marked_so() {
    for (logging, of_200, of_404) in [
        (RequestLogging::All, true, true),
        (RequestLogging::Successful, true, false),
        (RequestLogging::Failed, false, true),
        (RequestLogging::None, false, false),
    ] {
        let mut configuration = configuration();
        configuration.applications[0].settings.logging = logging;
        let mut worker = starting(configuration, SITE);
        for (asks, is_logged) in [("GET /a.txt", of_200), ("GET /nothing.txt", of_404)] {
            let log = worker.request(asks).0.log.unwrap();
            assert_eq!(log.is_unlogged, !is_logged, "{logging:?} {asks}");
        }
    }
}

fn listed(names: &[&str]) -> Listed {
    let allowed = names.iter().map(|name| ((*name).to_owned(), true));
    Listed {
        allow_unlisted: false,
        allowed: allowed.collect(),
    }
}

#[test]
fn what_must_not_be_seen_is_not_served() {
    let mut worker = worker(SITE);
    for (url, status) in [
        ("/web.config", (404, 8)),
        ("/WEB.CONFIG", (404, 8)),
        ("/sub/web.config", (404, 8)),
        ("/web.config.", (404, 0)),
        ("/web.config::$DATA", (404, 0)),
        ("/bin/a.dll", (404, 8)),
        ("/App_Data/a.txt", (404, 8)),
        ("/app_data\\a.txt", (404, 8)),
        ("/simulation.toml", (404, 8)),
        ("/code.cs", (404, 7)),
        ("/other.config", (404, 7)),
        ("/strange.xyz", (404, 3)),
        ("/../etc/passwd", (404, 0)),
        ("/sub/..\\..\\etc\\passwd", (404, 0)),
        ("/a%2e", (404, 11)),
        ("/a+b", (404, 11)),
        ("/none.txt", (404, 0)),
        ("/empty/", (403, 14)),
    ] {
        assert_eq!(worker.get(url).status(), status, "{url}");
    }
}

#[test]
fn a_folder_answers_with_its_default_document_or_is_sent_to_its_slash() {
    let mut worker = worker(SITE);
    assert_eq!(worker.get("/sub/").body(), "sub");
    let moved = worker.request("GET /Sub?a=b\nHost: example.org:8080");
    assert_eq!(moved.status(), (301, 0));
    assert_eq!(
        moved.header("Location"),
        Some("http://example.org:8080/Sub/?a=b")
    );
    assert_eq!(
        worker.get("//sub").header("Location"),
        Some("/sub/"),
        "no other host is named"
    );
}

#[test]
fn a_slash_makes_no_folder_of_a_file_and_hides_no_extension() {
    let mut worker = worker(SITE);
    for (url, status) in [
        ("/a.txt", (200, 0)),
        ("/a.txt/", (404, 0)),
        ("/a.txt//", (404, 0)),
        ("/a.txt\\", (404, 0)),
        ("/a.txt", (200, 0)),
        ("/a.txt/", (404, 0)),
        ("/code.cs", (404, 7)),
        ("/code.cs/", (404, 7)),
        ("/code.cs//", (404, 7)),
        ("/code.cs\\", (404, 7)),
        ("/sub/", (200, 0)),
        ("/empty//", (403, 14)),
    ] {
        assert_eq!(worker.get(url).status(), status, "{url}");
    }
}

#[test]
fn a_client_that_has_the_file_is_told_so() {
    let mut worker = worker(SITE);
    let first = worker.get("/a.txt");
    let (etag, date) = (
        first.header("ETag").unwrap(),
        first.header("Last-Modified").unwrap(),
    );
    let same = worker.request(&format!("GET /a.txt\nIf-None-Match: \"x\", W/{etag}"));
    assert_eq!((same.status(), same.body()), ((304, 0), ""));
    assert_eq!(
        worker
            .request(&format!("GET /a.txt\nIf-Modified-Since: {date}"))
            .status(),
        (304, 0)
    );
    let changed = worker.request("GET /a.txt\nIf-Modified-Since: Mon, 13 Nov 2023 22:13:20 GMT");
    assert_eq!(changed.status(), (200, 0));
    assert_eq!(
        worker.request("GET /a.txt\nIf-None-Match: \"x\"").status(),
        (200, 0)
    );
}

#[test]
fn a_precondition_that_fails_is_412_before_anything_else_is_looked_at() {
    let mut worker = worker(SITE);
    let tag = worker.get("/a.txt").header("ETag").unwrap().to_owned();
    let date = "Tue, 14 Nov 2023 22:13:20 GMT";
    let (before, after) = (
        "Mon, 13 Nov 2023 22:13:20 GMT",
        "Wed, 15 Nov 2023 22:13:20 GMT",
    );
    for (conditions, status) in [
        (format!("If-Match: {tag}"), 200),
        (format!("If-Match: \"x\", {tag}"), 200),
        (format!("If-Match: \"x\"\nIf-Match: {tag}"), 200),
        ("If-Match: \"x\"\nIf-Match: \"y\"".to_owned(), 412),
        (format!("If-None-Match: \"x\"\nIf-None-Match: {tag}"), 304),
        ("If-Match: *".to_owned(), 200),
        ("If-Match: \"x\"".to_owned(), 412),
        (format!("If-Match: W/{tag}"), 412),
        (format!("If-Unmodified-Since: {date}"), 200),
        (format!("If-Unmodified-Since: {after}"), 200),
        (format!("If-Unmodified-Since: {before}"), 412),
        ("If-Unmodified-Since: once".to_owned(), 200),
        (
            format!("If-Match: {tag}\nIf-Unmodified-Since: {before}"),
            200,
        ),
        (format!("If-Match: {tag}\nIf-None-Match: {tag}"), 304),
        (format!("If-Match: \"x\"\nIf-None-Match: {tag}"), 412),
        (
            format!("If-None-Match: \"x\"\nIf-Modified-Since: {date}"),
            200,
        ),
        (format!("If-Match: {tag}\nRange: bytes=0-1"), 206),
        ("If-Match: \"x\"\nRange: bytes=0-1".to_owned(), 412),
        (format!("If-Range: {tag}\nRange: bytes=0-1"), 206),
        (format!("If-Range: W/{tag}\nRange: bytes=0-1"), 200),
        (format!("If-Range: {date}\nRange: bytes=0-1"), 206),
        (format!("If-Range: {after}\nRange: bytes=0-1"), 200),
        (
            "If-Modified-Since: Tuesday, 14-Nov-23 22:13:20 GMT".to_owned(),
            304,
        ),
        (
            "If-Modified-Since: Tue Nov 14 22:13:20 2023".to_owned(),
            304,
        ),
        (
            "If-Unmodified-Since: Monday, 13-Nov-23 22:13:20 GMT".to_owned(),
            412,
        ),
        (
            "If-Unmodified-Since: Mon Nov 13 22:13:20 2023".to_owned(),
            412,
        ),
        (
            "If-Range: Tuesday, 14-Nov-23 22:13:20 GMT\nRange: bytes=0-1".to_owned(),
            206,
        ),
        (
            "If-Range: Mon Nov 13 22:13:20 2023\nRange: bytes=0-1".to_owned(),
            200,
        ),
    ] {
        let answer = worker.request(&format!("GET /a.txt\n{conditions}"));
        assert_eq!(answer.status(), (status, 0), "{conditions}");
    }
    let missing = worker.request("GET /none.txt\nIf-Match: *");
    assert_eq!(missing.status(), (404, 0));
}

#[test]
fn a_part_of_a_file_can_be_asked_for() {
    let mut worker = worker(SITE);
    let mut part = |range: &str| {
        let answer = worker.request(&format!("GET /a.txt\nRange: {range}"));
        let range = answer.header("Content-Range").map(str::to_owned);
        (answer.status().0, answer.body().to_owned(), range)
    };
    assert_eq!(
        part("bytes=1-2"),
        (206, "el".into(), Some("bytes 1-2/5".into()))
    );
    assert_eq!(
        part("bytes=3-"),
        (206, "lo".into(), Some("bytes 3-4/5".into()))
    );
    assert_eq!(
        part("bytes=-2"),
        (206, "lo".into(), Some("bytes 3-4/5".into()))
    );
    assert_eq!(
        part("bytes=2-18446744073709551614"),
        (206, "llo".into(), Some("bytes 2-4/5".into()))
    );
    assert_eq!(
        (part("bytes=9-").0, part("bytes=9-").2),
        (416, Some("bytes */5".into()))
    );
    assert_eq!(part("bytes=2-1").0, 200);
    let several = part("bytes=0-1,3-4");
    assert_eq!((several.0, several.2), (206, None));
    assert!(
        several
            .1
            .contains("Content-Range: bytes 3-4/5\r\n\r\nlo\r\n--")
    );
}

#[test]
fn head_has_the_headers_and_no_body() {
    let mut worker = worker(SITE);
    let answer = worker.request("HEAD /a.txt");
    assert_eq!(
        (answer.header("Content-Length"), answer.body()),
        (Some("5"), "")
    );
}

#[test]
fn head_has_no_ranges() {
    let mut worker = worker(SITE);
    for range in ["bytes=0-1", "bytes=0-1,3-4", "bytes=9-"] {
        let answer = worker.request(&format!("HEAD /a.txt\nRange: {range}"));
        assert_eq!(answer.status(), (200, 0), "{range}");
        assert_eq!(answer.header("Content-Length"), Some("5"), "{range}");
    }
}

#[test]
fn a_file_is_hot_at_its_second_hit_and_then_the_driver_may_keep_it() {
    let mut worker = worker(SITE);
    assert_eq!(worker.get("/a.txt").0.cache_policy, CachePolicy::Nocache);
    assert_eq!(
        worker.get("/a.txt").0.cache_policy,
        CachePolicy::UserInvalidates
    );
    assert_eq!(worker.get("/a.txt?x").0.cache_policy, CachePolicy::Nocache);
    assert_eq!(worker.look_ups(CacheLayer::File), [false, false, true]);
}

#[test]
fn two_hits_far_apart_do_not_make_a_file_hot() {
    let mut worker = worker(SITE);
    worker.get("/a.txt");
    worker.pass(Duration::from_secs(11));
    assert_eq!(worker.get("/a.txt").0.cache_policy, CachePolicy::Nocache);
}

#[test]
fn the_driver_never_keeps_a_default_document() {
    let mut worker = worker(SITE);
    for _ in 0..3 {
        assert_eq!(worker.get("/sub/").0.cache_policy, CachePolicy::Nocache);
    }
    assert_eq!(worker.look_ups(CacheLayer::File), [false, false, true]);
}

#[test]
fn a_changed_file_is_dropped_here_and_in_the_driver() {
    let mut worker = worker(SITE);
    worker.get("/A.txt");
    worker.get("/A.txt");
    worker
        .files
        .insert("a.txt".into(), (1_700_000_001_000_000_000, "new"));
    worker.pass(Duration::from_secs(2));
    assert_eq!(worker.flushed, ["/A.txt"]);
    assert_eq!(worker.get("/a.txt").body(), "new");
}

#[test]
fn a_kept_file_is_compared_with_the_disk_once_a_second() {
    let mut configuration = configuration();
    configuration.applications[0]
        .settings
        .caching
        .enable_kernel_cache = false;
    let mut worker = starting(configuration, SITE);
    worker.get("/a.txt");
    worker.get("/a.txt");
    worker
        .files
        .insert("a.txt".into(), (1_700_000_001_000_000_000, "new"));
    assert_eq!(worker.get("/a.txt").body(), "hello");
    worker.pass(Duration::from_secs(1));
    assert_eq!(worker.get("/a.txt").body(), "new");
    worker.files.remove("a.txt");
    worker.pass(Duration::from_secs(1));
    assert_eq!(worker.get("/a.txt").status(), (404, 0));
}

#[test]
fn a_file_says_what_clients_may_keep_whole_in_part_and_unchanged() {
    let mut configuration = configuration();
    configuration.applications[0].settings.client_cache.lines =
        "Cache-Control: max-age=60\r\n".into();
    let mut worker = starting(configuration, SITE);
    let tag = worker.get("/a.txt").header("ETag").unwrap().to_owned();
    for (asks, status) in [
        ("GET /a.txt".to_owned(), 200),
        ("GET /a.txt\nRange: bytes=0-1".to_owned(), 206),
        (format!("GET /a.txt\nIf-None-Match: {tag}"), 304),
    ] {
        let answer = worker.request(&asks);
        assert_eq!(answer.status().0, status);
        assert_eq!(
            answer.header("Cache-Control"),
            Some("max-age=60"),
            "{status}"
        );
    }
}
