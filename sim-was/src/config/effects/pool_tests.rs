//! Pools that come, and pools that must not rotate.

use super::*;
use crate::config::edit::{Change, apply};
use crate::config::load;

/// Two sites; the pool of the second one must not rotate.
const TEXT: &str = r#"<configuration>
  <system.applicationHost>
    <applicationPools>
      <add name="A" />
      <add name="B"><recycling disallowRotationOnConfigChange="true" /></add>
    </applicationPools>
    <sites>
      <site name="One" id="1"><application path="/" applicationPool="A" /></site>
      <site name="Two" id="2"><application path="/" applicationPool="B" /></site>
    </sites>
  </system.applicationHost>
  <system.webServer><globalModules><add name="N" image="n.dll" /></globalModules></system.webServer>
</configuration>"#;

fn effects(text: &str, changes: &[&str]) -> Vec<Effect> {
    let changes: Vec<Change> = changes
        .iter()
        .map(|change| change.parse().unwrap())
        .collect();
    let new = apply(text, &changes).unwrap();
    let read = |text: &str| load(text, "applicationHost.config").unwrap();
    effects_of(&read(text), &read(&new), Personality::Iis10)
}

#[test]
fn what_a_new_pool_waits_for_depends_on_how_it_starts() {
    let add = "+system.applicationHost/applicationPools.[name='N']";
    for (set, wanted) in [
        ("queueLength:2000", "the first request brings its worker"),
        ("startMode:AlwaysRunning", "its worker is started at once"),
        ("autoStart:false", "it stays stopped"),
    ] {
        let set = format!("system.applicationHost/applicationPools[name='N'].{set}");
        let why = effects(TEXT, &[add, &set]).swap_remove(0).why;
        assert!(why.contains(wanted), "{set}: {why}");
    }
}

#[test]
fn native_modules_recycle_the_pools_that_may_rotate() {
    let kind_and_pools = |text: &str, change: &str| {
        let mut effects = effects(text, &[change]);
        assert_eq!(effects.len(), 1, "{effects:#?}");
        let effect = effects.swap_remove(0);
        (effect.kind, effect.pools)
    };
    let change = "-system.webServer/globalModules.[name='N']";
    let recycled = (EffectKind::PoolRecycle, vec!["A".to_owned()]);
    assert_eq!(kind_and_pools(TEXT, change), recycled);
    let all = TEXT.replace("applicationPool=\"A\"", "applicationPool=\"B\"");
    let kept = (EffectKind::NextWorkerStart, vec!["B".to_owned()]);
    assert_eq!(kind_and_pools(&all, change), kept);
}

#[test]
fn secrets_are_hidden_and_a_directory_says_why_its_application_restarts() {
    let inner = "<virtualDirectory path=\"/\" physicalPath=\"C:\\one\" /></application>";
    let text = TEXT.replacen("\"A\" /></site>", &format!("\"A\">{inner}</site>"), 1);
    let directory = "system.applicationHost/sites[name='One'].[path='/'].[path='/']";
    for (set, reason) in [
        ("userName:u", "as another user"),
        ("password:hunter2", "as another user"),
        ("allowSubDirConfig:false", "in a folder below"),
    ] {
        let effect = effects(&text, &[&format!("{directory}.{set}")]).swap_remove(0);
        assert_eq!(effect.kind, EffectKind::ApplicationRestart, "{set}");
        assert!(effect.why.contains(reason), "{set}: {}", effect.why);
        assert_ne!(effect.new.as_deref(), Some("hunter2"));
    }
    let pool = "system.applicationHost/applicationPools[name='A'].processModel.password:hunter2";
    let effect = effects(TEXT, &[pool]).swap_remove(0);
    assert_eq!(effect.new.as_deref(), Some("*"));
}

#[test]
fn what_child_applications_do_not_inherit_does_not_restart_them() {
    let shop = "<application path=\"/shop\" applicationPool=\"A\" /></site>";
    let two = TEXT.replacen("</site>", shop, 1);
    let text = |inherits: bool, value: bool| {
        let block = format!(
            "<location path=\"One\" inheritInChildApplications=\"{inherits}\"><system.webServer>\
             <directoryBrowse enabled=\"{value}\" /></system.webServer></location></configuration>"
        );
        load(&two.replace("</configuration>", &block), "f").unwrap()
    };
    let restarted = |old: &Configuration, new: &Configuration| -> Vec<String> {
        let effects = effects_of(old, new, Personality::Iis10).into_iter();
        let applications = effects.flat_map(|effect| effect.applications);
        applications.map(|(_, path)| path).collect()
    };
    let none = load(&two, "f").unwrap();
    assert_eq!(
        restarted(&text(true, false), &text(true, true)),
        ["/", "/shop"]
    );
    assert_eq!(restarted(&text(false, false), &text(false, true)), ["/"]);
    assert_eq!(restarted(&none, &text(false, true)), ["/", "/"]);
    assert_eq!(restarted(&text(false, true), &none), ["/", "/"]);
    assert_eq!(
        restarted(&text(true, true), &text(false, true)),
        ["/", "/shop"]
    );
    let why = &effects_of(&text(false, false), &text(false, true), Personality::Iis10)[0].why;
    assert!(why.contains("not for those below"), "{why}");
}
