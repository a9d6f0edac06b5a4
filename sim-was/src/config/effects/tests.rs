//! Which change needs what, as administrators' pages tell it.

use super::*;
use crate::config::edit::{Change, apply};
use crate::config::load;

const TEXT: &str = r#"<configuration>
  <system.applicationHost>
    <applicationPools>
      <add name="A" />
      <add name="B">
        <recycling disallowRotationOnConfigChange="true" />
      </add>
      <applicationPoolDefaults managedRuntimeVersion="v4.0" />
    </applicationPools>
    <sites>
      <site name="One" id="1">
        <application path="/" applicationPool="A">
          <virtualDirectory path="/" physicalPath="C:\one" />
        </application>
        <application path="/shop" applicationPool="B">
          <virtualDirectory path="/" physicalPath="C:\shop" />
        </application>
        <bindings><binding protocol="http" bindingInformation="*:80:" /></bindings>
      </site>
      <site name="Two" id="2">
        <application path="/" applicationPool="B">
          <virtualDirectory path="/" physicalPath="C:\two" />
        </application>
        <bindings><binding protocol="http" bindingInformation="*:81:" /></bindings>
      </site>
    </sites>
  </system.applicationHost>
  <system.webServer><caching enabled="true" /></system.webServer>
  <system.ftpServer><serverRuntime hostNameSupport="true" /></system.ftpServer>
</configuration>"#;

fn effects(changes: &[Change]) -> Vec<Effect> {
    let new = apply(TEXT, changes).unwrap();
    let read = |text: &str| load(text, "applicationHost.config").unwrap();
    effects_of(&read(TEXT), &read(&new), Personality::Iis10)
}

/// Kind and pools of the one effect of a change.
fn effect(change: Change) -> (EffectKind, Vec<String>) {
    let effects = effects(&[change]);
    let [effect] = effects.as_slice() else {
        panic!("one effect: {effects:#?}");
    };
    assert!(!effect.why.is_empty() && !effect.source.is_empty());
    (effect.kind, effect.pools.clone())
}

fn text(change: &str) -> Change {
    change.parse().unwrap()
}

#[test]
fn nothing_follows_from_no_change_or_from_a_value_written_in_another_way() {
    assert_eq!(effects(&[]), []);
    assert_eq!(effects(&[Change::pool("A", "queueLength", "1000")]), []);
    assert_eq!(
        effects(&[Change::pool(
            "A",
            "recycling.periodicRestart.time",
            "29:00:00"
        )]),
        []
    );
    assert_eq!(
        effects(&[Change::pool("A", "managedRuntimeVersion", "v4.0")]),
        []
    );
}

#[test]
fn most_settings_of_a_pool_recycle_that_pool_and_some_are_live() {
    for path in [
        "processModel.idleTimeout",
        "processModel.pingInterval",
        "processModel.shutdownTimeLimit",
        "processModel.startupTimeLimit",
        "recycling.periodicRestart.time",
    ] {
        let recycle = (EffectKind::PoolRecycle, vec!["A".to_owned()]);
        assert_eq!(
            effect(Change::pool("A", path, "00:10:00")),
            recycle,
            "{path}"
        );
    }
    for (path, value) in [
        ("queueLength", "2000"),
        ("failure.rapidFailProtection", "false"),
        ("failure.loadBalancerCapabilities", "TcpLevel"),
        ("startMode", "AlwaysRunning"),
        ("autoStart", "false"),
    ] {
        assert_eq!(
            effect(Change::pool("A", path, value)).0,
            EffectKind::Live,
            "{path}"
        );
    }
}

#[test]
fn a_pool_that_must_not_rotate_waits_for_its_next_worker() {
    let change = Change::pool("B", "processModel.idleTimeout", "00:10:00");
    assert_eq!(
        effect(change),
        (EffectKind::NextWorkerStart, vec!["B".to_owned()])
    );
}

