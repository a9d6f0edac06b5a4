//! `iisreset`: stops and starts the services of a running server.
//!
//! ```text
//!  stop ──► done ──────────────────────────► start ──► done
//!    │ time is over                            │ refused, or time is over
//!    ├─ /NOFORCE ──► failed                    └──► failed
//!    └─ else: WAS kills its workers; a WAS that does not answer is killed itself
//! ```
//!
//! Source: the usage text, console lines and limits of iisreset.exe: 20 s for a restart, 60 s for a
//! stop, 0 for a reboot; without /NOFORCE what did not stop in time is killed. HTTP.sys is not
//! restarted. `iisreset.exe` is a client of a COM object; two at once are kept apart by a lock here.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use serde_json::json;
use sim_httpsys::live::clock::{clock_now, utc_now};
use sim_was::control::client::{AskError, Question, kill_services};
use sim_was::control::{Answer, CALL_FAILED, Command, Refusal, Service, ServiceStatus};
use sim_was::event_log::{Event, IisReset};
use sim_was::live::{Asker, AuditLog, EventLogFile};

use super::take_root;
use crate::live_world::service_manager::KILLED_FILE;

const HELP: &str = "IISRESET.EXE (c) iis-sim, after the tool of the same name

Usage:
iisreset [computername] [--root DIR]

    /RESTART            Stop and then restart all Internet services.
    /START              Start all Internet services.
    /STOP               Stop all Internet services.
    /REBOOT             Reboot the computer (not supported since IIS 7: refused).
    /REBOOTONERROR      Reboot the computer if an error occurs when starting,
                        stopping, or restarting Internet services (refused then).
    /NOFORCE            Do not forcefully terminate Internet services if
                        attempting to stop them gracefully fails.
    /TIMEOUT:val        Specify the timeout value ( in seconds ) to wait for
                        a successful stop of Internet services. On expiration
                        of this timeout the services are killed, unless the
                        /NOFORCE parameter is specified.
                        The default value is 20s for restart, 60s for stop,
                        and 0s for reboot.
    /STATUS             Display the status of all Internet services.
    /ENABLE             Enable restarting of Internet Services
                        on the local system.
    /DISABLE            Disable restarting of Internet Services
                        on the local system.

The computer is this one; its root is that of --root, of IIS_SIM_ROOT, or iis-sim-root.
Exit code 0 when it was done, 1 when not.";

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Restart,
    Stop,
    Start,
    Reboot,
    Status,
    Enable,
    Disable,
    Help,
}

impl Action {
    /// Its name in "… attempt failed."
    fn name(self) -> &'static str {
        match self {
            Self::Restart => "Restart",
            Self::Stop => "Stop",
            Self::Start => "Start",
            Self::Reboot => "Reboot",
            Self::Status => "Status",
            Self::Enable => "Enable",
            Self::Disable => "Disable",
            Self::Help => "Help",
        }
    }
}

/// A command line, taken apart.
#[derive(Debug, PartialEq, Eq)]
struct Wish {
    action: Action,
    force: bool,
    reboot_on_error: bool,
    timeout_s: Option<u64>,
    computer: Option<String>,
}

/// The services that iisreset stops; it starts them in reverse.
const SERVICES: [Service; 2] = [Service::W3svc, Service::Was];

/// Below the root: restarting is disabled. Stands for a value of the registry.
const DISABLED_FILE: &str = "Windows/System32/inetsrv/iisreset.disabled";

/// How long before a service's limit it has to show that it lives, or half of the limit if that is less.
/// Assumed: enough for a busy machine, and short against the limits.
const SIGN_OF_LIFE_MAX: Duration = Duration::from_secs(3);
/// How long it may take to do so if the limit is shorter. Assumed: a healthy one answers within milliseconds.
const SIGN_OF_LIFE_MIN: Duration = Duration::from_millis(500);

/// How long a killed WAS may take until the service control manager has its process again.
const REVIVAL_MAX: Duration = Duration::from_secs(10);

/// How long a start may take, unless /TIMEOUT allows more. Source: iisreset usage: /TIMEOUT is "to wait
/// for a successful stop"; a service control manager gives a service 30 s to start. Assumed: that is what
/// iisreset waits, so that a short limit for the stop does not fail the start.
const START_MAX: Duration = Duration::from_secs(30);

