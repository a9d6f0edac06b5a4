//! A swarm: many short runs, each with a server, a load, an operation and faults drawn from its seed.
//!
//! Each fault and each feature is on in half of the runs, because a run in which everything is on hides
//! what only some of it does (Groce et al., "Swarm testing", ISSTA 2012). The load and the faults end,
//! and then everything must come to rest; the client's book must agree with the server's to the last
//! attempt. Absent so far: shrinking a run that fails, and storing it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use rand_pcg::Pcg64Mcg;

use super::costs::Costs;
use super::faults::{Faults, unit};
use super::trial::{Size, Trial, TrialError};
use crate::load::plan::random_stream;
use crate::scenario::{Operation, Scenario, ScenarioError};

/// What a seed stands for.
#[derive(Clone, Debug)]
pub struct Drawn {
    /// The server and the load.
    pub scenario: Scenario,
    /// What is done to it.
    pub operation: Operation,
    /// What goes wrong by itself.
    pub faults: Faults,
}

/// What has come of one seed.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The digest over all facts.
    pub digest: u64,
    /// How much was simulated.
    pub size: Size,
    /// What was seen, and how often.
    pub sometimes: BTreeMap<&'static str, u64>,
}

/// Why a seed has failed.
#[derive(Debug, thiserror::Error)]
pub enum SwarmError {
    /// What was drawn is no scenario: a fault of the swarm.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// The run.
    #[error(transparent)]
    Trial(#[from] TrialError),
    /// C5: the client's book and the server's disagree.
    #[error("C5 broken: {count} attempt(s) of the client are not explained: {}", examples.join("; "))]
    Unexplained {
        /// How many.
        count: u64,
        /// Some of them.
        examples: Vec<String>,
    },
}

/// Runs one seed, `watched` of virtual time after its operation.
pub fn run(seed: u64, watched: Duration) -> Result<Outcome, SwarmError> {
    let drawn = draw(seed, watched)?;
    let costs = Costs::default();
    let trial = Trial {
        scenario: &drawn.scenario,
        operation: drawn.operation,
        seed,
        costs: &costs,
        faults: Some(&drawn.faults),
    };
    let run = trial.run()?;
    let count = run.result.unexplained_count();
    if count > 0 {
        let examples = run.result.unexplained;
        return Err(SwarmError::Unexplained { count, examples });
    }
    Ok(Outcome {
        digest: run.result.digest.unwrap_or_default(),
        size: run.size,
        sometimes: run.sometimes,
    })
}

/// Draws what a seed stands for.
pub fn draw(seed: u64, watched: Duration) -> Result<Drawn, ScenarioError> {
    let mut dice = Dice(random_stream(seed, "swarm"));
    let text = scenario_text(&mut dice, watched);
    let scenario = Scenario::parse(&text, &format!("seed {seed}"), Path::new("."))?;
    let operation = dice.one_of(&Operation::ALL);
    let faults = Faults {
        crash: dice.maybe(|dice| dice.log_uniform(1e-5, 3e-3)),
        hang: dice.maybe(|dice| dice.log_uniform(1e-6, 3e-4)),
        crash_at_start: dice.maybe(|dice| dice.log_uniform(0.01, 0.7)),
        never_ready: dice.maybe(|dice| dice.log_uniform(0.01, 0.3)),
        slow_start: Duration::from_secs_f64(dice.maybe(|dice| dice.log_uniform(0.01, 20.0))),
    };
    Ok(Drawn {
        scenario,
        operation,
        faults,
    })
}

/// Random choices.
struct Dice(Pcg64Mcg);

impl Dice {
    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a number below 1 times a small length"
        )]
        let index = (unit(&mut self.0) * choices.len() as f64) as usize;
        choices[index.min(choices.len() - 1)]
    }

    /// Something, or nothing, as likely as not.
    fn maybe(&mut self, draw: impl FnOnce(&mut Self) -> f64) -> f64 {
        let value = draw(self);
        if unit(&mut self.0) < 0.5 { value } else { 0.0 }
    }

    fn log_uniform(&mut self, low: f64, high: f64) -> f64 {
        low * (high / low).powf(unit(&mut self.0))
    }
}

