//! Tests of the head parser: published vectors, odd branches, properties, and `httparse` as a witness.

use proptest::prelude::*;

use super::*;

fn parse(raw: &[u8]) -> Head {
    parse_within(raw, &Parameters::default())
}

fn parse_within(raw: &[u8], parameters: &Parameters) -> Head {
    read(raw, parameters).0
}

/// What came of looking at these bytes, and the text of a head.
fn read(raw: &[u8], parameters: &Parameters) -> (Head, RequestText) {
    let mut memory = HeadMemory::default();
    let head = parse_head(raw, parameters, &mut memory);
    (head, memory.text)
}

/// A head that was accepted, and its text.
struct Accepted {
    head: ParsedHead,
    text: RequestText,
}

impl std::ops::Deref for Accepted {
    type Target = ParsedHead;

    fn deref(&self) -> &ParsedHead {
        &self.head
    }
}

fn accepted(raw: &str) -> Accepted {
    match read(raw.as_bytes(), &Parameters::default()) {
        (Head::Complete(head), text) => Accepted { head, text },
        (other, _) => panic!("{raw:?}: {other:?}"),
    }
}

fn refused(raw: impl AsRef<[u8]>) -> RefusedHead {
    match parse(raw.as_ref()) {
        Head::Refused(refused) => refused,
        other @ (Head::Incomplete | Head::Complete(_)) => {
            panic!("{:?}: {other:?}", String::from_utf8_lossy(raw.as_ref()))
        }
    }
}

/// `GET /` with these header lines, `\n` standing for CR LF.
fn get(headers: &str) -> String {
    format!("GET / HTTP/1.1\nHost: localhost\n{headers}\n").replace('\n', "\r\n")
}

fn text(parsed: &Accepted, span: Span) -> &str {
    parsed.text.str(span)
}

/// Runs a published vector as far as a head and its body go.
fn outcome(raw: &[u8]) -> Result<(Accepted, Vec<u8>), ReasonPhrase> {
    let parsed = match read(raw, &Parameters::default()) {
        (Head::Complete(head), text) => Accepted { head, text },
        (Head::Refused(refused), _) => return Err(refused.reason),
        (Head::Incomplete, _) => panic!("incomplete: {:?}", String::from_utf8_lossy(raw)),
    };
    let piece = EntityReader::new(parsed.entity).read(&raw[parsed.consumed..])?;
    assert!(piece.last, "a vector's body is whole");
    Ok((parsed, piece.body.to_vec()))
}

#[test]
fn every_published_request_is_treated_as_published() {
    for line in include_str!("../../tests/vectors/requests.jsonl").lines() {
        let vector: serde_json::Value = serde_json::from_str(line).unwrap();
        let (id, raw) = (&vector["id"], vector["raw"].as_str().unwrap());
        match outcome(raw.as_bytes()) {
            Err(reason) => {
                assert_eq!(vector["httperr_reason"], reason.phrase(), "{id}");
                assert_eq!(vector["expect_status"], reason.status().unwrap(), "{id}");
                let page = super::super::error_page::error_page(reason, "").unwrap();
                let length =
                    page.len() - page.windows(4).position(|w| w == b"\r\n\r\n").unwrap() - 4;
                let published = vector["body_len"].as_u64();
                assert!(
                    published.is_none_or(|published| published == length as u64),
                    "{id}"
                );
            }
            Ok((parsed, body)) => {
                assert_eq!(vector["expect_status"], 200, "{id}");
                let kept = vector["connection_after"] == "keep-alive";
                assert_eq!(parsed.keep_alive, kept, "{id}");
                for (what, expected) in vector["delivered"].as_object().into_iter().flatten() {
                    let found = match what.as_str() {
                        "path" => text(&parsed, parsed.text.path),
                        "host" => text(&parsed, parsed.text.host),
                        "method" => text(&parsed, parsed.text.verb),
                        "query" => text(&parsed, parsed.text.query),
                        "body" => str::from_utf8(&body).unwrap(),
                        header => {
                            let name = header.strip_prefix("header:").unwrap();
                            str::from_utf8(parsed.text.header(name).unwrap()).unwrap()
                        }
                    };
                    assert_eq!(expected, found, "{id}");
                }
            }
        }
    }
}

