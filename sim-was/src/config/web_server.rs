//! The sections of `system.webServer` that a worker needs, as they hold for one application or a path below
//! it: the server's, then the `<location>` blocks and the web.config files on the way there, the deepest wins.

use std::collections::BTreeMap;

use sim_worker::configuration::{
    Caching, CachingProfile, ClientCache, Initialization, PathSettings, ProfilePolicy,
    RequestFiltering, RequestLimits, RequestLogging, SessionStateSettings,
};

use super::layers::Layers;
use super::request_filtering;
use super::schema;
use super::sections::Sections;

/// What holds for one application or path.
pub(super) struct WebServer {
    /// Without its error.
    pub(super) settings: PathSettings,
    /// What counts for applications only.
    pub(super) initialization: Initialization,
    pub(super) concurrent_requests_max: u32,
    pub(super) session_state: SessionStateSettings,
}

impl WebServer {
    /// Reads the sections for the first of some locations, which belongs to an application.
    pub(super) fn of(sections: &Sections<'_>, locations: Locations, application: &str) -> Self {
        let reader = Reader {
            sections,
            locations,
            application: application.to_owned(),
        };
        Self {
            settings: PathSettings {
                default_documents: reader.default_documents(),
                mime_map: reader.mime_map(),
                client_cache: reader.client_cache(),
                caching: reader.caching(),
                logging: reader.logging(),
                request_limits: reader.request_limits(),
                request_filtering: reader.request_filtering(),
                error: None,
            },
            initialization: reader.initialization(),
            concurrent_requests_max: reader
                .section("serverRuntime")
                .number("appConcurrentRequestLimit"),
            session_state: reader.session_state(),
        }
    }
}

/// Paths of locations in lower case.
pub(super) type Locations = Vec<String>;

/// The location of an application, in lower case.
pub(super) fn place(site: &str, application: &str) -> String {
    format!("{site}{}", application.trim_end_matches('/')).to_lowercase()
}

/// The locations that count, the most specific first: `site/a/b`, `site/a`, `site`, the server.
pub(super) fn locations(site: &str, application: &str) -> Locations {
    let mut path = place(site, application);
    let mut locations = vec![path.clone()];
    while let Some(slash) = path.rfind('/') {
        path.truncate(slash);
        locations.push(path.clone());
    }
    locations.push(String::new());
    locations
}

struct Reader<'r, 'a> {
    sections: &'r Sections<'a>,
    locations: Locations,
    application: String,
}

