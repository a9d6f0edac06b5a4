//! A real HAProxy in front of several servers, and what it logs.

use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use std::{env, fmt, fs};

use rustix::process::{Pid, Signal, kill_process};
use sim_httpsys::api::ACTIVITY_HEADER;
use sim_httpsys::live::clock::clock_now;

use super::page;
use crate::measure::balancer::{LOG_FORMAT, SERVER, Stamped};
use crate::scenario::Farm;

/// The name under which this executable becomes HAProxy: it dies with whoever started it.
pub(crate) const LAUNCHER: &str = "haproxy";

/// How long it may take until it relays, and until it ends. Assumed: it takes milliseconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why there is no balancer.
#[derive(Debug, thiserror::Error)]
pub enum BalancerError {
    /// It is not installed.
    #[error(
        "this scenario has a [farm], which stands behind a real HAProxy, and `haproxy` is neither in PATH nor \
         in /usr/sbin; install it, e.g. apt-get install haproxy"
    )]
    NotInstalled,
    /// A file, a socket or a process.
    #[error("haproxy: {0}")]
    Io(#[from] io::Error),
    /// It ended.
    #[error("haproxy has ended ({status}); {said}")]
    Died {
        /// How.
        status: ExitStatus,
        /// What it wrote; its log may go with the folder of the trial.
        said: String,
    },
    /// It relays nothing.
    #[error("haproxy: no answer within {} s ({why}); {said}", PATIENCE.as_secs())]
    NotReady {
        /// What came instead.
        why: String,
        /// What it wrote.
        said: String,
    },
}

/// A running HAProxy.
#[derive(Debug)]
pub struct Balancer {
    child: Child,
    address: SocketAddr,
    log: PathBuf,
    reader: Option<JoinHandle<Vec<Stamped>>>,
}

impl Balancer {
    /// Starts one in front of `servers`; its files go to `folder`.
    pub fn start(
        farm: &Farm,
        servers: &[SocketAddr],
        folder: &Path,
    ) -> Result<Self, BalancerError> {
        let path = env::var_os("PATH").unwrap_or_default();
        let program = find(&path).ok_or(BalancerError::NotInstalled)?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let config = folder.join("haproxy.cfg");
        fs::write(&config, Config { farm, servers }.to_string())?;
        let log = folder.join("haproxy.log");
        // It listens on its standard input: so the kernel has chosen the port, and nobody can take it.
        let mut child = Command::new(env::current_exe()?)
            .arg0(LAUNCHER)
            .arg(&program)
            .args(["-db", "-f"])
            .arg(&config)
            .process_group(0)
            .stdin(Stdio::from(OwnedFd::from(listener)))
            .stdout(Stdio::piped())
            .stderr(fs::File::create(&log)?)
            .spawn()?;
        let lines = child.stdout.take().map(BufReader::new);
        let reader = lines.map(|lines| std::thread::spawn(move || read(lines)));
        let mut balancer = Self {
            child,
            address,
            log,
            reader,
        };
        balancer.wait_until_relaying(&farm.check_url)?;
        Ok(balancer)
    }

    /// Where clients reach it.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Fails if it has ended.
    pub fn check(&mut self) -> Result<(), BalancerError> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => Err(BalancerError::Died {
                status,
                said: last_words(&self.log),
            }),
        }
    }

    /// Ends it; gives what it has logged.
    pub fn stop(mut self) -> Result<Vec<Stamped>, BalancerError> {
        self.end();
        let reader = self.reader.take().map(JoinHandle::join);
        match reader {
            Some(Ok(lines)) => Ok(lines),
            Some(Err(_)) | None => Err(io::Error::other("its log could not be read").into()),
        }
    }

    fn wait_until_relaying(&mut self, url: &str) -> Result<(), BalancerError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.check()?;
            let why = match page::get(self.address, url) {
                Ok(page) if page.status == 200 => return Ok(()),
                Ok(page) => format!("{url} gives {}", page.status),
                Err(error) => error.to_string(),
            };
            if Instant::now() > deadline {
                let said = last_words(&self.log);
                return Err(BalancerError::NotReady { why, said });
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn end(&mut self) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
            && let Ok(None) = self.child.try_wait()
        {
            let _ = kill_process(pid, Signal::TERM);
        }
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.end();
    }
}

