//! What WAS writes down for a worker before it starts it: one JSON file per pool, in
//! `inetpub/temp/appPools/<pool>/<pool>.config`, whose path is the worker's `-h` argument.
//!
//! Source: KB 4050891: WAS writes a per-pool copy of the configuration and passes its path to w3wp.
//! The real file is XML; ours is the resolved result, so that a worker needs no XML.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sim_httpsys::api::{SiteId, UrlContext};

use crate::local_time::{LocalTime, TimeZone};

/// Everything that a worker of one pool needs to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerConfiguration {
    /// The pool's name; also the name of its request queue.
    pub pool: String,
    /// The applications that the pool serves.
    pub applications: Vec<Application>,
    /// Applications that have left the pool, but whose requests may still wait in its queue.
    #[serde(default)]
    pub departed: Vec<Application>,
    /// When the worker asks to be recycled.
    pub periodic_restart: PeriodicRestart,
    /// After how long without a request it asks to be shut down; zero for never.
    pub idle_timeout: Duration,
    /// Receives that it keeps posted.
    pub receives: u32,
    /// Threads that run handlers. Source: machine.config autoConfig, 100 per CPU.
    pub threads_max: u32,
    /// The server's time zone, for `periodicRestart/schedule`.
    #[serde(default)]
    pub time_zone: TimeZone,
    /// The last time of the schedule that a worker of this place was recycled at.
    #[serde(default)]
    pub schedule_ran: Option<LocalTime>,
    /// `environmentVariables`: some choose the worker's [`symptoms`](crate::symptoms).
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
}

/// One application of the pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Application {
    /// The number that comes with its requests.
    pub url_context: UrlContext,
    /// Its site's number.
    pub site: SiteId,
    /// Its site's name.
    pub site_name: String,
    /// Its path in the site, `/` or `/app`.
    pub path: String,
    /// Its virtual directories: path below the application (`/` is its root) and the folder on this
    /// machine that it stands for.
    pub virtual_directories: Vec<VirtualDirectory>,
    /// Whether it is started before the worker says that it is ready.
    pub preload: bool,
    /// Whether it is started before, but asked for nothing: its provider warms it.
    #[serde(default)]
    pub auto_start: bool,
    /// `applicationInitialization`.
    #[serde(default)]
    pub initialization: Initialization,
    /// `serverRuntime/@appConcurrentRequestLimit`: one more at the same time is answered 503.2.
    pub concurrent_requests_max: u32,
    /// `system.web/sessionState`.
    #[serde(default)]
    pub session_state: SessionStateSettings,
    /// What holds for its requests.
    pub settings: PathSettings,
    /// What holds instead for a folder or a file of it and what is below that, by its path below the
    /// application in lower case: `/images`.
    #[serde(default)]
    pub paths: BTreeMap<String, PathSettings>,
}

impl Application {
    /// What holds for a path below it, which is in lower case and begins with a slash.
    #[must_use]
    pub fn settings_at(&self, path: &str) -> &PathSettings {
        PathSettings::at(path, &self.paths, &self.settings)
    }
}

/// What the sections of `system.webServer` say for one path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathSettings {
    /// `defaultDocument`, in order; empty if switched off.
    pub default_documents: Vec<String>,
    /// `staticContent`: extension (lower case, with its dot) to MIME type.
    pub mime_map: BTreeMap<String, String>,
    /// `staticContent/clientCache`.
    #[serde(default)]
    pub client_cache: ClientCache,
    /// `caching` and `serverRuntime`.
    pub caching: Caching,
    /// `httpLogging`: which of its requests are in the site's log.
    #[serde(default)]
    pub logging: RequestLogging,
    /// `security/requestFiltering/requestLimits`.
    #[serde(default)]
    pub request_limits: RequestLimits,
    /// The rest of `security/requestFiltering`.
    #[serde(default)]
    pub request_filtering: RequestFiltering,
    /// Why the configuration cannot be used here, if it cannot: requests get 500.19.
    pub error: Option<String>,
}

