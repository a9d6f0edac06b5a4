//! Tests of the log formats: lines as published, and that a line read back is what was logged.

use proptest::prelude::*;

use super::*;
use crate::api::{
    ActivityId, ConnectionId, CustomLogField, EntityLength, LogFields, Request, RequestId,
    RequestText, SharedRequest, ShortEnds, Span, UrlContext, Version,
};

/// 2026-11-22 17:28:47.
const AT: UtcTime = UtcTime(1_795_368_527_000_000_000);

/// Every column there is.
const ALL: LogFields = LogFields((1 << 22) - 1);

fn ends(client: &str, local: &str) -> Ends {
    Ends {
        client: client.parse().unwrap(),
        local: local.parse().unwrap(),
    }
}

/// A request with this text, each part as given.
fn request(verb: &[u8], path: &[u8], query: &[u8], headers: &[(&str, &[u8])]) -> Request {
    let mut text = Vec::new();
    let mut put = |part: &[u8]| {
        text.extend_from_slice(part);
        Span::new(text.len() - part.len(), text.len())
    };
    let (verb, path, query) = (put(verb), put(path), put(query));
    let headers = headers
        .iter()
        .map(|&(name, value)| (put(name.as_bytes()), put(value)))
        .collect();
    let raw_url = put(b"*");
    Request {
        id: RequestId(1),
        connection: ConnectionId(1),
        activity: ActivityId(0),
        site: SiteId(1),
        url_context: UrlContext(0),
        ends: ShortEnds::new(ends("10.0.0.9:50001", "10.0.0.1:80")),
        secure: false,
        version: Version::Http11,
        received: Instant(0),
        entity: EntityLength::None,
        text: RequestText {
            text,
            verb,
            raw_url,
            path,
            query,
            host: Span::default(),
            headers,
        },
    }
}

fn w3c_line(fields: LogFields, request: Request) -> String {
    let settings = LogSettings {
        fields,
        ..LogSettings::daily(String::new())
    };
    let record = record(settings, request);
    let mut out = b"before".to_vec();
    write_w3c_line(&record, "WEB 1", &mut out, AT);
    String::from_utf8(out.split_off(6)).unwrap()
}

fn record(settings: LogSettings, request: Request) -> W3cRecord {
    W3cRecord {
        at: Instant(0),
        settings: Rc::new(settings),
        request: SharedRequest::new(request),
        status: 200,
        substatus: 0,
        win32_status: 64,
        bytes_sent: 1234,
        bytes_received: u64::MAX,
        took: Duration::from_micros(15_999),
    }
}

fn httperr_line(record: &HttpErrRecord) -> String {
    let mut out = Vec::new();
    write_httperr_line(record, &mut out, AT);
    String::from_utf8(out).unwrap()
}

fn refused(ends: Ends) -> HttpErrRecord {
    HttpErrRecord {
        at: Instant(0),
        ends,
        version: Some(Version::Http11.into()),
        verb: Some("GET".to_owned()),
        url: Some("/x.asp?a b".to_owned()),
        status: Some(503),
        site: Some(SiteId(7)),
        reason: ReasonPhrase::AppOffline,
        queue: Some(RequestQueueName("My Pool".to_owned())),
    }
}

#[test]
fn a_site_logs_the_default_columns() {
    let mut header = Vec::new();
    site_header(&LogSettings::daily(String::new()), AT, &mut header);
    assert_eq!(
        String::from_utf8(header).unwrap(),
        "#Software: Microsoft Internet Information Services 10.0\r\n#Version: 1.0\r\n\
         #Date: 2026-11-22 17:28:47\r\n#Fields: date time s-ip cs-method cs-uri-stem cs-uri-query s-port \
         cs-username c-ip cs(User-Agent) cs(Referer) sc-status sc-substatus sc-win32-status time-taken\r\n"
    );
    let request = request(b"GET", b"/a b", b"", &[("user-agent", b"Mozilla/5.0 (X)")]);
    assert_eq!(
        w3c_line(LogFields::DEFAULT, request),
        "2026-11-22 17:28:47 10.0.0.1 GET /a+b - 80 - 10.0.0.9 Mozilla/5.0+(X) - 200 0 64 15\r\n"
    );
}

