//! The life of a request for a file, and what is done when files change.

use std::borrow::Cow;

use sim_httpsys::api::{CachePolicy, ControlCall, RequestQueueName, UrlContext};
use sim_httpsys::clockwork::Instant;
use sim_httpsys::clockwork::mutants::{Mutant, mutated};

use super::caches::{FILE_MAX, FRESH};
use super::http_context::{FileRequest, HttpContext, Notification, Waits};
use super::modules::custom_error::{self, Refusal};
use super::modules::{Reply, SERVER, default_document, http_cache, static_file};
use super::{Doer, FileOutcome, Timer, Work, WorkerProcess};
use crate::configuration::{Application, ProfilePolicy};
use crate::facts::{CacheLayer, Fact};

/// Most files that are compared with the disk in one second.
/// Assumed: IIS is told of changes; a look at each of so many files a second costs little.
const WATCHED_MAX: usize = 128;

impl WorkerProcess {
    /// A request that no page takes. `path` lies below the application, lower case; `page` is the
    /// default document with a handler that is taken if the folder has none of `documents` before it.
    pub(super) fn static_file(
        &mut self,
        mut context: Box<HttpContext>,
        path: String,
        (documents, page): (usize, Option<usize>),
        now: Instant,
    ) {
        context.enters(
            Notification::ExecuteRequestHandler,
            static_file::STATIC_FILE,
        );
        let text = &context.request.text;
        match text.bytes(text.verb) {
            b"GET" | b"HEAD" => {}
            b"OPTIONS" => return self.finish(context, options(), now),
            _ => {
                // Source: IIS, 405.0 with `Allow: GET, HEAD, OPTIONS, TRACE` for other verbs on a static file.
                let reply = custom_error::reply(
                    &Refusal::new(405, 0),
                    "Allow: GET, HEAD, OPTIONS, TRACE\r\n",
                );
                return self.finish(context, reply, now);
            }
        }
        let url_context = context.request.url_context;
        let application = self.domains[&url_context].application.clone();
        let key = (url_context, path.into_boxed_str());
        if let Some(file) = self.files.get(&key, now)
            && (now.saturating_since(file.checked) < FRESH || mutated(Mutant::FilesNeverChecked))
        {
            return self.serve_cached(context, &key, now);
        }
        let unless = self
            .files
            .get(&key, now)
            .map(|file| (file.candidate, file.stamp));
        let original = below(&application.path, text.str(text.path)).unwrap_or_default();
        let Some(place) = default_document::place(&application, original) else {
            return self.refuse(context, &Refusal::new(404, 0), now);
        };
        let is_folder = key.1.ends_with('/');
        let mut folder = None;
        let candidates = if is_folder {
            let documents = &application.settings_at(&key.1).default_documents[..documents];
            let mut candidates = default_document::candidates(&place.relative, documents);
            if page.is_some() {
                candidates.pop();
            } else {
                folder = Some(candidates.len() - 1);
            }
            candidates
        } else {
            vec![place.relative]
        };
        let root = place.directory.physical_path.clone();
        let read = Work::ReadFile {
            root,
            candidates: candidates.clone(),
            unless,
        };
        context.file = Some(Box::new(FileRequest {
            key,
            candidates,
            default_document: is_folder,
            folder,
            page,
        }));
        context.waits = Waits::File;
        self.start_work(read, Doer::Request(context.request.id));
        self.park(context);
    }

