//! Every request ends exactly once; queues keep their order and their limit; one holder at most.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use sim_httpsys::api::{ConnectionId, ProcessId, RequestId};
use sim_httpsys::etw::Fact;
use sim_httpsys::model::ReasonPhrase;
use sim_was::config::Configuration;

use super::Verdict;

/// Where a request is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Parsed,
    Queued(String),
    Delivered(ProcessId),
}

/// A process that receives from a queue.
#[derive(Debug)]
struct Receiver {
    queue: String,
    is_shut_down: bool,
}

#[derive(Debug)]
pub(super) struct Requests {
    places: BTreeMap<RequestId, Place>,
    waiting: BTreeMap<String, VecDeque<RequestId>>,
    limits: BTreeMap<String, usize>,
    receivers: BTreeMap<ProcessId, Receiver>,
    connections: BTreeSet<ConnectionId>,
    last_parsed: RequestId,
}

impl Requests {
    pub(super) fn new(configuration: &Configuration) -> Self {
        let limit = |pool: &sim_was::config::ApplicationPool| {
            let length = match pool.queue_length {
                0 => usize::MAX,
                length => length as usize,
            };
            (pool.name.clone(), length)
        };
        Self {
            places: BTreeMap::new(),
            waiting: BTreeMap::new(),
            limits: configuration.application_pools.iter().map(limit).collect(),
            receivers: BTreeMap::new(),
            connections: BTreeSet::new(),
            last_parsed: RequestId(0),
        }
    }

    pub(super) fn take(
        &mut self,
        fact: &Fact,
        sometimes: &mut BTreeMap<&'static str, u64>,
    ) -> Verdict {
        let mut seen = |what: &'static str| *sometimes.entry(what).or_default() += 1;
        match fact {
            Fact::ConnConnect { connection, .. } => {
                if !self.connections.insert(*connection) {
                    return Err(("N1", format!("{connection:?} was opened twice")));
                }
            }
            Fact::ConnCleanup { connection, .. } => {
                if !self.connections.remove(connection) {
                    return Err(("N1", format!("{connection:?} ended, and was not open")));
                }
            }
            Fact::Parse { request, .. } => {
                if *request <= self.last_parsed {
                    return Err(("C1", format!("{request:?} was parsed twice")));
                }
                self.last_parsed = *request;
                self.places.insert(*request, Place::Parsed);
            }
            Fact::Queued { request, queue, .. } => return self.queued(*request, &queue.0),
            Fact::Deliver {
                request,
                process,
                waited,
                ..
            } => {
                if *waited > 1_000_000_000 {
                    seen("a request waited for longer than a second, and was delivered");
                }
                return self.delivered(*request, *process);
            }
            Fact::SendComplete {
                request, process, ..
            } => match self.ended(*request)? {
                Place::Delivered(holder) if holder == *process => {}
                place @ (Place::Parsed | Place::Queued(_) | Place::Delivered(_)) => {
                    let what = format!("{process:?} answered {request:?}, which is {place:?}");
                    return Err(("Q5", what));
                }
            },
            Fact::SrvdFrmCache { request, .. } => {
                seen("a response came from the kernel's cache");
                let place = self.ended(*request)?;
                if place != Place::Parsed {
                    let what = format!("{request:?} came from the cache, and is {place:?}");
                    return Err(("K1", what));
                }
            }
            Fact::FastResp {
                request, reason, ..
            } => {
                self.ended(*request)?;
                let pages = [
                    (ReasonPhrase::QueueFull, "a queue was full"),
                    (
                        ReasonPhrase::AppOffline,
                        "a pool was off by rapid-fail protection",
                    ),
                    (ReasonPhrase::Disabled, "a pool was stopped, and said so"),
                ];
                let known = pages.into_iter().find(|(of, _)| of == reason);
                if let Some((_, what)) = known {
                    seen(what);
                }
            }
            Fact::Dropped { request, .. } => match self.ended(*request)? {
                Place::Delivered(_) => seen("a request was dropped that a worker had"),
                Place::Queued(_) => seen("a request was dropped that waited"),
                Place::Parsed => seen("a request was dropped at once"),
            },
            Fact::ProcessAttach { process, queue } => {
                let queue = queue.0.clone();
                let is_shut_down = false;
                let receiver = Receiver {
                    queue,
                    is_shut_down,
                };
                self.receivers.insert(*process, receiver);
            }
            Fact::ProcessShutdown { process } => {
                if let Some(receiver) = self.receivers.get_mut(process) {
                    receiver.is_shut_down = true;
                }
            }
            Fact::ProcessDetach { process, .. } => {
                self.receivers.remove(process);
                // What it had answered before may still be on its way to the client.
            }
            Fact::DemandStart { .. } => seen("a request asked for a worker"),
            Fact::SslHandshake { .. }
            | Fact::CacheMiss { .. }
            | Fact::ConnError { .. }
            | Fact::CacheInsert { .. }
            | Fact::CacheRemove { .. }
            | Fact::Untrusted { .. }
            | Fact::CreateRequestQueue { .. }
            | Fact::CloseRequestQueue { .. }
            | Fact::AddUrl { .. }
            | Fact::RemoveUrl { .. }
            | Fact::ConnCounted { .. }
            | Fact::EndpointOpen { .. }
            | Fact::EndpointClose { .. } => {}
        }
        Ok(())
    }