#[test]
fn a_site_logs_every_column_in_the_documented_order() {
    let mut header = Vec::new();
    let all = LogSettings {
        fields: ALL,
        ..LogSettings::daily(String::new())
    };
    site_header(&all, AT, &mut header);
    assert!(String::from_utf8(header).unwrap().ends_with(
        "#Fields: date time s-sitename s-computername s-ip cs-method cs-uri-stem cs-uri-query s-port \
         cs-username c-ip cs-version cs(User-Agent) cs(Cookie) cs(Referer) cs-host sc-status sc-substatus \
         sc-win32-status sc-bytes cs-bytes time-taken\r\n"
    ));
    let headers: [(&str, &[u8]); 4] = [
        ("User-Agent", b"ua"),
        ("Cookie", b"a=b; c"),
        ("Referer", b"http://r/"),
        ("Host", b"h:80"),
    ];
    assert_eq!(
        w3c_line(ALL, request(b"OPTIONS", b"", b"q=1", &headers)),
        "2026-11-22 17:28:47 W3SVC1 WEB+1 10.0.0.1 OPTIONS * q=1 80 - 10.0.0.9 HTTP/1.1 ua a=b;+c http://r/ \
         h:80 200 0 64 1234 18446744073709551615 15\r\n"
    );
}

#[test]
fn a_refusal_is_logged_as_windows_server_2022_does() {
    let mut header = Vec::new();
    httperr_header(AT, &mut header);
    assert_eq!(
        String::from_utf8(header).unwrap(),
        "#Software: Microsoft HTTP API 2.0\r\n#Version: 1.0\r\n#Date: 2026-11-22 17:28:47\r\n\
         #Fields: date time c-ip c-port s-ip s-port cs-version cs-method cs-uri streamid streamid_ex \
         sc-status s-siteid s-reason s-queuename transport\r\n"
    );
    assert_eq!(
        httperr_line(&refused(ends("10.0.0.9:4010", "10.0.0.1:80"))),
        "2026-11-22 17:28:47 10.0.0.9 4010 10.0.0.1 80 HTTP/1.1 GET /x.asp?a+b - - 503 7 AppOffline \
         My+Pool TCP\r\n"
    );
    let idle = HttpErrRecord {
        version: None,
        verb: None,
        url: None,
        status: None,
        site: None,
        reason: ReasonPhrase::TimerConnectionIdle,
        queue: None,
        ..refused(ends("[::1]:49991", "[::ffff:10.0.0.1]:80"))
    };
    assert_eq!(
        httperr_line(&idle),
        "2026-11-22 17:28:47 ::1%0 49991 10.0.0.1 80 - - - - - - - Timer_ConnectionIdle - TCP\r\n"
    );
}

#[test]
fn a_version_is_logged_as_it_was_sent_if_its_parts_have_one_digit() {
    for (major, minor, expected) in [(9, 9, "HTTP/9.9"), (2, 0, "HTTP/2.0"), (1, 10, "HTTP/?.?")] {
        let record = HttpErrRecord {
            version: Some(SentVersion { major, minor }),
            ..refused(ends("10.0.0.9:4010", "10.0.0.1:80"))
        };
        assert_eq!(httperr_line(&record).split(' ').nth(6), Some(expected));
    }
}

#[test]
fn long_verbs_and_urls_are_cut() {
    let record = HttpErrRecord {
        verb: Some("V".repeat(300)),
        url: Some(format!("/{}", "é".repeat(4000))),
        ..refused(ends("10.0.0.9:4010", "10.0.0.1:80"))
    };
    let line = httperr_line(&record);
    let columns: Vec<_> = line.split(' ').collect();
    assert_eq!((columns[7].len(), columns[8].len()), (255, 4095));
}

#[test]
fn a_line_is_never_longer_than_the_schema_says() {
    let line = w3c_line(
        ALL,
        request(b"GET", "é".repeat(40_000).as_bytes(), b"", &[]),
    );
    assert!((65_530..=65_536).contains(&line.len()) && line.ends_with("é\r\n"));
}

