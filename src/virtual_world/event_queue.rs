//! What happens next: events ordered by time to the nanosecond, and by their turn among equal times.
//!
//! A hierarchical timing wheel. Eleven wheels of 64 slots cover the 64 bits of a time, six bits each.
//! An event lies on the wheel of the highest digit in which its time differs from now, in the slot of
//! that digit:
//!
//! ```text
//!   now      … 3 | 17 | 40            an event at … 3 | 17 | 52   lies on wheel 0, slot 52
//!   digits   … 2 |  1 |  0            an event at … 3 | 20 |  5   lies on wheel 1, slot 20
//! ```
//!
//! So a slot of wheel 0 is one nanosecond, the earliest event lies in the lowest occupied slot of the
//! lowest occupied wheel, and to push is a matter of a few instructions whatever is pending. When the
//! earliest event lies on a higher wheel, now becomes its time and its companions in the slot move to
//! lower wheels, in their order. Where an event lies depends on its time and now alone, hence equal
//! times share a slot, and a list that is appended to keeps their turn without a sequence number.
//!
//! An event costs one node (its time, its event and four bytes) in a slab that is used again: once the
//! slab has grown to the number of events pending at once, nothing is allocated.
//!
//! Absent on purpose: cancelling. Let a timer that is no longer wanted fire, compare it with the
//! deadline that the model has now, and push it again if it is later: one pending timer for each
//! connection is cheaper than one for each request.

use core::fmt;

use sim_httpsys::clockwork::Instant;

/// Bits of a time that one wheel looks at.
const DIGIT: u32 = 6;
/// Slots of one wheel.
const SLOTS: usize = 1 << DIGIT;
/// Wheels that cover all 64 bits.
const WHEELS: usize = u64::BITS.div_ceil(DIGIT) as usize;

/// Pending events, earliest first; those of one nanosecond in the order in which they were pushed.
pub struct EventQueue<E> {
    now: u64,
    pending: usize,
    /// Bit `w` is set if wheel `w` has an occupied slot.
    occupied_wheels: u32,
    /// For each wheel, bit `s` is set if slot `s` holds an event.
    occupied_slots: [u64; WHEELS],
    slots: Box<[[Slot; SLOTS]; WHEELS]>,
    /// All nodes ever needed; those that hold no event are chained from `free`.
    nodes: Vec<Node<E>>,
    /// The first free node, unless all nodes hold events.
    free: u32,
}

/// A list of nodes; means nothing while the slot's bit is clear.
#[derive(Clone, Copy, Debug)]
struct Slot {
    first: u32,
    last: u32,
    /// The earliest time in the list; a list on wheel 0 has no other.
    earliest: u64,
}

const EMPTY: Slot = Slot {
    first: 0,
    last: 0,
    earliest: 0,
};

#[derive(Clone, Copy, Debug)]
struct Node<E> {
    at: u64,
    event: E,
    /// The node behind this one in its slot, unless it is the last; or the next free node.
    next: u32,
}

impl<E: Copy> EventQueue<E> {
    /// An empty queue at the moment the machine was switched on.
    pub fn new() -> Self {
        Self::with_capacity(0)
    }

    /// An empty queue with room for that many events before anything more is allocated.
    pub fn with_capacity(events: usize) -> Self {
        Self {
            now: Instant::SWITCHED_ON.0,
            pending: 0,
            occupied_wheels: 0,
            occupied_slots: [0; WHEELS],
            slots: Box::new([[EMPTY; SLOTS]; WHEELS]),
            nodes: Vec::with_capacity(events),
            free: 0,
        }
    }

    /// Lets an event happen at that moment, after all events already pushed for the same moment.
    ///
    /// # Panics
    /// If the moment is earlier than [`now`](Self::now): what is past cannot happen any more.
    #[inline]
    pub fn push(&mut self, at: Instant, event: E) {
        assert!(
            at.0 >= self.now,
            "an event was pushed into the past: at {at}, but it is {} already",
            self.now()
        );
        let node = Node {
            at: at.0,
            event,
            next: 0,
        };
        let index = self.store(node);
        self.place(index, at.0);
        self.pending += 1;
    }

    /// Takes the earliest event; its moment is now.
    #[inline]
    pub fn pop(&mut self) -> Option<(Instant, E)> {
        self.pop_until(Instant(u64::MAX))
    }