/// A failure, as iisreset prints it.
type Failure = (String, u32);

/// Runs `iisreset` with the words after its name.
pub(super) fn main(mut words: Vec<String>) -> ExitCode {
    let parsed = take_root(&mut words).and_then(|root| Ok((root, parse(&words)?)));
    let (root, wish) = match parsed {
        Ok(both) => both,
        Err(message) => {
            println!("{message}\n\n{HELP}");
            return ExitCode::FAILURE;
        }
    };
    if let Some(computer) = wish.computer.as_ref().filter(|name| !is_this_machine(name)) {
        return failed(&wish, &rpc_unavailable(computer));
    }
    let done = match wish.action {
        Action::Help => {
            println!("{HELP}");
            Ok(())
        }
        Action::Status => return status(&root),
        Action::Enable | Action::Disable => allow(&root, wish.action == Action::Enable),
        Action::Reboot => Err(reboot(&root)),
        Action::Restart | Action::Stop | Action::Start => reset(&root, &wish),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if wish.reboot_on_error {
                reboot(&root);
            }
            failed(&wish, &failure)
        }
    }
}

/// Writes down that the computer was to be restarted, and why it is not.
fn reboot(root: &Path) -> Failure {
    let failure = not_supported();
    if root.join("run").is_dir()
        && let Ok(mut log) = EventLogFile::open(root)
    {
        let event = Event::iisreset(IisReset::Reboot, &user(), failure.1);
        log.write(&event, utc_now()).ok();
    }
    failure
}

fn parse(words: &[String]) -> Result<Wish, String> {
    let mut wish = Wish {
        action: Action::Restart,
        force: true,
        reboot_on_error: false,
        timeout_s: None,
        computer: None,
    };
    for word in words {
        let upper = word.to_ascii_uppercase().replacen('-', "/", 1);
        match upper.as_str() {
            "/RESTART" => wish.action = Action::Restart,
            "/STOP" => wish.action = Action::Stop,
            "/START" => wish.action = Action::Start,
            "/REBOOT" => wish.action = Action::Reboot,
            "/STATUS" => wish.action = Action::Status,
            "/ENABLE" => wish.action = Action::Enable,
            "/DISABLE" => wish.action = Action::Disable,
            "/REBOOTONERROR" => wish.reboot_on_error = true,
            "/NOFORCE" => wish.force = false,
            "/?" | "//HELP" | "/HELP" => wish.action = Action::Help,
            other if other.starts_with("/TIMEOUT:") => {
                let seconds = other["/TIMEOUT:".len()..].parse();
                wish.timeout_s = Some(seconds.map_err(|_| {
                    format!(
                        "invalid switch: {word}; /TIMEOUT takes whole seconds, e.g. /TIMEOUT:30"
                    )
                })?);
            }
            other if other.starts_with('/') => return Err(format!("invalid switch: {word}")),
            _ if wish.computer.is_some() => {
                return Err(format!("one computer name at most; what is {word}?"));
            }
            _ => wish.computer = Some(word.trim_start_matches('\\').to_owned()),
        }
    }
    Ok(wish)
}

// ---- stop and start -----------------------------------------------------------------------------

/// One iisreset at a time. The kernel opens the lock when its holder ends, however it ends.
fn lock(root: &Path) -> Result<File, Failure> {
    let path = root.join("run/iisreset.lock");
    let lock = File::create(&path)
        .map_err(|error| (format!("{}: {error}", path.display()), 0x8007_0002))?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(_) => Err(in_words(&Refusal::cannot_accept_control())),
    }
}

fn reset(root: &Path, wish: &Wish) -> Result<(), Failure> {
    if root.join(DISABLED_FILE).exists() {
        // Source: winerror.h, ERROR_RESOURCE_DISABLED (4309).
        return Err(("The resource is disabled.".to_owned(), 0x8007_10D5));
    }
    if !root.join("run").is_dir() {
        let answer = Question::put(root, &Command::ServiceStatus).map(drop);
        return answer.map_err(|error| unreachable_server(&error));
    }
    let _lock = lock(root)?;
    let mut console = Console {
        root,
        log: EventLogFile::open(root).ok(),
        lines: 0,
        was_killed: false,
    };
    let restart = wish.action == Action::Restart;
    if restart || wish.action == Action::Stop {
        console.say("Attempting stop...");
        console.stop(wish, restart)?;
        console.say("Internet services successfully stopped");
    }
    if restart || wish.action == Action::Start {
        console.say("Attempting start...");
        console.start(wish)?;
        console.say(if restart {
            "Internet services successfully restarted"
        } else {
            "Internet services successfully started"
        });
    }
    Ok(())
}

