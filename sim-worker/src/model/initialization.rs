//! Application initialization: what is asked for in an application before its first visitor is.
//!
//! ```text
//!   preloadEnabled:  process starts ─► application starts ─► `/` and the pages ─► the worker is ready
//!   serviceAutoStart: process starts ─► application starts ─► the worker is ready
//!   without:         first visitor  ─► application starts ─► the pages, beside the visitor
//!   doAppInitAfterRestart: application restarts ─► it starts at once ─► the pages
//! ```
//!
//! These requests run through the pipeline like any other; they come from no client, so that nothing is
//! sent, logged or counted.
//!
//! Source: IIS 8.0 Application Initialization: with preload a simulated request to the application's root
//! runs before the worker is treated as ready, and no traffic goes to a new worker until all
//! initialization URLs of all its applications have finished; none of it is in the IIS log. ASP.NET 4: an
//! application with `serviceAutoStartEnabled` and a provider accepts no request until the provider's `Preload`
//! has returned; what a provider does is part of the application's start here.
//! Assumed: all of an application's pages are asked for at once, because no document gives an order; their
//! paths are relative to the application; `hostName` changes nothing, because no page here looks at it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use sim_httpsys::api::{
    ActivityId, ConnectionId, Ends, EntityLength, Request, RequestId, RequestText, SharedRequest,
    ShortEnds, SiteId, Span, UrlContext, Version,
};
use sim_httpsys::clockwork::Instant;

use super::app_domain::{AppDomain, AppDomainState};
use super::http_context::HttpContext;
use super::{Lifecycle, WorkerProcess};

impl AppDomain {
    /// Whether pages of it are still to be initialized, or are being.
    fn is_initializing(&self) -> bool {
        let to_come = self.initializes && !self.application.initialization.pages.is_empty();
        self.initialization_requests > 0 || (to_come && self.is_starting())
    }

    /// Whether visitors who want a page get `remapManagedRequestsTo` now.
    pub(super) fn shows_splash(&self) -> bool {
        let initialization = &self.application.initialization;
        !initialization.remap_managed_requests_to.is_empty() && self.is_initializing()
    }
}

impl WorkerProcess {
    /// An application has started: asks for what it is to be warmed with.
    pub(super) fn initialize_application(&mut self, context: UrlContext, now: Instant) {
        let Some(domain) = self.domains.get_mut(&context) else {
            return;
        };
        let preloads = matches!(self.lifecycle, Lifecycle::Preloading { .. });
        let mut urls = Vec::new();
        if preloads && domain.application.preload {
            urls.push("/".to_owned());
        }
        if std::mem::take(&mut domain.initializes) {
            urls.extend(domain.application.initialization.pages.iter().cloned());
        }
        domain.initialization_requests = urls.len();
        if urls.is_empty() {
            return self.preloaded(now);
        }
        let application = domain.application.clone();
        for url in urls {
            self.initializations += 1;
            // Numbers that the driver does not reach.
            let id = RequestId(u64::MAX - self.initializations);
            let url = below(&application.path, &url);
            let request = SharedRequest::new(request((id, application.site, context), &url, now));
            let mut context = HttpContext::new(request, now);
            context.simulated = true;
            self.enter_application(Box::new(context), now);
        }
    }

    /// A page has answered: perhaps its application is warm now.
    pub(super) fn page_initialized(&mut self, context: UrlContext, now: Instant) {
        let Some(domain) = self.domains.get_mut(&context) else {
            return;
        };
        domain.initialization_requests = domain.initialization_requests.saturating_sub(1);
        if domain.initialization_requests == 0 {
            self.preloaded(now);
        }
    }

    /// An application has restarted inside of this worker, or is new.
    pub(super) fn initialize_again(&mut self, context: UrlContext, now: Instant) {
        let Some(domain) = self.domains.get_mut(&context) else {
            return;
        };
        let initialization = &domain.application.initialization;
        domain.initializes = initialization.after_restart;
        let is_wanted = initialization.after_restart && !initialization.pages.is_empty();
        if is_wanted
            && self.lifecycle == Lifecycle::Running
            && matches!(domain.state, AppDomainState::Unloaded)
        {
            self.start_application(context, now);
        }
    }

    /// A visitor who wants a page gets the splash page instead, as if it had been asked for.
    pub(super) fn show_splash(&mut self, mut context: Box<HttpContext>, now: Instant) {
        let application = &self.domains[&context.request.url_context].application;
        let file = &application.initialization.remap_managed_requests_to;
        let below_application = below("/", file);
        let url = below(&application.path, file);
        let text = &mut SharedRequest::make_mut(&mut context.request).text;
        let start = text.text.len();
        text.text.extend_from_slice(url.as_bytes());
        text.path = Span::new(start, text.text.len());
        context.page = None;
        self.static_file(context, below_application.to_lowercase(), (0, None), now);
    }
}

/// A URL of an application as a client would ask for it.
fn below(application: &str, url: &str) -> String {
    let url = url.trim_start_matches('~').trim_start_matches('/');
    format!("{}/{url}", application.trim_end_matches('/'))
}

/// `GET http://localhost/…`, from nobody.
fn request(
    (id, site, url_context): (RequestId, SiteId, UrlContext),
    url: &str,
    now: Instant,
) -> Request {
    const VERB: &str = "GET";
    const HOST: &str = "localhost";
    let (path, _) = url.split_once('?').unwrap_or((url, ""));
    let (host, target) = (VERB.len(), VERB.len() + HOST.len());
    let end = target + url.len();
    let query = (target + path.len() + 1).min(end);
    let text = RequestText {
        text: [VERB, HOST, url].concat().into_bytes(),
        verb: Span::new(0, host),
        host: Span::new(host, target),
        raw_url: Span::new(target, end),
        path: Span::new(target, target + path.len()),
        query: Span::new(query, end),
        headers: Vec::new(),
    };
    let nobody = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
    Request {
        id,
        connection: ConnectionId(0),
        activity: ActivityId(0),
        site,
        url_context,
        ends: ShortEnds::new(Ends {
            client: nobody,
            local: nobody,
        }),
        secure: false,
        version: Version::Http11,
        received: now,
        entity: EntityLength::None,
        text,
    }
}
