//! What one appcmd lists with `/xml`, another one takes with `/in`.
#![expect(
    clippy::unwrap_used,
    reason = "a test ends when something is not as it should be"
)]

mod support;

use std::io::Write;
use std::process::{Command, Output, Stdio};

use support::{IIS_SIM, Up};

fn appcmd(up: &Up, words: &[&str]) -> String {
    up.said(&[&["appcmd"], words].concat())
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs appcmd with something on its standard input.
fn piped(up: &Up, words: &[&str], input: &str) -> Output {
    let mut child = Command::new(IIS_SIM)
        .arg("appcmd")
        .args(words)
        .env("IIS_SIM_ROOT", &up.root)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    child.wait_with_output().unwrap()
}

#[test]
fn a_site_is_copied_by_what_another_appcmd_lists() {
    let up = Up::start();
    let bindings = "/bindings:http/*:8181:,http/*:8182:a.example";
    let add = [
        "add",
        "site",
        "/name:First",
        "/id:71",
        bindings,
        "/physicalPath:C:\\first",
    ];
    appcmd(&up, &add);
    appcmd(
        &up,
        &["set", "site", "First", "/limits.connectionTimeout:00:01:00"],
    );
    let listed = appcmd(&up, &["list", "site", "First", "/config", "/xml"]);
    let words = ["add", "site", "/in", "/name:Second", "/id:72"];
    let said = text(&piped(&up, &words, &listed));
    assert_eq!(
        said,
        "SITE object \"Second\" added\nAPP object \"Second/\" added\nVDIR object \"Second/\" added\n"
    );
    let site = appcmd(&up, &["list", "site", "Second"]);
    assert!(
        site.contains("(id:72,bindings:http/*:8181:,http/*:8182:a.example,"),
        "{site}"
    );
    let limit = ["list", "site", "Second", "/text:limits.connectionTimeout"];
    assert_eq!(appcmd(&up, &limit), "00:01:00\n");
    let folder = ["list", "vdir", "Second/", "/text:physicalPath"];
    assert_eq!(appcmd(&up, &folder), "C:\\first\n");

    appcmd(
        &up,
        &[
            "add",
            "apppool",
            "/name:P",
            "/recycling.periodicRestart.time:29:00:00",
        ],
    );
    appcmd(
        &up,
        &[
            "set",
            "apppool",
            "P",
            "/+recycling.periodicRestart.schedule.[value='07:30:00']",
        ],
    );
    let listed = appcmd(&up, &["list", "apppool", "P", "/config", "/xml"]);
    assert!(listed.contains("1.05:00:00"), "{listed}");
    assert_eq!(
        text(&piped(&up, &["add", "apppool", "-", "/name:Q"], &listed)),
        "APPPOOL object \"Q\" added\n"
    );
    assert!(
        appcmd(&up, &["list", "apppool", "Q", "/config"]).contains("<add value=\"07:30:00\" />")
    );
}

#[test]
fn a_section_is_made_like_the_one_that_another_appcmd_lists() {
    let (from, to) = (Up::start(), Up::start());
    let set = |up: &Up, words: &[&str]| appcmd(up, &[&["set", "config"], words].concat());
    let document = "/section:defaultDocument";
    set(&from, &[document, "/+files.[@start,value='first.html']"]);
    let mime = "/[fileExtension='.json'].mimeType:text/json";
    let add = "/+[fileExtension='.new',mimeType='a/b']";
    set(&from, &["/section:staticContent", mime, add]);
    set(&from, &["/section:caching", "/enabled:false"]);
    let header = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<appcmd>\n    <CONFIG \
                  CONFIG.SECTION=\"system.webServer/";
    let sections = [document, "/section:staticContent", "/section:caching"];
    for section in sections {
        let list = ["list", "config", section];
        let listed = appcmd(&from, &[&list[..], &["/xml"]].concat());
        assert!(
            listed.starts_with(header) && listed.contains("path=\"MACHINE/WEBROOT/APPHOST\""),
            "{listed}"
        );
        let done = piped(&to, &["set", "config", "/in"], &listed);
        assert!(done.status.success(), "{section}: {}", text(&done));
        let entries = |up: &Up| {
            let text = appcmd(up, &list);
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        assert_eq!(entries(&from), entries(&to));
        let before = to.host();
        assert!(
            piped(&to, &["set", "config", "-"], &listed)
                .status
                .success()
        );
        assert_eq!(to.host(), before, "a second time changes nothing");
    }
    let listed = appcmd(&from, &["list", "config", "/section:caching", "/xml"]);
    let at = ["set", "config", "Default Web Site", "/in"];
    appcmd(&to, &["set", "config", "/section:caching", "/enabled:true"]);
    assert!(piped(&to, &at, &listed).status.success());
    let web_config = std::fs::read_to_string(to.root.join("inetpub/wwwroot/web.config")).unwrap();
    assert!(
        web_config.contains("<caching enabled=\"false\" />"),
        "{web_config}"
    );
}

#[test]
fn what_one_appcmd_lists_another_one_recycles() {
    let up = Up::start();
    let listed = appcmd(&up, &["list", "apppool", "/state:Started", "/xml"]);
    let recycled = piped(&up, &["recycle", "apppool", "/in"], &listed);
    assert_eq!(
        text(&recycled),
        "\"DefaultAppPool\" successfully recycled\n"
    );
    let two =
        "<appcmd><APPPOOL APPPOOL.NAME='Nope'/><APPPOOL APPPOOL.NAME='DefaultAppPool'/></appcmd>";
    let first = piped(&up, &["recycle", "apppool", "/in"], two);
    assert_eq!(first.status.code(), Some(1168 % 256), "the first failure's");
    assert!(text(&first).ends_with("\"DefaultAppPool\" successfully recycled\n"));
    let bad = piped(&up, &["recycle", "apppool", "/in"], "junk");
    assert!(text(&bad).contains("hresult:8007000d"));
    assert!(!bad.status.success());
}

#[test]
fn a_value_with_line_ends_and_tabs_passes_through_a_pipe_as_it_is() {
    let (from, to) = (Up::start(), Up::start());
    let set = |up: &Up, words: &[&str]| appcmd(up, &[&["set", "config"], words].concat());
    let footer = "/defaultDocFooter:a\tb\nc & \"d\"\r\ne";
    set(&from, &["/section:staticContent", footer]);
    let written = "defaultDocFooter=\"a&#x9;b&#xA;c &amp; &quot;d&quot;&#xD;&#xA;e\"";
    assert!(from.host().contains(written), "{}", from.host());
    let list = ["list", "config", "/section:staticContent"];
    assert!(appcmd(&from, &list).contains(written));
    let listed = appcmd(&from, &[&list[..], &["/xml"]].concat());
    assert!(listed.contains(written), "{listed}");
    let done = piped(&to, &["set", "config", "/in"], &listed);
    assert!(done.status.success(), "{}", text(&done));
    assert!(to.host().contains(written), "{}", to.host());
    let vdir = ["add", "vdir", "/app.name:Default Web Site/", "/path:/v"];
    appcmd(&from, &[&vdir[..], &["/physicalPath:/a\tb"]].concat());
    let vdirs = appcmd(&from, &["list", "vdir", "/xml"]);
    assert!(vdirs.contains("physicalPath=\"/a&#x9;b\""), "{vdirs}");
}

#[test]
fn an_element_that_there_cannot_be_is_refused_even_if_it_says_nothing() {
    let up = Up::start();
    let before = up.host();
    let pool = |content: &str| {
        format!(
            "<appcmd><APPPOOL APPPOOL.NAME='N'><add name='N'>{content}</add></APPPOOL></appcmd>"
        )
    };
    let section = |name: &str, content: &str| {
        let element = name.replace('/', "-");
        format!(
            "<appcmd><CONFIG CONFIG.SECTION='{name}'><{element}>{content}</{element}></CONFIG></appcmd>"
        )
    };
    let modules = "system.webServer/modules";
    let pools = "system.applicationHost/applicationPools";
    for content in ["<nosuch/>", "<nosuch a='b'/>", "<nosuch name='b'/>"] {
        for (words, input) in [
            (["add", "apppool", "/in"], pool(content)),
            (
                ["add", "apppool", "/in"],
                pool(&format!("<recycling>{content}</recycling>")),
            ),
            (["set", "config", "/in"], section(modules, content)),
            (
                ["set", "config", "/in"],
                section(pools, &format!("<add name='N'>{content}</add>")),
            ),
            (
                ["set", "config", "/in"],
                section(
                    pools,
                    &format!("<add name='DefaultAppPool'>{content}</add>"),
                ),
            ),
        ] {
            let said = text(&piped(&up, &words, &input));
            let wanted = "has no element \"nosuch\"";
            assert!(said.contains(wanted), "{input}: {said}");
        }
    }
    assert_eq!(up.host(), before);
    let good = pool("<recycling/><environmentVariables><clear/></environmentVariables>");
    let said = text(&piped(&up, &["add", "apppool", "/in"], &good));
    assert_eq!(said, "APPPOOL object \"N\" added\n");
}

#[test]
fn an_application_that_names_no_pool_is_listed_with_the_one_that_it_runs_in() {
    let config = support::config(">").replace(r#" applicationPool="DefaultAppPool""#, "");
    let up = Up::with_config(Some(&config));
    up.get("/");
    let app = "APP \"Default Web Site/\" (applicationPool:DefaultAppPool)\n";
    let filter = "/apppool.name:DefaultAppPool";
    assert_eq!(appcmd(&up, &["list", "app", filter]), app);
    let workers = appcmd(&up, &["list", "wp", "/xml"]);
    assert_eq!(text(&piped(&up, &["list", "app", "/in"], &workers)), app);
    let sites = text(&piped(&up, &["list", "site", "/in"], &workers));
    assert!(sites.starts_with("SITE \"Default Web Site\""), "{sites}");
}

#[test]
fn many_objects_are_few_orders_to_a_server_that_runs_and_one_that_fails_costs_no_other() {
    let up = Up::start();
    let pools = |numbers: std::ops::Range<u32>| {
        let pool = |i| {
            format!("<APPPOOL APPPOOL.NAME='P{i}'><add name='P{i}' queueLength='77' /></APPPOOL>")
        };
        format!("<appcmd>{}</appcmd>", numbers.map(pool).collect::<String>())
    };
    let orders = || {
        let log = up
            .root
            .join("Windows/System32/LogFiles/iis-sim/audit.jsonl");
        std::fs::read_to_string(log)
            .unwrap_or_default()
            .lines()
            .count()
    };
    let said = text(&piped(&up, &["add", "apppool", "/in"], &pools(0..60)));
    let wanted = (0..60).map(|i| format!("APPPOOL object \"P{i}\" added"));
    assert_eq!(said.lines().collect::<Vec<_>>(), wanted.collect::<Vec<_>>());
    assert!(orders() <= 2, "{}", orders());
    assert_eq!(
        appcmd(&up, &["list", "apppool", "/state:Started"])
            .lines()
            .count(),
        61
    );

    let before = orders();
    let listed = appcmd(&up, &["list", "apppool", "/xml"]);
    let set = piped(&up, &["set", "apppool", "/in", "/queueLength:99"], &listed);
    assert_eq!(text(&set).lines().count(), 61);
    assert!(orders() <= before + 2, "{}", orders() - before);
    assert_eq!(up.host().matches("queueLength=\"99\"").count(), 61);

    let output = piped(&up, &["add", "apppool", "/in"], &pools(58..62));
    let said = text(&output);
    assert_eq!(
        said.matches("duplicate collection element").count(),
        2,
        "{said}"
    );
    assert_eq!(said.matches(" added").count(), 2, "{said}");
    assert!(!output.status.success());
    let output = piped(&up, &["delete", "apppool", "/in"], &pools(0..62));
    assert_eq!(text(&output).matches(" deleted").count(), 62);
    assert_eq!(appcmd(&up, &["list", "apppool"]).lines().count(), 1);
}

#[test]
fn backups_and_what_was_searched_are_piped_too() {
    let up = Up::start();
    appcmd(&up, &["add", "backup", "b1"]);
    let listed = appcmd(&up, &["list", "backup", "/xml"]);
    assert!(listed.contains("<BACKUP BACKUP.NAME=\"b1\" />"), "{listed}");
    let output = piped(&up, &["delete", "backup", "/in"], &listed);
    assert_eq!(text(&output), "BACKUP object \"b1\" deleted\n");

    let section = "/section:directoryBrowse";
    let site = "Default Web Site";
    appcmd(&up, &["set", "config", site, section, "/enabled:true"]);
    let found = appcmd(&up, &["search", "config", site, section, "/xml"]);
    let expected = "    <CONFIGSEARCH CONFIG.SECTION=\"system.webServer/directoryBrowse\" \
                    path=\"MACHINE/WEBROOT/APPHOST/Default Web Site\" />\n";
    assert!(found.contains(expected), "{found}");
    let output = piped(&up, &["clear", "config", "/in"], &found);
    let cleared = "CONFIG object \"system.webServer/directoryBrowse\" cleared\n";
    assert_eq!(text(&output), cleared);
    let enabled = ["list", "config", site, section, "/text:enabled"];
    assert_eq!(appcmd(&up, &enabled), "false\n");
}

#[test]
fn a_listing_finds_what_belongs_to_what_was_piped_and_is_one_list() {
    let up = Up::start();
    for pool in ["P2", "P3"] {
        appcmd(&up, &["add", "apppool", &format!("/name:{pool}")]);
    }
    let site = "/site.name:Default Web Site";
    let add = ["add", "app", site, "/path:/a", "/physicalPath:C:\\a"];
    appcmd(&up, &[&add[..], &["/applicationPool:P2"]].concat());
    let sites = appcmd(&up, &["list", "site", "/apppool.name:P2"]);
    assert!(sites.starts_with("SITE \"Default Web Site\""), "{sites}");
    let wp = "<appcmd><WP WP.NAME='1' APPPOOL.NAME='P2' /><WP WP.NAME='2' APPPOOL.NAME='DefaultAppPool' /></appcmd>";
    assert_eq!(text(&piped(&up, &["list", "site", "/in"], wp)), sites);
    let apps = text(&piped(&up, &["list", "app", "/in", "/xml"], wp));
    assert_eq!(apps.matches("<?xml").count(), 1, "{apps}");
    assert_eq!(apps.matches("<APP ").count(), 2, "{apps}");
    let pools = piped(&up, &["list", "apppool", "/in", "/xml"], &apps);
    let pools = text(&pools);
    assert!(
        pools.contains("\"P2\"") && !pools.contains("\"P3\""),
        "{pools}"
    );
    let config = piped(
        &up,
        &["list", "config", "/in", "/section:directoryBrowse"],
        &appcmd(&up, &["list", "site", "/xml"]),
    );
    assert!(text(&config).contains("<directoryBrowse"), "{config:?}");
    let words = ["list", "config", "/in", "/section:directoryBrowse", "/xml"];
    let config = text(&piped(&up, &words, &apps));
    assert_eq!(config.matches("<?xml").count(), 1, "{config}");
    assert_eq!(config.matches("<CONFIG ").count(), 2, "{config}");
    let unclear = piped(&up, &["list", "request", "/in"], &apps);
    assert!(
        text(&unclear).contains("APP objects do not tell it"),
        "{unclear:?}"
    );
}
