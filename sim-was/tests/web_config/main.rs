//! The files around applicationHost.config: what a web.config changes, what it may not, and whom its
//! mistakes concern.

use std::collections::BTreeMap;

use sim_was::config::effects::{EffectKind, effects_of};
use sim_was::config::view::Views;
use sim_was::config::{Application, Configuration, Disk, FoundFile, load_tree};
use sim_was::model::Personality;

mod locks;

const HOST: &str = r#"<configuration>
  <configSections>
    <sectionGroup name="system.webServer">
      <section name="caching" overrideModeDefault="Allow" />
      <section name="serverRuntime" overrideModeDefault="Deny" />
      <section name="staticContent" overrideModeDefault="Allow" />
    </sectionGroup>
  </configSections>
  <system.applicationHost>
    <applicationPools><add name="DefaultAppPool" /></applicationPools>
    <sites>
      <site name="Shop" id="1">
        <application path="/"><virtualDirectory path="/" physicalPath="C:\shop" /></application>
        <application path="/api"><virtualDirectory path="/" physicalPath="D:\api" /></application>
      </site>
      <site name="Blog" id="2">
        <application path="/"><virtualDirectory path="/" physicalPath="C:\blog" /></application>
      </site>
    </sites>
  </system.applicationHost>
  <location path="" overrideMode="Allow">
    <system.webServer>
      <defaultDocument><files><add value="server.htm" /></files></defaultDocument>
      <caching lockAttributes="enableKernelCache" enabled="true" />
    </system.webServer>
  </location>
  <location path="Blog" overrideMode="Deny">
    <system.webServer><staticContent /></system.webServer>
  </location>
</configuration>"#;

/// Files by their Windows paths in lower case.
struct Files<'t>(BTreeMap<String, &'t str>);

impl Disk for Files<'_> {
    fn read(&mut self, path: &str) -> Option<FoundFile> {
        let text = self.0.get(&path.to_lowercase())?;
        Some(FoundFile {
            name: path.to_owned(),
            bytes: Ok(text.as_bytes().to_vec()),
            modified: text.len() as u64,
        })
    }

    fn folders(&mut self, folder: &str) -> Vec<String> {
        let folder = folder.to_lowercase();
        let below = self.0.keys().filter_map(|path| {
            let relative = path.strip_suffix("\\web.config")?.strip_prefix(&folder)?;
            relative.starts_with('\\').then(|| relative.to_owned())
        });
        below.collect()
    }
}

fn tree_of(host: &str, files: &[(&str, &str)]) -> Configuration {
    let files = files
        .iter()
        .map(|(path, text)| (path.to_lowercase(), *text));
    let mut files = Files(files.collect());
    load_tree(host.as_bytes(), "applicationHost.config", &mut files).expect("the host is good")
}

fn tree(files: &[(&str, &str)]) -> Configuration {
    tree_of(HOST, files)
}

/// `/`, `/api` of the first site, `/` of the second.
fn applications(configuration: &Configuration) -> [&Application; 3] {
    let all: Vec<_> = configuration
        .sites
        .iter()
        .flat_map(|site| &site.applications)
        .collect();
    all.try_into().expect("three applications")
}

fn web_server(inner: &str) -> String {
    format!("<configuration>\n<system.webServer>{inner}</system.webServer></configuration>")
}

fn errors(configuration: &Configuration) -> [Option<&str>; 3] {
    applications(configuration).map(|app| app.settings.error.as_deref())
}

#[test]
fn a_web_config_holds_for_its_application_and_those_below() {
    let text =
        web_server("<defaultDocument><files><add value='shop.htm' /></files></defaultDocument>");
    let found = tree(&[(r"C:\shop\web.config", &text)]);
    let [shop, api, blog] = applications(&found);
    assert_eq!(shop.settings.default_documents, ["shop.htm", "server.htm"]);
    assert_eq!(api.settings.default_documents, ["shop.htm", "server.htm"]);
    assert_eq!(blog.settings.default_documents, ["server.htm"]);
}