struct Console<'a> {
    root: &'a Path,
    log: Option<EventLogFile>,
    lines: u32,
    was_killed: bool,
}

impl Console<'_> {
    /// Source: iisreset's output begins with an empty line.
    fn say(&mut self, line: &str) {
        if self.lines == 0 {
            println!();
        }
        self.lines += 1;
        println!("{line}");
    }

    fn log(&mut self, activity: IisReset, status: u32) {
        let user = user();
        if let Some(log) = &mut self.log {
            let event = Event::iisreset(activity, &user, status);
            log.write(&event, utc_now()).ok();
        }
    }

    fn stop(&mut self, wish: &Wish, restart: bool) -> Result<(), Failure> {
        // Source: iisreset usage: 20 s for a restart, 60 s for a stop.
        let timeout_s = wish.timeout_s.unwrap_or(if restart { 20 } else { 60 });
        let timeout = Duration::from_secs(timeout_s);
        let command = Command::StopServices {
            services: SERVICES.to_vec(),
            timeout_ms: timeout_s.saturating_mul(1000),
            force: wish.force,
            reset_by: Some(user()),
        };
        let answer = self.wait_for_stop(&command, timeout);
        // What WAS has begun, it tells itself.
        let is_told = matches!(
            answer,
            Ok(Some(Answer::Done | Answer::Refused(Refusal::TimedOut)))
        );
        let stopped = match answer {
            Ok(Some(Answer::Done)) => Ok(()),
            Ok(Some(answer)) => Err(in_words(&refusal_of(answer))),
            Ok(None) if wish.force => self.kill(),
            Ok(None) => Err(in_words(&Refusal::TimedOut)),
            Err(error) => Err(unreachable_server(&error)),
        };
        let status = stopped.as_ref().err().map_or(0, |(_, hresult)| *hresult);
        if !is_told {
            self.log(IisReset::Stop, status);
        }
        stopped
    }

    /// Waits as long as WAS takes and shows that it lives; `None` if it does not. When the time is over it
    /// is known whether it lives, so that one that does not is killed then and not later.
    fn wait_for_stop(
        &self,
        command: &Command,
        timeout: Duration,
    ) -> Result<Option<Answer>, AskError> {
        let deadline = clock_now() + timeout.max(SIGN_OF_LIFE_MIN);
        let mut question = Question::put(self.root, command)?;
        let mut patience = timeout.saturating_sub(SIGN_OF_LIFE_MAX.min(timeout / 2));
        loop {
            if let Some(answer) = question.answer(patience)? {
                return Ok(Some(answer));
            }
            let mut probe = Question::put(self.root, &Command::ServiceStatus)?;
            let left = deadline.saturating_since(clock_now());
            let sign_max = if left.is_zero() {
                SIGN_OF_LIFE_MAX
            } else {
                left
            };
            if probe.answer(sign_max)?.is_none() {
                return question.answer(Duration::ZERO);
            }
            let left = deadline.saturating_since(clock_now());
            patience = left.saturating_add(SIGN_OF_LIFE_MAX);
        }
    }

    /// Source: iisreset: with force, `TerminateProcess`: the host of the services and, with it, its
    /// workers. The service control manager is told that this was meant.
    fn kill(&mut self) -> Result<(), Failure> {
        let sign = self.root.join(KILLED_FILE);
        let failed = |error: &dyn std::fmt::Display| (error.to_string(), 0x8007_0005);
        fs::write(&sign, b"").map_err(|error| failed(&error))?;
        if let Err(error) = kill_services(self.root) {
            fs::remove_file(&sign).ok();
            return Err(failed(&error));
        }
        self.was_killed = true;
        self.log(IisReset::Kill, 0);
        self.ask_revived(&Command::ServiceStatus, START_MAX)
            .map(drop)
    }

    /// Asks; if WAS was killed, as soon as its process is there again.
    fn ask_revived(&self, command: &Command, patience: Duration) -> Result<Answer, Failure> {
        let deadline = clock_now() + REVIVAL_MAX;
        loop {
            let asked = Question::put(self.root, command)
                .and_then(|mut question| question.answer(patience));
            match asked {
                Err(AskError::NotRunning { .. } | AskError::NoAnswer { .. })
                    if self.was_killed && clock_now() < deadline =>
                {
                    std::thread::sleep(Duration::from_millis(10));
                }
                Ok(Some(answer)) => return Ok(answer),
                Ok(None) => return Err(in_words(&Refusal::TimedOut)),
                Err(error) => return Err(unreachable_server(&error)),
            }
        }
    }

    fn start(&mut self, wish: &Wish) -> Result<(), Failure> {
        let services = SERVICES.iter().rev().copied().collect();
        let command = Command::StartServices { services };
        let timeout = Duration::from_secs(wish.timeout_s.unwrap_or(0)).max(START_MAX);
        let started = match self.ask_revived(&command, timeout) {
            Ok(Answer::Done) => Ok(()),
            Ok(answer) => Err(in_words(&refusal_of(answer))),
            Err(failure) => Err(failure),
        };
        let status = started.as_ref().err().map_or(0, |(_, hresult)| *hresult);
        self.log(IisReset::Start, status);
        started
    }
}

