//! What a worker keeps so that it need not be done again, and what is gone when the worker is gone:
//! files, finished responses, applications' values, compiled pages. All of it really holds bytes.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use sim_httpsys::api::UrlContext;
use sim_httpsys::clockwork::Instant;
use sim_httpsys::clockwork::mutants::{Mutant, mutated};

use super::FileStamp;
use crate::application::hash;
use crate::configuration::Caching;

/// Largest file that is kept. Source: IIS, `MaxCachedFileSize`: 256 KB.
pub(crate) const FILE_MAX: usize = 256 << 10;
/// How long a kept file is served without a look at the disk.
/// Assumed: IIS is told of changes by the file system; we look at most once a second.
pub(crate) const FRESH: Duration = Duration::from_secs(1);
/// Most bytes of files and of responses that are kept.
/// Assumed: `caching/@maxCacheSize` 0 means "automatic", half of the memory; a bound keeps tests small.
const BYTES_MAX: u64 = 256 << 20;
/// Most URLs whose popularity is remembered.
const URLS_MAX: usize = 65_536;
/// Most spellings of one URL that the driver may keep.
const SPELLINGS_MAX: usize = 16;

/// A kept file.
#[derive(Debug)]
pub(crate) struct CachedFile {
    pub(crate) contents: Bytes,
    pub(crate) stamp: FileStamp,
    /// Which of the candidates (default documents) it was.
    pub(crate) candidate: usize,
    /// Header lines of the whole file with status 200, ready to send.
    pub(crate) headers: Bytes,
    /// When it was last compared with the disk.
    pub(crate) checked: Instant,
    /// The spellings of its URL that the driver was asked to keep.
    pub(crate) kernel: Vec<String>,
    /// When it was last served.
    used: Instant,
}

/// What is known about a URL that was served from a file (`UriCacheModule` and `FileCacheModule`).
#[derive(Debug, Default)]
struct Url {
    since: Instant,
    hits: u32,
    file: Option<CachedFile>,
}

/// Kept files, by application and lower-case path.
#[derive(Debug, Default)]
pub(crate) struct FileCache {
    urls: BTreeMap<(UrlContext, Box<str>), Url>,
    bytes: u64,
    /// Where the watcher of files goes on.
    watched: Option<(UrlContext, Box<str>)>,
}

/// What is stated about an entry that came or went: its key, hashed, and its size.
pub(crate) type Entry = (u64, u64);

impl FileCache {
    /// The bytes of all kept files.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Notes that a URL was asked for: whether it is hot.
    ///
    /// Source: serverRuntime, "frequentHitThreshold: the number of times a URL must be requested,
    /// within the time span of frequentHitTimePeriod, to be considered frequently hit"; 2 in 10 s.
    pub(crate) fn is_hot(
        &mut self,
        key: &(UrlContext, Box<str>),
        caching: &Caching,
        now: Instant,
    ) -> bool {
        if self.urls.len() >= URLS_MAX && !self.urls.contains_key(key) {
            self.urls.retain(|_, url| url.file.is_some());
            if self.urls.len() >= URLS_MAX {
                return false;
            }
        }
        let url = self.urls.entry(key.clone()).or_default();
        if url.hits == 0 || now.saturating_since(url.since) > caching.frequent_hit_time_period {
            url.since = now;
            url.hits = 0;
        }
        url.hits = url.hits.saturating_add(1);
        url.hits >= caching.frequent_hit_threshold
    }

    /// The kept file of a URL.
    pub(crate) fn get(
        &mut self,
        key: &(UrlContext, Box<str>),
        now: Instant,
    ) -> Option<&mut CachedFile> {
        let file = self.urls.get_mut(key)?.file.as_mut()?;
        file.used = now;
        Some(file)
    }

    /// Gives a kept file other headers.
    pub(crate) fn dress(
        &mut self,
        key: &(UrlContext, Box<str>),
        headers: impl FnOnce(FileStamp, usize) -> Bytes,
    ) {
        if let Some(file) = self.urls.get_mut(key).and_then(|url| url.file.as_mut()) {
            file.headers = headers(file.stamp, file.contents.len());
        }
    }

