//! applicationHost.config as machines in the wild have it: it loads, or it is refused with a reason.

mod faults_in_parts;
mod hostile;
mod warnings;

use std::time::Duration;

use sim_httpsys::api::{LogFields, LogPeriod};
use sim_was::config::default_config::DEFAULT_CONFIG;
use sim_was::config::{Application, Configuration, CpuAction, Site, WebLimits, load, load_bytes};
use sim_worker::configuration::{Caching, ProfilePolicy};
use sim_worker::ipm::RecycleReason;

const NAME: &str = "applicationHost.config";

fn good(text: &str) -> Configuration {
    load(text, NAME).unwrap_or_else(|error| panic!("{error}"))
}

/// What is wrong with a text, as a whole or in one pool or site.
fn refusal(text: &str) -> String {
    match load(text, NAME) {
        Err(error) => error.to_string(),
        Ok(configuration) => {
            let mut faults = configuration.faults();
            faults.next().expect("must be refused").1.to_owned()
        }
    }
}

/// The texts for 0 to `count`.
fn many(count: usize, text: impl Fn(usize) -> String) -> String {
    (0..count).map(text).collect::<Vec<_>>().concat()
}

/// A file with these pools and sites.
fn host(pools: &str, sites: &str) -> String {
    format!(
        "<configuration><system.applicationHost><applicationPools>{pools}</applicationPools>\
         <sites>{sites}</sites></system.applicationHost></configuration>"
    )
}

fn site(inner: &str) -> String {
    format!(
        r#"<site name="S" id="1"><application path="/"><virtualDirectory path="/" physicalPath="C:\s"/></application>{inner}</site>"#
    )
}

fn warnings(configuration: &Configuration) -> Vec<(u16, &str)> {
    configuration
        .warnings
        .iter()
        .map(|w| (w.event, w.text.as_str()))
        .collect()
}

fn events(configuration: &Configuration) -> Vec<u16> {
    configuration.warnings.iter().map(|w| w.event).collect()
}

fn named<'c>(configuration: &'c Configuration, site: &str) -> &'c Site {
    configuration
        .sites
        .iter()
        .find(|s| s.name == site)
        .expect("the site is there")
}

#[test]
fn a_2022_server_loads_without_a_warning() {
    let configuration = good(include_str!("server2022.config"));
    assert_eq!(configuration.warnings, []);
    let pool = &configuration.application_pools[2];
    assert_eq!(pool.name, "Shop");
    assert!(pool.always_running && pool.failure.tcp_level && pool.process_model.idle_suspend);
    assert_eq!(
        (pool.queue_length, pool.process_model.max_processes),
        (5000, 2)
    );
    assert_eq!(
        pool.managed_runtime_version, "",
        "an empty text beats the defaults"
    );
    assert_eq!(
        pool.process_model.shutdown_time_limit,
        Duration::from_secs(30),
        "from the defaults"
    );
    assert_eq!(
        pool.recycling.log_event_on_recycle,
        [RecycleReason::Time, RecycleReason::Schedule]
    );
    let half_hours = |n: u64| Duration::from_secs(n * 1800);
    assert_eq!(
        pool.recycling.periodic_restart.schedule,
        [half_hours(6), half_hours(31)]
    );
    assert_eq!(pool.recycling.periodic_restart.private_memory_kb, 2_097_152);
    assert_eq!(
        (pool.cpu.limit, pool.cpu.action),
        (50_000, CpuAction::Throttle)
    );
    assert_eq!(pool.environment["ASPNETCORE_ENVIRONMENT"], "Production");
    assert!(configuration.application_pools[1].classic);
    assert_eq!(configuration.web_limits.demand_start_threshold, 100);

    let first = named(&configuration, "Default Web Site");
    assert!(!first.server_auto_start);
    assert_eq!(first.bindings.len(), 4);
    assert_eq!(
        first.bindings.iter().filter(|b| b.http.is_some()).count(),
        1
    );

    let shop = named(&configuration, "Shop");
    assert_eq!(
        shop.applications[0].application_pool, "Shop",
        "names are compared without case"
    );
    assert!(shop.applications[0].preload_enabled);
    assert!(
        shop.applications[1].preload_enabled,
        "from the site's applicationDefaults"
    );
    assert_eq!(shop.applications[0].virtual_directories[1].path, "/media");
    assert_eq!(shop.limits.max_connections, Some(1000));
    assert_eq!(shop.log_file.settings.fields, LogFields(1 | 2 | 256));
    assert_eq!(shop.log_file.settings.period, LogPeriod::Hourly);
    let hosts: Vec<_> = shop
        .bindings
        .iter()
        .filter_map(|b| b.http.as_ref())
        .collect();
    assert_eq!(
        (hosts[0].secure, hosts[0].host.as_str()),
        (true, "shop.contoso.com")
    );
    assert_eq!(hosts[1].address, Some("::1".parse().unwrap()));
    assert_eq!(hosts[2].host, "*.contoso.com");
    assert_eq!(
        shop.applications[0].settings.mime_map[".html"], "text/html",
        "extensions are lower case"
    );
}

