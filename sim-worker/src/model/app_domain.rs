//! One application in a worker: started once, by the first request or a preload; others wait for it.
//!
//! ```text
//!   Unloaded ─► Reading (its simulation.toml) ─► Starting (Application_Start) ─► Started
//!                        ├► Failed: every managed and static request gets a 500.19
//!                        └► Offline: every managed request gets a 503 (app_offline.rs)
//! ```
//!
//! How an application restarts without its process is in `restart.rs`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;

use bytes::Bytes;
use sim_httpsys::api::{Request, RequestId};
use sim_httpsys::clockwork::Instant;
use sim_httpsys::remembered::Remembered;

use super::files::{below, lower_case_with_slashes};
use super::modules::request_filtering;
use crate::application::{Behaviour, Page, hash, matches};
use crate::configuration::{Application, PathSettings};

/// An application as this worker has it.
#[derive(Debug)]
pub(crate) struct AppDomain {
    pub(crate) application: Rc<Application>,
    pub(crate) state: AppDomainState,
    pub(crate) behaviour: Behaviour,
    pub(crate) pages: Vec<LoadedPage>,
    exact: BTreeMap<Box<str>, usize>,
    /// Paths with a `*`, lower case, in the order of the file.
    patterns: Vec<(String, usize)>,
    /// Paths as they came in, and the pages that requests for them were mapped to.
    mapped: Remembered<usize>,
    /// What `Application_Start` allocated.
    pub(crate) memory: Vec<u8>,
    /// Bytes that its start and its pages' code have asked for; they go with it.
    pub(crate) allocated: u64,
    /// The text of the `app_offline.htm` that it found when it was read.
    pub(crate) offline: Option<Bytes>,
    /// Whether its start asks for its initialization pages.
    pub(crate) initializes: bool,
    /// Requests of its initialization that have not been answered.
    pub(crate) initialization_requests: usize,
}

/// How far an application is.
#[derive(Debug)]
pub(crate) enum AppDomainState {
    Unloaded,
    Reading {
        began: Instant,
        waiting: Vec<RequestId>,
    },
    Starting {
        began: Instant,
        waiting: Vec<RequestId>,
    },
    Started,
    /// An `app_offline.htm` was there: it has pages, and will not start.
    Offline,
    Failed(String),
    /// It has been set apart from new requests, and its `Application_End` runs.
    Unloading,
}

/// A page, and what this process has made of it.
#[derive(Debug)]
pub(crate) struct LoadedPage {
    pub(crate) page: Rc<Page>,
    /// A stable number for its name.
    pub(crate) hash: u64,
    pub(crate) compiled: Compiled,
    /// The response that it always gives, made once: header lines and body.
    pub(crate) response: Option<(Bytes, Bytes)>,
    /// The cumulated popularity of the keys of its cache.
    pub(crate) popularity: Vec<f64>,
}

/// Whether a page is compiled in this process.
#[derive(Debug)]
pub(crate) enum Compiled {
    No,
    /// One request compiles; these wait for it.
    Compiling(Vec<RequestId>),
    /// Its code.
    Yes(#[expect(dead_code, reason = "held, so that the process really has the memory")] Vec<u8>),
}

impl AppDomain {
    pub(crate) fn new(application: Application) -> Self {
        Self {
            application: Rc::new(application),
            state: AppDomainState::Unloaded,
            behaviour: Behaviour::default(),
            pages: Vec::new(),
            exact: BTreeMap::new(),
            patterns: Vec::new(),
            mapped: Remembered::default(),
            memory: Vec::new(),
            allocated: 0,
            offline: None,
            initializes: true,
            initialization_requests: 0,
        }
    }

    pub(crate) fn is_starting(&self) -> bool {
        matches!(
            self.state,
            AppDomainState::Reading { .. } | AppDomainState::Starting { .. }
        )
    }

    /// These wait until it has started.
    pub(crate) fn wait_for_start(&mut self, requests: Vec<RequestId>) {
        if let AppDomainState::Starting { waiting, .. } = &mut self.state {
            waiting.extend(requests);
        }
    }

