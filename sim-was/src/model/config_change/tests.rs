//! Changes while the server runs: what recycles, what restarts, what stays.

use super::super::Input;
use super::super::bench::{Bench, server_of};
use crate::config::edit::Change;
use crate::config::load;
use crate::control::{Answer, Command, ObjectState, Service};
use crate::event_log::{Event, WorkerExit};

mod started_with;

const TEXT: &str = r#"<configuration>
  <system.applicationHost>
    <applicationPools>
      <add name="A" />
      <add name="B"><recycling disallowOverlappingRotation="true" /></add>
      <add name="C"><recycling disallowRotationOnConfigChange="true" /></add>
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
        <application path="/" applicationPool="C">
          <virtualDirectory path="/" physicalPath="C:\two" />
        </application>
        <bindings><binding protocol="http" bindingInformation="*:81:" /></bindings>
      </site>
    </sites>
  </system.applicationHost>
</configuration>"#;

/// A server with a worker in each of the pools A (1), B (2) and C (3).
fn up() -> Bench {
    let mut bench = server_of(TEXT).up();
    for pool in ["A", "B", "C"] {
        bench.request(pool);
    }
    assert_eq!(bench.pids(), [1, 2, 3]);
    bench.lines.clear();
    bench
}

impl Bench {
    fn set(&mut self, change: Change) {
        let changes = vec![change];
        let answer = self.ask(Command::ChangeConfiguration { changes });
        assert_eq!(answer, Some(Answer::Done));
    }

    fn change(&mut self, change: &str) {
        self.set(change.parse().unwrap());
    }
}

#[test]
fn a_change_that_needs_it_recycles_its_pool_with_event_5080_and_no_other() {
    let mut bench = up();
    bench.set(Change::pool("A", "processModel.idleTimeout", "00:10:00"));
    assert_eq!(bench.events(), [5080]);
    assert_eq!(bench.pids(), [2, 3, 4]);
    assert!(bench.place("spawn A") < bench.place("stop 1 Recycle drain"));
}

#[test]
fn the_only_worker_of_a_place_that_goes_is_replaced_in_one_that_stays() {
    let text = TEXT.replace(
        r#"name="A" />"#,
        r#"name="A"><processModel maxProcesses="3" /></add>"#,
    );
    let mut bench = server_of(&text).up();
    for _ in 0..3 {
        bench.request("A");
    }
    assert_eq!(bench.pids(), [1, 2, 3]);
    for pid in [1, 2] {
        bench.exit(pid, WorkerExit::Signal(9));
    }
    bench.lines.clear();
    bench.set(Change::pool("A", "processModel.maxProcesses", "1"));
    assert_eq!(bench.pids(), [4]);
    assert!(bench.place("spawn A") < bench.place("stop 3 Recycle drain"));
    // Of three that live two are surplus.
    bench.set(Change::pool("A", "processModel.maxProcesses", "3"));
    bench.request("A");
    bench.request("A");
    bench.request("A");
    assert_eq!(bench.pids().len(), 3);
    bench.set(Change::pool("A", "processModel.maxProcesses", "1"));
    assert_eq!(bench.pids().len(), 1);
}

#[test]
fn native_modules_leave_the_workers_of_a_pool_that_must_not_rotate() {
    let text = TEXT.replace(
        "</configuration>",
        r#"<system.webServer><globalModules><add name="N" image="n.dll" /></globalModules></system.webServer></configuration>"#,
    );
    let mut bench = server_of(&text).up();
    for pool in ["A", "B", "C"] {
        bench.request(pool);
    }
    bench.change("-system.webServer/globalModules.[name='N']");
    assert_eq!(bench.pids(), [3, 4]);
}

#[test]
fn a_pool_without_overlap_stops_its_worker_first() {
    let mut bench = up();
    bench.set(Change::pool("B", "managedPipelineMode", "Classic"));
    assert_eq!(bench.events(), [5080]);
    assert_eq!(bench.pids(), [1, 3]);
    bench.request("B");
    assert_eq!(bench.pids(), [1, 3, 4]);
}

