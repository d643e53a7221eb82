//! Break before make: what remapping, resizing and splitting do, and what they refuse.

use super::tlbs::Tlbs;
use super::*;

const GIB: usize = 1 << 30;
const PAGES_2MIB: usize = 512;
const PAGES_1GIB: usize = 512 * 512;

fn resize<'t, 'm>(
    table: &'t Table<'m>,
    range: VirtRange,
    largest: Level,
) -> Result<Remapping<'t, LikeX86, &'m Machine>> {
    // SAFETY: the memory of this machine does not exist, so nobody uses it.
    unsafe { table.resize(range, largest) }
}

fn remap<'t, 'm>(
    table: &'t Table<'m>,
    range: VirtRange,
    phys: u64,
    largest: Level,
) -> Result<Remapping<'t, LikeX86, &'m Machine>> {
    // SAFETY: as above.
    unsafe { table.remap(range, phys, RW, largest) }
}

fn split<'t, 'm>(table: &'t Table<'m>, range: VirtRange) -> Result<Option<Splitting<'t, LikeX86, &'m Machine>>> {
    // SAFETY: as above.
    unsafe { table.split(range) }
}

fn finish(machine: &Machine, token: Remapping<'_, LikeX86, &Machine>) -> Vec<Extent> {
    let mut old = Vec::new();
    let proof = Round::over(machine, token.range());
    token.finish(&proof, |extent| old.push(extent));
    old
}

fn finish_split(machine: &Machine, token: Option<Splitting<'_, LikeX86, &Machine>>) {
    let token = token.expect("there is something to split");
    let proof = Round::over(machine, range(BASE, 1 << 30));
    token.finish(&proof);
}

/// How many leaves of each level there are, L1 first.
fn sizes(table: &Table<'_>) -> [usize; 3] {
    let leaves = all_leaves(table);
    [Level::L1, Level::L2, Level::L3].map(|level| leaves.iter().filter(|leaf| leaf.level == level).count())
}

#[test]
fn pages_lead_elsewhere_only_after_the_round() {
    let machine = Machine::new(8);
    let table = table(&machine);
    let pages = range(BASE + 0x3000, 4);
    table.map(pages, 0x10_0000, RW, Level::L1).unwrap();
    let token = remap(&table, pages, 0x40_0000, Level::L3).unwrap();
    assert_eq!((token.range(), token.since()), (pages, 7));
    assert_eq!(table.translate(pages.start()), None);
    assert_eq!(table.map(pages, 0, RW, Level::L1), Err(AlreadyMapped { addr: pages.start() }), "nobody else's");
    assert_eq!(unmap(&table, pages).err(), Some(NotMapped { addr: pages.start() }));
    let old = finish(&machine, token);
    assert_eq!(old, [0, 1, 2, 3].map(|page| Extent { phys: 0x10_0000 + page * 0x1000, nr_pages: 1 }));
    assert_eq!(table.translate(pages.start() + 0x2345).map(|at| at.phys), Some(0x40_2345));
}

#[test]
fn leaves_of_every_size_become_leaves_of_every_other() {
    let levels = [Level::L1, Level::L2, Level::L3];
    // Miri does without the largest leaf: it becomes smaller ones by a split, elsewhere.
    let (levels, all) = if cfg!(miri) { (&levels[..2], PAGES_2MIB) } else { (&levels[..], PAGES_1GIB) };
    let (all, nr_bytes) = (range(BASE, all), all * PAGE_SIZE);
    for &from in levels {
        for &to in levels {
            let machine = Machine::new(3 + all.nr_pages() / PAGES_2MIB);
            let table = table(&machine);
            table.map(all, 1 << 30, RW, from).unwrap();
            let nr_tables = table.nr_tables();
            let old = finish(&machine, resize(&table, all, to).unwrap());
            assert_eq!(old.len() as u64, all.nr_pages() as u64 / from.nr_pages(), "{from:?} to {to:?}");
            assert_eq!(old.iter().map(|extent| extent.nr_pages).sum::<usize>(), all.nr_pages());
            let leaves = all_leaves(&table);
            assert_eq!(leaves.len() as u64, all.nr_pages() as u64 / to.nr_pages(), "{from:?} to {to:?}");
            assert!(leaves.iter().all(|leaf| leaf.level == to && leaf.attributes == RW));
            for offset in [0, 0x1234, nr_bytes / 2 + 0x5678, nr_bytes - 1] {
                assert_eq!(table.translate(BASE + offset).map(|at| at.phys), Some((GIB + offset) as u64));
            }
            assert_eq!(table.nr_tables(), machine.nr_tables_out());
            // What was taken out is used again.
            let max = table.nr_tables().max(nr_tables);
            for level in [Level::L1, Level::L3, Level::L2, from] {
                finish(&machine, resize(&table, all, level).unwrap());
            }
            assert_eq!(table.nr_tables(), max.max(3 + all.nr_pages() / PAGES_2MIB), "{from:?} to {to:?}");
            assert_eq!(table.nr_tables(), machine.nr_tables_out());
        }
    }
}

