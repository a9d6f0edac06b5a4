//! What appcmd takes away and what it refuses to write: collections, elements, entries that are there already.
#![expect(
    clippy::unwrap_used,
    reason = "a test ends when something is not as it should be"
)]

mod support;

use std::path::PathBuf;
use std::process::Command;

use support::{IIS_SIM, Up};

/// A root with the default configuration, at which no server runs.
struct Asleep {
    folder: tempfile::TempDir,
}

impl Asleep {
    fn new() -> Self {
        let up = Up::start();
        let folder = tempfile::tempdir().unwrap();
        let root = Self { folder };
        std::fs::create_dir_all(root.host_path().parent().unwrap()).unwrap();
        let path = "Windows/System32/inetsrv/config/applicationHost.config";
        std::fs::copy(up.root.join(path), root.host_path()).unwrap();
        std::fs::create_dir_all(root.folder.path().join("inetpub/wwwroot")).unwrap();
        root
    }

    fn host_path(&self) -> PathBuf {
        let path = "Windows/System32/inetsrv/config/applicationHost.config";
        self.folder.path().join(path)
    }

    fn host(&self) -> String {
        std::fs::read_to_string(self.host_path()).unwrap()
    }

    fn web_config(&self) -> String {
        let path = self.folder.path().join("inetpub/wwwroot/web.config");
        std::fs::read_to_string(path).unwrap_or_default()
    }

    /// The exit code and what is printed.
    fn appcmd(&self, words: &[&str]) -> (Option<i32>, String) {
        let mut command = Command::new(IIS_SIM);
        command.arg("appcmd").arg("--root").arg(self.folder.path());
        let output = command.args(words).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code(), said)
    }

    fn done(&self, words: &[&str]) {
        let (code, said) = self.appcmd(words);
        assert_eq!(code, Some(0), "{words:?}: {said}");
    }

    /// Nothing is written, and this is said.
    fn refused(&self, words: &[&str], code: i32, why: &str) {
        let before = self.host();
        let (found, said) = self.appcmd(words);
        assert!(
            found == Some(code) && said.contains(why),
            "{words:?}: {found:?} {said}"
        );
        assert_eq!(self.host(), before, "{words:?}");
    }
}

const SITE: &str = "Default Web Site";

#[test]
fn a_collection_and_an_element_are_taken_away_by_their_names() {
    let root = Asleep::new();
    let before = root.host();
    let pool = ["set", "apppool", "DefaultAppPool"];
    let set = |word: &str| root.done(&[&pool[..], &[word]].concat());
    for time in ["03:00:00", "04:00:00"] {
        set(&format!(
            "/+recycling.periodicRestart.schedule.[value='{time}']"
        ));
    }
    set("/-recycling.periodicRestart.schedule");
    assert!(!root.host().contains(":00:00\" />"), "{}", root.host());
    set("/processModel.maxProcesses:3");
    set("/-recycling");
    set("/-processModel");
    assert!(!root.host().contains("maxProcesses") && !root.host().contains("<recycling"));
    root.done(&["set", "site", SITE, "/-bindings"]);
    let (_, said) = root.appcmd(&["list", "site", SITE, "/text:bindings"]);
    assert_eq!(said, "\n");
    root.done(&["set", "site", SITE, "/bindings:http/*:80:"]);
    let section = "/section:applicationPools";
    let word = "/[name='DefaultAppPool'].failure.rapidFailProtection:false";
    root.done(&["set", "config", section, word]);
    root.done(&[
        "set",
        "config",
        section,
        "/-[name='DefaultAppPool'].failure",
    ]);
    let (own, was) = (root.host(), before.contains("<failure"));
    assert_eq!(own.contains("<failure"), was);
}

#[test]
fn a_collection_that_a_site_inherits_is_emptied_there() {
    let root = Asleep::new();
    let section = "/section:defaultDocument";
    root.done(&["set", "config", SITE, section, "/+files.[value='own.html']"]);
    root.done(&["set", "config", SITE, section, "/-files"]);
    let web_config = root.web_config();
    assert!(
        web_config.contains("<clear />") && !web_config.contains("own.html"),
        "{web_config}"
    );
    let (_, said) = root.appcmd(&["list", "config", SITE, section]);
    assert!(!said.contains("<add"), "{said}");
}

#[test]
fn what_a_section_without_a_schema_does_not_say_cannot_be_taken_away() {
    let root = Asleep::new();
    let section = "/section:windowsAuthentication";
    let unknown = "Unknown attribute \"nosuch\".  Replace with -? for help.";
    root.refused(&["set", "config", section, "/-nosuch"], 1, unknown);
    root.done(&["set", "config", section, "/useKernelMode:false"]);
    root.done(&["set", "config", section, "/-useKernelMode"]);
    assert!(!root.host().contains("useKernelMode"));
}

