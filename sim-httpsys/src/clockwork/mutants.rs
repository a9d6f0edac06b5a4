//! Mutants: faults that are put into the models on purpose, so that the checks can be checked.
//!
//! A hook is one line where the real decision is taken: `if mutated(Mutant::LifoQueue) { … }`. Without
//! the feature `mutants`, which nothing enables by itself, [`mutated`] is a constant `false` and the
//! models are what they are without the hooks. With it, a thread chooses at most one mutant by
//! `choose`; that is the only state outside of the machines, and it is for tests alone.

macro_rules! mutants {
    ($($mutant:ident = $name:literal: $sentence:literal;)*) => {
        /// A fault that can be switched on.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Mutant {
            $(#[doc = $sentence] $mutant,)*
        }

        impl Mutant {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$mutant,)*];

            /// Its name, for people and command lines.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$mutant => $name,)* }
            }

            /// What it does, in a sentence.
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$mutant => $sentence,)* }
            }
        }
    };
}

mutants! {
    // HTTP.sys: queues
    LifoQueue = "lifo-queue": "A queue gives out its newest request first.";
    QueueLimitOffByOne = "queue-limit-off-by-one": "A queue takes one request more than its limit.";
    LoseDemandStart = "lose-demand-start": "The first request that waits does not ask for a worker.";
    DeliverAfterDrain = "deliver-after-drain": "Receives of a worker that has shut down still count.";
    SkipWaiting = "skip-waiting": "A request that waits is taken out of its queue and forgotten.";
    OtherPoolsRequest = "other-pools-request": "A worker receives what waits in another pool's queue.";
    KeepWaitingAtPoolStop = "keep-waiting-at-pool-stop": "What waits stays in a queue that goes off.";
    AnswerTcpLevel = "answer-tcp-level": "A queue that refuses by reset answers with a page.";
    // HTTP.sys: workers and connections
    ReplayAfterCrash = "replay-after-crash": "What a dead worker held is given to another one.";
    CloseIdleAtDetach = "close-idle-at-detach": "Idle connections are cut when a worker goes.";
    WrongConnection = "wrong-connection": "A response goes to another request of the same worker.";
    ContentLengthShort = "content-length-short": "Content-Length of a cached response is one byte short.";
    ConnectionLimitOffByOne = "connection-limit-off-by-one": "A site takes one connection too many.";
    IdleTimerWhileBusy = "idle-timer-while-busy": "The idle timer goes on while a request runs.";
    KeepUrlsAtStop = "keep-urls-at-stop": "A URL group that is closed keeps its URLs.";
    TwoLinesPerRefusal = "two-lines-per-refusal": "A refusal is logged twice.";
    NoLineForDrop = "no-line-for-drop": "A request that is dropped is not logged.";
    NoLineForAnswer = "no-line-for-answer": "A response from the cache is not logged.";
    // HTTP.sys: several sites
    RouteToFirstPool = "route-to-first-pool": "Every request goes to the pool of the first URL group.";
    HostIgnored = "host-ignored": "A host name leads nowhere: requests go where any host may.";
    FirstSiteNamed = "first-site-named": "What becomes of a request is told of the first site.";
    CountForFirstSite = "count-for-first-site": "Answers of every site are counted for the first one.";
    ConnectionsOfAllSites = "connections-of-all-sites": "Connections of every site count for each one's limit.";
    CountBytesShort = "count-bytes-short": "A response is counted one byte short.";
    MoveLeavesRoute = "move-leaves-route": "Requests for a URL that moves go on to the pool that it was of.";
    // HTTP.sys: the response cache
    ServeExpired = "serve-expired": "An entry whose time is over is still served.";
    CacheBodyDamaged = "cache-body-damaged": "A kept body has a wrong last byte.";
    CacheKeyWithoutSite = "cache-key-without-site": "The key of an entry leaves site, port and host out, and nobody looks whose it is.";
    CacheKeyWithoutUrl = "cache-key-without-url": "The key of an entry leaves the URL out.";
    NoFlushAtPoolStop = "no-flush-at-pool-stop": "A pool that goes off keeps its entries.";
    NoFlushAtQueueClose = "no-flush-at-queue-close": "An iisreset does not empty the cache.";
    NoFlushAtDetach = "no-flush-at-detach": "A worker that goes leaves its entries behind.";
    NoFlushAtUrlRemoval = "no-flush-at-url-removal": "A URL that goes leaves its entries behind.";
    KeepForUrlThatWent = "keep-for-url-that-went": "A response is kept whose URL has gone before it came.";
    CacheOverLimit = "cache-over-limit": "The cache takes entries beyond its size.";
    // WAS: failures
    CountCrashTwice = "count-crash-twice": "Every failure counts for two.";
    RapidFailOneTooLate = "rapid-fail-one-too-late": "A pool is disabled one failure too late.";
    RapidFailNeverForgets = "rapid-fail-never-forgets": "Old failures never stop to count.";
    RapidFailSurvivesStart = "rapid-fail-survives-start": "Starting a pool forgets no failure.";
    CleanExitCounts = "clean-exit-counts": "A worker that stops as it was told has failed.";
    StartWhileDisabled = "start-while-disabled": "A disabled pool goes on to start workers.";
    WorkersSurviveDisable = "workers-survive-disable": "A disabled pool's workers are left running.";
    QueueStaysOnAtDisable = "queue-stays-on-at-disable": "A disabled pool's queue is not switched off.";
    NeverReap = "never-reap": "WAS does not take note that a worker has exited.";
    // WAS: limits
    StartupWithoutLimit = "startup-without-limit": "A worker may take forever to start.";
    DrainWithoutLimit = "drain-without-limit": "A worker may take forever to stop.";
    KillBeforeLimit = "kill-before-limit": "A worker that stops is killed at half of its limit.";
    PingNotSent = "ping-not-sent": "No worker is ever pinged.";
    PingTimeoutIgnored = "ping-timeout-ignored": "A ping without an answer means nothing.";
    // WAS: rotation and services
    StopBeforeReplacement = "stop-before-replacement": "An overlapped recycle stops the old worker first.";
    RecycleTwice = "recycle-twice": "A recycle during a recycle starts one more replacement.";
    FailedReplacementStopsOld = "failed-replacement-stops-old": "The old worker stops if its successor fails.";
    PoolStoppedEarly = "pool-stopped-early": "A pool is stopped while its workers still run.";
    OrphanWhileStarting = "orphan-while-starting": "A worker that is not ready in time is orphaned, and gets ready.";
    ResumeForgotten = "resume-forgotten": "A suspended worker is not resumed for a request.";
    IisresetLeavesWorker = "iisreset-leaves-worker": "A service stop leaves a worker running.";
    KeepUrlOfApplication = "keep-url-of-application": "An application that is removed keeps its URLs.";
    // the worker
    IdleWithRequest = "idle-with-request": "A worker that has a request calls itself idle.";
    PeriodicRestartDrift = "periodic-restart-drift": "A worker's age is counted a second too short.";
    RequestLimitOneTooLate = "request-limit-one-too-late": "A worker recycles one request too late.";
    ReceiveLeak = "receive-leak": "Receives that were used up are not posted again.";
    ExitBeforeDrained = "exit-before-drained": "A worker that drains exits with requests in flight.";
    LoseRequest = "lose-request": "A worker never answers every hundredth request.";
    FilesNeverChecked = "files-never-checked": "Kept files are not compared with the disk.";
    // the world
    LostHangUp = "lost-hang-up": "The driver is not told that a process has died.";
    WireReorders = "wire-reorders": "Two messages on a wire change places.";
}

