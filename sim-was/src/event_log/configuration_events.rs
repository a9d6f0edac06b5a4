//! Events of WAS about the configuration.

use super::{Event, Level, WAS};
use crate::config::ConfigWarning;

impl Event {
    /// 5172: the configuration could not be read; `error` is `file: line 3: reason`, perhaps without the line.
    ///
    /// Assumed: line 0 where nobody knows; so it is in the events that administrators show.
    pub fn configuration_unreadable(error: &str) -> Self {
        let with_line = |(file, rest): (&'_ str, &'_ str)| {
            let (line, reason) = rest.split_once(": ")?;
            Some((file.to_owned(), line.parse().ok()?, reason.to_owned()))
        };
        let (file, line, reason): (String, u32, String) = error
            .split_once(": line ")
            .and_then(with_line)
            .unwrap_or_else(|| {
                let (file, reason) = error.split_once(": ").unwrap_or(("", error));
                (file.to_owned(), 0, reason.to_owned())
            });
        let message = format!(
            "The Windows Process Activation Service encountered an error trying to read configuration data from file '{file}', line number '{line}'.  The error message is: '{reason}'.  The data field contains the error number."
        );
        Self::new(5172, Level::Error, WAS, message)
            .with("File", &file)
            .with("Line", &line)
            .with("Error", &reason)
    }

    /// 5036: WAS cannot start, because its configuration manager has nothing to go by.
    pub fn configuration_manager_not_initialized() -> Self {
        let message = "The configuration manager for Windows Process Activation Service (WAS) did not initialize. The data field contains the error number.";
        Self::new(5036, Level::Error, WAS, message.to_owned())
    }

    /// 5053: the configuration has changed, and WAS can make nothing of it.
    pub fn change_not_processed() -> Self {
        let message = "The Windows Process Activation Service (WAS) received a change notification, but was unable to process it correctly. The data field contains the error number.";
        Self::new(5053, Level::Warning, WAS, message.to_owned())
    }

    /// 5063: nobody will tell WAS of changes.
    pub fn changes_not_notified() -> Self {
        let message = "The Windows Process Activation Service (WAS) encountered a failure requesting IIS configuration store change notifications. The data field contains the error number.";
        Self::new(5063, Level::Error, WAS, message.to_owned())
    }

    /// 5085: a pool goes on with what it had.
    /// Assumed: the level, that of other events about one pool's configuration.
    pub fn changes_not_applied(pool: &str) -> Self {
        let message = format!(
            "Windows Process Activation Service (WAS) did not apply configuration changes to application pool '{pool}'. The data field contains the error number."
        );
        Self::new(5085, Level::Warning, WAS, message).about(pool)
    }

    /// 5005: WAS stops because of an error.
    pub fn was_stopping_on_error() -> Self {
        let message = "Windows Process Activation Service (WAS) is stopping because it encountered an error. The data field contains the error number.";
        Self::new(5005, Level::Error, WAS, message.to_owned())
    }

    /// A warning about the configuration, e.g. 5041 or 5152.
    pub fn configuration_warning(warning: &ConfigWarning) -> Self {
        let ConfigWarning {
            event,
            text,
            place: _,
            data,
        } = warning;
        let said = match event {
            5172 => Self::configuration_unreadable(text),
            _ => Self::new(*event, Level::Warning, WAS, text.clone()),
        };
        let said = data
            .iter()
            .fold(said, |said, (name, value)| said.with(name, value));
        let pool = data.iter().find(|(name, _)| name == "AppPoolID");
        pool.map_or(said.clone(), |(_, pool)| said.about(pool))
    }

    /// 5189: the pool's copy of the configuration could not be written.
    pub fn pool_config_not_written(pool: &str, error: &str) -> Self {
        let message = format!(
            "The Windows Process Activation Service failed to generate an application pool config file for application pool '{pool}'. The error type is '{error}'. To resolve this issue, please ensure that the applicationhost.config file is correct and recommit the last configuration changes made."
        );
        Self::new(5189, Level::Error, WAS, message)
            .about(pool)
            .with("AppPoolID", &pool)
            .with("ErrorType", &error)
    }
}