#[test]
fn what_is_there_already_exits_with_error_already_exists() {
    let root = Asleep::new();
    root.done(&[
        "add",
        "site",
        "/name:Shop",
        "/id:2",
        "/physicalPath:C:\\shop",
    ]);
    root.done(&["add", "apppool", "/name:Shop"]);
    for (words, entry) in [
        (&["add", "apppool", "/name:shop"][..], "shop"),
        (
            &["set", "apppool", "Shop", "/name:DefaultAppPool"],
            "DefaultAppPool",
        ),
        (&["add", "site", "/name:Shop", "/id:3"], "Shop"),
        (&["add", "site", "/name:Other", "/id:2"], "2"),
        (&["set", "site", "Shop", "/id:1"], "1"),
        (
            &["set", "site", "Shop", "/name:default web site"],
            "default web site",
        ),
        (&["add", "app", "/site.name:Shop", "/path:/"], "/"),
    ] {
        let why =
            format!("ERROR ( message:Failed to add duplicate collection element \"{entry}\". )\n");
        root.refused(words, 183, &why);
    }
    root.done(&["set", "apppool", "Shop", "/name:SHOP"]);
    root.done(&["add", "apppool", "/name:it's"]);
    let why = "duplicate collection element \"it's\".";
    root.refused(&["add", "apppool", "/name:it's"], 183, why);
}

#[test]
fn a_number_is_shown_without_what_stands_around_it() {
    let root = Asleep::new();
    let host = root.host().replacen("id=\"1\"", "id=\" 7 \"", 1);
    std::fs::write(root.host_path(), host).unwrap();
    let (_, said) = root.appcmd(&["list", "site"]);
    assert!(said.contains("(id:7,"), "{said}");
    assert_eq!(root.appcmd(&["list", "site", "7"]).1, said);
}

#[test]
fn an_object_is_renamed_and_changed_in_any_order() {
    let root = Asleep::new();
    root.done(&["add", "apppool", "/name:px"]);
    root.done(&["set", "apppool", "px", "/name:py", "/queueLength:1500"]);
    root.done(&["set", "site", SITE, "/name:S", "/id:7"]);
    root.done(&[
        "add",
        "app",
        "/site.name:S",
        "/path:/a",
        r"/physicalPath:C:\a",
    ]);
    root.done(&["set", "app", "S/a", "/path:/b", "/applicationPool:py"]);
    let moved = [r"/physicalPath:C:\b", "/path:/z"];
    root.done(&["set", "vdir", "S/b/", moved[1], moved[0]]);
    for (words, listed) in [
        (
            &["list", "apppool", "py", "/text:queueLength"][..],
            "1500\n",
        ),
        (&["list", "site", "S", "/text:id"], "7\n"),
        (&["list", "app", "S/b", "/text:applicationPool"], "py\n"),
        (&["list", "vdir", "S/b/z", "/text:physicalPath"], "C:\\b\n"),
    ] {
        assert_eq!(root.appcmd(words).1, listed, "{words:?}");
    }
}

#[test]
fn nothing_is_written_that_the_server_could_not_read() {
    let root = Asleep::new();
    for word in ["/-id", "/-name"] {
        let words = ["set", "site", SITE, word];
        root.refused(&words, 1, "ERROR ( message:Configuration error\nFilename: ");
    }
}

