//! What the URLs lead to: by the configuration as it is and as it was, and by what the driver has.

use std::collections::{BTreeMap, BTreeSet};

use sim_httpsys::api::{ControlCall, SiteId, UrlGroupId};
use sim_httpsys::clockwork::Instant;
use sim_was::config::{Configuration, HttpBinding, Site};

use super::book::{Book, PoolIndex};
use super::sites::Wanted;
use super::{Verdict, broken};

/// A site and a pool.
type Owner = (SiteId, PoolIndex);

/// A port and a host.
type Key = (u16, String);

/// All URLs.
#[derive(Debug, Default)]
pub(super) struct Urls {
    /// What each URL leads to, by the configuration as it is and as it was.
    configured: BTreeMap<String, Vec<Owner>>,
    /// By the configuration as it is.
    current: BTreeMap<String, Owner>,
    /// Whose the groups of URLs are that the driver was told of.
    groups: BTreeMap<UrlGroupId, Owner>,
    /// What each URL leads to that the driver was last told to register.
    owners: BTreeMap<String, Owner>,
    /// The first site of the configuration.
    first: Option<SiteId>,
    /// Paths that are registered, by port and host.
    registered: BTreeMap<Key, BTreeMap<String, Owner>>,
    /// Paths of applications that came while the services ran.
    came: BTreeSet<(Key, String)>,
    /// Paths of applications that have gone since.
    gone: BTreeSet<(Key, String)>,
    /// Everything that was registered can be read.
    is_readable: bool,
    /// What the URLs led to that this input removes.
    removed: Vec<Wanted>,
    /// The pool of the first site's root, by port, and since when which one has it on all of them.
    root: BTreeMap<u16, PoolIndex>,
    root_led_to: Vec<(Instant, Option<PoolIndex>)>,
}

/// What a request is for.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) wanted: Wanted,
    /// The application that it is for came while the services ran.
    pub(super) has_come: bool,
    /// A longer path has led to an application that has gone.
    pub(super) has_gone: bool,
}

impl Urls {
    pub(super) fn new(configuration: &Configuration) -> Self {
        Self {
            first: configuration.sites.first().map(|site| SiteId(site.id)),
            is_readable: true,
            ..Self::default()
        }
    }

    /// WAS is given a configuration: the driver may be told of it from now on.
    pub(super) fn take(
        &mut self,
        configuration: &Configuration,
        pool_named: impl Fn(&str) -> Option<PoolIndex>,
    ) {
        let before = std::mem::take(&mut self.current);
        for site in &configuration.sites {
            for (url, name) in urls(site) {
                let Some(pool) = pool_named(name) else {
                    continue;
                };
                let owner = (SiteId(site.id), pool);
                let known = self.configured.entry(url.clone()).or_default();
                if !known.contains(&owner) {
                    known.push(owner);
                }
                if !before.is_empty() && !before.contains_key(&url) {
                    self.came.extend(split(&url));
                }
                self.current.insert(url, owner);
            }
        }
        let current = &self.current;
        let gone = before.keys().filter(|url| !current.contains_key(*url));
        self.gone.extend(gone.filter_map(|url| split(url)));
    }

    /// The first site.
    pub(super) fn first(&self) -> Option<SiteId> {
        self.first
    }

    /// Since when which pool had the root of the first site; none while the driver was being told of a change.
    pub(super) fn root_led_to(&self) -> &[(Instant, Option<PoolIndex>)] {
        &self.root_led_to
    }

    /// N6: the driver is told to have a URL lead where the configuration says, or has said.
    pub(super) fn told(&mut self, book: &Book, call: &ControlCall) -> Verdict {
        match call {
            ControlCall::CreateUrlGroup { group, properties }
            | ControlCall::SetUrlGroupProperties { group, properties } => {
                if let Some(pool) = book.pool_of(&properties.queue) {
                    self.groups.insert(*group, (properties.site, pool));
                }
                Ok(())
            }
            ControlCall::AddUrl { group, url, .. } | ControlCall::MoveUrl { group, url, .. } => {
                let (Some(owner), Some(known)) = (self.groups.get(group), self.configured.get(url))
                else {
                    return Ok(());
                };
                self.owners.insert(url.clone(), *owner);
                if known.contains(owner) {
                    return Ok(());
                }
                let (SiteId(site), pool) = *owner;
                let name = &book.pool(pool).name;
                let what = format!(
                    "the driver is told that {url} leads to site {site} and {name}, which the configuration \
                     never said"
                );
                broken("N6", what)
            }
            _other => Ok(()),
        }
    }

    /// Whether where every request goes can be told.
    pub(super) fn is_readable(&self) -> bool {
        self.is_readable
    }

