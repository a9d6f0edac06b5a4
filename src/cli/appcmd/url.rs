//! URLs as identifiers: `appcmd list app http://localhost/shop`.
//!
//! Source: appcmd: SITE takes "name or id or URL", CONFIG a configuration path or a URL.
//! Assumed: the URL belongs to the site that HTTP.sys would route it to, if every site ran.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sim_httpsys::api::{UrlContext, UrlGroupId};
use sim_httpsys::model::routing::{Registration, Route, RouteBy, RoutingTable};
use sim_httpsys::model::url_path;
use sim_httpsys::model::url_prefix::UrlPrefix;
use sim_was::config::{Configuration, HttpBinding, Site};
use sim_was::model::listener_adapter::url_prefix;

use super::grammar::Object;

/// A word begins like a URL and is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// The name of the object that serves a URL; `None` if the word is no URL of ours, or nothing serves it.
pub(super) fn name_of(
    word: &str,
    object: Object,
    configuration: &Configuration,
) -> Result<Option<String>, Malformed> {
    let Some(url) = Url::parse(word)? else {
        return Ok(None);
    };
    let site = url.site(configuration);
    Ok(site.and_then(|site| named(object, site, url.path.trim_end_matches('/'))))
}

fn named(object: Object, site: &Site, path: &str) -> Option<String> {
    let mut served = site.applications.iter().flat_map(|application| {
        let above = application.path.trim_end_matches('/');
        let directories = application.virtual_directories.iter();
        directories.map(move |directory| (above, directory.path.trim_end_matches('/')))
    });
    Some(match object {
        Object::Site => site.name.clone(),
        Object::Config => format!("{}{path}", site.name),
        Object::App | Object::Vdir => {
            let is_below =
                |(app, directory): &(&str, &str)| is_below(path, &format!("{app}{directory}"));
            let (app, directory) = served
                .by_ref()
                .filter(is_below)
                .max_by_key(|(app, directory)| app.len() + directory.len())?;
            if object == Object::App || directory.is_empty() {
                format!("{}{app}/", site.name)
            } else {
                format!("{}{app}{directory}", site.name)
            }
        }
        Object::AppPool | Object::Wp | Object::Request | Object::Module | Object::Backup => {
            return None;
        }
    })
}

/// A URL, taken apart.
struct Url<'a> {
    secure: bool,
    host: &'a str,
    port: u16,
    path: String,
}

