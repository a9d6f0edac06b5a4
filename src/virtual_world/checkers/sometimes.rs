//! What must be seen sometimes in many runs. A sweep that never sees one of them proves little.

use std::collections::BTreeMap;

/// Something that should be seen sometimes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum Seen {
    QueueFull,
    QueueFullThenDrained,
    QueueFullInRecycle,
    FinishedAtShutdownLimit,
    NewWorkerFailsInOverlap,
    BothFailInOverlap,
    PingReplyAtLimit,
    RecycleDuringStart,
    TrippedByCrash,
    TrippedByPing,
    TrippedByStartup,
    TrippedByShutdown,
    TrippedByDistrust,
    FailuresSlideOut,
    AbortQueued,
    AbortDelivered,
    AbortResponding,
    ConnectionSurvivedRecycles,
    IisresetInOverlap,
    DemandStartWithThousand,
    KernelHitWithoutWorker,
    IdleStopRacesArrival,
    AgeAndRequestsTogether,
    WorkerLies,
    BackpressureOnOne,
    NoWorkerInRotation,
    WasDied,
    WasStoodStill,
    Orphaned,
    Suspended,
    QueueShortened,
    RecycledForChange,
    OtherSiteAsked,
    NoSiteAsked,
    ConnectionOfOtherSite,
    ApplicationCame,
    ApplicationGone,
    ApplicationMovedWhileWaiting,
    EntriesGoneWithApplication,
    BodyComesBehind,
    ReadingPaused,
}

/// All of them, in the order of `Seen`.
pub const ALL: [&str; 41] = [
    "a queue was full",
    "a queue was exactly full, and drained",
    "a queue was full during a recycle",
    "a request finished in the instant of the shutdown limit",
    "the new worker failed in an overlap",
    "both workers failed in an overlap",
    "a ping was answered at its limit",
    "a recycle was ordered during a start",
    "rapid-fail protection was tripped by a crash",
    "rapid-fail protection was tripped by a ping",
    "rapid-fail protection was tripped by a start that took too long",
    "rapid-fail protection was tripped by a stop that took too long",
    "rapid-fail protection was tripped by a worker that is not to be trusted",
    "failures slid out of the interval before they were too many",
    "a client went while its request waited",
    "a client went while a worker had its request",
    "a client went while its response was on the way",
    "a kept-alive connection survived three recycles",
    "the services were stopped during a recycle",
    "a demand start came with 1000 requests waiting",
    "the driver answered from its cache for a pool without a worker",
    "an idle stop raced a request",
    "a worker reached its age and its requests together",
    "a worker lied about a request",
    "one worker did not take what it was sent, others did",
    "a rotation without overlap left no worker",
    "WAS died and was started again",
    "WAS stood still and went on",
    "a worker was orphaned",
    "a worker was suspended",
    "a queue was made shorter than what waits in it",
    "a pool was recycled for a change of its configuration",
    "a site besides the first one was asked",
    "a request was for no site, and others were up",
    "a connection that counts for one site carried a request for another",
    "an application that came while the services ran was asked",
    "a request for an application that has gone went to the one above it",
    "a worker was given a request that had waited when its application left the pool",
    "responses that were kept went with their application",
    "a request had ended while its body was still coming",
    "the driver paused, and a body waited to be read",
];

/// How often each was seen.
#[derive(Debug)]
pub(super) struct Sometimes([u64; ALL.len()]);

impl Default for Sometimes {
    fn default() -> Self {
        Self([0; ALL.len()])
    }
}

impl Sometimes {
    #[inline]
    pub(super) fn note(&mut self, seen: Seen) {
        self.0[seen as usize] += 1;
    }

    /// By name; what was not seen is left out.
    pub(super) fn counts(&self) -> BTreeMap<&'static str, u64> {
        let counts = ALL.into_iter().zip(self.0);
        counts.filter(|(_, count)| *count > 0).collect()
    }
}
