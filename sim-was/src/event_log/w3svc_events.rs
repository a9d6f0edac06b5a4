//! Events of W3SVC about what it tells HTTP.sys.

use sim_httpsys::api::{SiteId, Win32Error};

use super::{Event, Level, W3SVC};

impl Event {
    /// 1003, 1004 or 1007: a URL could not be registered, so its site is off.
    pub fn url_not_registered(error: Win32Error, url: &str, site: SiteId) -> Self {
        let begin = format!(
            "The World Wide Web Publishing Service (WWW Service) did not register the URL prefix {url} for site {}.",
            site.0
        );
        let end = "The site has been disabled. The data field contains the error number.";
        let (id, between) = match error {
            Win32Error::InvalidParameter => (1003, " The URL may be invalid. "),
            Win32Error::SharingViolation | Win32Error::AccessDenied => (
                1007,
                " The necessary network binding may already be in use. ",
            ),
            Win32Error::AlreadyExists
            | Win32Error::FileNotFound
            | Win32Error::InvalidIdAuthority
            | Win32Error::ConnectionInvalid => (1004, " "),
        };
        Self::new(id, Level::Error, W3SVC, format!("{begin}{between}{end}"))
            .with("UrlPrefix", &url)
            .with("SiteID", &site.0)
    }

    /// 1005: W3SVC cannot go on.
    pub fn w3svc_stopping_on_error() -> Self {
        let message = "The World Wide Web Publishing Service is exiting due to an error. The data field contains the error number.";
        Self::new(1005, Level::Error, W3SVC, message.to_owned())
    }

    /// 1087: a queue's properties could not be changed.
    pub fn queue_not_configured(pool: &str) -> Self {
        let message = format!(
            "The World Wide Web Publishing Service failed to configure the queue of application pool {pool}. The data field contains the error number."
        );
        Self::new(1087, Level::Warning, W3SVC, message).about(pool)
    }

    /// 1089: no demand start could be asked for.
    pub fn demand_start_not_issued(pool: &str) -> Self {
        let message = format!(
            "The World Wide Web Publishing Service failed to issue a demand start to HTTP.sys for application pool {pool}. The data field contains the error number."
        );
        Self::new(1089, Level::Error, W3SVC, message).about(pool)
    }

    /// 1173: the driver is gone.
    pub fn driver_lost() -> Self {
        let message = "The World Wide Web Publishing Service cannot run without the HTTP driver. The data field contains the error number.";
        Self::new(1173, Level::Error, W3SVC, message.to_owned())
    }
}
