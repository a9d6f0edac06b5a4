//! `StaticFileModule`: files as they lie on the disk, whole, in part, or not at all if the client
//! has them already.
//!
//! Left out: compression.

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes, BytesMut};
use jiff::Timestamp;
use sim_httpsys::api::{CachePolicy, Request};
use sim_httpsys::byte_ranges::{Asked, asked, partial};

use super::super::FileStamp;
use super::custom_error::{self, Refusal};
use super::preconditions::{self, Verdict};
use super::{Reply, SERVER};
use crate::configuration::ClientCache;

/// The module's name.
pub(crate) const STATIC_FILE: &str = "StaticFileModule";

/// Source: IIS applicationHost.config as shipped, `staticContent`; the common ones. Used if the
/// configuration brings no map.
const MIME: [(&str, &str); 46] = [
    (".avi", "video/avi"),
    (".bin", "application/octet-stream"),
    (".bmp", "image/bmp"),
    (".css", "text/css"),
    (".csv", "application/octet-stream"),
    (".doc", "application/msword"),
    (
        ".docx",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ),
    (".eot", "application/vnd.ms-fontobject"),
    (".exe", "application/octet-stream"),
    (".gif", "image/gif"),
    (".gz", "application/x-gzip"),
    (".htc", "text/x-component"),
    (".htm", "text/html"),
    (".html", "text/html"),
    (".ico", "image/x-icon"),
    (".jar", "application/java-archive"),
    (".jpeg", "image/jpeg"),
    (".jpg", "image/jpeg"),
    (".js", "application/javascript"),
    (".json", "application/json"),
    (".map", "application/json"),
    (".mid", "audio/mid"),
    (".mov", "video/quicktime"),
    (".mp3", "audio/mpeg"),
    (".mp4", "video/mp4"),
    (".mpeg", "video/mpeg"),
    (".msi", "application/octet-stream"),
    (".otf", "font/otf"),
    (".pdf", "application/pdf"),
    (".png", "image/png"),
    (".ppt", "application/vnd.ms-powerpoint"),
    (".rtf", "application/rtf"),
    (".svg", "image/svg+xml"),
    (".swf", "application/x-shockwave-flash"),
    (".tif", "image/tiff"),
    (".ttf", "application/octet-stream"),
    (".txt", "text/plain"),
    (".wasm", "application/wasm"),
    (".wav", "audio/wav"),
    (".webm", "video/webm"),
    (".woff", "font/x-woff"),
    (".woff2", "application/font-woff2"),
    (".xls", "application/vnd.ms-excel"),
    (".xml", "text/xml"),
    (".xsl", "text/xml"),
    (".zip", "application/x-zip-compressed"),
];

/// The MIME type of a file name (lower case); `None` if files of that kind are not served (404.3).
pub(crate) fn mime_type<'a>(map: &'a BTreeMap<String, String>, name: &str) -> Option<&'a str> {
    let extension = &name[name.rfind('.')?..];
    if map.is_empty() {
        return MIME
            .iter()
            .find(|(known, _)| *known == extension)
            .map(|(_, mime)| *mime);
    }
    map.get(extension)
        .or_else(|| map.get(".*"))
        .map(String::as_str)
}

/// Header lines of a whole file.
///
/// Source: `curl -i` of IIS 10: Cache-Control comes first.
pub(crate) fn headers(
    mime: &str,
    client_cache: &ClientCache,
    stamp: FileStamp,
    length: usize,
) -> Bytes {
    let ClientCache { lines, set_etag } = client_cache;
    let etag = set_etag.then(|| etag(stamp));
    Bytes::from(format!(
        "{lines}Content-Type: {mime}\r\n{}{SERVER}Content-Length: {length}\r\n",
        validators(stamp, etag.as_deref()),
    ))
}

/// Source: `curl -i` of IIS 10: Last-Modified, Accept-Ranges, `ETag` in this order.
fn validators(stamp: FileStamp, etag: Option<&str>) -> String {
    let etag = etag.map(|etag| format!("ETag: {etag}\r\n"));
    format!(
        "Last-Modified: {}\r\nAccept-Ranges: bytes\r\n{}",
        last_modified(stamp),
        etag.unwrap_or_default()
    )
}

/// Source: IIS 7+: the tag is the file's FILETIME, its bytes in hexadecimal, and the change number:
/// `"80c2f1d5e6d7d801:0"`.
pub(crate) fn etag(stamp: FileStamp) -> String {
    /// 100 ns ticks from 1601 to 1970.
    const UNIX: u64 = 116_444_736_000_000_000;
    let ticks = (stamp.modified / 100).saturating_add(UNIX);
    format!("\"{:016x}:0\"", ticks.swap_bytes())
}

fn last_modified(stamp: FileStamp) -> String {
    let seconds = i64::try_from(stamp.modified / 1_000_000_000).unwrap_or(i64::MAX);
    let moment = Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX);
    moment.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// A file, ready to be answered with.
#[derive(Clone, Debug)]
pub(crate) struct File {
    pub(crate) stamp: FileStamp,
    /// Whether its tag is told.
    pub(crate) set_etag: bool,
    pub(crate) headers: Bytes,
    pub(crate) contents: Bytes,
}

/// The answer of a file to a request: 200, 206, 304, 412 or 416.
pub(crate) fn reply(request: &Request, file: File, policy: CachePolicy) -> Reply {
    let plain = |status, headers, body| Reply {
        status,
        substatus: 0,
        headers,
        body,
        policy: CachePolicy::Nocache,
    };
    let etag = file.set_etag.then(|| etag(file.stamp));
    let etag = etag.as_deref();
    let verdict = preconditions::judge(request, etag, file.stamp);
    if verdict == Verdict::Failed {
        return custom_error::reply(&Refusal::new(412, 0), "");
    }
    if verdict == Verdict::NotModified {
        let lines = String::from_utf8_lossy(&file.headers);
        let client_cache = lines
            .split_once("Content-Type: ")
            .map_or("", |(before, _)| before);
        let headers = format!("{client_cache}{}{SERVER}", validators(file.stamp, etag));
        return plain(304, Bytes::from(headers), Bytes::new());
    }
    match range(request, etag, &file) {
        Asked::Whole => Reply {
            policy,
            ..plain(200, file.headers, file.contents)
        },
        Asked::Parts(parts) => {
            let lines = String::from_utf8_lossy(&file.headers);
            let lines = lines
                .rsplit_once("Content-Length")
                .map_or("", |(before, _)| before);
            let partial = partial(lines.as_bytes(), &file.contents, &parts);
            let mut headers = BytesMut::from(&partial.lines[..]);
            headers.put_slice(format!("Content-Length: {}\r\n", partial.body.len()).as_bytes());
            plain(206, headers.freeze(), partial.body)
        }
        Asked::Unsatisfiable => {
            let extra = format!("Content-Range: bytes */{}\r\n", file.contents.len());
            custom_error::reply(&Refusal::new(416, 0), &extra)
        }
    }
}

/// What of the file a request asks for.
///
/// Source: RFC 9110, 14.2: only GET has ranges.
fn range(request: &Request, etag: Option<&str>, file: &File) -> Asked {
    let text = &request.text;
    let is_get = text.bytes(text.verb) == b"GET";
    match text.header("Range").filter(|_| is_get) {
        Some(header) if preconditions::is_same_file(request, etag, file.stamp) => {
            asked(header, file.contents.len())
        }
        Some(_) | None => Asked::Whole,
    }
}