    /// Its "code" has been read.
    pub(crate) fn load(&mut self, mut behaviour: Behaviour) {
        for (index, page) in behaviour.pages.drain(..).enumerate() {
            let path = page.path.to_lowercase();
            let popularity = page
                .application_cache
                .as_ref()
                .map(|c| zipf(c.keys, c.zipf))
                .unwrap_or_default();
            self.pages.push(LoadedPage {
                hash: hash(&path),
                page: Rc::new(page),
                compiled: Compiled::No,
                response: None,
                popularity,
            });
            if path.contains('*') {
                self.patterns.push((path.clone(), index));
            }
            self.exact.insert(path.into(), index);
        }
        self.behaviour = behaviour;
        self.mapped = Remembered::default();
    }

    /// What its configuration says is something else now, and it goes on.
    pub(crate) fn reconfigure(&mut self, application: Application) {
        self.application = Rc::new(application);
        self.mapped = Remembered::default();
    }

    /// The page that a request was mapped to that has the path of this one, if nothing in this one can have it
    /// refused.
    pub(crate) fn page_again(&mut self, request: &Request) -> Option<usize> {
        let path = request.text.bytes(request.text.path);
        let (&page, length) = self.mapped.find(mapped_by(path), path)?;
        let settings = &self.application.settings;
        let rules = (&settings.request_limits, &settings.request_filtering);
        let is_it = length == path.len() && request_filtering::passes_but_for_path(request, rules);
        is_it.then_some(page)
    }

    /// A request was mapped to a page, by what holds for all paths of the application.
    pub(crate) fn remember_page(&mut self, request: &Request, page: usize) {
        if self.application.paths.is_empty() {
            let path = request.text.bytes(request.text.path);
            self.mapped.keep(mapped_by(path), path, &page);
        }
    }

    /// The page with a handler at a lower-case path below the application: an exact name first,
    /// then the first pattern.
    pub(crate) fn page_at(&self, path: &str) -> Option<usize> {
        let matching = || {
            self.patterns
                .iter()
                .find(|(pattern, _)| matches(pattern, path))
        };
        self.exact
            .get(path)
            .copied()
            .or_else(|| matching().map(|&(_, index)| index))
    }

    /// What `system.webServer` says for a request of it.
    #[inline]
    pub(crate) fn settings_for(&self, request: &Request) -> &PathSettings {
        let application = &self.application;
        if application.paths.is_empty() {
            return &application.settings;
        }
        self.settings_by_path(request)
    }

    fn settings_by_path(&self, request: &Request) -> &PathSettings {
        let application = &self.application;
        let path = below(&application.path, request.text.str(request.text.path));
        application.settings_at(&lower_case_with_slashes(path.unwrap_or_default()))
    }

    /// Its root folder on this machine.
    pub(crate) fn root(&self) -> Option<PathBuf> {
        let mut directories = self.application.virtual_directories.iter();
        let root = directories.find(|directory| directory.path == "/")?;
        Some(root.physical_path.clone())
    }

    /// How WAS and the facts call it: `/LM/W3SVC/1/ROOT/app`.
    pub(crate) fn name(&self) -> String {
        let path = self.application.path.trim_end_matches('/');
        format!("/LM/W3SVC/{}/ROOT{path}", self.application.site.0)
    }
}

/// What mostly tells the paths of pages apart.
fn mapped_by(path: &[u8]) -> usize {
    let middle = path.get(path.len() / 2).copied().unwrap_or_default();
    path.len() * 31 + usize::from(middle)
}

/// The cumulated popularity of `keys` keys, the kth with weight `1 / k^exponent`.
fn zipf(keys: u32, exponent: f64) -> Vec<f64> {
    let mut total = 0.0;
    let weights = (1..=keys).map(|rank| f64::from(rank).powf(-exponent));
    let mut sums: Vec<f64> = weights
        .map(|weight| {
            total += weight;
            total
        })
        .collect();
    for sum in &mut sums {
        *sum /= total;
    }
    sums
}

impl LoadedPage {
    /// Which key of its cache stands at a quantile.
    pub(crate) fn key_at(&self, quantile: f64) -> u64 {
        self.popularity.partition_point(|&sum| sum <= quantile) as u64
    }
}
