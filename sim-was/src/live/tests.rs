//! The program against a device and workers that are played here. Workers are this test binary,
//! started again as [`a_worker_process_for_the_other_tests`].

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread::{self, JoinHandle};

use bytes::Bytes;
use sim_httpsys::api::wire::{Frames, decode_call, encode_completion};
use sim_httpsys::api::{Call, CallResult, Completion, ControlCall};
use sim_worker::ipm::{FromWorker, ToWorker, wire as ipm};

use super::{Options, RunError, event_log_path, read_event_log, run};
use crate::control::client::{AskError, ask};
use crate::control::wire::socket_path;
use crate::control::{Answer, Command, Refusal, Service, WorkerProcessInfo, WorkerProcessState};
use crate::event_record::Channel;

const CONFIG: &str = r#"<configuration>
  <system.applicationHost>
    <applicationPools><add name="DefaultAppPool" /></applicationPools>
    <sites>
      <site name="Default Web Site" id="1">
        <application path="/" applicationPool="DefaultAppPool">
          <virtualDirectory path="/" physicalPath="%SystemDrive%\inetpub\wwwroot" />
        </application>
        <bindings><binding protocol="http" bindingInformation="*:80:" /></bindings>
      </site>
    </sites>
  </system.applicationHost>
</configuration>"#;

/// Frames of a blocking stream, until it ends.
fn frames(mut stream: UnixStream) -> impl Iterator<Item = Bytes> {
    let mut frames = Frames::default();
    std::iter::from_fn(move || {
        loop {
            if let Some(frame) = frames.next_frame().unwrap() {
                return Some(frame);
            }
            let mut buffer = [0; 4096];
            match stream.read(&mut buffer) {
                Ok(0) | Err(_) => return None,
                Ok(n) => frames.buffer.extend_from_slice(&buffer[..n]),
            }
        }
    })
}

/// A driver that says yes to everything, and in which a request waits whenever it is asked.
fn play_device(path: &Path) {
    let listener = UnixListener::bind(path).unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        for frame in frames(stream.try_clone().unwrap()) {
            let Call::Control { id, call } = decode_call(frame).unwrap() else {
                panic!("WAS makes control calls only");
            };
            let mut bytes = Vec::new();
            let result = Ok(CallResult::Done);
            encode_completion(&Completion::Called { id, result }, &mut bytes);
            if let ControlCall::WaitForDemandStart { queue } = call {
                encode_completion(&Completion::DemandStart { queue }, &mut bytes);
            }
            if stream.write_all(&bytes).is_err() {
                return;
            }
        }
    });
}

#[test]
fn a_worker_process_for_the_other_tests() {
    let mut arguments = std::env::args().skip_while(|argument| argument != "-a");
    let Some(pipe) = arguments.nth(1) else { return };
    let mut stream = UnixStream::connect(pipe).unwrap();
    let mut say = {
        let mut stream = stream.try_clone().unwrap();
        move |message: &FromWorker| {
            let mut bytes = Vec::new();
            ipm::encode(message, &mut bytes);
            stream.write_all(&bytes).unwrap();
        }
    };
    say(&FromWorker::Ready);
    for frame in frames(stream.try_clone().unwrap()) {
        match ipm::decode::<ToWorker>(&frame).unwrap() {
            ToWorker::Ping { sequence } => say(&FromWorker::PingReply { sequence }),
            ToWorker::ListRequests { token } => say(&FromWorker::Requests {
                token,
                requests: Vec::new(),
            }),
            ToWorker::QueryCounters { token } => say(&FromWorker::Counters {
                token,
                counters: Box::default(),
            }),
            ToWorker::Shutdown { .. } => std::process::exit(0),
            ToWorker::Suspend
            | ToWorker::Resume
            | ToWorker::SetIdleTimeout { .. }
            | ToWorker::ApplicationChanged { .. }
            | ToWorker::ApplicationRemoved { .. } => {}
        }
    }
    stream.flush().ok();
    std::process::exit(1);
}

struct Server {
    root: tempfile::TempDir,
    program: JoinHandle<Result<(), RunError>>,
}

fn up() -> Server {
    let root = tempfile::tempdir().unwrap();
    let options = options(root.path());
    std::fs::write(&options.config, CONFIG).unwrap();
    play_device(&options.device);
    let program = thread::spawn(move || run(options));
    let server = Server { root, program };
    server.wait_for_worker(|_| true);
    server
}

fn options(root: &Path) -> Options {
    let this_test = "live::tests::a_worker_process_for_the_other_tests";
    Options {
        device: root.join("httpsys.sock"),
        config: root.join("applicationHost.config"),
        leading_arguments: ["--exact", "--nocapture", this_test, "--"]
            .map(Into::into)
            .to_vec(),
        trace: true,
        record: false,
        ..Options::new(root.to_path_buf()).unwrap()
    }
}

impl Server {
    fn ask(&self, command: &Command) -> Answer {
        ask(self.root.path(), command).unwrap()
    }

    fn workers(&self) -> Vec<WorkerProcessInfo> {
        match ask(self.root.path(), &Command::ListWorkerProcesses) {
            Ok(Answer::WorkerProcesses(workers)) => workers,
            Ok(other) => panic!("not a list of workers: {other:?}"),
            Err(AskError::NotRunning { .. }) => Vec::new(),
            Err(error) => panic!("{error}"),
        }
    }

