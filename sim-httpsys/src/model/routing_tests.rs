//! Tests of routing: published routes, odd branches, and a slow linear search as the judge.

use proptest::prelude::*;

use super::*;

fn registration(number: u64) -> Registration {
    Registration {
        group: UrlGroupId(number),
        context: UrlContext(number),
    }
}

fn table(urls: &[&str]) -> RoutingTable {
    let mut table = RoutingTable::default();
    for (number, url) in (0..).zip(urls) {
        table
            .add(UrlPrefix::parse(url).unwrap(), registration(number))
            .unwrap();
    }
    table
}

fn by<'a>(host: &'a str, path: &'a str) -> RouteBy<'a> {
    RouteBy {
        secure: false,
        port: 80,
        local: None,
        host,
        path,
    }
}

#[test]
fn every_published_route_is_found() {
    for line in include_str!("../../tests/vectors/routing.jsonl").lines() {
        let vector: serde_json::Value = serde_json::from_str(line).unwrap();
        let id = &vector["id"];
        if let Some(url) = vector["register"].as_str() {
            let refused = UrlPrefix::parse(url).err().map(|error| error as u32);
            let expected = vector["expect"].as_str().unwrap();
            assert!(
                refused.is_some_and(|n| expected.ends_with(&format!("({n})"))),
                "{id}"
            );
            continue;
        }
        let mut table = RoutingTable::default();
        let mut names = Vec::new();
        for (name, url) in vector["registrations"].as_object().unwrap() {
            let prefix = UrlPrefix::parse(url.as_str().unwrap()).unwrap();
            if name == "RESERVED" {
                table.reserve(prefix).unwrap();
            } else {
                table.add(prefix, registration(names.len() as u64)).unwrap();
                names.push(name.as_str());
            }
        }
        let request = &vector["request"];
        let local = request["local_ip"].as_str().map(|ip| ip.parse().unwrap());
        let route = table.route(RouteBy {
            secure: request["secure"].as_bool().unwrap_or(false),
            port: request["port"]
                .as_u64()
                .map_or(80, |port| u16::try_from(port).unwrap()),
            local,
            host: request["host"].as_str().unwrap_or(""),
            path: request["path"].as_str().unwrap(),
        });
        match route {
            Route::To(to) => {
                let winner = names[usize::try_from(to.context.0).unwrap()];
                assert_eq!(vector["winner"], winner, "{id}");
            }
            Route::NoHost => assert_eq!(vector["winner"], 400, "{id}"),
            Route::NoPath => assert_eq!(vector["winner"], 404, "{id}"),
            Route::ReservedOnly => assert_eq!(vector["winner"], 503, "{id}"),
        }
    }
}

#[test]
fn a_path_matches_by_whole_segments() {
    let table = table(&["http://a:80/dir/sna/"]);
    assert_eq!(table.route(by("a", "/dir/sna")), Route::To(registration(0)));
    assert_eq!(table.route(by("a", "/dir/snafoo")), Route::NoPath);
    assert_eq!(table.route(by("b", "/dir/sna")), Route::NoHost);
}

#[test]
fn wildcard_hosts_match_labels_and_longer_ones_win() {
    let table = table(&[
        "http://*.x.com:80/",
        "http://*.b.x.com:80/",
        "http://a.b.x.com:80/",
        "http://a.b.x.com:80:10.0.0.1/",
    ]);
    assert_eq!(
        table.route(by("A.B.X.com", "/")),
        Route::To(registration(2))
    );
    assert_eq!(
        table.route(by("c.b.x.com", "/")),
        Route::To(registration(1))
    );
    assert_eq!(table.route(by("b.x.com", "/")), Route::To(registration(0)));
    assert_eq!(table.route(by("x.com", "/")), Route::NoHost);
    assert_eq!(table.route(by(".x.com", "/")), Route::NoHost);
    let local = RouteBy {
        local: "10.0.0.1".parse().ok(),
        ..by("a.b.x.com", "/")
    };
    assert_eq!(table.route(local), Route::To(registration(3)));
}

#[test]
fn a_request_without_host_goes_to_a_wildcard() {
    assert_eq!(
        table(&["http://*:80/"]).route(by("", "/")),
        Route::To(registration(0))
    );
    assert_eq!(table(&["http://a:80/"]).route(by("", "/")), Route::NoHost);
}

#[test]
fn options_of_the_whole_server_go_to_the_root() {
    assert_eq!(
        table(&["http://*:80/"]).route(by("a", "")),
        Route::To(registration(0))
    );
}

#[test]
fn a_reservation_hides_what_lies_below_until_it_is_used() {
    let mut table = table(&["http://*:80/"]);
    let reserved = UrlPrefix::parse("http://+:80/app/").unwrap();
    table.reserve(reserved.clone()).unwrap();
    assert_eq!(
        table.reserve(reserved.clone()),
        Err(Win32Error::AlreadyExists)
    );
    assert_eq!(table.route(by("a", "/app/x")), Route::ReservedOnly);
    assert_eq!(table.route(by("a", "/")), Route::To(registration(0)));
    table.add(reserved.clone(), registration(7)).unwrap();
    assert_eq!(table.route(by("a", "/app/x")), Route::To(registration(7)));
    table.remove(&reserved, UrlGroupId(7)).unwrap();
    assert_eq!(table.route(by("a", "/app/x")), Route::ReservedOnly);
}

