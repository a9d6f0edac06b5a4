//! What a client asks for: which URLs and hosts it can send.

use super::ProfileError;

/// The longest URL, bytes. Assumed: half of what HTTP.sys takes of a whole head.
pub(super) const URL_MAX: usize = 8_000;

/// What is asked for: a path, and a host if there is one.
pub(super) fn asked(name: &str, url: &str, host: Option<&String>) -> Result<(), ProfileError> {
    let plain = url.bytes().all(|byte| byte.is_ascii_graphic());
    let name_of_url = || format!("{name}.url");
    if url.len() > URL_MAX {
        return Err(ProfileError::LongUrl {
            name: name_of_url(),
            length: url.len(),
            start: url.chars().take(40).collect(),
        });
    }
    if !url.starts_with('/') || !plain {
        let (name, url) = (name_of_url(), url.to_owned());
        return Err(ProfileError::Url { name, url });
    }
    let is_name = |host: &str| {
        let host = host.replace("{n}", "0");
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        (1..=253).contains(&host.len()) && host.bytes().all(plain)
    };
    match host.filter(|host| !is_name(host)) {
        Some(host) => Err(ProfileError::Host {
            name: format!("{name}.host"),
            host: host.clone(),
        }),
        None => Ok(()),
    }
}
