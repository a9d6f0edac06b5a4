//! Sessions of appcmd as an administrator types them: what is printed, what the file says afterwards, and
//! what the audit log remembers.

mod support;

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

use serde_json::Value;
use support::{IIS_SIM, Up};

fn appcmd(up: &Up, words: &[&str]) -> String {
    up.said(&[&["appcmd"], words].concat())
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_section_that_is_locked_cannot_be_used_by_a_site_until_it_is_unlocked() {
    let up = Up::start();
    let words = ["list", "config", "/section:defaultDocument"];
    assert!(appcmd(&up, &words).contains("<defaultDocument"));
    let folder = up.root.join("inetpub/wwwroot");
    std::fs::write(
        folder.join("web.config"),
        "<configuration><system.webServer><defaultDocument enabled=\"true\" />\
         </system.webServer></configuration>",
    )
    .unwrap();
    assert_eq!(up.get("/default.aspx").status, 200);
    let at = "system.webServer/defaultDocument\" at configuration path \"MACHINE/WEBROOT/APPHOST";
    assert_eq!(
        appcmd(&up, &["lock", "config", "/section:defaultDocument"]),
        format!("Locked section \"{at}\".\n")
    );
    up.until("500.19", || up.get("/default.aspx").status == 500);
    let page = up.get("/default.aspx").text();
    assert!(
        page.contains("section is locked at a parent level"),
        "{page}"
    );
    assert_eq!(
        appcmd(&up, &["unlock", "config", "-section:defaultDocument"]),
        format!("Unlocked section \"{at}\".\n")
    );
    up.until("service", || up.get("/default.aspx").status == 200);
    let words = ["lock", "config", "Default Web Site", "/section:caching"];
    assert_eq!(
        appcmd(&up, &words),
        "Locked section \"system.webServer/caching\" at configuration path \
         \"MACHINE/WEBROOT/APPHOST/Default Web Site\".\n"
    );
    assert!(
        up.host()
            .contains("<location path=\"Default Web Site\" overrideMode=\"Deny\">")
    );
}

#[test]
fn a_pool_and_a_site_are_added_changed_and_deleted() {
    let up = Up::start();
    let before = up.host();
    let said = |words: &[&str]| appcmd(&up, words);
    let added = said(&["add", "apppool", "/name:Shop", "/managedRuntimeVersion:"]);
    assert_eq!(added, "APPPOOL object \"Shop\" added\n");
    assert_eq!(
        said(&["list", "apppool", "Shop"]),
        "APPPOOL \"Shop\" (MgdVersion:,MgdMode:Integrated,state:Started)\n"
    );
    let path = r"/physicalPath:C:\inetpub\wwwroot";
    assert_eq!(
        said(&[
            "add",
            "site",
            "/name:My Site",
            "/bindings:http/*:8184:my.example",
            path
        ]),
        "SITE object \"My Site\" added\nAPP object \"My Site/\" added\nVDIR object \"My Site/\" added\n"
    );
    let changed = said(&["set", "app", "My Site/", "/applicationPool:Shop"]);
    assert_eq!(changed, "APP object \"My Site/\" changed\n");
    assert_eq!(
        said(&["list", "apps", "/apppool.name:Shop"]),
        "APP \"My Site/\" (applicationPool:Shop)\n"
    );
    let nested = ["/processModel.maxProcesses:3", "/queueLength:5000"];
    said(&["set", "apppool", "Shop", nested[0], nested[1]]);
    assert_eq!(
        said(&["list", "apppool", "/processModel.maxProcesses:3"])
            .lines()
            .count(),
        1
    );
    assert_eq!(
        said(&["list", "apppool", "Shop", "/text:queueLength"]),
        "5000\n"
    );
    let schedule = "/+recycling.periodicRestart.schedule.[value='03:00:00']";
    said(&["set", "apppool", "Shop", schedule]);
    assert!(said(&["list", "apppool", "Shop", "/config"]).contains("<add value=\"03:00:00\" />"));
    said(&["set", "apppool", "Shop", &schedule.replace("/+", "/-")]);
    assert!(!up.host().contains("03:00:00"));
    said(&["delete", "site", "My Site"]);
    assert_eq!(
        said(&["delete", "apppool", "Shop"]),
        "APPPOOL object \"Shop\" deleted\n"
    );
    assert_eq!(up.host(), before, "every byte is as it was");
}

#[test]
fn a_site_is_named_by_its_number_or_by_a_binding() {
    let up = Up::start();
    let said = |words: &[&str]| appcmd(&up, words);
    let add = ["add", "site", "/name:Two", "/id:2"];
    let rest = [
        "/bindings:http/*:8002:",
        r"/physicalPath:C:\inetpub\wwwroot",
    ];
    said(&[&add[..], &rest].concat());
    for identifier in ["2", "/site.id:2", "http/*:8002:"] {
        assert_eq!(
            said(&["stop", "site", identifier]),
            "\"Two\" successfully stopped\n"
        );
        assert_eq!(
            said(&["start", "site", identifier]),
            "\"Two\" successfully started.\n"
        );
        let set = said(&["set", "site", identifier, "/serverAutoStart:true"]);
        assert_eq!(set, "SITE object \"Two\" changed\n");
    }
    // A name comes before a number.
    said(&["add", "site", "/name:2", "/id:3"]);
    assert_eq!(
        said(&["delete", "site", "2"]),
        "SITE object \"2\" deleted\n"
    );
    assert_eq!(
        said(&["delete", "site", "http/*:8002:"]),
        "SITE object \"Two\" deleted\n"
    );
    let (code, said) = up.appcmd(&["stop", "site", "2"]);
    let missing = "ERROR ( message:Cannot find SITE object with identifier \"2\". )\n";
    assert_eq!((code, &*said), (Some(1168 % 256), missing));
}

#[test]
fn what_is_wrong_is_said_as_appcmd_says_it_and_changes_nothing() {
    let up = Up::start();
    let before = up.host();
    let (code, said) = up.appcmd(&["set", "apppool", "Nope", "/queueLength:50"]);
    assert_eq!(
        said,
        "ERROR ( message:Cannot find APPPOOL object with identifier \"Nope\". )\n"
    );
    assert_eq!(code, Some(1168 % 256));
    let (_, said) = up.appcmd(&["set", "apppool", "DefaultAppPool", "/queueLenth:50"]);
    let unknown =
        "ERROR ( message:Unknown attribute \"queueLenth\".  Replace with -? for help. )\n";
    assert_eq!(said, unknown);
    let (_, said) = up.appcmd(&["set", "apppool", "DefaultAppPool", "/queueLength:5"]);
    assert!(said.contains("10 to 65535"), "{said}");
    let (_, said) = up.appcmd(&["add", "apppool", "/name:DefaultAppPool"]);
    assert!(said.contains("Failed to add duplicate collection element \"DefaultAppPool\"."));
    let (_, said) = up.appcmd(&["start", "apppool", "DefaultAppPool"]);
    assert!(said.contains("hresult:80070420"), "{said}");
    let (_, said) = up.appcmd(&["list", "config", "/section:nothing"]);
    assert!(
        said.contains("Unknown config section \"nothing\""),
        "{said}"
    );
    assert_eq!(up.host(), before);
}

#[test]
fn a_web_config_that_is_a_link_stays_one_and_keeps_who_may_read_it() {
    let up = Up::start();
    let (file, link) = (
        up.root.join("shared.config"),
        up.root.join("inetpub/wwwroot/web.config"),
    );
    std::fs::write(&file, "<configuration>\n</configuration>\n").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::os::unix::fs::symlink(&file, &link).unwrap();
    let set = ["set", "config", "Default Web Site", "/section:httpErrors"];
    appcmd(&up, &[&set[..], &["/errorMode:Detailed"]].concat());
    assert!(link.is_symlink());
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("errorMode=\"Detailed\""), "{text}");
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_section_is_committed_to_the_host_or_to_a_web_config() {
    let up = Up::start();
    let said = |words: &[&str]| appcmd(&up, words);
    let set = ["set", "config", "Default Web Site", "/section:httpErrors"];
    said(&[&set[..], &["/errorMode:Detailed"]].concat());
    let file = up.root.join("inetpub/wwwroot/web.config");
    assert!(
        std::fs::read_to_string(&file)
            .unwrap()
            .contains("errorMode=\"Detailed\"")
    );
    let applied = said(&[&set[..], &["/errorMode:Custom", "/commit:apphost"]].concat());
    assert!(
        applied.starts_with(
            "Applied configuration changes to section \"system.webServer/httpErrors\""
        )
    );
    assert!(up.host().contains("<location path=\"Default Web Site\">"));
    let listed = said(&["list", "config", "Default Web Site", "/section:httpErrors"]);
    assert!(
        listed.contains("errorMode=\"Detailed\""),
        "a web.config lies over a location: {listed}"
    );
    said(&["clear", "config", "Default Web Site", "/section:httpErrors"]);
    let listed = said(&["list", "config", "Default Web Site", "/section:httpErrors"]);
    assert!(listed.contains("errorMode=\"Custom\""), "{listed}");
}

#[test]
fn a_web_config_is_seen_where_it_holds() {
    let up = Up::start();
    let site = "Default Web Site/";
    let section = "/section:defaultDocument";
    for entry in [
        "@start,value='first.html'",
        "value='last.html'",
        "@start,value='zeroth.html'",
    ] {
        appcmd(
            &up,
            &[
                "set",
                "config",
                site,
                section,
                &format!("/+files.[{entry}]"),
            ],
        );
    }
    appcmd(&up, &["set", "config", site, section, "/enabled:false"]);
    let listed = appcmd(&up, &["list", "config", site, section]);
    assert!(listed.contains("<defaultDocument enabled=\"false\">"));
    let at = |file: &str| listed.find(file).unwrap();
    assert!(at("zeroth.html") < at("first.html") && at("first.html") < at("last.html"));
    assert!(at("last.html") < at("Default.htm"), "its own come first");
    assert!(!appcmd(&up, &["list", "config", section]).contains("first.html"));
    let found = |value: &str| up.tool(&["appcmd", "search", "config", site, section, value]);
    let place = "CONFIGSEARCH \"MACHINE/WEBROOT/APPHOST/Default Web Site\"\n";
    assert_eq!(text(&found("/enabled:false")), place);
    assert_eq!(found("/enabled:true").status.code(), Some(1));
}

#[test]
fn a_folder_in_a_site_has_a_web_config_of_its_own() {
    let up = Up::start();
    std::fs::create_dir(up.root.join("inetpub/wwwroot/images")).unwrap();
    let (path, section) = ("Default Web Site/images", "/section:staticContent");
    let entry = "/+[fileExtension='.xyz',mimeType='image/xyz']";
    let said = appcmd(&up, &["set", "config", path, section, entry]);
    let place = "MACHINE/WEBROOT/APPHOST/Default Web Site/images";
    assert!(said.contains(&format!("commit path \"{place}\"")), "{said}");
    assert!(up.root.join("inetpub/wwwroot/images/web.config").exists());
    assert!(appcmd(&up, &["list", "config", path, section]).contains(".xyz"));
    let above = appcmd(&up, &["list", "config", "Default Web Site", section]);
    assert!(!above.contains(".xyz"));
    let again = up.tool(&["appcmd", "set", "config", path, section, entry]);
    assert!(!again.status.success(), "it is there already");
    std::fs::write(up.root.join("inetpub/wwwroot/images/a.xyz"), "xyz").unwrap();
    up.until("its type", || up.get("/images/a.xyz").status == 200);
    assert_eq!(up.get("/a.xyz").status, 404);
}

#[test]
fn what_the_ftp_service_says_of_a_site_is_listed_and_set() {
    let up = Up::start();
    let site = "Default Web Site";
    let path = "ftpServer.security.ssl.controlChannelPolicy";
    appcmd(&up, &["set", "site", site, &format!("/{path}:SslAllow")]);
    let listed = appcmd(&up, &["list", "site", site, "/config"]);
    assert!(
        listed.contains("<ssl controlChannelPolicy=\"SslAllow\""),
        "{listed}"
    );
    let text = appcmd(&up, &["list", "site", site, &format!("/text:{path}")]);
    assert_eq!(text.trim(), "SslAllow");
}

#[test]
fn a_section_without_a_schema_is_edited_if_it_is_declared() {
    let up = Up::start();
    let section = "/section:system.webServer/security/authentication/windowsAuthentication";
    appcmd(
        &up,
        &[
            "set",
            "config",
            "Default Web Site",
            section,
            "/enabled:true",
            "/commit:apphost",
        ],
    );
    let listed = appcmd(
        &up,
        &[
            "list",
            "config",
            "Default Web Site",
            "/section:windowsAuthentication",
        ],
    );
    assert!(
        listed.contains("      <windowsAuthentication enabled=\"true\" />"),
        "{listed}"
    );
    assert!(
        appcmd(&up, &["list", "config", "/section:?"])
            .lines()
            .any(|l| section.ends_with(l))
    );
    let (code, said) = up.appcmd(&["set", "config", "/section:windowsAuthentification", "/a:b"]);
    assert_eq!(code, Some(1));
    assert_eq!(
        said,
        "ERROR ( message:Unknown config section \"windowsAuthentification\".  Replace with -? for help. )\n"
    );
}

#[test]
fn a_change_for_an_application_can_be_committed_to_its_site() {
    let up = Up::start();
    std::fs::create_dir_all(up.root.join("shop")).unwrap();
    let shop = [
        "/site.name:Default Web Site",
        "/path:/shop",
        "/physicalPath:C:\\shop",
    ];
    appcmd(&up, &[&["add", "app"][..], &shop].concat());
    let set = [
        "set",
        "config",
        "Default Web Site/shop",
        "/section:caching",
        "/enabled:false",
    ];
    appcmd(&up, &[&set[..], &["/commit:site"]].concat());
    let web_config = std::fs::read_to_string(up.root.join("inetpub/wwwroot/web.config")).unwrap();
    assert!(web_config.contains("<location path=\"shop\">"));
    let enabled = |path: &str| {
        let listed = appcmd(&up, &["list", "config", path, "/section:caching"]);
        !listed.contains("enabled=\"false\"")
    };
    assert!(enabled("Default Web Site") && !enabled("Default Web Site/shop"));
    let (code, said) = up.appcmd(&[&set[..], &["/commit:elsewhere"]].concat());
    assert!(code == Some(1) && said.contains("Invalid commit path \"elsewhere\""));
    let by_url = appcmd(&up, &["list", "app", "http://localhost/shop/cart"]);
    assert_eq!(
        by_url,
        "APP \"Default Web Site/shop\" (applicationPool:DefaultAppPool)\n"
    );
}

#[test]
fn a_site_that_cannot_start_is_not_called_started_and_a_name_that_cannot_be_is_refused() {
    let up = Up::start();
    appcmd(
        &up,
        &["add", "site", "/name:Bare", "/bindings:http/*:8183:"],
    );
    assert!(appcmd(&up, &["list", "site", "Bare"]).contains("state:Stopped"));
    let (code, said) = up.appcmd(&["start", "site", "Bare"]);
    assert!(
        code != Some(0) && said.contains("has no root application"),
        "{said}"
    );
    for name in ["", &"x".repeat(65)] {
        let (code, said) = up.appcmd(&["add", "apppool", &format!("/name:{name}")]);
        assert!(
            code == Some(1) && said.contains("1 to 64 characters"),
            "{said}"
        );
    }
    let enabled = [
        "list",
        "config",
        "/section:defaultDocument",
        "/text:enabled",
    ];
    assert_eq!(appcmd(&up, &enabled), "true\n");
}

#[test]
fn modules_are_listed_enabled_installed_and_taken_away() {
    let up = Up::start();
    let listed = appcmd(&up, &["list", "modules"]);
    assert!(
        listed.contains("MODULE \"HttpCacheModule\" ( native, preCondition: )\n"),
        "{listed}"
    );
    let session = "MODULE \"Session\" ( type:System.Web.SessionState.SessionStateModule, preCondition:managedHandler )\n";
    assert_eq!(appcmd(&up, &["list", "module", "session"]), session);
    let install = ["install", "module", "/name:Filter", "/image:C:\\filter.dll"];
    let installed = "GLOBAL MODULE object \"Filter\" added\nMODULE object \"Filter\" added\n";
    assert_eq!(appcmd(&up, &install), installed);
    assert!(
        up.host()
            .contains("<add name=\"Filter\" image=\"C:\\filter.dll\" />")
    );
    let condition = ["set", "module", "Filter", "/preCondition:bitness64"];
    assert_eq!(
        appcmd(&up, &condition),
        "MODULE object \"Filter\" changed\n"
    );
    let changed = "MODULE \"Filter\" ( native, preCondition:bitness64 )\n";
    assert_eq!(appcmd(&up, &["list", "module", "Filter"]), changed);
    appcmd(&up, &["uninstall", "module", "Filter"]);
    let (code, said) = up.appcmd(&["list", "module", "Filter"]);
    let wanted = "ERROR ( message:Cannot find MODULE object with identifier \"Filter\". )\n";
    assert_eq!((code, said.as_str()), (Some(144), wanted));
    let own = [
        "add",
        "module",
        "/name:Audit",
        "/type:A.B",
        "/app.name:Default Web Site/",
    ];
    appcmd(&up, &own);
    let of_app = appcmd(&up, &["list", "module", "/app.name:Default Web Site/"]);
    assert!(
        of_app.contains("MODULE \"Audit\" ( type:A.B, preCondition: )"),
        "{of_app}"
    );
    assert!(!appcmd(&up, &["list", "modules"]).contains("Audit"));
    let before = up.host();
    let web_config =
        || std::fs::read_to_string(up.root.join("inetpub/wwwroot/web.config")).unwrap();
    assert!(web_config().contains("<add name=\"Audit\" type=\"A.B\" />"));
    let of_app = "/app.name:Default Web Site/";
    appcmd(&up, &["delete", "module", "Audit", of_app]);
    appcmd(&up, &["delete", "module", "Session", of_app]);
    assert!(!web_config().contains("Audit"), "{}", web_config());
    assert!(web_config().contains("<remove name=\"Session\" />"));
    assert_eq!(up.host(), before);
}

#[test]
fn a_backup_may_be_read_by_whom_the_file_may_be() {
    use std::os::unix::fs::PermissionsExt as _;
    let up = Up::start();
    let file = up.host_path();
    let mode = || std::fs::metadata(&file).unwrap().permissions().mode() & 0o777;
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(up.appcmd(&["add", "backup", "b"]).0, Some(0));
    std::fs::remove_file(&file).unwrap();
    assert_eq!(up.appcmd(&["restore", "backup", "b"]).0, Some(0));
    assert_eq!(mode(), 0o600);
}

#[test]
fn a_backup_brings_back_what_was_deleted() {
    let up = Up::start();
    let said = |words: &[&str]| appcmd(&up, words);
    assert_eq!(
        said(&["add", "backup", "before"]),
        "BACKUP object \"before\" added\n"
    );
    said(&["delete", "apppool", "DefaultAppPool"]);
    assert_eq!(up.appcmd(&["list", "apppool"]), (Some(1), String::new()));
    let restored = said(&["restore", "backup", "before"]);
    assert_eq!(restored, "Restored configuration from backup \"before\"\n");
    assert!(said(&["list", "apppool"]).contains("state:Started"));
    assert_eq!(said(&["list", "backups"]), "BACKUP \"before\"\n");
}

#[test]
fn configuration_is_administered_also_while_no_server_runs() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    assert_eq!(Up::at(&root).end("-TERM"), Some(0));
    let tool = |words: &[&str]| {
        let output = Command::new(IIS_SIM)
            .arg("appcmd")
            .args(words)
            .arg("--root")
            .arg(&root)
            .output();
        text(&output.unwrap())
    };
    assert_eq!(
        tool(&["add", "apppool", "/name:Later"]),
        "APPPOOL object \"Later\" added\n"
    );
    assert!(tool(&["list", "apppool", "Later"]).contains("state:Unknown"));
    let up = Up::at(&root);
    assert!(appcmd(&up, &["list", "apppool", "Later"]).contains("state:Started"));
}

#[test]
fn the_audit_log_says_who_did_what_and_what_came_of_it() {
    let up = Up::start();
    appcmd(&up, &["list", "wp"]);
    appcmd(&up, &["recycle", "apppool", "DefaultAppPool"]);
    up.appcmd(&["stop", "apppool", "Nope"]);
    let path = "Windows/System32/LogFiles/iis-sim/audit.jsonl";
    let log = std::fs::read_to_string(up.root.join(path)).unwrap();
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let of = |command: &str| {
        lines
            .iter()
            .find(|line| line["command"].get(command).is_some())
    };
    let recycle = of("RecycleApplicationPool").unwrap();
    assert_eq!(recycle["effect"]["state"], "Started");
    assert_eq!(recycle["uid"], rustix::process::geteuid().as_raw());
    assert!(
        recycle["process"].as_str().unwrap().contains("recycle"),
        "{recycle}"
    );
    assert!(of("StopApplicationPool").unwrap()["effect"]["refused"]["NotFound"].is_object());
    assert!(
        !log.contains("ListWorkerProcesses"),
        "questions are not recorded"
    );
}