/// `applicationInitialization`: what is asked for in an application before its first visitor is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Initialization {
    /// `add/@initializationPage`, in order.
    pub pages: Vec<String>,
    /// `remapManagedRequestsTo`: the file that visitors get for pages meanwhile; empty for none, they wait.
    pub remap_managed_requests_to: String,
    /// `doAppInitAfterRestart`: also when the application restarts inside of its worker.
    pub after_restart: bool,
}

/// `system.web/sessionState`: whether an application's sessions are kept, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionStateSettings {
    /// `mode` is not `Off`. Assumed: every other one is `InProc`; there is no state server here.
    pub enabled: bool,
    /// `timeout`: a session ends so long after its last request.
    pub timeout: Duration,
}

impl Default for SessionStateSettings {
    /// Source: .NET Framework schema: mode `InProc`, timeout 20 minutes.
    fn default() -> Self {
        Self {
            enabled: true,
            timeout: Duration::from_mins(20),
        }
    }
}

/// One virtual directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VirtualDirectory {
    /// Path below the application.
    pub path: String,
    /// The folder on this machine.
    pub physical_path: PathBuf,
}

impl PathSettings {
    /// Those of the innermost of some paths that a path lies at or below, or else those around them.
    #[must_use]
    pub fn at<'s>(path: &str, paths: &'s BTreeMap<String, Self>, around: &'s Self) -> &'s Self {
        if paths.is_empty() {
            return around;
        }
        let ends = path.match_indices('/').map(|(at, _)| at);
        let mut ends = ends.chain([path.len()]).rev();
        ends.find_map(|end| paths.get(&path[..end]))
            .unwrap_or(around)
    }
}

/// `staticContent/clientCache`: what files say of themselves to those who may keep them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientCache {
    /// Header lines, each with its end; mostly none.
    pub lines: String,
    /// `setEtag`: whether there is an `ETag`.
    pub set_etag: bool,
}

impl Default for ClientCache {
    /// Source: IIS 10 schema: cacheControlMode `NoControl`, setEtag true.
    fn default() -> Self {
        Self {
            lines: String::new(),
            set_etag: true,
        }
    }
}

/// `httpLogging`: which requests are in their site's log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RequestLogging {
    /// `LogAll`. Source: IIS 10 schema: the default.
    #[default]
    All,
    /// `LogSuccessful`.
    Successful,
    /// `LogError`.
    Failed,
    /// `dontLog`.
    None,
}

impl RequestLogging {
    /// Whether a request that is answered with that status is in the log.
    ///
    /// Source: IIS configuration reference, `httpLogging`: successful are 100 to 399, errors 400 to 999.
    #[must_use]
    pub fn has(self, status: u16) -> bool {
        match self {
            Self::All => true,
            Self::Successful => status < 400,
            Self::Failed => status >= 400,
            Self::None => false,
        }
    }
}

/// `security/requestFiltering/requestLimits`: what is longer is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestLimits {
    /// `maxAllowedContentLength`: bytes of a body.
    pub content_length_max: u32,
    /// `maxUrl`: characters of the path.
    pub url_max: u32,
    /// `maxQueryString`: characters of the query.
    pub query_string_max: u32,
}

impl Default for RequestLimits {
    /// Source: IIS 10 schema: maxAllowedContentLength 30000000, maxUrl 4096, maxQueryString 2048.
    fn default() -> Self {
        Self {
            content_length_max: 30_000_000,
            url_max: 4096,
            query_string_max: 2048,
        }
    }
}

