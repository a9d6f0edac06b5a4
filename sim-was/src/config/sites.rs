//! Sites, their applications and virtual directories, with the defaults of three levels.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use roxmltree::Node;
use sim_worker::configuration::PathSettings;

use super::layers::Layers;
use super::resolve::{INVALID_APPLICATION, INVALID_BINDING, INVALID_DATA, Resolver, section};
use super::schema::DEFAULT_POOL;
use super::sections::Sections;
use super::settings::Scope;
use super::site_log;
use super::web_server::{self, Locations, WebServer};
use super::{
    Application, ApplicationPool, Binding, Configuration, Site, SiteLimits, VirtualDirectory,
    binding,
};

/// The section of the sites.
const SITES: &str = "system.applicationHost/sites";

/// Resolves `system.applicationHost/sites`.
pub(super) fn resolve<'a>(
    resolver: &mut Resolver<'a>,
    sections: &Sections<'a>,
    pools: &[ApplicationPool],
) -> Vec<Site> {
    let all = section(sections, "sites");
    let pools = pools
        .iter()
        .map(|pool| (pool.name.to_lowercase(), pool.name.clone()))
        .collect();
    let entries = all.entries("site", false).0;
    let web_servers = BTreeMap::new();
    let mut builder = Builder {
        resolver,
        sections,
        pools,
        site_defaults: all.nodes_of("siteDefaults"),
        application_defaults: all.nodes_of("applicationDefaults"),
        directory_defaults: all.nodes_of("virtualDirectoryDefaults"),
        web_servers,
    };
    entries
        .iter()
        .filter_map(|entry| builder.site(entry))
        .collect()
}

struct Builder<'r, 'a> {
    resolver: &'r mut Resolver<'a>,
    sections: &'r Sections<'a>,
    /// Names in lower case, and as written.
    pools: BTreeMap<String, String>,
    /// `siteDefaults`, and the server-wide defaults below it.
    site_defaults: Vec<Node<'a, 'a>>,
    application_defaults: Vec<Node<'a, 'a>>,
    directory_defaults: Vec<Node<'a, 'a>>,
    /// What was found for applications with the same locations: mostly the server's own.
    web_servers: BTreeMap<(Locations, String), Rc<WebServer>>,
}

/// What stands for the applications and directories of one site, the most specific first.
struct Defaults<'a> {
    application_defaults: Vec<Node<'a, 'a>>,
    directory_defaults: Vec<Node<'a, 'a>>,
}