#[test]
fn modules_are_filtered_and_shown_as_other_objects_are() {
    let root = Asleep::new();
    let names = |words: &[&str]| {
        let (_, said) = root.appcmd(&[&["list", "modules"], words].concat());
        said.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let (native, managed) = (names(&["/type:native"]), names(&["/type:managed"]));
    assert!(
        native.iter().all(|line| line.contains("( native, ")),
        "{native:?}"
    );
    assert!(
        managed.iter().all(|line| line.contains("( type:")),
        "{managed:?}"
    );
    assert!(!native.is_empty() && !managed.is_empty());
    assert_eq!(native.len() + managed.len(), names(&[]).len());
    root.done(&["add", "module", "/name:Audit", "/type:Shop.Audit"]);
    let audit = "MODULE \"Audit\" ( type:Shop.Audit, preCondition: )";
    for words in [
        &["/type:Shop.Audit"][..],
        &["/module.name:audit"],
        &["Audit", "/app.name:Default Web Site/"],
    ] {
        assert_eq!(names(words), [audit], "{words:?}");
    }
    let (code, said) = root.appcmd(&["list", "modules", "/type:Nope"]);
    assert_eq!((code, said.as_str()), (Some(1), ""));
    let xml = names(&["Audit", "/xml"]);
    assert_eq!(
        xml[2],
        "    <MODULE MODULE.NAME=\"Audit\" type=\"Shop.Audit\" preCondition=\"\" />"
    );
}

#[test]
fn what_is_not_simulated_is_refused_and_not_passed_over() {
    let root = Asleep::new();
    for (words, why) in [
        (&["list", "trace"][..], "Object 'trace' is not supported."),
        (
            &["migrate", "config", SITE],
            "Command 'migrate' is not supported on CONFIG.",
        ),
        (
            &["list", "config", "/metadata"],
            "Parameter 'metadata' is not supported.",
        ),
    ] {
        root.refused(words, 1, why);
    }
}

#[test]
fn a_worker_process_has_no_state_that_tools_see() {
    let up = Up::start();
    assert_eq!(up.get("/default.aspx").status, 200);
    let said = up.said(&["appcmd", "list", "wp", "/xml"]);
    let pid = said.split('"').nth(5).unwrap_or_default();
    let wanted = format!("    <WP WP.NAME=\"{pid}\" APPPOOL.NAME=\"DefaultAppPool\" />");
    assert!(said.lines().any(|line| line == wanted), "{said}");
    assert!(
        !up.said(&["appcmd", "list", "wp", "/text:*"])
            .contains("state")
    );
}

#[test]
fn a_section_is_one_for_list_and_set_if_it_is_declared_and_whatever_its_name() {
    let root = Asleep::new();
    let declared = "<section name=\"my.dotted.part\" /><sectionGroup name=\"group\">\
                    <section name=\"dot.ted\" /></sectionGroup></configSections>";
    let text = root.host().replace("</configSections>", declared);
    let text = text.replace("</configuration>", "<foo bar=\"1\" /></configuration>");
    std::fs::write(root.host_path(), text).unwrap();
    for section in ["my.dotted.part", "group/dot.ted"] {
        let word = format!("/section:{section}");
        root.done(&["set", "config", &word, "/inner.on:1"]);
        let (_, said) = root.appcmd(&["list", "config", &word]);
        assert!(said.contains("<inner on=\"1\" />"), "{said}");
        root.done(&["set", "config", SITE, &word, "/inner.off:1"]);
        let name = section.rsplit('/').next().unwrap();
        assert!(
            root.web_config().contains(&format!("<{name}>")),
            "{}",
            root.web_config()
        );
    }
    let unknown = "Unknown config section \"foo\".  Replace with -? for help.";
    root.refused(&["list", "config", "/section:foo"], 1, unknown);
    root.refused(&["set", "config", "/section:foo", "/bar:2"], 1, unknown);
    assert!(!root.appcmd(&["list", "config"]).1.contains("<foo"));
}

#[test]
fn a_section_is_written_down_to_the_level_that_its_declaration_allows() {
    let root = Asleep::new();
    std::fs::create_dir_all(root.folder.path().join("inetpub/wwwroot/images")).unwrap();
    let locked = "This configuration section cannot be used at this path.";
    let images = "Default Web Site/images";
    for words in [
        &[images, "/section:sessionState", "/cookieless:UseUri"][..],
        &[
            images,
            "/section:sessionState",
            "/cookieless:UseUri",
            "/commit:apphost",
        ],
        &[
            images,
            "/section:machineKey",
            "/validation:SHA1",
            "/commit:app",
        ],
        &[
            images,
            "/section:modules",
            "/runAllManagedModulesForAllRequests:true",
        ],
        &[SITE, "/section:protocols", "/+[name='x']"],
        &["/section:protocols", "/+[name='x']"],
        &["/section:system.web/processModel", "/enable:true"],
        &[
            "/section:system.web/deployment",
            "/retail:true",
            "/commit:webroot",
        ],
    ] {
        let words = [&["set", "config"], words].concat();
        root.refused(&words, 1, locked);
        assert_eq!(root.web_config(), "", "{words:?}");
    }
    for words in [
        &[images, "/section:customErrors", "/mode:Off"][..],
        &[SITE, "/section:sessionState", "/cookieless:UseUri"],
        &["/section:protocols", "/+[name='x']", "/commit:webroot"],
        &[
            "/section:system.web/processModel",
            "/enable:true",
            "/commit:machine",
        ],
        &[
            "/section:system.web/deployment",
            "/retail:true",
            "/commit:machine",
        ],
    ] {
        root.done(&[&["set", "config"], words].concat());
    }
}

#[test]
fn a_search_tells_paths_as_they_are_written() {
    let root = Asleep::new();
    let section = "/section:directoryBrowse";
    for place in ["", "/Images", "/Images/Big"] {
        let folder = format!("inetpub/wwwroot{place}");
        std::fs::create_dir_all(root.folder.path().join(folder)).unwrap();
        let place = format!("{SITE}{place}");
        root.done(&["set", "config", &place, section, "/enabled:true"]);
    }
    let (_, said) = root.appcmd(&["search", "config", "default web site", section]);
    let path = "CONFIGSEARCH \"MACHINE/WEBROOT/APPHOST/Default Web Site";
    assert_eq!(
        said,
        format!("{path}\"\n{path}/Images\"\n{path}/Images/Big\"\n")
    );
}

#[test]
fn a_fault_in_what_all_pools_share_concerns_the_pools_only() {
    let up = Up::start();
    let config = up.host_path();
    let text = std::fs::read_to_string(&config).unwrap();
    let broken = text.replacen(
        "<applicationPoolDefaults",
        "<applicationPoolDefaults nosuch=\"1\"",
        1,
    );
    assert_ne!(broken, text);
    std::fs::write(&config, &broken).unwrap();
    let read = || {
        let events = up.events();
        events
            .lines()
            .filter(|line| line.contains("nosuch"))
            .count()
    };
    up.until("WAS has read it", || read() > 0);

    let said = |words: &[&str]| {
        let output = up.tool(words);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.success(), text)
    };
    let (good, sites) = said(&["appcmd", "list", "site"]);
    assert!(good && sites.contains("state:Started"), "{sites}");
    for words in [
        vec!["appcmd", "list", "apppool", "DefaultAppPool"],
        vec![
            "appcmd",
            "set",
            "apppool",
            "DefaultAppPool",
            "/queueLength:77",
        ],
        vec!["appcmd", "add", "apppool", "/name:New"],
    ] {
        let (good, error) = said(&words);
        assert!(
            !good && error.contains("Configuration error") && error.contains("nosuch"),
            "{words:?}: {error}"
        );
    }
    let folder = up.root.join("inetpub/other");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("one.txt"), "one").unwrap();
    let path = "C:\\inetpub\\other";
    let app = [
        "appcmd",
        "add",
        "app",
        "/site.name:Default Web Site",
        "/path:/other",
        &format!("/physicalPath:{path}"),
    ];
    let (good, added) = said(&app);
    assert!(good, "{added}");
    up.until("it is carried out", || {
        up.get("/other/one.txt").status == 200
    });
    assert_eq!(read(), 1, "WAS says once what is wrong");

    let text = std::fs::read_to_string(&config).unwrap();
    assert!(text.contains("nosuch") && text.contains("/other"));
    std::fs::write(&config, text.replace(" nosuch=\"1\"", "")).unwrap();
    let (good, error) = said(&[
        "appcmd",
        "set",
        "apppool",
        "DefaultAppPool",
        "/queueLength:77",
    ]);
    assert!(good, "{error}");
    assert_eq!(up.get("/other/one.txt").status, 200);
}

