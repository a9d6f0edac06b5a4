//! The event queue allocates nothing once it has grown to the number of events pending at once.

#![expect(
    unsafe_code,
    reason = "an allocator that counts; each call is handed on as it came"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

use iis_sim::virtual_world::event_queue::EventQueue;
use iis_sim::virtual_world::random::Random;
use iis_sim::virtual_world::station::{Customers, Line, ServiceTimes, Station};
use sim_httpsys::clockwork::Instant;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: the system's allocator does the work; counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: as this function.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as this function.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: as this function.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations of this thread while `work` is done.
fn allocations<T>(work: impl FnOnce() -> T) -> (u64, T) {
    let before = ALLOCATIONS.get();
    let result = work();
    (ALLOCATIONS.get() - before, result)
}

/// Hops, service times, connection timers and periodic restarts.
fn span(random: &mut Random) -> Duration {
    match random.below(100) {
        0..60 => random.exponential_span(Duration::from_micros(50)),
        60..95 => random.exponential_span(Duration::from_millis(5)),
        95..99 => Duration::from_secs(120),
        _ => Duration::from_hours(29),
    }
}

#[test]
fn a_queue_that_has_grown_allocates_nothing() {
    const PENDING: usize = 1_000;
    let mut random = Random::stream(1, "spans");
    let mut queue = EventQueue::new();
    for event in 0..PENDING {
        queue.push(Instant::SWITCHED_ON + span(&mut random), event);
    }
    let grown = queue.footprint();
    let (count, ()) = allocations(|| {
        for _ in 0..200_000 {
            let (now, event) = queue.pop().unwrap();
            queue.push(now + span(&mut random), event);
        }
    });
    assert_eq!(count, 0);
    assert_eq!(queue.footprint(), grown);
    assert_eq!(queue.len(), PENDING);
}

#[test]
fn a_pending_event_holds_at_most_32_bytes() {
    const PENDING: usize = 100_000;
    let empty = EventQueue::<u64>::new().footprint();
    let mut queue = EventQueue::with_capacity(PENDING);
    for event in 0..PENDING as u64 {
        queue.push(Instant(event * 1_000), event);
    }
    let bytes = (queue.footprint() - empty).div_ceil(PENDING);
    assert!((16..=32).contains(&bytes), "{bytes} bytes for each event");
}

#[test]
fn a_station_with_a_bounded_line_allocates_nothing_for_an_event() {
    let customers = |counted| Customers {
        load: 7.2,
        service_times: ServiceTimes::Exponential,
        warm_up: 0,
        counted,
        seed: 1,
    };
    let run = |counted| {
        let mut station = Station::new(Line::new(8, Some(20)), customers(counted));
        allocations(|| station.run())
    };
    let (few, _) = run(100);
    let (many, seen) = run(50_000);
    assert_eq!(few, many, "{} events", seen.events);
}