#[test]
fn a_table_that_was_taken_out_serves_the_next_who_maps() {
    let machine = Machine::new(8);
    let table = table(&machine);
    let large = range(BASE, PAGES_2MIB);
    table.map(large, 0, RW, Level::L1).unwrap();
    finish(&machine, resize(&table, large, Level::L2).unwrap());
    assert_eq!((sizes(&table), table.nr_tables()), ([0, 1, 0], 4));
    machine.budget.store(0, Ordering::Relaxed);
    table.map(range(BASE + 4 * MIB, 3), 0, RW, Level::L1).unwrap();
    assert_eq!(table.leaves(range(BASE + 4 * MIB, PAGES_2MIB)).count(), 3, "and it was empty");
    assert_eq!((table.nr_tables(), machine.nr_tables_out()), (4, 4));
}

#[test]
fn what_cannot_be_resized_is_an_error_with_the_address() {
    let machine = Machine::new(8);
    let table = table(&machine);
    table.map(range(BASE, 2), 0x10_0000, RW, Level::L1).unwrap();
    table.map(range(BASE + 0x2000, 1), 0x20_0000, RW, Level::L1).unwrap();
    table.map(range(BASE + 0x3000, 1), 0x20_1000, Attributes::READ_ONLY, Level::L1).unwrap();
    table.map(range(BASE + 2 * MIB, PAGES_2MIB), 0, RW, Level::L2).unwrap();
    let before = all_leaves(&table);
    let error = |start: usize, nr_pages| resize(&table, range(BASE + start, nr_pages), Level::L2).err();
    assert_eq!(error(0, 3), Some(BadRequest { value: BASE + 0x2000 }), "memory is not adjacent");
    assert_eq!(error(0x2000, 2), Some(BadRequest { value: BASE + 0x3000 }), "rights differ");
    assert_eq!(error(0x3000, 2), Some(NotMapped { addr: BASE + 0x4000 }));
    assert_eq!(error(2 * MIB, 1), Some(WouldSplit { addr: BASE + 2 * MIB }));
    assert_eq!(remap(&table, range(BASE, 1), 0x1001, Level::L1).err(), Some(BadRequest { value: 0x1001 }));
    assert_eq!(remap(&table, range(BASE, 1), 0, Level::L4).err(), Some(BadRequest { value: 4 }));
    assert_eq!(remap(&table, range(BASE, 5), 0, Level::L1).err(), Some(NotMapped { addr: BASE + 0x4000 }));
    let inside = range(BASE + 3 * MIB, 5);
    assert_eq!(remap(&table, inside, 0, Level::L1).err(), Some(WouldSplit { addr: BASE + 3 * MIB }));
    assert_eq!(all_leaves(&table), before);
}

#[test]
fn a_hole_below_a_table_keeps_it_from_being_taken_out() {
    let machine = Machine::new(8);
    let table = table(&machine);
    let large = range(BASE, PAGES_2MIB);
    table.map(large, 0, RW, Level::L1).unwrap();
    let token = unmap(&table, range(BASE + 0x7000, 1)).unwrap();
    assert_eq!(remap(&table, large, 0, Level::L2).err(), Some(NotMapped { addr: BASE + 0x7000 }), "in quarantine");
    let proof = Round::over(&machine, token.range());
    token.release(&proof, |_| ());
    assert_eq!(remap(&table, large, 0, Level::L2).err(), Some(NotMapped { addr: BASE + 0x7000 }), "empty");
    assert_eq!(table.leaves(large).count(), PAGES_2MIB - 1);
}