/// Who types this.
fn user() -> String {
    let name = std::env::var("USER").unwrap_or_default();
    if name.is_empty() {
        format!("uid {}", rustix::process::getuid().as_raw())
    } else {
        name
    }
}

/// Writes down whether services may be restarted.
fn allow(root: &Path, allowed: bool) -> Result<(), Failure> {
    let path: PathBuf = root.join(DISABLED_FILE);
    let done = if allowed {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    } else if root.is_dir() {
        let folder = path.parent().map_or(Ok(()), fs::create_dir_all);
        folder.and_then(|()| fs::write(&path, b""))
    } else {
        Err(std::io::ErrorKind::NotFound.into())
    };
    done.map_err(|error| (format!("{}: {error}", path.display()), 0x8007_0002))?;
    if let Ok(log) = AuditLog::open(root) {
        let deed = json!({"AllowRestart": {"allowed": allowed}});
        log.write(
            &Asker::this_process(None),
            &deed,
            &json!("done"),
            Duration::ZERO,
        );
    }
    // Assumed: the wording, after the usage text.
    let word = if allowed { "enabled" } else { "disabled" };
    println!("\nRestarting of Internet Services is {word} on the local system");
    Ok(())
}

// ---- what is printed ----------------------------------------------------------------------------

/// The answers of a service that are no success.
fn refusal_of(answer: Answer) -> Refusal {
    if let Answer::Refused(refusal) = answer {
        return refusal;
    }
    Refusal::failed(0x8000_4005, &format!("unexpected answer: {answer:?}"))
}

fn in_words(refusal: &Refusal) -> Failure {
    match refusal {
        Refusal::Failed { hresult, message } => (message.clone(), *hresult),
        Refusal::TimedOut => in_words(&Refusal::request_timeout()),
        Refusal::NotFound { identifier, .. } => (identifier.clone(), 0x8007_0002),
    }
}

/// Source: winerror.h, `ERROR_NOT_SUPPORTED` (50); IIS 7 and later: "iisreset no longer supports
/// computer restart".
fn not_supported() -> Failure {
    ("The request is not supported.".to_owned(), 0x8007_0032)
}

/// Source: winerror.h, `RPC_S_SERVER_UNAVAILABLE` (1722), what a computer that is not there gives.
fn rpc_unavailable(computer: &str) -> Failure {
    eprintln!("iis-sim: {computer}: only this machine's own server can be reached, by --root");
    ("The RPC server is unavailable.".to_owned(), 0x8007_06BA)
}

