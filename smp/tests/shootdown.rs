//! The shootdown protocol step by step: one thread plays all CPUs, so every count is exact.

#![cfg(not(any(loom, shuttle)))]

mod machine;
#[path = "shootdown/shorthand.rs"]
mod shorthand;
#[path = "shootdown/waits.rs"]
mod waits;

use std::sync::atomic::Ordering::Relaxed;

use machine::{Cpu, Machine, NR_PAGES, PAGE_SIZE, pages};
use smp::shootdown::{Mode, Presence};
use smp::{Barrier, CrossCall, Hardware, PageRange, Shootdown, WorkSlots};

/// All four are statics of the kernel.
static _STATICS: (Shootdown, CrossCall, WorkSlots, Barrier) =
    (Shootdown::new(), CrossCall::new(), WorkSlots::new(), Barrier::new(8));

fn initiate<const N: usize>(cpus: &[Cpu<N>; N], ranges: &[PageRange]) {
    let shootdown = &cpus[0].machine.shootdown;
    let round = shootdown.begin(&cpus[0], ranges.iter().copied());
    cpus[1..].iter().for_each(Cpu::window);
    shootdown.wait(&cpus[0], round);
}

#[test]
fn a_round_flushes_every_running_cpu_once() {
    let machine = Machine::<4>::new();
    let cpus = machine.online_cpus();
    cpus.iter().for_each(|cpu| assert!(cpu.read(5)));
    cpus[0].unmap(5);
    initiate(&cpus, &[pages(5, 1)]);
    cpus[0].reuse_frame_of(5);
    for (index, cpu) in cpus.iter().enumerate() {
        assert!(!machine.tlb_holds(index, 5));
        assert!(!cpu.read(5));
        let counters = machine.shootdown.counters(cpu.id).values();
        assert_eq!((counters.pages_flushed, counters.flushes), (1, 1));
        assert_eq!(counters.ipis_taken, u64::from(index != 0));
        assert_eq!(machine.shootdown.seen(cpu.id), 1);
    }
    assert_eq!(machine.shootdown.counters(cpus[0].id).values().ipis_sent, 3);
}

#[test]
fn an_initiator_flushes_itself_while_the_others_do() {
    let machine = Machine::<3>::new();
    let cpus = machine.online_cpus();
    let _round = machine.shootdown.begin(&cpus[0], [pages(5, 2)].into_iter());
    assert_eq!(machine.nr_page_flushes_at_send.load(Relaxed), 0, "the others were told first");
    assert_eq!(machine.nr_page_flushes.load(Relaxed), 2, "and not waited for");
}

#[test]
fn up_to_the_threshold_pages_go_one_by_one_and_above_it_all_at_once() {
    for (nr_pages, singly, at_once) in [(0, 0, 0), (1, 2, 0), (31, 62, 0), (32, 64, 0), (33, 0, 2), (4096, 0, 2)] {
        let machine = Machine::<2>::new();
        let cpus = machine.online_cpus();
        let joined = machine.nr_full_flushes.load(Relaxed);
        initiate(&cpus, &[pages(0, nr_pages)]);
        assert_eq!(machine.nr_page_flushes.load(Relaxed), singly, "{nr_pages} pages");
        assert_eq!(machine.nr_full_flushes.load(Relaxed) - joined, at_once, "{nr_pages} pages");
        assert_eq!(machine.nr_ipis.load(Relaxed), usize::from(nr_pages > 0));
    }
}

#[test]
fn the_threshold_can_be_tuned() {
    for (threshold, nr_pages, singly) in
        [(0, 1, 0), (1, 1, 2), (1, 2, 0), (63, 63, 126), (1000, 63, 126), (1000, 64, 0)]
    {
        let machine = Machine::<2>::new();
        let cpus = machine.online_cpus();
        machine.shootdown.settings().set_full_flush_pages(threshold);
        initiate(&cpus, &[pages(0, nr_pages)]);
        assert_eq!(machine.nr_page_flushes.load(Relaxed), singly, "{nr_pages} pages, threshold {threshold}");
    }
}

