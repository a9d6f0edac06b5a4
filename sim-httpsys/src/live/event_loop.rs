//! The event loop: one thread, one machine.
//!
//! ```text
//!            ┌────────────────────────── a turn ───────────────────────────┐
//!   epoll ──►│ read what is ready ─► machine ─► bytes and frames are queued │
//!            │ trace ─► one write per process ─► one write per connection   │
//!            │ what was sent in full ─► machine ─► … until nothing is dirty │
//!            └──────────────────────────────────────────────────────────────┘
//! ```
//!
//! Waking another process is what costs, so everybody is written to once a turn. What is left out:
//! more threads; and holding back a client that sends more than the machine asked for.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::time::Duration;

use mio::event::Event;
use mio::{Interest, Poll, Token};

use super::clock::clock_now;
use super::connection::{Connections, Phase, Received, Writing, reset};
use super::device::{Device, Process};
use super::endpoints::{Accepted, ENDPOINT, Endpoints};
use super::log_files::LogFiles;
use super::tls::{Tls, TlsConfigurations};
use super::trace::Trace;
use crate::api::{CallResult, Completion, ConnectionId, Endpoint, Ends, ProcessId, Win32Error};
use crate::clockwork::{Deadlines, Instant, StateMachine};
use crate::counters::Counters;
use crate::model::{CloseHow, Input, Output};

mod processes;
mod sending;

/// Bytes that one read may bring.
const READ_MAX: usize = 64 << 10;

/// Reads from one connection or process before it is the others' turn.
const READS_MAX: usize = 4;

/// Connections accepted before it is the others' turn.
const ACCEPTS_MAX: usize = 256;

const ENDED: Token = Token(0);
const DEVICE: Token = Token(1);
/// Tokens with this bit are process ids. All others are connection ids.
const PROCESS: usize = 1 << 63;

/// Who is to be read from again without being told by epoll.
#[derive(Clone, Copy, Debug)]
enum Again {
    Connection(ConnectionId),
    Process(ProcessId),
    Endpoint(usize),
}

/// The machine and everything that it is connected to.
pub(super) struct EventLoop<M> {
    pub(super) machine: M,
    pub(super) poll: Poll,
    pub(super) now: Instant,
    pub(super) connections: Connections,
    pub(super) processes: BTreeMap<ProcessId, Process>,
    pub(super) endpoints: Endpoints,
    pub(super) device: Device,
    /// When processes are let in again, if one could not be: for want of descriptors, mostly.
    pub(super) attach_due: Option<Instant>,
    pub(super) tls: TlsConfigurations,
    pub(super) logs: LogFiles,
    pub(super) trace: Option<Trace>,
    pub(super) counters: Counters,
    /// Connections that the machine has let go of, and how long they may still take.
    pub(super) leaving: Deadlines<ConnectionId>,
    /// When it is looked again whether a client has taken what was written to it.
    pub(super) looks: Deadlines<ConnectionId>,
    pub(super) lists: Lists,
    pub(super) buffer: Box<[u8]>,
}

/// What is left to do in this turn or the next.
#[derive(Debug, Default)]
pub(super) struct Lists {
    dirty_connections: Vec<ConnectionId>,
    dirty_processes: Vec<ProcessId>,
    again: Vec<Again>,
    listened: Vec<(Endpoint, Result<(), Win32Error>)>,
    sent: Vec<ConnectionId>,
}

/// A buffer for everybody's reads.
pub(super) fn read_buffer() -> Box<[u8]> {
    vec![0; READ_MAX].into()
}