#[test]
fn a_default_recycles_every_pool_whose_value_changes() {
    let change =
        "system.applicationHost/applicationPools.applicationPoolDefaults.managedRuntimeVersion:";
    let effects = effects(&[text(change)]);
    let pools: Vec<_> = effects
        .iter()
        .map(|e| (e.pools[0].as_str(), e.kind))
        .collect();
    assert_eq!(
        pools,
        [
            ("A", EffectKind::PoolRecycle),
            ("B", EffectKind::NextWorkerStart)
        ]
    );
    assert_eq!(
        (effects[0].old_line, effects[0].new.as_deref()),
        (Some(8), Some(""))
    );
}

#[test]
fn sites_applications_and_bindings_come_and_go_without_a_recycle() {
    let binding = "+system.applicationHost/sites[name='One'].bindings.[protocol='http',bindingInformation='*:8080:']";
    let effects = effects(&[text(binding)]);
    assert!(
        effects.iter().all(|e| e.kind == EffectKind::SiteRebind),
        "{effects:#?}"
    );
    let [come] = effects.as_slice() else {
        panic!("one thing was changed: {effects:#?}");
    };
    assert_eq!(
        come.what,
        "site 'One': bindings.binding[protocol='http',bindingInformation='*:8080:']"
    );
    assert_eq!(
        (come.old.as_deref(), come.new.as_deref()),
        (None, Some("present"))
    );
    for change in [
        "+system.applicationHost/sites.[name='Three',id='3']",
        "-system.applicationHost/sites.[name='Two']",
        "-system.applicationHost/sites[name='One'].[path='/shop']",
    ] {
        assert_eq!(effect(text(change)).0, EffectKind::SiteRebind, "{change}");
    }
}

#[test]
fn an_application_moves_or_restarts_without_its_pool() {
    let moved = effects(&[Change::application("One", "/shop", "applicationPool", "A")]);
    assert_eq!(moved[0].kind, EffectKind::ApplicationRestart);
    assert_eq!(
        (&moved[0].pools, &moved[0].applications),
        (
            &vec!["A".to_owned(), "B".to_owned()],
            &vec![(1, "/shop".to_owned())]
        )
    );
    assert_eq!(
        moved[0].what,
        "application '/shop' of site 'One': applicationPool"
    );
    let path = Change::virtual_directory("One", "/", "/", "physicalPath", "C:\\new");
    assert_eq!(
        effect(path),
        (EffectKind::ApplicationRestart, vec!["A".to_owned()])
    );
}

#[test]
fn a_section_restarts_the_applications_that_it_holds_for() {
    let of = |change: &str| effects(&[text(change)])[0].applications.clone();
    let all = [(1, "/"), (1, "/shop"), (2, "/")].map(|(site, path)| (site, path.to_owned()));
    assert_eq!(of("system.webServer/caching.enabled:false"), all);
    assert_eq!(
        of("@'One' system.webServer/caching.enabled:false"),
        all[..2]
    );
    assert_eq!(
        of("@'one/Shop' system.webServer/caching.enabled:false"),
        all[1..2]
    );
    assert_eq!(
        of("@'One/shop/inner' system.webServer/caching.enabled:false"),
        all[1..2]
    );
}

