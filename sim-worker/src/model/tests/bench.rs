//! A worker on a bench: the disk is a map, threads are as fast as the test says.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "anything else fails the test or is not asked for"
)]

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use sim_httpsys::api::{
    ActivityId, Call, CallId, CallResult, Completion, ConnectionId, ControlCall, Ends,
    EntityLength, ProcessId, Request, RequestId, RequestText, Response, SharedRequest, ShortEnds,
    SiteId, Span, UrlContext, Version,
};
use sim_httpsys::clockwork::{Instant, StateMachine as _, UtcClock, UtcTime};

use super::super::{
    FileOutcome, FileSeen, FileStamp, Input, Outcome, Output, Work, WorkId, WorkerProcess,
};
use crate::configuration::{
    Application, PathSettings, PeriodicRestart, VirtualDirectory, WorkerConfiguration,
};
use crate::facts::{CacheLayer, Fact};
use crate::ipm::{FromWorker, ShutdownReason, ToWorker};

pub(crate) fn application(root: &str) -> Application {
    Application {
        url_context: UrlContext(1),
        site: SiteId(1),
        site_name: "Default Web Site".into(),
        path: "/".into(),
        virtual_directories: vec![VirtualDirectory {
            path: "/".into(),
            physical_path: root.into(),
        }],
        preload: false,
        auto_start: false,
        initialization: crate::configuration::Initialization::default(),
        concurrent_requests_max: 5000,
        session_state: crate::configuration::SessionStateSettings::default(),
        settings: PathSettings {
            default_documents: ["Default.htm", "index.html", "default.aspx"]
                .map(str::to_owned)
                .to_vec(),
            ..PathSettings::default()
        },
        paths: BTreeMap::new(),
    }
}

pub(super) fn configuration() -> WorkerConfiguration {
    WorkerConfiguration {
        pool: "DefaultAppPool".into(),
        applications: vec![application("/srv/www")],
        departed: Vec::new(),
        periodic_restart: PeriodicRestart::default(),
        idle_timeout: Duration::from_mins(20),
        receives: 100,
        threads_max: 100,
        time_zone: crate::local_time::TimeZone::default(),
        schedule_ran: None,
        environment: BTreeMap::new(),
    }
}