#[test]
fn a_client_cannot_write_a_line_or_a_directive() {
    let method_only = LogFields(128);
    assert_eq!(
        w3c_line(method_only, request(b"#Fields", b"/", b"", &[])),
        "+Fields\r\n"
    );
    let stem = |path: &[u8]| w3c_line(LogFields(256), request(b"GET", path, b"", &[]));
    assert_eq!(
        stem(b"/\r\n#Date:\x1b[2J\xc2\x85\xe2\x80\xa8\xff\xfe."),
        "/++#Date:+[2J++++.\r\n"
    );
}

#[test]
fn cookies_in_several_lines_are_logged_as_in_one() {
    let cookies =
        |lines: &[(&str, &[u8])]| w3c_line(LogFields(131_072), request(b"GET", b"/", b"", lines));
    let several = cookies(&[("Cookie", b"a=b"), ("Accept", b"*/*"), ("cookie", b"c=d")]);
    assert_eq!(several, "a=b;+c=d\r\n");
    assert_eq!(several, cookies(&[("Cookie", b"a=b; c=d")]));
    assert_eq!(cookies(&[]), "-\r\n");
}

#[test]
fn log_files_are_named_by_their_period() {
    let settings = |format, period| LogSettings {
        format,
        period,
        ..LogSettings::daily(String::new())
    };
    let name = |period| site_file_name(&settings(LogFormat::W3c, period), Civil::from(AT), 3);
    assert_eq!(name(LogPeriod::Daily), "u_ex261122.log");
    assert_eq!(name(LogPeriod::Hourly), "u_ex26112217.log");
    assert_eq!(name(LogPeriod::Weekly), "u_ex261104.log");
    assert_eq!(name(LogPeriod::Monthly), "u_ex2611.log");
    assert_eq!(name(LogPeriod::MaxSize), "u_extend3.log");
    assert_eq!(httperr_file_name(1), "httperr1.log");
    let name = |settings: &LogSettings| site_file_name(settings, Civil::from(AT), 3);
    for (format, daily, sized) in [
        (LogFormat::Iis, "u_in261122.log", "u_inetsv3.log"),
        (LogFormat::Ncsa, "u_nc261122.log", "u_ncsa3.log"),
    ] {
        assert_eq!(name(&settings(format, LogPeriod::Daily)), daily);
        assert_eq!(name(&settings(format, LogPeriod::MaxSize)), sized);
    }
    let mut custom = settings(LogFormat::W3c, LogPeriod::Daily);
    custom.custom_fields = vec![forwarded()];
    assert_eq!(name(&custom), "u_ex261122_x.log");
}

fn forwarded() -> CustomLogField {
    CustomLogField {
        name: "X-Forwarded-For".to_owned(),
        header: Some("X-Forwarded-For".to_owned()),
    }
}

#[test]
fn custom_fields_come_last_and_no_longer_than_they_may_be() {
    let settings = LogSettings {
        fields: LogFields(256),
        custom_fields: vec![
            forwarded(),
            CustomLogField {
                name: "later".to_owned(),
                header: None,
            },
        ],
        custom_field_max: 8,
        ..LogSettings::daily(String::new())
    };
    let mut out = Vec::new();
    site_header(&settings, AT, &mut out);
    let header = String::from_utf8(std::mem::take(&mut out)).unwrap();
    assert!(header.ends_with("#Fields: cs-uri-stem X-Forwarded-For later\r\n"));
    let forwarded = [("x-forwarded-for", &b"10.0.0.77, 10.0.0.1"[..])];
    let record = record(settings, request(b"GET", b"/a", b"", &forwarded));
    write_w3c_line(&record, "WEB", &mut out, AT);
    assert_eq!(String::from_utf8(out).unwrap(), "/a 10.0.0.7 -\r\n");
}

fn fixed_line(format: LogFormat, request: Request, offset: i32) -> String {
    let settings = LogSettings {
        format,
        ..LogSettings::daily(String::new())
    };
    let mut out = Vec::new();
    write_fixed_line(&record(settings, request), "WEB 1", &mut out, AT, offset);
    String::from_utf8(out).unwrap()
}