impl<M> EventLoop<M>
where
    M: for<'a> StateMachine<Input<'a> = Input<'a>, Output = Output>,
{
    /// Turns until `ended` becomes readable.
    pub(super) fn run(&mut self, ended: std::os::unix::net::UnixStream) -> io::Result<()> {
        let mut ended = mio::net::UnixStream::from_std(ended);
        self.poll
            .registry()
            .register(&mut ended, ENDED, Interest::READABLE)?;
        let registry = self.poll.registry();
        registry.register(&mut self.device.listener, DEVICE, Interest::READABLE)?;
        let mut events = mio::Events::with_capacity(1024);
        loop {
            match self.poll.poll(&mut events, self.patience()) {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            }
            self.now = clock_now();
            for event in &events {
                if event.token() == ENDED && ended.read(&mut [0; 8]).is_ok() {
                    return Ok(());
                }
                self.on_event(event);
            }
            self.read_again();
            self.on_deadlines();
            self.finish_turn();
        }
    }

    /// How long nothing has to be done. (mio rounds it up, so that a deadline is due when it wakes.)
    fn patience(&self) -> Option<Duration> {
        if !self.lists.again.is_empty() {
            return Some(Duration::ZERO);
        }
        let machine = self.machine.next_deadline().map(|deadline| deadline.at);
        let leaving = self.leaving.next().map(|deadline| deadline.at);
        let files = [self.logs.flush_due(), self.endpoints.publish_due()];
        let looks = self.looks.next().map(|deadline| deadline.at);
        let next = [machine, leaving, looks, self.attach_due];
        let next = next.into_iter().chain(files);
        let next = next.flatten().min()?;
        Some(next.saturating_since(clock_now()))
    }

    fn on_event(&mut self, event: &Event) {
        let token = event.token();
        if token == DEVICE {
            self.attach();
        } else if token.0 & PROCESS != 0 {
            let process = ProcessId(u32::try_from(token.0 & !PROCESS).unwrap_or(u32::MAX));
            if event.is_writable() {
                self.touch_process(process);
            }
            let ended = event.is_read_closed() || event.is_error();
            if event.is_readable() || ended {
                self.hear(process, ended);
            }
        } else if token.0 & ENDPOINT != 0 {
            self.accept(token.0 & !ENDPOINT);
        } else {
            self.on_connection_event(ConnectionId(token.0 as u64), event);
        }
    }

    fn on_connection_event(&mut self, id: ConnectionId, event: &Event) {
        let Some(connection) = self.connections.find(id) else {
            return;
        };
        if event.is_writable() && connection.writing == Writing::Blocked {
            connection.writing = Writing::Idle;
            self.touch(id);
        }
        if event.is_error() {
            let Some(connection) = self.connections.find(id) else {
                return;
            };
            if let Ok(Some(_)) = connection.socket.take_error() {
                self.lost(id);
                return;
            }
        }
        if event.is_readable() || event.is_read_closed() {
            if let Some(connection) = self.connections.find(id) {
                connection.ended |= event.is_read_closed();
            }
            self.receive(id);
        }
    }

    fn read_again(&mut self) {
        for again in std::mem::take(&mut self.lists.again) {
            match again {
                Again::Connection(id) => self.receive(id),
                Again::Process(process) => self.hear(process, false),
                Again::Endpoint(slot) => self.accept(slot),
            }
        }
    }

    fn on_deadlines(&mut self) {
        while self
            .machine
            .next_deadline()
            .is_some_and(|deadline| deadline.at <= self.now)
        {
            self.machine.handle_deadline(self.now);
            self.perform_all();
        }
        self.on_sending_deadlines();
        if self.attach_due.is_some_and(|due| due <= self.now) {
            self.attach();
        }
        self.logs.flush_if_due(self.now);
        self.endpoints.publish_if_due(self.now);
    }

    fn tell(&mut self, input: Input<'_>) {
        self.machine.handle_input(input, self.now);
        self.perform_all();
    }

    /// Does what the machine wants done, until it wants nothing more.
    fn perform_all(&mut self) {
        loop {
            while let Some(output) = self.machine.poll_output() {
                self.perform(output);
            }
            if self.lists.listened.is_empty() {
                return;
            }
            let (endpoint, result) = self.lists.listened.remove(0);
            self.machine
                .handle_input(Input::Listening { endpoint, result }, self.now);
        }
    }

    fn perform(&mut self, output: Output) {
        match output {
            Output::Listen { endpoint } => {
                let result = self.endpoints.open(endpoint, self.poll.registry());
                self.lists.listened.push((endpoint, result));
            }
            Output::Unlisten { endpoint } => self.endpoints.close(endpoint, self.poll.registry()),
            Output::Send {
                connection: id,
                bytes,
            } => {
                if let Some(connection) = self.connections.find(id) {
                    connection.queue(bytes);
                    self.touch(id);
                }
            }
            Output::Reading {
                connection: id,
                paused,
            } => {
                if let Some(connection) = self.connections.find(id) {
                    connection.paused = paused;
                    if !paused {
                        // What arrived meanwhile is no news to epoll.
                        self.lists.again.push(Again::Connection(id));
                    }
                }
            }
            Output::Close {
                connection: id,
                how: CloseHow::AfterSending,
            } => {
                self.take_leave(id);
            }
            Output::Close {
                connection: id,
                how: CloseHow::Reset,
            } => {
                if let Some(connection) = self.connections.remove(id) {
                    reset(&connection.socket);
                }
            }
            Output::Complete { to, completion } => {
                if let Some(process) = self.processes.get_mut(&to) {
                    process.tell(&completion);
                    self.touch_process(to);
                }
            }
            Output::QueryCounters { by, call } => {
                let snapshot = self.counters.snapshot(self.now);
                if let Some(process) = self.processes.get_mut(&by) {
                    let result = Ok(CallResult::Counters(Box::new(snapshot)));
                    process.tell(&Completion::Called { id: call, result });
                    self.touch_process(by);
                }
            }
            Output::Log(entry) => self.logs.write(&entry, self.now),
            Output::Fact(fact) => {
                self.counters.record(&fact, self.now);
                if let Some(trace) = &mut self.trace {
                    trace.record(self.now, fact);
                }
            }
        }
    }
}