/// `security/requestFiltering`: which requests no handler sees. Names are in lower case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "independent settings")]
pub struct RequestFiltering {
    /// `allowDoubleEscaping`: paths that decode further, or hold a `+`.
    pub allow_double_escaping: bool,
    /// `allowHighBitCharacters`: paths that are not ASCII.
    pub allow_high_bit_characters: bool,
    /// `verbs`.
    pub verbs: Listed,
    /// `denyUrlSequences`.
    pub deny_url_sequences: Vec<String>,
    /// `hiddenSegments`.
    pub hidden_segments: Vec<String>,
    /// `fileExtensions`, with their dots.
    pub file_extensions: Listed,
    /// `denyQueryStringSequences`.
    #[serde(default)]
    pub deny_query_string_sequences: Vec<String>,
    /// `unescapeQueryString`: a query is looked at as it is, and decoded.
    pub unescape_query_string: bool,
    /// `alwaysAllowedUrls`, each with its slash.
    #[serde(default)]
    pub always_allowed_urls: Vec<String>,
    /// `alwaysAllowedQueryStrings`.
    #[serde(default)]
    pub always_allowed_query_strings: Vec<String>,
    /// `requestLimits/headerLimits`: bytes of the value of a header.
    #[serde(default)]
    pub header_limits: BTreeMap<String, u32>,
    /// `filteringRules`.
    #[serde(default)]
    pub rules: Vec<FilteringRule>,
    /// `removeServerHeader`: no response names the server.
    #[serde(default)]
    pub remove_server_header: bool,
}

impl RequestFiltering {
    /// Whether anything but the path of a request and its verb is looked at.
    #[must_use]
    pub fn looks_beyond_the_path(&self) -> bool {
        !self.deny_query_string_sequences.is_empty()
            || !self.header_limits.is_empty()
            || !self.rules.is_empty()
    }
}

/// `filteringRules/filteringRule`: texts that are denied in some parts of a request. All texts are in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "independent settings")]
pub struct FilteringRule {
    /// `scanUrl`.
    pub scan_url: bool,
    /// `scanQueryString`.
    pub scan_query_string: bool,
    /// `scanAllRaw`: all headers as they came.
    pub scan_all_raw: bool,
    /// `denyUnescapedPercent`.
    pub deny_unescaped_percent: bool,
    /// `scanHeaders`.
    pub scan_headers: Vec<String>,
    /// `appliesTo`, extensions with their dots; all if there is none.
    pub applies_to: Vec<String>,
    /// `denyStrings`.
    pub deny_strings: Vec<String>,
}

/// A list that says of what is in it whether it is allowed, and of all the rest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// `allowUnlisted`.
    pub allow_unlisted: bool,
    /// `add/@allowed`.
    pub allowed: BTreeMap<String, bool>,
}

impl Listed {
    /// Whether something in lower case may pass.
    #[must_use]
    pub fn allows(&self, name: &str) -> bool {
        self.allowed
            .get(name)
            .copied()
            .unwrap_or(self.allow_unlisted)
    }
}

impl Default for Listed {
    /// Source: IIS 10 schema: allowUnlisted true.
    fn default() -> Self {
        Self {
            allow_unlisted: true,
            allowed: BTreeMap::new(),
        }
    }
}

impl Default for RequestFiltering {
    /// Source: IIS 10 schema: allowDoubleEscaping false, allowHighBitCharacters true, unescapeQueryString true,
    /// removeServerHeader false. The lists are those that
    /// IIS ships, `HIDDEN_SEGMENTS` and `DENIED_EXTENSIONS`.
    fn default() -> Self {
        let denied = DENIED_EXTENSIONS.map(|extension| (extension.to_owned(), false));
        Self {
            allow_double_escaping: false,
            allow_high_bit_characters: true,
            verbs: Listed::default(),
            deny_url_sequences: Vec::new(),
            hidden_segments: HIDDEN_SEGMENTS.map(str::to_owned).into(),
            file_extensions: Listed {
                allowed: denied.into(),
                ..Listed::default()
            },
            deny_query_string_sequences: Vec::new(),
            unescape_query_string: true,
            always_allowed_urls: Vec::new(),
            always_allowed_query_strings: Vec::new(),
            header_limits: BTreeMap::new(),
            rules: Vec::new(),
            remove_server_header: false,
        }
    }
}