#[test]
fn a_head_is_taken_apart() {
    let parsed = accepted(
        "GET /A%20b?c=%20d HTTP/1.1\r\nHost: www.X.com:8080\r\nx-attempt-id: 42\r\nA:  b \t\r\n\r\nmore",
    );
    assert_eq!(text(&parsed, parsed.text.verb), "GET");
    assert_eq!(text(&parsed, parsed.text.raw_url), "/A%20b?c=%20d");
    assert_eq!(text(&parsed, parsed.text.path), "/A b");
    assert_eq!(text(&parsed, parsed.text.query), "c=%20d");
    assert_eq!(text(&parsed, parsed.text.host), "www.X.com");
    assert_eq!(
        (parsed.host_port, parsed.activity),
        (Some(8080), ActivityId(42))
    );
    assert_eq!(parsed.text.header("a"), Some(&b"b"[..]));
    assert!(parsed.keep_alive && !parsed.expect_continue);
    assert_eq!(parsed.entity, EntityLength::None);
}

#[test]
fn a_path_that_is_plain_is_not_copied() {
    let parsed = accepted("GET /plain?q HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(parsed.text.text.len(), parsed.consumed);
    assert_eq!(text(&parsed, parsed.text.path), "/plain");
}

#[test]
fn bare_line_feeds_and_leading_blank_lines_are_accepted() {
    let parsed = accepted(" \t\r\n\n\r\nGET / HTTP/1.1\nHost: a\n\n");
    assert_eq!(text(&parsed, parsed.text.host), "a");
    assert_eq!(parsed.consumed, 31);
}

#[test]
fn a_carriage_return_alone_is_refused() {
    for raw in [
        "\rG",
        "GET /\rx",
        "GET / HTTP/1.1\rx",
        "GET / HTTP/1.1\r\nA: b\rc",
        "foo\rx",
    ] {
        assert_eq!(refused(raw).reason, ReasonPhrase::InvalidCrLf, "{raw:?}");
    }
}

#[test]
fn what_is_no_verb_is_refused_at_its_first_byte() {
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    for length in 1..hello.len() {
        assert_eq!(refused(&hello[..length]).reason, ReasonPhrase::Verb);
    }
    assert_eq!(refused("x".repeat(256)).reason, ReasonPhrase::Verb);
    for raw in [
        "foo\r\n",
        "foo\n",
        "(",
        " GET / HTTP/1.1",
        "get /",
        "Post /",
        "connect /",
    ] {
        assert_eq!(refused(raw).reason, ReasonPhrase::Verb, "{raw:?}");
    }
    assert_eq!(
        refused("CONNECT a:443 HTTP/1.1\r\n").reason,
        ReasonPhrase::Verb
    );
    assert_eq!(
        text(&accepted("patch / HTTP/1.1\nHost: a\n\n"), Span::new(0, 5)),
        "patch"
    );
}

#[test]
fn request_lines_are_refused_when_they_end() {
    for (line, reason) in [
        ("GET /", ReasonPhrase::BadRequest),
        ("GET / HTTX/1.1", ReasonPhrase::BadRequest),
        ("GET / http/1.1", ReasonPhrase::BadRequest),
        ("GET / HTTP/1.1 ", ReasonPhrase::BadRequest),
        ("GET / HTTP/1", ReasonPhrase::BadRequest),
        ("GET / HTTP/2.0", ReasonPhrase::VersionNotSupported),
        ("GET / HTTP/10.1", ReasonPhrase::VersionNotSupported),
        ("GET / HTTP/0.9", ReasonPhrase::VersionNotSupported),
        ("GET   /   HTTP/1.1", ReasonPhrase::Url),
        ("GET /  HTTP/1.1", ReasonPhrase::Url),
        ("GET ", ReasonPhrase::Url),
        ("GET * HTTP/1.1", ReasonPhrase::Url),
        ("GET a HTTP/1.1", ReasonPhrase::Url),
        ("GET ftp://a/ HTTP/1.1", ReasonPhrase::Url),
        ("GET http://a?b HTTP/1.1", ReasonPhrase::Url),
        ("GET http:/// HTTP/1.1", ReasonPhrase::Hostname),
        ("GET http://u@h/ HTTP/1.1", ReasonPhrase::Hostname),
        ("GET /?\u{1} HTTP/1.1", ReasonPhrase::Url),
        ("GET /../.. HTTP/1.1", ReasonPhrase::Url),
    ] {
        assert_eq!(refused(format!("{line}\r\n")).reason, reason, "{line:?}");
    }
}

#[test]
fn an_absolute_target_wins_over_the_host_header() {
    let parsed = accepted("GET HTTP://h:81/p?q HTTP/1.1\r\nHost: ignored:82\r\n\r\n");
    assert_eq!(
        (text(&parsed, parsed.text.host), parsed.host_port),
        ("h", Some(81))
    );
    assert_eq!(text(&parsed, parsed.text.path), "/p");
    let parsed = accepted("GET https://h HTTP/1.1\r\nHost: ignored\r\n\r\n");
    assert_eq!(text(&parsed, parsed.text.path), "/");
    assert_eq!(
        refused("GET http://h/ HTTP/1.1\r\n\r\n").reason,
        ReasonPhrase::Hostname
    );
}

#[test]
fn options_of_the_whole_server_have_an_empty_path() {
    let parsed = accepted("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(
        (
            text(&parsed, parsed.text.path),
            text(&parsed, parsed.text.raw_url)
        ),
        ("", "*")
    );
}

#[test]
fn hosts_are_checked() {
    for good in [
        "a", "a:80", "a:", "[::1]:80", "[::1]", "10.0.0.1", "a_b-c.d", "bücher",
    ] {
        accepted(&format!("GET / HTTP/1.1\r\nHost: {good}\r\n\r\n"));
    }
    for bad in [
        "", "a b", "a/b", "a:0", "a:65536", "a:x", "[::1", "[x]", "[::1]x", "*", "a:1:2", ":80",
    ] {
        let raw = format!("GET / HTTP/1.1\r\nHost: {bad}\r\n\r\n");
        assert_eq!(refused(raw).reason, ReasonPhrase::Hostname, "{bad:?}");
    }
    let old = accepted("GET / HTTP/1.0\r\n\r\n");
    assert!(old.text.host.is_empty() && !old.keep_alive);
}

#[test]
fn malformed_headers_are_refused() {
    for bad in [
        "A", "A : b", ": b", "A[]: b", "A: \0", "A: \x0b", "A: \x7f", "A\x01: b", "é: b",
    ] {
        assert_eq!(
            refused(get(&format!("{bad}\n"))).reason,
            ReasonPhrase::Header,
            "{bad:?}"
        );
    }
    assert_eq!(
        accepted(&get("A: é\n")).text.header("a"),
        Some("é".as_bytes())
    );
    assert_eq!(
        refused("GET / HTTP/1.1\r\n Host: a\r\n\r\n").reason,
        ReasonPhrase::Header
    );
}

#[test]
fn a_range_that_overflows_is_an_invalid_header() {
    for (range, overflows) in [
        ("bytes=18-18446744073709551615", true),
        ("bytes=0-18446744073709551615", true),
        ("bytes=0-1, 18 - 18446744073709551616", true),
        ("bytes=0-1\nRange: bytes=18-18446744073709551615", true),
        ("bytes=18-18446744073709551614", false),
        ("bytes=18446744073709551615-", false),
        ("bytes=-18446744073709551615", false),
        ("bytes=2-1, x-y", false),
        ("lines=18-18446744073709551615", false),
    ] {
        let head = get(&format!("Range: {range}\n"));
        match parse(head.as_bytes()) {
            Head::Refused(head) => {
                assert!(overflows, "{range}");
                assert_eq!(head.reason, ReasonPhrase::Header, "{range}");
            }
            Head::Complete(_) => assert!(!overflows, "{range}"),
            Head::Incomplete => panic!("{range} ends"),
        }
    }
}

#[test]
fn a_folded_header_is_unfolded() {
    let raw = "GET / HTTP/1.1\r\nHost: a\r\nB: c\r\n d\n\te\r\n \r\nF: g\r\n\r\nrest";
    let parsed = accepted(raw);
    assert_eq!(parsed.text.header("b"), Some(&b"c   d \te"[..]));
    assert_eq!(parsed.text.header("f"), Some(&b"g"[..]));
    assert_eq!(&raw[parsed.consumed..], "rest");
    assert_eq!(
        accepted(&get("Content-Length:\n 5\n")).entity,
        EntityLength::Known(5)
    );
}

#[test]
fn lengths_and_codings_are_checked() {
    for (headers, reason) in [
        (
            "Content-Length: 5\nContent-Length: 5\n",
            ReasonPhrase::Header,
        ),
        (
            "Content-Length: 5\nTransfer-Encoding: chunked\n",
            ReasonPhrase::Header,
        ),
        ("Content-Length: 5, 5\n", ReasonPhrase::Number),
        ("Content-Length: +5\n", ReasonPhrase::Number),
        ("Content-Length: -5\n", ReasonPhrase::Number),
        ("Content-Length:\n", ReasonPhrase::Number),
        (
            "Content-Length: 18446744073709551616\n",
            ReasonPhrase::Number,
        ),
        ("Transfer-Encoding: gzip\n", ReasonPhrase::NotImplemented),
        (
            "Transfer-Encoding: gzip, chunked\n",
            ReasonPhrase::NotImplemented,
        ),
        (
            "Transfer-Encoding: xchunked\n",
            ReasonPhrase::NotImplemented,
        ),
        (
            "Transfer-Encoding: chunked\nTransfer-Encoding: chunked\n",
            ReasonPhrase::NotImplemented,
        ),
        ("Transfer-Encoding:\n", ReasonPhrase::NotImplemented),
        ("Expect: miracles\n", ReasonPhrase::Header),
        (
            "Expect: miracles\nExpect: 100-continue\n",
            ReasonPhrase::Header,
        ),
    ] {
        assert_eq!(refused(get(headers)).reason, reason, "{headers:?}");
    }
    assert_eq!(
        accepted(&get("Content-Length: 007\n")).entity,
        EntityLength::Known(7)
    );
    assert_eq!(
        accepted(&get("Content-Length: 0\n")).entity,
        EntityLength::None
    );
    assert_eq!(
        accepted(&get("Transfer-Encoding: Chunked\n")).entity,
        EntityLength::Chunked
    );
    assert_eq!(
        accepted(&get("Transfer-Encoding: identity\n")).entity,
        EntityLength::None
    );
    let old = "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(refused(old).reason, ReasonPhrase::Header);
    let posted = get("").replace("GET", "POST");
    assert_eq!(refused(posted).reason, ReasonPhrase::LengthRequired);
    accepted(&get("").replace("GET", "DELETE"));
}

#[test]
fn a_client_waits_only_if_it_has_a_body_to_send() {
    assert!(accepted(&get("Expect: 100-Continue\nContent-Length: 1\n")).expect_continue);
    assert!(!accepted(&get("Expect: 100-continue\n")).expect_continue);
}

#[test]
fn a_client_may_ask_for_the_end_of_the_connection() {
    assert!(!accepted(&get("Connection: x, Close\n")).keep_alive);
    assert!(accepted(&get("Connection: closed\n")).keep_alive);
}

#[test]
fn what_is_too_long_is_refused_before_it_ends() {
    let endless_url = refused(format!("GET /{}", "a".repeat(17_000)));
    assert_eq!(endless_url.reason, ReasonPhrase::UrlLength);
    assert_eq!(endless_url.url.map(|url| url.len()), Some(16_384 - 4));
    let long = get(&format!("A: {}\n", "a".repeat(17_000)));
    assert_eq!(refused(&long[..16_384]).reason, ReasonPhrase::RequestLength);
    assert!(matches!(
        parse(&long.as_bytes()[..16_383]),
        Head::Incomplete
    ));
    assert_eq!(
        refused("\r\n".repeat(9_000)).reason,
        ReasonPhrase::RequestLength
    );
    let narrow = Parameters {
        max_field_length: 100,
        ..Parameters::default()
    };
    let Head::Refused(field) = parse_within(&long.as_bytes()[..200], &narrow) else {
        panic!()
    };
    assert_eq!(field.reason, ReasonPhrase::FieldLength);
    let exact = get(&format!("A: {}\n", "a".repeat(16_384 - 40)));
    assert_eq!(exact.len(), 16_384);
    assert_eq!(accepted(&exact).consumed, 16_384);
    accepted(&get(&"A: b\n".repeat(2_000)));
}

#[test]
fn a_refusal_tells_what_was_understood() {
    let refused = refused("GET /a%zz HTTP/1.1\r\nHost: x\r\nX-Attempt-Id: 7\r\n\r\n");
    assert_eq!(refused.verb.as_deref(), Some("GET"));
    assert_eq!(refused.url.as_deref(), Some("/a%zz"));
    assert_eq!(refused.version, Some(Version::Http11.into()));
    assert_eq!(refused.activity, ActivityId(7));
}

#[test]
fn a_version_that_is_not_served_is_told_too() {
    for (line, major, minor) in [
        ("GET / HTTP/9.9", 9, 9),
        ("GET / HTTP/2.0", 2, 0),
        ("GET / HTTP/10.1", 10, 1),
        ("GET / HTTP/3.123", 3, 10),
    ] {
        let refused = refused(format!("{line}\r\nHost: x\r\n\r\n"));
        assert_eq!(refused.version, Some(SentVersion { major, minor }));
    }
}

/// Bytes that are nearly a request.
fn nearly_a_request() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        8 => Just(&b"\r\n"[..]),
        1 => prop::sample::select(vec![
            &b"GET "[..], b"POST ", b"OPTIONS ", b"/", b"*", b"http://h", b"/%41", b"/../", b"%2", b"?q",
            b" HTTP/1.1", b" HTTP/1.0", b" HTTP/2.0", b"\n", b"\r", b" ", b"\t", b"\0", b":", b"\xff",
        ]),
        6 => prop::sample::select(vec![
            &b"Host: a"[..], b"Host:", b"Content-Length: 5", b"Content-Length: x", b"A: b", b" folded",
            b"Transfer-Encoding: chunked", b"Expect: 100-continue", b"X-Attempt-Id: 9", b"A[]: b",
        ]),
    ];
    let start = prop::sample::select(vec![
        &b""[..],
        b"\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n",
        b"POST /%41 HTTP/1.1\r\nHost: a\r\n",
        b"GET /a/../b HTTP/1.0\n",
    ]);
    (start, prop::collection::vec(piece, 0..16))
        .prop_map(|(start, pieces)| [start, &pieces.concat()].concat())
}

