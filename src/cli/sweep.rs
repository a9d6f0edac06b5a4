//! `iis-sim sweep`: run a shard of a plan on all cores, and leave whole files of rows behind.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use sim_httpsys::clockwork::Instant;
use sim_httpsys::live::clock::clock_now;

use super::fail;
use super::up::stop_flag;
use crate::build;
use crate::sweep::plan::Plan;
use crate::sweep::run::{Progress, Work};
use crate::sweep::shard::{Shard, ShardError};

/// Exit code of wrong arguments. Source: clap's own.
const WRONG_ARGUMENTS: u8 = 2;
/// Exit code after Ctrl-C. Source: the shell's convention, 128 + SIGINT.
const INTERRUPTED: u8 = 130;
/// The least units in a file, and the most files of a plan, unless somebody says otherwise.
/// Assumed: a file takes a merge about 0.3 ms, however little is in it, and a million units are to be merged in seconds.
const FILES: (u64, u64) = (16, 8_192);
/// How often a log that is no terminal is told about progress.
const LINE_INTERVAL: Duration = Duration::from_secs(15);

const HELP: &str = "\
A plan varies keys of a scenario, and runs its operations at every point with every seed:
  scenario = \"../scenarios/reset-vs-recycle.toml\"  # relative to the plan [default: built in]
  variant = \"fast\"                                 # only if the scenario has variants
  operations = [\"none\", \"recycle\"]                 # [default: the scenario's]
  seeds = \"0..100\"                                 # from 0 up to but without 100
  [[vary]]
  key = \"load.rate\"                                # a dotted key of the scenario,
  values = [100, 200, 400]
  [[vary]]
  key = \"costs.spawn\"                              # or of the profile of costs,
  values = [\"5ms\", \"50ms\"]
  [[vary]]                                         # or into a list: [0], or [field=value]
  key = \"application[path=/].behaviour.page[path=/report.aspx].wait\"
  values = [\"1s\", \"5s\"]
  [[vary]]                                         # or an attribute of applicationHost.config:
  key = \"pool[DefaultAppPool].processModel.shutdownTimeLimit\"   # also site[NAME].…
  values = [\"00:00:05\", \"00:01:30\"]                # or as appcmd writes it: system.…/…
Numbers may be a range = { from = 1, to = 9, step = 2 } or { from = 1, to = 8, factor = 2 }.

Which shard is ours is looked for in this order:
  --shard I/N                                 counted from 1
  SLURM_ARRAY_TASK_ID, _MIN, _STEP, _COUNT    Slurm: sbatch --array
  JOB_COMPLETION_INDEX                        Kubernetes Indexed Job; add --of N
  AWS_BATCH_JOB_ARRAY_INDEX                   AWS Batch array job; add --of N
  PBS_ARRAY_INDEX                             PBS Pro: qsub -J 0-7; add --of N
  PARALLEL_SEQ                                GNU parallel; add --of N
  OMPI_COMM_WORLD_RANK, _SIZE                 mpirun
and if there is none, it is all of it; --of N without an index is refused. With --of N an index
counts as it is (from 0, of PARALLEL_SEQ from 1), so that one lost task can be started again:
sbatch --array=3 with --of 8.

Started again with the same folder, a sweep does only what is missing. It may be killed at any
time; Ctrl-C keeps what is done. Then: iis-sim merge DIR

Exit codes: 0 the shard is complete; 1 failed; 2 wrong arguments; 130 interrupted";

/// Arguments of `iis-sim sweep`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP, after_help = "--help tells what a plan looks like, and how shards are chosen")]
pub(super) struct Arguments {
    /// What is varied
    #[arg(value_name = "PLAN.toml")]
    plan: PathBuf,
    /// The part to run, counted from 1 [default: what Slurm, Kubernetes … say, else 1/1]
    #[arg(long, value_name = "I/N", conflicts_with = "of")]
    shard: Option<String>,
    /// How many shards there are, if what starts us says only which is ours
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    of: Option<u64>,
    /// Where results go; what is there already is not run again
    #[arg(long, value_name = "DIR", required_unless_present = "check")]
    out: Option<PathBuf>,
    /// Threads [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
    /// Units (a point with a seed) in one file: so many are lost at most for each thread if this is killed
    /// [default: 16, and in a plan of more than 131,072 units so many that there are 8,192 files]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    file_units: Option<u64>,
    /// Only check the plan, and say how much it is
    #[arg(long)]
    check: bool,
}

/// Runs the shard.
pub(super) fn main(arguments: &Arguments) -> ExitCode {
    let plan = match Plan::read(&arguments.plan) {
        Ok(plan) => plan,
        Err(error) => return fail(&error),
    };
    let shard = match shard_of(arguments) {
        Ok(shard) => shard,
        Err(error) => {
            eprintln!("iis-sim: {error}");
            return ExitCode::from(WRONG_ARGUMENTS);
        }
    };
    let part = shard.part_of(plan.units());
    let title = format!("{plan}\nshard {shard}: units {}..{}", part.start, part.end);
    let Some(folder) = arguments.out.as_ref().filter(|_| !arguments.check) else {
        println!("{title}");
        return ExitCode::SUCCESS;
    };
    eprintln!("{title}");
    let stop = match stop_flag() {
        Ok(stop) => stop,
        Err(error) => return fail(&error),
    };
    let build = build::id();
    let work = Work {
        plan: &plan,
        shard,
        folder,
        file_units: arguments.file_units.unwrap_or_else(|| {
            let (least, files) = FILES;
            plan.units().div_ceil(files).max(least)
        }),
        jobs: arguments.jobs.map_or_else(cores, usize::from),
        build: &build,
        stop: &stop,
    };
    let begun = clock_now();
    let mut shown = Shown::new(part.end - part.start);
    let ran = work.run(&mut |progress| shown.show(progress));
    shown.finish();
    let progress = match ran {
        Ok(progress) => progress,
        Err(error) => return fail(&error),
    };
    eprintln!("{}", summary(&progress, clock_now() - begun));
    if progress.skipped + progress.kept < progress.units {
        eprintln!("iis-sim: interrupted; the same command goes on where this one ended");
        return ExitCode::from(INTERRUPTED);
    }
    ExitCode::SUCCESS
}

fn shard_of(arguments: &Arguments) -> Result<Shard, ShardError> {
    match &arguments.shard {
        Some(text) => Shard::parse(text),
        None => Shard::from_environment(|name| std::env::var(name).ok(), arguments.of),
    }
}

/// How many threads are all cores that this process may use.
pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

#[expect(clippy::cast_precision_loss, reason = "rates for people")]
fn summary(progress: &Progress, took: Duration) -> String {
    let seconds = took.as_secs_f64().max(1e-9);
    let size = &progress.size;
    format!(
        "{} units were there, {} run and kept in {seconds:.1} s: {:.0} s of virtual time, {} attempts, \
         {} events ({:.0} a second)",
        progress.skipped,
        progress.kept,
        size.nanos as f64 / 1e9,
        size.attempts,
        size.events,
        size.events as f64 / seconds
    )
}

/// Progress, as a bar on a terminal and as a line now and then in a log.
struct Shown {
    bar: ProgressBar,
    is_terminal: bool,
    last: Instant,
}

impl Shown {
    fn new(units: u64) -> Self {
        let bar = ProgressBar::new(units);
        let style = ProgressStyle::with_template(
            "{bar:30} {pos}/{len} units  {msg}  {elapsed}, {eta} left",
        );
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.enable_steady_tick(Duration::from_millis(200));
        Self {
            bar,
            is_terminal: std::io::stderr().is_terminal(),
            last: clock_now(),
        }
    }

    fn show(&mut self, progress: &Progress) {
        let done = progress.skipped + progress.done;
        if progress.done == 0 {
            // What was there already says nothing about how long the rest takes.
            self.bar.set_position(done);
            self.bar.reset_eta();
            self.bar
                .set_message(format!("{} were there", progress.skipped));
            return;
        }
        self.bar.set_position(done);
        if !self.is_terminal && clock_now() - self.last >= LINE_INTERVAL {
            self.last = clock_now();
            eprintln!("{done} of {} units", progress.units);
        }
    }

    fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