#[test]
fn a_pool_that_must_not_rotate_keeps_its_worker_and_the_next_one_knows() {
    let mut bench = up();
    bench.set(Change::pool("C", "environmentVariables.x", "1").with_variable());
    assert_eq!((bench.events(), bench.pids()), (vec![], vec![1, 2, 3]));
    bench.recycle("C");
    assert_eq!(bench.pids(), [1, 2, 4]);
}

impl Change {
    /// Adds an environment variable instead.
    fn with_variable(mut self) -> Self {
        self.act = crate::config::edit::Act::Add {
            attributes: vec![
                ("name".to_owned(), "x".to_owned()),
                ("value".to_owned(), "1".to_owned()),
            ],
            at: crate::config::edit::Position::End,
        };
        self
    }
}

#[test]
fn the_queue_length_goes_to_the_driver_and_nothing_is_recycled() {
    let mut bench = up();
    bench.set(Change::pool("A", "queueLength", "20"));
    assert!(bench.has("queue A Active"));
    assert_eq!((bench.events(), bench.pids()), (vec![], vec![1, 2, 3]));
}

#[test]
fn a_pool_that_becomes_always_running_gets_its_worker_at_once() {
    let mut bench = server_of(TEXT).up();
    bench.set(Change::pool("A", "startMode", "AlwaysRunning"));
    assert_eq!(bench.pids(), [1]);
}

#[test]
fn a_new_pool_serves_and_a_removed_one_finishes_and_goes() {
    let mut bench = up();
    bench.change("+system.applicationHost/applicationPools.[name='D']");
    assert!(bench.has("create queue D"));
    bench.request("D");
    assert_eq!(bench.pids(), [1, 2, 3, 4]);
    bench.stops = false;
    bench.change("-system.applicationHost/applicationPools.[name='A']");
    assert!(bench.has("stop 1 PoolStop drain"));
    assert!(
        !bench.has("close queue A"),
        "its worker still answers through the queue"
    );
    let gone = bench.ask(Command::RecycleApplicationPool {
        name: "A".to_owned(),
    });
    assert!(matches!(gone, Some(Answer::Refused(_))));
    bench.exit(1, WorkerExit::Code(0));
    assert!(bench.has("close queue A"));
    assert_eq!(bench.pids(), [2, 3, 4]);
    bench.recycle("D");
    assert!(
        bench.has("stop 4 Recycle drain"),
        "pools keep their identity"
    );
}

#[test]
fn a_pool_that_comes_back_before_it_has_gone_goes_on() {
    let mut bench = up();
    bench.stops = false;
    bench.change("-system.applicationHost/applicationPools.[name='A']");
    bench.change("+system.applicationHost/applicationPools.[name='A']");
    bench.exit(1, WorkerExit::Code(0));
    bench.request("A");
    assert_eq!(bench.pids(), [2, 3, 4]);
}

#[test]
fn a_pool_that_is_spelled_otherwise_is_another_one_with_a_queue_and_workers_of_its_own() {
    let mut bench = up();
    bench.stops = false;
    let name = "system.applicationHost/applicationPools.[name='A'].name:a";
    bench.change(name);
    assert!(bench.has("create queue a") && bench.has("stop 1 PoolStop drain"));
    bench.request("a");
    bench.recycle("A");
    assert!(
        bench.pids().contains(&5),
        "commands mean the one that stays"
    );
    bench.exit(1, WorkerExit::Code(0));
    assert!(bench.has("close queue A") && !bench.has("close queue a"));
}

