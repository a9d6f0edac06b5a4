//! One running server: the processes `httpsys` and `was` below a root folder.
//!
//! The workers are children of `was`; nothing here knows them. A server ends with its launcher,
//! however that ends: every program asks the kernel to be killed when its parent goes.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use sim_httpsys::live::clock::utc_now;
use sim_httpsys::live::regular_file;
use sim_was::config::{Configuration, default_config, load_bytes};
use sim_was::control::client::ask;
use sim_was::control::{Answer, Command as Control, Service, ServiceStatus};
use sim_was::event_log::Event;
use sim_was::live::{EventLogFile, on_disk};

use super::bound_endpoint::bound_endpoints;
pub use super::bound_endpoint::{BoundEndpoint, Closed};
pub use super::departure::Departure;
use super::departure::terminate;
use super::last_good::{LastGood, put_in_place};
use super::ports::Ports;
pub use super::server_options::ServerOptions;
use super::service_manager::{KILLED_FILE, ServiceManager};
use crate::scenario::timing::STOP_MAX;

/// How long the programs may take until every service runs.
const START_MAX: Duration = Duration::from_secs(15);

/// Why a server could not be started or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// A file or folder.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A folder could not be made.
    #[error("cannot make the folder {}: {source}", path.display())]
    Folder {
        /// The first that is missing.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The configuration.
    #[error("{0}")]
    Config(String),
    /// Somebody else runs a server there.
    #[error("{}: a server runs on this root already; stop it, or give another --root", .0.display())]
    RootInUse(PathBuf),
    /// A program could not be started.
    #[error("{program}: {source}")]
    Spawn {
        /// Which.
        program: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A program ended while the server started or ran.
    #[error("{program} has ended ({status}{last_words}); see {}", log.display())]
    Died {
        /// Which.
        program: &'static str,
        /// How.
        status: ExitStatus,
        /// `: ` and the last line of its diagnostics, if there is one; or that it was told to end.
        last_words: String,
        /// Where it wrote its diagnostics.
        log: PathBuf,
    },
    /// The services did not run in time.
    #[error("the services did not start within {} s; see {}", START_MAX.as_secs(), .0.display())]
    NotReady(PathBuf),
    /// No binding could be opened.
    #[error("no binding could be opened: {0}")]
    NoEndpoint(String),
    /// The control socket.
    #[error("{0}")]
    Control(String),
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    /// The simulated `C:\`.
    pub root: PathBuf,
    httpsys: Child,
    services: ServiceManager,
    configuration: Configuration,
    last_good: Option<LastGood>,
    ports: Ports,
    /// Held as long as the server runs.
    _lock: File,
}

impl Server {
    /// Starts a server and waits until its services run.
    pub fn start(options: &ServerOptions) -> Result<Self, ServerError> {
        // A root is not made for a file that is not there.
        let given = given_config(options)?;
        let readable = match &given {
            Some(config) if !options.last_good => {
                Some(read_config(config).inspect_err(|error| log_refused(&options.root, error))?)
            }
            Some(_) | None => None,
        };
        let root = make_root(&options.root)?;
        let lock = lock_root(&root)?;
        let config = match given {
            Some(config) => config,
            None => prepare_config(&root)?,
        };
        link_config(&config, &root)?;
        let mut last_good = None;
        if options.last_good {
            let path = config.clone();
            let at = |source| ServerError::File { path, source };
            last_good = put_in_place(&config, &root).map_err(at)?;
        }
        let configuration = match readable {
            Some(configuration) => configuration,
            None => read_config(&config).inspect_err(|error| log_unreadable(&root, error))?,
        };
        let httpsys = spawn("httpsys", &root, &options.httpsys_arguments(&root))?;
        let arguments = options.was_arguments(&root, &config);
        let services = match ServiceManager::start(&root, arguments) {
            Ok(services) => services,
            Err(error) => {
                let mut httpsys = httpsys;
                let _ = httpsys.kill();
                let _ = httpsys.wait();
                return Err(error);
            }
        };
        let mut server = Self {
            root,
            httpsys,
            services,
            configuration,
            last_good,
            ports: Ports::of(options),
            _lock: lock,
        };
        server.wait_until_running()?;
        Ok(server)
    }

    /// The pid of `httpsys`.
    pub fn httpsys_pid(&self) -> u32 {
        self.httpsys.id()
    }

    /// The pid of `was`.
    pub fn was_pid(&self) -> u32 {
        self.services.pid()
    }

    /// The configuration that it was started with.
    pub fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// What it was started with instead of a configuration that cannot be read.
    pub fn last_good(&self) -> Option<&LastGood> {
        self.last_good.as_ref()
    }

    /// Asks its services something.
    pub fn ask(&self, command: &Control) -> Result<Answer, ServerError> {
        ask(&self.root, command).map_err(|error| ServerError::Control(error.to_string()))
    }

    /// Every http and https binding and where it is reached.
    pub fn endpoints(&self) -> Vec<BoundEndpoint> {
        let sites = match ask(&self.root, &Control::ListSites) {
            Ok(Answer::Sites(sites)) => sites,
            Ok(_) | Err(_) => Vec::new(),
        };
        bound_endpoints(&self.root, &self.configuration, &sites, &self.ports)
    }

    /// Starts `was` again if it has died, as the service control manager does; fails if a program
    /// has ended for good. To be called again and again while the server runs, from the thread that
    /// has started it: the programs live as long as that.
    pub fn check(&mut self) -> Result<(), ServerError> {
        self.check_httpsys()?;
        match self.services.keep_running()? {
            Some(status) => Err(died("was", status, self.services.log())),
            None => Ok(()),
        }
    }

    /// Waits until a program ends, and no longer than `patience`; then as [`Server::check`].
    pub fn watch(&mut self, patience: Duration) -> Result<(), ServerError> {
        let pidfd = |pid: u32| {
            let pid = Pid::from_raw(i32::try_from(pid).ok()?)?;
            pidfd_open(pid, PidfdFlags::empty()).ok()
        };
        let ends: Vec<_> = [self.httpsys_pid(), self.was_pid()]
            .into_iter()
            .filter_map(pidfd)
            .collect();
        let mut fds: Vec<PollFd<'_>> = ends
            .iter()
            .map(|end| PollFd::new(end, PollFlags::IN))
            .collect();
        let patience = Timespec::try_from(patience).ok();
        let _ = poll(&mut fds, patience.as_ref());
        self.check()
    }

    /// Whether `was` cannot run and is not started again for its services any more.
    pub fn has_given_up(&self) -> bool {
        self.services.is_given_up()
    }

    /// How often `was` has died.
    pub fn terminations(&self) -> u32 {
        self.services.terminations()
    }

    fn check_httpsys(&mut self) -> Result<(), ServerError> {
        match self.httpsys.try_wait() {
            Ok(Some(status)) => Err(died("httpsys", status, log_of(&self.root, "httpsys"))),
            Ok(None) | Err(_) => Ok(()),
        }
    }

    /// Fails if one of its programs has ended: while it starts nobody is started again.
    fn check_start(&mut self) -> Result<(), ServerError> {
        self.check_httpsys()?;
        match self.services.process().try_wait() {
            Ok(Some(status)) => Err(died("was", status, self.services.log())),
            Ok(None) | Err(_) => Ok(()),
        }
    }

    /// Stops it in order: the services first, then the driver. Which of them has not ended two seconds after it was
    /// told to is killed, and the sockets that it leaves are removed. Gives how the driver went.
    pub fn stop(mut self) -> Departure {
        self.end()
    }

    fn end(&mut self) -> Departure {
        // One that is slow takes nothing from the time that the other has to write down what it knows.
        terminate(self.services.process(), STOP_MAX);
        let departure = terminate(&mut self.httpsys, STOP_MAX);
        remove_all(&self.root, &RUNNING_FILES);
        departure
    }

    fn wait_until_running(&mut self) -> Result<(), ServerError> {
        let deadline = Instant::now() + START_MAX;
        loop {
            self.check_start()?;
            let running = (Service::W3svc, ServiceStatus::Running);
            if let Ok(Answer::Services(services)) = ask(&self.root, &Control::ServiceStatus)
                && services.contains(&running)
            {
                break;
            }
            if Instant::now() > deadline {
                return Err(ServerError::NotReady(self.root.join("run")));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        let endpoints = self.endpoints();
        // Sites that are not meant to start, or cannot, are no reason to fail: their events say why.
        let is_meant = |e: &&BoundEndpoint| {
            let reached = &e.reached;
            !matches!(
                reached,
                Err(Closed::NotToStart | Closed::Obstacle(_) | Closed::Ignored(_))
            )
        };
        let meant = endpoints.iter().filter(is_meant);
        let reached: Vec<bool> = meant.map(|e| e.reached.is_ok()).collect();
        if !reached.is_empty() && !reached.contains(&true) {
            return Err(ServerError::NoEndpoint(self.why_closed(&endpoints)));
        }
        Ok(())
    }
}

impl Server {
    /// Why nothing listens: what the system says to each port, and what is wrong with the file.
    fn why_closed(&self, endpoints: &[BoundEndpoint]) -> String {
        let refused = endpoints.iter().filter_map(|e| match &e.reached {
            Err(Closed::Refused(text)) => Some(text.clone()),
            Ok(_) | Err(_) => None,
        });
        let mut reasons: Vec<String> = refused.collect();
        reasons.dedup();
        if !reasons.is_empty() {
            let advice = "map ports that are taken or need privileges, e.g. --port-map 80:8080, or \
                          --port-map '*:0' to let the kernel choose";
            reasons.push(advice.to_owned());
        }
        let warnings = self.configuration.warnings.iter();
        reasons.extend(warnings.map(|warning| warning.text.clone()));
        if reasons.is_empty() {
            let names: Vec<&str> = endpoints.iter().map(|e| e.binding.as_str()).collect();
            let events = self.root.join("Windows/System32/winevt/System.jsonl");
            return format!("{}; see {}", names.join(", "), events.display());
        }
        reasons.join("; ")
    }
}

fn died(program: &'static str, status: ExitStatus, log: PathBuf) -> ServerError {
    // Who ends in order, because somebody has sent SIGTERM, has no last words: what was written last is about
    // something else. The service control manager does not start again what has stopped in order, and a server is
    // nothing without its services' process.
    let last_words = if status.success() {
        ": it was told to, and has stopped in order".to_owned()
    } else {
        last_words(&log)
    };
    ServerError::Died {
        program,
        status,
        last_words,
        log,
    }
}

/// `: ` and the last line that a program has written.
fn last_words(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let last = text.lines().rev().find(|line| !line.trim().is_empty());
    last.map_or_else(String::new, |line| format!(": {line}"))
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

fn make_root(root: &Path) -> Result<PathBuf, ServerError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| ServerError::File { path, source }
    };
    let run = root.join("run");
    fs::create_dir_all(&run).map_err(|source| ServerError::Folder {
        path: first_missing(&run).to_owned(),
        source,
    })?;
    fs::set_permissions(&run, std::os::unix::fs::PermissionsExt::from_mode(0o700))
        .map_err(at(&run))?;
    root.canonicalize().map_err(at(root))
}

/// The outermost folder of a path that is not there.
fn first_missing(path: &Path) -> &Path {
    let missing = path.ancestors().take_while(|folder| !folder.exists());
    let named = missing.filter(|folder| !folder.as_os_str().is_empty());
    named.last().unwrap_or(path)
}

fn lock_root(root: &Path) -> Result<File, ServerError> {
    let path = root.join("run/lock");
    let lock = File::create(&path).map_err(|source| ServerError::File { path, source })?;
    flock(&lock, FlockOperation::NonBlockingLockExclusive)
        .map_err(|_| ServerError::RootInUse(root.to_owned()))?;
    remove_all(root, &RUNNING_FILES);
    remove_all(root, &["run/httpsys.log", "run/was.log", KILLED_FILE]);
    Ok(lock)
}

/// Below a root: what is there only while its programs run. They remove it themselves if they can.
const RUNNING_FILES: [&str; 3] = ["run/control.sock", "run/httpsys.sock", "run/endpoints.json"];

fn remove_all(root: &Path, files: &[&str]) {
    for file in files {
        let _ = fs::remove_file(root.join(file));
    }
}

/// Where applicationHost.config lies below a root. Source: `%windir%\System32\inetsrv\config`.
pub fn config_path(root: &Path) -> PathBuf {
    root.join("Windows/System32/inetsrv/config/applicationHost.config")
}

/// The configuration file that the server of a root runs with, or would, be it there or not: an editor may be about
/// to write it anew. What a copy of a root has in the link's place, a file, is what nobody runs with.
pub fn running_config_path(root: &Path) -> PathBuf {
    let link = root.join(RUNNING_CONFIG);
    if link.exists() && link.is_symlink() {
        return link;
    }
    match fs::read_link(&link) {
        Ok(target) => match target.strip_prefix("..") {
            Ok(below) => root.join(below),
            Err(_) => target,
        },
        Err(_) => config_path(root),
    }
}

/// A link to the configuration file that a server was started with.
const RUNNING_CONFIG: &str = "run/applicationHost.config";

/// A file below the root is named from the link, so that the link of a copied root leads to the copy.
fn link_config(config: &Path, root: &Path) -> Result<(), ServerError> {
    let link = root.join(RUNNING_CONFIG);
    let at = |source| ServerError::File {
        path: link.clone(),
        source,
    };
    if let Some(folder) = link.parent() {
        fs::create_dir_all(folder).map_err(at)?;
    }
    if link.is_symlink() || link.exists() {
        fs::remove_file(&link).map_err(at)?;
    }
    let below = config.strip_prefix(root);
    let target = below.map_or_else(|_| config.to_owned(), |below| Path::new("..").join(below));
    std::os::unix::fs::symlink(target, &link).map_err(at)
}

/// The configuration file that is asked for, if one is.
fn given_config(options: &ServerOptions) -> Result<Option<PathBuf>, ServerError> {
    let canonical = |config: &PathBuf| {
        config.canonicalize().map_err(|source| ServerError::File {
            path: config.clone(),
            source,
        })
    };
    options.config.as_ref().map(canonical).transpose()
}

/// The root's own configuration file, made if it does not exist.
fn prepare_config(root: &Path) -> Result<PathBuf, ServerError> {
    let path = config_path(root);
    if !path.exists() {
        write(&path, default_config::DEFAULT_CONFIG.as_bytes())?;
    }
    let welcome = on_disk(r"%SystemDrive%\inetpub\wwwroot", root);
    if !welcome.exists() {
        write(
            &welcome.join("iisstart.htm"),
            include_bytes!("iisstart.htm"),
        )?;
    }
    Ok(path)
}

fn write(path: &Path, content: &[u8]) -> Result<(), ServerError> {
    let at = |source| ServerError::File {
        path: path.to_owned(),
        source,
    };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(at)?;
    }
    fs::write(path, content).map_err(at)
}

fn read_config(path: &Path) -> Result<Configuration, ServerError> {
    let bytes = regular_file::read(path).map_err(|source| ServerError::File {
        path: path.to_owned(),
        source,
    })?;
    let name = path.display().to_string();
    load_bytes(&bytes, &name).map_err(|error| ServerError::Config(error.to_string()))
}

/// Event 5172 in the log of a root at which no server runs; a new one is made for it, as a machine has an event
/// log before IIS starts for the first time.
fn log_refused(root: &Path, error: &ServerError) {
    if let Ok(root) = make_root(root)
        && let Ok(_lock) = lock_root(&root)
    {
        log_unreadable(&root, error);
    }
}

/// Event 5172: WAS cannot start, because it cannot read the file.
fn log_unreadable(root: &Path, error: &ServerError) {
    if let Ok(mut log) = EventLogFile::open(root) {
        let event = Event::configuration_unreadable(&error.to_string());
        log.write(&event, utc_now()).ok();
    }
}

pub(super) fn log_of(root: &Path, program: &str) -> PathBuf {
    root.join(format!("run/{program}.log"))
}

/// Starts this executable under another name, in its own process group, so that a Ctrl-C at the
/// terminal reaches the launcher alone and the stop is ordered.
pub(super) fn spawn(
    program: &'static str,
    root: &Path,
    arguments: &[String],
) -> Result<Child, ServerError> {
    let log_path = log_of(root, program);
    let log = File::options().create(true).append(true).open(&log_path);
    let log = log.map_err(|source| ServerError::File {
        path: log_path,
        source,
    })?;
    let executable = executable().map_err(|source| ServerError::Spawn { program, source })?;
    Command::new(executable)
        .arg0(program)
        .args(arguments)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .map_err(|source| ServerError::Spawn { program, source })
}

/// This executable. Whatever starts a server must be able to be `httpsys`, `was` and `w3wp` too, by
/// calling [`crate::cli::program`] first.
fn executable() -> io::Result<PathBuf> {
    std::env::current_exe()
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[test]
    fn a_configuration_that_is_missing_is_still_the_one() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        assert_eq!(running_config_path(&root), config_path(&root));
        for config in [folder.path().join("f.config"), root.join("f.config")] {
            link_config(&config, &root).unwrap();
            assert_eq!(running_config_path(&root), config);
        }
    }

    #[test]
    fn who_was_told_to_end_has_no_last_words() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("was.log");
        fs::write(&log, "recycled\n").unwrap();
        let said = |status: i32| {
            let status = ExitStatus::from_raw(status);
            died("was", status, log.clone()).to_string()
        };
        assert!(!said(0).contains("recycled"), "{}", said(0));
        assert!(said(0).contains("told to"), "{}", said(0));
        assert!(said(1 << 8).contains(": recycled"), "{}", said(1 << 8));
    }
}