/// A worker and everything around it.
pub(super) struct Bench {
    pub(super) model: WorkerProcess,
    pub(super) now: Instant,
    pub(super) files: BTreeMap<String, (u64, &'static str)>,
    /// Work that runs on threads, until the test finishes it.
    pub(super) running: VecDeque<(WorkId, Work)>,
    pub(super) facts: Vec<Fact>,
    pub(super) told: Vec<FromWorker>,
    pub(super) flushed: Vec<String>,
    pub(super) credits: u32,
    pub(super) exit: Option<i32>,
    responses: BTreeMap<RequestId, Response>,
    /// How often it wanted its memory measured.
    pub(super) measurements: u32,
    requests: u64,
    shutdown: Option<CallId>,
    /// Requests that it has given up.
    pub(super) cancelled: Vec<RequestId>,
    /// Files that nobody may read.
    pub(super) locked: Vec<&'static str>,
    /// The file that it watches, and how it was seen.
    watch: Option<(WorkId, String, FileSeen)>,
    /// Requests whose body it has asked for.
    pub(super) reads: VecDeque<RequestId>,
}

/// A worker that is starting: its queue is open, `files` are on the disk of its site.
pub(super) fn starting(
    configuration: WorkerConfiguration,
    files: &[(&str, &'static str)],
) -> Bench {
    let clock = UtcClock::reading(UtcTime(0), Instant(0));
    let now = Instant(1_000_000_000);
    let on_disk = |&(name, contents): &(&str, &'static str)| {
        (name.to_owned(), (1_700_000_000_000_000_000, contents))
    };
    let mut bench = Bench {
        model: WorkerProcess::new(configuration, ProcessId(4711), clock, now),
        now,
        files: files.iter().map(on_disk).collect(),
        running: VecDeque::new(),
        facts: Vec::new(),
        told: Vec::new(),
        flushed: Vec::new(),
        credits: 0,
        exit: None,
        responses: BTreeMap::new(),
        measurements: 0,
        requests: 0,
        shutdown: None,
        reads: VecDeque::new(),
        cancelled: Vec::new(),
        locked: Vec::new(),
        watch: None,
    };
    bench.act();
    bench.input(Input::Completed(Completion::Called {
        id: CallId(1),
        result: Ok(CallResult::Done),
    }));
    bench
}

/// A worker with one application, whose folder holds `files`.
pub(super) fn worker(files: &[(&str, &'static str)]) -> Bench {
    starting(configuration(), files)
}

/// A worker whose application has these pages.
pub(super) fn worker_with(simulation: &'static str) -> Bench {
    worker(&[("simulation.toml", simulation)])
}

impl Bench {
    pub(super) fn input(&mut self, input: Input) {
        self.model.handle_input(input, self.now);
        self.act();
    }

    fn act(&mut self) {
        while let Some(output) = self.model.poll_output() {
            match output {
                Output::Call(call) => self.called(call),
                Output::Tell(message) => self.told.push(message),
                Output::StartWork {
                    work,
                    cost: Work::WatchFile { file, seen, .. },
                } => self.watch = Some((work, file, seen)),
                Output::StartWork { work, cost } => self.running.push_back((work, cost)),
                Output::Exit { code } => self.exit = Some(code),
                Output::MeasureMemory => self.measurements += 1,
                Output::Fact(fact) => self.facts.push(fact),
            }
        }
        // The disk answers at once.
        let reads = |(_, work): &(WorkId, Work)| matches!(work, Work::ReadFile { .. });
        if let Some(index) = self.running.iter().position(reads)
            && let Some((
                work,
                Work::ReadFile {
                    candidates, unless, ..
                },
            )) = self.running.remove(index)
        {
            let outcome = self.look_for(&candidates, unless);
            self.input(Input::WorkDone {
                work,
                outcome: Outcome::File(outcome),
            });
        }
    }

    fn look_for(&self, candidates: &[String], unless: Option<(usize, FileStamp)>) -> FileOutcome {
        for (candidate, path) in candidates.iter().enumerate() {
            if self.locked.contains(&path.as_str()) {
                return FileOutcome::Denied;
            }
            let found = self
                .files
                .iter()
                .find(|(name, _)| name.to_lowercase() == path.to_lowercase());
            if let Some((_, &(modified, contents))) = found {
                let stamp = FileStamp {
                    modified,
                    size: contents.len() as u64,
                };
                if unless == Some((candidate, stamp)) {
                    return FileOutcome::Unchanged;
                }
                return FileOutcome::Contents {
                    candidate,
                    stamp,
                    contents: Bytes::from_static(contents.as_bytes()),
                };
            }
            let folder = format!("{}/", path.to_lowercase());
            let is_folder = path.is_empty()
                || self
                    .files
                    .keys()
                    .any(|name| name.to_lowercase().starts_with(&folder));
            if is_folder && candidate + 1 == candidates.len() {
                return FileOutcome::Directory;
            }
        }
        FileOutcome::NotFound
    }

    fn called(&mut self, call: Call) {
        match call {
            Call::SendResponse {
                request, response, ..
            } => {
                let twice = self.responses.insert(request, response);
                assert!(twice.is_none(), "a request is answered once");
            }
            Call::ReceiveRequest { credits } => self.credits += credits,
            Call::CancelRequest { request } => self.cancelled.push(request),
            Call::ReceiveEntityBody { request } => self.reads.push_back(request),
            Call::Control {
                id,
                call: ControlCall::ShutdownRequestQueue | ControlCall::CancelReceives,
            } => self.shutdown = Some(id),
            Call::Control {
                call: ControlCall::FlushResponseCache { url, .. },
                ..
            } => self.flushed.extend(url),
            Call::Control {
                call: ControlCall::OpenRequestQueue { name },
                ..
            } => {
                assert_eq!(name.0, "DefaultAppPool");
            }
            other => panic!("a worker does not call {other:?}"),
        }
    }

    /// Sends a request and does not wait for its answer.
    pub(super) fn send(&mut self, head: &str) -> RequestId {
        self.requests += 1;
        let id = RequestId(self.requests);
        self.credits = self
            .credits
            .checked_sub(1)
            .expect("the driver has a receive");
        self.input(Input::Completed(Completion::Request(SharedRequest::new(
            request(id, head),
        ))));
        id
    }

    /// Sends a request that is answered at once.
    pub(super) fn request(&mut self, head: &str) -> Answer {
        let id = self.send(head);
        self.answer(id).expect("it is answered at once")
    }

    pub(super) fn get(&mut self, url: &str) -> Answer {
        self.request(&format!("GET {url}"))
    }

    pub(super) fn answer(&self, id: RequestId) -> Option<Answer> {
        self.responses.get(&id).cloned().map(Answer)
    }

    /// The driver gives the worker, which has asked, a piece of a body.
    pub(super) fn body(&mut self, request: RequestId, bytes: usize, last: bool) {
        let asked = self.reads.pop_front();
        assert_eq!(asked, Some(request), "the worker has asked");
        self.input(Input::Completed(Completion::EntityBody {
            request,
            bytes: Bytes::from(vec![b'x'; bytes]),
            last,
        }));
    }

    /// Whoever watches files looks at the one that the worker wants to know about.
    pub(super) fn look_at_watched_file(&mut self) {
        let Some((work, file, seen)) = self.watch.take() else {
            return;
        };
        let now = self.look_for(std::slice::from_ref(&file), None).seen();
        if now == Some(seen) {
            self.watch = Some((work, file, seen));
        } else {
            let outcome = Outcome::Changed;
            self.input(Input::WorkDone { work, outcome });
        }
    }

    /// Finishes the work that runs longest.
    pub(super) fn finish_work(&mut self) -> Work {
        let (work, cost) = self.running.pop_front().expect("work is running");
        let memory = if let Work::Run { allocate, .. } = cost {
            vec![0; usize::try_from(allocate).unwrap()]
        } else {
            vec![]
        };
        self.input(Input::WorkDone {
            work,
            outcome: Outcome::Done { memory },
        });
        cost
    }

    pub(super) fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(deadline) = self
            .model
            .next_deadline()
            .filter(|deadline| deadline.at <= until)
        {
            self.now = self.now.max(deadline.at);
            self.model.handle_deadline(self.now);
            self.act();
        }
        self.now = until;
    }

    pub(super) fn order_to_stop(&mut self, drain: bool) {
        let reason = if drain {
            ShutdownReason::Recycle
        } else {
            ShutdownReason::ServiceStop
        };
        self.input(Input::Told(ToWorker::Shutdown { reason, drain }));
    }

    /// The driver confirms that it gives the worker nothing more.
    pub(super) fn queue_is_shut(&mut self) {
        let id = self.shutdown.take().expect("it was asked to");
        self.input(Input::Completed(Completion::Called {
            id,
            result: Ok(CallResult::Done),
        }));
    }

    pub(super) fn look_ups(&self, layer: CacheLayer) -> Vec<bool> {
        let of = |fact: &Fact| match fact {
            Fact::CacheLookup { layer: of, hit } if *of == layer => Some(*hit),
            _ => None,
        };
        self.facts.iter().filter_map(of).collect()
    }
}

/// What a client sees.
pub(super) struct Answer(pub(super) Response);

impl Answer {
    pub(super) fn status(&self) -> (u16, u16) {
        (self.0.status, self.0.log.unwrap().substatus)
    }

    pub(super) fn body(&self) -> &str {
        str::from_utf8(&self.0.body).unwrap()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let lines = str::from_utf8(&self.0.headers).unwrap().split("\r\n");
        lines
            .filter_map(|line| line.split_once(": "))
            .find(|(n, _)| *n == name)
            .map(|(_, value)| value)
    }

    /// The session id that it sets.
    pub(super) fn session(&self) -> String {
        let cookie = self.header("Set-Cookie").expect("a cookie");
        let id = cookie
            .strip_prefix("ASP.NET_SessionId=")
            .unwrap()
            .split(';')
            .next()
            .unwrap();
        id.to_owned()
    }
}

/// `GET /path?query` and header lines.
fn request(id: RequestId, head: &str) -> Request {
    let mut lines = head.split('\n');
    let (verb, url) = lines.next().unwrap().split_once(' ').unwrap();
    let mut text = String::new();
    let mut put = |piece: &str| {
        let start = text.len();
        text.push_str(piece);
        Span::new(start, text.len())
    };
    let (path, query) = url.split_once('?').unwrap_or((url, ""));
    let mut parts = RequestText {
        verb: put(verb),
        raw_url: put(url),
        path: put(path),
        query: put(query),
        host: put("localhost"),
        ..RequestText::default()
    };
    for line in lines {
        let (name, value) = line.split_once(": ").unwrap();
        parts.headers.push((put(name), put(value)));
    }
    parts.text = text.into_bytes();
    let length = parts.header("Content-Length");
    let length = length.map(|value| str::from_utf8(value).unwrap().parse().unwrap());
    let entity = match length {
        None if parts.header("Transfer-Encoding").is_some() => EntityLength::Chunked,
        None => EntityLength::None,
        Some(length) => EntityLength::Known(length),
    };
    Request {
        id,
        connection: ConnectionId(id.0),
        activity: ActivityId(id.0),
        site: SiteId(1),
        url_context: UrlContext(1),
        ends: ShortEnds::new(Ends {
            client: "127.0.0.1:50000".parse().unwrap(),
            local: "127.0.0.1:80".parse().unwrap(),
        }),
        secure: false,
        version: Version::Http11,
        received: Instant(0),
        entity,
        text: parts,
    }
}