impl<'a> Reader<'_, 'a> {
    fn section(&self, name: &str) -> Layers<'a> {
        self.section_at(&format!("system.webServer/{name}"))
    }

    fn section_at(&self, path: &str) -> Layers<'a> {
        let nodes = self
            .sections
            .for_application(&self.locations, &self.application, path);
        Layers::new(
            schema::section(path).expect("asked for by a name in the schema"),
            nodes,
        )
    }

    /// Assumed: `defaultDocument/files` has `mergeAppend="false"`, so that a site's own documents come
    /// before the server's; known from the order that IIS Manager shows.
    fn default_documents(&self) -> Vec<String> {
        let section = self.section("defaultDocument");
        if !section.flag("enabled") {
            return Vec::new();
        }
        let files = section.child("files").entries("add", true).0;
        files.iter().map(|file| file.text("value")).collect()
    }

    fn mime_map(&self) -> BTreeMap<String, String> {
        let section = self.section("staticContent");
        let entries = section.entries("mimeMap", false).0;
        let pair = |map: &Layers<'_>| {
            (
                map.text("fileExtension").to_lowercase(),
                map.text("mimeType"),
            )
        };
        entries.iter().map(pair).collect()
    }

    /// Source: IIS configuration reference, `clientCache`: what each mode adds to the responses.
    fn client_cache(&self) -> ClientCache {
        let cache = self.section("staticContent").child("clientCache");
        let mut control = match cache.number("cacheControlMode") {
            1 => "no-cache".to_owned(),
            2 => format!("max-age={}", cache.time("cacheControlMaxAge").as_secs()),
            _ => String::new(),
        };
        let custom = one_line(&cache.text("cacheControlCustom"));
        if !control.is_empty() && !custom.is_empty() {
            control.push(',');
        }
        control.push_str(&custom);
        let mut lines = String::new();
        if !control.is_empty() {
            lines = format!("Cache-Control: {control}\r\n");
        }
        let expires = one_line(&cache.text("httpExpires"));
        if cache.number("cacheControlMode") == 3 && !expires.is_empty() {
            lines.extend(["Expires: ", &expires, "\r\n"]);
        }
        ClientCache {
            lines,
            set_etag: cache.flag("setEtag"),
        }
    }

    fn logging(&self) -> RequestLogging {
        let section = self.section("httpLogging");
        match section.number("selectiveLogging") {
            _ if section.flag("dontLog") => RequestLogging::None,
            1 => RequestLogging::Successful,
            2 => RequestLogging::Failed,
            _ => RequestLogging::All,
        }
    }

    /// Assumed: `skipManagedModules` needs nothing, because no module of ours is managed.
    fn initialization(&self) -> Initialization {
        let section = self.section("applicationInitialization");
        let pages = section.entries("add", false).0;
        Initialization {
            pages: pages
                .iter()
                .map(|page| page.text("initializationPage"))
                .collect(),
            remap_managed_requests_to: section.text("remapManagedRequestsTo"),
            after_restart: section.flag("doAppInitAfterRestart"),
        }
    }

    fn session_state(&self) -> SessionStateSettings {
        let section = self.section_at("system.web/sessionState");
        SessionStateSettings {
            enabled: section.number("mode") != 0,
            timeout: section.time("timeout"),
        }
    }

    fn request_limits(&self) -> RequestLimits {
        let section = self.section("security/requestFiltering");
        let limits = section.child("requestLimits");
        RequestLimits {
            content_length_max: limits.number("maxAllowedContentLength"),
            url_max: limits.number("maxUrl"),
            query_string_max: limits.number("maxQueryString"),
        }
    }

    fn request_filtering(&self) -> RequestFiltering {
        request_filtering::read(&self.section("security/requestFiltering"))
    }

    fn caching(&self) -> Caching {
        let (caching, runtime) = (self.section("caching"), self.section("serverRuntime"));
        let profiles = caching.child("profiles").entries("add", false).0;
        Caching {
            enabled: caching.flag("enabled"),
            enable_kernel_cache: caching.flag("enableKernelCache"),
            max_response_size: caching.number("maxResponseSize"),
            frequent_hit_threshold: runtime.number("frequentHitThreshold"),
            frequent_hit_time_period: runtime.time("frequentHitTimePeriod"),
            profiles: profiles.iter().map(profile).collect(),
        }
    }
}

/// A value as a header may have it: what is no visible ASCII, and no blank, is left out.
fn one_line(value: &str) -> String {
    let is_plain = |c: &char| matches!(c, ' '..='~');
    value.trim().chars().filter(is_plain).collect()
}

fn profile(profile: &Layers<'_>) -> CachingProfile {
    let policy = |name| match profile.number(name) {
        1 => ProfilePolicy::CacheUntilChange,
        2 => ProfilePolicy::CacheForTimePeriod,
        3 => ProfilePolicy::DisableCache,
        _ => ProfilePolicy::DontCache,
    };
    CachingProfile {
        extension: profile.text("extension").to_lowercase(),
        policy: policy("policy"),
        kernel_cache_policy: policy("kernelCachePolicy"),
        duration: profile.time("duration"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_application_sees_every_location_on_its_way() {
        assert_eq!(
            locations("Shop", "/a/B"),
            ["shop/a/b", "shop/a", "shop", ""]
        );
        assert_eq!(locations("Shop", "/"), ["shop", ""]);
    }
}
