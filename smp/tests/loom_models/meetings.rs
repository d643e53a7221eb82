//! The barrier, and sets that several CPUs change.

use std::sync::Arc;

use super::Preemptions::{Any, AtMost};
use super::machine::Machine;
use super::{explore, thread};
use smp::clock_skew::{Exchange, Side, Skew};
use smp::sync::{Ordering, UnsafeCell};
use smp::{AtomicCpuSet, Barrier, CpuId};

struct Values([UnsafeCell<usize>; 3]);

// SAFETY: that accesses do not race is what the models check.
unsafe impl Sync for Values {}
// SAFETY: numbers.
unsafe impl Send for Values {}

impl Values {
    fn set(&self, index: usize, n: usize) {
        // SAFETY: loom reports a race before the pointer is used.
        self.0[index].with_mut(|value| unsafe { *value = n });
    }

    fn get(&self, index: usize) -> usize {
        // SAFETY: as above.
        self.0[index].with(|value| unsafe { *value })
    }
}

/// Each CPU writes its value, meets, reads the others', meets, and writes again.
fn meet<const N: usize>(nr_meetings: usize) {
    let machine = Machine::<N>::new();
    machine.relax_serves.store(false, Ordering::Relaxed);
    let shared = Arc::new((Barrier::new(N as u32), Values([0, 0, 0].map(UnsafeCell::new))));
    let play = move |index: usize| {
        let cpu = machine.cpu(index);
        let (barrier, values) = &*shared;
        let mut nr_last = 0;
        for meeting in 1..=nr_meetings {
            values.set(index, meeting);
            nr_last += usize::from(barrier.wait(&cpu));
            (0..N).for_each(|other| assert_eq!(values.get(other), meeting));
            if meeting < nr_meetings {
                nr_last += usize::from(barrier.wait(&cpu));
            }
        }
        nr_last
    };
    let others: Vec<_> = (1..N)
        .map(|index| {
            let play = play.clone();
            thread::spawn(move || play(index))
        })
        .collect();
    let nr_last: usize = play(0) + others.into_iter().map(|other| other.join().unwrap()).sum::<usize>();
    assert_eq!(nr_last, 2 * nr_meetings - 1, "exactly one is the last, each time");
}

#[test]
fn two_cpus_meet_again_and_again() {
    explore(AtMost(3), || meet::<2>(2));
}

#[test]
fn three_cpus_meet() {
    explore(AtMost(2), || meet::<3>(1));
}

/// Whoever finds the word empty tells the owner: with two inserting and one taking, nothing is taken twice or left.
#[test]
fn a_set_loses_no_member() {
    explore(Any, || {
        let set = Arc::new(AtomicCpuSet::new());
        let inserters: Vec<_> = [1, 2]
            .map(|index| {
                let set = set.clone();
                thread::spawn(move || set.insert(CpuId::new(index).unwrap(), Ordering::AcqRel))
            })
            .into();
        let early = set.take(Ordering::AcqRel);
        let nr_first = inserters.into_iter().map(|t| usize::from(t.join().unwrap())).sum::<usize>();
        let late = set.take(Ordering::AcqRel);
        assert_eq!(early.len() + late.len(), 2);
        assert!(late.iter().all(|cpu| !early.contains(cpu)));
        assert_eq!(nr_first, usize::from(!early.is_empty()) + usize::from(!late.is_empty()));
    });
}

/// Synchronous clocks never seem to run backwards, whatever is seen late; and each side hears every word of the other.
#[test]
fn clocks_are_compared() {
    explore(Any, || {
        let machine = Machine::<2>::new();
        machine.relax_serves.store(false, Ordering::Relaxed);
        let (first, second) = (machine.cpu(0), machine.cpu(1));
        // Time itself: of every model the same, and nothing that is explored.
        let time = Arc::new(std::sync::atomic::AtomicU64::new(0));
        let exchange = Arc::new(Exchange::new());
        let read = |time: &std::sync::atomic::AtomicU64| time.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let other = {
            let (time, exchange) = (time.clone(), exchange.clone());
            thread::spawn(move || exchange.play(&second, Side::Second, || read(&time), || false))
        };
        let mut nr_turns = 0;
        let mine = exchange.play(
            &first,
            Side::First,
            || read(&time),
            || {
                nr_turns += 1;
                nr_turns <= 2
            },
        );
        let skew = Skew::from_gaps(mine.expect("turns"), other.join().unwrap().expect("turns"));
        assert_eq!((skew.warp_ticks(), skew.bound_ticks()), (0, 1), "nothing lies between telling and hearing");
    });
}
