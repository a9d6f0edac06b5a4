//! Where appcmd commits what it sets: the levels above a site, and the folders below one.

mod support;

use support::Up;

const SITE: &str = "Default Web Site";

fn set(up: &Up, words: &[&str]) -> (Option<i32>, String) {
    up.appcmd(&[&["set", "config", SITE], words].concat())
}

#[test]
fn a_configuration_that_is_missing_is_named_and_no_other_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    drop(Up::at(&root));
    let file = folder.path().join("mine.config");
    std::fs::write(&file, support::config(">")).unwrap();
    let config = ["--config".to_owned(), file.display().to_string()];
    let up = Up::with_words(&root, &config);
    let away = folder.path().join("away");
    std::fs::rename(&file, &away).unwrap();
    for words in [
        &["list", "site"][..],
        &["set", "apppool", "DefaultAppPool", "/queueLength:50"],
    ] {
        let (code, said) = up.appcmd(words);
        assert_ne!(code, Some(0), "{said}");
        assert!(said.contains("mine.config"), "{said}");
    }
    std::fs::rename(&away, &file).unwrap();
    let (code, said) = up.appcmd(&["list", "site"]);
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn what_is_committed_to_the_server_does_not_see_the_files_below_it() {
    let up = Up::start();
    let file = up.root.join("inetpub/wwwroot/web.config");
    let modules = |content: &str| {
        let text = format!(
            "<configuration><system.webServer><modules>{content}</modules></system.webServer></configuration>"
        );
        std::fs::write(&file, text).unwrap();
    };
    let before = up.host();
    let set = |word: &str| set(&up, &["/section:modules", word, "/commit:apphost"]);
    modules("<add name=\"WM\" type=\"A.B\"/>");
    let (code, said) = set("/[name='WM'].type:C.D");
    assert!(said.contains("Cannot find requested"), "{code:?} {said}");
    modules("<remove name=\"Session\"/>");
    let (code, said) = set("/+[name='Session',type='A.B']");
    let duplicate = "ERROR ( message:Failed to add duplicate collection element \"Session\". )\n";
    assert_eq!((code, said.as_str()), (Some(183), duplicate));
    assert_eq!(up.host(), before);
    let (code, said) = set("/[name='Session'].type:X");
    assert_eq!(code, Some(0), "{said}");
    assert!(up.host().contains("type=\"X\""), "{}", up.host());
    modules("<add name=\"WM\" type=\"A.B\"/>");
    let (code, said) = set("/+[name='WM',type='A.B']");
    assert_eq!(code, Some(0), "{said}");
    assert!(up.host().contains("name=\"WM\""), "{}", up.host());
}

#[test]
fn a_section_is_committed_to_the_files_of_the_framework() {
    let up = Up::start();
    let before = up.host();
    let folder = up
        .root
        .join("Windows/Microsoft.NET/Framework64/v4.0.30319/Config");
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    let section = "/section:system.web/machineKey";
    for (commit, path, file) in [
        ("/commit:WEBROOT", "MACHINE/WEBROOT", "web.config"),
        ("/commit:machine", "MACHINE", "machine.config"),
    ] {
        let words = ["set", "config", section, "/validation:SHA1", commit];
        let applied = format!(
            "Applied configuration changes to section \"system.web/machineKey\" for \
             \"MACHINE/WEBROOT/APPHOST\" at configuration commit path \"{path}\"\n"
        );
        assert_eq!(up.appcmd(&words), (Some(0), applied));
        let written = "<machineKey validation=\"SHA1\" />";
        assert!(read(file).contains(written), "{}", read(file));
        let changed = ["set", "config", section, "/validation:MD5", commit];
        assert_eq!(up.appcmd(&changed).0, Some(0));
        assert_eq!(read(file).matches("<machineKey").count(), 1);
    }
    let (_, said) = up.appcmd(&["list", "config", SITE, section]);
    assert!(said.contains("validation=\"MD5\""), "{said}");
    let (code, said) = set(&up, &[section, "/decryption:AES", "/commit:webroot"]);
    assert_eq!(code, Some(0), "{said}");
    let located = "<location path=\"Default Web Site\">";
    assert!(read("web.config").contains(located));
    for words in [
        ["/section:sites", "/[name='X'].id:5"],
        ["/section:caching", "/enabled:true"],
    ] {
        let set = ["set", "config", "/commit:webroot"];
        let (code, said) = up.appcmd(&[&set[..], &words].concat());
        assert_eq!(code, Some(1), "{said}");
    }
    assert_eq!(up.host(), before);
    assert_eq!(up.get("/default.aspx").status, 200);
}

#[test]
fn a_configuration_path_names_a_level_and_where_to_commit() {
    let up = Up::start();
    let section = "/section:system.web/httpRuntime";
    let web_root = "MACHINE/WEBROOT";
    let words = ["set", "config", web_root, section, "/maxRequestLength:9"];
    let (code, said) = up.appcmd(&words);
    assert_eq!(code, Some(0), "{said}");
    let end = "for \"MACHINE/WEBROOT\" at configuration commit path \"MACHINE/WEBROOT\"\n";
    assert!(said.ends_with(end), "{said}");
    let of = |path: &str| {
        let words = ["list", "config", path, section, "/text:maxRequestLength"];
        up.appcmd(&words).1
    };
    assert_eq!(of(web_root), "9\n");
    assert_ne!(of("MACHINE"), "9\n");
    assert_eq!(of("MACHINE/WEBROOT/APPHOST/Default Web Site"), "9\n");

    std::fs::create_dir_all(up.root.join("inetpub/wwwroot/sub/deep")).unwrap();
    let browse = |commit: &str| {
        let path = "Default Web Site/sub/deep";
        let section = "/section:directoryBrowse";
        up.appcmd(&["set", "config", path, section, "/enabled:true", commit])
    };
    for commit in [
        "Default Web Site/Sub",
        "MACHINE/WEBROOT/APPHOST/Default Web Site/sub",
    ] {
        let (code, said) = browse(&format!("/commit:{commit}"));
        assert_eq!(code, Some(0), "{said}");
    }
    let written = up.root.join("inetpub/wwwroot/sub/web.config");
    assert!(written.is_file());
    let (code, said) = browse("/commit:Other Site");
    assert_eq!(code, Some(1));
    assert!(
        said.contains("Invalid commit path \"Other Site\""),
        "{said}"
    );
}
