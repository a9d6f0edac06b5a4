//! Dates in headers: the value of `Date`, kept for the second in which it is true, and those that clients send.

use jiff::fmt::strtime;
use jiff::tz::TimeZone;

use crate::clockwork::UtcTime;
use crate::clockwork::civil::{Civil, two_digits};

const WEEKDAYS: [&[u8; 3]; 7] = [b"Sun", b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat"];
const MONTHS: [&[u8; 3]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];

/// Formats the `Date` header once a second, however many responses go out in it.
///
/// Source: RFC 9110, 5.6.7, IMF-fixdate: `Sun, 06 Nov 1994 08:49:37 GMT`.
#[derive(Clone, Debug)]
pub struct HttpDate {
    second: u64,
    text: [u8; 29],
}

impl Default for HttpDate {
    fn default() -> Self {
        Self {
            second: 0,
            text: *b"Thu, 01 Jan 1970 00:00:00 GMT",
        }
    }
}

impl HttpDate {
    /// The header's value at that time.
    pub fn at(&mut self, utc: UtcTime) -> &str {
        if utc.unix_seconds() != self.second {
            self.second = utc.unix_seconds();
            self.write(Civil::from(utc));
        }
        str::from_utf8(&self.text).unwrap_or("") // always ASCII
    }

    fn write(&mut self, civil: Civil) {
        self.text[..3].copy_from_slice(WEEKDAYS[civil.weekday as usize % 7]);
        self.text[5..7].copy_from_slice(&two_digits(civil.day));
        self.text[8..11].copy_from_slice(MONTHS[(civil.month as usize + 11) % 12]);
        self.text[12..14].copy_from_slice(&two_digits(civil.year / 100));
        self.text[14..16].copy_from_slice(&two_digits(civil.year % 100));
        self.text[17..19].copy_from_slice(&two_digits(civil.hour));
        self.text[20..22].copy_from_slice(&two_digits(civil.minute));
        self.text[23..25].copy_from_slice(&two_digits(civil.second));
    }
}

/// Seconds since 1970 of a date in a request, in any of its three forms; `None` if it is none.
///
/// Source: RFC 9110, 5.6.7: a recipient must accept IMF-fixdate, and the obsolete forms of RFC 850 and of
/// asctime. Clients of IIS 6 append `; length=…`, which is ignored. Assumed: two digits of a year are those
/// of 1969 to 2068, which keeps an answer from depending on the year in which it is given.
pub fn seconds_of(text: &[u8]) -> Option<i64> {
    const FORMS: [&str; 3] = [
        "%a, %d %b %Y %H:%M:%S GMT",
        "%A, %d-%b-%y %H:%M:%S GMT",
        "%a %b %e %H:%M:%S %Y",
    ];
    let text = str::from_utf8(text).ok()?;
    let text = text.split(';').next().unwrap_or(text).trim();
    let date = FORMS
        .iter()
        .find_map(|form| strtime::parse(form, text).ok()?.to_datetime().ok())?;
    let moment = date.to_zoned(TimeZone::UTC).ok()?;
    Some(moment.timestamp().as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_read_in_all_three_forms() {
        for (text, seconds) in [
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(784_111_777)),
            ("Sun Nov  6 08:49:37 1994", Some(784_111_777)),
            ("Wed Nov 16 08:49:37 1994", Some(784_975_777)),
            ("Monday, 30-Nov-26 00:00:00 GMT", Some(1_795_996_800)),
            (
                "Sunday, 06-Nov-94 08:49:37 GMT; length=5",
                Some(784_111_777),
            ),
            ("Sun, 06 Nov 1994 08:49:37", None),
            ("Sunday, 06-Nov-1994 08:49:37 GMT", None),
            ("Sun Nov  6 08:49:37 1994 CET", None),
            ("Mon, 06 Nov 1994 08:49:37 GMT", None),
            ("once", None),
            ("", None),
        ] {
            assert_eq!(seconds_of(text.as_bytes()), seconds, "{text}");
        }
    }

    fn second(s: u64) -> UtcTime {
        UtcTime(s * 1_000_000_000)
    }

    #[test]
    fn a_date_is_written_as_the_standard_does() {
        let mut date = HttpDate::default();
        assert_eq!(
            date.at(second(784_111_777)),
            "Sun, 06 Nov 1994 08:49:37 GMT"
        );
        assert_eq!(date.at(second(0)), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(
            date.at(second(951_782_400)),
            "Tue, 29 Feb 2000 00:00:00 GMT"
        );
    }

    #[test]
    fn a_date_changes_with_the_second_and_not_before() {
        let mut date = HttpDate::default();
        assert_eq!(
            date.at(UtcTime(1_999_999_999)),
            "Thu, 01 Jan 1970 00:00:01 GMT"
        );
        assert_eq!(
            date.at(UtcTime(2_000_000_000)),
            "Thu, 01 Jan 1970 00:00:02 GMT"
        );
    }
}