    /// An exact host comes before any, and among its paths the longest.
    pub(super) fn find(&self, port: u16, host: &str, path: &str) -> Found {
        let host = host.split(':').next().unwrap_or_default();
        let path = format!("{}/", path.to_ascii_lowercase());
        let hosts = [host.to_ascii_lowercase(), "*".to_owned()];
        let found = hosts.into_iter().find_map(|host| {
            let key = (port, host);
            let paths = self.registered.get(&key)?;
            let fitting = paths.iter().filter(|(prefix, _)| path.starts_with(*prefix));
            let (prefix, owner) = fitting.max_by_key(|(prefix, _)| prefix.len())?;
            Some((key, prefix, *owner))
        });
        let Some((key, prefix, (site, pool))) = found else {
            return Found {
                wanted: Wanted::Nowhere,
                has_come: false,
                has_gone: false,
            };
        };
        let mut gone = self.gone.iter();
        let is_below = |other: &str| other.len() > prefix.len() && path.starts_with(other);
        Found {
            wanted: Wanted::To(site, pool, prefix.len()),
            has_gone: gone.any(|(of, other)| *of == key && is_below(other)),
            has_come: !self.came.is_empty() && self.came.contains(&(key, prefix.clone())),
        }
    }

    /// A URL is registered.
    pub(super) fn add(&mut self, url: &str, now: Instant) {
        let (Some((key, path)), Some(&owner)) = (split(url), self.owners.get(url)) else {
            self.is_readable = false;
            return;
        };
        if Some(owner.0) == self.first && path == "/" {
            self.root.insert(key.0, owner.1);
            let mut pools = self.root.values();
            let first = pools.next().copied();
            let only = first.filter(|first| pools.all(|pool| pool == first));
            if self.root_led_to.last().map(|(_, pool)| *pool) != Some(only) {
                self.root_led_to.push((now, only));
            }
        }
        self.registered.entry(key).or_default().insert(path, owner);
    }

    /// A URL goes.
    pub(super) fn remove(&mut self, url: &str) {
        if let Some((key, path)) = split(url)
            && let Some(paths) = self.registered.get_mut(&key)
        {
            let owner = paths.remove(&path);
            let owner = owner.map(|(site, pool)| Wanted::To(site, pool, path.len()));
            self.removed.extend(owner);
        }
    }

    /// What the URLs led to that went with this input, and that no other leads to.
    pub(super) fn take_removed(&mut self) -> Vec<Wanted> {
        let mut removed = std::mem::take(&mut self.removed);
        removed.retain(|gone| !self.leads_to(*gone));
        removed
    }

    /// Whether a URL that is registered leads there.
    pub(super) fn leads_to(&self, wanted: Wanted) -> bool {
        let mut paths = self.registered.values().flatten();
        paths.any(|(path, (site, pool))| wanted == Wanted::To(*site, *pool, path.len()))
    }

    /// Whether the configuration has a URL no more that has led there, and the driver neither.
    pub(super) fn has_left(&self, wanted: Wanted) -> bool {
        let is_it = |(url, (site, pool)): (&String, &Owner)| {
            let path = split(url).map(|(_, path)| path.len());
            path.is_some_and(|path| wanted == Wanted::To(*site, *pool, path))
        };
        let Wanted::To(..) = wanted else {
            return false;
        };
        !self.leads_to(wanted) && !self.current.iter().any(is_it)
    }

    /// N6: everything has come to rest, and the URLs of the sites that are up lead where the configuration says.
    pub(super) fn at_rest(&self) -> Verdict {
        if !self.is_readable {
            return Ok(());
        }
        let mut current: BTreeMap<Key, BTreeMap<String, Owner>> = BTreeMap::new();
        for (url, owner) in &self.current {
            if let Some((key, path)) = split(url) {
                current.entry(key).or_default().insert(path, *owner);
            }
        }
        let owners = self.registered.values().flat_map(BTreeMap::values);
        let up: BTreeSet<SiteId> = owners.map(|(site, _)| *site).collect();
        for paths in current.values_mut() {
            paths.retain(|_, (site, _)| up.contains(site));
        }
        current.retain(|_, paths| !paths.is_empty());
        let mut registered = self.registered.clone();
        registered.retain(|_, paths| !paths.is_empty());
        if registered == current {
            return Ok(());
        }
        let what = format!("the driver has {registered:?}, and the configuration says {current:?}");
        broken("N6", what)
    }
}

