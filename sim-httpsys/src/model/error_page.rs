//! The pages that the driver answers by itself, byte for byte.
//!
//! Source: responses of Windows Vista … Server 2022 (`curl -i` transcripts), and the page that
//! Microsoft's `HttpChannelHelpers.cs` compares with: no space between the two quoted strings of the
//! DOCTYPE, CR LF line ends, also after the last line.

use bytes::Bytes;

use super::ReasonPhrase;

/// What tells one page from another.
struct Page {
    /// Code and reason of the status line, the page's title.
    code: &'static str,
    title: &'static str,
    heading: &'static str,
    sentence: &'static str,
}

/// The complete response (head and page) for a refusal; `date` is the value of the `Date` header.
/// `None` for reasons that send nothing.
pub fn error_page(reason: ReasonPhrase, date: &str) -> Option<Bytes> {
    let Page {
        code,
        title,
        heading,
        sentence,
    } = page(reason)?;
    let page = [
        "<!DOCTYPE HTML PUBLIC \"-//W3C//DTD HTML 4.01//EN\"\"http://www.w3.org/TR/html4/strict.dtd\">\r\n\
         <HTML><HEAD><TITLE>",
        title,
        "</TITLE>\r\n<META HTTP-EQUIV=\"Content-Type\" Content=\"text/html; charset=us-ascii\"></HEAD>\r\n\
         <BODY><h2>",
        heading,
        "</h2>\r\n<hr><p>HTTP Error ",
        code,
        ". ",
        sentence,
        "</p>\r\n</BODY></HTML>\r\n",
    ];
    let length = length_of(&page);
    let digits = [length / 100, length / 10 % 10, length % 10]
        .map(|digit| b'0' + u8::try_from(digit).unwrap_or(0)); // every page has three digits
    let head = [
        "HTTP/1.1 ",
        code,
        " ",
        title,
        "\r\nContent-Type: text/html; charset=us-ascii\r\nServer: Microsoft-HTTPAPI/2.0\r\nDate: ",
        date,
        "\r\nConnection: close\r\nContent-Length: ",
        str::from_utf8(&digits).unwrap_or(""),
        "\r\n\r\n",
    ];
    let mut response = Vec::with_capacity(length_of(&head) + length);
    for part in head.iter().chain(&page) {
        response.extend_from_slice(part.as_bytes());
    }
    Some(Bytes::from(response))
}

/// What a request with the verb HEAD gets of a response: its head, with the length of the page that it does not get.
///
/// Source: RFC 9110, 9.3.2: "the server MUST NOT send content in the response".
/// Assumed: HTTP.sys keeps to it once it has read the verb, whatever is wrong with the rest.
pub(super) fn head_of_page(response: &Bytes) -> Bytes {
    let blank = b"\r\n\r\n";
    let end = response.windows(blank.len()).position(|end| end == blank);
    let length = end.map_or(response.len(), |end| end + blank.len());
    response.slice(..length)
}

fn length_of(parts: &[&str]) -> usize {
    parts.iter().map(|part| part.len()).sum()
}

