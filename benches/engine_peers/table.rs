//! The table, and how it stands to the goals.

use serde_json::{Value, json};

use crate::Outcome;
use crate::peers::{Peer, Role};
use crate::sample::Sample;

/// One who took part.
#[derive(Debug)]
pub(crate) struct Row {
    name: &'static str,
    role: Role,
    /// Medians over the rounds.
    events_per_second: f64,
    served_per_second: f64,
    total: Sample,
}

impl Row {
    pub(crate) fn new(peer: &Peer, samples: &[Sample]) -> Self {
        let rate = |of: fn(&Sample) -> f64| {
            let mut rates: Vec<f64> = samples
                .iter()
                .map(|s| of(s) / s.seconds.max(1e-9))
                .collect();
            rates.sort_by(f64::total_cmp);
            rates.get(rates.len() / 2).copied().unwrap_or(0.0)
        };
        Self {
            name: peer.name,
            role: peer.role,
            events_per_second: rate(|sample| sample.events),
            served_per_second: rate(|sample| sample.served),
            total: Sample::sum(samples),
        }
    }
}

/// Prints who did how much.
pub(crate) fn print(rows: &[Row], rounds: u32) {
    println!(
        "\nM/M/8/28 at a load of 90 %, and a web server with 1,000 connections; {rounds} round(s), \
         processor time, medians"
    );
    println!(
        "\n{:<34} {:>10} {:>10} {:>9} {:>11} {:>9}",
        "", "events/s", "served/s", "ns/event", "mean wait", "refused"
    );
    for row in rows {
        let million = |rate: f64| format!("{:.3} M", rate / 1e6);
        let (mut events, mut per_event) = ("–".to_owned(), "–".to_owned());
        if row.events_per_second > 0.0 {
            events = million(row.events_per_second);
            per_event = format!("{:.0}", 1e9 / row.events_per_second);
        }
        let customers = row.total.served + row.total.refused;
        let (mut wait, mut refused) = ("–".to_owned(), "–".to_owned());
        if !row.role.is_server() {
            wait = format!("{:.5}", row.total.waited / row.total.served);
            refused = format!("{:.5}", row.total.refused / customers);
        }
        println!(
            "{:<34} {events:>10} {:>10} {per_event:>9} {wait:>11} {refused:>9}",
            row.name,
            million(row.served_per_second)
        );
    }
    println!("theory: mean wait 0.60902, refused 0.00924");
}

/// A figure that has a goal.
struct Verdict {
    what: &'static str,
    value: f64,
    goal: f64,
}

fn verdicts(rows: &[Row]) -> Vec<Verdict> {
    let find = |role| rows.iter().find(|row| row.role == role);
    let events = |role| find(role).map(|row| row.events_per_second);
    let ratio = |peer| Some(events(Role::Ours)? / events(peer)?);
    let served = |role| find(role).map(|row| row.served_per_second);
    let of_simpy = || Some(served(Role::OurServer)? / served(Role::SimPyServer)?);
    let figures = [
        (
            "station: million events/s of a core",
            events(Role::Ours).map(|rate| rate / 1e6),
            15.0,
        ),
        ("station: ÷ SimPy with processes", ratio(Role::SimPy), 100.0),
        ("station: ÷ ns-3", ratio(Role::Ns3), 2.0),
        ("station: ÷ nexosim", ratio(Role::Nexosim), 4.0),
        ("station: ÷ tokio, paused clock", ratio(Role::Tokio), 15.0),
        ("server: requests/s ÷ SimPy", of_simpy(), 45.0),
    ];
    let known = figures
        .into_iter()
        .filter_map(|(what, value, goal)| value.map(|value| Verdict { what, value, goal }));
    known.collect()
}

impl Verdict {
    fn says(&self) -> &'static str {
        if self.value >= self.goal {
            "goal"
        } else {
            "missed"
        }
    }
}

/// Prints how the figures stand to the goals.
pub(crate) fn print_verdicts(rows: &[Row]) {
    println!("\n{:<44} {:>9} {:>9}", "", "is", "goal");
    for verdict in verdicts(rows) {
        let goal = format!("≥ {}", verdict.goal);
        println!(
            "{:<44} {:>9.1} {goal:>9}  {}",
            verdict.what,
            verdict.value,
            verdict.says()
        );
    }
}

/// Fails if a station is not where theory says.
pub(crate) fn faults(rows: &[Row]) -> Outcome<()> {
    let stations = rows.iter().filter(|row| !row.role.is_server());
    let faults: Vec<String> = stations
        .filter_map(|row| Some(format!("{}: {}", row.name, row.total.fault()?)))
        .collect();
    if faults.is_empty() {
        Ok(())
    } else {
        Err(faults.join("; "))
    }
}

/// All of it, for machines.
pub(crate) fn json(rows: &[Row], left_out: &[String]) -> Value {
    let peers = rows.iter().map(|row| {
        json!({
            "name": row.name,
            "events_per_second": row.events_per_second,
            "served_per_second": row.served_per_second,
            "served": row.total.served,
            "refused": row.total.refused,
            "processor_seconds": row.total.seconds,
        })
    });
    let verdicts = verdicts(rows).into_iter().map(|verdict| {
        json!({
            "what": verdict.what, "value": verdict.value, "goal": verdict.goal,
            "says": verdict.says(),
        })
    });
    json!({
        "schema": "iis-sim/engine-peers/1",
        "peers": peers.collect::<Vec<_>>(),
        "verdicts": verdicts.collect::<Vec<_>>(),
        "left_out": left_out,
    })
}