fn scenario_text(dice: &mut Dice, watched: Duration) -> String {
    let pools = dice.one_of(&[1_u32, 2, 3]);
    let mut text = format!(
        "name = 'swarm'\n[timing]\nwarm-up-min = '2s'\nwarm-up-max = '2s'\nwatch-min = '{0}s'\n\
         watch-max = '{0}s'\n[server]\nconfig-text = '''\n{1}'''\n",
        watched.as_secs(),
        configuration_text(dice, pools),
    );
    let rate = dice.log_uniform(2.0, 150.0);
    let connections = dice.one_of(&[1, 8, 64]);
    let one_shots = dice.one_of(&[0.0, 0.1, 0.7]);
    let tls = dice.one_of(&[0.0, 0.3]);
    let deadline = dice.one_of(&["1s", "10s", "100s"]);
    let _ = write!(
        text,
        "[load]\nrate = {rate:.3}\nkeep_alive_connections = {connections}\n\
         one_shot_share = {one_shots}\ntls_share = {tls}\nusers = 20\ndeadline = '{deadline}'\nmix = [\n"
    );
    for pool in 0..pools {
        let path = if pool == 0 {
            String::new()
        } else {
            format!("/p{pool}")
        };
        let _ = write!(
            text,
            "{{ url = '{path}/default.aspx', weight = 3 }},\n\
             {{ url = '{path}/session.aspx', weight = 2, session = true }},\n\
             {{ url = '{path}/cache.aspx' }},\n\
             {{ url = '{path}/wait.aspx?time={}', weight = {} }},\n\
             {{ url = '{path}/cpu.aspx?time={}' }},\n",
            dice.one_of(&[10, 300, 5_000]),
            dice.one_of(&[1, 5]),
            dice.one_of(&[1, 20]),
        );
    }
    let interval = dice.one_of(&["50ms", "500ms"]);
    let _ = write!(
        text,
        "{{ url = '/iisstart.htm', weight = 3 }},\n]\n[load.probes]\ninterval = '{interval}'\n\
         url = '/default.aspx'\n"
    );
    text
}

fn configuration_text(dice: &mut Dice, pools: u32) -> String {
    let mut text = "<configuration><system.applicationHost><applicationPools>\n".to_owned();
    for pool in 0..pools {
        let _ = writeln!(
            text,
            "<add name=\"P{pool}\" queueLength=\"{}\" startMode=\"{}\">\
             <processModel maxProcesses=\"{}\" startupTimeLimit=\"00:00:{}\" \
             shutdownTimeLimit=\"00:00:{}\" pingInterval=\"00:00:{}\" pingResponseTime=\"00:00:{}\" \
             idleTimeout=\"00:{}:00\" />\
             <recycling disallowOverlappingRotation=\"{}\"><periodicRestart requests=\"{}\" /></recycling>\
             <failure rapidFailProtectionMaxCrashes=\"{}\" loadBalancerCapabilities=\"{}\" /></add>",
            dice.one_of(&[10, 100, 1_000]),
            dice.one_of(&["OnDemand", "AlwaysRunning"]),
            dice.one_of(&[1, 1, 2]),
            dice.one_of(&["02", "09"]),
            dice.one_of(&["02", "09"]),
            dice.one_of(&["02", "06"]),
            dice.one_of(&["01", "05"]),
            dice.one_of(&["00", "01"]),
            dice.one_of(&["false", "true"]),
            dice.one_of(&[0, 0, 50]),
            dice.one_of(&[2, 5]),
            dice.one_of(&["HttpLevel", "TcpLevel"]),
        );
    }
    text.push_str(
        "</applicationPools><sites><site name=\"Default Web Site\" id=\"1\">\n\
         <application path=\"/\" applicationPool=\"P0\"><virtualDirectory path=\"/\" \
         physicalPath=\"%SystemDrive%\\inetpub\\wwwroot\" /></application>\n",
    );
    for pool in 1..pools {
        let _ = writeln!(
            text,
            "<application path=\"/p{pool}\" applicationPool=\"P{pool}\"><virtualDirectory path=\"/\" \
             physicalPath=\"%SystemDrive%\\inetpub\\p{pool}\" /></application>"
        );
    }
    text.push_str(
        "<bindings><binding protocol=\"http\" bindingInformation=\"*:80:\" />\
         <binding protocol=\"https\" bindingInformation=\"*:443:\" /></bindings></site></sites>\n\
         </system.applicationHost></configuration>\n",
    );
    text
}
