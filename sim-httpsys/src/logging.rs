//! Log lines: W3C, IIS or NCSA for answered requests, HTTPERR for refused and dropped ones.
//!
//! The model says what is to be logged ([`LogEntry`]); this file knows the formats, byte for byte;
//! `live/` owns the files, and turns moments into civil time.
//!
//! A line is written straight into the caller's buffer, without text in between. Whatever a client
//! sends stays within its column: blanks and control characters become `+`, so that nobody can write
//! a second line or a directive.

mod fixed;

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use crate::api::{
    Ends, LogFormat, LogPeriod, LogSettings, RequestQueueName, SentVersion, SharedRequest, SiteId,
};
use crate::clockwork::civil::{Civil, two_digits};
use crate::clockwork::{Instant, UtcTime};
use crate::model::ReasonPhrase;

pub use fixed::write_fixed_line;

/// A line for a log.
#[derive(Debug)]
pub enum LogEntry {
    /// A line in a site's log, whose format may be another one.
    W3c(W3cRecord),
    /// A line in the HTTPERR log.
    HttpErr(Box<HttpErrRecord>),
}

/// A request that was answered by a worker or from the cache.
#[derive(Debug)]
pub struct W3cRecord {
    /// When its response had been sent.
    pub at: Instant,
    /// Where and how the site logs.
    pub settings: Rc<LogSettings>,
    /// The request.
    pub request: SharedRequest,
    /// `sc-status`.
    pub status: u16,
    /// `sc-substatus`.
    pub substatus: u16,
    /// `sc-win32-status`.
    pub win32_status: u32,
    /// `sc-bytes`.
    pub bytes_sent: u64,
    /// `cs-bytes`.
    pub bytes_received: u64,
    /// `time-taken`: from its first byte to the end of its response.
    pub took: Duration,
}

/// A request that was refused or dropped, or a connection that was cut.
#[derive(Clone, Debug)]
pub struct HttpErrRecord {
    /// When.
    pub at: Instant,
    /// Both ends of the connection.
    pub ends: Ends,
    /// The version, if the request line was understood that far.
    pub version: Option<SentVersion>,
    /// The verb, if it was understood that far.
    pub verb: Option<String>,
    /// The raw URL, if it was understood that far.
    pub url: Option<String>,
    /// The status of the page that was sent, `None` if none was.
    pub status: Option<u16>,
    /// The site, if the request was routed that far.
    pub site: Option<SiteId>,
    /// `s-reason`.
    pub reason: ReasonPhrase,
    /// `s-queuename`, if the request was routed that far.
    pub queue: Option<RequestQueueName>,
}

/// The bits of `logExtFileFlags` and their columns, in the order of a line.
///
/// Source: IIS 10 schema for the bits; log files of IIS 8.5 and 10 for names and order (the documents
/// spell `cs(Referrer)`, files do not).
const COLUMNS: [(u32, Column, &str); 22] = [
    (1, Column::Date, "date"),
    (2, Column::Time, "time"),
    (16, Column::SiteName, "s-sitename"),
    (32, Column::ComputerName, "s-computername"),
    (64, Column::ServerIp, "s-ip"),
    (128, Column::Method, "cs-method"),
    (256, Column::UriStem, "cs-uri-stem"),
    (512, Column::UriQuery, "cs-uri-query"),
    (32_768, Column::ServerPort, "s-port"),
    (8, Column::UserName, "cs-username"),
    (4, Column::ClientIp, "c-ip"),
    (524_288, Column::ProtocolVersion, "cs-version"),
    (65_536, Column::UserAgent, "cs(User-Agent)"),
    (131_072, Column::Cookie, "cs(Cookie)"),
    (262_144, Column::Referer, "cs(Referer)"),
    (1_048_576, Column::Host, "cs-host"),
    (1_024, Column::HttpStatus, "sc-status"),
    (2_097_152, Column::HttpSubStatus, "sc-substatus"),
    (2_048, Column::Win32Status, "sc-win32-status"),
    (4_096, Column::BytesSent, "sc-bytes"),
    (8_192, Column::BytesRecv, "cs-bytes"),
    (16_384, Column::TimeTaken, "time-taken"),
];

