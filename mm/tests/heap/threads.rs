//! Threads of the host as CPUs, which free what others allocated.

use std::ptr::NonNull;
use std::sync::mpsc::TrySendError;

use crate::common::{self, TestHeap, take_findings, take_reports};
use crate::{ALL_CHECKS, layout, stamp, verify};

#[test]
fn threads_as_cpus_lose_nothing_when_objects_are_freed_elsewhere() {
    // Room for all that can be on its way at once: a thread that the host lets wait frees nothing meanwhile.
    let test = TestHeap::new(if cfg!(miri) { 2048 } else { 40_000 });
    pass_objects_on(&test, if cfg!(miri) { 30 } else { 20_000 });
}

#[test]
fn threads_as_cpus_are_right_in_the_eyes_of_every_debug_check_and_of_a_walk_beside_them() {
    let test = TestHeap::with_rules(if cfg!(miri) { 2048 } else { 40_000 }, &ALL_CHECKS);
    pass_objects_on(&test, if cfg!(miri) { 10 } else { 4000 });
    assert_eq!(take_findings(), []);
}

/// Four threads allocate `rounds` objects each, and each frees what the one before it allocated; a fifth checks them all.
fn pass_objects_on(test: &TestHeap, rounds: usize) {
    let nr_cpus = 4;
    let banks: Vec<_> = (0..nr_cpus).map(|cpu| test.bank(cpu)).collect();
    let heap = test.heap;
    let (senders, receivers): (Vec<_>, Vec<_>) =
        (0..nr_cpus).map(|_| std::sync::mpsc::sync_channel::<(usize, usize)>(500)).unzip();
    std::thread::scope(|scope| {
        for (cpu, receiver) in receivers.into_iter().enumerate() {
            let next = senders[(cpu + 1) % nr_cpus].clone();
            let bank = banks[cpu];
            scope.spawn(move || {
                common::enter_bank(bank);
                let free = |(addr, size): (usize, usize)| {
                    let object = NonNull::new(std::ptr::with_exposed_provenance_mut::<u8>(addr)).expect("not null");
                    verify(object, size.min(64), size);
                    // SAFETY: sent by its only owner, not used any more.
                    unsafe { heap.dealloc(object, layout(size, 8)) }.expect("ours");
                };
                let mut random = cpu as u64 + 1;
                for _ in 0..rounds {
                    random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    let size = 16 + (random >> 40) as usize % 1500;
                    let object = heap.alloc(layout(size, 8)).expect("memory");
                    stamp(object, size.min(64), size);
                    // Not more than so many on the way: a thread that does not run must not hold up all memory.
                    while let Err(error) = next.try_send((object.as_ptr().expose_provenance(), size)) {
                        assert!(matches!(error, TrySendError::Full(_)), "the next CPU listens");
                        receiver.try_iter().for_each(free);
                        std::thread::yield_now();
                    }
                    receiver.try_iter().for_each(free);
                }
                drop(next);
                receiver.iter().for_each(free);
                assert_eq!(take_reports(), []);
                assert_eq!(take_findings(), []);
            });
        }
        drop(senders);
        test.enter_cpu(nr_cpus);
        for _ in 0..20 {
            assert_eq!(heap.check_debugged(), 0);
        }
    });
    // The threads have ended: their magazines can be drained from here.
    for bank in banks {
        common::enter_bank(bank);
        heap.drain_this_cpu();
    }
    test.check_empty();
}