fn unreachable_server(error: &AskError) -> Failure {
    match error {
        AskError::Denied { .. } => (
            "Access denied, you must be an administrator of the remote computer to use this\ncommand. Either have your account added to the administrator local group of\nthe remote computer or to the domain administrator global group."
                .to_owned(),
            0x8007_0005,
        ),
        // Source: winerror.h, ERROR_SERVICE_DOES_NOT_EXIST (1060).
        AskError::NotRunning { .. } => (error.to_string(), 0x8007_0424),
        // Source: winerror.h, RPC_S_CALL_FAILED (1726).
        AskError::NoAnswer { .. } => (CALL_FAILED.to_owned(), 0x8007_06BE),
        AskError::TimedOut { .. } => in_words(&Refusal::request_timeout()),
    }
}

fn is_this_machine(name: &str) -> bool {
    let own = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let names = ["localhost", "127.0.0.1", "::1", ".", own.trim()];
    names.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// Source: iisreset's failure lines: `<system message> (<decimal>, <hex>)`.
fn failed(wish: &Wish, (message, hresult): &Failure) -> ExitCode {
    if !wish.force {
        println!("There was an error while performing this operation.");
    }
    println!("{} attempt failed.", wish.action.name());
    println!("{message} ({hresult}, {hresult:x})");
    if wish.reboot_on_error {
        let (message, hresult) = not_supported();
        println!("Reboot attempt failed.\n{message} ({hresult}, {hresult:x})");
    }
    ExitCode::FAILURE
}

fn status(root: &Path) -> ExitCode {
    let asked = Question::put(root, &Command::ServiceStatus)
        .and_then(|mut question| question.answer(SIGN_OF_LIFE_MAX));
    let (message, hresult) = match asked {
        Ok(Some(Answer::Services(services))) => {
            for (service, status) in services {
                println!("{}", status_line(service, status));
            }
            return ExitCode::SUCCESS;
        }
        Ok(Some(answer)) => in_words(&refusal_of(answer)),
        Ok(None) => in_words(&Refusal::TimedOut),
        Err(error @ AskError::NotRunning { .. }) => {
            println!("{error}");
            return ExitCode::FAILURE;
        }
        Err(error) => unreachable_server(&error),
    };
    println!("{message} ({hresult}, {hresult:x})");
    ExitCode::FAILURE
}

fn status_line(service: Service, status: ServiceStatus) -> String {
    let status = match status {
        ServiceStatus::Stopped => "Stopped",
        ServiceStatus::StartPending => "Start Pending",
        ServiceStatus::StopPending => "Stop Pending",
        ServiceStatus::Running => "Running",
    };
    let (display, name) = (service.display_name(), service.name());
    format!("Status for {display} ( {name} ) : {status}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(text: &str) -> Result<Wish, String> {
        let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        parse(&words)
    }

    #[test]
    fn a_restart_forces_by_default() {
        let wish = wish("").unwrap();
        assert_eq!(
            (wish.action, wish.force, wish.timeout_s),
            (Action::Restart, true, None)
        );
    }

    #[test]
    fn switches_are_read_in_any_case() {
        let wish = wish("/stop /NoForce -timeout:5 /rebootonerror localhost").unwrap();
        assert_eq!(
            (wish.action, wish.force, wish.timeout_s),
            (Action::Stop, false, Some(5))
        );
        assert!(wish.reboot_on_error && is_this_machine(&wish.computer.unwrap()));
    }

    #[test]
    fn a_service_that_ends_before_it_answers_is_told_in_the_words_of_windows() {
        let source = std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into();
        let root = PathBuf::from("root");
        let (message, code) = unreachable_server(&AskError::NoAnswer { root, source });
        assert_eq!(message, "The remote procedure call failed.");
        assert_eq!(code, 0x8007_06be);
    }

    #[test]
    fn a_wrong_switch_is_named() {
        assert!(wish("/timeout:x").is_err_and(|message| message.contains("/timeout:x")));
        assert!(wish("/frobnicate").is_err_and(|message| message.contains("/frobnicate")));
        assert!(wish("one two").is_err_and(|message| message.contains("two")));
    }

    #[test]
    fn the_status_is_worded_as_by_the_real_tool() {
        assert_eq!(
            status_line(Service::W3svc, ServiceStatus::Running),
            "Status for World Wide Web Publishing Service ( W3SVC ) : Running"
        );
    }
}