/// Assumed: the wording of 403, 412, 413, 500 and 505, which no published response shows, and that
/// `Invalid_CR/LF` has the general page of 400.
fn page(reason: ReasonPhrase) -> Option<Page> {
    use ReasonPhrase as R;
    let (code, title, heading, sentence) = match reason {
        R::BadRequest | R::InvalidCrLf => {
            bad_request("Bad Request", "The request is badly formed.")
        }
        R::Url => bad_request("Bad Request - Invalid URL", "The request URL is invalid."),
        R::Verb => bad_request("Bad Request - Invalid Verb", "The request verb is invalid."),
        R::Hostname => bad_request(
            "Bad Request - Invalid Hostname",
            "The request hostname is invalid.",
        ),
        R::Header => bad_request(
            "Bad Request - Invalid Header",
            "The request has an invalid header name.",
        ),
        R::RequestLength => bad_request(
            "Bad Request - Request Too Long",
            "The size of the request headers is too long.",
        ),
        R::FieldLength => bad_request(
            "Bad Request - Header Field Too Long",
            "A request header field is too long.",
        ),
        R::Number => bad_request(
            "Bad Request - Invalid Content Length",
            "There is an invalid content length or chunk length in the request.",
        ),
        R::Forbidden => plain("403", "Forbidden", "The request URL is forbidden."),
        R::NotFound => plain("404", "Not Found", "The requested resource is not found."),
        R::LengthRequired => plain(
            "411",
            "Length Required",
            "The request must be chunked or have a content length.",
        ),
        R::Precondition => plain(
            "412",
            "Precondition Failed",
            "A precondition of the request failed.",
        ),
        R::EntityTooLarge => plain(
            "413",
            "Request Entity Too Large",
            "The request entity is too large.",
        ),
        R::UrlLength => plain(
            "414",
            "Request URL Too Long",
            "The request URL is too long.",
        ),
        R::Internal => plain(
            "500",
            "Internal Server Error",
            "An internal error occurred.",
        ),
        R::NotImplemented => plain(
            "501",
            "Not Implemented",
            "The request transfer encoding type is not supported.",
        ),
        R::AppOffline
        | R::AppPoolTimer
        | R::AppShutdown
        | R::ConnLimit
        | R::Disabled
        | R::QueueFull
        | R::NotAvailable => plain("503", "Service Unavailable", "The service is unavailable."),
        R::VersionNotSupported => plain(
            "505",
            "HTTP Version Not Supported",
            "The version of the request is not supported.",
        ),
        R::ClientReset
        | R::ConnectionDropped
        | R::ConnectionAbandonedByReqQueue
        | R::TimerConnectionIdle
        | R::TimerHeaderWait
        | R::TimerEntityBody
        | R::TimerReqQueue
        | R::TimerMinBytesPerSecond
        | R::RequestCancelled => return None,
    };
    Some(Page {
        code,
        title,
        heading,
        sentence,
    })
}

type Parts = (&'static str, &'static str, &'static str, &'static str);

fn bad_request(heading: &'static str, sentence: &'static str) -> Parts {
    ("400", "Bad Request", heading, sentence)
}

fn plain(code: &'static str, title: &'static str, sentence: &'static str) -> Parts {
    (code, title, title, sentence)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

    fn head_and_page(reason: ReasonPhrase) -> (String, String) {
        let response = String::from_utf8(error_page(reason, DATE).unwrap().to_vec()).unwrap();
        let (head, page) = response.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), page.to_owned())
    }

    #[test]
    fn every_page_has_the_length_that_was_published() {
        let lengths = include_str!("../../tests/vectors/page_lengths.json");
        let lengths: BTreeMap<String, usize> = serde_json::from_str(lengths).unwrap();
        for (reason, length) in lengths {
            let reason = if reason == "503" {
                "QueueFull"
            } else {
                &reason
            };
            let reason = *ReasonPhrase::ALL
                .iter()
                .find(|r| r.phrase() == reason)
                .unwrap();
            assert_eq!(head_and_page(reason).1.len(), length, "{reason}");
        }
    }

    #[test]
    fn a_refused_verb_is_answered_to_the_byte() {
        let response = error_page(ReasonPhrase::Verb, DATE).unwrap();
        let expected = "HTTP/1.1 400 Bad Request\r\n\
            Content-Type: text/html; charset=us-ascii\r\n\
            Server: Microsoft-HTTPAPI/2.0\r\n\
            Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
            Connection: close\r\n\
            Content-Length: 326\r\n\r\n\
            <!DOCTYPE HTML PUBLIC \"-//W3C//DTD HTML 4.01//EN\"\"http://www.w3.org/TR/html4/strict.dtd\">\r\n\
            <HTML><HEAD><TITLE>Bad Request</TITLE>\r\n\
            <META HTTP-EQUIV=\"Content-Type\" Content=\"text/html; charset=us-ascii\"></HEAD>\r\n\
            <BODY><h2>Bad Request - Invalid Verb</h2>\r\n\
            <hr><p>HTTP Error 400. The request verb is invalid.</p>\r\n\
            </BODY></HTML>\r\n";
        assert_eq!(response, expected.as_bytes());
    }

    #[test]
    fn status_line_page_and_length_agree_for_every_reason() {
        for reason in ReasonPhrase::ALL {
            let Some(status) = reason.status() else {
                assert_eq!(error_page(reason, DATE), None);
                continue;
            };
            let (head, page) = head_and_page(reason);
            assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
            assert!(
                head.ends_with(&format!("Content-Length: {}", page.len())),
                "{head}"
            );
            assert!(page.contains(&format!("HTTP Error {status}. ")), "{page}");
        }
    }
}