#[test]
fn a_2012_r2_server_with_exchange_sharepoint_and_ftp_loads_without_a_warning() {
    let configuration = good(include_str!("server2012r2-ftp.config"));
    assert_eq!(configuration.warnings, []);
    assert_eq!(
        (
            configuration.application_pools.len(),
            configuration.sites.len()
        ),
        (6, 3)
    );
    let ftp = named(&configuration, "Ftp Upload");
    assert!(ftp.bindings.iter().all(|b| b.http.is_none()));
    assert_eq!(
        named(&configuration, "SharePoint Web Services").id,
        1_894_932_415
    );
}

#[test]
fn the_configuration_of_iis_express_loads_without_a_warning() {
    let configuration = good(include_str!("iisexpress.config"));
    assert_eq!(configuration.warnings, []);
    let hosts: Vec<_> = configuration.sites[0]
        .bindings
        .iter()
        .map(|b| b.http.clone().unwrap().host)
        .collect();
    assert_eq!(hosts, ["localhost", ""]);
}

#[test]
fn a_byte_order_mark_crlf_and_utf_16_make_no_difference() {
    let plain = good(DEFAULT_CONFIG);
    assert_eq!(
        load_bytes(include_bytes!("bom-crlf.config"), NAME),
        Ok(plain.clone())
    );
    assert_eq!(good(&format!("\u{feff}{DEFAULT_CONFIG}")), plain);
    let wide = DEFAULT_CONFIG.replace("UTF-8", "UTF-16");
    let little: Vec<u8> = [0xFF, 0xFE]
        .into_iter()
        .chain(wide.encode_utf16().flat_map(u16::to_le_bytes))
        .collect();
    let big: Vec<u8> = [0xFE, 0xFF]
        .into_iter()
        .chain(wide.encode_utf16().flat_map(u16::to_be_bytes))
        .collect();
    assert_eq!(load_bytes(&little, NAME), Ok(plain.clone()));
    assert_eq!(load_bytes(&big, NAME), Ok(plain));
}

#[test]
fn locations_hold_for_the_applications_below_them() {
    let configuration = good(include_str!("locations.config"));
    let [root, app, deep] = configuration.sites[0].applications.as_slice() else {
        panic!()
    };
    assert_eq!(
        root.settings.default_documents,
        ["index.html", "default.aspx"]
    );
    assert_eq!(root.settings.caching.max_response_size, 1000);
    assert!(
        root.settings.caching.enabled,
        "a location below an application is not its own"
    );
    assert_eq!(root.settings.caching.profiles[0].extension, ".php");
    assert_eq!(
        root.settings.caching.profiles[0].kernel_cache_policy,
        ProfilePolicy::CacheForTimePeriod
    );
    assert_eq!(
        app.settings.default_documents,
        ["home.htm", "index.html"],
        "its own come first"
    );
    assert_eq!(app.settings.mime_map[".txt"], "text/x");
    assert!(!app.settings.caching.enabled);
    assert_eq!(
        app.settings.caching.max_response_size, 1000,
        "from the site"
    );
    assert_eq!(
        app.settings.caching.frequent_hit_threshold, 5,
        "from the server"
    );
    assert_eq!(app.concurrent_requests_max, 7);
    assert_eq!(app.initialization.pages, ["/a.aspx", "/b.aspx"]);
    assert_eq!(app.initialization.remap_managed_requests_to, "splash.htm");
    assert!(app.initialization.after_restart && !root.initialization.after_restart);
    assert_eq!(root.concurrent_requests_max, 7);
    let limits = |app: &Application| {
        let limits = app.settings.request_limits;
        let lengths = (limits.url_max, limits.query_string_max);
        (limits.content_length_max, lengths)
    };
    assert_eq!(limits(root), (30_000_000, (100, 50)));
    assert_eq!(limits(app), (10, (200, 50)));
    assert_eq!(root.initialization.pages, [""; 0]);
    assert_eq!(deep.settings.default_documents, [""; 0]);
    assert_eq!(deep.settings.mime_map.keys().collect::<Vec<_>>(), [".wasm"]);
    assert_eq!(configuration.warnings, []);
}

