//! The open loop: launches every attempt at its planned time and waits for none of them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::HeaderValue;
use hyper::{Request, Uri};
use rustls::pki_types::ServerName;
use sim_httpsys::clockwork::Instant;
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::MissedTickBehavior;

use super::attempt;
use super::clock::{PreciseTimer, now};
use super::connection::{Destination, Opener, Pool};
use super::{Command, LoadError, Progress};
use crate::load::book::{AttemptRecord, Book, BookHeader, ConnectionKind};
use crate::load::plan::{Plan, PlannedAttempt, Stream};
use crate::load::plan_file::PlanFile;
use crate::load::profile::{NoTarget, Profile};
use crate::scenario::timing::GRACE;

/// How often progress is told.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

/// The kept-alive connections for one destination, load or probes.
pub(super) struct Destinations {
    /// The pool, which knows the address too.
    pub(super) kept: Pool,
}

/// What all attempts share.
pub(super) struct Shared {
    pub(super) profile: Profile,
    pub(super) opener: Opener,
    first_id: u64,
    /// By destination: those of the load, then those of the probes.
    pools: Vec<Destinations>,
    /// For each URL of the plan: its pool in clear text and with TLS, and its pool for probes.
    routes: Vec<Route>,
    users: RefCell<Vec<Vec<(u32, HeaderValue)>>>,
    records: RefCell<Vec<AttemptRecord>>,
    url_of: RefCell<Vec<u32>>,
    in_flight: Cell<usize>,
    nothing_in_flight: Notify,
    window: RefCell<Window>,
}

/// Where a URL is asked for.
struct Route {
    uri: Uri,
    host: HeaderValue,
    body: Bytes,
    host_number: u32,
    plain: Option<usize>,
    secure: Option<usize>,
    probe: Option<usize>,
}

/// What has happened since progress was told.
#[derive(Default)]
struct Window {
    done: u64,
    ok: u64,
    failed: u64,
    latencies: Vec<u64>,
    late: u64,
}

impl Shared {
    /// Reads or changes the record of an attempt.
    pub(super) fn record<T>(
        &self,
        index: usize,
        change: impl FnOnce(&mut AttemptRecord) -> T,
    ) -> T {
        change(&mut self.records.borrow_mut()[index])
    }

    /// Where an attempt goes.
    pub(super) fn destinations(&self, stream: Stream, url: u32, secure: bool) -> &Destinations {
        let route = &self.routes[url as usize];
        let index = match (stream, secure) {
            (Stream::ProbeNew | Stream::ProbeReused, _) => route.probe,
            (Stream::Load, true) => route.secure,
            (Stream::Load, false) => route.plain,
        };
        &self.pools[index.expect("targets were looked up for every attempt of the plan")]
    }

    /// The marker that probes look for.
    pub(super) fn marker(&self) -> Option<&str> {
        self.profile.probes.marker.as_deref()
    }

    /// The request of an attempt.
    pub(super) fn request(&self, planned: &PlannedAttempt, index: usize) -> Request<Full<Bytes>> {
        let route = &self.routes[planned.url as usize];
        let users = self.users.borrow();
        let jar = users.get(planned.user as usize).filter(|_| planned.session);
        let cookie = jar.and_then(|jar| jar.iter().find(|(host, _)| *host == route.host_number));
        let id = self.record(index, |record| record.id);
        let cookie = cookie.map(|(_, value)| value.clone());
        attempt::request(
            id,
            route.uri.clone(),
            route.host.clone(),
            cookie,
            planned.one_shot,
            route.body.clone(),
        )
    }

    /// Keeps a user's session cookie.
    pub(super) fn keep_cookie(&self, planned: &PlannedAttempt, cookie: HeaderValue) {
        if !planned.session {
            return;
        }
        let host = self.routes[planned.url as usize].host_number;
        let mut users = self.users.borrow_mut();
        let Some(jar) = users.get_mut(planned.user as usize) else {
            return;
        };
        match jar.iter_mut().find(|(of, _)| *of == host) {
            Some((_, kept)) => *kept = cookie,
            None => jar.push((host, cookie)),
        }
    }

    /// An attempt has ended and its record is complete.
    pub(super) fn finished(&self, index: usize) {
        self.record(index, |record| {
            let mut window = self.window.borrow_mut();
            window.done += 1;
            if record.outcome.is_success() {
                window.ok += 1;
            } else {
                window.failed += 1;
            }
            if record.stream == Stream::Load {
                window
                    .latencies
                    .push(record.finished.0.saturating_sub(record.planned.0));
            }
            window.late = window.late.max(record.lateness());
        });
        self.in_flight.set(self.in_flight.get() - 1);
        if self.in_flight.get() == 0 {
            self.nothing_in_flight.notify_one();
        }
    }

