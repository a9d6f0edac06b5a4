//! What appcmd may write where: sections that are locked, that count for the whole server only, and that a
//! site would be broken by; and what it lists.

mod support;

use support::Up;

const SITE: &str = "Default Web Site";

fn set(up: &Up, words: &[&str]) -> (Option<i32>, String) {
    up.appcmd(&[&["set", "config", SITE], words].concat())
}

#[test]
fn a_section_that_is_locked_at_a_path_is_not_written_there() {
    let up = Up::start();
    let before = up.host();
    let web_config = up.root.join("inetpub/wwwroot/web.config");
    let locked = "\nDescription: This configuration section cannot be used at this path. ";
    for words in [
        &["/section:serverRuntime", "/appConcurrentRequestLimit:10"][..],
        &["/section:webLimits", "/headerWaitTimeout:00:00:10"],
        &[
            "/section:sites",
            "/[name='Default Web Site'].id:5",
            "/commit:apphost",
        ],
        &["/section:globalModules", "/-[name='HttpCacheModule']"],
        &["/section:anonymousAuthentication", "/enabled:false"],
    ] {
        let (code, said) = set(&up, words);
        assert_eq!(code, Some(1), "{words:?}: {said}");
        assert!(
            said.starts_with("ERROR ( message:Configuration error\nFilename: ")
                && said.contains(locked),
            "{words:?}: {said}"
        );
    }
    assert!(!web_config.exists());
    assert_eq!(up.host(), before);
    // Administrators write a locked section for a site where it is locked.
    let words = ["/section:serverRuntime", "/appConcurrentRequestLimit:10"];
    let (code, said) = set(&up, &[&words[..], &["/commit:apphost"]].concat());
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(up.get("/default.aspx").status, 200);
}

#[test]
fn a_section_that_was_locked_later_is_refused_and_not_shown_as_if_it_counted() {
    let up = Up::start();
    let words = ["/section:defaultDocument", "/enabled:false"];
    assert_eq!(set(&up, &words).0, Some(0));
    let list = ["list", "config", SITE, "/section:defaultDocument"];
    assert!(up.appcmd(&list).1.contains("enabled=\"false\""));
    up.appcmd(&["lock", "config", "/section:defaultDocument"]);
    let (code, said) = up.appcmd(&list);
    assert!(
        code == Some(1) && said.contains("cannot be used at this path") && !said.contains("<def"),
        "{said}"
    );
    let (code, said) = set(&up, &["/section:caching", "/enabled:true"]);
    assert!(code == Some(1) && said.contains("cannot be used"), "{said}");
    let (code, said) = up.appcmd(&["clear", "config", SITE, "/section:defaultDocument"]);
    assert_eq!(
        code,
        Some(0),
        "what is in the way can be taken away: {said}"
    );
    assert_eq!(set(&up, &["/section:caching", "/enabled:true"]).0, Some(0));
}

#[test]
fn a_binding_or_a_number_that_loses_the_site_is_refused() {
    let up = Up::start();
    let before = up.host();
    for (word, why) in [
        (
            "/+bindings.[protocol='http',bindingInformation='bad']",
            "address:port:host",
        ),
        ("/bindings:http/*:99999:", "between 1 and 65535"),
        (
            "/bindings.[protocol='http',bindingInformation='*:80:'].bindingInformation:*:99999:",
            "between 1 and 65535",
        ),
        ("/id:0", "they begin with 1"),
    ] {
        let (code, said) = up.appcmd(&["set", "site", SITE, word]);
        assert!(code == Some(1) && said.contains(why), "{word}: {said}");
    }
    let words = ["add", "site", "/name:New", "/id:0"];
    assert!(up.appcmd(&words).1.contains("they begin with 1"));
    assert_eq!(up.host(), before);
}

#[test]
fn a_filter_compares_values_and_knows_what_there_is() {
    let up = Up::start();
    let list = |word: &str| up.appcmd(&["list", "apppool", word]);
    for word in [
        "/recycling.periodicRestart.time:29:00:00",
        "/recycling.periodicRestart.time:1.05:00:00",
        "/recycling.periodicRestart.time:$>28:00:00",
        "/managedPipelineMode:0",
        "/name:$=default*",
        "/name:$<>Shop*",
        "/queueLength:$<=1000",
        "/processModel.userName:",
    ] {
        assert_eq!(list(word).0, Some(0), "{word}: {}", list(word).1);
    }
    for word in ["/queueLength:$<1000", "/name:$=Def", "/state:Stopped"] {
        assert_eq!(list(word), (Some(1), String::new()), "{word}");
    }
    for word in ["/stat:Started", "/processModel.idle:1", "/bindings:*"] {
        let name = word[1..].split(':').next().unwrap();
        let said =
            format!("ERROR ( message:Unknown attribute \"{name}\".  Replace with -? for help. )\n");
        assert_eq!(list(word), (Some(1), said));
    }
}