impl<'a> Url<'a> {
    /// `None` if the scheme is not one of HTTP.
    fn parse(word: &'a str) -> Result<Option<Self>, Malformed> {
        let Some((scheme, rest)) = word.split_once("://") else {
            return Ok(None);
        };
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return Ok(None),
        };
        let rest = rest.split(['?', '#']).next().unwrap_or(rest);
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        // A host in brackets has colons itself.
        let host_end = match authority.strip_prefix('[') {
            Some(rest) => rest.find(']').ok_or(Malformed)? + 2,
            None => authority.find(':').unwrap_or(authority.len()),
        };
        let (host, port) = authority.split_at(host_end);
        let port = match port.strip_prefix(':') {
            Some(port) => port.parse().map_err(|_| Malformed)?,
            None if !port.is_empty() => return Err(Malformed),
            None if secure => 443,
            None => 80,
        };
        let is_host = !host.is_empty() && (!host.starts_with('[') || address(host).is_some());
        if !is_host || port == 0 {
            return Err(Malformed);
        }
        let path = url_path::decoded(if path.is_empty() { "/" } else { path });
        Ok(Some(Self {
            secure,
            host,
            port,
            path: path.ok_or(Malformed)?,
        }))
    }

    fn site<'c>(&self, configuration: &'c Configuration) -> Option<&'c Site> {
        let sites = &configuration.sites;
        let mut table = RoutingTable::default();
        for (site, number) in sites.iter().zip(0..) {
            for prefix in
                bindings_of(site).filter_map(|b| UrlPrefix::parse(&url_prefix(b, "/")).ok())
            {
                let to = Registration {
                    group: UrlGroupId(number),
                    context: UrlContext(number),
                };
                // Of two sites with the same binding only the first could run.
                let _ = table.add(prefix, to);
            }
        }
        let by = |local| RouteBy {
            secure: self.secure,
            port: self.port,
            local,
            host: self.host,
            path: &self.path,
        };
        self.locals(sites)
            .into_iter()
            .find_map(|local| match table.route(by(local)) {
                Route::To(to) => sites.get(usize::try_from(to.context.0).ok()?),
                Route::NoHost | Route::NoPath | Route::ReservedOnly => None,
            })
    }

    /// The addresses that it may come in on: an address itself, and those of this machine for `localhost`.
    /// Assumed: another name leads to the address of a binding with this name, else to one that no binding names,
    /// else to any.
    fn locals(&self, sites: &[Site]) -> Vec<Option<IpAddr>> {
        if let Some(address) = address(self.host) {
            return vec![Some(address)];
        }
        if self.host.eq_ignore_ascii_case("localhost") {
            let addresses: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
            return addresses.map(Some).to_vec();
        }
        let bound = sites
            .iter()
            .flat_map(bindings_of)
            .filter(|binding| binding.address.is_some());
        let (own, others): (Vec<_>, Vec<_>) =
            bound.partition(|binding| binding.host.eq_ignore_ascii_case(self.host));
        let addresses = |binding: &HttpBinding| binding.address;
        let own = own.into_iter().map(addresses);
        own.chain([None])
            .chain(others.into_iter().map(addresses))
            .collect()
    }
}

fn bindings_of(site: &Site) -> impl Iterator<Item = &HttpBinding> {
    site.bindings
        .iter()
        .filter_map(|binding| binding.http.as_ref())
}

fn address(host: &str) -> Option<IpAddr> {
    match host.strip_prefix('[') {
        Some(rest) => rest
            .strip_suffix(']')?
            .parse::<Ipv6Addr>()
            .ok()
            .map(IpAddr::V6),
        None => host.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    }
}