#[test]
fn an_inner_web_config_wins_and_may_clear_what_it_inherits() {
    let outer =
        web_server("<defaultDocument><files><add value='shop.htm' /></files></defaultDocument>");
    let inner = web_server(
        "<defaultDocument><files><clear /><add value='api.htm' /></files></defaultDocument>",
    );
    let found = tree(&[
        (r"C:\shop\web.config", &outer),
        (r"D:\api\web.config", &inner),
    ]);
    assert_eq!(
        applications(&found)[1].settings.default_documents,
        ["api.htm"]
    );
}

#[test]
fn what_is_not_inherited_by_child_applications_stays_at_home() {
    let text = "<configuration><location path='.' inheritInChildApplications='false'><system.webServer>\
                <caching enabled='false' /></system.webServer></location></configuration>";
    let found = tree(&[(r"C:\shop\web.config", text)]);
    let [shop, api, _] = applications(&found);
    assert_eq!(
        (shop.settings.caching.enabled, api.settings.caching.enabled),
        (false, true)
    );
}

#[test]
fn a_mistake_is_500_19_with_file_and_line_for_the_application_and_those_below_it_only() {
    for (text, why) in [
        (
            web_server("<caching enabld='true' />"),
            "line 2: unknown attribute \"enabld\"",
        ),
        (
            "<configuration>\n<broken></configuration>".to_owned(),
            "line 2: is not well-formed",
        ),
        (
            web_server("<caching enabled='maybe' />"),
            "not true or false",
        ),
        ("<nonsense />".to_owned(), "not <configuration>"),
        (
            "<configuration>\n<location path='x' allowOverride='no' /></configuration>".to_owned(),
            "line 2: allowOverride=\"no\" in location is not true or false",
        ),
    ] {
        let found = tree(&[(r"C:\shop\web.config", &text)]);
        let [shop, api, blog] = errors(&found);
        assert!(
            shop.is_some_and(|e| e.contains(why) && e.contains(r"C:\shop\web.config")),
            "{shop:?}"
        );
        assert!(api.is_some() && blog.is_none());
    }
}

#[test]
fn a_file_that_has_a_section_twice_is_500_19() {
    let section = |enabled: &str| format!("<defaultDocument enabled='{enabled}' />");
    let group = |enabled: &str| {
        let section = section(enabled);
        format!("<system.webServer>{section}</system.webServer>")
    };
    let location =
        |path: &str, enabled| format!("<location path='{path}'>{}</location>", group(enabled));
    let file = |inner: &str| format!("<configuration>\n{inner}</configuration>");
    let twice = [
        file(&format!(
            "<system.webServer>{}{}</system.webServer>",
            section("true"),
            section("false")
        )),
        file(&(group("true") + &group("false"))),
        file(&(location(".", "true") + &location("", "false"))),
    ];
    for text in &twice {
        let found = tree(&[(r"D:\api\web.config", text)]);
        let [shop, api, blog] = errors(&found);
        assert_eq!((shop, blog), (None, None));
        let error = api.unwrap_or_default();
        let expected = r"D:\api\web.config: line 2: Config section 'system.webServer/defaultDocument' already defined.";
        assert!(error.starts_with(expected), "{text}: {error}");
    }
    let apart = [
        file(&(group("true") + &location("a", "false"))),
        file(&(location("a", "true") + &location("b", "false"))),
    ];
    for text in &apart {
        let found = tree(&[(r"D:\api\web.config", text)]);
        assert_eq!(errors(&found), [None; 3], "{text}");
    }
    let of_host = location("Blog", "true") + &location("BLOG/", "false") + "</configuration>";
    let found = tree_of(&HOST.replace("</configuration>", &of_host), &[]);
    let [shop, api, blog] = errors(&found);
    assert_eq!((shop, api), (None, None));
    assert!(blog.is_some_and(|error| error.contains("already defined")));
    let text = HOST.replace("</configuration>", &of_host);
    let views = Views::new(&text, "applicationHost.config");
    let mistake = |at| {
        let section = "system.webServer/defaultDocument";
        views.mistake(section, at).unwrap().map(|fault| fault.text)
    };
    assert!(mistake("Blog").is_some_and(|text| text.contains("already defined")));
    assert_eq!(mistake("Shop"), None);
}