#[test]
fn a_site_comes_and_goes_and_others_are_not_touched() {
    let mut bench = up();
    let site = "system.applicationHost/sites";
    bench.set(Change::site("Two", "serverAutoStart", "false"));
    bench.lines.clear();
    bench.change(&format!("-{site}.[name='Two']"));
    assert!(bench.has("close group of site 2") && !bench.has("close group of site 1"));
    assert!(
        bench.has("remove 3 1"),
        "its worker is told: {:?}",
        bench.lines
    );
    let binding = "[protocol='http',bindingInformation='*:8080:']";
    bench.change(&format!("+{site}[name='One'].bindings.{binding}"));
    assert!(bench.has("add http://*:8080/") && !bench.has("add http://*:80/"));
    assert_eq!((bench.events(), bench.pids()), (vec![], vec![1, 2, 3]));
}

#[test]
fn a_physical_path_restarts_its_application_in_the_same_process() {
    let mut bench = up();
    let change = Change::virtual_directory("One", "/shop", "/", "physicalPath", r"C:\new");
    bench.set(change);
    assert!(bench.has("restart 2 One/shop"));
    assert!(bench.has("changed, recycles [], restarts [\"One/shop\"]"));
    assert_eq!(bench.pids(), [1, 2, 3]);
}

#[test]
fn an_application_moves_to_another_pool_without_a_recycle() {
    let mut bench = up();
    bench.set(Change::application("One", "/shop", "applicationPool", "A"));
    assert!(bench.has("change 1 One/shop"));
    assert!(bench.lines.iter().any(|line| line.starts_with("remove 2 ")));
    assert!(bench.has("move http://*:80/shop/"));
    assert_eq!((bench.events(), bench.pids()), (vec![], vec![1, 2, 3]));
}

#[test]
fn a_broken_file_is_logged_once_and_changes_nothing() {
    let mut bench = up();
    let broken = || load("<configuration>\n<nonsense", "f").map_err(|error| error.to_string());
    bench.input(Input::ConfigChanged(broken()));
    bench.input(Input::ConfigChanged(broken()));
    let said = vec![5172, 5053];
    assert_eq!((bench.events(), bench.pids()), (said, vec![1, 2, 3]));
    bench.input(read(TEXT));
    assert_eq!(bench.events(), [5172, 5053]);
    bench.ask(Command::StopServices {
        services: vec![Service::Was, Service::W3svc],
        timeout_ms: 20_000,
        force: true,
        reset_by: None,
    });
    bench.lines.clear();
    bench.input(Input::ConfigChanged(broken()));
    assert_eq!(bench.events(), Vec::<u16>::new(), "WAS does not run");
}

#[test]
fn a_change_that_cannot_be_made_is_refused_and_makes_no_difference() {
    let mut bench = up();
    let changes = vec![Change::pool("A", "queueLength", "1")];
    let answer = bench.ask(Command::ChangeConfiguration { changes });
    let Some(Answer::Refused(refusal)) = answer else {
        panic!("{answer:?}");
    };
    assert!(
        format!("{refusal:?}").contains("range 10 to 65535"),
        "{refusal:?}"
    );
    assert_eq!(bench.pids(), [1, 2, 3]);
}

fn broken(pool: &str) -> String {
    let (from, to) = match pool {
        "A" => ("<add name=\"A\" />", "<add name=\"A\" queueLenght=\"5\" />"),
        _ => (
            "<site name=\"Two\" id=\"2\">",
            "<site name=\"Two\" id=\"2\" serverAutoStart=\"maybe\">",
        ),
    };
    assert!(TEXT.contains(from));
    TEXT.replace(from, to)
}

fn read(text: &str) -> Input {
    Input::ConfigChanged(load(text, "f").map_err(|error| error.to_string()))
}

fn state_of(bench: &mut Bench, pool: &str) -> ObjectState {
    let Some(Answer::ApplicationPools(pools)) = bench.ask(Command::ListApplicationPools) else {
        panic!("pools");
    };
    pools.iter().find(|known| known.name == pool).unwrap().state
}