#[test]
fn an_entry_is_removed_where_it_is_in_effect_and_nowhere_else() {
    let up = Up::start();
    let web_config = up.root.join("inetpub/wwwroot/web.config");
    for place in [SITE, ""] {
        let mut words = vec!["set", "config"];
        words.extend(Some(place).filter(|place| !place.is_empty()));
        words.extend(["/section:defaultDocument", "/-files.[value='nosuch.html']"]);
        let (code, said) = up.appcmd(&words);
        let missing = "ERROR ( message:Cannot find requested collection element. )\n";
        // 4312 in eight bits, as below.
        assert_eq!((code, &*said), (Some(216), missing));
    }
    assert!(!web_config.exists());
    let inherited = ["/section:defaultDocument", "/-files.[value='default.htm']"];
    assert_eq!(set(&up, &inherited).0, Some(0));
    let (code, said) = set(&up, &inherited);
    assert_eq!(code, Some(216), "it is gone: {said}");
}

#[test]
fn an_inherited_entry_is_edited_and_a_lock_stays_though_its_neighbour_has_none() {
    let up = Up::start();
    let text = [
        "/section:staticContent",
        "/[fileExtension='.txt'].mimeType:text/x",
    ];
    assert_eq!(set(&up, &text).0, Some(0));
    let file = up.root.join("inetpub/wwwroot/web.config");
    let own = std::fs::read_to_string(&file).unwrap();
    for line in [
        "<remove fileExtension=\".txt\" />",
        "<mimeMap fileExtension=\".txt\" mimeType=\"text/x\" />",
    ] {
        assert!(own.contains(line), "{own}");
    }
    let unlock = ["unlock", "config", SITE, "/section:windowsAuthentication"];
    assert_eq!(up.appcmd(&unlock).0, Some(0));
    let anonymous = "/section:anonymousAuthentication";
    assert_eq!(
        set(&up, &[anonymous, "/enabled:true", "/commit:apphost"]).0,
        Some(0)
    );
    let (code, said) = set(&up, &[anonymous, "/enabled:false"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("cannot be used at this path"), "{said}");
}

#[test]
fn what_outer_levels_filter_is_listed_with_what_a_site_adds() {
    let up = Up::start();
    let section = "/section:requestFiltering";
    let add = |segment: &str| format!("/+hiddenSegments.[segment='{segment}']");
    assert_eq!(
        up.appcmd(&["set", "config", section, &add("one")]).0,
        Some(0)
    );
    assert_eq!(set(&up, &[section, &add("two")]).0, Some(0));
    let (_, listed) = up.appcmd(&["list", "config", SITE, section]);
    let one = listed.find("<add segment=\"one\" />").unwrap();
    assert!(
        one < listed.find("<add segment=\"two\" />").unwrap(),
        "{listed}"
    );
    let duplicate = "ERROR ( message:Failed to add duplicate collection element \"one\". )\n";
    let said = set(&up, &[section, &add("one")]);
    assert_eq!(said, (Some(183), duplicate.to_owned()), "it is inherited");
    let said = set(&up, &[section, &add("one"), "/commit:apphost"]);
    assert_eq!(said, (Some(183), duplicate.to_owned()));
}

#[test]
fn a_site_that_is_not_there_is_not_found_and_a_folder_below_one_is() {
    let up = Up::start();
    let section = "/section:directoryBrowse";
    let not_found = "ERROR ( message:Cannot find SITE object with identifier \"Nope\". )\n";
    for words in [
        &["list", "config", "Nope", section][..],
        &["list", "config", "Nope/a"],
        &[
            "set",
            "config",
            "Nope",
            section,
            "/enabled:true",
            "/commit:apphost",
        ],
        &[
            "add",
            "app",
            "/site.name:Nope",
            "/path:/x",
            "/physicalPath:C:\\x",
        ],
    ] {
        let not_found = (Some(1168 % 256), not_found.to_owned());
        assert_eq!(up.appcmd(words), not_found, "{words:?}");
    }
    assert_eq!(
        up.appcmd(&["list", "config", "Default Web Site/a/b", section])
            .0,
        Some(0)
    );
    let (code, said) = up.appcmd(&["delete", "site", SITE, "Other"]);
    let surplus = "Failed to process input: The parameter 'Other' must begin with a / or - (HRESULT=80070057).\n";
    assert_eq!((code, said.as_str()), (Some(87), surplus));
    assert_eq!(
        up.appcmd(&["list", "site", SITE]).0,
        Some(0),
        "nothing is done by half"
    );
    let compilation = ["set", "config", "/section:compilation", "/debug:True"];
    assert_eq!(up.appcmd(&compilation).0, Some(0));
    assert!(
        up.host().contains("<compilation debug=\"true\" />"),
        "{}",
        up.host()
    );
}

#[test]
fn sections_that_machine_config_declares_are_there_without_being_written() {
    let up = Up::start();
    for words in [
        &["/section:appSettings", "/+[key='a',value='1']"][..],
        &["/section:system.web/customErrors", "/mode:Off"],
        &["/section:machineKey", "/validation:SHA1"],
        &["/section:authentication", "/forms.loginUrl:~/in.aspx"],
        &["/section:smtp", "/network.host:mail"],
        &["/section:siteMap", "/+providers.[name='p',type='T']"],
    ] {
        let (code, said) = set(&up, words);
        assert_eq!(code, Some(0), "{said}");
    }
    let (code, said) = up.appcmd(&["set", "config", "/section:machineKey", "/validation:SHA1"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(up.host().contains("<machineKey validation=\"SHA1\" />"));
    let (_, said) = up.appcmd(&["list", "config", "/section:?"]);
    for name in ["caching/outputCache", "globalization", "profile", "trust"] {
        assert!(said.contains(&format!("\nsystem.web/{name}\n")), "{said}");
    }
    let written = std::fs::read_to_string(up.root.join("inetpub/wwwroot/web.config")).unwrap();
    assert!(
        written.contains("<add key=\"a\" value=\"1\" />")
            && written.contains("<customErrors mode=\"Off\" />")
            && written.contains("<machineKey validation=\"SHA1\" />")
            && written.contains("<forms loginUrl=\"~/in.aspx\" />")
            && written.contains("<network host=\"mail\" />")
            && written.contains("<add name=\"p\" type=\"T\" />"),
        "{written}"
    );
    assert_eq!(up.get("/default.aspx").status, 200);
}

#[test]
fn what_a_site_keeps_from_its_applications_is_neither_listed_nor_a_duplicate_there() {
    let up = Up::start();
    let wwwroot = up.root.join("inetpub/wwwroot");
    std::fs::create_dir_all(wwwroot.join("shop")).unwrap();
    let add = [
        "add",
        "app",
        "/site.name:Default Web Site",
        "/path:/shop",
        "/physicalPath:%SystemDrive%\\inetpub\\wwwroot\\shop",
    ];
    assert_eq!(up.appcmd(&add).0, Some(0));
    let own = "<configuration><location path=\".\" inheritInChildApplications=\"false\"><system.webServer>\
               <httpProtocol><customHeaders><add name=\"P\" value=\"1\"/></customHeaders></httpProtocol>\
               <modules><add name=\"PM\" type=\"A.B\"/></modules><staticContent><mimeMap fileExtension=\".p\" \
               mimeType=\"a/b\"/></staticContent></system.webServer></location></configuration>";
    std::fs::write(wwwroot.join("web.config"), own).unwrap();
    let shop = "Default Web Site/shop";
    for (section, listed, add) in [
        (
            "/section:modules",
            "name=\"PM\"",
            "/+[name='PM',type='C.D']",
        ),
        (
            "/section:httpProtocol",
            "name=\"P\"",
            "/+customHeaders.[name='P',value='3']",
        ),
        (
            "/section:staticContent",
            "fileExtension=\".p\"",
            "/+[fileExtension='.p',mimeType='c/d']",
        ),
    ] {
        let list = |at: &str| up.appcmd(&["list", "config", at, section]).1;
        assert!(list(SITE).contains(listed), "{}", list(SITE));
        assert!(!list(shop).contains(listed), "{}", list(shop));
        let (code, said) = up.appcmd(&["set", "config", shop, section, add]);
        assert_eq!(code, Some(0), "{said}");
        assert!(list(shop).contains(listed), "{}", list(shop));
    }
}

#[test]
fn two_dashes_take_an_attribute_away() {
    let up = Up::start();
    let section = "-section:anonymousAuthentication";
    let set = |words: &[&str]| up.appcmd(&[&["set", "config", section], words].concat());
    assert_eq!(set(&["-userName:joe", "-password:secret"]).0, Some(0));
    assert!(up.host().contains("userName=\"joe\" password=\"secret\""));
    // Source: Microsoft's page on anonymousAuthentication.
    let (code, said) = set(&["-userName:", "--password"]);
    assert_eq!(code, Some(0), "{said}");
    let text = up.host();
    assert!(
        text.contains("userName=\"\"") && !text.contains("secret"),
        "{text}"
    );
    let documents = |words: &[&str]| {
        up.appcmd(&[&["set", "config", "-section:defaultDocument"], words].concat())
    };
    assert_eq!(documents(&["-+files.[value='two.html']"]).0, Some(0));
    assert!(up.host().contains("two.html"));
    assert_eq!(documents(&["--files.[value='two.html']"]).0, Some(0));
    assert!(!up.host().contains("two.html"));
    let pool = ["set", "apppool", "DefaultAppPool"];
    let set = |word: &str| up.appcmd(&[&pool[..], &[word]].concat());
    assert_eq!(set("-processModel.maxProcesses:2").0, Some(0));
    assert_eq!(set("--processModel.maxProcesses").0, Some(0));
    assert!(!up.host().contains("maxProcesses"));
}

#[test]
fn a_bool_is_written_in_one_form_and_shown_so_however_the_file_has_it() {
    let up = Up::start();
    let mut words = vec!["set", "apppool", "DefaultAppPool", "/autoStart:True"];
    words.push("/recycling.disallowOverlappingRotation:TRUE");
    let (code, said) = up.appcmd(&words);
    assert_eq!(code, Some(0), "{said}");
    let text = up.host();
    assert!(
        text.contains("autoStart=\"true\"")
            && text.contains("disallowOverlappingRotation=\"true\""),
        "{text}"
    );
    let by_hand = text.replace("autoStart=\"true\"", "autoStart=\"True\"");
    std::fs::write(up.host_path(), by_hand).unwrap();
    let list = ["list", "apppool", "DefaultAppPool"];
    let shown = |how: &str| up.appcmd(&[&list[..], &[how]].concat()).1;
    assert_eq!(shown("/text:autoStart"), "true\n");
    assert!(shown("/config").contains("autoStart=\"true\""));
    assert!(shown("/text:*").contains("autoStart:\"true\""));
    up.appcmd(&["set", "apppool", "DefaultAppPool", "/queueLength:2000"]);
    assert!(
        up.host().contains("autoStart=\"True\""),
        "what is not changed stays"
    );
}

#[test]
fn what_is_no_attribute_cannot_be_taken_away() {
    let up = Up::start();
    let before = up.host();
    for words in [
        &["set", "apppool", "DefaultAppPool", "/-nosuch"][..],
        &["set", "apppool", "DefaultAppPool", "/-processModel.nosuch"],
        &["set", "config", "/section:urlCompression", "/-nosuch"],
        &["set", "config", SITE, "/section:urlCompression", "--nosuch"],
    ] {
        let unknown =
            "ERROR ( message:Unknown attribute \"nosuch\".  Replace with -? for help. )\n";
        let refused = (Some(1), unknown.to_owned());
        assert_eq!(up.appcmd(words), refused, "{words:?}");
    }
    assert_eq!(up.host(), before);
    assert!(!up.root.join("inetpub/wwwroot/web.config").exists());
}

#[test]
fn all_properties_stand_in_the_order_of_the_schema_and_a_section_in_that_of_the_file() {
    let up = Up::start();
    let pool = ["set", "apppool", "DefaultAppPool"];
    let words = ["/startMode:AlwaysRunning", "/cpu.action:NoAction"];
    assert_eq!(up.appcmd(&[&pool[..], &words].concat()).0, Some(0));
    let (_, said) = up.appcmd(&["list", "apppool", "DefaultAppPool", "/text:*"]);
    let stands = |said: &str, lines: &str| {
        let text = lines.replace("\n        ", "\n");
        assert!(said.contains(text.trim_start()), "{said}");
    };
    // Source: was.md, `/text:*`; the order is that of IIS_schema.xml.
    stands(
        &said,
        r#"
          [add]
            name:"DefaultAppPool"
            queueLength:"1000"
            autoStart:"true"
            enable32BitAppOnWin64:"false"
            managedRuntimeVersion:"v4.0"
            managedRuntimeLoader:"webengine4.dll"
            enableConfigurationOverride:"true"
            managedPipelineMode:"Integrated"
            CLRConfigFile:""
            passAnonymousToken:"true"
            startMode:"AlwaysRunning""#,
    );
    stands(
        &said,
        "
            [processModel]
              identityType:\"ApplicationPoolIdentity\"
              userName:\"\"",
    );
    let at = |word: &str| said.find(word).unwrap();
    let elements = ["[processModel]", "[recycling]", "[failure]", "[cpu]"];
    assert!(elements.map(at).is_sorted(), "{said}");
    let (_, said) = up.appcmd(&["list", "site", SITE, "/text:*"]);
    let at = |word: &str| said.find(word).unwrap();
    let elements = ["[bindings]", "[limits]", "[logFile]", "[application]"];
    assert!(elements.map(at).is_sorted(), "{said}");
    // Source: Microsoft's "Getting Started with AppCmd.exe".
    let (_, said) = up.appcmd(&["list", "site", SITE, "/config"]);
    let at = |word: &str| said.find(word).unwrap();
    assert!(at("<application ") < at("<bindings>"), "{said}");
}

#[test]
fn a_file_that_cannot_be_used_is_named_with_its_line() {
    let up = Up::start();
    let good = up.host();
    let list = ["list", "config", "/section:caching"];
    let refused = |text: &str, words: &[&str], line: &str, description: &str| {
        std::fs::write(up.host_path(), text).unwrap();
        let (code, said) = up.appcmd(words);
        let line = 1 + text.lines().position(|one| one.contains(line)).unwrap();
        let file = up.host_path().canonicalize().unwrap();
        let expected = format!(
            "ERROR ( message:Configuration error\nFilename: {}\nLine Number: {line}\nDescription: {description}\n. )\n",
            file.display()
        );
        assert_eq!((code, said), (Some(1), expected));
    };
    let torn = good.replace("</sites>", "</nothing>");
    let description = "Configuration file is not well-formed XML";
    for words in [
        &list[..],
        &["list", "sites"],
        &["set", "apppool", "DefaultAppPool", "/queueLength:50"],
    ] {
        refused(&torn, words, "</nothing>", description);
    }
    let twice = good.replace(
        "<applicationPools>",
        "<applicationPools>\n<add name=\"X\" />\n<add name='x' />",
    );
    let description = "Cannot add duplicate collection entry of type 'add' with unique key attribute 'name' \
                       set to 'x'";
    for words in [
        &["list", "apppools"][..],
        &["set", "apppool", "DefaultAppPool", "/queueLength:50"],
    ] {
        refused(&twice, words, "<add name='x' />", description);
    }
    // Of the other sections nothing is wrong.
    assert_eq!(up.appcmd(&list).0, Some(0));
}

#[test]
fn a_parameter_that_a_command_does_not_know_changes_nothing() {
    let up = Up::start();
    up.appcmd(&["add", "apppool", "/name:P2"]);
    let before = up.host();
    for words in [
        &["delete", "apppool", "P2", "/foo:1"][..],
        &["stop", "apppool", "P2", "/foo:1"],
        &[
            "lock",
            "config",
            "/section:httpErrors",
            "/lockAttributes:errorMode",
        ],
        &["clear", "config", "/section:caching", "/foo:1"],
        &["add", "backup", "b", "/foo:1"],
        &["list", "request", "/foo:1"],
        &["search", "config", "/section:caching", "/foo:1"],
    ] {
        let (code, said) = up.appcmd(words);
        assert_eq!(code, Some(1), "{words:?}: {said}");
        let is_said = said.starts_with("ERROR ( message:Unknown attribute \"");
        assert!(is_said, "{words:?}: {said}");
    }
    assert_eq!(up.host(), before);
    let (_, pool) = up.appcmd(&["list", "apppool", "P2"]);
    assert!(pool.contains("state:Started"), "{pool}");
}
