//! The request queue of HTTP.sys as the line of a station.
//!
//! The whole driver runs: a customer is a client that sends a request on a connection of its own, the
//! servers are the receives that one worker process keeps posted, a full queue is a 503.

use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;
use iis_sim::virtual_world::station::{Offered, Served, WaitingLine};
use sim_httpsys::api::{
    CachePolicy, Call, CallId, CallResult, Completion, ConnectionId, ControlCall, Endpoint, Ends,
    ProcessId, QueueState, RequestId, RequestQueueName, RequestQueueProperties, Response,
    ResponseVerbosity, SiteId, Timeouts, UrlContext, UrlGroupId, UrlGroupProperties,
};
use sim_httpsys::clockwork::{Instant, StateMachine as _, UtcClock, UtcTime};
use sim_httpsys::model::{HttpSys, Input, Output, Parameters};

const W3SVC: ProcessId = ProcessId(1);
const W3WP: ProcessId = ProcessId(100);
const PORT_80: Endpoint = Endpoint {
    address: None,
    port: 80,
    secure: false,
};
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: www.example.com\r\n\r\n";

/// A driver with one pool and one worker.
pub(crate) struct HttpSysLine {
    driver: HttpSys,
    connections: u64,
    /// Connections that are kept alive and wait for their next client.
    idle: Vec<ConnectionId>,
    /// By number of the service: the request, and its connection.
    services: Vec<(RequestId, ConnectionId)>,
    free: Vec<u32>,
}

/// What the driver has said since it was last asked.
#[derive(Default)]
struct Said {
    served: Option<Served>,
    refused: bool,
}

impl HttpSysLine {
    /// A worker that takes `servers` requests at once, behind a queue for `places` (0 for no limit).
    pub(crate) fn new(servers: u32, places: u32) -> Self {
        let clock = UtcClock {
            switched_on: UtcTime(784_111_777_000_000_000),
        };
        let mut line = Self {
            driver: HttpSys::new(Parameters::default(), clock),
            connections: 0,
            idle: Vec::new(),
            services: Vec::new(),
            free: Vec::new(),
        };
        let now = Instant::SWITCHED_ON;
        let pool = RequestQueueName("DefaultAppPool".into());
        line.driver
            .handle_input(Input::Attached { process: W3SVC }, now);
        line.control(
            W3SVC,
            ControlCall::CreateRequestQueue {
                name: pool.clone(),
                properties: RequestQueueProperties {
                    length: places,
                    verbosity: ResponseVerbosity::Limited,
                    state: QueueState::Active,
                },
            },
        );
        line.control(
            W3SVC,
            ControlCall::CreateUrlGroup {
                group: UrlGroupId(1),
                properties: Box::new(UrlGroupProperties {
                    queue: pool.clone(),
                    site: SiteId(1),
                    connections_max: None,
                    url_segments_max: 32,
                    timeouts: Timeouts::default(),
                    log: None,
                }),
            },
        );
        line.control(
            W3SVC,
            ControlCall::AddUrl {
                group: UrlGroupId(1),
                url: "http://*:80/".into(),
                context: UrlContext(1),
            },
        );
        line.driver
            .handle_input(Input::Attached { process: W3WP }, now);
        line.control(W3WP, ControlCall::OpenRequestQueue { name: pool });
        line.call(Call::ReceiveRequest { credits: servers }, now);
        line.said(now);
        line
    }

    fn control(&mut self, by: ProcessId, call: ControlCall) {
        let now = Instant::SWITCHED_ON;
        let call = Call::Control {
            id: CallId(1),
            call,
        };
        self.driver.handle_input(Input::Called { by, call }, now);
        let mut done = false;
        while let Some(output) = self.driver.poll_output() {
            match output {
                Output::Listen { endpoint } => self.driver.handle_input(
                    Input::Listening {
                        endpoint,
                        result: Ok(()),
                    },
                    now,
                ),
                Output::Complete {
                    completion: Completion::Called { result, .. },
                    ..
                } => {
                    assert_eq!(result, Ok(CallResult::Done));
                    done = true;
                }
                Output::Complete { .. }
                | Output::Unlisten { .. }
                | Output::Send { .. }
                | Output::Reading { .. }
                | Output::Close { .. }
                | Output::Log(_)
                | Output::QueryCounters { .. }
                | Output::Fact(_) => {}
            }
        }
        assert!(done, "a control call is answered");
    }