    /// A file was looked for on behalf of a request.
    pub(super) fn file_read(
        &mut self,
        mut context: Box<HttpContext>,
        file: FileOutcome,
        now: Instant,
    ) {
        let Some(wanted) = context.file.take() else {
            return;
        };
        match file {
            FileOutcome::Unchanged => {
                if let Some(cached) = self.files.get(&wanted.key, now) {
                    cached.checked = now;
                    return self.serve_cached(context, &wanted.key, now);
                }
                // It went out of the cache meanwhile: once more, from the start.
                context.waits = Waits::Start;
                self.runnable.push_back(context.request.id);
                self.park(context);
            }
            FileOutcome::Contents {
                candidate,
                stamp,
                contents,
            } => {
                self.forget_file(&wanted.key);
                if wanted.folder == Some(candidate) {
                    // A file is no folder: with a slash behind it, its name names nothing.
                    return self.refuse(context, &Refusal::new(404, 0), now);
                }
                let application = self.domains[&wanted.key.0].application.clone();
                let settings = application.settings_at(&wanted.key.1);
                let name = wanted.candidates[candidate].to_lowercase();
                let Some(mime) = static_file::mime_type(&settings.mime_map, &name) else {
                    return self.refuse(context, &Refusal::new(404, 3), now);
                };
                let headers =
                    static_file::headers(mime, &settings.client_cache, stamp, contents.len());
                self.state(Fact::CacheLookup {
                    layer: CacheLayer::File,
                    hit: false,
                });
                let caching = &settings.caching;
                let refused = http_cache::profile(caching, &name)
                    .is_some_and(|profile| profile.policy == ProfilePolicy::DisableCache);
                let hot = self.files.is_hot(&wanted.key, caching, now);
                let mut policy = CachePolicy::Nocache;
                if hot && caching.enabled && !refused && contents.len() <= FILE_MAX {
                    let kept = (contents.clone(), stamp, candidate, headers.clone());
                    let (entry, gone) = self.files.insert(&wanted.key, kept, now);
                    self.removed(CacheLayer::File, gone);
                    self.state(Fact::CacheInsert {
                        layer: CacheLayer::File,
                        key: entry.0,
                        bytes: entry.1,
                        expires: None,
                    });
                    policy = self.ask_driver(&context, &wanted.key, now);
                }
                let file = static_file::File {
                    stamp,
                    set_etag: settings.client_cache.set_etag,
                    headers,
                    contents,
                };
                let reply = static_file::reply(&context.request, file, policy);
                self.finish(context, reply, now);
            }
            FileOutcome::NotFound
            | FileOutcome::Directory
            | FileOutcome::Denied
            | FileOutcome::TooLarge => {
                self.forget_file(&wanted.key);
                self.no_file(context, (wanted.page, wanted.default_document), &file, now);
            }
        }
    }

    fn no_file(
        &mut self,
        context: Box<HttpContext>,
        (page, default_document): (Option<usize>, bool),
        file: &FileOutcome,
        now: Instant,
    ) {
        let refusal = match file {
            FileOutcome::Directory if default_document => Refusal::new(403, 14),
            FileOutcome::Directory => {
                let reply = redirect(&context);
                return self.finish(context, reply, now);
            }
            // Source: IIS status 401.3: "Denied due to an ACL set on the requested resource".
            FileOutcome::Denied => Refusal::new(401, 3),
            FileOutcome::TooLarge => {
                Refusal::because(500, 0, "the file is larger than this worker reads")
            }
            FileOutcome::NotFound => match page {
                Some(page) => return self.managed(context, page, now),
                None => Refusal::new(404, 0),
            },
            FileOutcome::Contents { .. } | FileOutcome::Unchanged => Refusal::new(404, 0),
        };
        self.refuse(context, &refusal, now);
    }

    /// Serves a file from memory.
    fn serve_cached(
        &mut self,
        context: Box<HttpContext>,
        key: &(UrlContext, Box<str>),
        now: Instant,
    ) {
        self.state(Fact::CacheLookup {
            layer: CacheLayer::File,
            hit: true,
        });
        let policy = self.ask_driver(&context, key, now);
        let settings = self.domains[&key.0].application.settings_at(&key.1);
        let set_etag = settings.client_cache.set_etag;
        let Some(cached) = self.files.get(key, now) else {
            return;
        };
        let file = static_file::File {
            stamp: cached.stamp,
            set_etag,
            headers: cached.headers.clone(),
            contents: cached.contents.clone(),
        };
        let reply = static_file::reply(&context.request, file, policy);
        self.finish(context, reply, now);
    }