#[test]
fn iis_and_ncsa_lines_are_in_local_time_as_published() {
    let of = || request(b"GET", b"/DeptLogo.gif", b"a=1", &[]);
    assert_eq!(
        fixed_line(LogFormat::Iis, of(), -8 * 3600),
        "10.0.0.9, -, 11/22/26, 9:28:47, W3SVC1, WEB+1, 10.0.0.1, 15, 18446744073709551615, 1234, 200, 64, \
         GET, /DeptLogo.gif, a=1,\r\n"
    );
    assert_eq!(
        fixed_line(LogFormat::Ncsa, of(), -8 * 3600),
        "10.0.0.9 - - [22/Nov/2026:09:28:47 -0800] \"GET /DeptLogo.gif?a=1 HTTP/1.1\" 200 1234\r\n"
    );
    assert_eq!(
        fixed_line(
            LogFormat::Ncsa,
            request(b"GET", b"/", b"", &[]),
            5 * 3600 + 30 * 60
        ),
        "10.0.0.9 - - [22/Nov/2026:22:58:47 +0530] \"GET / HTTP/1.1\" 200 1234\r\n"
    );
}

#[test]
fn a_client_cannot_make_up_fields_of_an_iis_or_ncsa_line() {
    let evil = || request(b"GET", b"/a, b\" 500 1\r\n", b"x\",", &[]);
    let iis = fixed_line(LogFormat::Iis, evil(), 0);
    assert_eq!((iis.matches(',').count(), iis.lines().count()), (15, 1));
    let ncsa = fixed_line(LogFormat::Ncsa, evil(), 0);
    assert_eq!((ncsa.matches('"').count(), ncsa.lines().count()), (2, 1));
}

/// A column as it should be read back.
fn as_logged(text: &[u8]) -> String {
    let lossy = String::from_utf8_lossy(text);
    let plus = |c: char| c.is_control() || c.is_whitespace() || c == char::REPLACEMENT_CHARACTER;
    let logged = lossy.replace(plus, "+");
    if logged.is_empty() {
        "-".to_owned()
    } else {
        logged
    }
}

fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..30),
        "[ -~\\r\\n\\t]{0,30}".prop_map(String::into_bytes),
        any::<String>().prop_map(String::into_bytes),
    ]
}

proptest! {
    #[test]
    fn a_w3c_line_reads_back_as_it_was_logged(
        verb in any_bytes(),
        path in any_bytes(),
        query in any_bytes(),
        agent in any_bytes(),
    ) {
        let line = w3c_line(ALL, request(&verb, &path, &query, &[("User-Agent", &agent)]));
        let body = line.strip_suffix("\r\n").unwrap();
        prop_assert_eq!(body.lines().count(), 1);
        prop_assert!(!body.contains('\r'));
        let columns: Vec<_> = body.split(' ').collect();
        prop_assert_eq!(columns.len(), 22);
        prop_assert_eq!(columns[5], as_logged(&verb));
        let path = if path.is_empty() { b"*".to_vec() } else { path };
        prop_assert_eq!(columns[6], as_logged(&path));
        prop_assert_eq!(columns[7], as_logged(&query));
        prop_assert_eq!(columns[12], as_logged(&agent));
    }

    #[test]
    fn an_httperr_line_reads_back_as_it_was_logged(
        verb in prop::option::of(any::<String>()),
        url in prop::option::of(any::<String>()),
        queue in prop::option::of("[ -~]{0,20}"),
        status in prop::option::of(0..1000_u16),
        reason in prop::sample::select(ReasonPhrase::ALL.to_vec()),
    ) {
        let record = HttpErrRecord {
            verb: verb.clone(),
            url: url.clone(),
            status,
            reason,
            queue: queue.clone().map(RequestQueueName),
            ..refused(ends("10.0.0.9:1", "10.0.0.1:80"))
        };
        let line = httperr_line(&record);
        let body = line.strip_suffix("\r\n").unwrap();
        let columns: Vec<_> = body.split(' ').collect();
        prop_assert_eq!(columns.len(), 16);
        prop_assert_eq!(columns[7], as_logged(verb.unwrap_or_default().as_bytes()));
        prop_assert_eq!(columns[8], as_logged(url.unwrap_or_default().as_bytes()));
        prop_assert_eq!(columns[11], status.map_or("-".to_owned(), |status| status.to_string()));
        prop_assert_eq!(columns[13], reason.phrase());
        prop_assert_eq!(columns[14], as_logged(queue.unwrap_or_default().as_bytes()));
    }
}
