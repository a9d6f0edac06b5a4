//! Sweeps as a user runs them: sharded, killed, run again, merged.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test looks until something has happened, and fails when it is not as it should be"
)]

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use iis_sim::sweep::folder::{self, Scan};
use iis_sim::sweep::table::Column;

const IIS_SIM: &str = env!("CARGO_BIN_EXE_iis-sim");

/// Two rates, six seeds, two operations, a small load: 24 rows.
const PLAN: &str = "
name = 'small'
scenario = 'scenario.toml'
operations = ['none', 'recycle']
seeds = '0..6'
[[vary]]
key = 'load.rate'
values = [20, 40]
";

const SCENARIO: &str = "
name = 'small'
[timing]
warm-up-min = '1s'
warm-up-max = '1s'
watch-min = '1s'
watch-max = '1s'
[load]
rate = 10
tls_share = 0
keep_alive_connections = 4
users = 5
mix = [{ url = '/default.aspx' }, { url = '/session.aspx', session = true }]
";

/// A folder with a plan and its scenario.
struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("plan.toml"), PLAN).unwrap();
        fs::write(folder.path().join("scenario.toml"), SCENARIO).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(IIS_SIM);
        command.args(words).current_dir(self.folder.path());
        for name in [
            "SLURM_ARRAY_TASK_ID",
            "JOB_COMPLETION_INDEX",
            "AWS_BATCH_JOB_ARRAY_INDEX",
            "PBS_ARRAY_INDEX",
            "PARALLEL_SEQ",
        ] {
            command.env_remove(name);
        }
        command
    }

    fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// Runs a sweep that must succeed.
    fn sweep(&self, out: &str, words: &[&str]) {
        let all = [&["sweep", "plan.toml", "--out", out], words].concat();
        let output = self.run(&all);
        assert!(output.status.success(), "{}", errors(&output));
    }

    /// The digest of a merge that must succeed.
    fn digest(&self, folders: &[&str]) -> String {
        let output = self.run(&[&["merge"], folders].concat());
        assert!(output.status.success(), "{}", errors(&output));
        let text = String::from_utf8(output.stdout).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("digest "));
        line.unwrap().to_owned()
    }

    /// What is said by something that must be refused.
    fn refused(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert!(!output.status.success(), "{words:?} was not refused");
        errors(&output)
    }

    fn files(&self, out: &str) -> Vec<PathBuf> {
        let scan = Scan::of(&self.path(out)).unwrap();
        scan.files.into_iter().map(|found| found.path).collect()
    }
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while !holds() {
        assert!(Instant::now() < deadline, "waited a minute until {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn three_shards_merge_to_what_one_gives() {
    let bench = Bench::new();
    bench.sweep("one", &["--shard", "1/1", "--jobs", "1"]);
    for shard in ["2/3", "3/3", "1/3"] {
        bench.sweep("three", &["--shard", shard, "--file-units", "2"]);
    }
    assert_eq!(bench.digest(&["one"]), bench.digest(&["three"]));
}

#[test]
fn a_sweep_that_was_killed_and_run_again_gives_what_a_whole_one_does() {
    let bench = Bench::new();
    bench.sweep("whole", &[]);
    let words = [
        "sweep",
        "plan.toml",
        "--out",
        "killed",
        "--file-units",
        "1",
        "--jobs",
        "1",
    ];
    let mut command = bench.command(&words);
    let mut running = Running(command.stderr(Stdio::null()).spawn().unwrap());
    until("two files are there", || bench.files("killed").len() >= 2);
    running.0.kill().unwrap(); // SIGKILL
    running.0.wait().unwrap();
    let before = bench.files("killed").len();
    assert!(
        (2..12).contains(&before),
        "{before} files, so it was not half-way"
    );
    let said = bench.refused(&["merge", "killed"]);
    assert!(said.contains("rows of small are missing"), "{said}");
    assert!(
        said.contains("iis-sim sweep plan.toml --out killed"),
        "{said}"
    );
    let again = bench.run(&words);
    assert!(errors(&again).contains(&format!("{before} units were there")));
    assert_eq!(bench.digest(&["killed"]), bench.digest(&["whole"]));
    let left = fs::read_dir(bench.path("killed")).unwrap().flatten();
    let temporary = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().contains(".tmp.");
    assert_eq!(
        left.filter(temporary).count(),
        0,
        "what the dead one was writing is gone"
    );
}

#[test]
fn interrupted_by_ctrl_c_a_sweep_keeps_what_is_done() {
    let bench = Bench::new();
    let words = ["sweep", "plan.toml", "--out", "out", "--jobs", "1"];
    let mut command = bench.command(&words);
    let running = Running(command.stderr(Stdio::null()).spawn().unwrap());
    until("it has begun", || bench.path("out").exists());
    let pid = rustix::process::Pid::from_child(&running.0);
    // Its handler may not be there yet in the first moment; the folder is made after it is.
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let mut running = running;
    assert_eq!(running.0.wait().unwrap().code(), Some(130));
    assert!(Scan::of(&bench.path("out")).unwrap().damaged.is_empty());
    assert!(Scan::of(&bench.path("out")).unwrap().temporary.is_empty());
    bench.sweep("out", &[]);
    bench.sweep("whole", &[]);
    assert_eq!(bench.digest(&["out"]), bench.digest(&["whole"]));
}

#[test]
fn a_lost_shard_is_named_with_its_point_and_how_to_run_it() {
    let bench = Bench::new();
    for shard in ["1/4", "2/4", "4/4"] {
        bench.sweep("out", &["--shard", shard]);
    }
    let said = bench.refused(&["merge", "out"]);
    assert!(said.contains("6 of 24 rows"), "{said}");
    assert!(
        said.contains("units 6..9: load.rate = 40, seeds 0..3"),
        "{said}"
    );
    assert!(said.contains("--shard 3/4"), "{said}");
    bench.sweep("elsewhere", &["--shard", "3/4"]);
    bench.digest(&["out", "elsewhere"]);
}

#[test]
fn a_row_that_is_there_twice_must_be_there_alike() {
    let bench = Bench::new();
    bench.sweep("out", &[]);
    let once = bench.digest(&["out"]);
    bench.sweep("again", &["--file-units", "5"]);
    assert_eq!(bench.digest(&["out", "again"]), once);
    let (path, header) = {
        let mut files = Scan::of(&bench.path("again")).unwrap().files;
        let found = files.remove(0);
        (found.path, found.header)
    };
    let (_, mut table, _) = folder::read(&path).unwrap();
    let Some(Column::Number(cells)) = table.columns.get_mut("latency_ms.during.p50") else {
        panic!("no such column");
    };
    cells[3] = Some(-1.0);
    let units = header.holds[0]..header.holds[1];
    folder::put(&bench.path("again"), &header, &units, &table).unwrap();
    let said = bench.refused(&["merge", "out", "again"]);
    assert!(said.contains("twice and differs"), "{said}");
    assert!(
        said.contains("first in column latency_ms.during.p50"),
        "{said}"
    );
}

#[test]
fn results_of_another_plan_are_refused_by_sweep_and_by_merge() {
    let bench = Bench::new();
    bench.sweep("out", &["--shard", "1/2"]);
    fs::write(bench.path("plan.toml"), PLAN.replace("20, 40", "20, 30")).unwrap();
    let said = bench.refused(&["sweep", "plan.toml", "--shard", "2/2", "--out", "out"]);
    assert!(said.contains("holds results of plan"), "{said}");
    bench.sweep("other", &["--shard", "2/2"]);
    let said = bench.refused(&["merge", "out", "other"]);
    assert!(
        said.contains("different plans do not belong together"),
        "{said}"
    );
}

#[test]
fn a_damaged_file_is_named_by_merge_and_made_again_by_sweep() {
    let bench = Bench::new();
    bench.sweep("out", &["--file-units", "4"]);
    let whole = bench.digest(&["out"]);
    let file = bench.files("out").remove(1);
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..bytes.len() - 9]).unwrap();
    let said = bench.refused(&["merge", "out"]);
    assert!(said.contains("units-00000004"), "{said}");
    bench.sweep("out", &["--file-units", "4"]);
    assert_eq!(bench.digest(&["out"]), whole);
    // A flipped bit is told, unless it lies where nothing is read: then the rows are what they were.
    let mut told = 0;
    for part in 1..16 {
        let mut flipped = bytes.clone();
        flipped[bytes.len() * part / 16] ^= 0x10;
        fs::write(&file, &flipped).unwrap();
        let output = bench.run(&["merge", "out"]);
        if output.status.success() {
            assert_eq!(bench.digest(&["out"]), whole, "bit in part {part}");
        } else {
            let said = errors(&output);
            assert!(said.contains("units-00000004"), "{said}");
            assert!(said.contains("remove it and run the sweep again"), "{said}");
            told += 1;
            bench.sweep("out", &["--file-units", "4"]);
            assert_eq!(bench.digest(&["out"]), whole, "bit in part {part}");
        }
    }
    assert!(told >= 8, "{told} of 15 were told");
}

