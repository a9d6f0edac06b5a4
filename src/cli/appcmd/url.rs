//! URLs as identifiers: `appcmd list app http://localhost/shop`.
//!
//! Source: appcmd: SITE takes "name or id or URL", CONFIG a configuration path or a URL.
//! Assumed: the URL is compared with the bindings as they are written; the most specific one wins.

use sim_was::config::{Configuration, Site};

use super::grammar::Object;

/// The name of the object that serves a URL; `None` if the word is no URL, or nothing serves it.
pub(super) fn name_of(word: &str, object: Object, configuration: &Configuration) -> Option<String> {
    let (scheme, rest) = word.split_once("://")?;
    let secure = match scheme.to_ascii_lowercase().as_str() {
        "http" => false,
        "https" => true,
        _ => return None,
    };
    let rest = rest.split(['?', '#']).next().unwrap_or(rest);
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().ok()?),
        None => (authority, if secure { 443 } else { 80 }),
    };
    let site = site(configuration, secure, host, port)?;
    let path = path.trim_end_matches('/');
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

/// The site that a binding gives the URL to.
fn site<'a>(
    configuration: &'a Configuration,
    secure: bool,
    host: &str,
    port: u16,
) -> Option<&'a Site> {
    let fits = |site: &&'a Site, named: bool| {
        site.bindings
            .iter()
            .filter_map(|b| b.http.as_ref())
            .any(|binding| {
                let host_fits = if named {
                    binding.host.eq_ignore_ascii_case(host)
                } else {
                    binding.host.is_empty()
                };
                binding.secure == secure && binding.port == port && host_fits
            })
    };
    let mut by_name = configuration.sites.iter();
    let mut by_port = configuration.sites.iter();
    by_name
        .find(|site| fits(site, true))
        .or_else(|| by_port.find(|site| fits(site, false)))
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
        let name = |url: &str, object| name_of(url, object, &configuration);
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
}