#[test]
fn a_server_starts_without_the_pool_that_breaks_the_schema() {
    let mut bench = server_of(&broken("A")).up();
    assert_eq!(state_of(&mut bench, "A"), ObjectState::Stopped);
    assert_eq!(state_of(&mut bench, "B"), ObjectState::Started);
    bench.request("B");
    assert_eq!(bench.pids(), [1]);
    let name = "A".to_owned();
    let refused = bench.ask(Command::StartApplicationPool { name });
    assert!(
        matches!(&refused, Some(Answer::Refused(why)) if format!("{why:?}").contains("line 4")),
        "{refused:?}"
    );
    bench.input(read(TEXT));
    assert_eq!(state_of(&mut bench, "A"), ObjectState::Started);
    bench.request("A");
    assert_eq!(bench.pids(), [1, 2]);
}

#[test]
fn a_pool_that_breaks_while_it_runs_goes_on_as_it_was_also_in_the_next_worker() {
    let mut bench = up();
    bench.input(read(&broken("A")));
    let said = vec![5172, 5085];
    assert_eq!((bench.events(), bench.pids()), (said, vec![1, 2, 3]));
    let elsewhere = broken("A").replace("*:81:", "*:82:");
    assert_ne!(elsewhere, broken("A"));
    bench.input(read(&elsewhere));
    assert_eq!(bench.events(), [5172, 5085], "it is said once");
    bench.exit(1, WorkerExit::Code(0));
    bench.request("A");
    assert_eq!(bench.pids(), [2, 3, 4]);
    assert_eq!(state_of(&mut bench, "A"), ObjectState::Started);
    let name = "A".to_owned();
    bench.ask(Command::StopApplicationPool { name: name.clone() });
    let started = bench.ask(Command::StartApplicationPool { name });
    assert_eq!(started, Some(Answer::Done));
    bench.input(read(TEXT));
    assert_eq!(state_of(&mut bench, "A"), ObjectState::Started);
}

#[test]
fn a_pool_is_repaired_against_what_is_in_effect() {
    let mut bench = up();
    bench.set(Change::pool("A", "processModel.idleTimeout", "00:10:00"));
    assert_eq!(bench.pids(), [2, 3, 4]);
    let with = |minutes: &str| {
        let pool = format!("<add name=\"A\"><processModel idleTimeout=\"{minutes}\" /></add>");
        read(&TEXT.replace("<add name=\"A\" />", &pool))
    };
    bench.input(with("many"));
    bench.input(with("00:10:00"));
    assert_eq!(bench.pids(), [2, 3, 4], "it is what the worker knows");
    bench.input(with("many"));
    bench.input(read(TEXT));
    assert_eq!(bench.pids(), [2, 3, 5], "the default is new to the worker");
}

#[test]
fn a_pool_that_breaks_and_changes_is_not_recycled_and_nobody_says_so() {
    let mut bench = up();
    let broken = "<add name=\"A\" nonsense=\"1\"><processModel idleTimeout=\"00:10:00\" /></add>";
    bench.input(read(&TEXT.replace("<add name=\"A\" />", broken)));
    let said = vec![5172, 5085];
    assert_eq!((bench.events(), bench.pids()), (said, vec![1, 2, 3]));
    let stated = bench.lines.iter().find(|line| line.starts_with("changed"));
    assert_eq!(
        stated.map(String::as_str),
        Some("changed, recycles [], restarts []")
    );
}

#[test]
fn a_site_that_breaks_stays_as_it_was_also_when_it_is_started_again() {
    let mut bench = up();
    bench.lines.clear();
    bench.input(read(&broken("Two")));
    assert_eq!((bench.events(), bench.pids()), (vec![5172], vec![1, 2, 3]));
    assert!(!bench.has("close group of site 2"));
    let name = "Two".to_owned();
    bench.ask(Command::StopSite { name: name.clone() });
    let started = bench.ask(Command::StartSite { name });
    assert_eq!(started, Some(Answer::Done));
}