#[test]
fn a_split_leaf_can_be_unmapped_and_protected_in_part() {
    let machine = Machine::new(16);
    let table = table(&machine);
    let all = range(BASE, PAGES_1GIB);
    table.map(all, 1 << 30, RW, Level::L3).unwrap();
    let part = range(BASE + 5 * MIB, 3);
    assert_eq!(unmap(&table, part).err(), Some(WouldSplit { addr: part.start() }));
    let token = split(&table, part).unwrap().unwrap();
    assert_eq!(token.ranges(), [Some(all), None], "the whole leaf has to be flushed");
    assert_eq!(table.translate(BASE), None);
    finish_split(&machine, Some(token));
    assert_eq!(sizes(&table), [512, 511, 0], "no smaller than needed");
    assert!(split(&table, part).unwrap().is_none(), "once is enough");

    let Ok(Protected::Lowered(token)) = protect(&table, part, Attributes::READ_ONLY) else { panic!("not lowered") };
    token.spend(&Round::over(&machine, part));
    let token = unmap(&table, part).unwrap();
    let proof = Round::over(&machine, part);
    let mut released = Vec::new();
    token.release(&proof, |extent| released.push(extent.phys));
    assert_eq!(released, [0, 0x1000, 0x2000].map(|offset| (1 << 30) + 5 * MIB as u64 + offset));
    for (offset, mapped) in [(5 * MIB - 1, true), (5 * MIB, false), (5 * MIB + 0x3000, true), (GIB - 1, true)] {
        let phys = mapped.then_some((GIB + offset) as u64);
        assert_eq!(table.translate(BASE + offset).map(|at| at.phys), phys, "{offset:#x}");
    }
}

#[test]
fn the_leaves_at_both_ends_are_split_and_those_between_stay() {
    let machine = Machine::new(16);
    let table = table(&machine);
    table.map(range(BASE, 4 * PAGES_2MIB), 0, RW, Level::L2).unwrap();
    let token = split(&table, range(BASE + 0x5000, 3 * PAGES_2MIB)).unwrap().unwrap();
    assert_eq!(token.ranges(), [Some(range(BASE, 512)), Some(range(BASE + 6 * MIB, 512))]);
    finish_split(&machine, Some(token));
    assert_eq!(sizes(&table), [1024, 2, 0]);
    assert!(split(&table, range(BASE + 2 * MIB, 512)).unwrap().is_none());
    assert_eq!(split(&table, range(BASE + 6 * MIB, 513)).err(), Some(NotMapped { addr: BASE + 8 * MIB }));
    // Both ends in one leaf.
    finish_split(&machine, split(&table, range(BASE + 2 * MIB + 0x1000, 1)).unwrap());
    assert_eq!(sizes(&table), [1536, 1, 0]);
    assert_eq!(table.translate(BASE + 4 * MIB - 1).map(|at| at.phys), Some((4 * MIB - 1) as u64));
}

/// Fails the n-th table allocation, for every n until all succeed; each failure leaves all as it was, and gives back what
/// it took.
#[test]
fn running_out_of_tables_breaks_nothing() {
    for largest in [Level::L1, Level::L2] {
        let machine = Machine::new(if cfg!(miri) { 8 } else { 600 });
        let table = table(&machine);
        let all = range(BASE, if cfg!(miri) { PAGES_2MIB } else { PAGES_1GIB });
        table.map(all, 1 << 30, RW, Level::L3).unwrap();
        let (before, nr_tables) = (all_leaves(&table), table.nr_tables());
        let nr_needed = if largest == Level::L1 { all.nr_pages() / 512 } else { 0 } + all.nr_pages() / PAGES_1GIB;
        for budget in (0..nr_needed).step_by((nr_needed / 7).max(1)) {
            machine.budget.store(budget, Ordering::Relaxed);
            assert_eq!(resize(&table, all, largest).err(), Some(OutOfMemory { bytes: PAGE_SIZE }), "with {budget}");
            assert_eq!((all_leaves(&table), table.nr_tables()), (before.clone(), nr_tables));
            assert_eq!(machine.nr_tables_out(), nr_tables, "all given back");
        }
        machine.budget.store(nr_needed, Ordering::Relaxed);
        finish(&machine, resize(&table, all, largest).unwrap());
        assert_eq!(machine.budget.load(Ordering::Relaxed), 0, "and no more");
    }
}