/// The port and the host of a URL, and its path.
fn split(url: &str) -> Option<(Key, String)> {
    let (_, rest) = url.split_once("://")?;
    let (authority, path) = rest.split_at(rest.find('/')?);
    let (host, port) = authority.split_once(':')?;
    let host = host.to_ascii_lowercase();
    Some(((port.parse().ok()?, host), path.to_ascii_lowercase()))
}

/// The URLs of a site that the checker reads, and their pools.
fn urls(site: &Site) -> Vec<(String, &str)> {
    let bindings = site.bindings.iter().filter_map(|b| b.http.as_ref());
    let plain = |binding: &&HttpBinding| binding.address.is_none() && !binding.host.contains('*');
    let of_binding = |binding: &HttpBinding| {
        let scheme = if binding.secure { "https" } else { "http" };
        let host = Some(binding.host.as_str()).filter(|host| !host.is_empty());
        format!("{scheme}://{}:{}", host.unwrap_or("*"), binding.port)
    };
    let begins = bindings.filter(plain).map(of_binding);
    let of_begin = |begin: String| {
        let applications = site.applications.iter();
        applications.map(move |application| {
            let path = application.path.trim_matches('/');
            let slash = if path.is_empty() { "" } else { "/" };
            let pool = application.application_pool.as_str();
            (format!("{begin}/{path}{slash}"), pool)
        })
    };
    begins.flat_map(of_begin).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registered(urls: &[(&str, u32)]) -> Urls {
        let mut all = Urls::new(&Configuration::default());
        for (url, number) in urls {
            let owner = (SiteId(*number), PoolIndex(0));
            all.owners.insert((*url).to_owned(), owner);
            all.add(url, Instant::SWITCHED_ON);
        }
        all
    }

    #[test]
    fn an_exact_host_comes_before_any_and_a_longer_path_before_a_shorter() {
        let mut urls = registered(&[
            ("http://*:80/", 1),
            ("http://*:80/shop/", 2),
            ("http://two.test:80/", 3),
        ]);
        let to = |number, path: &str| Wanted::To(SiteId(number), PoolIndex(0), path.len());
        let find = |urls: &Urls, port, host: &str, path: &str| urls.find(port, host, path).wanted;
        assert_eq!(find(&urls, 80, "one.test", "/default.aspx"), to(1, "/"));
        assert_eq!(find(&urls, 80, "one.test:80", "/Shop"), to(2, "/shop/"));
        assert_eq!(find(&urls, 80, "one.test", "/shopping"), to(1, "/"));
        let below = find(&urls, 80, "TWO.test", "/shop/default.aspx");
        assert_eq!(below, to(3, "/"));
        assert_eq!(find(&urls, 81, "two.test", "/"), Wanted::Nowhere);
        urls.remove("http://two.test:80/");
        assert_eq!(find(&urls, 80, "two.test", "/shop/x"), to(2, "/shop/"));
    }

    #[test]
    fn of_a_url_that_is_not_read_nothing_is_said() {
        let mut urls = registered(&[("http://*:80/", 1)]);
        urls.add("http://10.0.0.1:80:10.0.0.1/", Instant::SWITCHED_ON);
        assert!(!urls.is_readable);
    }

    #[test]
    fn what_stays_registered_and_is_configured_no_more_is_broken() {
        let mut urls = registered(&[("http://*:80/", 1), ("http://*:80/shop/", 1)]);
        let owner = (SiteId(1), PoolIndex(0));
        urls.current.insert("http://*:80/".to_owned(), owner);
        // A site that is not up.
        let elsewhere = (SiteId(2), PoolIndex(0));
        urls.current.insert("http://*:81/".to_owned(), elsewhere);
        assert!(urls.at_rest().is_err());
        urls.remove("http://*:80/shop/");
        assert_eq!(urls.at_rest(), Ok(()));
        urls.current
            .insert("http://*:80/".to_owned(), (SiteId(1), PoolIndex(1)));
        assert!(urls.at_rest().is_err());
    }

    #[test]
    fn while_the_ports_of_the_first_site_differ_nobody_has_its_root() {
        let mut urls = registered(&[]);
        urls.first = Some(SiteId(1));
        let mut add = |at, port: u16, pool| {
            let url = format!("http://*:{port}/");
            urls.owners
                .insert(url.clone(), (SiteId(1), PoolIndex(pool)));
            urls.add(&url, Instant(at));
        };
        add(1, 80, 0);
        add(2, 443, 0);
        add(3, 80, 1);
        add(4, 443, 1);
        let pools = urls.root_led_to().iter();
        let pools: Vec<_> = pools.map(|(at, pool)| (at.0, pool.map(|p| p.0))).collect();
        assert_eq!(pools, [(1, Some(0)), (3, None), (4, Some(1))]);
    }
}
