//! A driver on a bench: clients, workers and a controller as verbs.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use super::super::*;
use crate::api::{
    CachePolicy, CallId, CallResult, ControlCall, LogData, LogSettings, QueueState,
    RequestQueueName, RequestQueueProperties, Response, ResponseVerbosity, SharedRequest, Timeouts,
    UrlContext, UrlGroupProperties,
};
use crate::clockwork::UtcTime;

pub(super) const W3SVC: ProcessId = ProcessId(1);
pub(super) const W3WP: ProcessId = ProcessId(100);
pub(super) const W3WP_2: ProcessId = ProcessId(101);
pub(super) const PORT_80: Endpoint = Endpoint {
    address: None,
    port: 80,
    secure: false,
};
pub(super) const SITE_1: UrlGroupId = UrlGroupId(1);

/// How the server is to be.
#[derive(Clone)]
pub(super) struct Setup {
    pub(super) parameters: Parameters,
    pub(super) queue: RequestQueueProperties,
    pub(super) group: UrlGroupProperties,
}

/// A server with the site `http://*:80/` and the pool `DefaultAppPool`.
pub(super) fn server() -> Setup {
    let log = LogSettings::daily("W3SVC1".into());
    Setup {
        parameters: Parameters::default(),
        queue: RequestQueueProperties {
            length: 1000,
            verbosity: ResponseVerbosity::Limited,
            state: QueueState::Active,
        },
        group: UrlGroupProperties {
            queue: pool(),
            site: SiteId(1),
            connections_max: None,
            url_segments_max: 32,
            timeouts: Timeouts::default(),
            log: Some(log),
        },
    }
}

pub(super) fn pool() -> RequestQueueName {
    RequestQueueName("DefaultAppPool".into())
}

impl Setup {
    pub(super) fn queue_length(mut self, length: u32) -> Self {
        self.queue.length = length;
        self
    }

    pub(super) fn resetting(mut self) -> Self {
        self.queue.verbosity = ResponseVerbosity::Basic;
        self
    }

    pub(super) fn connections_max(mut self, limit: u32) -> Self {
        self.group.connections_max = Some(limit);
        self
    }

    pub(super) fn url_segments_max(mut self, limit: u32) -> Self {
        self.group.url_segments_max = limit;
        self
    }

    pub(super) fn queue_time(mut self, seconds: u16) -> Self {
        self.group.timeouts.request_queue = seconds;
        self
    }

    pub(super) fn parameters(mut self, change: impl FnOnce(&mut Parameters)) -> Self {
        change(&mut self.parameters);
        self
    }

    pub(super) fn without_worker(self) -> Bench {
        let mut bench = Bench {
            machine: HttpSys::new(
                self.parameters.clone(),
                UtcClock {
                    switched_on: UtcTime(784_111_777_000_000_000),
                },
            ),
            setup: self,
            now: Instant(0),
            facts: Vec::new(),
            logs: Vec::new(),
            wires: BTreeMap::new(),
            closed: BTreeMap::new(),
            completions: BTreeMap::new(),
            listening: BTreeSet::new(),
            reading: BTreeMap::new(),
            unsent: BTreeSet::new(),
            writes: true,
            opens: Ok(()),
            connections: 0,
            calls: 0,
        };
        bench.input(Input::Attached { process: W3SVC });
        bench.set_up();
        bench
    }

    /// With one worker that will take many requests.
    pub(super) fn with_worker(self) -> Bench {
        let mut bench = self.without_worker();
        bench.worker(W3WP, 1000);
        bench
    }
}

pub(super) struct Bench {
    pub(super) machine: HttpSys,
    pub(super) setup: Setup,
    pub(super) now: Instant,
    pub(super) facts: Vec<Fact>,
    pub(super) logs: Vec<LogEntry>,
    wires: BTreeMap<ConnectionId, Vec<u8>>,
    closed: BTreeMap<ConnectionId, CloseHow>,
    completions: BTreeMap<ProcessId, VecDeque<Completion>>,
    pub(super) listening: BTreeSet<Endpoint>,
    pub(super) reading: BTreeMap<ConnectionId, bool>,
    unsent: BTreeSet<ConnectionId>,
    /// Whether clients take what is sent at once.
    pub(super) writes: bool,
    /// What comes of opening a socket.
    pub(super) opens: Result<(), Win32Error>,
    connections: u64,
    calls: u32,
}

impl Bench {
    pub(super) fn set_up(&mut self) {
        let Setup { queue, group, .. } = self.setup.clone();
        self.control(
            W3SVC,
            ControlCall::CreateRequestQueue {
                name: pool(),
                properties: queue,
            },
        )
        .unwrap();
        self.control(
            W3SVC,
            ControlCall::CreateUrlGroup {
                group: SITE_1,
                properties: Box::new(group),
            },
        )
        .unwrap();
        self.add_url(SITE_1, "http://*:80/").unwrap();
    }