#[test]
fn running_out_of_tables_splits_nothing() {
    let machine = Machine::new(16);
    let table = table(&machine);
    table.map(range(BASE, 2 * PAGES_1GIB), 0, RW, Level::L3).unwrap();
    let before = all_leaves(&table);
    // In both leaves a table of L2 and one of L1.
    let part = range(BASE + GIB - 0x5000, 10);
    for budget in 0..4 {
        let nr_tables = table.nr_tables();
        machine.budget.store(1.min(budget), Ordering::Relaxed);
        assert_eq!(split(&table, part).err(), Some(OutOfMemory { bytes: PAGE_SIZE }));
        assert_eq!(all_leaves(&table), before);
        assert!(table.nr_tables() <= nr_tables + 1, "what it took is kept for the next try");
    }
    machine.budget.store(4, Ordering::Relaxed);
    finish_split(&machine, split(&table, part).unwrap());
    assert_eq!(table.nr_tables(), 2 + 4);
    assert_eq!(sizes(&table), [1024, 1022, 0]);
}

#[test]
#[should_panic(expected = "was not flushed since")]
fn a_round_begun_before_the_break_is_no_proof() {
    let machine = Machine::new(8);
    let table = table(&machine);
    table.map(range(BASE, 1), 0, RW, Level::L1).unwrap();
    let early = Round::over(&machine, range(BASE, 1));
    remap(&table, range(BASE, 1), 0x5000, Level::L1).unwrap().finish(&early, |_| ());
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "never spent on a shootdown")]
fn a_remapping_that_is_dropped_panics_in_debug_builds() {
    let machine = Machine::new(8);
    let table = table(&machine);
    table.map(range(BASE, 1), 0, RW, Level::L1).unwrap();
    drop(remap(&table, range(BASE, 1), 0x5000, Level::L1));
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "never spent on a shootdown")]
fn a_splitting_that_is_dropped_panics_in_debug_builds() {
    let machine = Machine::new(8);
    let table = table(&machine);
    table.map(range(BASE, PAGES_2MIB), 0, RW, Level::L2).unwrap();
    drop(split(&table, range(BASE, 1)));
}

/// The watching processors are no ornament: make before break, and they see two sizes at once.
#[test]
#[should_panic(expected = "knows")]
fn processors_notice_a_leaf_that_is_changed_without_a_break() {
    let machine = Machine::new(8);
    let table = table(&machine);
    table.map(range(BASE, PAGES_2MIB), 0, RW, Level::L2).unwrap();
    let first = range(BASE, 1).page_numbers().start;
    let tlbs = Tlbs::watch(&machine, table.root(), vec![first, first + 7], 1, 1 << 40);
    tlbs.load_all(&machine, table.root());
    let tables = &machine;
    let small = tables.alloc_table().unwrap();
    for i in 0..512 {
        let leaf = LikeX86.leaf(Level::L1, i as u64 * 4096, RW);
        // SAFETY: a table of the machine's, and one of its 512 entries.
        unsafe { tables.entry(small, i) }.store(leaf, Ordering::Relaxed);
    }
    entry_of(&table, BASE).store(LikeX86.table(small), Ordering::Relaxed);
    tlbs.load_all(&machine, table.root());
    tlbs.check();
}

/// A table that is used again before a shootdown dropped it from the paging-structure caches is noticed as well.
#[test]
#[should_panic(expected = "knows")]
fn processors_notice_a_table_that_is_used_again_too_soon() {
    let machine = Machine::new(8);
    let table = table(&machine);
    table.map(range(BASE, PAGES_2MIB), 0, RW, Level::L1).unwrap();
    let first = range(BASE, 1).page_numbers().start;
    let tlbs = Tlbs::watch(&machine, table.root(), vec![first], 1, 1 << 40);
    tlbs.load_all(&machine, table.root());
    let token = resize(&table, range(BASE, PAGES_2MIB), Level::L2).unwrap();
    // A proof without a flush.
    let proof = Round::over(&machine, token.range());
    token.finish(&proof, |_| ());
    tlbs.load_all(&machine, table.root());
    tlbs.check();
}
