//! Lines whose fields cannot be chosen: the IIS and the NCSA common format, both in local time.

use super::{Scope, W3cRecord, write_address, write_number, write_text, write_version};
use crate::api::LogFormat;
use crate::clockwork::UtcTime;
use crate::clockwork::civil::{Civil, two_digits};

/// The months as NCSA logs write them.
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// Appends the line of an answered request in its site's format, which is not W3C, on the machine of that
/// name; `utc` is the civil time of [`W3cRecord::at`], `offset` is what the wall clock is ahead of it, in seconds.
pub fn write_fixed_line(
    record: &W3cRecord,
    computer: &str,
    out: &mut Vec<u8>,
    utc: UtcTime,
    offset: i32,
) {
    let start = out.len();
    let civil = Civil::from(utc.ahead(offset));
    if record.settings.format == LogFormat::Ncsa {
        write_ncsa(record, out, civil, offset);
    } else {
        write_iis(record, computer, out, civil);
    }
    let max = usize::try_from(record.settings.line_max).unwrap_or(usize::MAX);
    out.truncate(start.saturating_add(max.saturating_sub(2)).min(out.len()));
    out.extend_from_slice(b"\r\n");
}

/// Source: IIS 6 documentation, "IIS Log File Format": client, user, date, time, service, server's name and
/// address, milliseconds, bytes received and sent, status, Windows status, verb, target, parameters; each
/// followed by a comma. Assumed: the date is that of an English (United States) machine, as there.
fn write_iis(record: &W3cRecord, computer: &str, out: &mut Vec<u8>, civil: Civil) {
    let request = &record.request;
    let text = &request.text;
    write_address(request.ends.get().client, Scope::IfAny, out);
    out.extend_from_slice(b", -, ");
    for (number, end) in [(civil.month, b'/'), (civil.day, b'/')] {
        out.extend_from_slice(&two_digits(number));
        out.push(end);
    }
    out.extend_from_slice(&two_digits(civil.year % 100));
    out.extend_from_slice(b", ");
    write_number(civil.hour.into(), out);
    for number in [civil.minute, civil.second] {
        out.push(b':');
        out.extend_from_slice(&two_digits(number));
    }
    out.extend_from_slice(b", W3SVC");
    write_number(request.site.0.into(), out);
    out.extend_from_slice(b", ");
    write_within(b',', computer.as_bytes(), out);
    out.extend_from_slice(b", ");
    write_address(request.ends.get().local, Scope::IfAny, out);
    let took = u64::try_from(record.took.as_millis()).unwrap_or(u64::MAX);
    for number in [
        took,
        record.bytes_received,
        record.bytes_sent,
        record.status.into(),
        record.win32_status.into(),
    ] {
        out.extend_from_slice(b", ");
        write_number(number, out);
    }
    let path = if text.path.is_empty() {
        text.raw_url
    } else {
        text.path
    };
    for part in [text.verb, path, text.query] {
        out.extend_from_slice(b", ");
        write_within(b',', text.bytes(part), out);
    }
    out.push(b',');
}

/// Source: IIS 6 documentation, "NCSA Common Log File Format": address, a dash, user, `[date:time offset]`,
/// `"verb target version"`, status, bytes sent.
fn write_ncsa(record: &W3cRecord, out: &mut Vec<u8>, civil: Civil, offset: i32) {
    let request = &record.request;
    let text = &request.text;
    write_address(request.ends.get().client, Scope::IfAny, out);
    out.extend_from_slice(b" - - [");
    out.extend_from_slice(&two_digits(civil.day));
    out.push(b'/');
    let month = usize::try_from(civil.month).unwrap_or(1);
    out.extend_from_slice(MONTHS[(month + 11) % 12].as_bytes());
    out.push(b'/');
    write_number(civil.year.into(), out);
    for number in [civil.hour, civil.minute, civil.second] {
        out.push(b':');
        out.extend_from_slice(&two_digits(number));
    }
    out.extend_from_slice(if offset < 0 { b" -" } else { b" +" });
    let minutes = offset.unsigned_abs() / 60;
    out.extend_from_slice(&two_digits(minutes / 60));
    out.extend_from_slice(&two_digits(minutes % 60));
    out.extend_from_slice(b"] \"");
    write_within(b'"', text.bytes(text.verb), out);
    out.push(b' ');
    let path = if text.path.is_empty() {
        text.raw_url
    } else {
        text.path
    };
    write_within(b'"', text.bytes(path), out);
    if !text.query.is_empty() {
        out.push(b'?');
        write_within(b'"', text.bytes(text.query), out);
    }
    out.push(b' ');
    write_version(request.version.into(), out);
    out.extend_from_slice(b"\" ");
    write_number(record.status.into(), out);
    out.push(b' ');
    write_number(record.bytes_sent, out);
}

/// Appends a client's text, without what would end its field.
///
/// Assumed: HTTP.sys writes it as it is; here nobody can make up a field.
fn write_within(end: u8, text: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    write_text(text, out);
    for byte in &mut out[start..] {
        if *byte == end {
            *byte = b'+';
        }
    }
}