/// Stamps every line as it comes.
fn read(lines: impl BufRead) -> Vec<Stamped> {
    let lines = lines.lines().map_while(Result::ok);
    lines
        .filter_map(|line| Stamped::parse(&line, clock_now()))
        .collect()
}

/// The last lines of a log.
fn last_words(log: &Path) -> String {
    const LINES: usize = 5;
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    match &lines[lines.len().saturating_sub(LINES)..] {
        [] => "it said nothing".to_owned(),
        last => format!("it said last:\n{}", last.join("\n")),
    }
}

/// Where HAProxy is installed: in a folder of PATH, or where Debian has it, out of the PATH of ordinary users.
fn find(path: &OsStr) -> Option<PathBuf> {
    let folders = env::split_paths(path).chain([PathBuf::from("/usr/sbin")]);
    folders
        .map(|folder| folder.join(LAUNCHER))
        .find(|file| file.is_file())
}

/// The file that HAProxy reads.
struct Config<'a> {
    farm: &'a Farm,
    servers: &'a [SocketAddr],
}

impl fmt::Display for Config<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let farm = self.farm;
        let (check, server) = (farm.check_timeout, farm.server_timeout);
        write!(
            f,
            "global
    log stdout format raw local0
    nbthread 1
defaults
    mode http
    log global
    option dontlognull
    option log-health-checks
    option redispatch
    retries 3
    timeout connect 1s
    timeout client 1h
    timeout server {}ms
    timeout check {}ms
frontend clients
    bind fd@0
    http-request capture req.hdr({ACTIVITY_HEADER}) len 20
    log-format \"{LOG_FORMAT}\"
    default_backend farm
backend farm
    balance roundrobin
    option httpchk
    http-check send meth GET uri {} ver HTTP/1.1 hdr Host localhost
    http-check expect status 200
    default-server inter {}ms fall {} rise {}
",
            server.as_millis(),
            check.as_millis(),
            farm.check_url,
            farm.check_interval.as_millis(),
            farm.fall,
            farm.rise,
        )?;
        for (number, address) in self.servers.iter().enumerate() {
            writeln!(f, "    server {SERVER}{} {address} check", number + 1)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn haproxy_is_taken_from_the_path_first() {
        let folder = tempfile::tempdir().unwrap();
        let mine = folder.path().join("haproxy");
        let found = || find(folder.path().as_os_str());
        assert_ne!(found(), Some(mine.clone()));
        fs::write(&mine, "").unwrap();
        assert_eq!(found(), Some(mine));
        let said = BalancerError::NotInstalled.to_string();
        assert!(said.contains("apt-get install haproxy"), "{said}");
    }

    #[test]
    fn what_haproxy_reads_names_every_server_and_how_it_is_checked() {
        let servers = [1, 2].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let farm = Farm {
            check_url: "/health".to_owned(),
            fall: 7,
            ..Farm::default()
        };
        let config = Config {
            farm: &farm,
            servers: &servers,
        };
        let text = config.to_string();
        for line in [
            "server server-1 127.0.0.1:1 check",
            "server server-2 127.0.0.1:2 check",
            "http-check send meth GET uri /health ver HTTP/1.1 hdr Host localhost",
            "default-server inter 100ms fall 7 rise 2",
            "bind fd@0",
        ] {
            assert!(
                text.lines().any(|known| known.trim() == line),
                "{line}: {text}"
            );
        }
    }

    #[test]
    fn why_there_is_no_balancer_is_told_with_its_last_lines_and_not_with_a_file_that_will_be_gone()
    {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("haproxy.log");
        assert_eq!(last_words(&log), "it said nothing");
        fs::write(&log, "1\n2\n3\n4\n\n5\n[ALERT] no answer\n").unwrap();
        let error = BalancerError::NotReady {
            why: "/ gives 503".to_owned(),
            said: last_words(&log),
        };
        let wanted = "haproxy: no answer within 10 s (/ gives 503); it said last:\n2\n3\n4\n5\n[ALERT] no answer";
        assert_eq!(error.to_string(), wanted);
    }
}