#[test]
fn a_lock_is_felt_at_once_by_those_who_have_the_section() {
    let host = |declared: &str, mode: &str| {
        let declared = format!(
            "<configuration><configSections><sectionGroup name='system.webServer'>{declared}</sectionGroup>\
             </configSections>"
        );
        let location = format!(
            "<location path='' {mode}><system.webServer><urlCompression /></system.webServer></location></configuration>"
        );
        let text = TEXT.replace("<configuration>", &declared);
        load(&text.replace("</configuration>", &location), "f").unwrap()
    };
    let free = "<section name='caching' />";
    let allowed = "<section name='caching' overrideModeDefault='Allow' />";
    let locked = "<section name='caching' overrideModeDefault='Deny' />";
    let of = |old: &Configuration, new: &Configuration| effects_of(old, new, Personality::Iis10);
    assert_eq!(of(&host(free, ""), &host(allowed, "")), []);
    let [declared] = of(&host(free, ""), &host(locked, "")).try_into().unwrap();
    assert_eq!(
        (declared.kind, declared.what.as_str()),
        (
            EffectKind::Live,
            "configSections: [system.webServer/caching].overrideModeDefault"
        )
    );
    assert_eq!(declared.old.as_deref(), Some("Allow"));
    assert!(declared.why.contains("500.19"));
    let deny = host(free, "overrideMode='Deny'");
    let [mode] = of(&host(free, ""), &deny).try_into().unwrap();
    assert_eq!(
        (mode.kind, mode.what.as_str(), mode.new.as_deref()),
        (
            EffectKind::Live,
            "system.webServer/urlCompression: overrideMode",
            Some("Deny")
        )
    );
}

#[test]
fn other_services_sections_do_nothing_here() {
    let change = "system.ftpServer/serverRuntime.hostNameSupport:false";
    assert_eq!(effect(text(change)).0, EffectKind::None);
}

#[test]
fn limits_that_nothing_here_goes_by_do_nothing() {
    for limit in ["maxGlobalBandwidth:2048", "dynamicRegistrationThreshold:1"] {
        let change = format!("system.applicationHost/webLimits.{limit}");
        assert_eq!(effect(text(&change)).0, EffectKind::None, "{limit}");
    }
    let change = Change::site("One", "limits.maxBandwidth", "2048");
    assert_eq!(effect(change).0, EffectKind::None);
}

#[test]
fn iis_6_restarts_the_service_for_its_own_settings() {
    let new = apply(
        TEXT,
        &[text("system.applicationHost/webLimits.minBytesPerSecond:0")],
    )
    .unwrap();
    let read = |text: &str| load(text, "f").unwrap();
    let kind = |personality| effects_of(&read(TEXT), &read(&new), personality)[0].kind;
    assert_eq!(kind(Personality::Iis10), EffectKind::Live);
    assert_eq!(kind(Personality::Iis6), EffectKind::ServiceRestart);
}

/// The effects of putting one text in the place of another one in a section: what, old and new value, kind.
fn replaced(section: &str, new: &str) -> Vec<(String, Option<String>, Option<String>, EffectKind)> {
    let with = |text: &str| TEXT.replace("</configuration>", &format!("{text}</configuration>"));
    let read = |text: &str| load(&with(text), "applicationHost.config").unwrap();
    let effects = effects_of(&read(section), &read(new), Personality::Iis10);
    let told = effects.into_iter();
    told.map(|effect| (effect.what, effect.old, effect.new, effect.kind))
        .collect()
}

#[test]
fn entries_of_a_collection_without_known_keys_come_and_go_as_a_whole() {
    let present = || Some("present".to_owned());
    for (before, one, more) in [
        (
            "<system.webServer><isapiFilters>",
            r#"<filter name="a" path="a.dll" />"#,
            r#"<filter name="b" path="b.dll" />"#,
        ),
        (
            "<customMetadata>",
            r#"<key path="LM/W3SVC"><property id="1" value="x" /></key>"#,
            r#"<key path="LM/W3SVC/1" />"#,
        ),
        (
            "<webFarms>",
            r#"<webFarm name="farm" />"#,
            r#"<webFarm name="f2" />"#,
        ),
        (
            "<system.webServer><security><authorization>",
            r#"<add accessType="Allow" users="*" />"#,
            r#"<add accessType="Allow" users="joe" />"#,
        ),
    ] {
        let names: Vec<_> = before.split('<').skip(1).collect();
        let after: String = names.iter().rev().flat_map(|name| ["</", name]).collect();
        let (old, new) = (
            format!("{before}{one}{after}"),
            format!("{before}{one}{more}{after}"),
        );
        let added = replaced(&old, &new);
        assert_eq!(added.len(), 1, "{added:?}");
        assert_eq!((&added[0].1, &added[0].2), (&None, &present()));
        // In front of the others, and gone.
        let new = format!("{before}{more}{one}{after}");
        assert_eq!(replaced(&old, &new), added);
        let removed = replaced(&new, &old);
        assert_eq!(removed.len(), 1, "{removed:?}");
        assert_eq!((&removed[0].1, &removed[0].2), (&present(), &None));
    }
}

