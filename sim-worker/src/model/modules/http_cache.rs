//! `HttpCacheModule`: for how long a response is kept here and in the driver.

use std::time::Duration;

use sim_httpsys::api::{CachePolicy, Request};

use crate::application::Page;
use crate::configuration::{Caching, CachingProfile, ProfilePolicy};

/// The profile of a file name's extension, or the one for all.
pub(crate) fn profile<'a>(caching: &'a Caching, path: &str) -> Option<&'a CachingProfile> {
    if caching.profiles.is_empty() {
        return None;
    }
    let dot = path.rfind('.').filter(|&dot| !path[dot..].contains('/'));
    let of = |wanted: &str| {
        caching
            .profiles
            .iter()
            .find(|profile| profile.extension == wanted)
    };
    dot.and_then(|dot| of(&path[dot..])).or_else(|| of("*"))
}

fn duration(policy: ProfilePolicy, profile: &CachingProfile) -> Option<Duration> {
    match policy {
        ProfilePolicy::DontCache | ProfilePolicy::DisableCache => None,
        // Assumed: the output of a handler depends on no file, so that "until change" is "for ever".
        ProfilePolicy::CacheUntilChange => Some(Duration::from_secs(365 * 24 * 60 * 60)),
        ProfilePolicy::CacheForTimePeriod => Some(profile.duration),
    }
}

/// How long a page's response is kept in the worker. A session makes a response personal.
pub(crate) fn output(page: &Page, caching: &Caching, path: &str) -> Option<Duration> {
    if !caching.enabled || page.session != crate::application::Access::None {
        return None;
    }
    let profile = profile(caching, path);
    if profile.is_some_and(|profile| profile.policy == ProfilePolicy::DisableCache) {
        return None;
    }
    page.output_cache
        .or_else(|| profile.and_then(|profile| duration(profile.policy, profile)))
}

/// Whether the driver may keep a page's response.
pub(crate) fn kernel(page: &Page, caching: &Caching, path: &str, request: &Request) -> CachePolicy {
    let text = &request.text;
    let personal = page.session != crate::application::Access::None;
    if !caching.enable_kernel_cache || personal || text.bytes(text.verb) != b"GET" {
        return CachePolicy::Nocache;
    }
    let profile = profile(caching, path);
    if profile.is_some_and(|profile| profile.kernel_cache_policy == ProfilePolicy::DisableCache) {
        return CachePolicy::Nocache;
    }
    let kept = page
        .kernel_cache
        .or_else(|| profile.and_then(|profile| duration(profile.kernel_cache_policy, profile)));
    match kept {
        Some(kept) => CachePolicy::TimeToLive(u32::try_from(kept.as_secs()).unwrap_or(u32::MAX)),
        None => CachePolicy::Nocache,
    }
}