/// Whether a path is another one or lies below it, whatever its case.
pub(super) fn is_below(path: &str, above: &str) -> bool {
    let (head, rest) = (path.get(..above.len()), path.get(above.len()..));
    let ends = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    ends && head.is_some_and(|head| head.eq_ignore_ascii_case(above))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"<configuration><system.applicationHost>
        <applicationPools><add name="P" /></applicationPools>
        <sites>
            <applicationDefaults applicationPool="P" />
            <site name="Default" id="1">
                <application path="/"><virtualDirectory path="/" physicalPath="C:\a" />
                    <virtualDirectory path="/images" physicalPath="C:\i" /></application>
                <application path="/Shop"><virtualDirectory path="/" physicalPath="C:\s" /></application>
                <bindings><binding protocol="http" bindingInformation="*:80:" /></bindings>
            </site>
            <site name="Blog" id="2">
                <application path="/"><virtualDirectory path="/" physicalPath="C:\b" /></application>
                <bindings><binding protocol="http" bindingInformation="*:80:blog.example" />
                    <binding protocol="https" bindingInformation="*:8443:" /></bindings>
            </site>
        </sites></system.applicationHost></configuration>"#;

    #[test]
    fn the_most_specific_object_serves_a_url() {
        let configuration = sim_was::config::load(TEXT, "x").expect("it is good");
        let name = |url: &str, object| name_of(url, object, &configuration).expect("it is a URL");
        let is = |url: &str, object, wanted: &str| {
            assert_eq!(name(url, object).as_deref(), Some(wanted), "{url}");
        };
        is("http://localhost/", Object::Site, "Default");
        is("http://BLOG.example/x", Object::Site, "Blog");
        is("https://any:8443", Object::Site, "Blog");
        is(
            "http://localhost/shop/cart?a=1",
            Object::App,
            "Default/Shop/",
        );
        is("http://localhost/shopping", Object::App, "Default/");
        is(
            "http://localhost/images/a.png",
            Object::Vdir,
            "Default/images",
        );
        is("http://localhost/shop", Object::Vdir, "Default/Shop/");
        is(
            "http://localhost/shop/cart",
            Object::Config,
            "Default/shop/cart",
        );
        assert_eq!(name("http://localhost:81/", Object::Site), None);
        assert_eq!(name("Default", Object::Site), None);
    }

    #[test]
    fn a_url_belongs_to_the_site_that_it_is_routed_to() {
        let site = |(id, bindings): (usize, &str)| {
            let bindings = bindings.split(' ').map(|binding| {
                format!("<binding protocol=\"http\" bindingInformation=\"{binding}\" />")
            });
            let bindings = bindings.collect::<Vec<_>>().concat();
            format!(
                "<site name=\"S{id}\" id=\"{id}\"><application path=\"/\" applicationPool=\"P\">\
                 <virtualDirectory path=\"/\" physicalPath=\"C:\\a\" /></application>\
                 <application path=\"/my app\" applicationPool=\"P\">\
                 <virtualDirectory path=\"/\" physicalPath=\"C:\\b\" /></application>\
                 <bindings>{bindings}</bindings></site>"
            )
        };
        let sites = [
            "*:80:",
            "*:80:*.shop.example",
            "127.0.0.1:80:",
            "[::1]:80: [::1]:8080:",
            "*:80:old.shop.example",
            "10.0.0.1:81: 10.0.0.2:80:in.example",
        ];
        let sites = (1..).zip(sites).map(site).collect::<Vec<_>>().concat();
        let text = format!(
            "<configuration><system.applicationHost><applicationPools><add name=\"P\" /></applicationPools>\
             <sites>{sites}</sites></system.applicationHost></configuration>"
        );
        let configuration = sim_was::config::load(&text, "x").expect("it is good");
        for (url, wanted) in [
            ("http://any.example/", Some("S1")),
            ("http://10.0.0.7/", Some("S1")),
            ("http://a.SHOP.example", Some("S2")),
            ("http://a.b.shop.example/x", Some("S2")),
            ("http://shop.example/", Some("S1")),
            ("http://old.shop.example/", Some("S5")),
            ("http://127.0.0.1/", Some("S3")),
            ("http://localhost/", Some("S3")),
            ("http://[::1]/", Some("S4")),
            ("HTTP://[::1]:80", Some("S4")),
            ("http://[::1]:8080/", Some("S4")),
            ("http://localhost:8080/", Some("S4")),
            ("http://10.0.0.1:81/", Some("S6")),
            ("http://10.0.0.9:81/", None),
            ("http://any.example:81/", Some("S6")),
            ("http://in.example/", Some("S6")),
            ("https://any.example:80/", None),
        ] {
            let found = name_of(url, Object::Site, &configuration);
            assert_eq!(found, Ok(wanted.map(str::to_owned)), "{url}");
        }
        let app = name_of("http://x/My%20App/a%2e", Object::App, &configuration);
        assert_eq!(app, Ok(Some("S1/my app/".to_owned())));
        let path = name_of("http://x/a/../b%41", Object::Config, &configuration);
        assert_eq!(path, Ok(Some("S1/bA".to_owned())));
        for bad in [
            "http://",
            "http:///x",
            "https://:80/",
            "http://[::1",
            "http://[x]/",
            "http://a:b/",
            "http://[::1]x/",
            "http://a:0/",
            "http://a/%00",
        ] {
            assert_eq!(
                name_of(bad, Object::Site, &configuration),
                Err(Malformed),
                "{bad}"
            );
        }
        assert_eq!(name_of("ftp://x/", Object::Site, &configuration), Ok(None));
    }
}
