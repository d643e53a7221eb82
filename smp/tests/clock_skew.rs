//! Two clocks are compared: synchronous ones never warp, and of others the true distance lies within the bounds.

#![cfg(not(any(loom, shuttle)))]

mod machine;

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

use machine::Machine;
use smp::clock_skew::{Exchange, Side, Skew};

const NR_TURNS: u32 = if cfg!(miri) { 5 } else { 500 };

/// Two CPUs with one clock, which the second reads `ahead` ticks too high. It ticks at each reading and in between.
fn compare(ahead: i64) -> Skew {
    let machine = Machine::<2>::new();
    let [first, second] = machine.online_cpus();
    let time = AtomicU64::new(1 << 40);
    let exchange = Exchange::new();
    let read = || time.fetch_add(10, Ordering::SeqCst);
    std::thread::scope(|scope| {
        let (exchange, read) = (&exchange, &read);
        let other = scope.spawn(move || {
            exchange.play(
                &second,
                Side::Second,
                || read().wrapping_add_signed(ahead),
                || panic!("the first side is asked"),
            )
        });
        let nr_left = Cell::new(NR_TURNS);
        let goes_on = || nr_left.replace(nr_left.get().saturating_sub(1)) > 0;
        let mine = exchange.play(&first, Side::First, read, goes_on).expect("turns");
        Skew::from_gaps(mine, other.join().expect("no panic").expect("turns"))
    })
}

#[test]
fn synchronous_clocks_never_warp() {
    let skew = compare(0);
    assert_eq!(skew.warp_ticks(), 0, "{skew:?}");
    // Each side reads once between seeing and telling: a message costs a tick of the clock.
    assert_eq!(skew.bound_ticks(), 10, "{skew:?}");
}

#[test]
fn a_clock_that_is_ahead_or_behind_warps_by_nearly_that() {
    for ahead in [1000, -1000, 5_000_000] {
        let skew = compare(ahead);
        assert_eq!(skew.warp_ticks(), ahead.unsigned_abs() - 10, "{skew:?}");
        assert_eq!(skew.bound_ticks(), ahead.unsigned_abs() + 10, "{skew:?}");
        assert!(-skew.first_ahead_at_most <= ahead && ahead <= skew.second_ahead_at_most, "{skew:?}");
    }
}

#[test]
fn a_distance_below_the_way_of_a_message_is_bounded_if_not_seen() {
    let skew = compare(7);
    assert_eq!((skew.warp_ticks(), skew.bound_ticks()), (0, 17), "{skew:?}");
}

#[test]
fn no_turn_says_nothing() {
    let machine = Machine::<2>::new();
    let [first, second] = machine.online_cpus();
    let exchange = Exchange::new();
    assert_eq!(exchange.play(&first, Side::First, || 7, || false), None);
    assert_eq!(exchange.play(&second, Side::Second, || 7, || false), None);
}