    fn launch(self: &Rc<Self>, planned: PlannedAttempt, start: Instant) {
        let at = start + Duration::from_nanos(planned.at);
        let id = self.first_id + u64::from(planned.number);
        let index = {
            let mut records = self.records.borrow_mut();
            records.push(attempt::begun(id, &planned, at));
            self.url_of.borrow_mut().push(planned.url);
            records.len() - 1
        };
        self.in_flight.set(self.in_flight.get() + 1);
        tokio::task::spawn_local(attempt::make(Rc::clone(self), planned, index));
    }

    /// Opens the kept-alive connections of the load before the first attempt.
    fn open_pools(self: &Rc<Self>) {
        for index in 0..self.pools.len() {
            for _ in 0..self.pools[index].kept.nominal {
                let shared = Rc::clone(self);
                tokio::task::spawn_local(async move {
                    let pool = &shared.pools[index].kept;
                    let kind = shared.kind_of_pool(index);
                    let Some(place) = pool.reserve() else { return };
                    let opened = shared
                        .opener
                        .open(&pool.destination, kind, Some(place))
                        .await;
                    // A failure is no news: the first attempt will meet it too, and count it.
                    if let Ok(line) = opened {
                        pool.give(line);
                    }
                });
            }
        }
    }

    fn kind_of_pool(&self, index: usize) -> ConnectionKind {
        if self.routes.iter().any(|route| route.probe == Some(index)) {
            ConnectionKind::ProbeReused
        } else {
            ConnectionKind::KeepAlive
        }
    }

    fn progress(&self) -> Progress {
        let mut window = self.window.borrow_mut();
        window.latencies.sort_unstable();
        let rank = (window.latencies.len() * 95)
            .div_ceil(100)
            .saturating_sub(1);
        let p95 = window.latencies.get(rank).map(|nanos| nanos / 1_000);
        let progress = Progress {
            at: now(),
            done: window.done,
            ok: window.ok,
            failed: window.failed,
            p95_us_last: p95,
            late_us: window.late / 1_000,
        };
        window.latencies.clear();
        window.late = 0;
        progress
    }
}

/// Makes the attempts of a plan. Waits for [`Command::Go`] first.
pub(super) async fn generate(
    file: &PlanFile,
    commands: &mut UnboundedReceiver<Command>,
    mut tell: impl FnMut(Progress),
) -> Result<Book, LoadError> {
    let plan = Plan::draw(&file.profile, file.seed, file.duration)?;
    let shared = Rc::new(prepare(file, &plan)?);
    let start = match commands.recv().await {
        Some(Command::Go(start)) => start,
        Some(Command::Stop) => return Ok(Book::default()),
        Some(Command::ParentGone) | None => return Err(LoadError::ParentGone),
    };
    shared.open_pools();
    let stopped = drive(&shared, &plan, start, commands, &mut tell).await?;
    tell(shared.progress());
    Ok(close_book(&shared, file, &plan, start, stopped))
}

