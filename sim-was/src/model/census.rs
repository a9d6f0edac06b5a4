//! How many worker processes there are on the server, and how many there may be.

/// The number of worker processes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Census {
    processes: u32,
    processes_max: u32,
}

impl Default for Census {
    /// No process, and no limit.
    fn default() -> Self {
        Self {
            processes: 0,
            processes_max: u32::MAX,
        }
    }
}

impl Census {
    /// Source: IIS docs, `webLimits`, `demandStartThreshold`: the most worker processes that run at once.
    pub(super) fn limit(&mut self, processes_max: u32) {
        self.processes_max = processes_max;
    }

    /// Whether one more may be started. Assumed: a replacement is not asked, because it takes the place
    /// of a process that is there; the limit is about processes that requests bring.
    pub(super) fn has_room(self) -> bool {
        self.processes < self.processes_max
    }

    pub(super) fn processes(self) -> u32 {
        self.processes
    }

    pub(super) fn processes_max(self) -> u32 {
        self.processes_max
    }

    pub(super) fn born(&mut self) {
        self.processes += 1;
    }

    pub(super) fn gone(&mut self) {
        self.processes = self.processes.saturating_sub(1);
    }
}