#[test]
fn a_batch_is_one_round_with_one_interrupt_for_each_cpu() {
    let machine = Machine::<3>::new();
    let cpus = machine.online_cpus();
    let batch: Vec<_> = (0..10).flat_map(|i| [pages(i * 8, 3), PageRange::EMPTY]).collect();
    cpus.iter().for_each(|cpu| (0..NR_PAGES).for_each(|page| assert!(cpu.read(page))));
    initiate(&cpus, &batch);
    assert_eq!(machine.nr_ipis.load(Relaxed), 2);
    assert_eq!(machine.nr_page_flushes.load(Relaxed), 3 * 30);
    assert_eq!(machine.shootdown.counters(cpus[0].id).values().shootdowns, 1);
    assert_eq!(machine.shootdown.generation(), 10);
    for page in 0..NR_PAGES {
        let in_batch = page < 80 && page % 8 < 3;
        assert_eq!(machine.tlb_holds(2, page), !in_batch, "page {page}");
    }
}

#[test]
fn a_batch_of_nothing_costs_nothing() {
    let machine = Machine::<2>::new();
    let cpus = machine.online_cpus();
    machine.shootdown.initiate(&cpus[0], std::iter::empty());
    machine.shootdown.initiate(&cpus[0], [PageRange::EMPTY; 3].into_iter());
    assert_eq!((machine.shootdown.generation(), machine.nr_ipis.load(Relaxed)), (0, 0));
}

#[test]
fn a_large_batch_becomes_one_generation_that_flushes_everything() {
    let machine = Machine::<2>::new();
    let cpus = machine.online_cpus();
    let joined = machine.nr_full_flushes.load(Relaxed);
    initiate(&cpus, &[pages(0, 1); 1024]);
    assert_eq!(machine.shootdown.generation(), 1);
    assert_eq!(machine.nr_full_flushes.load(Relaxed) - joined, 2);
}

#[test]
fn the_top_of_the_address_space_is_flushed_without_running_over_it() {
    let machine = Machine::<2>::new();
    let cpus = machine.online_cpus();
    let top = |nr_pages: usize| PageRange::new(0_usize.wrapping_sub(nr_pages * PAGE_SIZE), nr_pages).unwrap();
    initiate(&cpus, &[top(1)]);
    initiate(&cpus, &[top(32)]);
    assert_eq!(machine.nr_page_flushes.load(Relaxed), 2 * 33);
}

#[test]
fn an_idle_cpu_is_not_interrupted_and_catches_up_when_it_wakes() {
    let machine = Machine::<3>::new();
    let cpus = machine.online_cpus();
    assert!(cpus[1].read(7) && cpus[2].read(7));
    machine.shootdown.enter_idle(&cpus[1]);
    machine.shootdown.enter_idle(&cpus[2]);
    assert_eq!(machine.shootdown.online().len(), 3);
    cpus[0].unmap_and_reuse(7);
    assert_eq!(machine.nr_ipis.load(Relaxed), 0);
    assert_eq!(machine.shootdown.counters(cpus[0].id).values().idle_skips, 2);
    assert!(machine.tlb_holds(1, 7), "nothing made it flush");
    assert!(machine.shootdown.leave_idle(&cpus[1]));
    assert!(!cpus[1].read(7));
    assert!(!machine.shootdown.leave_idle(&cpus[1]), "already awake");
    // An interrupt wakes the other: the entry of its handler catches up.
    cpus[0].send_ipi(smp::IpiKind::Wake, &smp::CpuSet::of(cpus[2].id));
    cpus[2].window();
    assert!(!cpus[2].read(7));
    assert_eq!(machine.shootdown.presence(cpus[2].id), Presence::Running);
}

#[test]
fn a_cpu_that_goes_idle_while_waited_for_counts_as_having_acknowledged() {
    let machine = Machine::<2>::new();
    let cpus = machine.online_cpus();
    let round = machine.shootdown.begin(&cpus[0], [pages(1, 1)].into_iter());
    machine.shootdown.enter_idle(&cpus[1]);
    machine.shootdown.wait(&cpus[0], round);
    assert_eq!(machine.shootdown.seen(cpus[1].id), 0);
}

