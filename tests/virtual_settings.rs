//! The virtual clock: servers that are set up or changed in ways that few are, and are held to their invariants
//! all the same.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails when something is not as it should be"
)]

use std::collections::BTreeSet;
use std::path::Path;

use iis_sim::load::Outcome;
use iis_sim::load::book::AttemptRecord;
use iis_sim::load::plan::Stream;
use iis_sim::scenario::{Operation, Scenario};
use iis_sim::virtual_world::compare::compare;
use iis_sim::virtual_world::costs::Costs;
use iis_sim::virtual_world::track::Watch;
use iis_sim::virtual_world::trial::{Run, Trial};
use sim_httpsys::etw::Fact as DriverFact;
use sim_was::event_log::Fact;
use sim_worker::facts::Fact as WorkerFact;
use sim_worker::ipm::RecycleReason;

fn scenario(text: &str) -> Scenario {
    let text = format!("name = 'test'\ntrials = 1\n{text}");
    Scenario::parse(&text, "test.toml", Path::new(".")).unwrap()
}

/// Runs it; everything must hold, and be explained.
fn run(scenario: &Scenario, operation: Operation) -> Run {
    let trial = Trial {
        scenario,
        operation,
        seed: 1,
        costs: &Costs::default(),
    };
    let run = trial.run().unwrap_or_else(|error| panic!("{error}"));
    let unexplained = &run.result.unexplained;
    assert_eq!(run.result.unexplained_count(), 0, "{unexplained:?}");
    run
}

fn attempts(run: &Run) -> &[AttemptRecord] {
    &run.observation.book.attempts
}

/// When events of this id were logged, seconds after the operation.
fn logged(run: &Run, id: u16) -> Vec<u64> {
    let facts = run.observation.was.iter().flatten();
    let events =
        facts.filter(|traced| matches!(&traced.fact, Fact::Event(event) if event.id == id));
    events
        .map(|traced| traced.at.0.saturating_sub(run.operation.0) / 1_000_000_000)
        .collect()
}

/// A server whose configuration is changed, with some load before and after a pause.
fn changed(set: &str, change: &str, watch: &str) -> Run {
    let pool = "system.applicationHost/applicationPools[name='DefaultAppPool']";
    let site = "system.applicationHost/sites[name='Default Web Site']";
    let of = |settings: &str| {
        let full = settings.split_whitespace().map(|setting| {
            let whose = if setting.starts_with("limits.") {
                site
            } else {
                pool
            };
            format!("\"{whose}.{setting}\"")
        });
        full.collect::<Vec<_>>().join(", ")
    };
    let scenario = scenario(&format!(
        "operations = ['config-change']
        [timing]
        warm-up-min = '5s'
        warm-up-max = '5s'
        watch-min = '{watch}'
        watch-max = '{watch}'
        [server]
        set = [{}]
        change = [{}]
        [[application]]
        site = 'Default Web Site'
        [[application.behaviour.page]]
        path = '/'
        cpu = '1ms'
        [[application.behaviour.page]]
        path = '/long.aspx'
        wait = '8s'
        [load]
        tls_share = 0
        users = 10
        deadline = '60s'
        keep_alive_connections = 20
        rate = 10
        mix = [{{ url = '/', weight = 20 }}, {{ url = '/long.aspx' }}]
        pauses = [{{ from = '30s', to = '150s' }}]
        [load.probes]
        interval = '20s'",
        of(set),
        of(change),
    ));
    run(&scenario, Operation::ConfigChange)
}

#[test]
fn a_shorter_age_and_fewer_requests_hold_for_the_worker_that_a_change_has_brought() {
    let run = changed("", "recycling.periodicRestart.time:00:01:00", "100s");
    assert_eq!(logged(&run, 5074), [60]);
    let run = changed("", "recycling.periodicRestart.requests:20", "160s");
    let asks = |fact: &WorkerFact| {
        let reason = RecycleReason::Requests;
        matches!(fact, WorkerFact::RecycleRequested { reason: asked } if *asked == reason)
    };
    let workers = run.observation.workers.iter().flatten();
    let mut facts = workers.flat_map(|(_, facts)| facts);
    assert!(facts.any(|traced| asks(&traced.fact)));
}