    fn call(&mut self, call: Call, now: Instant) {
        self.driver
            .handle_input(Input::Called { by: W3WP, call }, now);
    }

    fn said(&mut self, now: Instant) -> Said {
        let mut said = Said::default();
        while let Some(output) = self.driver.poll_output() {
            match output {
                Output::Complete { completion, .. } => match completion {
                    Completion::Request(request) => {
                        assert!(said.served.is_none(), "one receive takes one request");
                        let service = self.free.pop().unwrap_or_else(|| {
                            self.services.push((RequestId(0), ConnectionId(0)));
                            u32::try_from(self.services.len() - 1).expect("a few services")
                        });
                        self.services[service as usize] = (request.id, request.connection);
                        let arrived = request.received;
                        said.served = Some(Served { service, arrived });
                    }
                    other @ (Completion::Called { .. }
                    | Completion::EntityBody { .. }
                    | Completion::Disconnected { .. }
                    | Completion::DemandStart { .. }
                    | Completion::Untrusted { .. }) => panic!("unexpected: {other:?}"),
                },
                Output::Send { connection, bytes } => {
                    said.refused |= bytes.starts_with(b"HTTP/1.1 503 ");
                    self.driver.handle_input(Input::Sent { connection }, now);
                }
                Output::Close { connection, .. } => self.idle.retain(|id| *id != connection),
                Output::Listen { .. }
                | Output::Unlisten { .. }
                | Output::Reading { .. }
                | Output::Log(_)
                | Output::QueryCounters { .. }
                | Output::Fact(_) => {}
            }
        }
        said
    }

    fn connect(&mut self, now: Instant) -> ConnectionId {
        self.connections += 1;
        let connection = ConnectionId(self.connections);
        let ends = Ends {
            client: SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), 50_000)),
            local: SocketAddr::from((Ipv4Addr::new(192, 0, 2, 80), 80)),
        };
        self.driver.handle_input(
            Input::Opened {
                connection,
                endpoint: PORT_80,
                ends,
            },
            now,
        );
        connection
    }
}

impl WaitingLine for HttpSysLine {
    fn arrive(&mut self, now: Instant) -> Offered {
        while self
            .driver
            .next_deadline()
            .is_some_and(|deadline| deadline.at <= now)
        {
            self.driver.handle_deadline(now);
            self.said(now);
        }
        let connection = match self.idle.pop() {
            Some(idle) => idle,
            None => self.connect(now),
        };
        self.driver.handle_input(
            Input::Received {
                connection,
                bytes: REQUEST,
            },
            now,
        );
        match self.said(now) {
            Said { refused: true, .. } => Offered::Refused,
            Said {
                served: Some(served),
                ..
            } => Offered::Served(served),
            Said { served: None, .. } => Offered::Waits,
        }
    }

    fn done(&mut self, service: u32, now: Instant) -> Option<Served> {
        let (request, connection) = self.services[service as usize];
        let response = Response {
            status: 200,
            headers: Bytes::from_static(b"Content-Type: text/plain\r\n"),
            body: Bytes::from_static(b"done"),
            cache_policy: CachePolicy::Nocache,
            log: None,
            disconnect: false,
        };
        self.free.push(service);
        self.call(
            Call::SendResponse {
                request,
                response,
                more: false,
            },
            now,
        );
        self.idle.push(connection);
        let said = self.said(now);
        assert!(said.served.is_none(), "no receive was pending");
        self.call(Call::ReceiveRequest { credits: 1 }, now);
        self.said(now).served
    }
}