    pub(super) fn input(&mut self, input: Input<'_>) {
        self.machine.handle_input(input, self.now);
        self.poll();
    }

    fn poll(&mut self) {
        while let Some(output) = self.machine.poll_output() {
            match output {
                Output::Listen { endpoint } => {
                    self.listening.insert(endpoint);
                }
                Output::Unlisten { endpoint } => {
                    assert!(self.listening.remove(&endpoint), "it was listening");
                }
                Output::Send { connection, bytes } => {
                    assert!(!self.closed.contains_key(&connection), "sent after close");
                    self.wires
                        .entry(connection)
                        .or_default()
                        .extend_from_slice(&bytes);
                    self.unsent.insert(connection);
                }
                Output::Reading { connection, paused } => {
                    self.reading.insert(connection, !paused);
                }
                Output::Close { connection, how } => {
                    let before = self.closed.insert(connection, how);
                    assert_eq!(before, None, "a connection is closed once");
                    self.unsent.remove(&connection);
                }
                Output::Complete { to, completion } => {
                    self.completions
                        .entry(to)
                        .or_default()
                        .push_back(completion);
                }
                Output::Log(entry) => self.logs.push(entry),
                Output::QueryCounters { .. } => {}
                Output::Fact(fact) => self.facts.push(fact),
            }
        }
        if self.writes {
            while let Some(connection) = self.unsent.pop_first() {
                self.input(Input::Sent { connection });
            }
        }
    }

    /// Clients take everything that was sent so far.
    pub(super) fn write_all(&mut self) {
        while let Some(connection) = self.unsent.pop_first() {
            self.input(Input::Sent { connection });
        }
    }

    pub(super) fn wait(&mut self, span: core::time::Duration) {
        let until = self.now + span;
        while let Some(deadline) = self.machine.next_deadline().filter(|d| d.at <= until) {
            self.now = self.now.max(deadline.at);
            self.machine.handle_deadline(self.now);
            self.poll();
        }
        self.now = until;
    }

    pub(super) fn wait_seconds(&mut self, seconds: u64) {
        self.wait(core::time::Duration::from_secs(seconds));
    }

    // ── the controller ──

    pub(super) fn control(
        &mut self,
        by: ProcessId,
        call: ControlCall,
    ) -> Result<CallResult, Win32Error> {
        self.calls += 1;
        let id = CallId(self.calls);
        self.input(Input::Called {
            by,
            call: Call::Control { id, call },
        });
        let opening: Vec<Endpoint> = self.listening.iter().copied().collect();
        for endpoint in opening {
            if self.opens.is_err() {
                self.listening.remove(&endpoint);
            }
            self.input(Input::Listening {
                endpoint,
                result: self.opens,
            });
        }
        self.result_of(by, id).expect("a control call is answered")
    }

    fn result_of(&mut self, by: ProcessId, id: CallId) -> Option<Result<CallResult, Win32Error>> {
        let inbox = self.completions.get_mut(&by)?;
        let at = inbox
            .iter()
            .position(|c| matches!(c, Completion::Called { id: called, .. } if *called == id))?;
        match inbox.remove(at) {
            Some(Completion::Called { result, .. }) => Some(result),
            _ => None,
        }
    }

    pub(super) fn add_url(&mut self, group: UrlGroupId, url: &str) -> Result<(), Win32Error> {
        let call = ControlCall::AddUrl {
            group,
            url: url.into(),
            context: UrlContext(7),
        };
        self.control(W3SVC, call).map(|_| ())
    }

    pub(super) fn queue_state(&mut self, state: QueueState) {
        self.setup.queue.state = state;
        let properties = self.setup.queue.clone();
        let call = ControlCall::SetRequestQueueProperties {
            queue: pool(),
            properties,
        };
        self.control(W3SVC, call).unwrap();
    }

    pub(super) fn wait_for_demand_start(&mut self) -> Result<(), Win32Error> {
        self.control(W3SVC, ControlCall::WaitForDemandStart { queue: pool() })
            .map(|_| ())
    }

    pub(super) fn demand_starts(&mut self) -> usize {
        let inbox = self.completions.entry(W3SVC).or_default();
        let before = inbox.len();
        inbox.retain(|c| !matches!(c, Completion::DemandStart { .. }));
        before - inbox.len()
    }

    // ── workers ──

    /// A worker attaches to the pool's queue and posts receives.
    pub(super) fn worker(&mut self, process: ProcessId, credits: u32) {
        self.input(Input::Attached { process });
        self.control(process, ControlCall::OpenRequestQueue { name: pool() })
            .unwrap();
        self.call(process, Call::ReceiveRequest { credits });
    }

    pub(super) fn call(&mut self, by: ProcessId, call: Call) {
        self.input(Input::Called { by, call });
    }