#[test]
fn a_site_that_never_was_good_cannot_be_started() {
    let mut bench = server_of(&broken("Two")).up();
    let name = "Two".to_owned();
    let refused = bench.ask(Command::StartSite { name });
    assert!(matches!(refused, Some(Answer::Refused(_))), "{refused:?}");
}

#[test]
fn a_site_of_which_no_url_can_be_registered_is_stopped_until_one_can() {
    let mut bench = up();
    let state = |bench: &mut Bench| {
        let Some(Answer::Sites(sites)) = bench.ask(Command::ListSites) else {
            panic!("a list of sites");
        };
        sites[1].state
    };
    let changes = [
        ("applicationPool=\"C\"", "applicationPool=\"Nobody\""),
        ("\"*:81:\"", "\"*:99999:\""),
    ];
    for (from, to) in changes {
        let text = TEXT.replace(from, to);
        bench.input(Input::ConfigChanged(
            load(&text, "f").map_err(|error| error.to_string()),
        ));
        assert_eq!(state(&mut bench), ObjectState::Stopped, "{to}");
        let name = "Two".to_owned();
        let refused = bench.ask(Command::StartSite { name });
        assert!(matches!(refused, Some(Answer::Refused(_))), "{refused:?}");
        bench.input(Input::ConfigChanged(
            load(TEXT, "f").map_err(|error| error.to_string()),
        ));
        assert_eq!(state(&mut bench), ObjectState::Started, "repaired");
    }
}

#[test]
fn a_value_out_of_range_hits_one_pool_only_with_its_default_and_event_5041() {
    let mut bench = up();
    let text = TEXT.replace("<add name=\"A\" />", "<add name=\"A\" queueLength=\"5\" />");
    bench.input(Input::ConfigChanged(
        load(&text, "f").map_err(|error| error.to_string()),
    ));
    assert_eq!((bench.events(), bench.pids()), (vec![5041], vec![1, 2, 3]));
}

#[test]
fn a_site_value_out_of_range_is_event_5041_and_the_site_goes_on() {
    let mut bench = up();
    let text = TEXT.replace(
        "</site>",
        "<limits connectionTimeout=\"20:00:00\" /></site>",
    );
    assert_ne!(text, TEXT);
    let configuration = load(&text, "f").unwrap();
    assert!(configuration.faults().next().is_none());
    let sites = configuration.sites.len();
    bench.input(Input::ConfigChanged(Ok(configuration)));
    assert_eq!(
        (bench.events(), bench.pids()),
        (vec![5041; sites], vec![1, 2, 3])
    );
}

#[test]
fn a_warning_about_a_value_carries_its_insertion_strings() {
    let text = TEXT.replace("<add name=\"A\" />", "<add name=\"A\" queueLength=\"5\" />");
    let configuration = load(&text, "f").unwrap();
    let event = Event::configuration_warning(&configuration.warnings[0]);
    let values: Vec<&str> = event.data.iter().map(|(_, value)| value.as_str()).collect();
    // Source: event 5041, `%1` to `%7`.
    let wanted = [
        "application pool",
        "A",
        "queueLength",
        "5",
        "10",
        "65535",
        "1000",
    ];
    assert_eq!((event.id, values), (5041, wanted.to_vec()));
    assert_eq!(event.pool.as_deref(), Some("A"));
    for (name, value) in &event.data {
        assert!(event.message.contains(&format!("'{value}'")), "{name}");
    }
}

#[test]
fn a_changed_web_garden_grows_and_shrinks() {
    let mut bench = up();
    bench.set(Change::pool("A", "processModel.maxProcesses", "2"));
    assert_eq!(bench.pids(), [2, 3, 4]);
    bench.request("A");
    assert_eq!(bench.pids(), [2, 3, 4, 5]);
    bench.set(Change::pool("A", "processModel.maxProcesses", "1"));
    assert_eq!(bench.pids(), [2, 3, 6]);
    bench.request("A");
    assert_eq!(bench.pids(), [2, 3, 6]);
}