#[test]
fn a_merged_file_is_a_result_and_its_rows_are_in_the_order_of_the_plan() {
    let bench = Bench::new();
    for shard in ["2/2", "1/2"] {
        bench.sweep("out", &["--shard", shard]);
    }
    let digest = bench.digest(&["out", "--out", "all.parquet", "--json", "all.json"]);
    assert_eq!(bench.digest(&["all.parquet"]), digest);
    assert_eq!(bench.digest(&["all.parquet", "out"]), digest);
    assert!(bench.refused(&["merge", "plan.toml"]).contains("plan.toml"));
    fs::create_dir(bench.path("all")).unwrap();
    fs::rename(bench.path("all.parquet"), bench.path("all/all.parquet")).unwrap();
    assert_eq!(bench.digest(&["all"]), digest);
    let (_, table, _) = folder::read(&bench.path("all/all.parquet")).unwrap();
    let units = table.wholes("unit").unwrap();
    let expected: Vec<Option<i64>> = (0..12).flat_map(|unit| [Some(unit), Some(unit)]).collect();
    assert_eq!(units, expected);
    let json = fs::read_to_string(bench.path("all.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["rows"], 24);
    assert_eq!(json["groups"].as_array().unwrap().len(), 4);
}

#[test]
fn a_row_is_what_compare_measures_with_its_seed() {
    let bench = Bench::new();
    bench.sweep("out", &[]);
    let (_, table, _) = folder::read(&bench.files("out")[0]).unwrap();
    // The last seed of the first point: its rate is 20.
    let text = SCENARIO.replace("rate = 10", "rate = 20");
    fs::write(bench.path("scenario.toml"), text).unwrap();
    let words = [
        "compare",
        "scenario.toml",
        "--clock",
        "virtual",
        "--op",
        "recycle",
    ];
    let options = ["--trials", "1", "--seed", "5", "--json", "one.json"];
    assert!(
        bench
            .run(&[&words[..], &options[..]].concat())
            .status
            .success()
    );
    let json = fs::read_to_string(bench.path("one.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let digest = json["operations"][0]["trials"][0]["digest"].as_str();
    assert_eq!(table.texts("digest").unwrap()[11].as_deref(), digest);
    assert_eq!(
        table.texts("operation").unwrap()[11].as_deref(),
        Some("recycle")
    );
}

#[test]
fn a_merge_writes_through_links_and_into_devices() {
    let bench = Bench::new();
    bench.sweep("out", &[]);
    std::os::unix::fs::symlink("file", bench.path("link")).unwrap();
    for _ in 0..2 {
        let merged = bench.run(&["merge", "out", "--out", "link"]);
        assert!(merged.status.success(), "{}", errors(&merged));
        assert!(bench.path("link").is_symlink(), "the link was replaced");
        assert!(bench.path("file").is_file());
    }
    // By a link, so that a mistake costs the link and no device.
    std::os::unix::fs::symlink("/dev/full", bench.path("full")).unwrap();
    let merged = bench.run(&["merge", "out", "--out", "full"]);
    assert_eq!(merged.status.code(), Some(1));
    assert!(
        errors(&merged).contains("No space left"),
        "{}",
        errors(&merged)
    );
    assert!(bench.path("full").is_symlink(), "the link was replaced");
}

#[test]
fn a_folder_that_cannot_be_written_to_is_named() {
    let bench = Bench::new();
    fs::write(bench.path("file"), "").unwrap();
    let said = bench.refused(&["sweep", "plan.toml", "--out", "file"]);
    assert!(
        said.contains("iis-sim: file: it is a file, and results go into a folder"),
        "{said}"
    );
    let said = bench.refused(&["merge", "nowhere"]);
    assert!(said.contains("nowhere: no results of a sweep"), "{said}");
}

#[test]
fn whoever_starts_a_shard_says_which_it_is() {
    let bench = Bench::new();
    let slurm = |id: &str| {
        let mut command = bench.command(&["sweep", "plan.toml", "--check"]);
        command.envs([
            ("SLURM_ARRAY_TASK_ID", id),
            ("SLURM_ARRAY_TASK_MIN", "1"),
            ("SLURM_ARRAY_TASK_COUNT", "4"),
        ]);
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    assert!(
        slurm("2").contains("shard 2/4: units 3..6"),
        "{}",
        slurm("2")
    );
    let mut indexed = bench.command(&["sweep", "plan.toml", "--check"]);
    let output = indexed.env("JOB_COMPLETION_INDEX", "1").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(errors(&output).contains("add --of N"));
    let nobody = bench.run(&["sweep", "plan.toml", "--check", "--of", "2"]);
    assert_eq!(nobody.status.code(), Some(2));
    let said = errors(&nobody);
    assert!(said.contains("--of 2, but nothing says which"), "{said}");
}
