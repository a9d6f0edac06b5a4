//! How long the response of a page may be kept, in the worker's output cache and by the driver, and under
//! which key.

use std::time::Duration;

use sim_httpsys::api::{CachePolicy, Request, UrlContext};

use super::WorkerProcess;
use super::http_context::HttpContext;
use super::modules::http_cache;

impl WorkerProcess {
    /// How long the response of a request is kept here.
    pub(super) fn keeps_output(&self, context: &HttpContext) -> Option<Duration> {
        let domain = self.domains.get(&context.request.url_context)?;
        let page = &domain.pages[context.page?].page;
        let caching = &domain.settings_for(&context.request).caching;
        if page.output_cache.is_none() && caching.profiles.is_empty() {
            return None;
        }
        http_cache::output(page, caching, &page.path.to_lowercase())
    }

    pub(super) fn driver_policy(&self, context: &HttpContext) -> CachePolicy {
        let Some((domain, page)) = self
            .domains
            .get(&context.request.url_context)
            .zip(context.page)
        else {
            return CachePolicy::Nocache;
        };
        let page = &domain.pages[page].page;
        let caching = &domain.settings_for(&context.request).caching;
        if page.kernel_cache.is_none() && caching.profiles.is_empty() {
            return CachePolicy::Nocache;
        }
        let path = page.path.to_lowercase();
        http_cache::kernel(page, caching, &path, &context.request)
    }
}

/// Path (any case) and query.
pub(super) fn output_key(request: &Request) -> (UrlContext, Box<str>) {
    let text = &request.text;
    let mut key = text.str(text.path).to_lowercase();
    key.push('?');
    key.push_str(text.str(text.query));
    (request.url_context, key.into())
}