impl Mutant {
    /// The mutant of that name.
    pub fn find(name: &str) -> Option<Self> {
        let mut all = Self::ALL.iter().copied();
        all.find(|mutant| mutant.name() == name)
    }
}

#[cfg(feature = "mutants")]
std::thread_local! {
    static CHOSEN: core::cell::Cell<Option<Mutant>> = const { core::cell::Cell::new(None) };
}

/// Switches a mutant on for whatever this thread runs from now on, or all of them off.
#[cfg(feature = "mutants")]
pub fn choose(mutant: Option<Mutant>) {
    CHOSEN.set(mutant);
}

/// Whether a mutant is switched on.
#[cfg(feature = "mutants")]
pub fn mutated(mutant: Mutant) -> bool {
    CHOSEN.get() == Some(mutant)
}

/// Whether a mutant is switched on: never, without the feature.
#[cfg(not(feature = "mutants"))]
pub const fn mutated(_: Mutant) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mutant_has_a_name_of_its_own_and_a_sentence() {
        for (index, mutant) in Mutant::ALL.iter().enumerate() {
            assert_eq!(Mutant::find(mutant.name()), Some(*mutant));
            assert!(mutant.sentence().ends_with('.'), "{mutant:?}");
            let earlier = &Mutant::ALL[..index];
            assert!(earlier.iter().all(|other| other.name() != mutant.name()));
        }
    }
}