/// Source: IIS applicationHost.config as shipped, `requestFiltering/hiddenSegments`: web.config, bin, `App_code`,
/// `App_GlobalResources`, `App_LocalResources`, `App_WebReferences`, `App_Data`, `App_Browsers`.
const HIDDEN_SEGMENTS: [&str; 8] = [
    "web.config",
    "bin",
    "app_code",
    "app_globalresources",
    "app_localresources",
    "app_webreferences",
    "app_data",
    "app_browsers",
];

/// Source: IIS applicationHost.config as shipped, `requestFiltering/fileExtensions` with allowed="false".
const DENIED_EXTENSIONS: [&str; 22] = [
    ".asa",
    ".asax",
    ".ascx",
    ".master",
    ".skin",
    ".browser",
    ".sitemap",
    ".config",
    ".cs",
    ".csproj",
    ".vb",
    ".vbproj",
    ".webinfo",
    ".licx",
    ".resx",
    ".resources",
    ".mdb",
    ".vjsproj",
    ".java",
    ".jsl",
    ".ldb",
    ".rules",
];

/// What may be cached, where, and from which popularity on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caching {
    /// `caching/@enabled`: the worker's output cache.
    pub enabled: bool,
    /// `caching/@enableKernelCache`: whether the driver is asked to cache.
    pub enable_kernel_cache: bool,
    /// `caching/@maxResponseSize`, bytes.
    pub max_response_size: u32,
    /// `serverRuntime/@frequentHitThreshold`.
    pub frequent_hit_threshold: u32,
    /// `serverRuntime/@frequentHitTimePeriod`.
    pub frequent_hit_time_period: Duration,
    /// `caching/profiles`.
    pub profiles: Vec<CachingProfile>,
}

impl Default for Caching {
    /// Source: IIS 10 schema: enabled true, enableKernelCache true, maxResponseSize 262144,
    /// frequentHitThreshold 2, frequentHitTimePeriod 00:00:10.
    fn default() -> Self {
        Self {
            enabled: true,
            enable_kernel_cache: true,
            max_response_size: 262_144,
            frequent_hit_threshold: 2,
            frequent_hit_time_period: Duration::from_secs(10),
            profiles: Vec::new(),
        }
    }
}

/// A `caching/profiles/add`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CachingProfile {
    /// The extension, lower case, with its dot; `*` for every one.
    pub extension: String,
    /// In the worker's output cache.
    pub policy: ProfilePolicy,
    /// In the driver.
    pub kernel_cache_policy: ProfilePolicy,
    /// For [`ProfilePolicy::CacheForTimePeriod`].
    pub duration: Duration,
}

/// `policy` and `kernelCachePolicy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProfilePolicy {
    /// Leave it to the handler.
    DontCache,
    /// Until the file changes.
    CacheUntilChange,
    /// For the profile's duration.
    CacheForTimePeriod,
    /// Never, whatever the handler says.
    DisableCache,
}

/// `recycling/periodicRestart`: what the worker itself watches. Zero or empty means never.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeriodicRestart {
    /// After so long. Source: IIS schema, 29:00:00.
    pub time: Duration,
    /// After so many requests.
    pub requests: u32,
    /// At these local times of day.
    pub schedule: Vec<Duration>,
    /// Above so many KB of virtual memory.
    pub memory_kb: u32,
    /// Above so many KB of private memory.
    pub private_memory_kb: u32,
}

impl PeriodicRestart {
    /// The limits of time and requests for the kth of n workers that begin together, so that they do not
    /// end together: k/n of each.
    #[must_use]
    pub fn share(&self, k: usize, n: usize) -> Self {
        let (k, n) = (
            u32::try_from(k).unwrap_or(u32::MAX),
            u32::try_from(n.max(1)).unwrap_or(u32::MAX),
        );
        let requests = u64::from(self.requests) * u64::from(k) / u64::from(n);
        let least = u32::from(self.requests > 0);
        Self {
            time: (self.time / n).saturating_mul(k),
            requests: u32::try_from(requests).unwrap_or(u32::MAX).max(least),
            ..self.clone()
        }
    }
}