#[test]
fn edits_at_the_same_time_without_a_server_are_all_made() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    Up::at(&root).end("-TERM");
    let run = |words: Vec<String>| {
        let mut appcmd = Command::new(IIS_SIM);
        appcmd.arg("appcmd").args(words).arg("--root").arg(&root);
        let output = appcmd.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}");
    };
    let words = |number: u32| -> Vec<String> {
        let pool = format!("/name:P{number}");
        let file = format!("/+files.[value='{number}.htm']");
        let words = if number.is_multiple_of(2) {
            vec!["add", "apppool", &pool]
        } else {
            let section = "/section:defaultDocument";
            vec!["set", "config", "Default Web Site", section, &file]
        };
        words.into_iter().map(str::to_owned).collect()
    };
    std::thread::scope(|scope| {
        for number in 0..16 {
            scope.spawn(move || run(words(number)));
        }
    });
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap();
    let host = read("Windows/System32/inetsrv/config/applicationHost.config");
    let site = read("inetpub/wwwroot/web.config");
    for number in 0..16 {
        let (text, name) = if number % 2 == 0 {
            (&host, format!("\"P{number}\""))
        } else {
            (&site, format!("\"{number}.htm\""))
        };
        assert!(text.contains(&name), "{name} is lost: {text}");
    }
}
