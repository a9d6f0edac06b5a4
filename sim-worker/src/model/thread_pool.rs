//! The threads that run handlers: a number of them, and a queue for requests that find none free.
//!
//! Only counted here. `live/` starts real threads, and only for work that burns CPU: a handler that
//! waits holds its (simulated) thread, as a synchronous handler does.

use std::collections::VecDeque;

use sim_httpsys::api::RequestId;

/// The thread pool of a worker.
#[derive(Debug)]
pub(crate) struct ThreadPool {
    threads_max: usize,
    busy: usize,
    queue: VecDeque<RequestId>,
}

impl ThreadPool {
    pub(crate) fn new(threads_max: u32) -> Self {
        let threads_max = usize::try_from(threads_max.max(1)).unwrap_or(usize::MAX);
        Self {
            threads_max,
            busy: 0,
            queue: VecDeque::new(),
        }
    }

    /// Threads that run a handler.
    pub(crate) fn busy(&self) -> usize {
        self.busy
    }

    /// Most threads.
    pub(crate) fn threads_max(&self) -> usize {
        self.threads_max
    }

    /// Gives a request a thread, or puts it into the queue.
    pub(crate) fn take_or_wait(&mut self, request: RequestId) -> bool {
        let free = self.busy < self.threads_max;
        if free {
            self.busy += 1;
        } else {
            self.queue.push_back(request);
        }
        free
    }

    /// A thread is done: the request that has it now, if one waited.
    pub(crate) fn give_back(&mut self) -> Option<RequestId> {
        debug_assert!(self.busy > 0, "a thread came back that nobody had");
        let next = self.queue.pop_front();
        if next.is_none() {
            self.busy -= 1;
        }
        next
    }

    /// A request that waits for a thread has gone.
    pub(crate) fn forget(&mut self, request: RequestId) {
        self.queue.retain(|&waiting| waiting != request);
    }
}