    /// Keeps a file; the entries that had to go for it.
    pub(crate) fn insert(
        &mut self,
        key: &(UrlContext, Box<str>),
        (contents, stamp, candidate, headers): (Bytes, FileStamp, usize, Bytes),
        now: Instant,
    ) -> (Entry, Vec<Entry>) {
        let size = contents.len() as u64;
        let mut gone = Vec::new();
        gone.extend(self.remove(key).map(|(entry, _)| entry));
        while self.bytes + size > BYTES_MAX {
            let used = |(key, url): (&(UrlContext, Box<str>), &Url)| {
                url.file.as_ref().map(|file| (file.used, key.clone()))
            };
            let Some((_, oldest)) = self.urls.iter().filter_map(used).min() else {
                break;
            };
            gone.extend(self.remove(&oldest).map(|(entry, _)| entry));
        }
        self.bytes += size;
        let file = CachedFile {
            contents,
            stamp,
            candidate,
            headers,
            checked: now,
            kernel: Vec::new(),
            used: now,
        };
        self.urls.entry(key.clone()).or_default().file = Some(file);
        ((key_of(key), size), gone)
    }

    /// Drops a kept file: what it was, and the spellings under which the driver may have it.
    pub(crate) fn remove(&mut self, key: &(UrlContext, Box<str>)) -> Option<(Entry, Vec<String>)> {
        let url = self.urls.get_mut(key)?;
        let file = url.file.take()?;
        url.hits = 0;
        self.bytes -= file.contents.len() as u64;
        Some(((key_of(key), file.contents.len() as u64), file.kernel))
    }

    /// The next file that the driver keeps and that should be compared with the disk.
    pub(crate) fn next_watched(
        &mut self,
        now: Instant,
    ) -> Option<((UrlContext, Box<str>), FileStamp)> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = self.watched.take().map_or(Unbounded, Excluded);
        let due = |url: &Url| {
            url.file
                .as_ref()
                .filter(|file| {
                    !file.kernel.is_empty()
                        && now.saturating_since(file.checked) >= FRESH
                        && !mutated(Mutant::FilesNeverChecked)
                })
                .map(|file| file.stamp)
        };
        let found = self
            .urls
            .range((from, Unbounded))
            .find_map(|(key, url)| Some((key.clone(), due(url)?)));
        self.watched = found.as_ref().map(|(key, _)| key.clone());
        found
    }

    /// The URLs of an application that something is known of.
    pub(crate) fn keys_of(&self, application: UrlContext) -> Vec<(UrlContext, Box<str>)> {
        self.urls
            .range(of(application))
            .map(|(key, _)| key.clone())
            .collect()
    }

    /// The kept files of an application.
    pub(crate) fn entries_of(&self, application: UrlContext) -> Vec<Entry> {
        let urls = self.urls.range(of(application));
        urls.filter_map(|(key, _)| self.entry(key)).collect()
    }

    /// A file, if it is kept.
    pub(crate) fn entry(&self, key: &(UrlContext, Box<str>)) -> Option<Entry> {
        let file = self.urls.get(key)?.file.as_ref()?;
        Some((key_of(key), file.contents.len() as u64))
    }

    /// Whether the driver keeps any of the files.
    pub(crate) fn is_watched(&self) -> bool {
        self.urls.values().any(|url| {
            url.file
                .as_ref()
                .is_some_and(|file| !file.kernel.is_empty())
        })
    }
}

impl CachedFile {
    /// Notes a spelling under which the driver is asked to keep it; `false` if there are too many.
    pub(crate) fn spell(&mut self, url: &str) -> bool {
        if self.kernel.iter().any(|known| known == url) {
            return true;
        }
        let room = self.kernel.len() < SPELLINGS_MAX;
        if room {
            self.kernel.push(url.to_owned());
        }
        room
    }
}

fn key_of((application, path): &(UrlContext, Box<str>)) -> u64 {
    hash(path) ^ application.0
}

/// A finished response.
#[derive(Clone, Debug)]
pub(crate) struct CachedResponse {
    pub(crate) headers: Bytes,
    pub(crate) body: Bytes,
    expires: Instant,
}

impl CachedResponse {
    fn size(&self) -> u64 {
        (self.headers.len() + self.body.len()) as u64
    }
}

/// Finished responses (`HttpCacheModule`), by application, path and query.
#[derive(Debug, Default)]
pub(crate) struct OutputCache {
    responses: BTreeMap<(UrlContext, Box<str>), CachedResponse>,
    bytes: u64,
}

impl OutputCache {
    /// The bytes of all kept responses.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The response for a URL, and the entry that was found to be too old.
    pub(crate) fn get(
        &mut self,
        key: &(UrlContext, Box<str>),
        now: Instant,
    ) -> (Option<CachedResponse>, Option<Entry>) {
        match self.responses.get(key) {
            Some(response) if response.expires > now => (Some(response.clone()), None),
            Some(_) => (None, self.remove(key)),
            None => (None, None),
        }
    }