    /// The pid of the only worker, when it runs and is the right one.
    fn wait_for_worker(&self, right: impl Fn(u32) -> bool) -> u32 {
        loop {
            if let [worker] = self.workers().as_slice()
                && worker.state == WorkerProcessState::Running
                && right(worker.pid)
            {
                return worker.pid;
            }
            thread::yield_now();
        }
    }

    fn events(&self) -> String {
        let path = self
            .root
            .path()
            .join("Windows/System32/winevt/System.jsonl");
        std::fs::read_to_string(path).unwrap()
    }

    fn quit(self) {
        assert_eq!(self.ask(&Command::Quit), Answer::Done);
        self.program.join().unwrap().unwrap();
        assert!(!socket_path(self.root.path()).exists());
    }
}

#[test]
fn a_recycle_replaces_the_process() {
    let server = up();
    let old = server.wait_for_worker(|_| true);
    let name = "DefaultAppPool".to_owned();
    let recycle = Command::RecycleApplicationPool { name };
    assert_eq!(server.ask(&recycle), Answer::Done);
    server.wait_for_worker(|pid| pid != old);
    assert_eq!(
        server.ask(&Command::ListRequests),
        Answer::Requests(Vec::new())
    );
    assert!(server.events().contains(r#""EventID":5079"#));
    let trace = std::fs::read_to_string(server.root.path().join("trace/was.jsonl")).unwrap();
    assert!(trace.contains("WorkerStopOrdered"));
    server.quit();
}

#[test]
fn services_stop_and_start_again() {
    let server = up();
    let old = server.wait_for_worker(|_| true);
    let services = || vec![Service::Was, Service::W3svc];
    let stop = Command::StopServices {
        services: services(),
        timeout_ms: 20_000,
        force: true,
        reset_by: None,
    };
    let files = server.root.path().join("inetpub/temp/appPools");
    assert!(files.join("DefaultAppPool/DefaultAppPool.config").exists());
    assert_eq!(server.ask(&stop), Answer::Done);
    assert!(server.workers().is_empty() && !files.exists());
    let start = Command::StartServices {
        services: services(),
    };
    assert_eq!(server.ask(&start), Answer::Done);
    server.wait_for_worker(|pid| pid != old);
    server.quit();
}

#[test]
fn a_killed_worker_is_noticed_with_its_exit_code_and_replaced() {
    let server = up();
    let old = server.wait_for_worker(|_| true);
    let pid = rustix::process::Pid::from_raw(old.cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    server.wait_for_worker(|pid| pid != old);
    assert!(server.events().contains("The process exit code was '0x9'."));
    server.quit();
}

#[test]
fn garbage_on_the_control_socket_gets_an_error_and_the_server_goes_on() {
    let server = up();
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\x02\0\0\0{}"] {
        let mut stream = UnixStream::connect(socket_path(server.root.path())).unwrap();
        stream.write_all(garbage).unwrap();
        let mut answer = Vec::new();
        // Bytes that were not read make the end of the connection a reset.
        stream.read_to_end(&mut answer).ok();
        let answer: Answer = serde_json::from_slice(&answer[4..]).unwrap();
        let invalid = matches!(
            answer,
            Answer::Refused(Refusal::Failed {
                hresult: 0x8007_000d,
                ..
            })
        );
        assert!(invalid, "{answer:?}");
    }
    server.quit();
}

#[test]
fn a_broken_configuration_is_said_with_its_file() {
    let root = tempfile::tempdir().unwrap();
    let options = options(root.path());
    std::fs::write(&options.config, "<configuration").unwrap();
    play_device(&options.device);
    let error = run(options).unwrap_err().to_string();
    assert!(error.contains("applicationHost.config"), "{error}");
    assert_eq!(event_ids(root.path()), [5172, 5036, 5005, 7036]);
}

/// What the log System says.
fn event_ids(root: &Path) -> Vec<u16> {
    let records = read_event_log(&event_log_path(root, Channel::System)).unwrap();
    records.iter().map(|record| record.event_id).collect()
}

#[test]
fn a_worker_whose_program_is_not_there_is_not_created_and_its_pool_is_off() {
    let root = tempfile::tempdir().unwrap();
    let options = Options {
        executable: root.path().join("w3wp"),
        ..options(root.path())
    };
    std::fs::write(&options.config, CONFIG).unwrap();
    play_device(&options.device);
    let program = thread::spawn(move || run(options));
    while !event_log_path(root.path(), Channel::System).exists() || event_ids(root.path()).len() < 4
    {
        thread::yield_now();
    }
    assert_eq!(event_ids(root.path()), [7036, 7036, 5022, 5059]);
    assert_eq!(ask(root.path(), &Command::Quit).unwrap(), Answer::Done);
    program.join().unwrap().unwrap();
}

#[test]
fn a_driver_that_is_not_there_or_does_not_listen_is_told_in_the_log() {
    for (is_there, id) in [(false, 1173), (true, 1037)] {
        let root = tempfile::tempdir().unwrap();
        let options = options(root.path());
        std::fs::write(&options.config, CONFIG).unwrap();
        if is_there {
            drop(UnixListener::bind(&options.device).unwrap());
        }
        let error = run(options).unwrap_err();
        assert!(matches!(error, RunError::Device { .. }), "{error}");
        assert_eq!(event_ids(root.path()), [id]);
    }
}

#[test]
fn a_server_that_does_not_run_is_said_to_be_so() {
    let root = tempfile::tempdir().unwrap();
    let error = ask(root.path(), &Command::ServiceStatus).unwrap_err();
    assert!(error.to_string().contains("iis-sim up --root"), "{error}");
}
