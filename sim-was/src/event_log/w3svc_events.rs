//! Events of W3SVC about what it tells HTTP.sys.

use sim_httpsys::api::{SiteId, Win32Error};

use super::{Event, Level, W3SVC};

/// What of a queue is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueChange {
    /// It takes requests (1027).
    Enable,
    /// It refuses them (1084).
    Disable,
    /// `loadBalancerCapabilities`: how it refuses them (1086).
    LoadBalancerCapabilities,
    /// `queueLength`: how many may wait (1087).
    Length,
}

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

    /// 1026: HTTP.sys gave no queue to a pool.
    pub fn queue_not_created(pool: &str) -> Self {
        let message = format!(
            "The World Wide Web Publishing Service (WWW Service) did not secure the handle of application pool {pool} from HTTP.sys. The data field contains the error number."
        );
        Self::new(1026, Level::Error, W3SVC, message).about(pool)
    }

    /// 1037: HTTP.sys is there, and cannot be talked to.
    pub fn control_channel_not_opened() -> Self {
        let message = "The World Wide Web Publishing Service (WWW Service) did not open the HTTP control channel. The data field contains the error number.";
        Self::new(1037, Level::Error, W3SVC, message.to_owned())
    }

    /// 1027, 1084, 1086 or 1087: a queue could not be changed.
    /// Assumed: the wording around what is published of each.
    pub fn queue_not_changed(pool: &str, change: QueueChange) -> Self {
        let (id, level, message) = match change {
            QueueChange::Enable => (
                1027,
                Level::Error,
                format!(
                    "Application pool {pool} has been disabled. The request of the World Wide Web Publishing Service (WWW Service) to HTTP.sys to enable it failed. The data field contains the error number."
                ),
            ),
            QueueChange::Disable => (
                1084,
                Level::Error,
                format!(
                    "Application pool {pool} was not disabled. The request of the World Wide Web Publishing Service (WWW Service) to HTTP.sys to disable it failed. The data field contains the error number."
                ),
            ),
            QueueChange::LoadBalancerCapabilities => (
                1086,
                Level::Warning,
                format!(
                    "The World Wide Web Publishing Service (WWW Service) did not configure the load balancer capabilities on application pool {pool}. The data field contains the error number."
                ),
            ),
            QueueChange::Length => (
                1087,
                Level::Warning,
                format!(
                    "The World Wide Web Publishing Service (WWW Service) did not configure the queue length on application pool {pool}. The data field contains the error number."
                ),
            ),
        };
        Self::new(id, level, W3SVC, message).about(pool)
    }

    /// 1089: no demand start could be asked for.
    pub fn demand_start_not_issued(pool: &str) -> Self {
        let message = format!(
            "The World Wide Web Publishing Service failed to issue a demand start to HTTP.sys for application pool {pool}. The data field contains the error number."
        );
        Self::new(1089, Level::Error, W3SVC, message).about(pool)
    }

    /// 1173: there is no driver.
    pub fn driver_missing() -> Self {
        let message = "The World Wide Web Publishing Service (WWW Service) did not initialize the HTTP driver and was unable to start. The data field contains the error number.";
        Self::new(1173, Level::Error, W3SVC, message.to_owned())
    }
}
