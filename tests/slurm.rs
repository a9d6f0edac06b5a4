//! The job array of `examples/cluster/` on a real slurmctld with two slurmds, one of which dies.
//!
//! Everything runs on loopback at ports that the kernel chose, with a munged of its own, below a
//! temporary folder, and ends with the test. It needs `slurm-wlm` and `munge` installed and root, which
//! slurmd wants; else it says that it was skipped. It takes one to two minutes, most of which Slurm waits
//! until it is sure that the node is lost and its credentials have expired.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test looks until something has happened, and fails when it is not as it should be"
)]

use std::fmt::Write as _;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

const IIS_SIM: &str = env!("CARGO_BIN_EXE_iis-sim");
/// Tasks of the array.
const SHARDS: u32 = 4;
/// How long anything may take.
const PATIENCE: Duration = Duration::from_mins(4);

/// 40 units; a shard is some seconds of work, also in a debug build on a busy machine.
const PLAN: &str = "
scenario = 'scenario.toml'
operations = ['none', 'recycle']
seeds = '0..20'
[[vary]]
key = 'load.rate'
values = [60, 80]
";

const SCENARIO: &str = "
name = 'cluster'
[timing]
warm-up-min = '2s'
warm-up-max = '2s'
watch-min = '4s'
watch-max = '4s'
[load]
tls_share = 0
keep_alive_connections = 8
users = 10
mix = [{ url = '/default.aspx' }, { url = '/session.aspx', session = true }]
";

/// Where a program of Slurm or munge is; daemons may be where only root's PATH leads.
fn program(name: &str) -> Option<PathBuf> {
    let folders = ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"];
    let found = folders.iter().map(|folder| Path::new(folder).join(name));
    found.into_iter().find(|path| path.exists())
}

/// Why this cannot be run here.
fn missing() -> Option<&'static str> {
    for (name, package) in [
        ("slurmctld", "slurm-wlm"),
        ("slurmd", "slurm-wlm"),
        ("sbatch", "slurm-wlm"),
        ("munged", "munge"),
    ] {
        if program(name).is_none() {
            return Some(package);
        }
    }
    None
}

/// A controller and two nodes.
struct Cluster {
    daemons: Vec<Child>,
    nodes: Vec<Child>,
    // Last, so that it goes when nothing writes into it any more.
    folder: tempfile::TempDir,
}

