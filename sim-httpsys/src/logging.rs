//! Log lines: W3C for answered requests, HTTPERR for refused and dropped ones.
//!
//! The model says what is to be logged ([`LogEntry`]); this file knows the formats, byte for byte;
//! `live/` owns the files.

use std::rc::Rc;
use std::time::Duration;

use crate::api::{Ends, LogSettings, Request, RequestQueueName, SiteId, Version};
use crate::clockwork::Instant;
use crate::model::ReasonPhrase;

/// A line for a log.
#[derive(Debug)]
pub enum LogEntry {
    /// A line in a site's W3C log.
    W3c(W3cRecord),
    /// A line in the HTTPERR log.
    HttpErr(HttpErrRecord),
}

/// A request that was answered by a worker or from the cache.
#[derive(Debug)]
pub struct W3cRecord {
    /// When its response had been sent.
    pub at: Instant,
    /// Where and how the site logs.
    pub settings: Rc<LogSettings>,
    /// The request.
    pub request: Box<Request>,
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
#[derive(Debug)]
pub struct HttpErrRecord {
    /// When.
    pub at: Instant,
    /// Both ends of the connection.
    pub ends: Ends,
    /// The version, if the request line was understood that far.
    pub version: Option<Version>,
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