impl<'a> Builder<'_, 'a> {
    fn site(&mut self, entry: &Layers<'a>) -> Option<Site> {
        let mut nodes = vec![entry.own()];
        nodes.extend(&self.site_defaults);
        let site = Layers::new(entry.schema(), nodes);
        // A site's name and number are its own, whatever the defaults say.
        let (name, id) = (entry.text("name"), entry.number("id"));
        if id == 0 {
            let text = format!("site '{name}' has the id 0, which is not valid, and is ignored");
            let data = [("SiteName", &*name), ("Reason", "its id 0 is not valid")];
            self.resolver
                .warn_at_with(INVALID_DATA, entry.own().range().start, &text, &data);
            return None;
        }
        let scope = Scope::Site(id);
        let recorder = &mut self.resolver.recorder;
        recorder.object(&scope, SITES, &site, &["application"]);
        let bindings = self.bindings(&name, &site);
        // Once a site, and not for each of its applications: it may have thousands.
        let mut application_defaults = site.nodes_of("applicationDefaults");
        application_defaults.extend(&self.application_defaults);
        let mut directory_defaults = site.nodes_of("virtualDirectoryDefaults");
        directory_defaults.extend(&self.directory_defaults);
        let defaults = Defaults {
            application_defaults,
            directory_defaults,
        };
        let applications = entry.entries("application", false).0;
        let place = |entry: &Layers<'_>| web_server::place(&name, &entry.text("path"));
        let places = applications.iter().map(place).collect();
        let applications: Vec<_> = applications
            .iter()
            .map(|entry| self.application((&name, &places), id, &defaults, entry))
            .collect();
        if applications
            .iter()
            .all(|application| application.path != "/")
        {
            let text = format!("site '{name}' has no root application, and cannot start");
            self.resolver
                .warn_at(INVALID_DATA, entry.own().range().start, &text);
        }
        Some(Site {
            id,
            fault: self.resolver.fault_of(entry.own()),
            server_auto_start: site.flag("serverAutoStart"),
            bindings,
            limits: limits(&site.child("limits")),
            log_file: site_log::of_site(&site.child("logFile")),
            applications,
            name,
        })
    }

    fn bindings(&mut self, site: &str, layers: &Layers<'a>) -> Vec<Binding> {
        let entries = layers.child("bindings").entries("binding", false).0;
        entries
            .iter()
            .filter_map(|entry| self.binding(site, entry))
            .collect()
    }

    /// An http binding that cannot be understood is left out, and the site starts with the others.
    fn binding(&mut self, site: &str, entry: &Layers<'a>) -> Option<Binding> {
        let (protocol, information) = (entry.text("protocol"), entry.text("bindingInformation"));
        let secure = protocol.eq_ignore_ascii_case("https");
        let http = if secure || protocol.eq_ignore_ascii_case("http") {
            match binding::parse(&information, secure) {
                Ok(http) => Some(http),
                Err(why) => {
                    let text = format!(
                        "the {protocol} binding '{information}' of site '{site}' is ignored, because {why}"
                    );
                    let whole = format!("{protocol}/{information}");
                    let data = [("SiteName", site), ("Binding", &whole), ("Reason", &why)];
                    let at = entry.own().range().start;
                    self.resolver
                        .warn_at_with(INVALID_BINDING, at, &text, &data);
                    return None;
                }
            }
        } else {
            None
        };
        Some(Binding {
            protocol,
            information,
            ssl_flags: entry.number("sslFlags"),
            http,
        })
    }

    fn application(
        &mut self,
        (site, others): (&str, &BTreeSet<String>),
        id: u32,
        defaults: &Defaults<'a>,
        entry: &Layers<'a>,
    ) -> Application {
        let mut nodes = vec![entry.own()];
        nodes.extend(&defaults.application_defaults);
        let layers = Layers::new(entry.schema(), nodes);
        let path = entry.text("path");
        let at = entry.own().range().start;
        let scope = Scope::Application(id, path.clone());
        let recorder = &mut self.resolver.recorder;
        recorder.object(&scope, SITES, &layers, &["virtualDirectory"]);
        let application_pool = self.pool(&format!("'{path}' of site '{site}'"), &layers, at);
        let mut directory_defaults = entry.nodes_of("virtualDirectoryDefaults");
        directory_defaults.extend(&defaults.directory_defaults);
        let directories = entry.entries("virtualDirectory", false).0;
        let virtual_directories: Vec<_> = directories
            .iter()
            .map(|directory| {
                let mut nodes = vec![directory.own()];
                nodes.extend(&directory_defaults);
                let layers = Layers::new(entry.entry_schema("virtualDirectory"), nodes);
                let own_path = directory.text("path");
                let scope = Scope::VirtualDirectory(id, path.clone(), own_path.clone());
                let recorder = &mut self.resolver.recorder;
                recorder.object(&scope, SITES, &layers, &[]);
                VirtualDirectory {
                    path: own_path,
                    physical_path: layers.text("physicalPath"),
                    allow_sub_dir_config: layers.flag("allowSubDirConfig"),
                }
            })
            .collect();
        if virtual_directories
            .iter()
            .all(|directory| directory.path != "/")
        {
            let text =
                format!("application '{path}' of site '{site}' has no root virtual directory");
            self.resolver.warn_at(INVALID_APPLICATION, at, &text);
        }
        let web_server = self.web_server(site, &path, "");
        let settings = self.settings(site, &path, "");
        let paths = self.paths(site, &path, &settings, others);
        Application {
            application_pool,
            enabled_protocols: layers.text("enabledProtocols"),
            preload_enabled: layers.flag("preloadEnabled"),
            auto_start: layers.flag("serviceAutoStartEnabled")
                && !layers.text("serviceAutoStartProvider").is_empty(),
            virtual_directories,
            web_configs: Vec::new(),
            initialization: web_server.initialization.clone(),
            concurrent_requests_max: web_server.concurrent_requests_max,
            session_state: web_server.session_state,
            settings,
            paths,
            path,
        }
    }

    /// What holds for an application, or for a path below it, and why it cannot be used there.
    fn settings(&mut self, site: &str, application: &str, below: &str) -> PathSettings {
        let web_server = self.web_server(site, application, below);
        let locations = web_server::locations(site, &format!("{application}{below}"));
        let fault = self.sections.fault(&locations);
        let of_host = self.resolver.request_fault(&locations);
        let error = of_host.or(fault).map(str::to_owned);
        if let Some(fault) = fault {
            let text = format!("{fault}; IIS answers requests here with 500.19");
            self.resolver.warn(INVALID_DATA, text);
        }
        PathSettings {
            error,
            ..web_server.settings.clone()
        }
    }

    /// Where something else holds below an application, but not in one of the `others` of its site.
    fn paths(
        &mut self,
        site: &str,
        application: &str,
        settings: &PathSettings,
        others: &BTreeSet<String>,
    ) -> BTreeMap<String, PathSettings> {
        let place = web_server::place(site, application);
        let mut locations = self.sections.below(&place);
        locations.extend(self.resolver.mistakes_below(&place));
        let mut paths = BTreeMap::<String, PathSettings>::new();
        for location in locations {
            let below = &location[place.len()..];
            let mut on_the_way = web_server::locations("", below).into_iter();
            let is_elsewhere =
                on_the_way.any(|at| !at.is_empty() && others.contains(&format!("{place}{at}")));
            if is_elsewhere {
                continue;
            }
            let found = self.settings(site, application.trim_end_matches('/'), below);
            let mut above = web_server::locations("", below).into_iter().skip(1);
            let around = above.find_map(|at| paths.get(&at)).unwrap_or(settings);
            if found != *around {
                paths.insert(below.to_owned(), found);
            }
        }
        paths
    }

    fn web_server(&mut self, site: &str, application: &str, below: &str) -> Rc<WebServer> {
        let place = web_server::place(site, application);
        let mut locations = web_server::locations(site, &format!("{application}{below}"));
        locations.retain(|location| self.sections.has(location));
        let whose = if self.sections.has_own() {
            place.clone()
        } else {
            String::new()
        };
        let key = (locations, whose);
        if let Some(known) = self.web_servers.get(&key) {
            return Rc::clone(known);
        }
        let found = Rc::new(WebServer::of(self.sections, key.0.clone(), &place));
        self.web_servers.insert(key, Rc::clone(&found));
        found
    }

    /// The pool by the name that it has itself: names are compared without case.
    fn pool(&mut self, application: &str, layers: &Layers<'a>, at: usize) -> String {
        let written = match layers.text("applicationPool") {
            name if name.is_empty() => DEFAULT_POOL.to_owned(),
            name => name,
        };
        if let Some(name) = self.pools.get(&written.to_lowercase()) {
            return name.clone();
        }
        let text = format!(
            "application {application} belongs to application pool '{written}', which does not \
             exist; the application is ignored"
        );
        self.resolver.warn_at(INVALID_APPLICATION, at, &text);
        written
    }
}