#[test]
fn what_a_location_cannot_have_makes_a_web_config_useless() {
    for (inner, why) in [
        (
            "<location path='a' foo='1' />",
            "Unrecognized attribute 'foo'",
        ),
        (
            "<configSections /><configSections />",
            "Only one <configSections>",
        ),
    ] {
        let text = format!("<configuration>\n{inner}</configuration>");
        let found = tree(&[(r"D:\api\web.config", &text)]);
        let [_, api, _] = errors(&found);
        let error = api.unwrap_or_default();
        assert!(
            error.contains(&format!("line 2: {why}")),
            "{inner}: {error}"
        );
    }
}

#[test]
fn a_mistake_in_the_hosts_sections_is_500_19_for_the_requests_that_it_concerns() {
    let good = "<system.webServer><staticContent><mimeMap fileExtension='.json' mimeType='a/b' /></staticContent>";
    for (wrong, why) in [
        ("<handlers foo='1' />", "unknown attribute \"foo\""),
        (
            "<defaultDocument><nonsense /></defaultDocument>",
            "unknown element <nonsense>",
        ),
        (
            "<staticContent><mimeMap fileExtension='.x' mimeType='a/b' /><mimeMap fileExtension='.x' mimeType='a/b' />\
             </staticContent>",
            "duplicate collection entry of type 'mimeMap'",
        ),
        (
            "<staticContent><mimeMap fileExtension='.json' mimeType='c/d' /></staticContent>",
            "duplicate collection entry of type 'mimeMap'",
        ),
    ] {
        let location = format!(
            "{good}</system.webServer><location path='Shop/api'><system.webServer>{wrong}</system.webServer>\
             </location></configuration>"
        );
        let found = tree_of(&HOST.replace("</configuration>", &location), &[]);
        let [shop, api, blog] = errors(&found);
        assert!(shop.is_none() && blog.is_none(), "{shop:?} {blog:?}");
        let api = api.expect(wrong);
        assert!(
            api.starts_with("applicationHost.config: line 30: ") && api.contains(why),
            "{api}"
        );
        assert!(
            found
                .warnings
                .iter()
                .any(|w| w.event == 5174 && w.text.contains(why))
        );
    }
    let top = "<system.webServer><httpErrors foo='1' /></system.webServer></configuration>";
    let found = tree_of(&HOST.replace("</configuration>", top), &[]);
    assert!(errors(&found).iter().all(Option::is_some));
}

#[test]
fn an_entry_that_an_outer_level_has_must_be_removed_before_it_is_added() {
    let add = "<add value='server.htm' />";
    let wrong = web_server(&format!(
        "<defaultDocument><files>{add}</files></defaultDocument>"
    ));
    let [shop, api, blog] =
        errors(&tree(&[(r"C:\shop\web.config", &wrong)])).map(|error| error.map(str::to_owned));
    let shop = shop.expect("it is there twice");
    assert!(
        shop.starts_with(
            r"C:\shop\web.config: line 2: Cannot add duplicate collection entry of type 'add'"
        ),
        "{shop}"
    );
    assert!(api.is_some() && blog.is_none());
    for taken in ["<remove value='server.htm' />", "<clear />"] {
        let text = format!("<defaultDocument><files>{taken}{add}</files></defaultDocument>");
        let found = tree(&[(r"C:\shop\web.config", &web_server(&text))]);
        assert_eq!(errors(&found)[0], None, "{taken}");
    }
}