/// What must not depend on bytes that came later.
fn essence(
    (head, text): &(Head, RequestText),
) -> Option<Result<(usize, &RequestText, EntityLength), ReasonPhrase>> {
    match head {
        Head::Incomplete => None,
        Head::Complete(parsed) => Some(Ok((parsed.consumed, text, parsed.entity))),
        Head::Refused(refused) => Some(Err(refused.reason)),
    }
}

/// All that was found out about a head, but whether it was known.
fn all_of((mut head, text): (Head, RequestText)) -> String {
    if let Head::Complete(parsed) = &mut head {
        parsed.known = None;
        return format!("{head:?} {text:?}");
    }
    format!("{head:?}")
}

#[test]
fn what_heads_have_in_common_is_read_once() {
    let (parameters, mut memory) = (Parameters::default(), HeadMemory::default());
    let known = |number: u32, memory: &mut HeadMemory| {
        let raw = format!("GET /a HTTP/1.1\r\nHost: b\r\nx-attempt-id: {number}\r\n\r\n");
        match parse_head(raw.as_bytes(), &parameters, memory) {
            Head::Complete(parsed) => {
                assert_eq!(parsed.activity, ActivityId(number.into()));
                parsed.known
            }
            other @ (Head::Incomplete | Head::Refused(_)) => panic!("{other:?}"),
        }
    };
    for number in 1..=3 {
        assert_eq!(known(number, &mut memory), None);
    }
    let host = known(4, &mut memory);
    assert!(host.is_some() && known(5, &mut memory) == host);
}