#[test]
fn an_offline_cpu_is_neither_told_nor_waited_for_and_flushes_when_it_joins() {
    let machine = Machine::<3>::new();
    let [zero, one, two] = [0, 1, 2].map(|i| machine.cpu(i));
    machine.shootdown.join(&zero);
    machine.shootdown.join(&two);
    assert_eq!(machine.shootdown.online().to_string(), "0,2");
    machine.shootdown.leave(&two);
    assert!(one.read(3) && two.read(3));
    zero.unmap_and_reuse(3);
    assert_eq!(machine.nr_ipis.load(Relaxed), 0);
    for late in [&one, &two] {
        machine.shootdown.join(late);
        assert!(!late.read(3));
        assert_eq!(machine.shootdown.seen(late.id), machine.shootdown.generation());
    }
    assert_eq!(machine.shootdown.online().to_string(), "0-2");
}

#[test]
fn an_initiator_that_is_not_online_has_everything_flushed() {
    let machine = Machine::<2>::new();
    let [zero, one] = [0, 1].map(|index| machine.cpu(index));
    machine.shootdown.join(&one);
    assert!(one.read(3) && one.read(4));
    zero.unmap(3);
    let round = machine.shootdown.begin(&zero, [pages(3, 1)].into_iter());
    one.window();
    machine.shootdown.wait(&zero, round);
    zero.reuse_frame_of(3);
    assert!(!machine.tlb_holds(1, 3) && !machine.tlb_holds(1, 4));
}

#[test]
fn a_second_round_sends_no_second_interrupt_while_one_is_on_its_way() {
    let machine = Machine::<3>::new();
    let [zero, one, two] = machine.online_cpus();
    one.interrupts_on.set(false);
    two.interrupts_on.set(false);
    let rounds = [zero.id.index(), 1, 2, 3].map(|page| machine.shootdown.begin(&zero, [pages(page, 1)].into_iter()));
    assert_eq!(machine.nr_ipis.load(Relaxed), 2);
    assert_eq!(machine.shootdown.counters(zero.id).values().coalesced, 6);
    for cpu in [&one, &two] {
        cpu.interrupts_on.set(true);
        cpu.window();
        let counters = machine.shootdown.counters(cpu.id).values();
        assert_eq!((counters.ipis_taken, counters.flushes, counters.pages_flushed), (1, 1, 4));
    }
    rounds.into_iter().for_each(|round| machine.shootdown.wait(&zero, round));
}

#[test]
fn a_hundred_interrupts_to_a_cpu_that_takes_none_are_taken_as_one_and_no_request_is_lost() {
    for (mode, nr_sent) in [(Mode::Coalescing, 1), (Mode::Naive, 100)] {
        let machine = Machine::<2>::new();
        machine.shootdown.settings().set_mode(mode);
        let [zero, one] = machine.online_cpus();
        (0..100).for_each(|page| assert!(one.read(page)));
        one.interrupts_on.set(false);
        let rounds: Vec<_> =
            (0..100).map(|page| machine.shootdown.begin(&zero, [pages(page, 1)].into_iter())).collect();
        assert_eq!(machine.nr_ipis.load(Relaxed), nr_sent, "{mode:?}");
        one.interrupts_on.set(true);
        one.window();
        assert_eq!(machine.shootdown.counters(one.id).values().ipis_taken, 1, "{mode:?}");
        rounds.into_iter().for_each(|round| machine.shootdown.wait(&zero, round));
        assert!((0..100).all(|page| !machine.tlb_holds(1, page)), "{mode:?}");
    }
}