    /// Takes the earliest event if it happens at `limit` or before; otherwise nothing changes.
    #[inline]
    pub fn pop_until(&mut self, limit: Instant) -> Option<(Instant, E)> {
        let (wheel, slot) = self.earliest_slot()?;
        let list = self.slots[wheel][slot];
        if list.earliest > limit.0 {
            return None;
        }
        // Events in other slots differ from this moment in the same digit in which they differ from
        // now: they lie where they belong.
        self.now = list.earliest;
        let index = if list.first == list.last {
            self.clear(wheel, slot);
            list.first
        } else if wheel == 0 {
            self.slots[wheel][slot].first = self.nodes[list.first as usize].next;
            list.first
        } else {
            self.clear(wheel, slot);
            self.spread(list)
        };
        self.pending -= 1;
        Some(self.release(index))
    }

    /// When the earliest event happens.
    #[inline]
    pub fn peek_time(&self) -> Option<Instant> {
        let (wheel, slot) = self.earliest_slot()?;
        Some(Instant(self.slots[wheel][slot].earliest))
    }

    /// The moment of the event that was taken last.
    #[inline]
    pub fn now(&self) -> Instant {
        Instant(self.now)
    }

    /// How many events are pending.
    #[inline]
    pub fn len(&self) -> usize {
        self.pending
    }

    /// Whether nothing is going to happen.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.pending == 0
    }

    /// Bytes held for events, pending or not.
    pub fn footprint(&self) -> usize {
        self.nodes.capacity() * size_of::<Node<E>>() + size_of_val(&*self.slots)
    }

    /// The lowest occupied slot of the lowest occupied wheel.
    #[inline]
    fn earliest_slot(&self) -> Option<(usize, usize)> {
        if self.occupied_wheels == 0 {
            return None;
        }
        let wheel = self.occupied_wheels.trailing_zeros() as usize;
        let slot = self.occupied_slots[wheel].trailing_zeros() as usize;
        Some((wheel, slot % SLOTS))
    }

    /// Moves the nodes of a list to where they belong now, but for the first of this very moment,
    /// which is returned.
    fn spread(&mut self, list: Slot) -> u32 {
        let mut due = None;
        let mut index = list.first;
        loop {
            let Node { at, next, .. } = self.nodes[index as usize];
            if at == self.now && due.is_none() {
                due = Some(index);
            } else {
                self.place(index, at);
            }
            if index == list.last {
                return due.expect("one of the list is the earliest");
            }
            index = next;
        }
    }

    /// Appends a node to the slot in which its time belongs.
    #[inline]
    fn place(&mut self, index: u32, at: u64) {
        // The lowest digit is at issue even if nothing differs.
        let highest = u64::BITS - 1 - ((at ^ self.now) | 1).leading_zeros();
        let wheel = (highest / DIGIT) as usize;
        let slot = ((at >> (highest / DIGIT * DIGIT)) & 63) as usize;
        let bit = 1 << slot;
        let list = &mut self.slots[wheel][slot];
        if self.occupied_slots[wheel] & bit == 0 {
            self.occupied_slots[wheel] |= bit;
            self.occupied_wheels |= 1 << wheel;
            list.first = index;
            list.earliest = at;
        } else {
            list.earliest = list.earliest.min(at);
            self.nodes[list.last as usize].next = index;
        }
        list.last = index;
    }

    #[inline]
    fn clear(&mut self, wheel: usize, slot: usize) {
        self.occupied_slots[wheel] &= !(1 << slot);
        if self.occupied_slots[wheel] == 0 {
            self.occupied_wheels &= !(1 << wheel);
        }
    }

    #[inline]
    fn store(&mut self, node: Node<E>) -> u32 {
        if self.pending < self.nodes.len() {
            let index = self.free;
            let free = &mut self.nodes[index as usize];
            self.free = free.next;
            *free = node;
            index
        } else {
            self.grow(node)
        }
    }

    #[cold]
    fn grow(&mut self, node: Node<E>) -> u32 {
        let index = u32::try_from(self.nodes.len()).expect("fewer than 2^32 events are pending");
        self.nodes.push(node);
        index
    }

    #[inline]
    fn release(&mut self, index: u32) -> (Instant, E) {
        let node = &mut self.nodes[index as usize];
        node.next = self.free;
        self.free = index;
        (Instant(node.at), node.event)
    }
}

impl<E: Copy> Default for EventQueue<E> {
    fn default() -> Self {
        Self::new()
    }
}