#[test]
fn a_prefix_is_registered_once_and_removed_by_its_owner() {
    let mut table = table(&["http://a:80/"]);
    let prefix = UrlPrefix::parse("http://A:80/").unwrap();
    assert_eq!(
        table.add(prefix.clone(), registration(1)),
        Err(Win32Error::AlreadyExists)
    );
    assert_eq!(
        table.remove(&prefix, UrlGroupId(1)),
        Err(Win32Error::FileNotFound)
    );
    assert_eq!(table.remove(&prefix, UrlGroupId(0)), Ok(()));
    assert_eq!(
        table.remove(&prefix, UrlGroupId(0)),
        Err(Win32Error::FileNotFound)
    );
    assert!(table.ports.is_empty(), "nothing is left behind");
}

#[test]
fn a_port_carries_one_scheme() {
    let mut table = table(&["http://a:80/"]);
    let secure = UrlPrefix::parse("https://b:80/").unwrap();
    assert_eq!(
        table.add(secure, registration(1)),
        Err(Win32Error::InvalidParameter)
    );
}

/// The same question, asked of every prefix in turn.
fn slowly(entries: &[(UrlPrefix, Option<u64>)], by: RouteBy<'_>) -> Route {
    let host = by.host.to_lowercase();
    let path = format!("{}/", by.path.to_lowercase());
    // The bucket, then how specific the host is within it; smaller is looked at first.
    let rank = |prefix: &UrlPrefix| -> Option<(u32, usize, bool)> {
        match &prefix.host {
            PrefixHost::StrongWildcard => Some((0, 0, false)),
            PrefixHost::Explicit { name, bound } => {
                let here = bound.is_none() || *bound == by.local;
                let exact = *name == host;
                let within = name.strip_prefix('*').is_some_and(|parent| {
                    host.strip_suffix(parent)
                        .is_some_and(|labels| !labels.is_empty())
                });
                let specific = if exact { 0 } else { 1000 - name.len() };
                (here && (exact || within)).then_some((1, specific, bound.is_none()))
            }
            PrefixHost::IpBoundWeakWildcard(address) => {
                (by.local == Some(*address)).then_some((2, 0, false))
            }
            PrefixHost::WeakWildcard => Some((3, 0, false)),
        }
    };
    let known = entries
        .iter()
        .filter(|(p, _)| p.port == by.port && p.secure == by.secure);
    let known: Vec<_> = known
        .filter_map(|(p, to)| Some((rank(p)?, p, to)))
        .collect();
    let covering = known
        .iter()
        .filter(|(_, prefix, _)| path.starts_with(&prefix.path));
    let best = covering
        .min_by_key(|(rank, prefix, to)| (*rank, usize::MAX - prefix.path.len(), to.is_none()));
    match best {
        Some((_, _, Some(to))) => Route::To(registration(*to)),
        Some((_, _, None)) => Route::ReservedOnly,
        None if known.iter().any(|(_, _, to)| to.is_some()) => Route::NoPath,
        None => Route::NoHost,
    }
}

proptest! {
    #[test]
    fn routing_equals_a_slow_linear_search(
        urls in prop::collection::vec(
            ("(\\+|\\*|a|\\*\\.a|(b\\.|\\*\\.)b\\.a|1\\.1\\.1\\.1):80(:1\\.1\\.1\\.[12])?/([xyÄ]/){0,3}", 0..4_u8),
            0..20,
        ),
        requests in prop::collection::vec(
            ("(|A|a|b\\.a|B\\.b\\.a|c\\.b\\.a|1\\.1\\.1\\.1)", "(/[xyXzäÄ]){0,4}/?", 0..3_u8),
            1..20,
        ),
    ) {
        let mut table = RoutingTable::default();
        let mut entries: Vec<(UrlPrefix, Option<u64>)> = Vec::new();
        for (number, (url, kind)) in (0..).zip(&urls) {
            let Ok(prefix) = UrlPrefix::parse(&format!("http://{url}")) else { continue };
            let group = (*kind > 0).then_some(number);
            let done = match group {
                Some(group) => table.add(prefix.clone(), registration(group)),
                None => table.reserve(prefix.clone()),
            };
            let is_new = !entries.iter().any(|(p, to)| *p == prefix && to.is_some() == group.is_some());
            prop_assert_eq!(done.is_ok(), is_new);
            if is_new {
                entries.push((prefix, group));
            }
            if *kind == 3 && number % 2 == 0 {
                let Some((removed, Some(group))) = entries.pop_if(|(_, to)| to.is_some()) else {
                    continue;
                };
                table.remove(&removed, UrlGroupId(group)).unwrap();
            }
        }
        for (host, path, local) in &requests {
            let local = (*local > 0).then(|| IpAddr::from([1, 1, 1, *local]));
            let by = RouteBy { local, ..by(host, path) };
            prop_assert_eq!(table.route(by), slowly(&entries, by), "{:?} {:?}", by, entries);
        }
    }
}