/// As the Linux self-test hyperv_tlb_flush does it: two pages change their frames a hundred times; a changing subset of the
/// CPUs has to see that at once, the others are idle, keep what they had, and see it when they wake.
#[test]
fn a_flush_of_a_subset_reaches_that_and_forgets_nothing_else() {
    const WITNESSES: std::ops::Range<usize> = 10..20;
    let machine = Machine::<8>::new();
    let cpus = machine.online_cpus();
    let (mut random, mut spare, mut nr_over_flushed) = (1_u64, cpus[0].spare_frame(), 0);
    for turn in 0..100 {
        random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        cpus.iter().for_each(|cpu| WITNESSES.chain(0..2).for_each(|page| assert!(cpu.read(page))));
        let (flushed, idle): (Vec<_>, Vec<_>) =
            cpus[1..].iter().partition(|cpu| random >> (32 + cpu.id.index()) & 1 == 0);
        idle.iter().for_each(|cpu| machine.shootdown.enter_idle(*cpu));
        let page = turn % 2;
        let old_frame = cpus[0].frame_at(page);
        cpus[0].unmap(page);
        let round = machine.shootdown.begin(&cpus[0], [pages(page, 1)].into_iter());
        flushed.iter().for_each(|cpu| cpu.window());
        machine.shootdown.wait(&cpus[0], round);
        cpus[0].replace_frame(page, old_frame, spare);
        spare = old_frame;
        for cpu in &flushed {
            assert!(!machine.tlb_holds(cpu.id.index(), page) && cpu.read(page), "turn {turn}");
        }
        for cpu in &idle {
            assert!(machine.tlb_holds(cpu.id.index(), page), "turn {turn}: flushed, and did not have to be");
            machine.shootdown.leave_idle(*cpu);
            assert!(cpu.read(page), "turn {turn}");
        }
        nr_over_flushed += cpus
            .iter()
            .flat_map(|cpu| WITNESSES.map(|page| !machine.tlb_holds(cpu.id.index(), page)))
            .filter(|f| *f)
            .count();
    }
    assert_eq!(nr_over_flushed, 0, "translations that were forgotten and not asked for");
}

#[test]
fn an_interrupt_that_a_wait_loop_was_faster_than_finds_nothing_to_do() {
    let machine = Machine::<2>::new();
    let [zero, one] = machine.online_cpus();
    one.interrupts_on.set(false);
    let round = machine.shootdown.begin(&zero, [pages(0, 1)].into_iter());
    machine.shootdown.service_if_pending(&one);
    machine.shootdown.service_if_pending(&one);
    machine.shootdown.wait(&zero, round);
    one.interrupts_on.set(true);
    one.window();
    let counters = machine.shootdown.counters(one.id).values();
    assert_eq!((counters.self_serviced, counters.ipis_taken, counters.flushes), (1, 1, 1));
}

#[test]
fn more_generations_than_the_log_holds_flush_everything() {
    for (behind, at_once) in [(63, false), (64, false), (65, true), (200, true)] {
        let machine = Machine::<2>::new();
        machine.shootdown.settings().set_full_flush_pages(63);
        let [zero, one] = machine.online_cpus();
        machine.shootdown.enter_idle(&one);
        (0..NR_PAGES).for_each(|page| assert!(one.read(page)));
        for i in 0..behind {
            machine.shootdown.initiate(&zero, [pages(i % NR_PAGES, 1)].into_iter());
        }
        let before = machine.shootdown.counters(one.id).values().full_flushes;
        machine.shootdown.leave_idle(&one);
        // 64 generations fit the log and are one page over the threshold, 63 are just within.
        let full = machine.shootdown.counters(one.id).values().full_flushes - before == 1;
        assert_eq!(full, at_once || behind == 64, "{behind} behind");
        for page in 0..behind.min(NR_PAGES) {
            assert!(!machine.tlb_holds(1, page));
        }
    }
}

#[test]
fn generations_may_wrap() {
    let machine = Machine::<2>::with(Shootdown::starting_at(u64::MAX - 3));
    let cpus = machine.online_cpus();
    let joined = machine.nr_full_flushes.load(Relaxed);
    for page in 0..8 {
        assert!(cpus[1].read(page));
        cpus[0].unmap(page);
        initiate(&cpus, &[pages(page, 1)]);
        cpus[0].reuse_frame_of(page);
        assert!(!cpus[1].read(page));
    }
    assert_eq!(machine.shootdown.generation(), 4);
    assert_eq!(machine.nr_page_flushes.load(Relaxed), 16);
    assert_eq!(machine.nr_full_flushes.load(Relaxed), joined);
    // A batch across the wrap, and one CPU that sleeps across it.
    let machine = Machine::<3>::with(Shootdown::starting_at(u64::MAX - 3));
    let [zero, one, two] = machine.online_cpus();
    machine.shootdown.enter_idle(&two);
    let batch: Vec<_> = (0..20).map(|page| pages(page, 1)).collect();
    let round = machine.shootdown.begin(&zero, batch.into_iter());
    one.window();
    machine.shootdown.wait(&zero, round);
    machine.shootdown.leave_idle(&two);
    for cpu in [zero, one, two] {
        assert_eq!(machine.shootdown.seen(cpu.id), 16);
        assert_eq!(machine.shootdown.counters(cpu.id).values().pages_flushed, 20);
    }
}

