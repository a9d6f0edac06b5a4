//! Events of worker processes, in the log Application.
//!
//! A worker here has no log of its own: it tells WAS, which writes them for it.

use super::{Event, Level};

/// The source of the workers' events.
const W3SVC_WP: &str = "Microsoft-Windows-IIS-W3SVC-WP";
/// The ISAPI that serves ASP.NET; no other one runs in a worker here.
const ASPNET_ISAPI: &str = r"C:\Windows\Microsoft.NET\Framework64\v4.0.30319\aspnet_isapi.dll";

impl Event {
    /// 2263: an ISAPI says that it is unhealthy, and not why.
    pub fn isapi_unhealthy() -> Self {
        let message = format!(
            "ISAPI '{ASPNET_ISAPI}' reported itself as unhealthy. No reason was given by the ISAPI."
        );
        Self::new(2263, Level::Warning, W3SVC_WP, message).with("ISAPI", &ASPNET_ISAPI)
    }

    /// 2269: a worker was given no queue by HTTP.sys.
    pub fn worker_without_http() -> Self {
        let message = "The worker process failed to initialize the http.sys communication or the w3svc communication layer and therefore could not be started. The data field contains the error number.";
        Self::new(2269, Level::Error, W3SVC_WP, message.to_owned())
    }

    /// 2276: a worker cannot use what it was started with.
    pub fn worker_not_initialized() -> Self {
        let message = "The worker process failed to initialize correctly and therefore could not be started. The data is the error.";
        Self::new(2276, Level::Error, W3SVC_WP, message.to_owned())
    }
}
