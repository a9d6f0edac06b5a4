//! What a report says of a comparison that was measured on the virtual clock.

use std::path::Path;

use super::expectations::{Holds, decide};
use super::{Clock, Comparison, Operation, Scenario, text};
use crate::load::Outcome;
use crate::load::plan::Stream;
use crate::measure::Outcomes;
use crate::measure::downtime::{Bounded, FailureWindow};
use crate::virtual_world::costs::Costs;
use crate::virtual_world::trial::Trial;

/// A recycle under a small load, with these lines of `[load]` and below it.
fn recycled(load: &str) -> Comparison {
    compared(&[Operation::Recycle], load)
}

fn compared(operations: &[Operation], load: &str) -> Comparison {
    let names: Vec<&str> = operations.iter().map(|one| one.name()).collect();
    let last = names.last().unwrap();
    let text = format!(
        "name = 'test'
        operations = {names:?}
        trials = 1
        [timing]
        warm-up-min = '2s'
        warm-up-max = '2s'
        watch-min = '3s'
        watch-max = '3s'
        [[expect]]
        that = 'nothing fails'
        checks = [{{ arm = {last:?}, figure = 'failed', equals = 0 }}]
        [load]
        rate = 50
        tls_share = 0
        {load}"
    );
    let scenario = Scenario::parse(&text, "test.toml", Path::new(".")).unwrap();
    let run = |&operation: &Operation| {
        let trial = Trial {
            scenario: &scenario,
            operation,
            seed: 1,
            costs: &Costs::default(),
        };
        trial.run().unwrap().result
    };
    Comparison::new(
        &scenario,
        Clock::Virtual,
        operations.iter().map(run).collect(),
    )
}

#[test]
fn a_recycle_that_no_probe_noticed_has_no_time_to_the_first_success() {
    let compared = recycled("probes.url = '/default.aspx'");
    let said = text::render(&compared);
    let row = said
        .lines()
        .find(|line| line.contains("time to first success"));
    assert!(row.is_some_and(|row| row.ends_with("no outage")), "{said}");
    let trial = compared.trials().next().unwrap();
    let json = serde_json::to_value(&trial.metrics).unwrap();
    assert!(json["time_to_first_success_ms"].is_null());
}

#[test]
fn what_happens_without_the_operation_too_is_said_beside_its_cost() {
    let missing = "mix = [{ url = '/nothing.aspx' }]\nprobes.url = '/default.aspx'";
    let said = text::render(&compared(&[Operation::None, Operation::FreezeWas], missing));
    let verdict = said
        .lines()
        .find(|line| line.starts_with("Verdict"))
        .unwrap();
    let (_, cost) = verdict
        .split_once("no attempts that do not fail anyway (")
        .unwrap();
    let (failed, of) = cost.split_once(" of ").unwrap();
    assert!(failed.parse::<u64>().unwrap() > 100, "{verdict}");
    assert!(of.contains(&format!("; {failed} without it")), "{verdict}");
}

#[test]
fn what_failed_before_the_operation_too_is_no_cost_of_it() {
    let missing = "mix = [{ url = '/nothing.aspx' }]\nprobes.url = '/default.aspx'";
    let comparison = recycled(missing);
    let said = text::render(&comparison);
    let (before, attempts) = (
        comparison.arms[0].before().total(),
        comparison.arms[0].attempts(),
    );
    assert!(before > 0);
    let verdict = format!(
        "no attempts that do not fail anyway ({attempts} of {attempts} attempts; {before} of {before} before it)"
    );
    assert!(said.contains(&verdict), "{said}");
    let note = format!(
        "{before} of {before} attempts of recycle failed before the operation, too (http_4xx {before})"
    );
    assert!(said.contains(&note), "{said}");
    assert!(!text::render(&recycled("")).contains("before the operation, too"));
}

