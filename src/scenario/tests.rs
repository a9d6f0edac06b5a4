//! What a scenario may say, and how it is told what it may not.

use super::*;

fn parsed(text: &str) -> Result<Scenario, ScenarioError> {
    let text = format!("name = 'x'\n{text}\n[load]");
    Scenario::parse(&text, "test.toml", Path::new("."))
}

fn refused(text: &str) -> String {
    parsed(text).unwrap_err().to_string()
}

#[test]
fn an_application_is_described_once() {
    let twice = |site: &str, path: &str| {
        let one = "[[application]]\nsite = 'Default Web Site'\npath = '/shop'";
        format!("{one}\n[[application]]\nsite = '{site}'\npath = '{path}'")
    };
    let said = refused(&twice("Default web site", "/Shop"));
    let wanted =
        "test.toml: line 6: two [[application]] are for \"/Shop\" of site \"Default web site\"";
    assert!(said.starts_with(wanted), "{said}");
    let root = "[[application]]\nsite = 'Default Web Site'";
    let said = refused(&format!("{root}\n{}\n{root}", twice("x", "/y")));
    assert!(
        said.contains("line 11: two [[application]] are for \"/\""),
        "{said}"
    );
    let other = twice("Default Web Site", "/");
    assert!(refused(&other).contains("line 3: [[application]] names \"/shop\""));
}

#[test]
fn a_configuration_that_cannot_be_read_is_named_with_its_key_and_its_scenario() {
    let said = refused("[server]\nconfig = 'nope.config'");
    let wanted = "test.toml: server.config: ./nope.config: ";
    assert!(said.starts_with(wanted), "{said}");
}

#[test]
fn a_number_that_is_too_large_is_refused_with_its_range() {
    for wrong in ["trials = -1", "trials = 99999999999", "trials = 1.5"] {
        let said = refused(wrong);
        let wanted = "expected a whole number from 0 to 4294967295";
        assert!(said.ends_with(wanted), "{said}");
    }
    let said = refused("seed = -1");
    assert!(said.ends_with("from 0 to 9223372036854775807"), "{said}");
    let said = refused("[[variant]]\nname = 'v'\ntrials = -1");
    assert!(said.ends_with("from 0 to 4294967295"), "{said}");
}

#[test]
fn a_number_is_called_so_and_not_by_the_name_of_its_type() {
    let load = |line: &str| {
        let text = format!("name = 'x'\n[load]\n{line}");
        Scenario::parse(&text, "test.toml", Path::new("."))
            .unwrap_err()
            .to_string()
    };
    let said = load("rate = '5'");
    assert!(
        said.contains("line 3") && said.ends_with(", expected a number"),
        "{said}"
    );
    let said = load("users = 1.5");
    assert!(
        said.ends_with(", expected a whole number from 0 to 4294967295"),
        "{said}"
    );
}

#[test]
fn content_and_what_is_many_is_told_with_its_line() {
    let site = "[[application]]\nsite = 'Default Web Site'";
    let content = |path: &str, count: u32| {
        format!("{site}\n[[application.content]]\nbytes = 1\npath = '{path}'\ncount = {count}")
    };
    let many = "[server.many]\npools = 1000000\npool = ''\nsites = 1\nsite = ''";
    let deep = format!("seed = 3\n{}a = 1", "a.".repeat(80));
    for (wrong, said) in [
        (
            content("/{n}.png", u32::MAX),
            "line 6: content \"/{n}.png\": with its count",
        ),
        (
            content("../{n}.png", 5),
            "line 6: content \"../{n}.png\" leaves its application",
        ),
        (many.to_owned(), "line 2: server.many: 1 to 100000 pools"),
        (deep, "line 3: a key of 81 parts is too deep"),
    ] {
        let told = refused(&wrong);
        assert!(told.starts_with(&format!("test.toml: {said}")), "{told}");
    }
}

#[test]
fn what_is_wrong_with_an_entry_or_the_server_is_told_with_its_line() {
    let expect = |check: &str| format!("[[expect]]\nthat = 'it holds'\nchecks = [{{ {check} }}]");
    let twice = "[[variant]]\nname = 'a'\n[[variant]]\nname = 'a'";
    let set = "[server]\nset = [\"system.applicationHost/applicationPools[name='Nope'].queueLength:5000\"]";
    for (wrong, said) in [
        (
            &*expect("arm = 'nobody', figure = 'failed', equals = 0"),
            "line 3: [[expect]] \"it holds\": there is no arm",
        ),
        (
            &*expect("arm = 'none', figure = 'nothing', equals = 0"),
            "line 3: [[expect]] \"it holds\": ",
        ),
        (twice, "line 5: two variants are called \"a\""),
        (
            "[server]\npool = 'Nope'",
            "line 3: server.pool = \"Nope\": there is no such pool; there are DefaultAppPool",
        ),
        (set, "line 3: server.set: "),
        (set, "there are the pools DefaultAppPool"),
    ] {
        let told = refused(wrong);
        assert!(told.contains(said), "{told}");
    }
}

#[test]
fn a_mistake_in_a_page_is_told_with_its_line() {
    let page = |key: &str| format!("[[application.behaviour.page]]\npath = '/{key}.aspx'");
    let of = |wrong: &str| {
        let (first, second) = (page("a"), page("b"));
        let site = "[[application]]\nsite = 'Default Web Site'";
        refused(&format!(
            "{site}\n{first}\ncpu = '1ms'\n\n{second}\n{wrong}"
        ))
    };
    for (wrong, said) in [
        (
            "bytes = 5\nwait = 'soon'",
            "line 11: behaviour: `soon` is no",
        ),
        ("wiat = '1s'", "line 10: behaviour: unknown field `wiat`"),
    ] {
        let told = of(wrong);
        assert!(told.contains(said), "{told}");
    }
}

#[test]
fn a_first_look_can_be_measured_too() {
    let mut scenario = parsed("[load.held]\nat = '2s'\ncount = 1\nurl = '/?held'\n").unwrap();
    scenario.quick();
    scenario.check_changed().unwrap();
}

#[test]
fn something_is_watched() {
    let said = refused("[timing]\nwatch-min = '0s'\nwatch-max = '0s'");
    assert!(said.contains("timing.watch-max is 0s"), "{said}");
}
