//! Plans as people write them, right and wrong.

use super::*;

fn parse(text: &str) -> Result<Plan, PlanError> {
    Plan::parse(text, "plan.toml", Path::new("."))
}

fn plan(text: &str) -> Plan {
    parse(text).unwrap()
}

fn refused(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

const TWO_KEYS: &str = "
seeds = '3..5'
operations = ['none', 'recycle']
[[vary]]
key = 'load.rate'
values = [100, 200]
[[vary]]
key = 'load.tls_share'
range = { from = 0.1, to = 0.3, step = 0.1 }
";

#[test]
fn points_are_all_combinations_and_the_first_key_varies_slowest() {
    let plan = plan(TWO_KEYS);
    assert_eq!((plan.points(), plan.units(), plan.rows()), (6, 12, 24));
    let text = |point| {
        let values = plan.values_at(point).into_iter();
        let values: Vec<String> = values.map(|(_, value)| value.to_string()).collect();
        values.join(" ")
    };
    assert_eq!(text(0), "100 0.1");
    assert_eq!(text(2), "100 0.3");
    assert_eq!(text(5), "200 0.3");
    assert_eq!((plan.point_of(3), plan.seed_of(3)), (1, 4));
}

#[test]
fn a_point_is_the_scenario_with_its_values() {
    let setting = plan(TWO_KEYS).setting(4).unwrap();
    assert!((setting.scenario.load.rate - 200.0).abs() < 1e-9);
    assert!((setting.scenario.load.tls_share - 0.2).abs() < 1e-9);
    let costs = "seeds = '0..1'\n[[vary]]\nkey = 'costs.cores'\nvalues = [7]\n";
    assert_eq!(plan(costs).setting(0).unwrap().costs.cores, 7);
}

#[test]
fn what_an_application_costs_can_be_varied() {
    let key = "application[path=/].behaviour.page[path=/report.aspx].wait";
    let text = format!("seeds = '0..1'\n[[vary]]\nkey = '{key}'\nvalues = ['1s', '2s']\n");
    assert_eq!(plan(&text).points(), 2);
}

#[test]
fn attributes_of_pools_are_varied_in_the_configuration() {
    let vary = |key: &str, values: &str| {
        format!("seeds = '0..1'\n[[vary]]\nkey = '{key}'\nvalues = {values}\n")
    };
    let limit = "pool[Shop].processModel.shutdownTimeLimit";
    let plan = plan(&vary(limit, "['00:00:05', '00:02:00']"));
    let served = plan.setting(1).unwrap().scenario.served(Operation::None);
    let pools = served.unwrap().configuration.application_pools;
    let shop = pools.iter().find(|pool| pool.name == "Shop").unwrap();
    assert_eq!(shop.process_model.shutdown_time_limit.as_secs(), 120);
    let said = refused(&vary(
        "pool[Shop].processModel.shutdownTimeLimt",
        "['00:00:05']",
    ));
    assert!(said.starts_with("plan.toml:3: key = "), "{said}");
    assert!(
        said.contains("known: ") && said.contains("shutdownTimeLimit"),
        "{said}"
    );
    let said = refused(&vary(limit, "['soon']"));
    assert!(said.starts_with("plan.toml:4: pool[Shop]"), "{said}");
    let said = refused(&vary("pool[Shp].queueLength", "[10]"));
    assert!(said.contains("no entry with name='Shp'"), "{said}");
    let said = refused(&vary("pool[Shop].queueLength", "[5]"));
    assert!(said.contains("queueLength = 5: it is"), "{said}");
    let section = "system.applicationHost/applicationPools.applicationPoolDefaults.queueLength";
    parse(&vary(section, "[10, 20]")).unwrap();
}

#[test]
fn of_a_scenario_with_variants_one_is_chosen() {
    let folder = tempfile::tempdir().unwrap();
    let scenario = "name = 's'\n[load]\nrate = 5\n\
        [[variant]]\nname = 'slow'\n[[variant]]\nname = 'fast'\nload.rate = 50\n";
    std::fs::write(folder.path().join("s.toml"), scenario).unwrap();
    let parse = |line: &str| {
        let text = format!("seeds = '0..1'\nscenario = 's.toml'\n{line}\n");
        Plan::parse(&text, "plan.toml", folder.path())
    };
    let fast = parse("variant = 'fast'").unwrap().setting(0).unwrap();
    assert!((fast.scenario.load.rate - 50.0).abs() < 1e-9);
    let said = parse("").unwrap_err().to_string();
    assert!(
        said.contains("choose one") && said.contains("\"slow\", \"fast\""),
        "{said}"
    );
    let said = parse("variant = 'fats'").unwrap_err().to_string();
    assert!(
        said.starts_with("plan.toml:3: there is no variant \"fats\""),
        "{said}"
    );
    assert!(refused("seeds = '0..1'\nvariant = 'x'").contains("has no variants"));
}

#[test]
fn the_hash_knows_every_value_and_no_name() {
    let hash = |text: &str| plan(text).hash();
    let base = hash(TWO_KEYS);
    assert_eq!(hash(TWO_KEYS), base);
    assert_eq!(hash(&format!("name = 'other'\n{TWO_KEYS}")), base);
    for (from, to) in [
        ("3..5", "3..6"),
        ("200", "201"),
        ("'none', ", ""),
        ("0.3", "0.2"),
    ] {
        assert_ne!(hash(&TWO_KEYS.replace(from, to)), base, "{from} to {to}");
    }
}

#[test]
fn a_wrong_key_is_named_with_its_line_and_what_was_meant() {
    let text = "seeds = '0..1'\n\n[[vary]]\nkey = 'load.raet'\nvalues = [1]\n";
    let said = refused(text);
    assert!(
        said.starts_with("plan.toml:4: key = \"load.raet\""),
        "{said}"
    );
    assert!(said.ends_with("did you mean \"load.rate\"?"), "{said}");
    let said = refused("seeds = '0..1'\n[[vary]]\nkey = 'costs.spwan'\nvalues = ['1ms']\n");
    assert!(said.ends_with("did you mean \"costs.spawn\"?"), "{said}");
}

#[test]
fn a_wrong_value_is_named_with_its_line_and_what_would_be_valid() {
    let vary = |key: &str, values: &str| {
        refused(&format!(
            "seeds = '0..1'\n[[vary]]\nkey = '{key}'\nvalues = {values}\n"
        ))
    };
    let said = vary("load.rate", "[5, 'fast']");
    assert!(
        said.starts_with("plan.toml:4: load.rate = \"fast\": "),
        "{said}"
    );
    assert!(said.contains("a number"), "{said}");
    let said = vary("load.tls_share", "[2.0]");
    assert!(said.contains("between 0 and 1, not 2"), "{said}");
    let said = vary("timing.watch-max", "['soon']");
    assert!(said.contains("not a duration"), "{said}");
    let said = vary("timing.watch-max", "['1ms']");
    assert!(said.contains("watch-min is longer"), "{said}");
}

#[test]
fn what_cannot_be_a_plan_is_refused_in_its_line() {
    for (text, wanted) in [
        (
            "seeds = '5..5'",
            "plan.toml:1: seeds = \"5..5\" is no range",
        ),
        (
            "seeds = '0..1'\noperations = []",
            "plan.toml:2: operations is empty",
        ),
        (
            "seeds = '0..1'\noperations = ['none', 'none']",
            "none twice",
        ),
        ("seeds = '0..1'\noperations = ['reboot']", "line 2"),
        ("seeds = '0..1'\nsedes = 1", "unknown field `sedes`"),
        ("", "missing field `seeds`"),
        (
            "seeds = '0..1'\n[[vary]]\nkey = 'load.rate'",
            "it has no values",
        ),
        (
            "seeds = '0..1'\n[[vary]]\nkey = 'load.rate'\nvalues = []",
            "plan.toml:4: load.rate has no values",
        ),
        (
            "seeds = '0..1'\n[[vary]]\nkey = 'load.rate'\nvalues = [1, 1]",
            "1 twice",
        ),
        (
            "seeds = '0..1'\n[[vary]]\nkey = 'seed'\nvalues = [1]",
            "the plan itself says that",
        ),
        (
            "seeds = '0..1'\n[[vary]]\nkey = 'clock'\nvalues = ['live', 'virtual']",
            "plan.toml:3: key = \"clock\": a sweep has no other clock",
        ),
        (
            "seeds = '0..1'\n[[vary]]\nkey = 'load rate'\nvalues = [1]",
            "not a dotted key",
        ),
        (
            "seeds = '0..1'\n[[vary]]\nkey = 'load.rate'\nrange = { from = 5, to = 1 }",
            "plan.toml:4: the step",
        ),
        (
            "seeds = '0..1'\n[[vary]]\nkey = 'load.rate'\nvalues = [10, 20, 10.0]",
            "load.rate has the value 10.0 twice",
        ),
        (
            "seeds = '0..1'\n[[vary]]\nkey = 'load.rate'\nrange = { from = 0.5, to = 1 }",
            "needs a step",
        ),
        ("seeds = '0..9000000000'", "too many"),
        ("seeds = '0..1'\nscenario = 'nowhere.toml'", "nowhere.toml"),
    ] {
        let said = refused(text);
        assert!(said.contains(wanted), "{text:?}: {said}");
    }
    let twice = "[[vary]]\nkey = 'load.rate'\nvalues = [1]\n";
    assert!(refused(&format!("seeds = '0..1'\n{twice}{twice}")).contains("already, in line 3"));
}

#[test]
fn ranges_include_both_ends() {
    let values = |range: &str| {
        let text = format!("seeds = '0..1'\n[[vary]]\nkey = 'load.rate'\nrange = {range}\n");
        let plan = plan(&text);
        let values: Vec<String> = plan.axes[0]
            .values
            .iter()
            .map(ToString::to_string)
            .collect();
        values.join(" ")
    };
    assert_eq!(values("{ from = 1, to = 4 }"), "1 2 3 4");
    assert_eq!(values("{ from = 10, to = 35, step = 10 }"), "10 20 30");
    assert_eq!(
        values("{ from = 100, to = 800, factor = 2 }"),
        "100 200 400 800"
    );
    assert_eq!(
        values("{ from = 0.1, to = 0.4, step = 0.1 }"),
        "0.1 0.2 0.3 0.4"
    );
}

#[test]
fn two_keys_that_set_the_same_are_refused_with_their_lines() {
    let said = |keys: [(&str, &str); 2]| {
        let vary =
            keys.map(|(key, value)| format!("[[vary]]\nkey = \"{key}\"\nvalues = [{value}]\n"));
        parse(&format!("seeds = '0..1'\n{}", vary.concat())).map_err(|error| error.to_string())
    };
    let scenario = Scenario::reset_vs_recycle().unwrap();
    let part = &scenario.applications[0];
    let first = &part.behaviour.as_ref().unwrap()["page"][0]["path"];
    let page = format!(
        "application[path={}].behaviour.page[path={first}].wait",
        part.path
    );
    let page = page.replace('"', "");
    let queue = "pool[Shop].queueLength";
    let section = "system.applicationHost/applicationPools[name='Shop'].queueLength";
    let set = format!("[\"{section}:500\"]");
    let by_number = "application[0].behaviour.page[0].wait";
    let same = said([(&page, "'1s'"), (by_number, "'2s'")]).unwrap_err();
    assert!(
        same.starts_with("plan.toml:6: ") && same.contains(&format!("sets what {page} in line 3")),
        "{same}"
    );
    let within = said([
        ("load.probes", "{ interval = '1s' }"),
        ("load.probes.interval", "'2s'"),
    ]);
    let within = within.unwrap_err();
    assert!(within.contains("within load.probes in line 3"), "{within}");
    for other in [("server.set", set.as_str()), (section, "20")] {
        let same = said([(queue, "10"), other]).unwrap_err();
        assert!(
            same.contains(&format!("sets what {queue} in line 3")),
            "{same}"
        );
    }
    said([(queue, "10"), ("pool[DefaultAppPool].queueLength", "10")]).unwrap();
    said([(queue, "10"), ("pool[Shop].autoStart", "true")]).unwrap();
}

#[test]
fn a_key_that_the_scenario_sets_for_every_point_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let pool = "system.applicationHost/applicationPools[name='DefaultAppPool']";
    let scenario = format!("name = 's'\n[load]\n[server]\nset = [\"{pool}.queueLength:500\"]\n");
    std::fs::write(folder.path().join("s.toml"), scenario).unwrap();
    let vary = |key: &str| {
        let key = format!("[[vary]]\nkey = 'pool[DefaultAppPool].{key}'\nvalues = [10, 20]\n");
        let text = format!("seeds = '0..1'\nscenario = 's.toml'\n{key}");
        Plan::parse(&text, "plan.toml", folder.path()).map_err(|error| error.to_string())
    };
    let said = vary("queueLength").unwrap_err();
    assert!(
        said.contains("the scenario's own server.set sets it"),
        "{said}"
    );
    vary("processModel.maxProcesses").unwrap();
}

#[test]
fn a_farm_is_refused_as_it_has_no_virtual_clock() {
    let said = refused("seeds = '0..1'\n[[vary]]\nkey = 'farm.servers'\nvalues = [2, 3]\n");
    assert!(
        said.starts_with("plan.toml:4: farm.servers = 2: a [farm]"),
        "{said}"
    );
    assert!(said.contains("virtual clock only"), "{said}");
}

#[test]
fn numbers_are_called_so_and_not_by_the_names_of_their_types() {
    let vary = |key: &str, value: &str| {
        refused(&format!(
            "seeds = '0..1'\n[[vary]]\nkey = '{key}'\nvalues = [{value}]\n"
        ))
    };
    for (key, value, wanted) in [
        ("load.rate", "'5'", "expected a number"),
        ("costs.cores", "'5'", "expected a whole number"),
        ("costs.worker_memory", "true", "expected"),
    ] {
        let said = vary(key, value);
        assert!(said.contains(wanted), "{said}");
        for name in ["f64", "i64", "u64"] {
            assert!(!said.contains(name), "{said}");
        }
    }
}