#[test]
fn an_entry_of_a_section_without_a_schema_must_be_removed_before_it_is_added_too() {
    let segments = |content: &str| {
        format!(
            "<security><requestFiltering><hiddenSegments>{content}</hiddenSegments></requestFiltering></security>"
        )
    };
    let add = "<add segment='one' />";
    let section = "<section name=\"requestFiltering\" />";
    let declared = format!(
        "<sectionGroup name=\"system.webServer\"><sectionGroup name=\"security\">{section}</sectionGroup></sectionGroup>"
    );
    let host = HOST.replace("<configSections>", &format!("<configSections>{declared}"));
    let host = host.replace(
        "</configuration>",
        &format!(
            "<system.webServer>{}</system.webServer></configuration>",
            segments(add)
        ),
    );
    let error = |content: &str| {
        let text = web_server(&segments(content));
        let found = tree_of(&host, &[(r"C:\shop\web.config", &text)]);
        errors(&found)[0].map(str::to_owned)
    };
    let twice = error(add).expect("it is there twice");
    assert!(
        twice.contains("with unique key attribute 'segment' set to 'one'"),
        "{twice}"
    );
    assert_eq!(error(&format!("<remove segment='one' />{add}")), None);
    assert_eq!(error("<add segment='two' />"), None);
}

#[test]
fn a_list_that_the_server_leaves_out_is_the_one_that_is_shipped() {
    let segments = |content: &str| {
        format!(
            "<security><requestFiltering><hiddenSegments>{content}</hiddenSegments></requestFiltering></security>"
        )
    };
    let hidden = |host: &str| {
        let own = web_server(&segments("<add segment='own' />"));
        let found = tree_of(host, &[(r"C:\shop\web.config", &own)]);
        let filtering = &found.sites[0].applications[0].settings.request_filtering;
        filtering.hidden_segments.clone()
    };
    let of_server = |path: &str| {
        let section = segments("<add segment='one' />");
        let written = format!(
            "<location path='{path}'><system.webServer>{section}</system.webServer></location>"
        );
        HOST.replace("</configuration>", &format!("{written}</configuration>"))
    };
    let shipped = hidden(HOST);
    assert!(
        shipped.len() == 9 && shipped.contains(&"bin".to_owned()),
        "{shipped:?}"
    );
    assert_eq!(hidden(&of_server("")), ["one", "own"]);
    assert_eq!(hidden(&of_server("Shop")).len(), 10);
}

#[test]
fn the_frameworks_own_files_lie_under_everything() {
    let machine = web_server("<caching maxResponseSize='5' enabled='false' />");
    let path = r"%SystemRoot%\Microsoft.NET\Framework64\v4.0.30319\Config\machine.config";
    let found = tree(&[(path, &machine)]);
    let [shop, _, blog] = applications(&found);
    assert_eq!(
        (
            shop.settings.caching.max_response_size,
            blog.settings.caching.max_response_size
        ),
        (5, 5)
    );
    assert!(
        shop.settings.caching.enabled,
        "applicationHost.config lies over it"
    );
}

#[test]
fn sections_that_nobody_here_knows_are_left_alone() {
    let text = "<configuration><configSections><section name='x' /></configSections><x y='z' />\
                <connectionStrings configSource='c.config' /><system.web><compilation debug='true' future='1' />\
                </system.web><system.webServer><rewrite><rules /></rewrite></system.webServer></configuration>";
    assert_eq!(errors(&tree(&[(r"C:\shop\web.config", text)])), [None; 3]);
}

#[test]
fn a_changed_web_config_restarts_its_application_and_those_below() {
    let (old, new) = (
        tree(&[(r"C:\shop\web.config", "<configuration />")]),
        tree(&[(r"C:\shop\web.config", "<configuration></configuration>")]),
    );
    for (old, new) in [(&old, &new), (&tree(&[]), &new), (&old, &tree(&[]))] {
        let effects = effects_of(old, new, Personality::Iis10);
        assert_eq!(effects.len(), 1, "{effects:#?}");
        assert_eq!(effects[0].kind, EffectKind::ApplicationRestart);
        assert_eq!(
            effects[0].applications,
            [(1, "/".to_owned()), (1, "/api".to_owned())]
        );
    }
}

#[test]
fn an_entity_bomb_or_a_huge_file_is_refused_for_its_application_alone() {
    let bomb = "<!DOCTYPE a [<!ENTITY b 'c'>]><configuration>&b;</configuration>";
    let huge = format!(
        "<configuration><!--{}--></configuration>",
        "x".repeat(300 << 10)
    );
    for text in [bomb, &huge] {
        let found = tree(&[(r"C:\blog\web.config", text)]);
        let [shop, _, blog] = errors(&found);
        assert!(blog.is_some() && shop.is_none(), "{blog:?}");
    }
}