/// Source: "ISAPI filter add/remove" recycles.
#[test]
fn a_filter_that_comes_goes_or_is_another_one_recycles_every_pool() {
    let filters = |text: &str| {
        format!("<system.webServer><isapiFilters>{text}</isapiFilters></system.webServer>")
    };
    let (one, other, moved) = (
        r#"<filter name="a" path="a.dll" />"#,
        r#"<filter name="b" path="b.dll" />"#,
        r#"<filter name="b" path="c.dll" />"#,
    );
    let both = filters(&[one, other].concat());
    for (old, new) in [
        (filters(""), filters(one)),
        (filters(one), both.clone()),
        (both.clone(), filters(other)),
        (both, filters(&[one, moved].concat())),
    ] {
        let effects = replaced(&old, &new);
        let kinds = effects.iter().map(|effect| effect.3);
        assert!(!effects.is_empty());
        let kinds: Vec<_> = kinds
            .filter(|kind| *kind != EffectKind::PoolRecycle)
            .collect();
        assert_eq!(kinds, [], "{effects:#?}");
    }
}

#[test]
fn documents_in_another_order_are_a_difference_and_types_are_none() {
    let of = |section: &str, names: [&str; 3]| {
        let inner = if section == "defaultDocument" {
            let entries = names.map(|name| format!("<add value='{name}' />\n"));
            format!("<files>\n{}</files>", entries.concat())
        } else {
            let entry = |name| format!("<mimeMap fileExtension='.{name}' mimeType='x/y' />\n");
            names.map(entry).concat()
        };
        let section = format!(
            "<system.webServer><{section}>{inner}</{section}></system.webServer></configuration>"
        );
        let text = TEXT.replacen("</configuration>", &section, 1);
        load(&text, "applicationHost.config").unwrap()
    };
    let between = |section: &str, old, new| {
        effects_of(&of(section, old), &of(section, new), Personality::Iis10)
    };
    let moved = between("defaultDocument", ["a", "b", "c"], ["b", "a", "c"]);
    let [effect] = moved.as_slice() else {
        panic!("{moved:#?}")
    };
    assert_eq!(effect.what, "system.webServer/defaultDocument: files.order");
    assert_eq!(
        (effect.old.as_deref(), effect.new.as_deref()),
        (
            Some("add[value='a'], add[value='b'], add[value='c']"),
            Some("add[value='b'], add[value='a'], add[value='c']")
        )
    );
    assert_eq!(
        between("staticContent", ["a", "b", "c"], ["b", "a", "c"]),
        []
    );
    let added = between("defaultDocument", ["a", "b", "c"], ["x", "a", "b"]);
    assert!(added.iter().all(|effect| !effect.what.ends_with("order")));
}

#[test]
fn the_order_of_entries_is_that_of_the_file_however_it_is_broken_into_lines() {
    let of = |names: [&str; 3], end: &str| {
        let entries = names.map(|name| format!("<add value='{name}' />{end}"));
        let section = format!(
            "<system.webServer><defaultDocument><files>{}</files></defaultDocument></system.webServer>\
             </configuration>",
            entries.concat()
        );
        let text = TEXT.replacen("</configuration>", &section, 1);
        load(&text, "applicationHost.config").unwrap()
    };
    let between = |old: &_, new: &_| effects_of(old, new, Personality::Iis10).len();
    let (lines, line) = (of(["c", "a", "b"], "\n"), of(["c", "a", "b"], ""));
    assert_eq!((between(&lines, &line), between(&line, &lines)), (0, 0));
    assert_eq!(
        between(&line, &of(["a", "c", "b"], "")),
        1,
        "swapped on one line"
    );
}