#[test]
fn an_outage_that_the_operation_found_there_already_is_told() {
    let mut comparison = recycled("");
    let told = "probes of recycle failed before the operation already (7 of ";
    assert!(!text::render(&comparison).contains(told));
    let probes = &mut comparison.arms[0].trials[0].metrics.probes;
    probes.before.http_503 = 7;
    probes.new.as_mut().unwrap().was_failing = true;
    let said = text::render(&comparison);
    assert!(said.contains(told), "{said}");
}

#[test]
fn what_variants_do_not_share_is_told_of_each() {
    let text = "name = 'test'
        operations = ['none']
        trials = 2
        seed = 5
        [timing]
        warm-up-min = '1s'
        warm-up-max = '1s'
        watch-min = '1s'
        watch-max = '1s'
        [load]
        rate = 50
        tls_share = 0
        [[variant]]
        name = 'A'
        [[variant]]
        name = 'B'
        load = { rate = 20, users = 7, late_bound = '3ms' }
        trials = 3
        seed = 6
        [[variant]]
        name = 'C'";
    let scenario = Scenario::parse(text, "test.toml", Path::new(".")).unwrap();
    let costs = Costs::default();
    let of_story = |scenario: &Scenario| {
        let seeds = (0..scenario.trials).map(|round| scenario.seed_of_round(round));
        let trial = |seed| Trial {
            scenario,
            operation: Operation::None,
            seed,
            costs: &costs,
        };
        seeds
            .map(|seed| trial(seed).run().unwrap().result)
            .collect()
    };
    let stories = scenario.stories().unwrap().into_iter();
    let stories = stories.map(|story| {
        let results = of_story(&story.scenario);
        (story, results)
    });
    let said = text::render(&Comparison::of_stories(
        &scenario,
        Clock::Virtual,
        stories.collect(),
    ));
    for told in [
        "2 (A; C) or 3 (B) trial(s) of each operation, seed 5 (A; C) or 6 (B), 50 (A; C) or 20 (B) attempts/s, \
         64 kept-alive connections, 200 (A; C) or 7 (B) users; ",
        "more than 2 ms (A; C) or 3 ms (B) late",
        "95 % bootstrap intervals, but A; C: measured once or twice",
    ] {
        assert!(said.contains(told), "{told}: {said}");
    }
}