#[test]
fn a_shorter_idle_timeout_ends_the_next_worker() {
    let run = changed("", "processModel.idleTimeout:00:01:00", "140s");
    assert_eq!(logged(&run, 5186).len(), 1);
}

#[test]
fn limits_and_pings_are_those_that_a_worker_was_started_with() {
    // The old worker has its old 90 seconds for eight, although the pool allows two from now on.
    let run = changed("", "processModel.shutdownTimeLimit:00:00:02", "15s");
    assert!(logged(&run, 5013).is_empty());
    for change in [
        "processModel.startupTimeLimit:00:00:10",
        "processModel.pingInterval:00:00:03",
        "processModel.pingingEnabled:false",
        "processModel.pingInterval:00:00:03 recycling.disallowRotationOnConfigChange:true",
    ] {
        changed("", change, "60s");
        changed("processModel.pingInterval:00:00:05", change, "60s");
    }
    changed(
        "processModel.pingingEnabled:false",
        "processModel.pingingEnabled:true",
        "60s",
    );
}

#[test]
fn how_workers_rotate_and_how_many_there_are_can_be_changed() {
    for (set, change) in [
        (
            "",
            "recycling.disallowOverlappingRotation:true processModel.pingInterval:00:00:07",
        ),
        (
            "recycling.disallowOverlappingRotation:true",
            "recycling.disallowOverlappingRotation:false processModel.pingInterval:00:00:07",
        ),
        ("", "processModel.maxProcesses:4"),
        ("processModel.maxProcesses:4", "processModel.maxProcesses:1"),
        (
            "processModel.maxProcesses:4 recycling.disallowOverlappingRotation:true",
            "processModel.maxProcesses:2",
        ),
        (
            "processModel.maxProcesses:3",
            "processModel.maxProcesses:1 recycling.disallowRotationOnConfigChange:true",
        ),
    ] {
        changed(set, change, "30s");
    }
}

#[test]
fn failures_are_counted_by_the_new_rule_from_the_change_on() {
    for change in [
        "failure.rapidFailProtection:false",
        "failure.rapidFailProtectionMaxCrashes:1",
        "failure.loadBalancerCapabilities:TcpLevel",
    ] {
        changed("", change, "15s");
    }
}

#[test]
fn a_connection_has_the_times_that_its_site_had_when_its_last_request_was_routed() {
    changed("", "limits.connectionTimeout:00:00:10", "200s");
    changed(
        "limits.connectionTimeout:00:00:10",
        "limits.connectionTimeout:00:00:40",
        "200s",
    );
    changed("", "limits.maxConnections:5", "20s");
    changed("limits.maxConnections:5", "limits.maxConnections:50", "20s");
}