#[test]
fn a_pool_that_goes_takes_the_sites_with_it_whose_root_it_serves() {
    let read = |text: &str| load(text, "applicationHost.config").unwrap();
    let without_a = TEXT.replace("<add name=\"A\" />", "");
    let effects = effects_of(&read(TEXT), &read(&without_a), Personality::Iis10);
    let [effect] = effects.as_slice() else {
        panic!("{effects:#?}")
    };
    assert_eq!(effect.kind, EffectKind::SiteRebind);
    assert!(effect.why.contains("Stopped is 'One':"), "{}", effect.why);
}

#[test]
fn an_application_that_is_moved_to_a_pool_that_does_not_exist_starts_nowhere() {
    let read = |text: &str| load(text, "applicationHost.config").unwrap();
    let between = |old: &str, new: &str| {
        let mut effects = effects_of(&read(old), &read(new), Personality::Iis10);
        let effect = effects.pop().unwrap();
        assert_eq!(effects, []);
        assert_eq!(effect.kind, EffectKind::SiteRebind, "{}", effect.why);
        effect.why
    };
    let root = TEXT.replace(
        r#"path="/" applicationPool="A""#,
        r#"path="/" applicationPool="N""#,
    );
    let why = between(TEXT, &root);
    assert!(
        why.contains("ignored (event 5179)") && why.contains("'One' is stopped"),
        "{why}"
    );
    let shop = TEXT.replace(
        r#"path="/shop" applicationPool="B""#,
        r#"path="/shop" applicationPool="N""#,
    );
    let why = between(TEXT, &shop);
    assert!(
        why.contains("ignored (event 5179)") && !why.contains("stopped"),
        "{why}"
    );
    let why = between(&root, TEXT);
    assert!(why.contains("There was no application pool 'N'"), "{why}");
}

#[test]
fn what_a_site_says_of_ftp_is_a_difference_that_nobody_here_reads() {
    let with = |timeout: u32| {
        let ftp = format!(
            "<ftpServer serverAutoStart='true'><connections unauthenticatedTimeout='{timeout}' /></ftpServer></site>"
        );
        load(&TEXT.replacen("</site>", &ftp, 1), "applicationHost.config").unwrap()
    };
    let effects = effects_of(&with(30), &with(60), Personality::Iis10);
    assert!(!effects.is_empty());
    for effect in effects {
        assert_eq!(effect.kind, EffectKind::None);
        let what = &effect.what;
        assert!(
            what.starts_with("site 'One': ftpServer.connections"),
            "{what}"
        );
    }
    assert_eq!(effects_of(&with(30), &with(30), Personality::Iis10), []);
}

#[test]
fn a_site_that_is_renamed_loses_the_locations_that_keep_its_old_name() {
    let location = |path: &str, enabled: bool| {
        format!(
            "<location path='{path}'><system.webServer><directoryBrowse enabled='{enabled}' />\
             </system.webServer></location></configuration>"
        )
    };
    let with = |name: &str, location: &str| {
        let text = TEXT.replace("name=\"One\"", &format!("name=\"{name}\""));
        load(
            &text.replace("</configuration>", location),
            "applicationHost.config",
        )
        .unwrap()
    };
    let between = |old, new| {
        let effects = effects_of(&old, &new, Personality::Iis10);
        effects
            .into_iter()
            .filter(|e| e.what.ends_with(": locations"))
            .collect::<Vec<_>>()
    };
    let shop = location("One/shop", true);
    let effects = between(with("One", &shop), with("Uno", &shop));
    let [effect] = effects.as_slice() else {
        panic!("{effects:#?}")
    };
    assert_eq!(
        (effect.old.as_deref(), effect.new.as_deref()),
        (Some("one/shop"), None)
    );
    assert_eq!((effect.old_line, effect.new_line), (Some(30), None));
    assert_eq!(effect.kind, EffectKind::ApplicationRestart);
    assert_eq!(effect.applications, [(1, "/shop".to_owned())]);
    assert!(effect.why.contains("is lost"), "{}", effect.why);
    let waiting = location("Uno", true);
    let effects = between(with("One", &waiting), with("Uno", &waiting));
    assert_eq!(effects[0].new.as_deref(), Some("uno"));
    assert_eq!(
        between(with("One", &shop), with("Uno", &location("Uno/shop", true))),
        []
    );
}