    /// Whether the driver is asked to keep a hot file that is kept here.
    ///
    /// Source: KB 817445, "Instances in which HTTP.sys does not cache content": a default document
    /// (`/`), a query string, a verb other than GET.
    fn ask_driver(
        &mut self,
        context: &HttpContext,
        key: &(UrlContext, Box<str>),
        now: Instant,
    ) -> CachePolicy {
        let text = &context.request.text;
        let Some(domain) = self.domains.get(&key.0) else {
            return CachePolicy::Nocache;
        };
        let caching = &domain.application.settings_at(&key.1).caching;
        let profile = http_cache::profile(caching, &key.1);
        let refused = profile
            .is_some_and(|profile| profile.kernel_cache_policy == ProfilePolicy::DisableCache);
        let plain =
            text.bytes(text.verb) == b"GET" && text.query.is_empty() && !key.1.ends_with('/');
        if !caching.enable_kernel_cache || refused || !plain {
            return CachePolicy::Nocache;
        }
        let timed = profile
            .filter(|profile| profile.kernel_cache_policy == ProfilePolicy::CacheForTimePeriod);
        let timed =
            timed.map(|profile| u32::try_from(profile.duration.as_secs()).unwrap_or(u32::MAX));
        let size_max = caching.max_response_size as usize;
        let Some(file) = self.files.get(key, now) else {
            return CachePolicy::Nocache;
        };
        if file.contents.len() > size_max || !file.spell(text.str(text.path)) {
            return CachePolicy::Nocache;
        }
        if self.deadlines.get(Timer::FileWatch).is_none() {
            self.deadlines.set(Timer::FileWatch, now + FRESH);
        }
        timed.map_or(CachePolicy::UserInvalidates, CachePolicy::TimeToLive)
    }

    /// Drops all files of an application.
    pub(super) fn forget_files_of(&mut self, application: UrlContext) {
        self.lost(CacheLayer::File, self.files.entries_of(application));
        for key in self.files.keys_of(application) {
            self.forget_file(&key);
        }
    }

    /// Makes the headers of an application's kept files anew, as its settings are now. The files of its folders, and
    /// those that it does not serve any more, are dropped: another document may stand for a folder now.
    ///
    /// Source: .NET reference source, `HttpRuntime`: another web.config restarts the application in its process,
    /// whose native caches know nothing of that. Assumed: what they keep of a file is what lies on the disk.
    pub(super) fn dress_files_of(&mut self, application: &Application) {
        for key in self.files.keys_of(application.url_context) {
            let settings = application.settings_at(&key.1);
            let mime = static_file::mime_type(&settings.mime_map, &key.1);
            if let Some(mime) = mime.filter(|_| !key.1.ends_with('/')) {
                self.files.dress(&key, |stamp, length| {
                    static_file::headers(mime, &settings.client_cache, stamp, length)
                });
            } else {
                let dropped = self.files.entry(&key);
                self.lost(CacheLayer::File, dropped.into_iter().collect());
                self.forget_file(&key);
            }
        }
    }

    /// Drops a file from the cache, and from the driver's.
    fn forget_file(&mut self, key: &(UrlContext, Box<str>)) {
        if let Some((entry, spellings)) = self.files.remove(key) {
            self.removed(CacheLayer::File, vec![entry]);
            for url in spellings {
                let queue = RequestQueueName(self.pool.clone());
                self.call(ControlCall::FlushResponseCache {
                    queue,
                    url: Some(url),
                    recursive: false,
                });
            }
        }
    }

    /// Compares files that the driver keeps with the disk: no request will, because none arrives.
    pub(super) fn watch_files(&mut self, now: Instant) {
        for _ in 0..WATCHED_MAX {
            let Some((key, stamp)) = self.files.next_watched(now) else {
                break;
            };
            let application = self.domains[&key.0].application.clone();
            let Some(place) = default_document::place(&application, &key.1) else {
                continue;
            };
            let root = place.directory.physical_path.clone();
            let read = Work::ReadFile {
                root,
                candidates: vec![place.relative],
                unless: Some((0, stamp)),
            };
            self.start_work(read, Doer::Watch(key));
        }
        if self.files.is_watched() {
            self.deadlines.set(Timer::FileWatch, now + FRESH);
        }
    }