/// Source: IIS schema: 4294967295 is the default of maxBandwidth and maxConnections, and means no
/// limit.
fn limits(limits: &Layers<'_>) -> SiteLimits {
    let unless_unlimited = |name| Some(limits.number(name)).filter(|&n| n != u32::MAX);
    SiteLimits {
        max_bandwidth: unless_unlimited("maxBandwidth"),
        max_connections: unless_unlimited("maxConnections"),
        connection_timeout: limits.time("connectionTimeout"),
        max_url_segments: limits.number("maxUrlSegments"),
    }
}

impl Configuration {
    /// Why a site cannot be started, if it cannot: it breaks the schema, has no root application or one whose
    /// pool there is not, or no binding that is valid.
    ///
    /// Assumed: so it is stopped also if it comes to that while it runs; W3SVC could register none of its URLs.
    pub fn obstacle(&self, site: &Site) -> Option<String> {
        let name = &site.name;
        if let Some(fault) = &site.fault {
            return Some(fault.clone());
        }
        let mut applications = site.applications.iter();
        let Some(root) = applications.find(|app| app.path == "/") else {
            return Some(format!("site '{name}' has no root application"));
        };
        let wanted = &root.application_pool;
        let mut pools = self.application_pools.iter();
        if !pools.any(|pool| pool.name.eq_ignore_ascii_case(wanted)) {
            return Some(format!(
                "the root application of site '{name}' belongs to application pool '{wanted}', which does not exist"
            ));
        }
        let no_binding = site.bindings.is_empty();
        no_binding.then(|| format!("site '{name}' has no valid binding"))
    }
}