fn documents(names: &str) -> String {
    web_server(&format!(
        "<defaultDocument><files><clear /><add value='{names}' /></files></defaultDocument>"
    ))
}

#[test]
fn a_folder_inside_of_an_application_has_a_web_config_of_its_own() {
    let images = documents("images.htm");
    let found = tree(&[(r"C:\shop\Images\web.config", &images)]);
    let [shop, api, _] = applications(&found);
    assert_eq!(shop.settings.default_documents, ["server.htm"]);
    assert_eq!(shop.paths.keys().collect::<Vec<_>>(), ["/images"]);
    for (path, documents) in [
        ("/", "server.htm"),
        ("/images.htm", "server.htm"),
        ("/images/", "images.htm"),
        ("/images/old/a.png", "images.htm"),
    ] {
        let settings = shop.settings_at(path);
        assert_eq!(settings.default_documents, [documents], "{path}");
    }
    assert!(api.paths.is_empty());
    assert!(shop.web_configs.contains(&r"c:\shop\images".to_owned()));
    assert!(!api.web_configs.contains(&r"c:\shop\images".to_owned()));
}

#[test]
fn a_folder_under_an_application_reaches_the_application_and_not_past_it() {
    // The application /api lies elsewhere: what is in C:\shop\api is not asked.
    let text = documents("folder.htm");
    let found = tree(&[
        (r"C:\shop\api\web.config", &text),
        (r"D:\api\v1\web.config", &text),
    ]);
    let [shop, api, _] = applications(&found);
    assert!(shop.paths.is_empty());
    assert_eq!(api.settings.default_documents, ["server.htm"]);
    assert_eq!(api.settings_at("/v1/").default_documents, ["folder.htm"]);
    let outside = HOST.replace("path=\"/api\"", "path=\"/old/api\"");
    let found = tree_of(&outside, &[(r"C:\shop\old\web.config", &text)]);
    let [shop, api, _] = applications(&found);
    assert_eq!(shop.settings_at("/old").default_documents, ["folder.htm"]);
    assert_eq!(api.settings.default_documents, ["folder.htm"]);
    assert!(api.web_configs.contains(&r"c:\shop\old".to_owned()));
}

#[test]
fn a_mistake_in_a_folder_is_500_19_there_only() {
    let broken = web_server("<caching enabld='true' />");
    let found = tree(&[(r"C:\shop\images\web.config", &broken)]);
    assert_eq!(errors(&found), [None; 3]);
    let error = applications(&found)[0]
        .settings_at("/images/a.png")
        .error
        .clone();
    assert!(error.is_some_and(|error| error.contains(r"C:\shop\images\web.config: line 2")));
}

#[test]
fn a_virtual_directory_has_one_too_unless_its_folders_may_not() {
    let text = documents("files.htm");
    let files = [
        (r"E:\files\web.config", text.as_str()),
        (r"E:\files\deep\web.config", text.as_str()),
    ];
    for (allowed, deep) in [("true", 1), ("false", 0)] {
        let directory = format!(
            r#"<virtualDirectory path="/files" physicalPath="E:\files" allowSubDirConfig="{allowed}" /></application>"#
        );
        let host = HOST.replacen("</application>", &directory, 1);
        let found = tree_of(&host, &files);
        let shop = applications(&found)[0];
        assert_eq!(shop.settings_at("/files/").default_documents, ["files.htm"]);
        let chain = shop.web_configs.iter();
        assert_eq!(
            chain.filter(|folder| folder.ends_with("deep")).count(),
            deep
        );
    }
}

#[test]
fn a_location_of_the_server_counts_for_a_path_inside_of_an_application() {
    let block = r#"<location path="Shop/images/a.htm"><system.webServer><caching enabled="false" /></system.webServer></location></configuration>"#;
    let host = HOST.replace("</configuration>", block);
    let found = tree_of(&host, &[]);
    let shop = applications(&found)[0];
    assert!(!shop.settings_at("/images/a.htm").caching.enabled);
    assert!(shop.settings_at("/images/b.htm").caching.enabled);
}