proptest! {
    #[test]
    fn heads_that_were_read_before_change_nothing(
        raws in prop::collection::vec(nearly_a_request(), 1..4),
        order in prop::collection::vec((0_usize..4, 0_usize..3, 0_usize..40), 1..24),
    ) {
        let parameters = Parameters { max_field_length: 60, ..Parameters::default() };
        let mut memory = HeadMemory::default();
        for (which, line, cut) in order {
            let mut raw = raws[which % raws.len()].clone();
            // Another line in it, or not all of it.
            let lines: Vec<usize> = (1..raw.len()).filter(|&at| raw[at - 1] == b'\n').collect();
            match lines.get(cut) {
                Some(&at) if line == 1 => {
                    raw.splice(at..at, *b"x-attempt-id: 7\r\n");
                }
                Some(&at) if line == 2 => raw.truncate(at),
                Some(_) | None => {}
            }
            let again = parse_head(&raw, &parameters, &mut memory);
            let again = (again, memory.text.clone());
            prop_assert_eq!(all_of(again), all_of(read(&raw, &parameters)));
        }
    }

    #[test]
    fn no_bytes_make_the_parser_panic(raw in prop::collection::vec(any::<u8>(), 0..300)) {
        parse(&raw);
    }

    #[test]
    fn a_prefix_is_incomplete_or_means_the_same(raw in nearly_a_request(), max in 20..400_u32) {
        let parameters = Parameters { max_request_bytes: max, max_field_length: 30, ..Parameters::default() };
        let whole = read(&raw, &parameters);
        for length in 0..raw.len() {
            let prefix = read(&raw[..length], &parameters);
            if let Some(found) = essence(&prefix) {
                prop_assert_eq!(Some(found), essence(&whole), "prefix of {}", length);
            }
        }
    }

    #[test]
    fn what_is_accepted_reads_the_same_to_httparse(raw in nearly_a_request()) {
        if let (Head::Complete(_), text) = read(&raw, &Parameters::default()) {
            // Our own text, so that folds are unfolded and blank lines gone.
            let head = &text.text[..];
            let mut headers = [httparse::EMPTY_HEADER; 32];
            let mut theirs = httparse::Request::new(&mut headers);
            let begin = text.verb.start as usize;
            prop_assert!(theirs.parse(&head[begin..]).is_ok_and(|status| status.is_complete()));
            prop_assert_eq!(theirs.path.unwrap(), text.str(text.raw_url));
            prop_assert_eq!(theirs.method.unwrap(), text.str(text.verb));
            let ours = text.headers.iter();
            let ours: Vec<_> = ours.map(|&(n, v)| (text.str(n), text.bytes(v))).collect();
            let theirs: Vec<_> = theirs.headers.iter().map(|h| (h.name, h.value)).collect();
            prop_assert_eq!(ours, theirs);
        }
    }
}
