//! I1–I3 and R7: what one process says or suffers changes nothing of anybody else's.

use sim_httpsys::api::{Call, ProcessId, RequestId};
use sim_httpsys::etw::Fact;

use super::book::{Book, Move, Place, PoolIndex};
use super::sometimes::{Seen, Sometimes};
use super::{Verdict, broken};

/// Whose input the driver works on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Source {
    /// A client's, the controller's or a timer's: it may concern anybody.
    #[default]
    Anybody,
    /// A worker's word about a request that it holds, or about none.
    Worker(ProcessId, PoolIndex),
    /// A worker's word about a request that it does not hold.
    Liar(ProcessId, RequestId),
    /// A worker's end.
    Gone(ProcessId, PoolIndex),
}

/// The input under way, and the last one's lie.
#[derive(Debug, Default)]
pub(super) struct Trust {
    source: Source,
    untrusted: bool,
}

impl Trust {
    /// A call has reached the driver.
    pub(super) fn called(&mut self, book: &mut Book, by: ProcessId, call: &Call) {
        let pool = book.workers.get(&by).map(|worker| worker.pool);
        self.source = pool.map_or(Source::Anybody, |pool| Source::Worker(by, pool));
        let (Call::SendResponse { request, more, .. } | Call::SendEntityBody { request, more, .. }) =
            call
        else {
            return;
        };
        match book.requests.get_mut(request.0) {
            // Also by one that WAS has given up, and that goes on.
            Some(entry) if entry.place == Place::Delivered(by) => entry.answered |= !more,
            _ if pool.is_none() => {}
            // Its response is on the way to its client: it is nobody's any more.
            Some(entry) if entry.answered || entry.place == Place::Parsed => {}
            // It is somebody else's, or waits.
            Some(_) => self.source = Source::Liar(by, *request),
            // It has ended: its client may have gone.
            None => {}
        }
    }

    /// A process has let go of the driver.
    pub(super) fn gone(&mut self, book: &Book, process: ProcessId) {
        self.source = match book.workers.get(&process) {
            Some(worker) => Source::Gone(process, worker.pool),
            None => Source::Anybody,
        };
    }

    /// A fact of the driver.
    pub(super) fn httpsys(
        &mut self,
        book: &Book,
        fact: &Fact,
        step: &Move,
        seen: &mut Sometimes,
    ) -> Verdict {
        if let Fact::Untrusted { .. } = fact {
            self.untrusted = true;
            seen.note(Seen::WorkerLies);
        }
        match self.source {
            Source::Anybody => Ok(()),
            Source::Liar(process, named) => match step {
                Move::None => Ok(()),
                Move::Parsed(request)
                | Move::Queued(request, _)
                | Move::Delivered(request, ..)
                | Move::Ended(request, ..) => {
                    let what =
                        format!("{process:?} lied about {named:?}, and {request:?} was moved");
                    broken("I1", what)
                }
            },
            Source::Gone(process, pool) => match step {
                Move::Ended(request, entry, _) if entry.place != Place::Delivered(process) => {
                    broken(
                        "I3",
                        format!("{process:?} has gone, and {request:?} has ended: {entry:?}"),
                    )
                }
                _other => elsewhere(book, pool, step),
            },
            Source::Worker(_, pool) => elsewhere(book, pool, step),
        }
    }

    /// The driver has carried out an input.
    pub(super) fn settled(&mut self) -> Verdict {
        let untrusted = std::mem::take(&mut self.untrusted);
        match std::mem::take(&mut self.source) {
            Source::Liar(process, request) if !untrusted => broken(
                "I1",
                format!("{process:?} lied about {request:?}, and is trusted"),
            ),
            Source::Anybody | Source::Worker(..) | Source::Liar(..) | Source::Gone(..) => Ok(()),
        }
    }
}

/// R7: what happens in one pool moves no request of another. A client's next request may be for any.
fn elsewhere(book: &Book, pool: PoolIndex, step: &Move) -> Verdict {
    let (request, of) = match *step {
        Move::Queued(..) | Move::Parsed(_) | Move::None => return Ok(()),
        Move::Delivered(request, process, _) => (
            request,
            book.workers.get(&process).map(|worker| worker.pool),
        ),
        Move::Ended(_, entry, _) if entry.place == Place::Parsed => {
            return Ok(());
        }
        Move::Ended(request, entry, _) => (request, entry.pool),
    };
    if of.is_some_and(|of| of != pool) {
        let what = format!(
            "{request:?} was moved by {}, and is not its own",
            book.pool(pool).name
        );
        return broken("R7", what);
    }
    Ok(())
}