/// Connections.
impl<M> EventLoop<M>
where
    M: for<'a> StateMachine<Input<'a> = Input<'a>, Output = Output>,
{
    fn accept(&mut self, slot: usize) {
        for _ in 0..ACCEPTS_MAX {
            match self.endpoints.accept(slot) {
                Ok(Some(accepted)) => self.open(accepted),
                Ok(None) => return,
                Err(error) => {
                    tracing::warn!(%error, "accepting a connection failed");
                    return;
                }
            }
        }
        self.lists.again.push(Again::Endpoint(slot));
    }

    fn open(&mut self, accepted: Accepted) {
        let Accepted {
            endpoint,
            socket,
            client,
            local,
        } = accepted;
        let tls = endpoint.secure.then(|| Tls::new(self.tls.of(local)));
        let tls = match tls.transpose() {
            Ok(tls) => tls,
            Err(error) => {
                tracing::warn!(%error, "a connection is turned away");
                return;
            }
        };
        let connection = match self.connections.insert(socket, tls) {
            Ok(connection) => connection,
            Err(socket) => {
                reset(&socket);
                return;
            }
        };
        let id = connection.id;
        let token = Token(usize::try_from(id.0).expect("a usize has 64 bits"));
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = self
            .poll
            .registry()
            .register(&mut connection.socket, token, interest)
        {
            tracing::warn!(%error, "a connection cannot be watched");
            self.connections.remove(id);
            return;
        }
        self.tell(Input::Opened {
            connection: id,
            endpoint,
            ends: Ends { client, local },
        });
    }

    /// Reads from a connection; until the end of the stream if that is known to have come.
    fn receive(&mut self, id: ConnectionId) {
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut again = true;
        for _ in 0..READS_MAX {
            again = self.receive_once(id, &mut buffer);
            if !again {
                break;
            }
        }
        self.buffer = buffer;
        if again {
            self.lists.again.push(Again::Connection(id));
        }
        if self
            .connections
            .find(id)
            .is_some_and(|connection| connection.wants_write() || connection.owed)
        {
            self.touch(id);
        }
    }

    /// Whether there may be more.
    fn receive_once(&mut self, id: ConnectionId, buffer: &mut [u8]) -> bool {
        let Some(connection) = self.connections.find(id) else {
            return false;
        };
        let (phase, to_the_end) = (connection.phase, connection.ended);
        if connection.paused && phase == Phase::Open {
            return false;
        }
        match (phase, connection.receive(buffer)) {
            (Phase::Open, Received::Bytes { length, more }) => {
                if length > 0 {
                    self.tell(Input::Received {
                        connection: id,
                        bytes: &buffer[..length],
                    });
                }
                more || to_the_end
            }
            (Phase::Open, Received::Secured { resumed }) => {
                self.tell(Input::Secured {
                    connection: id,
                    resumed,
                });
                true
            }
            (Phase::Open, Received::Fin) => {
                connection.phase = Phase::HalfClosed;
                self.tell(Input::HalfClosed { connection: id });
                false
            }
            // Nothing comes after FIN.
            (_, Received::Nothing)
            | (Phase::Closing, Received::Fin)
            | (
                Phase::HalfClosed,
                Received::Fin | Received::Bytes { .. } | Received::Secured { .. },
            ) => false,
            (Phase::Closing | Phase::Finishing | Phase::Draining, Received::Bytes { more, .. }) => {
                more || to_the_end
            }
            (Phase::Closing | Phase::Finishing | Phase::Draining, Received::Secured { .. }) => true,
            // A client that has said all may still read.
            (Phase::Finishing, Received::Fin) if !connection.is_acknowledged() => false,
            (Phase::Finishing | Phase::Draining, Received::Fin) => {
                self.forget(id);
                false
            }
            (_, Received::Reset) => {
                self.lost(id);
                false
            }
        }
    }

    /// Puts a connection on the list of those to write to.
    fn touch(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.find(id)
            && connection.writing == Writing::Idle
        {
            connection.writing = Writing::Dirty;
            self.lists.dirty_connections.push(id);
        }
    }

    /// Writes to everybody that something waits for, until nothing does.
    fn finish_turn(&mut self) {
        loop {
            if let Some(trace) = &mut self.trace {
                trace.flush();
            }
            let Lists {
                dirty_connections,
                dirty_processes,
                ..
            } = &self.lists;
            if dirty_connections.is_empty() && dirty_processes.is_empty() {
                return;
            }
            // Processes first: they work while we write to clients.
            let mut processes = std::mem::take(&mut self.lists.dirty_processes);
            for process in processes.drain(..) {
                self.flush_process(process);
            }
            let mut connections = std::mem::take(&mut self.lists.dirty_connections);
            for id in connections.drain(..) {
                self.flush_connection(id);
            }
            self.now = clock_now();
            let mut sent = std::mem::take(&mut self.lists.sent);
            for id in sent.drain(..) {
                self.tell(Input::Sent { connection: id });
            }
            // Keep the allocations for the next turn.
            let lists = &mut self.lists;
            lists.sent = sent;
            keep(&mut lists.dirty_connections, connections);
            keep(&mut lists.dirty_processes, processes);
        }
    }
}

/// Puts an emptied list back where its successor is empty too.
fn keep<T>(list: &mut Vec<T>, emptied: Vec<T>) {
    if list.capacity() == 0 {
        *list = emptied;
    }
}

#[cfg(test)]
mod tests;