#[test]
fn what_clients_may_keep_is_told_in_header_lines() {
    for (cache, lines) in [
        ("", ""),
        (
            "<clientCache cacheControlMode='DisableCache' />",
            "Cache-Control: no-cache\r\n",
        ),
        (
            "<clientCache cacheControlMode='UseMaxAge' cacheControlMaxAge='00:10:00' cacheControlCustom='public' />",
            "Cache-Control: max-age=600,public\r\n",
        ),
        (
            "<clientCache cacheControlMode='UseExpires' httpExpires='Sun, 29 Mar 2037 00:00:00 GMT' />",
            "Expires: Sun, 29 Mar 2037 00:00:00 GMT\r\n",
        ),
    ] {
        let text = web_server(&format!("<staticContent>{cache}</staticContent>"));
        let found = tree(&[(r"C:\shop\web.config", &text)]);
        let told = &applications(&found)[0].settings.client_cache;
        assert_eq!((&*told.lines, told.set_etag), (lines, true));
    }
    let text = web_server("<staticContent><clientCache setEtag='false' /></staticContent>");
    let found = tree(&[(r"C:\shop\web.config", &text)]);
    assert!(!applications(&found)[0].settings.client_cache.set_etag);
}

#[test]
fn an_application_says_how_long_its_sessions_last() {
    let of = |attributes: &str| {
        let text = format!(
            "<configuration><system.web><sessionState {attributes} /></system.web></configuration>"
        );
        let found = tree(&[(r"C:\shop\web.config", &text)]);
        assert_eq!(errors(&found)[0], None);
        let [shop, api, blog] = applications(&found);
        assert_eq!(shop.session_state, api.session_state, "it is inherited");
        let minutes = |application: &Application| application.session_state.timeout.as_secs() / 60;
        assert_eq!(minutes(blog), 20);
        (minutes(shop), shop.session_state.enabled)
    };
    assert_eq!(of(""), (20, true));
    assert_eq!(of("timeout='90'"), (90, true));
    assert_eq!(of("mode='Off' timeout='5'"), (5, false));
    assert_eq!(of("mode='InProc'"), (20, true));
}

#[test]
fn a_site_adds_to_what_is_filtered_and_takes_away_from_it() {
    let section = "<section name=\"requestFiltering\" overrideModeDefault=\"Allow\" />";
    let declared = format!("<sectionGroup name=\"security\">{section}</sectionGroup>");
    let group = "<sectionGroup name=\"system.webServer\">";
    let host = HOST.replace(group, &format!("{group}{declared}"));
    let filtering = |text: &str| {
        let section = format!("<security><requestFiltering {text}</requestFiltering></security>");
        let found = tree_of(&host, &[(r"C:\shop\web.config", &web_server(&section))]);
        assert_eq!(errors(&found)[0], None);
        applications(&found)[0].settings.request_filtering.clone()
    };
    assert_eq!(
        filtering(">"),
        sim_worker::configuration::RequestFiltering::default()
    );
    let own = filtering(
        "allowDoubleEscaping='true' allowHighBitCharacters='false'>
         <hiddenSegments><remove segment='BIN' /><add segment='Secrets' /></hiddenSegments>
         <denyUrlSequences><add sequence='..A' /></denyUrlSequences>
         <verbs><add verb='TRACE' allowed='false' /></verbs>
         <fileExtensions allowUnlisted='false'><clear /><add fileExtension='.TXT' allowed='true' /></fileExtensions>",
    );
    assert!(own.allow_double_escaping && !own.allow_high_bit_characters);
    let hides = |name: &str| own.hidden_segments.iter().any(|segment| segment == name);
    assert!(hides("web.config") && hides("secrets") && !hides("bin"));
    assert_eq!(own.deny_url_sequences, ["..a"]);
    assert!(own.verbs.allows("get") && !own.verbs.allows("trace"));
    let allows = |extension| own.file_extensions.allows(extension);
    assert!(allows(".txt") && !allows(".htm") && !allows(".config"));
}