impl Cluster {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut cluster = Self {
            daemons: Vec::new(),
            nodes: Vec::new(),
            folder,
        };
        for name in ["state", "log", "spool-n1", "spool-n2"] {
            fs::create_dir(cluster.path(name)).unwrap();
        }
        cluster.start_munge();
        fs::write(cluster.path("slurm.conf"), cluster.configuration()).unwrap();
        let controller = cluster.daemon("slurmctld", &["-D"]);
        cluster.daemons.push(controller);
        for node in ["n1", "n2"] {
            let daemon = cluster.daemon("slurmd", &["-D", "-N", node]);
            cluster.nodes.push(daemon);
        }
        cluster.until("both nodes are idle", |cluster| {
            cluster.said("sinfo", &["-h", "-N", "-o", "%T"]) == "idle\nidle\n"
        });
        cluster
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn start_munge(&mut self) {
        // munged wants to be the only one who can write where its socket lies.
        fs::set_permissions(self.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let mut key = fs::OpenOptions::new();
        key.write(true).create_new(true).mode(0o400);
        let mut random = vec![0; 128];
        std::io::Read::read_exact(&mut fs::File::open("/dev/urandom").unwrap(), &mut random)
            .unwrap();
        let mut key = key.open(self.path("munge.key")).unwrap();
        std::io::Write::write_all(&mut key, &random).unwrap();
        let option = |name: &str, file: &str| format!("--{name}={}", self.path(file).display());
        let munged = Command::new(program("munged").unwrap())
            .args(["--foreground", "--force", "--num-threads=2"])
            .args([
                option("key-file", "munge.key"),
                option("socket", "munge.socket"),
                option("pid-file", "munge.pid"),
                option("log-file", "log/munged.log"),
                option("seed-file", "munge.seed"),
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.daemons.push(munged);
        self.until("munged listens", |cluster| {
            cluster.path("munge.socket").exists()
        });
    }

    fn configuration(&self) -> String {
        // The kernel chooses; they are free again a moment before Slurm takes them.
        let listeners = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [controller, one, two] = listeners.map(|l| l.local_addr().unwrap().port());
        let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        let host = host.trim().split('.').next().unwrap();
        let folder = self.folder.path().display();
        let mut text = format!(
            "ClusterName=test\n\
             SlurmctldHost={host}(127.0.0.1)\nSlurmctldPort={controller}\n\
             SlurmUser=root\nSlurmdUser=root\n\
             AuthType=auth/munge\nAuthInfo=socket={folder}/munge.socket,cred_expire=10\n\
             CredType=cred/munge\n\
             CommunicationParameters=NoInAddrAny,NoCtldInAddrAny\n\
             ProctrackType=proctrack/linuxproc\nTaskPlugin=task/none\nMpiDefault=none\n\
             JobAcctGatherType=jobacct_gather/none\nAccountingStorageType=accounting_storage/none\n\
             SelectType=select/cons_tres\nSelectTypeParameters=CR_Core\n\
             SchedulerParameters=batch_sched_delay=1,sched_interval=2\n\
             SlurmdParameters=config_overrides\nReturnToService=2\n\
             SlurmctldTimeout=30\nSlurmdTimeout=5\nMinJobAge=600\nKillWait=2\n\
             StateSaveLocation={folder}/state\nSlurmdSpoolDir={folder}/spool-%n\n\
             SlurmctldPidFile={folder}/slurmctld.pid\nSlurmdPidFile={folder}/slurmd-%n.pid\n\
             SlurmctldLogFile={folder}/log/slurmctld.log\nSlurmdLogFile={folder}/log/slurmd-%n.log\n"
        );
        for (node, port) in [("n1", one), ("n2", two)] {
            let _ = writeln!(
                text,
                "NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=1 \
                 RealMemory=1000 State=UNKNOWN"
            );
        }
        text.push_str("PartitionName=sim Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP\n");
        text
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(program(name).unwrap());
        command
            .env("SLURM_CONF", self.path("slurm.conf"))
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        command
    }

    fn daemon(&self, name: &str, words: &[&str]) -> Child {
        let mut command = self.command(name);
        let command = command
            .args(words)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.spawn().unwrap()
    }

    fn said(&self, name: &str, words: &[&str]) -> String {
        let output = self.command(name).args(words).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds(self) {
            assert!(
                Instant::now() < deadline,
                "waited until {what}\n{}",
                self.logs()
            );
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// The ends of all logs, for a test that fails.
    fn logs(&self) -> String {
        let mut text = String::new();
        for folder in [self.path("log"), self.folder.path().to_owned()] {
            for file in fs::read_dir(folder).unwrap().flatten() {
                let name = file.file_name().to_string_lossy().into_owned();
                if Path::new(&name)
                    .extension()
                    .is_some_and(|e| e == "log" || e == "out")
                {
                    let log = fs::read_to_string(file.path()).unwrap_or_default();
                    let lines: Vec<&str> = log.lines().collect();
                    let last = &lines[lines.len().saturating_sub(15)..];
                    let _ = write!(text, "--- {name}\n{}\n", last.join("\n"));
                }
            }
        }
        text
    }

    /// All processes of a node but its slurmd: the steps, and what they started.
    fn processes_of(&self, node: &str) -> Vec<Pid> {
        let spool = self.path(&format!("spool-{node}"));
        let variable = format!("SLURMD_NODENAME={node}");
        let configuration = format!("SLURM_CONF={}", self.path("slurm.conf").display());
        let is_of_node = |pid: &Pid| {
            let folder = format!("/proc/{}", pid.as_raw_nonzero());
            let variables = fs::read(format!("{folder}/environ")).unwrap_or_default();
            let has = |wanted: &str| {
                variables
                    .split(|byte| *byte == 0)
                    .any(|pair| pair == wanted.as_bytes())
            };
            let files = fs::read_dir(format!("{folder}/fd"))
                .into_iter()
                .flatten()
                .flatten();
            let mut files = files.filter_map(|file| fs::read_link(file.path()).ok());
            let log = self.path(&format!("log/slurmd-{node}.log"));
            (has(&variable) && has(&configuration))
                || files.any(|file| file.starts_with(&spool) || file == log)
        };
        let entries = fs::read_dir("/proc").unwrap().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter_map(Pid::from_raw).filter(is_of_node).collect()
    }

    /// A node loses its power.
    fn kill_node(&mut self, index: usize, node: &str) {
        self.nodes[index].kill().unwrap();
        self.nodes[index].wait().unwrap();
        self.kill_steps(node);
    }

    fn kill_steps(&self, node: &str) {
        for pid in self.processes_of(node) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for child in self.nodes.iter_mut().chain(self.daemons.iter_mut().rev()) {
            let _ = child.kill();
            let _ = child.wait();
        }
        self.kill_steps("n1");
        self.kill_steps("n2");
    }
}

/// The digest of a merge, or what it said.
fn merge(folder: &Path) -> Result<String, String> {
    let output = Command::new(IIS_SIM)
        .arg("merge")
        .arg(folder)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let digest = text.lines().find_map(|line| line.strip_prefix("digest "));
    let failed = || String::from_utf8_lossy(&output.stderr).into_owned();
    digest.map(str::to_owned).ok_or_else(failed)
}

fn files(folder: &Path) -> usize {
    fs::read_dir(folder).map_or(0, |entries| entries.flatten().count())
}

#[test]
fn an_array_on_two_nodes_of_which_one_dies_gives_what_a_serial_sweep_gives() {
    if let Some(package) = missing() {
        eprintln!("skipped: {package} is not installed");
        return;
    }
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: slurmd wants to be root");
        return;
    }
    let mut cluster = Cluster::start();
    let (plan, out) = (cluster.path("plan.toml"), cluster.path("out"));
    fs::write(&plan, PLAN).unwrap();
    fs::write(cluster.path("scenario.toml"), SCENARIO).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/cluster/sweep.sbatch");
    let mut sbatch = cluster.command("sbatch");
    let output = sbatch
        .args(["--parsable", &format!("--array=0-{}", SHARDS - 1)])
        .arg(script)
        .envs([("IIS_SIM", IIS_SIM), ("SHARDS", &SHARDS.to_string())])
        .env("PLAN", &plan)
        .env("OUT", &out)
        .output()
        .unwrap();
    let job = String::from_utf8(output.stdout).unwrap().trim().to_owned();
    assert!(
        !job.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let running = |cluster: &Cluster| {
        let nodes = cluster.said("squeue", &["-h", "-t", "R", "-o", "%N"]);
        nodes.lines().any(|node| node == "n1") && files(&out) > 0
    };
    cluster.until("n1 runs a task", running);
    cluster.kill_node(0, "n1");
    assert!(merge(&out).is_err(), "n1 died when everything was done");
    cluster.until("all tasks have ended", |cluster| {
        cluster.said("squeue", &["-h"]).is_empty()
    });
    let shown = cluster.said("scontrol", &["show", "job", &job]);
    assert!(shown.contains("Restarts=1"), "no task was lost: {shown}");
    let serial = cluster.path("serial");
    let sweep = Command::new(IIS_SIM)
        .arg("sweep")
        .arg(&plan)
        .args(["--shard", "1/1", "--jobs", "1", "--out"])
        .arg(&serial)
        .output()
        .unwrap();
    assert!(
        sweep.status.success(),
        "{}",
        String::from_utf8_lossy(&sweep.stderr)
    );
    let merged = merge(&out).unwrap_or_else(|said| panic!("{said}\n{}", cluster.logs()));
    assert_eq!(merged, merge(&serial).unwrap());
}