#[test]
fn a_worker_that_is_still_starting_with_the_old_settings_is_replaced_when_it_is_there() {
    let mut bench = server_of(TEXT).up();
    bench.starts = false;
    bench.request("A");
    bench.set(Change::pool("A", "processModel.idleTimeout", "00:10:00"));
    assert_eq!(bench.pids(), [1]);
    bench.ready(1);
    assert_eq!(bench.pids(), [1, 2]);
    bench.ready(2);
    assert_eq!(bench.pids(), [2]);
}

#[test]
fn while_the_services_are_stopped_a_change_waits_for_their_start() {
    let mut bench = up();
    let services = vec![Service::Was, Service::W3svc];
    let (timeout_ms, force) = (1000, true);
    bench.ask(Command::StopServices {
        services: services.clone(),
        timeout_ms,
        force,
        reset_by: None,
    });
    bench.set(Change::pool("A", "autoStart", "false"));
    bench.ask(Command::StartServices { services });
    let Some(Answer::ApplicationPools(pools)) = bench.ask(Command::ListApplicationPools) else {
        panic!("pools");
    };
    assert_eq!(pools[0].state, ObjectState::Stopped);
}

/// Twelve pools, and at most so many workers.
fn twelve_pools(threshold: u32) -> String {
    let pool = |n| format!("<add name=\"P{n}\" />");
    let pools = (0..12).map(pool).collect::<Vec<_>>().concat();
    let sites = (0..12)
        .map(|n| {
            format!(
                "<site name=\"S{n}\" id=\"{id}\"><application path=\"/\" applicationPool=\"P{n}\">\
                 <virtualDirectory path=\"/\" physicalPath=\"C:\\one\" /></application><bindings>\
                 <binding protocol=\"http\" bindingInformation=\"*:80:s{n}\" /></bindings></site>",
                id = n + 1
            )
        })
        .collect::<Vec<_>>()
        .concat();
    format!(
        "<configuration><system.applicationHost><applicationPools>{pools}</applicationPools>\
         <sites>{sites}</sites><webLimits demandStartThreshold=\"{threshold}\" />\
         </system.applicationHost></configuration>"
    )
}

#[test]
fn the_most_workers_are_another_number_at_once_and_a_pool_that_waits_says_so_once() {
    let mut bench = server_of(&twelve_pools(10)).up();
    for pool in 0..12 {
        bench.request(&format!("P{pool}"));
    }
    assert_eq!(bench.pids().len(), 10);
    assert_eq!(bench.events(), [5196, 5196], "P10 and P11");
    bench.exit(1, WorkerExit::Code(0));
    for waiting in ["P10", "P11"] {
        bench.request(waiting);
    }
    assert_eq!(bench.pids().len(), 10, "one takes the place");
    let told = |bench: &Bench| bench.events().iter().filter(|id| **id == 5196).count();
    assert_eq!(told(&bench), 2);
    let text = twelve_pools(100);
    bench.input(Input::ConfigChanged(
        load(&text, "f").map_err(|error| error.to_string()),
    ));
    for pool in 0..12 {
        bench.request(&format!("P{pool}"));
    }
    assert_eq!(bench.pids().len(), 12);
}

#[test]
fn what_waits_for_an_application_that_moves_is_for_the_next_worker_of_the_old_pool() {
    let mut bench = server_of(&twelve_pools(10)).up();
    for pool in 0..11 {
        bench.request(&format!("P{pool}"));
    }
    assert_eq!(bench.pids().len(), 10, "P10 waits");
    let text = twelve_pools(100).replacen("applicationPool=\"P10\"", "applicationPool=\"P1\"", 1);
    bench.input(Input::ConfigChanged(
        load(&text, "f").map_err(|error| error.to_string()),
    ));
    bench.request("P10");
    let ordered = bench.ordered.take().unwrap();
    assert_eq!(
        (ordered.pool.as_str(), ordered.applications.len()),
        ("P10", 0)
    );
    assert_eq!(ordered.departed[0].site_name, "S10");
}