#[derive(Clone, Copy)]
enum Column {
    Date,
    Time,
    SiteName,
    ComputerName,
    ServerIp,
    Method,
    UriStem,
    UriQuery,
    ServerPort,
    UserName,
    ClientIp,
    ProtocolVersion,
    UserAgent,
    Cookie,
    Referer,
    Host,
    HttpStatus,
    HttpSubStatus,
    Win32Status,
    BytesSent,
    BytesRecv,
    TimeTaken,
}

/// Appends the lines that open a site's log, or a new run of it: W3C logs alone have some.
pub fn site_header(settings: &LogSettings, utc: UtcTime, out: &mut Vec<u8>) {
    if settings.format != LogFormat::W3c {
        return;
    }
    out.extend_from_slice(b"#Software: Microsoft Internet Information Services 10.0\r\n");
    write_directives(utc, out);
    for (bit, _, name) in COLUMNS {
        if settings.fields.has(bit) {
            out.push(b' ');
            out.extend_from_slice(name.as_bytes());
        }
    }
    for field in &settings.custom_fields {
        out.push(b' ');
        write_text(field.name.as_bytes(), out);
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends the line of an answered request on the machine of that name; `utc` is the civil time of
/// [`W3cRecord::at`].
pub fn write_w3c_line(record: &W3cRecord, computer: &str, out: &mut Vec<u8>, utc: UtcTime) {
    let (start, civil) = (out.len(), Civil::from(utc));
    let settings = &*record.settings;
    for (bit, column, _) in COLUMNS {
        if settings.fields.has(bit) {
            write_column(column, record, (computer, civil), out);
            out.push(b' ');
        }
    }
    let at_most = |max: u32| usize::try_from(max).unwrap_or(usize::MAX);
    for field in &settings.custom_fields {
        let header = field.header.as_deref();
        let value = header.and_then(|name| record.request.text.header(name));
        let value = value.unwrap_or_default();
        write_text(
            &value[..value.len().min(at_most(settings.custom_field_max))],
            out,
        );
        out.push(b' ');
    }
    out.pop_if(|_| true); // the last blank
    // A line of a client's making must not look like a directive, even without date and time.
    if out.get(start) == Some(&b'#') {
        out[start] = b'+';
    }
    let mut end = out
        .len()
        .min(start + at_most(settings.line_max).saturating_sub(2));
    while end < out.len() && matches!(out[end], 0x80..0xC0) {
        end -= 1; // not within a character
    }
    out.truncate(end);
    out.extend_from_slice(b"\r\n");
}

/// Assumed: `cs-username` is empty; nobody logs on.
fn write_column(
    column: Column,
    record: &W3cRecord,
    (computer, civil): (&str, Civil),
    out: &mut Vec<u8>,
) {
    let text = &record.request.text;
    let header = |name| text.header(name).unwrap_or_default();
    match column {
        Column::Date => write_date(civil, out),
        Column::Time => write_time(civil, out),
        Column::SiteName => {
            out.extend_from_slice(b"W3SVC");
            write_number(record.request.site.0.into(), out);
        }
        Column::ComputerName => write_text(computer.as_bytes(), out),
        Column::UserName => out.push(b'-'),
        Column::ServerIp => write_address(record.request.ends.get().local, Scope::IfAny, out),
        Column::Method => write_text(text.bytes(text.verb), out),
        Column::UriStem if text.path.is_empty() => write_text(text.bytes(text.raw_url), out),
        Column::UriStem => write_text(text.bytes(text.path), out),
        Column::UriQuery => write_text(text.bytes(text.query), out),
        Column::ServerPort => write_number(record.request.ends.get().local.port().into(), out),
        Column::ClientIp => write_address(record.request.ends.get().client, Scope::IfAny, out),
        Column::ProtocolVersion => write_version(record.request.version.into(), out),
        Column::UserAgent => write_text(header("User-Agent"), out),
        // Source: RFC 9113, 8.2.3: cookies in several lines are those of one, with `; ` between them.
        Column::Cookie => {
            let cookies: Vec<&[u8]> = text.header_lines("Cookie").collect();
            write_text(&cookies.join(&b"; "[..]), out);
        }
        Column::Referer => write_text(header("Referer"), out),
        Column::Host => write_text(header("Host"), out),
        Column::HttpStatus => write_number(record.status.into(), out),
        Column::HttpSubStatus => write_number(record.substatus.into(), out),
        Column::Win32Status => write_number(record.win32_status.into(), out),
        Column::BytesSent => write_number(record.bytes_sent, out),
        Column::BytesRecv => write_number(record.bytes_received, out),
        Column::TimeTaken => {
            write_number(
                u64::try_from(record.took.as_millis()).unwrap_or(u64::MAX),
                out,
            );
        }
    }
}

/// Appends the lines that open an HTTPERR log, or a new run of it.
///
/// Source: samples of Windows Server 2022 for the columns; KB820729 says that there are none.
pub fn httperr_header(utc: UtcTime, out: &mut Vec<u8>) {
    out.extend_from_slice(b"#Software: Microsoft HTTP API 2.0\r\n");
    write_directives(utc, out);
    out.extend_from_slice(
        b" date time c-ip c-port s-ip s-port cs-version cs-method cs-uri streamid streamid_ex \
          sc-status s-siteid s-reason s-queuename transport\r\n",
    );
}

/// Appends the line of a refused or dropped request; `utc` is the civil time of
/// [`HttpErrRecord::at`].
///
/// Source: KB820729: a verb is cut at 255 bytes, a URL at 4096. Assumed: `transport` is `TCP`, and
/// both stream columns are empty, as HTTP/1.x has no streams.
pub fn write_httperr_line(record: &HttpErrRecord, out: &mut Vec<u8>, utc: UtcTime) {
    let civil = Civil::from(utc);
    write_date(civil, out);
    out.push(b' ');
    write_time(civil, out);
    for end in [record.ends.client, record.ends.local] {
        out.push(b' ');
        write_address(end, Scope::Always, out);
        out.push(b' ');
        write_number(end.port().into(), out);
    }
    out.push(b' ');
    match record.version {
        Some(version) => write_version(version, out),
        None => out.push(b'-'),
    }
    out.push(b' ');
    write_text(cut(record.verb.as_deref(), 255), out);
    out.push(b' ');
    write_text(cut(record.url.as_deref(), 4096), out);
    out.extend_from_slice(b" - - ");
    write_number_or_dash(record.status.map(u64::from), out);
    out.push(b' ');
    write_number_or_dash(record.site.map(|site| site.0.into()), out);
    out.push(b' ');
    out.extend_from_slice(record.reason.phrase().as_bytes());
    out.push(b' ');
    write_text(
        cut(record.queue.as_ref().map(|queue| &*queue.0), usize::MAX),
        out,
    );
    out.extend_from_slice(b" TCP\r\n");
}

/// The name of a site's log at that civil time; `number` counts the files of [`LogPeriod::MaxSize`].
///
/// Source: KB943891 and files of IIS 7 and later: `u_exYYMMDD.log`; IIS 6 documentation, log file formats, for
/// `in`, `inetsv`, `nc` and `ncsa`; "Enhanced Logging for IIS 8.5" for `_x`, with custom fields. Assumed:
/// `u_extendN.log` counts from 1, and the week of a month begins on Sunday.
pub fn site_file_name(settings: &LogSettings, civil: Civil, number: u32) -> String {
    let Civil {
        year,
        month,
        day,
        hour,
        ..
    } = civil;
    let year = year % 100;
    let prefix = match settings.format {
        LogFormat::W3c => "u_ex",
        LogFormat::Iis => "u_in",
        LogFormat::Ncsa => "u_nc",
    };
    let (sized, suffix) = around_number(settings);
    match settings.period {
        LogPeriod::MaxSize => format!("{sized}{number}{suffix}"),
        LogPeriod::Daily => format!("{prefix}{year:02}{month:02}{day:02}{suffix}"),
        LogPeriod::Weekly => {
            let week = civil.week_of_month();
            format!("{prefix}{year:02}{month:02}{week:02}{suffix}")
        }
        LogPeriod::Monthly => format!("{prefix}{year:02}{month:02}{suffix}"),
        LogPeriod::Hourly => format!("{prefix}{year:02}{month:02}{day:02}{hour:02}{suffix}"),
    }
}

/// What stands before and after the number in the names of files that are rolled by size.
pub fn around_number(settings: &LogSettings) -> (&'static str, &'static str) {
    match settings.format {
        LogFormat::W3c if !settings.custom_fields.is_empty() => ("u_extend", "_x.log"),
        LogFormat::W3c => ("u_extend", ".log"),
        LogFormat::Iis => ("u_inetsv", ".log"),
        LogFormat::Ncsa => ("u_ncsa", ".log"),
    }
}

/// The name of an HTTPERR log; `number` counts from 1. Source: KB820729.
pub fn httperr_file_name(number: u32) -> String {
    format!("httperr{number}.log")
}

fn write_directives(utc: UtcTime, out: &mut Vec<u8>) {
    let civil = Civil::from(utc);
    out.extend_from_slice(b"#Version: 1.0\r\n#Date: ");
    write_date(civil, out);
    out.push(b' ');
    write_time(civil, out);
    out.extend_from_slice(b"\r\n#Fields:");
}

fn write_date(civil: Civil, out: &mut Vec<u8>) {
    out.extend_from_slice(&two_digits(civil.year / 100));
    out.extend_from_slice(&two_digits(civil.year % 100));
    out.push(b'-');
    out.extend_from_slice(&two_digits(civil.month));
    out.push(b'-');
    out.extend_from_slice(&two_digits(civil.day));
}

fn write_time(civil: Civil, out: &mut Vec<u8>) {
    out.extend_from_slice(&two_digits(civil.hour));
    out.push(b':');
    out.extend_from_slice(&two_digits(civil.minute));
    out.push(b':');
    out.extend_from_slice(&two_digits(civil.second));
}

/// Source: win32, types of errors that the HTTP Server API logs: a version with a part of 10 or more is
/// `HTTP/?.?`.
fn write_version(SentVersion { major, minor }: SentVersion, out: &mut Vec<u8>) {
    out.extend_from_slice(b"HTTP/");
    if major < 10 && minor < 10 {
        out.extend_from_slice(&[b'0' + major, b'.', b'0' + minor]);
    } else {
        out.extend_from_slice(b"?.?");
    }
}

/// Whether an IPv6 address is followed by its scope.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// Only a scope that is not 0.
    IfAny,
    /// Also 0, as in `::1%0`. Source: samples of HTTPERR.
    Always,
}

fn write_address(end: SocketAddr, scope: Scope, out: &mut Vec<u8>) {
    match (end.ip().to_canonical(), end) {
        (IpAddr::V4(address), _) => {
            for (at, octet) in address.octets().into_iter().enumerate() {
                if at > 0 {
                    out.push(b'.');
                }
                write_number(octet.into(), out);
            }
        }
        (IpAddr::V6(address), end) => {
            let id = if let SocketAddr::V6(v6) = end {
                v6.scope_id()
            } else {
                0
            };
            write!(out, "{address}").expect("a vector takes every write");
            if id != 0 || scope == Scope::Always {
                out.push(b'%');
                write_number(id.into(), out);
            }
        }
    }
}

fn write_number(number: u64, out: &mut Vec<u8>) {
    let (mut digits, mut at, mut rest) = ([0; 20], 20, number);
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

fn write_number_or_dash(number: Option<u64>, out: &mut Vec<u8>) {
    match number {
        Some(number) => write_number(number, out),
        None => out.push(b'-'),
    }
}

fn cut(text: Option<&str>, max: usize) -> &[u8] {
    let text = text.unwrap_or_default();
    &text.as_bytes()[..text.floor_char_boundary(max)]
}

/// Appends a client's text as one column: `-` if it is empty, `+` for every blank, control character
/// and piece that is not UTF-8.
fn write_text(text: &[u8], out: &mut Vec<u8>) {
    if text.is_empty() {
        out.push(b'-');
    } else if text.is_ascii() {
        let legible = |&b: &u8| if b.is_ascii_graphic() { b } else { b'+' };
        out.extend(text.iter().map(legible));
    } else {
        for chunk in text.utf8_chunks() {
            for c in chunk.valid().chars() {
                let illegible =
                    c.is_control() || c.is_whitespace() || c == char::REPLACEMENT_CHARACTER;
                let c = if illegible { '+' } else { c };
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
            if !chunk.invalid().is_empty() {
                out.push(b'+');
            }
        }
    }
}

#[cfg(test)]
#[path = "logging_tests.rs"]
mod tests;