#[test]
fn a_pool_in_other_letters_restarts_its_applications() {
    let name = "system.applicationHost/applicationPools.[name='A'].name:a";
    let effects = effects(&[name.parse().unwrap()]);
    let gone = effects.iter().find(|effect| effect.new.is_none()).unwrap();
    assert_eq!(gone.kind, EffectKind::ApplicationRestart);
    assert_eq!(gone.applications, [(1, "/".to_owned())]);
    assert!(gone.why.contains("another pool"), "{}", gone.why);
}

#[test]
fn a_site_that_is_renamed_with_its_locations_is_one_thing_that_has_changed() {
    let with = |name: &str| {
        let location = format!(
            "<location path='{name}/shop'><system.webServer><directoryBrowse enabled='true' />\
             </system.webServer></location><location path='{name}'><system.webServer>\
             <caching enabled='false' /></system.webServer></location></configuration>"
        );
        let text = TEXT.replace("name=\"One\"", &format!("name=\"{name}\""));
        load(&text.replace("</configuration>", &location), "f").unwrap()
    };
    let effects = effects_of(&with("One"), &with("Uno"), Personality::Iis10);
    let [renamed] = effects.as_slice() else {
        panic!("{effects:#?}")
    };
    assert_eq!(renamed.kind, EffectKind::SiteRebind);
    let names = (renamed.old.as_deref(), renamed.new.as_deref());
    assert_eq!(names, (Some("One"), Some("Uno")));
}

#[test]
fn a_binding_that_is_changed_and_one_that_comes_with_more_are_one_thing_each() {
    let information = "system.applicationHost/sites[name='One'].bindings.[protocol='http'].bindingInformation:*:82:";
    let changed = effects(&[text(information)]);
    let [changed] = changed.as_slice() else {
        panic!("{changed:#?}")
    };
    assert_eq!(changed.kind, EffectKind::SiteRebind);
    assert_eq!(changed.what, "site 'One': bindings.binding");
    let old = "protocol='http',bindingInformation='*:80:'";
    let new = "protocol='http',bindingInformation='*:82:'";
    let said = (changed.old.as_deref(), changed.new.as_deref());
    assert_eq!(said, (Some(old), Some(new)));
    let variable = "+system.applicationHost/applicationPools[name='A'].environmentVariables.[name='X',value='y']";
    let come = effects(&[text(variable)]);
    let [come] = come.as_slice() else {
        panic!("{come:#?}")
    };
    assert_eq!(come.kind, EffectKind::PoolRecycle);
    assert_eq!(come.new.as_deref(), Some("value='y'"));
}

#[test]
fn a_default_of_several_pools_is_one_thing_that_has_changed() {
    let read = |limit: u32| {
        let defaults = format!("<applicationPoolDefaults queueLength=\"{limit}\" ");
        load(&TEXT.replace("<applicationPoolDefaults ", &defaults), "f").unwrap()
    };
    let effects = effects_of(&read(2000), &read(3000), Personality::Iis10);
    let [effect] = effects.as_slice() else {
        panic!("{effects:#?}")
    };
    assert_eq!(effect.what, "application pools 'A', 'B': queueLength");
    assert_eq!(effect.pools, ["A", "B"]);
}