/// A site that is changed while it is asked for its page.
fn site_changed(change: &str) -> Run {
    let scenario = scenario(&format!(
        "operations = ['config-change']
        [timing]
        warm-up-min = '2s'
        warm-up-max = '2s'
        watch-min = '10s'
        watch-max = '10s'
        [server]
        set = [\"+system.applicationHost/applicationPools.[name='Other']\"]
        change = [\"system.applicationHost/sites[name='Default Web Site'].{change}\"]
        [[application]]
        site = 'Default Web Site'
        [[application.behaviour.page]]
        path = '/'
        wait = '100ms'
        [load]
        tls_share = 0
        rate = 100
        mix = [{{ url = '/' }}]
        [load.probes]
        interval = '1s'"
    ));
    run(&scenario, Operation::ConfigChange)
}

#[test]
fn a_request_goes_where_its_url_led_when_it_came() {
    let other = "[path='/'].applicationPool:Other";
    let moved = site_changed(other);
    let queues = moved.observation.httpsys.iter().flatten();
    let mut names = BTreeSet::new();
    for traced in queues {
        if let DriverFact::Queued { queue, .. } = &traced.fact {
            names.insert(queue.0.as_str());
        }
    }
    assert!(names.contains("DefaultAppPool") && names.contains("Other"));
    site_changed("id:7");
}

/// A page that its application cuts or gives up, while its worker finishes what it has.
fn given_up(fault: &str, operation: Operation) -> Run {
    let scenario = scenario(&format!(
        "[timing]
        warm-up-min = '2s'
        warm-up-max = '2s'
        watch-min = '3s'
        watch-max = '3s'
        [[application]]
        site = 'Default Web Site'
        [[application.behaviour.page]]
        path = '/'
        [[application.behaviour.page]]
        path = '/bad.aspx'
        wait = '200ms'
        fault = '{fault}'
        [load]
        rate = 50
        tls_share = 0
        mix = [{{ url = '/bad.aspx' }}]"
    ));
    run(&scenario, operation)
}

#[test]
fn an_application_may_give_a_request_up_that_its_worker_was_to_finish() {
    for operation in [
        Operation::StopStart,
        Operation::Recycle,
        Operation::RecycleNonoverlapped,
    ] {
        given_up("reset", operation);
        given_up("cut", operation);
    }
}

#[test]
fn what_is_cut_has_begun_and_what_is_reset_has_not() {
    let statuses = |fault: &str| {
        let run = given_up(fault, Operation::None);
        let bad = attempts(&run)
            .iter()
            .filter(|attempt| attempt.url == "/bad.aspx");
        let reset = bad.filter(|attempt| attempt.outcome == Outcome::ResetInflight);
        let statuses: Vec<Option<u16>> = reset.map(|attempt| attempt.status).collect();
        assert!(statuses.len() > 100);
        statuses
    };
    assert!(statuses("cut").iter().all(|status| *status == Some(200)));
    assert!(statuses("reset").iter().all(Option::is_none));
}

fn small(server: &str, probes: &str) -> Scenario {
    scenario(&format!(
        "operations = ['none', 'kill-w3wp', 'recycle']
        [timing]
        warm-up-min = '1s'
        warm-up-max = '1s'
        watch-min = '2s'
        watch-max = '2s'
        [server]
        {server}
        [load]
        rate = 50
        tls_share = 0
        [load.probes]
        {probes}"
    ))
}

#[test]
fn sites_that_log_less_or_otherwise_are_measured_all_the_same() {
    let log = "system.applicationHost/sites[name='Default Web Site'].logFile";
    for setting in [
        "system.applicationHost/log.centralLogFileMode:CentralW3C",
        "system.webServer/httpLogging.dontLog:true",
        &format!("{log}.enabled:false"),
        &format!("{log}.logFormat:NCSA"),
        &format!("{log}.logExtFileFlags:Date,Time"),
    ] {
        let set = small(&format!("set = [\"{setting}\"]"), "");
        run(&set, Operation::None);
        let change = small(&format!("change = [\"{setting}\"]"), "");
        run(&change, Operation::ConfigChange);
    }
}

#[test]
fn limits_of_the_whole_server_may_change_in_either_iis() {
    let limits = "system.applicationHost/webLimits";
    for personality in ["iis6", "iis10"] {
        let server = format!(
            "personality = '{personality}'
            change = ['{limits}.headerWaitTimeout:00:00:05', '{limits}.demandStartThreshold:10']"
        );
        run(&small(&server, ""), Operation::ConfigChange);
    }
}

#[test]
fn a_pool_that_does_not_start_with_was_answers_503() {
    let pool = "system.applicationHost/applicationPools[name='DefaultAppPool']";
    let scenario = small(&format!("set = [\"{pool}.autoStart:false\"]"), "");
    let run = run(&scenario, Operation::None);
    assert!(!attempts(&run).is_empty());
    for attempt in attempts(&run) {
        assert_eq!(attempt.outcome, Outcome::Http503);
    }
}

#[test]
fn a_site_that_does_not_start_with_w3svc_refuses_connections() {
    let site = "system.applicationHost/sites[name='Default Web Site']";
    let scenario = small(&format!("set = [\"{site}.serverAutoStart:false\"]"), "");
    let run = run(&scenario, Operation::None);
    assert!(!attempts(&run).is_empty());
    for attempt in attempts(&run) {
        assert_eq!(attempt.outcome, Outcome::Refused);
    }
}

#[test]
fn a_whole_response_without_the_marker_is_a_failed_probe_and_no_mystery() {
    let run = run(&small("", "marker = 'nobody says that'"), Operation::None);
    let probes: Vec<_> = attempts(&run)
        .iter()
        .filter(|attempt| attempt.stream != Stream::Load)
        .collect();
    assert!(!probes.is_empty());
    for probe in probes {
        assert_eq!(probe.outcome, Outcome::Truncated);
    }
}

#[test]
fn an_operation_that_cannot_be_done_spoils_its_own_arm_alone() {
    let pool = "system.applicationHost/applicationPools[name='DefaultAppPool']";
    let scenario = small(&format!("set = [\"{pool}.autoStart:false\"]"), "");
    let watch = Watch::Digest;
    let compared = compare(&scenario, &Costs::default(), &watch, &mut |_, _| true);
    let results = compared.unwrap().unwrap().results;
    let invalid: Vec<Option<&str>> = results.iter().map(|r| r.invalid.as_deref()).collect();
    let wanted = [
        None,
        Some("kill-w3wp was not done: the pool \"DefaultAppPool\" has no worker process then"),
        Some(
            "recycle was not done: recycling the pool \"DefaultAppPool\" was refused: The service has not been \
             started (0x80070426)",
        ),
    ];
    assert_eq!(invalid, wanted);
}

#[test]
fn beyond_the_demand_start_threshold_requests_wait_and_nothing_is_wrong() {
    let scenario = scenario(
        "operations = ['recycle']
        [timing]
        warm-up-min = '4s'
        warm-up-max = '4s'
        watch-min = '4s'
        watch-max = '4s'
        [server]
        pool = 'Pool3'
        config-text = '''
<configuration><system.applicationHost>
<applicationPools><applicationPoolDefaults startMode=\"AlwaysRunning\" /></applicationPools>
<sites></sites><webLimits demandStartThreshold=\"10\" />
</system.applicationHost></configuration>
'''
        [server.many]
        pools = 15
        sites = 15
        pool = '<add name=\"Pool{n}\" />'
        site = '<site name=\"Site{n}\" id=\"{n}\"><application path=\"/\" applicationPool=\"Pool{pool}\"><virtualDirectory path=\"/\" physicalPath=\"%SystemDrive%\\inetpub\\s{n}\" /></application><bindings><binding protocol=\"http\" bindingInformation=\"*:80:s{n}.example\" /></bindings></site>'
        [load]
        rate = 40
        tls_share = 0
        mix = [{ url = '/default.aspx', host = 's3.example' }, { url = '/default.aspx', host = 's14.example' }]
        [load.probes]
        url = '/default.aspx'
        host = 's3.example'",
    );
    let run = run(&scenario, Operation::Recycle);
    let waits = |attempt: &&AttemptRecord| !attempt.outcome.is_success();
    assert!(attempts(&run).iter().filter(waits).count() > 20);
}

#[test]
fn a_pool_that_cannot_be_read_is_set_aside_and_the_others_serve() {
    for broken in [
        "<add name='Bad'><recycling logEventOnRecycle='None' /></add>",
        "<add name='Bad' bogus='1' />",
        "<add name='Bad' managedPipelineMode='x' />",
    ] {
        let scenario = scenario(&format!(
            r#"
[timing]
warm-up-min = "1s"
warm-up-max = "1s"
watch-min = "2s"
watch-max = "2s"
[server]
config-text = """
<configuration><system.applicationHost>
<applicationPools><add name="Good" />{broken}</applicationPools>
<sites><site name="One" id="1">
<application path="/" applicationPool="Good"><virtualDirectory path="/" physicalPath="C:\\one" /></application>
<application path="/bad" applicationPool="Bad"><virtualDirectory path="/" physicalPath="C:\\bad" /></application>
<bindings><binding protocol="http" bindingInformation="*:80:" /></bindings>
</site></sites>
</system.applicationHost></configuration>"""
[load]
rate = 20
tls_share = 0
mix = [{{ url = "/default.aspx" }}, {{ url = "/bad/default.aspx" }}]
"#
        ));
        let run = run(&scenario, Operation::None);
        let served = |a: &&AttemptRecord| a.stream == Stream::Load && a.url == "/default.aspx";
        assert!(
            attempts(&run)
                .iter()
                .filter(served)
                .all(|a| a.outcome.is_success())
        );
        let bad = |a: &&AttemptRecord| a.url == "/bad/default.aspx";
        let answers = attempts(&run).iter().filter(bad).map(|a| a.outcome);
        let answers: BTreeSet<Outcome> = answers.collect();
        assert_eq!(answers, BTreeSet::from([Outcome::Http503]), "{broken}");
    }
}