    /// Nothing may wait or be with anybody.
    pub(super) fn at_rest(&self) -> Verdict {
        match self.places.iter().next() {
            Some((request, place)) => Err((
                "L1",
                format!(
                    "{} request(s) have not ended, {request:?} is {place:?}",
                    self.places.len()
                ),
            )),
            None => Ok(()),
        }
    }

    fn queued(&mut self, request: RequestId, queue: &str) -> Verdict {
        match self.places.get_mut(&request) {
            Some(place @ Place::Parsed) => *place = Place::Queued(queue.to_owned()),
            other => return Err(("Q5", format!("{request:?} was queued, and is {other:?}"))),
        }
        let waiting = self.waiting.entry(queue.to_owned()).or_default();
        waiting.push_back(request);
        let limit = self.limits.get(queue).copied().unwrap_or(usize::MAX);
        if waiting.len() > limit {
            let what = format!(
                "{} wait in {queue}, and its limit is {limit}",
                waiting.len()
            );
            return Err(("Q1", what));
        }
        Ok(())
    }

    fn delivered(&mut self, request: RequestId, process: ProcessId) -> Verdict {
        let Some(receiver) = self.receivers.get(&process) else {
            return Err((
                "W2",
                format!("{request:?} was delivered to {process:?}, which is not there"),
            ));
        };
        if receiver.is_shut_down {
            let what = format!("{request:?} was delivered to {process:?} after it had shut down");
            return Err(("W2", what));
        }
        let Some(place) = self.places.get_mut(&request) else {
            return Err(("C1", format!("{request:?} was delivered after its end")));
        };
        let waiting = self.waiting.entry(receiver.queue.clone()).or_default();
        match place {
            Place::Parsed => {
                if let Some(first) = waiting.front() {
                    let what = format!("{request:?} was delivered, and {first:?} waits");
                    return Err(("Q2", what));
                }
            }
            Place::Queued(_) => {
                let first = waiting.pop_front();
                if first != Some(request) {
                    let what = format!("{request:?} was delivered, and {first:?} came first");
                    return Err(("Q2", what));
                }
            }
            Place::Delivered(holder) => {
                let what =
                    format!("{request:?} was delivered to {process:?}, and {holder:?} has it");
                return Err(("Q5", what));
            }
        }
        *place = Place::Delivered(process);
        Ok(())
    }

    /// A request has ended; gives where it was.
    fn ended(&mut self, request: RequestId) -> Result<Place, (&'static str, String)> {
        let Some(place) = self.places.remove(&request) else {
            return Err(("C1", format!("{request:?} has ended twice, or never began")));
        };
        if let Place::Queued(queue) = &place
            && let Some(waiting) = self.waiting.get_mut(queue)
        {
            waiting.retain(|other| *other != request);
        }
        Ok(place)
    }
}
