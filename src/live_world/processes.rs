//! What the kernel says about a server's worker processes: how many there are, what they hold.

use std::fs;

/// The size of a page of memory, bytes.
fn page_size() -> u64 {
    rustix::param::page_size() as u64
}

/// The children of a process.
pub(super) fn children(pid: u32) -> Vec<u32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let text = fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect()
}

/// Bytes of memory that processes hold resident, all together; one that has gone holds none.
pub(super) fn resident_bytes(pids: &[u32]) -> u64 {
    let pages = |pid: &u32| {
        let text = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
        text.split_whitespace()
            .nth(1)
            .and_then(|word| word.parse::<u64>().ok())
            .unwrap_or(0)
    };
    pids.iter().map(pages).sum::<u64>() * page_size()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_holds_memory() {
        assert!(resident_bytes(&[std::process::id()]) > 100_000);
    }
}