impl<E> fmt::Debug for EventQueue<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventQueue")
            .field("now", &Instant(self.now))
            .field("pending", &self.pending)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Slow and obviously right: a list kept in order of time, then of turn.
    #[derive(Default)]
    struct Reference(Vec<(u64, u32)>);

    impl Reference {
        fn push(&mut self, at: u64, event: u32) {
            let turn = self.0.partition_point(|(time, _)| *time <= at);
            self.0.insert(turn, (at, event));
        }

        fn pop_until(&mut self, limit: u64) -> Option<(u64, u32)> {
            (self.0.first()?.0 <= limit).then(|| self.0.remove(0))
        }
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        PushAfter(u64),
        Pop,
        PopWithin(u64),
    }

    /// Ties, neighbours, a hop, a service time, the limits of IIS, a periodic restart, the end of time.
    fn spans() -> impl Strategy<Value = u64> {
        const SECOND: u64 = 1_000_000_000;
        prop_oneof![
            Just(0),
            0..3_u64,
            0..200_u64,
            Just(4_096),
            0..50_000_000_u64,
            Just(90 * SECOND),
            Just(120 * SECOND),
            0..1200 * SECOND,
            Just(29 * 3_600 * SECOND),
            Just(u64::MAX),
        ]
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            6 => spans().prop_map(Step::PushAfter),
            4 => Just(Step::Pop),
            1 => spans().prop_map(Step::PopWithin),
        ];
        prop::collection::vec(step, 0..400)
    }

    proptest! {
        #[test]
        fn events_come_in_the_order_of_a_stable_sort(steps in steps()) {
            let mut queue = EventQueue::new();
            let mut reference = Reference::default();
            let mut pushed = 0;
            for step in steps {
                let now = queue.now().0;
                match step {
                    Step::PushAfter(span) => {
                        let at = now.saturating_add(span);
                        queue.push(Instant(at), pushed);
                        reference.push(at, pushed);
                        pushed += 1;
                    }
                    Step::Pop => {
                        let popped = queue.pop().map(|(at, event)| (at.0, event));
                        prop_assert_eq!(popped, reference.pop_until(u64::MAX));
                    }
                    Step::PopWithin(span) => {
                        let limit = now.saturating_add(span);
                        let popped = queue.pop_until(Instant(limit));
                        let popped = popped.map(|(at, event)| (at.0, event));
                        prop_assert_eq!(popped, reference.pop_until(limit));
                    }
                }
                prop_assert_eq!(queue.len(), reference.0.len());
                prop_assert_eq!(
                    queue.peek_time().map(|at| at.0),
                    reference.0.first().map(|(at, _)| *at)
                );
            }
            while let Some((at, event)) = queue.pop() {
                prop_assert_eq!(Some((at.0, event)), reference.pop_until(u64::MAX));
            }
            prop_assert!(reference.0.is_empty());
        }
    }

    #[test]
    fn equal_times_keep_their_turn_across_wheels() {
        let mut queue = EventQueue::new();
        let far = Instant(1 << 40);
        queue.push(far, 'a');
        queue.push(Instant(far.0 - 1), 'x');
        queue.push(far, 'b');
        assert_eq!(queue.pop(), Some((Instant(far.0 - 1), 'x')));
        queue.push(far, 'c');
        let order: Vec<char> =
            core::iter::from_fn(|| queue.pop().map(|(_, event)| event)).collect();
        assert_eq!(order, ['a', 'b', 'c']);
        assert_eq!(queue.now(), far);
    }

    #[test]
    fn an_event_may_cause_another_at_the_same_moment() {
        let mut queue = EventQueue::new();
        queue.push(Instant(7), 1);
        queue.push(Instant(7), 2);
        assert_eq!(queue.pop(), Some((Instant(7), 1)));
        queue.push(queue.now(), 3);
        assert_eq!(queue.pop(), Some((Instant(7), 2)));
        assert_eq!(queue.pop(), Some((Instant(7), 3)));
        assert_eq!(queue.pop(), None);
    }

    #[test]
    fn looking_ahead_does_not_move_the_clock() {
        let mut queue = EventQueue::new();
        queue.push(Instant(5_000_000), 'b');
        queue.push(Instant(5_000_001), 'c');
        assert_eq!(queue.peek_time(), Some(Instant(5_000_000)));
        assert_eq!(queue.pop_until(Instant(4_999_999)), None);
        queue.push(Instant(1), 'a');
        assert_eq!(queue.pop(), Some((Instant(1), 'a')));
        assert_eq!(queue.pop(), Some((Instant(5_000_000), 'b')));
    }

    #[test]
    #[should_panic(expected = "pushed into the past")]
    fn nothing_happens_in_the_past() {
        let mut queue = EventQueue::new();
        queue.push(Instant(10), ());
        queue.pop();
        queue.push(Instant(9), ());
    }

    #[test]
    fn a_pending_event_costs_between_16_and_32_bytes() {
        assert_eq!(size_of::<Node<u32>>(), 16);
        assert_eq!(size_of::<Node<u64>>(), 24);
        assert_eq!(size_of::<Node<(u64, u32)>>(), 32);
    }
}
