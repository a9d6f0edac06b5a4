//! Many timers in one place, ordered by `(Instant, key)`, so that ties fire in a fixed order.
//!
//! Timers that move with every request (an idle connection's) are *lazy*: moving one later only
//! writes the new moment down, and the queue is touched when the old entry comes up. What is left
//! out: a timer wheel, which the virtual clock may put underneath without changing this interface.

use std::collections::{BTreeMap, BTreeSet};

use super::machine::Deadline;
use super::time::Instant;

#[derive(Clone, Copy, Debug)]
struct Armed {
    /// When the owner wants to be woken.
    due: Instant,
    /// Where the entry stands in the queue; never later than `due`.
    queued: Instant,
}

/// A set of timers, at most one per key.
#[derive(Clone, Debug)]
pub struct Deadlines<K> {
    armed: BTreeMap<K, Armed>,
    queue: BTreeSet<(Instant, K)>,
}

impl<K: Ord + Copy> Default for Deadlines<K> {
    fn default() -> Self {
        Self {
            armed: BTreeMap::new(),
            queue: BTreeSet::new(),
        }
    }
}

impl<K: Ord + Copy> Deadlines<K> {
    /// No timers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Arms the timer `key` for `due`, replacing the moment it had.
    pub fn set(&mut self, key: K, due: Instant) {
        match self.armed.get_mut(&key) {
            Some(armed) if armed.queued <= due => armed.due = due,
            Some(armed) => {
                self.queue.remove(&(armed.queued, key));
                *armed = Armed { due, queued: due };
                self.queue.insert((due, key));
            }
            None => {
                self.armed.insert(key, Armed { due, queued: due });
                self.queue.insert((due, key));
            }
        }
    }

    /// Disarms the timer `key`; does nothing if it was not armed.
    pub fn clear(&mut self, key: K) {
        if let Some(armed) = self.armed.remove(&key) {
            self.queue.remove(&(armed.queued, key));
        }
    }

    /// When the timer `key` is due.
    pub fn get(&self, key: K) -> Option<Instant> {
        self.armed.get(&key).map(|armed| armed.due)
    }

    /// Takes the next timer that is due at `now`, if any.
    pub fn pop_due(&mut self, now: Instant) -> Option<K> {
        while let Some(&(queued, key)) = self.queue.first() {
            if queued > now {
                return None;
            }
            self.queue.pop_first();
            let Some(armed) = self.armed.get_mut(&key) else {
                continue;
            };
            if armed.due <= now {
                self.armed.remove(&key);
                return Some(key);
            }
            armed.queued = armed.due;
            self.queue.insert((armed.due, key));
        }
        None
    }

    /// When to look again. May be earlier than the first timer is due (a lazy entry), never later.
    pub fn next(&self) -> Option<Deadline<K>> {
        self.queue
            .first()
            .map(|&(at, timer)| Deadline { at, timer })
    }

    /// How many timers are armed.
    pub fn len(&self) -> usize {
        self.armed.len()
    }

    /// Whether no timer is armed.
    pub fn is_empty(&self) -> bool {
        self.armed.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_fire_in_the_order_of_their_keys() {
        let mut deadlines = Deadlines::new();
        for key in [3, 1, 2] {
            deadlines.set(key, Instant(10));
        }
        let fired: Vec<i32> = core::iter::from_fn(|| deadlines.pop_due(Instant(10))).collect();
        assert_eq!(fired, [1, 2, 3]);
    }

    #[test]
    fn a_timer_moved_later_does_not_fire_early() {
        let mut deadlines = Deadlines::new();
        deadlines.set('a', Instant(10));
        deadlines.set('a', Instant(20));
        assert_eq!(deadlines.pop_due(Instant(10)), None);
        assert_eq!(deadlines.next().map(|d| d.at), Some(Instant(20)));
        assert_eq!(deadlines.pop_due(Instant(20)), Some('a'));
        assert!(deadlines.is_empty());
    }

    #[test]
    fn a_timer_moved_earlier_fires_at_its_new_time_only() {
        let mut deadlines = Deadlines::new();
        deadlines.set('a', Instant(20));
        deadlines.set('a', Instant(10));
        assert_eq!(deadlines.pop_due(Instant(10)), Some('a'));
        assert_eq!(deadlines.pop_due(Instant(30)), None);
    }

    #[test]
    fn a_cleared_timer_never_fires() {
        let mut deadlines = Deadlines::new();
        deadlines.set('a', Instant(10));
        deadlines.clear('a');
        assert_eq!(deadlines.pop_due(Instant(30)), None);
    }
}