#[test]
fn the_naive_mode_interrupts_everybody_for_each_range() {
    let machine = Machine::<4>::new();
    let [zero, one, two, three] = machine.online_cpus();
    machine.shootdown.settings().set_mode(Mode::Naive);
    machine.shootdown.enter_idle(&two);
    machine.shootdown.leave(&three);
    assert!(two.read(1) && one.read(1));
    zero.unmap(1);
    let round = machine.shootdown.begin(&zero, [pages(1, 1)].into_iter());
    assert_eq!(machine.nr_ipis.load(Relaxed), 2, "idle or not, but not to one that has left");
    let again = machine.shootdown.begin(&zero, [pages(1, 1)].into_iter());
    assert_eq!(machine.nr_ipis.load(Relaxed), 4, "one is on its way already");
    [&one, &two].into_iter().for_each(Cpu::window);
    machine.shootdown.wait(&zero, round);
    machine.shootdown.wait(&zero, again);
    zero.reuse_frame_of(1);
    assert!(!one.read(1) && !two.read(1));
    assert_eq!(machine.shootdown.counters(one.id).values().flushes, 2, "each generation has a flush of its own");
    assert_eq!(machine.shootdown.counters(zero.id).values().idle_skips, 0);
}

#[test]
fn dropped_interrupts_leave_a_stale_translation_that_a_reader_notices() {
    let machine = Machine::<2>::new();
    let [zero, one] = machine.online_cpus();
    assert!(zero.read(4) && one.read(4));
    machine.shootdown.settings().set_drop_ipis(true);
    zero.unmap_and_reuse(4);
    assert!(!machine.tlb_holds(0, 4), "the initiator flushes itself");
    one.window();
    machine.shootdown.service_if_pending(&one);
    let read = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| one.read(4)));
    assert!(read.is_err(), "the stale translation was not noticed");
    // The next honest round repairs it.
    machine.shootdown.settings().set_drop_ipis(false);
    let round = machine.shootdown.begin(&zero, [pages(9, 1)].into_iter());
    one.window();
    machine.shootdown.wait(&zero, round);
    assert!(!one.read(4));
}

#[test]
fn a_lost_interrupt_is_sent_again() {
    let machine = Machine::<2>::new();
    let [zero, one] = machine.online_cpus();
    machine.watchdog_ticks.store(10, Relaxed);
    machine.freezes_clock_after_report.store(true, Relaxed);
    machine.loses_ipis.store(true, Relaxed);
    let round = machine.shootdown.begin(&zero, [pages(0, 1)].into_iter());
    machine.loses_ipis.store(false, Relaxed);
    std::thread::scope(|s| {
        s.spawn(move || one.run_until_done());
        machine.shootdown.wait(&zero, round);
        zero.done();
    });
    assert_eq!(machine.shootdown.counters(zero.id).values().ipis_sent, 2);
    assert_eq!(machine.shootdown.counters(zero.id).values().waits, 1);
    assert!(machine.shootdown.counters(zero.id).values().longest_wait_ticks >= 10);
}

#[test]
#[should_panic(expected = "cpu 1,3 has not acked generation 1 for 4")]
fn cpus_that_never_answer_are_dumped_and_then_named() {
    let machine = Machine::<4>::new();
    let [zero, _one, two, _three] = machine.online_cpus();
    machine.watchdog_ticks.store(10, Relaxed);
    let round = machine.shootdown.begin(&zero, [pages(0, 1)].into_iter());
    two.window();
    let machine_at_panic = machine.clone();
    let _check = Check(move || {
        assert_eq!(machine_at_panic.late_reports.lock().unwrap().len(), 1);
        assert_eq!(machine_at_panic.nr_ipis.load(Relaxed), 5, "three, then two again");
    });
    machine.shootdown.wait(&zero, round);
}

/// Runs a check on the way out of a test that ends in a panic.
struct Check<F: FnMut()>(F);

impl<F: FnMut()> Drop for Check<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