/// The loop itself. Says whether it was stopped before the end of the plan.
async fn drive(
    shared: &Rc<Shared>,
    plan: &Plan,
    start: Instant,
    commands: &mut UnboundedReceiver<Command>,
    tell: &mut impl FnMut(Progress),
) -> Result<bool, LoadError> {
    let timer = PreciseTimer::new().map_err(LoadError::Runtime)?;
    let mut tick = tokio::time::interval(PROGRESS_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut waiting = plan.attempts.iter().peekable();
    let mut stopped_at: Option<Instant> = None;
    loop {
        let next = match stopped_at {
            Some(at) => Some(at + GRACE),
            None => waiting
                .peek()
                .map(|next| start + Duration::from_nanos(next.at)),
        };
        if next.is_none() && shared.in_flight.get() == 0 {
            return Ok(false);
        }
        if let Some(at) = next {
            timer.set(at).map_err(LoadError::Runtime)?;
        }
        tokio::select! {
            biased;
            fired = timer.fired(), if next.is_some() => {
                fired.map_err(LoadError::Runtime)?;
                if stopped_at.is_some() {
                    return Ok(true);
                }
                let due = now().0.saturating_sub(start.0);
                while let Some(planned) = waiting.next_if(|next| next.at <= due) {
                    shared.launch(*planned, start);
                }
            }
            command = commands.recv() => match command {
                Some(Command::Stop) if shared.in_flight.get() == 0 => return Ok(true),
                Some(Command::Stop) => {
                    stopped_at.get_or_insert_with(now);
                }
                Some(Command::Go(_)) => {}
                Some(Command::ParentGone) | None => return Err(LoadError::ParentGone),
            },
            _ = tick.tick() => tell(shared.progress()),
            () = shared.nothing_in_flight.notified() => {
                if stopped_at.is_some() && shared.in_flight.get() == 0 {
                    return Ok(true);
                }
            }
        }
    }
}

fn close_book(
    shared: &Shared,
    file: &PlanFile,
    plan: &Plan,
    start: Instant,
    stopped: bool,
) -> Book {
    let end = now();
    let mut attempts = std::mem::take(&mut *shared.records.borrow_mut());
    for (record, &url) in attempts.iter_mut().zip(shared.url_of.borrow().iter()) {
        record.url.clone_from(&plan.urls[url as usize].url);
        // An attempt that was cut by `stop` has the outcome that it began with.
        if record.finished == record.planned {
            record.finished = end.max(record.planned);
        }
    }
    let connections = shared
        .opener
        .wires()
        .iter()
        .map(|wire| wire.record())
        .collect();
    for pool in &shared.pools {
        pool.kept.clear();
    }
    let nanos = |span: Duration| u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
    let header = BookHeader {
        seed: file.seed,
        start,
        probe_interval: nanos(file.profile.probes.interval),
        late_bound: nanos(file.profile.late_bound),
    };
    let mut book = Book {
        header,
        attempts,
        connections,
        summary: None,
    };
    book.sum_up(plan.attempts.len() as u64, stopped);
    book
}

/// Looks up where everything is, and makes the pools.
fn prepare(file: &PlanFile, plan: &Plan) -> Result<Shared, LoadError> {
    let mut pools: Vec<Destination> = Vec::new();
    let mut number_of = BTreeMap::new();
    let mut host_numbers: BTreeMap<String, u32> = BTreeMap::new();
    let mut routes = Vec::with_capacity(plan.urls.len());
    let largest = plan.urls.iter().map(|planned| planned.body_bytes as usize);
    let bytes = Bytes::from(vec![b'x'; largest.max().unwrap_or(0)]);
    for planned in &plan.urls {
        let host = planned.host.as_ref().unwrap_or(&file.host);
        let next = u32::try_from(host_numbers.len()).unwrap_or(u32::MAX);
        let bad = || LoadError::Host(host.clone());
        routes.push(Route {
            uri: planned
                .url
                .parse()
                .map_err(|_| LoadError::Url(planned.url.clone()))?,
            host: HeaderValue::from_str(host).map_err(|_| bad())?,
            body: bytes.slice(..planned.body_bytes as usize),
            host_number: *host_numbers.entry(host.clone()).or_insert(next),
            plain: None,
            secure: None,
            probe: None,
        });
    }
    let mut is_probe = Vec::new();
    for planned in &plan.attempts {
        let probe = planned.stream != Stream::Load;
        let route = &mut routes[planned.url as usize];
        let slot = match (probe, planned.secure) {
            (true, _) => &mut route.probe,
            (false, true) => &mut route.secure,
            (false, false) => &mut route.plain,
        };
        if slot.is_some() {
            continue;
        }
        let host = plan.urls[planned.url as usize]
            .host
            .as_ref()
            .unwrap_or(&file.host);
        let destination = destination(file, host, planned.secure)?;
        let key = (probe, planned.secure, destination.address, host.clone());
        *slot = Some(*number_of.entry(key).or_insert_with(|| {
            pools.push(destination);
            is_probe.push((probe, planned.secure));
            pools.len() - 1
        }));
    }
    let opener = Opener::new().map_err(LoadError::Tls)?;
    let nominal = |kind: (bool, bool)| {
        let siblings = is_probe.iter().filter(|other| **other == kind).count();
        file.profile.kept_alive(kind, siblings)
    };
    let pools = pools
        .into_iter()
        .zip(&is_probe)
        .map(|(to, &kind)| Destinations {
            kept: Pool::new(to, nominal(kind)),
        })
        .collect();
    Ok(Shared {
        opener,
        first_id: file.first_id,
        pools,
        routes,
        users: RefCell::new(vec![Vec::new(); file.profile.users as usize]),
        records: RefCell::new(Vec::with_capacity(plan.attempts.len())),
        url_of: RefCell::new(Vec::with_capacity(plan.attempts.len())),
        in_flight: Cell::new(0),
        nothing_in_flight: Notify::new(),
        window: RefCell::default(),
        profile: file.profile.clone(),
    })
}

fn destination(file: &PlanFile, host: &str, secure: bool) -> Result<Destination, LoadError> {
    let of_kind = || file.targets.iter().filter(|target| target.secure == secure);
    let named = of_kind().find(|target| target.host.as_deref() == Some(host));
    let target = named
        .or_else(|| of_kind().find(|target| target.host.is_none()))
        .ok_or_else(|| NoTarget {
            host: host.to_owned(),
            secure,
        })?;
    let tls_name = if secure {
        let name = ServerName::try_from(host.to_owned());
        Some(name.map_err(|_| LoadError::Host(host.to_owned()))?)
    } else {
        None
    };
    Ok(Destination {
        address: target.address,
        seen_as: target.seen_as.unwrap_or(target.address),
        tls_name,
    })
}
