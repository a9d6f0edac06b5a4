//! The modules of the pipeline, one file each. What they know is here; when they are asked is the
//! business of [`super::pipeline`].

pub(super) mod custom_error;
pub(super) mod default_document;
mod filtering_rules;
pub(super) mod http_cache;
pub(super) mod managed_handler;
pub(super) mod preconditions;
pub(super) mod request_filtering;
pub(super) mod session;
pub(super) mod static_file;

use bytes::Bytes;
use sim_httpsys::api::CachePolicy;

/// Every response of IIS names it; the driver would name itself.
/// Source: `curl -i` of IIS 10 sites: `Server: Microsoft-IIS/10.0`.
pub(super) const SERVER: &str = "Server: Microsoft-IIS/10.0\r\n";

/// What a request is answered with.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) substatus: u16,
    pub(super) headers: Bytes,
    pub(super) body: Bytes,
    pub(super) policy: CachePolicy,
}