    /// Keeps a response.
    pub(crate) fn insert(
        &mut self,
        key: (UrlContext, Box<str>),
        (headers, body): (Bytes, Bytes),
        expires: Instant,
    ) -> (Option<Entry>, Vec<Entry>) {
        let size = (headers.len() + body.len()) as u64;
        let mut gone = Vec::from_iter(self.remove(&key));
        while self.bytes + size > BYTES_MAX {
            let soonest = self
                .responses
                .iter()
                .min_by_key(|(_, response)| response.expires);
            let Some(soonest) = soonest.map(|(key, _)| key.clone()) else {
                return (None, gone);
            };
            gone.extend(self.remove(&soonest));
        }
        self.bytes += size;
        let entry = (key_of(&key), size);
        // Own bytes: a body that is shared with the page would hold nothing of its own.
        let body = Bytes::copy_from_slice(&body);
        self.responses.insert(
            key,
            CachedResponse {
                headers,
                body,
                expires,
            },
        );
        (Some(entry), gone)
    }

    /// The responses of an application.
    pub(crate) fn entries_of(&self, application: UrlContext) -> Vec<Entry> {
        let responses = self.responses.range(of(application));
        responses
            .map(|(key, response)| (key_of(key), response.size()))
            .collect()
    }

    /// Drops the responses of an application.
    pub(crate) fn forget_application(&mut self, application: UrlContext) -> Vec<Entry> {
        let keys: Vec<_> = self
            .responses
            .range(of(application))
            .map(|(key, _)| key.clone())
            .collect();
        keys.iter().filter_map(|key| self.remove(key)).collect()
    }

    fn remove(&mut self, key: &(UrlContext, Box<str>)) -> Option<Entry> {
        let response = self.responses.remove(key)?;
        let size = response.size();
        self.bytes -= size;
        Some((key_of(key), size))
    }
}

/// What applications keep (`HttpRuntime.Cache`), by application and hashed key.
#[derive(Debug, Default)]
pub(crate) struct ApplicationCaches {
    values: BTreeMap<(UrlContext, u64), (Instant, Vec<u8>)>,
    bytes: u64,
}

impl ApplicationCaches {
    /// The bytes of all values.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether a value is there, and the entry that was found to be too old.
    pub(crate) fn look_up(
        &mut self,
        key: (UrlContext, u64),
        now: Instant,
    ) -> (bool, Option<Entry>) {
        match self.values.get(&key) {
            Some((expires, _)) if *expires > now => (true, None),
            Some(_) => {
                let old = self.values.remove(&key);
                let old = old.map(|(_, bytes)| (key.1, bytes.len() as u64));
                self.bytes -= old.map_or(0, |(_, bytes)| bytes);
                (false, old)
            }
            None => (false, None),
        }
    }

    /// The values of an application are under another number now.
    pub(crate) fn rename(&mut self, from: UrlContext, to: UrlContext) {
        let all = (from, 0)..=(from, u64::MAX);
        let moved: Vec<_> = self.values.extract_if(all, |_, _| true).collect();
        for ((_, key), value) in moved {
            self.values.insert((to, key), value);
        }
    }

    /// The values of an application.
    pub(crate) fn entries_of(&self, application: UrlContext) -> Vec<Entry> {
        let all = (application, 0)..=(application, u64::MAX);
        self.values
            .range(all)
            .map(|((_, key), (_, bytes))| (*key, bytes.len() as u64))
            .collect()
    }

    /// Drops the values of an application.
    pub(crate) fn forget_application(&mut self, application: UrlContext) -> Vec<Entry> {
        let all = (application, 0)..=(application, u64::MAX);
        let gone = self.values.extract_if(all, |_, _| true);
        let gone: Vec<Entry> = gone
            .map(|((_, key), (_, bytes))| (key, bytes.len() as u64))
            .collect();
        self.bytes -= gone.iter().map(|(_, bytes)| bytes).sum::<u64>();
        gone
    }

    /// Keeps a value; the entry that it replaces.
    pub(crate) fn insert(
        &mut self,
        key: (UrlContext, u64),
        bytes: Vec<u8>,
        expires: Instant,
    ) -> Option<Entry> {
        self.bytes += bytes.len() as u64;
        let old = self.values.insert(key, (expires, bytes));
        let old = old.map(|(_, bytes)| (key.1, bytes.len() as u64));
        self.bytes -= old.map_or(0, |(_, bytes)| bytes);
        old
    }
}

/// All paths of an application.
fn of(application: UrlContext) -> std::ops::Range<(UrlContext, Box<str>)> {
    let next = UrlContext(application.0.saturating_add(1));
    (application, Box::default())..(next, Box::default())
}

/// Really holds so many bytes: every page of them is touched.
pub(crate) fn hold(bytes: u64) -> Vec<u8> {
    vec![0x5A; usize::try_from(bytes).expect("sizes are bounded far below the address space")]
}