/// A stop of the pool has to wait for a request that hangs, up to the pool's limit.
fn stopped_with_a_hung_request(limit: &str, more: &str) -> Comparison {
    compared(
        &[Operation::StopStart],
        &format!(
            "probes = {{ url = '/d.aspx', interval = '100ms' }}
            mix = [{{ url = '/d.aspx' }}]
            held = {{ url = '/hang.aspx', count = 1, at = '1s' }}
            {more}
            [server]
            set = [\"system.applicationHost/applicationPools[name='DefaultAppPool'].processModel.shutdownTimeLimit:{limit}\"]
            [[application]]
            site = 'Default Web Site'
            [[application.behaviour.page]]
            path = '/d.aspx'
            [[application.behaviour.page]]
            path = '/hang.aspx'
            fault = 'hang'"
        ),
    )
}

#[test]
fn the_load_lasts_for_as_long_as_an_operation_may() {
    let comparison = stopped_with_a_hung_request("00:01:30", "");
    let trial = comparison.trials().next().unwrap();
    assert_eq!(trial.invalid, None);
    let without = trial.metrics.no_delivery_target_ms.unwrap();
    assert!((89_000.0..91_000.0).contains(&without), "{without}");
    // The watch was over when the pool was started again.
    let said = text::render(&comparison);
    let row = said
        .lines()
        .find(|line| line.contains("a pool without a worker"));
    assert!(
        row.is_some_and(|row| row.contains(" at least 8") || row.contains(" at least 9")),
        "{said}"
    );
}

#[test]
fn a_load_that_cannot_last_so_long_makes_the_trial_invalid() {
    let nobody = "pauses = [{ from = '3s', to = '480h' }]";
    let comparison = stopped_with_a_hung_request("10.00:00:00", nobody);
    let trial = comparison.trials().next().unwrap();
    let why = trial.invalid.as_deref().unwrap_or_default();
    assert!(
        why.contains("the load ended") && why.contains("no more attempts"),
        "{why}"
    );
    assert!(text::render(&comparison).contains(why));
}

/// Sets how the attempts of an arm ended; the rest had success.
fn ended_in(comparison: &mut Comparison, arm: usize, failures: &[(Outcome, u64)]) {
    let counts = &mut comparison.arms[arm].summary.outcomes;
    for (outcome, count) in failures {
        counts.get_mut(outcome.name()).unwrap().count = *count;
    }
}

fn before(comparison: &mut Comparison, arm: usize, outcomes: Outcomes) {
    comparison.arms[arm].trials[0].metrics.before.outcomes = outcomes;
}

#[test]
fn what_fails_more_than_without_the_operation_is_its_cost_in_whatever_way() {
    let mut comparison = compared(&[Operation::None, Operation::Recycle], "");
    let attempts = comparison.arms[1].attempts();
    ended_in(&mut comparison, 0, &[(Outcome::Http5xx, 80)]);
    let of_recycle = [(Outcome::Http5xx, 100), (Outcome::Refused, 5)];
    ended_in(&mut comparison, 1, &of_recycle);
    let said = text::render(&comparison);
    let scaled = (80 * attempts).div_ceil(comparison.arms[0].attempts());
    let wanted = format!("105 of {attempts} attempts ({scaled} of which fail without it as well)");
    assert!(said.contains(&wanted), "{said}");
    assert!(!said.contains("do not fail anyway"), "{said}");
}

#[test]
fn what_fails_in_another_way_than_without_the_operation_is_no_cost_of_it() {
    let mut comparison = compared(&[Operation::None, Operation::Recycle], "");
    let (of_none, attempts) = (comparison.arms[0].attempts(), comparison.arms[1].attempts());
    // More come than the server can take, and all fail.
    ended_in(
        &mut comparison,
        0,
        &[(Outcome::Http503, of_none - 20), (Outcome::Timeout, 20)],
    );
    let of_recycle = [(Outcome::Http503, attempts - 50), (Outcome::Timeout, 50)];
    ended_in(&mut comparison, 1, &of_recycle);
    let said = text::render(&comparison);
    let wanted = format!(
        "no attempts that do not fail anyway ({attempts} of {attempts} attempts; {of_none} without it)"
    );
    assert!(said.contains(&wanted), "{said}");
}

#[test]
fn a_few_attempts_before_the_operation_or_few_failures_of_them_tell_nothing_of_it() {
    let mut comparison = recycled("");
    let attempts = comparison.arms[0].attempts();
    ended_in(&mut comparison, 0, &[(Outcome::Http5xx, 50)]);
    let told = |comparison: &mut Comparison, http_5xx, ok| {
        let outcomes = Outcomes {
            ok,
            http_5xx,
            ..Outcomes::default()
        };
        before(comparison, 0, outcomes);
        text::render(comparison)
    };
    for (failed, ok) in [(3, 8), (11, 0), (30, 30)] {
        let said = told(&mut comparison, failed, ok);
        let all = failed + ok;
        let wanted = format!("50 of {attempts} attempts ({failed} of {all} before it)");
        assert!(said.contains(&wanted), "{said}");
    }
    ended_in(&mut comparison, 0, &[(Outcome::Refused, 7)]);
    let said = told(&mut comparison, 40, 0);
    let wanted = "no attempts that do not fail anyway (57 of";
    assert!(said.contains(wanted), "{said}");
}

#[test]
fn every_way_in_which_an_attempt_ends_is_a_row() {
    let comparison = recycled("");
    let part = text::parts(&comparison).find(|part| part.title == "attempts");
    let (all, ways) = part.unwrap().rows.split_first().unwrap();
    assert_eq!(all.path, "attempts");
    let mut paths: Vec<&str> = ways.iter().map(|row| row.path).collect();
    let mut wanted = Outcome::ALL.map(|outcome| format!("outcomes.{outcome}"));
    paths.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(paths, wanted);
}

#[test]
fn attempts_that_are_open_at_the_end_are_said() {
    let mut comparison = recycled("");
    let arm = &mut comparison.arms[0];
    let attempts = arm.attempts();
    arm.summary.outcomes.get_mut("abandoned").unwrap().count = attempts;
    let said = text::render(&comparison);
    let wanted = format!("0 of {attempts} attempts, {attempts} more still open at the end");
    assert!(said.contains(&wanted), "{said}");
}

#[test]
fn a_server_that_does_something_of_itself_is_not_told_as_left_alone() {
    let mut comparison = compared(&[Operation::None], "");
    let said = text::render(&comparison);
    assert!(said.contains("Nothing was done to the server"), "{said}");
    let metrics = &mut comparison.arms[0].trials[0].metrics;
    metrics.events = Some([("5002".to_owned(), 1)].into());
    let said = text::render(&comparison);
    assert!(!said.contains("Nothing was done"), "{said}");
    let wanted =
        "1 stop(s) of a pool by rapid-fail protection (event 5002), with a longest gap of 0 ms";
    assert!(said.contains(wanted), "{said}");
}

/// Gives an arm a gap that had not ended when the run did.
fn open_gap(comparison: &mut Comparison, arm: usize, value: f64, lower: f64) {
    let metrics = &mut comparison.arms[arm].trials[0].metrics;
    metrics.downtime_max_gap_ms = Some(Bounded {
        value,
        lower,
        upper: None,
    });
    comparison.arms[arm].summary = crate::measure::summarise(std::slice::from_ref(metrics));
}

#[test]
fn a_gap_without_the_operation_that_is_open_is_told_as_at_least_too() {
    let mut comparison = compared(&[Operation::None, Operation::Recycle], "");
    open_gap(&mut comparison, 0, 14_610.0, 14_600.0);
    let said = text::render(&comparison);
    let wanted = "cost a longest gap of 0 ms (at least 14600 without it), ";
    assert!(said.contains(wanted), "{said}");
}

#[test]
fn where_no_probe_failed_the_gap_is_none_though_the_last_probe_was_open() {
    let mut comparison = recycled("");
    open_gap(&mut comparison, 0, 0.0, 0.0);
    let said = text::render(&comparison);
    assert!(said.contains("cost a longest gap of 0 ms, "), "{said}");
    assert!(!said.contains("at least 0"), "{said}");
}

#[test]
fn a_gap_that_is_open_at_the_end_is_told_as_at_least() {
    let mut comparison = recycled("");
    open_gap(&mut comparison, 0, 721_000.0, 720_000.0);
    let said = text::render(&comparison);
    let row = said.lines().find(|line| line.contains("longest gap, ms"));
    assert!(row.unwrap().ends_with("at least 720000"), "{said}");
    assert!(
        said.contains("cost a longest gap of at least 720000 ms"),
        "{said}"
    );
}

#[test]
fn probes_that_fail_after_the_steady_state_are_said() {
    let mut comparison = recycled("");
    let metrics = &mut comparison.arms[0].trials[0].metrics;
    metrics.time_to_steady_state_ms = Some(100.0);
    metrics.downtime_windows = vec![FailureWindow {
        stream: Stream::ProbeNew,
        from_ms: 2_000.0,
        to_ms: 2_040.0,
        failed: 5,
        undecided: 0,
    }];
    let said = text::render(&comparison);
    assert!(
        said.contains("recycle was steady and failed again later: 5 probes"),
        "{said}"
    );
}

#[test]
fn probes_that_wait_to_the_end_are_said_where_no_other_one_tells_of_the_gap() {
    let mut comparison = recycled("");
    let metrics = &mut comparison.arms[0].trials[0].metrics;
    metrics.downtime_max_gap_ms = None;
    metrics.probes.outcomes.abandoned = 600;
    let said = text::render(&comparison);
    assert!(said.contains("600 of "), "{said}");
    assert!(said.contains("longer than load.probes.deadline"), "{said}");
}

#[test]
fn a_gap_without_probes_is_not_told_as_a_number() {
    let said = text::render(&recycled("probes.interval = '1m'"));
    assert!(
        said.contains("cost a gap that no probe could tell"),
        "{said}"
    );
    assert!(!said.contains("NaN"), "{said}");
}

fn is_judged(comparison: &Comparison) -> bool {
    let decided = decide(comparison);
    decided.iter().all(|one| one.holds != Holds::NotJudged)
}

#[test]
fn no_sentence_holds_where_there_is_no_verdict() {
    let mut comparison = recycled("");
    assert!(is_judged(&comparison));
    let ledger = comparison.arms[0].trials[0].metrics.ledger.as_mut();
    ledger.unwrap().unexplained = 1;
    assert!(!is_judged(&comparison));
    assert!(text::render(&comparison).contains("No verdict"));
}

#[test]
fn a_pause_over_everything_is_named() {
    let comparison = recycled("pauses = [{ from = '0s', to = '1h' }]");
    assert!(!comparison.is_trusted() && !is_judged(&comparison));
    let said = text::render(&comparison);
    let wanted =
        "no attempt was made in the span that counts, from the end of the warm-up on: load.pauses";
    assert!(said.contains(wanted), "{said}");
}

#[test]
fn nothing_is_said_about_an_operation_that_nobody_met() {
    // Operations begin within a probe's interval after the warm-up of two seconds.
    let comparison = recycled("pauses = [{ from = '1900ms', to = '1h' }]");
    assert!(!comparison.is_trusted() && !is_judged(&comparison));
    let said = text::render(&comparison);
    assert!(
        said.contains("no attempt of recycle was made once"),
        "{said}"
    );
    assert!(said.contains("No verdict"), "{said}");
}

#[test]
fn a_virtual_report_is_the_same_whatever_else_the_machine_does() {
    let comparison = recycled("");
    let value = super::json::value(&comparison);
    assert!(value["environment"]["load_average"].is_null());
    let live = super::Environment::of_this_machine(Clock::Live);
    assert!(live.load_average.is_some());
}

#[test]
fn attempts_are_told_of_all_trials_and_other_figures_are_medians() {
    let mut comparison = recycled("");
    assert!(!text::render(&comparison).contains(" in all "));
    let arm = &mut comparison.arms[0];
    let more = arm.trials[0].clone();
    arm.trials.extend([more.clone(), more]);
    let wanted = format!("0 of {} attempts in all 3 trials (at most ", arm.attempts());
    let said = text::render(&comparison);
    assert!(said.contains(&wanted), "{said}");
}

#[test]
fn probes_of_what_goes_on_are_no_proof_that_all_does() {
    let mut comparison = recycled("");
    let arm = &mut comparison.arms[0];
    let attempts = arm.attempts();
    arm.summary.outcomes.get_mut("http_503").unwrap().count = attempts / 2;
    let said = text::render(&comparison);
    let wanted = format!(
        "a recycle cost no gap of the probes, which ask only for {} of the default host, {} of {attempts} attempts",
        comparison.scenario.load.probes.url,
        attempts / 2
    );
    assert!(said.contains(&wanted), "{said}");
    assert!(!said.contains("a longest gap of 0 ms"), "{said}");
    let load = &mut comparison.stories[0].scenario.load;
    load.probes.host = Some("shop.example".to_owned());
    assert!(text::render(&comparison).contains(" of shop.example, "));
}
