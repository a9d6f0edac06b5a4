//! A driver with one site and one worker, and the request and response that every bench uses.
#![allow(dead_code, reason = "every bench uses a part of it")]
#![allow(
    clippy::allow_attributes,
    reason = "what is dead differs from bench to bench"
)]

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use sim_httpsys::api::{
    CachePolicy, Call, CallId, Completion, ConnectionId, ControlCall, Endpoint, Ends, LogData,
    LogSettings, ProcessId, QueueState, RequestId, RequestQueueName, RequestQueueProperties,
    Response, ResponseVerbosity, SharedRequest, SiteId, Timeouts, UrlContext, UrlGroupId,
    UrlGroupProperties,
};
use sim_httpsys::clockwork::{Instant, StateMachine as _, UtcClock, UtcTime};
use sim_httpsys::logging::LogEntry;
use sim_httpsys::model::{HttpSys, Input, Output, Parameters};

/// A request of about 300 B, as a browser sends it.
pub(crate) const REQUEST: &[u8] = b"GET /default.aspx?id=7 HTTP/1.1\r\n\
Host: 127.0.0.1:8080\r\n\
User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Peers/1.0\r\n\
Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8\r\n\
Accept-Language: en-GB,en;q=0.8,de;q=0.5\r\n\
\r\n";

const BODY: &[u8] = &[b'x'; 1024];
const CONTROLLER: ProcessId = ProcessId(1);
const WORKER: ProcessId = ProcessId(2);
const CLIENT: ConnectionId = ConnectionId(1);
/// How much time passes between two inputs.
const TICK: Duration = Duration::from_micros(10);

/// A worker's response with 1 KiB of body.
pub(crate) fn response(cache_policy: CachePolicy, log: bool) -> Response {
    Response {
        status: 200,
        headers: Bytes::from_static(b"Content-Type: text/html\r\nX-Powered-By: ASP.NET\r\n"),
        body: Bytes::from_static(BODY),
        cache_policy,
        log: log.then(LogData::default),
        disconnect: false,
    }
}

/// How a site logs that logs.
pub(crate) fn log_settings() -> LogSettings {
    LogSettings::daily("W3SVC1".to_owned())
}

/// The driver, with everything around it reduced to calls.
#[derive(Debug)]
pub(crate) struct Stage {
    machine: HttpSys,
    now: Instant,
    log: bool,
}

impl Stage {
    /// A site at `http://*:80/`, a worker with receives posted, a client connected.
    pub(crate) fn new(log: bool) -> Self {
        let clock = UtcClock {
            switched_on: UtcTime(1_700_000_000_000_000_000),
        };
        let machine = HttpSys::new(Parameters::default(), clock);
        let mut stage = Self {
            machine,
            now: Instant(1_000_000_000),
            log,
        };
        stage.set_up();
        stage.connect();
        stage
    }

    /// A GET through parser, routing and queue to the worker.
    pub(crate) fn receive(&mut self) -> SharedRequest {
        self.input(Input::Received {
            connection: CLIENT,
            bytes: REQUEST,
        });
        let mut received = None;
        while let Some(output) = self.machine.poll_output() {
            if let Output::Complete {
                completion: Completion::Request(request),
                ..
            } = output
            {
                received = Some(request);
            }
        }
        received.expect("the worker has receives posted")
    }

    /// The worker's response back to the client, until it is sent and logged.
    pub(crate) fn respond(&mut self, request: RequestId, cache_policy: CachePolicy) {
        let response = response(cache_policy, self.log);
        self.call(
            WORKER,
            Call::SendResponse {
                request,
                response,
                more: false,
            },
        );
        self.sent();
        self.call(WORKER, Call::ReceiveRequest { credits: 1 });
        self.drain();
    }

    /// A GET that the response cache answers.
    pub(crate) fn hit(&mut self) -> Bytes {
        self.input(Input::Received {
            connection: CLIENT,
            bytes: REQUEST,
        });
        self.sent().expect("the response cache answers at once")
    }

    /// Hands on what is sent, and says that it was.
    fn sent(&mut self) -> Option<Bytes> {
        let mut sent = None;
        while let Some(output) = self.machine.poll_output() {
            if let Output::Send { bytes, .. } = output {
                sent = Some(bytes);
            }
        }
        self.input(Input::Sent { connection: CLIENT });
        self.drain();
        sent
    }

    /// The log line of one answered request.
    pub(crate) fn log_entry(&mut self) -> LogEntry {
        let request = self.receive().id;
        let response = response(CachePolicy::Nocache, true);
        self.call(
            WORKER,
            Call::SendResponse {
                request,
                response,
                more: false,
            },
        );
        let mut outputs: Vec<Output> = std::iter::from_fn(|| self.machine.poll_output()).collect();
        self.input(Input::Sent { connection: CLIENT });
        outputs.extend(std::iter::from_fn(|| self.machine.poll_output()));
        let log = |output| {
            if let Output::Log(entry) = output {
                Some(entry)
            } else {
                None
            }
        };
        outputs
            .into_iter()
            .find_map(log)
            .expect("an answered request is logged")
    }

    fn input(&mut self, input: Input<'_>) {
        self.now += TICK;
        self.machine.handle_input(input, self.now);
    }

    fn call(&mut self, by: ProcessId, call: Call) {
        self.input(Input::Called { by, call });
    }

    fn drain(&mut self) {
        while self.machine.poll_output().is_some() {}
    }

    fn control(&mut self, by: ProcessId, call: ControlCall) {
        self.call(
            by,
            Call::Control {
                id: CallId(0),
                call,
            },
        );
        self.drain();
    }

    fn set_up(&mut self) {
        for process in [CONTROLLER, WORKER] {
            self.input(Input::Attached { process });
        }
        for call in site(self.log.then(log_settings)) {
            self.control(CONTROLLER, call);
        }
        self.input(Input::Listening {
            endpoint: endpoint(),
            result: Ok(()),
        });
        self.control(WORKER, ControlCall::OpenRequestQueue { name: queue() });
        self.call(WORKER, Call::ReceiveRequest { credits: 1000 });
        self.drain();
    }

    fn connect(&mut self) {
        let ends = Ends {
            client: SocketAddr::from(([127, 0, 0, 1], 50_000)),
            local: SocketAddr::from(([127, 0, 0, 1], 80)),
        };
        self.input(Input::Opened {
            connection: CLIENT,
            endpoint: endpoint(),
            ends,
        });
        self.drain();
    }
}

/// The name of the queue.
pub(crate) fn queue() -> RequestQueueName {
    RequestQueueName("DefaultAppPool".to_owned())
}

/// What a controller calls to set up a queue and a site at `http://*:80/`.
pub(crate) fn site(log: Option<LogSettings>) -> [ControlCall; 3] {
    let group = UrlGroupId(1);
    let queue_properties = RequestQueueProperties {
        length: 1000,
        verbosity: ResponseVerbosity::Limited,
        state: QueueState::Active,
    };
    let group_properties = UrlGroupProperties {
        queue: queue(),
        site: SiteId(1),
        connections_max: None,
        url_segments_max: 32,
        timeouts: Timeouts::default(),
        log,
    };
    let (url, context) = ("http://*:80/".to_owned(), UrlContext(1));
    [
        ControlCall::CreateRequestQueue {
            name: queue(),
            properties: queue_properties,
        },
        ControlCall::CreateUrlGroup {
            group,
            properties: Box::new(group_properties),
        },
        ControlCall::AddUrl {
            group,
            url,
            context,
        },
    ]
}

fn endpoint() -> Endpoint {
    Endpoint {
        address: None,
        port: 80,
        secure: false,
    }
}