#[test]
fn an_entry_that_an_outer_level_has_too_breaks_requests_there() {
    let web = |map: &str| {
        format!("<system.webServer><staticContent>{map}</staticContent></system.webServer>")
    };
    let map = |kind: &str| format!(r#"<mimeMap fileExtension=".a" mimeType="{kind}"/>"#);
    let text = host(r#"<add name="DefaultAppPool"/>"#, &site("")).replace(
        "</configuration>",
        &format!(
            "{}<location path=\"S\">{}</location></configuration>",
            web(&map("x/y")),
            web(&map("z/z"))
        ),
    );
    let configuration = good(&text);
    assert_eq!(events(&configuration), [5174]);
    let complaint = "Cannot add duplicate collection entry of type 'mimeMap' with unique key attribute 'fileExtension' set to '.a'";
    assert!(configuration.warnings[0].text.contains(complaint));
}

#[test]
fn sixty_five_pools_and_sixty_two_sites_load() {
    let pools = many(65, |n| format!(r#"<add name="pool{n}"/>"#));
    let sites = many(62, |n| {
        format!(
            r#"<site name="site{n}" id="{}"><application path="/" applicationPool="pool{n}"><virtualDirectory path="/" physicalPath="D:\sites\{n}"/></application><bindings><binding protocol="http" bindingInformation="*:80:www{n}.example.com"/></bindings></site>"#,
            n + 1
        )
    });
    let configuration = good(&host(&pools, &sites));
    assert_eq!(
        (
            configuration.application_pools.len(),
            configuration.sites.len()
        ),
        (65, 62)
    );
    assert_eq!(configuration.warnings, []);
    assert_eq!(
        configuration.application_pools[64].name, "pool64",
        "the order of the file stays"
    );
}

#[test]
fn what_is_not_written_has_the_default_of_the_schema() {
    let configuration = good(&host(r#"<add name="DefaultAppPool"/>"#, &site("")));
    assert_eq!(configuration.web_limits, WebLimits::default());
    let pool = &configuration.application_pools[0];
    let minutes = |n: u64| Duration::from_secs(n * 60);
    assert_eq!(pool.queue_length, 1000);
    assert!(pool.auto_start && !pool.always_running && !pool.classic);
    assert_eq!(
        (
            pool.managed_runtime_version.as_str(),
            pool.managed_runtime_loader.as_str()
        ),
        ("", "webengine4.dll")
    );
    let model = &pool.process_model;
    assert_eq!((model.idle_timeout, model.max_processes), (minutes(20), 1));
    assert_eq!(
        (model.shutdown_time_limit, model.startup_time_limit),
        (minutes(1) + minutes(1) / 2, Duration::from_secs(90))
    );
    assert_eq!(
        (model.ping_interval, model.ping_response_time),
        (Duration::from_secs(30), Duration::from_secs(90))
    );
    assert!(model.pinging_enabled && model.log_idle_timeout && !model.idle_suspend);
    let recycling = &pool.recycling;
    assert!(
        !recycling.disallow_overlapping_rotation && !recycling.disallow_rotation_on_config_change
    );
    assert_eq!(recycling.log_event_on_recycle.len(), 8);
    let restart = &recycling.periodic_restart;
    assert_eq!(
        (
            restart.time,
            restart.requests,
            restart.memory_kb,
            restart.private_memory_kb
        ),
        (minutes(29 * 60), 0, 0, 0)
    );
    assert_eq!(restart.schedule, [Duration::ZERO; 0]);
    let failure = &pool.failure;
    assert!(failure.rapid_fail_protection && !failure.tcp_level && !failure.orphan_worker_process);
    assert_eq!(
        (
            failure.rapid_fail_protection_interval,
            failure.rapid_fail_protection_max_crashes
        ),
        (minutes(5), 5)
    );
    assert_eq!(
        (pool.cpu.limit, pool.cpu.action, pool.cpu.reset_interval),
        (0, CpuAction::NoAction, minutes(5))
    );

    let site = &configuration.sites[0];
    assert!(site.server_auto_start);
    assert_eq!(
        (site.limits.max_bandwidth, site.limits.max_connections),
        (None, None)
    );
    assert_eq!(site.limits.connection_timeout, minutes(2));
    assert!(site.log_file.enabled);
    assert_eq!(
        (site.log_file.settings.fields, site.log_file.settings.period),
        (LogFields::DEFAULT, LogPeriod::Daily)
    );
    assert_eq!(
        (
            site.log_file.settings.directory.as_str(),
            site.log_file.settings.truncate_size
        ),
        (r"%SystemDrive%\inetpub\logs\LogFiles", 20_971_520)
    );
    let application = &site.applications[0];
    assert_eq!(
        (
            application.application_pool.as_str(),
            application.enabled_protocols.as_str()
        ),
        ("DefaultAppPool", "http")
    );
    assert!(!application.preload_enabled);
    assert_eq!(application.settings.caching, Caching::default());
}

#[test]
fn what_breaks_the_schema_of_the_host_is_refused() {
    let pool =
        |attributes: &str, inner: &str| host(&format!("<add {attributes}>{inner}</add>"), "");
    for (text, why) in [
        (pool(r#"name="A" queueLength="many""#, ""), "queueLength=\"many\" in applicationPools/add is not a whole number"),
        (pool(r#"name="A" autoStart="1""#, ""), "autoStart=\"1\" in applicationPools/add is not true or false"),
        (pool(r#"name="A" startMode="Sometimes""#, ""), "not one of OnDemand, AlwaysRunning"),
        (pool(r#"name="A|B""#, ""), "not a pool's name"),
        (pool("", ""), "missing required attribute \"name\" in applicationPools/add"),
        (pool(r#"name="A""#, "<recycling logEventOnRecycle=\"Time, Moon\"/>"), "not one of Time, Requests"),
        (pool(r#"name="A""#, "<processModel idleTimeout=\"20\"/>"), "not a time; write [d.]hh:mm:ss"),
        (pool(r#"name="A""#, "<proccessModel/>"), "unknown element <proccessModel> in applicationPools/add; known: cpu, environmentVariables, failure, processModel, recycling"),
        (pool(r#"name="A""#, "<environmentVariables><add name=\"\" value=\"x\"/></environmentVariables>"), "is empty"),
        (pool(r#"name="A""#, "<clear/>"), "unknown element <clear>"),
        (host("<remove/>", ""), "nothing to remove"),
        (host("", &site("<application path=\"app\"/>")), "not a path"),
        (host("", "<site name=\"a/b\" id=\"1\"/>"), "not a site's name"),
        (host("", "<site name=\"a\" id=\"-1\"/>"), "id=\"-1\""),
        (host("", "<applicationDefaults preloadEnabled=\"true\"/>"), "unknown attribute \"preloadEnabled\" in sites/applicationDefaults; known: applicationPool, enabledProtocols, path"),
        ("<configuration><system.applicationHost><sites configSource=\"s.xml\"/></system.applicationHost></configuration>".to_owned(), "configSource is not supported"),
        ("<configuration><system.applicationHost><sites/><sites/></system.applicationHost></configuration>".to_owned(), "Config section 'system.applicationHost/sites' already defined. Sections must only appear once per config file"),
        ("<configuration><location path=\"a\" overrideMode=\"Maybe\"/></configuration>".to_owned(), "overrideMode=\"Maybe\" in location is not one of Allow, Deny, Inherit"),
        ("<configuration><location path=\"a\" foo=\"1\"/></configuration>".to_owned(), "Unrecognized attribute 'foo' in location"),
        ("<configuration><location path=\"a\"><configSections/></location></configuration>".to_owned(), "<configSections> stands in <location>"),
        ("<configuration><configSections/><configSections/></configuration>".to_owned(), "Only one <configSections> element allowed"),
        ("<server/>".to_owned(), "begins with <server>, not <configuration>"),
        (String::new(), "not well-formed"),
    ] {
        let refusal = refusal(&text);
        assert!(refusal.starts_with("applicationHost.config: line 1: "), "{refusal}");
        assert!(refusal.contains(why), "{text}: {refusal}");
    }
}

#[test]
fn what_is_there_twice_is_refused_in_the_words_of_iis() {
    let twice = |pools: &str, sites: &str| refusal(&host(pools, sites));
    let second = |id: u8, name: &str| format!("{}<site name=\"{name}\" id=\"{id}\"/>", site(""));
    let start = "Cannot add duplicate collection entry of type";
    for (refusal, end) in [
        (
            twice(r#"<add name="X"/><add name="x"/>"#, ""),
            "'add' with unique key attribute 'name' set to 'x'",
        ),
        (
            twice("", &second(2, "S")),
            "'site' with unique key attribute 'name' set to 'S'",
        ),
        (
            twice("", &second(1, "T")),
            "'site' with unique key attribute 'id' set to '1'",
        ),
        (
            twice(
                "",
                &site(
                    r#"<bindings><binding protocol="http" bindingInformation="*:80:"/><binding protocol="HTTP" bindingInformation="*:80:"/></bindings>"#,
                ),
            ),
            "'binding' with combined key attributes 'protocol, bindingInformation' respectively set to 'HTTP, *:80:'",
        ),
    ] {
        assert_eq!(
            refusal,
            format!("applicationHost.config: line 1: {start} {end}")
        );
    }
}

#[test]
fn removed_and_cleared_entries_are_gone() {
    let names = |pools: &str| -> Vec<String> {
        good(&host(pools, ""))
            .application_pools
            .into_iter()
            .map(|p| p.name)
            .collect()
    };
    assert_eq!(
        names(r#"<add name="A"/><add name="B"/><remove name="a"/><add name="A"/>"#),
        ["B", "A"]
    );
    assert_eq!(names(r#"<add name="A"/><clear/><add name="A"/>"#), ["A"]);
    assert_eq!(names(r#"<remove name="A"/>"#), [""; 0]);
}

#[test]
fn mistakes_are_shown_with_their_line() {
    let malformed = refusal(include_str!("malformed.config"));
    assert!(
        malformed.starts_with("applicationHost.config: line 6: is not well-formed XML: "),
        "{malformed}"
    );
    assert_eq!(
        refusal(include_str!("misspelt.config")),
        "applicationHost.config: line 6: unknown attribute \"tiem\" in \
         applicationPools/add/recycling/periodicRestart; known: memory, privateMemory, requests, time"
    );
}

#[test]
fn a_mistake_in_a_section_for_requests_does_not_stop_the_server() {
    let text = host("", "").replace(
        "</configuration>",
        "<location path=\"S\"><system.webServer><caching foo=\"1\"/></system.webServer></location></configuration>",
    );
    let configuration = good(&text);
    let text = &configuration.warnings[0].text;
    assert!(
        text.contains(
            "unknown attribute \"foo\" in system.webServer/caching; known: enableKernelCache"
        ),
        "{text}"
    );
    assert!(
        text.ends_with("IIS answers requests below \"S\" with 500.19"),
        "{text}"
    );
}

#[test]
fn many_mistakes_are_counted_and_not_all_shown() {
    let pools = many(5000, |n| format!("<add name=\"p{n}\" queueLength=\"1\"/>"));
    let configuration = good(&host(&pools, ""));
    assert_eq!(configuration.warnings.len(), 201);
    assert!(configuration.warnings[200].text.contains("4800 more"));
}

#[test]
fn a_site_without_a_root_application_is_reported() {
    let configuration = good(&host(
        "",
        r#"<site name="S" id="1"/><site name="Z" id="0"/>"#,
    ));
    assert_eq!(configuration.sites.len(), 1);
    let warnings = &configuration.warnings;
    assert!(warnings[0].text.contains("no root application"));
    assert!(warnings[1].text.contains("id 0"));
}