    /// The next request that was delivered to the process.
    pub(super) fn receive(&mut self, process: ProcessId) -> Option<SharedRequest> {
        let inbox = self.completions.get_mut(&process)?;
        let at = inbox
            .iter()
            .position(|c| matches!(c, Completion::Request(_)))?;
        match inbox.remove(at) {
            Some(Completion::Request(request)) => Some(request),
            _ => None,
        }
    }

    pub(super) fn next_completion(&mut self, process: ProcessId) -> Option<Completion> {
        self.completions.get_mut(&process)?.pop_front()
    }

    pub(super) fn respond(&mut self, by: ProcessId, request: RequestId, response: Response) {
        self.call(
            by,
            Call::SendResponse {
                request,
                response,
                more: false,
            },
        );
    }

    /// The worker answers its next request with that page.
    pub(super) fn answer(&mut self, by: ProcessId, response: Response) -> SharedRequest {
        let request = self.receive(by).expect("a request was delivered");
        self.respond(by, request.id, response);
        request
    }

    // ── clients ──

    pub(super) fn connect(&mut self) -> ConnectionId {
        self.connect_to(PORT_80)
    }

    /// A client connects to the server's address, as that endpoint's.
    pub(super) fn connect_to(&mut self, endpoint: Endpoint) -> ConnectionId {
        self.connections += 1;
        let connection = ConnectionId(self.connections);
        let ends = Ends {
            client: "192.0.2.1:50000".parse().unwrap(),
            local: "192.0.2.80:80".parse().unwrap(),
        };
        self.input(Input::Opened {
            connection,
            endpoint,
            ends,
        });
        connection
    }

    pub(super) fn say(&mut self, connection: ConnectionId, text: &str) {
        self.input(Input::Received {
            connection,
            bytes: text.as_bytes(),
        });
    }

    pub(super) fn get(&mut self, connection: ConnectionId, path: &str) {
        self.say(
            connection,
            &format!("GET {path} HTTP/1.1\r\nHost: www.example.com\r\n\r\n"),
        );
    }

    /// A new client asks for a path.
    pub(super) fn request(&mut self, path: &str) -> ConnectionId {
        let connection = self.connect();
        self.get(connection, path);
        connection
    }

    pub(super) fn requests(&mut self, count: usize) -> Vec<ConnectionId> {
        (0..count).map(|_| self.request("/")).collect()
    }

    /// What the client has got since it was last asked.
    pub(super) fn heard(&mut self, connection: ConnectionId) -> String {
        let bytes = self.wires.remove(&connection).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    pub(super) fn status(&mut self, connection: ConnectionId) -> Option<u16> {
        self.heard(connection).get(9..12)?.parse().ok()
    }

    pub(super) fn closed(&self, connection: ConnectionId) -> Option<CloseHow> {
        self.closed.get(&connection).copied()
    }

    // ── the books ──

    /// The reasons of refusals and drops, in order.
    pub(super) fn reasons(&self) -> Vec<ReasonPhrase> {
        let reason = |fact: &Fact| match fact {
            Fact::FastResp { reason, .. } | Fact::Dropped { reason, .. } => Some(*reason),
            _ => None,
        };
        self.facts.iter().filter_map(reason).collect()
    }

    /// The lines of the error log: status and reason.
    pub(super) fn error_log(&self) -> Vec<(Option<u16>, ReasonPhrase)> {
        let line = |entry: &LogEntry| match entry {
            LogEntry::HttpErr(record) => Some((record.status, record.reason)),
            LogEntry::W3c(_) => None,
        };
        self.logs.iter().filter_map(line).collect()
    }

    /// The lines of the site's log: status and win32 status.
    pub(super) fn site_log(&self) -> Vec<(u16, u32)> {
        let line = |entry: &LogEntry| match entry {
            LogEntry::W3c(record) => Some((record.status, record.win32_status)),
            LogEntry::HttpErr(_) => None,
        };
        self.logs.iter().filter_map(line).collect()
    }

    pub(super) fn count(&self, is_it: impl Fn(&Fact) -> bool) -> usize {
        self.facts.iter().filter(|fact| is_it(fact)).count()
    }
}

/// A page that a worker answers with.
pub(super) fn page(body: &str) -> Response {
    Response {
        status: 200,
        headers: Bytes::from_static(b"Content-Type: text/html\r\n"),
        body: Bytes::copy_from_slice(body.as_bytes()),
        cache_policy: CachePolicy::Nocache,
        log: Some(LogData::default()),
        disconnect: false,
    }
}

/// A page that the driver may keep.
pub(super) fn cacheable(body: &str) -> Response {
    Response {
        cache_policy: CachePolicy::UserInvalidates,
        ..page(body)
    }
}

/// A page with those header lines.
pub(super) fn with_headers(headers: &str, body: &str) -> Response {
    Response {
        headers: Bytes::copy_from_slice(headers.as_bytes()),
        ..page(body)
    }
}