    /// A file that the driver keeps was compared with the disk.
    pub(super) fn watched(
        &mut self,
        key: &(UrlContext, Box<str>),
        file: &FileOutcome,
        now: Instant,
    ) {
        if *file != FileOutcome::Unchanged {
            self.forget_file(key);
        } else if let Some(cached) = self.files.get(key, now) {
            cached.checked = now;
        }
    }
}

/// What follows an application's path in a request's; `None` if it lies elsewhere.
pub(super) fn below<'a>(application: &str, path: &'a str) -> Option<&'a str> {
    let application = application.trim_end_matches('/');
    let (head, rest) = path.split_at_checked(application.len())?;
    let is_it =
        head.eq_ignore_ascii_case(application) || head.to_lowercase() == application.to_lowercase();
    (is_it && (rest.is_empty() || rest.starts_with(['/', '\\']))).then_some(rest)
}

/// A path as pages and files are looked up: lower case, and with slashes.
pub(super) fn lower_case_with_slashes(path: &str) -> Cow<'_, str> {
    let is_so = |b: u8| b.is_ascii() && !b.is_ascii_uppercase() && b != b'\\';
    if path.bytes().all(is_so) {
        return Cow::Borrowed(path);
    }
    Cow::Owned(path.to_lowercase().replace('\\', "/"))
}

/// Source: IIS, OPTIONS on a static file: `Allow` and `Public`, 200, no body.
fn options() -> Reply {
    const VERBS: &str = "OPTIONS, TRACE, GET, HEAD, POST";
    let headers = format!("Allow: {VERBS}\r\n{SERVER}Public: {VERBS}\r\nContent-Length: 0\r\n");
    Reply {
        status: 200,
        substatus: 0,
        headers: headers.into(),
        body: bytes::Bytes::new(),
        policy: CachePolicy::Nocache,
    }
}

/// A folder without its slash: the "courtesy redirect" of IIS, 301 to the same with a slash.
pub(super) fn redirect(context: &HttpContext) -> Reply {
    let text = &context.request.text;
    let raw = text.str(text.raw_url);
    let raw = raw.split(['?', '#']).next().unwrap_or(raw);
    let path = match raw.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("", |slash| &rest[slash..]),
        None => raw,
    };
    let path = path.trim_start_matches(['/', '\\']);
    let query = if text.query.is_empty() {
        String::new()
    } else {
        format!("?{}", text.str(text.query))
    };
    let host = text
        .header("Host")
        .and_then(|host| str::from_utf8(host).ok());
    let sane = |host: &&str| {
        host.bytes()
            .all(|b| b.is_ascii_alphanumeric() || b".-_:[]".contains(&b))
    };
    let scheme = if context.request.secure {
        "https"
    } else {
        "http"
    };
    let base = host
        .filter(sane)
        .map(|host| format!("{scheme}://{host}"))
        .unwrap_or_default();
    let location = format!("{base}/{path}/{query}");
    if location.bytes().any(|b| !(0x21..=0x7E).contains(&b)) {
        return custom_error::reply(&Refusal::new(404, 0), "");
    }
    let body = format!(
        "<head><title>Document Moved</title></head>\n<body><h1>Object Moved</h1>This document may be found \
         <a HREF=\"{}\">here</a></body>",
        custom_error::escape(&location),
    );
    let headers = format!(
        "Content-Type: text/html; charset=UTF-8\r\nLocation: {location}\r\n{SERVER}Content-Length: {}\r\n",
        body.len()
    );
    Reply {
        status: 301,
        substatus: 0,
        headers: headers.into(),
        body: body.into(),
        policy: CachePolicy::Nocache,
    }
}
