//! The walker on a machine made of a `Vec`.

mod claim;
mod machine;
mod model;
mod out_of_tables;
mod remap;
mod remap_model;
mod tlbs;

use super::*;
use crate::error::Error::*;
use crate::frame::FrameRange;
use machine::{ACCESSED, DIRTY, LikeX86, Machine, Round};
use std::sync::atomic::AtomicU64;
use std::vec::Vec;

const BASE: usize = 0xffff_c000_0000_0000;
const MIB: usize = 1 << 20;
const RW: Attributes = Attributes::READ_WRITE;

type Table<'m> = PageTable<LikeX86, &'m Machine>;

fn table(machine: &Machine) -> Table<'_> {
    PageTable::new(LikeX86, machine).unwrap()
}

fn range(start: usize, nr_pages: usize) -> VirtRange {
    VirtRange::new(start, nr_pages).unwrap()
}

fn unmap<'t, 'm>(table: &'t Table<'m>, range: VirtRange) -> Result<Unmapped<'t, LikeX86, &'m Machine>> {
    // SAFETY: the memory of this machine does not exist, so nobody uses it.
    unsafe { table.unmap(range) }
}

fn protect(table: &Table<'_>, range: VirtRange, attributes: Attributes) -> Result<Protected> {
    // SAFETY: the memory of this machine does not exist, so nobody uses it.
    unsafe { table.protect(range, attributes) }
}

/// Every leaf of both halves.
fn all_leaves(table: &Table<'_>) -> Vec<Leaf> {
    let halves = [range(0, 1 << 35), range(0xffff_8000_0000_0000, 1 << 35)];
    halves.into_iter().flat_map(|half| table.leaves(half)).collect()
}

fn entry_of<'t>(table: &'t Table<'_>, addr: usize) -> &'t AtomicU64 {
    let mut found = None;
    let visited = table.visit(range(addr, 1), |slot| {
        found = Some(slot.entry);
        Ok(Step::Over)
    });
    visited.unwrap();
    found.unwrap()
}

#[test]
fn every_byte_of_a_mapping_leads_where_it_should() {
    let machine = Machine::new(8);
    let table = table(&machine);
    table.map(range(BASE + 0x5000, 3), 0x1234_5000, Attributes::EXECUTABLE, Level::L3).unwrap();
    let expected = |phys| Some(Mapping { phys, level: Level::L1, attributes: Attributes::EXECUTABLE });
    assert_eq!(table.translate(BASE + 0x5000), expected(0x1234_5000));
    assert_eq!(table.translate(BASE + 0x7fff), expected(0x1234_7fff));
    for addr in [BASE + 0x4fff, BASE + 0x8000, 0x5000, 0x8000_0000_0000, 0xc000_0000_5000, usize::MAX] {
        assert_eq!(table.translate(addr), None, "{addr:#x}");
    }
    assert_eq!((table.nr_tables(), machine.nr_tables_out()), (4, 4));
}

#[test]
fn the_largest_pages_that_alignment_permits_are_used() {
    let machine = Machine::new(16);
    let table = table(&machine);
    let pages = |mib: usize| mib * MIB / PAGE_SIZE;
    // From 2 MiB before a GiB boundary, one page more than 1 GiB + 4 MiB.
    let all = range(BASE + 1022 * MIB, pages(1028) + 1);
    table.map(all, (3 << 30) - (2 << 20), RW, Level::L3).unwrap();
    let levels: Vec<Level> = table.leaves(all).map(|leaf| leaf.level).collect();
    assert_eq!(levels, [Level::L2, Level::L3, Level::L2, Level::L1]);
    assert_eq!(table.translate(BASE + 1024 * MIB + 12345).map(|at| at.phys), Some((3 << 30) + 12345));
    assert_eq!(table.translate(all.start() + 1028 * MIB).map(|at| at.phys), Some((3 << 30) + (1026 << 20)));

    let other = range(BASE + (8 << 30), pages(1024));
    table.map(other, 1 << 30, RW, Level::L2).unwrap();
    assert!(table.leaves(other).all(|leaf| leaf.level == Level::L2), "1 GiB was not allowed");
    let small = range(BASE + (9 << 30), pages(2));
    table.map(small, 2 << 20, RW, Level::L1).unwrap();
    assert!(table.leaves(small).all(|leaf| leaf.level == Level::L1), "2 MiB was not allowed");
    let crooked = range(BASE + (9 << 30) + 4 * MIB, pages(2));
    table.map(crooked, (4 << 20) + 0x1000, RW, Level::L3).unwrap();
    assert!(table.leaves(crooked).all(|leaf| leaf.level == Level::L1), "the physical side is not aligned");
    assert_eq!(table.leaves(crooked).count(), 512);
}

#[test]
fn the_ends_of_the_address_space_can_be_mapped() {
    let machine = Machine::new(16);
    let table = table(&machine);
    for addr in [0, 0x7fff_ffff_f000, 0xffff_8000_0000_0000, 0xffff_ffff_ffff_f000] {
        table.map(range(addr, 1), 0x1000, RW, Level::L3).unwrap();
        assert_eq!(table.translate(addr + 0xfff).map(|at| at.phys), Some(0x1fff), "{addr:#x}");
    }
    let last = range(0xffff_ffff_ffe0_0000, 512);
    assert_eq!(table.map(last, 0x20_0000, RW, Level::L3), Err(AlreadyMapped { addr: 0xffff_ffff_ffff_f000 }));
    assert_eq!(all_leaves(&table).len(), 4);
    let token = unmap(&table, range(0xffff_ffff_ffff_f000, 1)).unwrap();
    let proof = Round::over(&machine, token.range());
    token.release(&proof, |_| ());
    assert_eq!(table.map(last, 0x20_0000, RW, Level::L3), Ok(()));
    assert_eq!(table.translate(usize::MAX).map(|at| at.phys), Some(0x3f_ffff));
}

#[test]
fn requests_that_make_no_sense_are_errors_with_the_value() {
    let machine = Machine::new(8);
    let table = table(&machine);
    let page = range(BASE, 1);
    assert_eq!(table.map(page, 0x1001, RW, Level::L1), Err(BadRequest { value: 0x1001 }));
    assert_eq!(table.map(page, PHYS_END, RW, Level::L1), Err(BadRequest { value: 1 << 52 }));
    assert_eq!(table.map(page, !0xfff, RW, Level::L1), Err(BadRequest { value: !0xfff }));
    assert_eq!(
        table.map(range(BASE, 2), PHYS_END - 0x1000, RW, Level::L1),
        Err(BadRequest { value: (1 << 52) - 4096 })
    );
    assert_eq!(table.map(page, 0, RW, Level::L4), Err(BadRequest { value: 4 }));
    let writable_code = Attributes { executable: true, ..RW };
    assert_eq!(table.map(page, 0, writable_code, Level::L1), Err(BadRequest { value: BASE }));
    assert_eq!(table.map_frames(page, [Frame::new(1)].into_iter(), writable_code), Err(BadRequest { value: BASE }));
    assert_eq!(table.map_frames(range(BASE, 2), [Frame::new(1)].into_iter(), RW), Err(BadRequest { value: 1 }));
    assert_eq!(table.nr_tables(), 1, "nothing was begun");
    table.map(page, 0, RW, Level::L1).unwrap();
    assert_eq!(protect(&table, page, writable_code).err(), Some(BadRequest { value: BASE }));
}

#[test]
fn what_is_mapped_in_part_is_neither_mapped_over_nor_unmapped() {
    let machine = Machine::new(8);
    let table = table(&machine);
    table.map(range(BASE + 0x3000, 2), 0x3000, RW, Level::L1).unwrap();
    let before = all_leaves(&table);
    assert_eq!(table.map(range(BASE, 8), 0, RW, Level::L1), Err(AlreadyMapped { addr: BASE + 0x3000 }));
    let frames = [1, 2].map(Frame::new);
    let refused = table.map_frames(range(BASE + 0x4000, 2), frames.into_iter(), RW);
    assert_eq!(refused, Err(AlreadyMapped { addr: BASE + 0x4000 }));
    assert_eq!(unmap(&table, range(BASE + 0x3000, 3)).err(), Some(NotMapped { addr: BASE + 0x5000 }));
    assert_eq!(unmap(&table, range(BASE, 4)).err(), Some(NotMapped { addr: BASE }));
    let refused = protect(&table, range(BASE + 0x3000, 3), Attributes::READ_ONLY);
    assert_eq!(refused.err(), Some(NotMapped { addr: BASE + 0x5000 }));
    assert_eq!(all_leaves(&table), before);
}

#[test]
fn large_pages_are_not_split() {
    let machine = Machine::new(8);
    let table = table(&machine);
    table.map(range(BASE, 1024), 0, RW, Level::L2).unwrap();
    let before = all_leaves(&table);
    assert_eq!(unmap(&table, range(BASE, 513)).err(), Some(WouldSplit { addr: BASE + 2 * MIB }));
    assert_eq!(unmap(&table, range(BASE + 0x1000, 1023)).err(), Some(WouldSplit { addr: BASE + 0x1000 }));
    let refused = protect(&table, range(BASE, 600), Attributes::READ_ONLY);
    assert_eq!(refused.err(), Some(WouldSplit { addr: BASE + 2 * MIB }));
    assert_eq!(table.map(range(BASE + MIB, 1), 0, RW, Level::L1), Err(AlreadyMapped { addr: BASE + MIB }));
    assert_eq!(all_leaves(&table), before);
}

#[test]
fn frames_come_out_of_quarantine_leaf_by_leaf_for_a_proof() {
    let machine = Machine::new(8);
    let table = table(&machine);
    let small = range(BASE, 3);
    let frames = [900, 7, 512].map(Frame::new);
    table.map_frames(small, frames.into_iter(), RW).unwrap();
    let large = range(BASE + 2 * MIB, 512);
    table.map(large, 6 << 20, RW, Level::L2).unwrap();
    let nr_tables = table.nr_tables();

    let tokens = [unmap(&table, small).unwrap(), unmap(&table, large).unwrap()];
    assert_eq!(tokens[0].since(), 7);
    assert_eq!(table.translate(BASE), None);
    assert_eq!(all_leaves(&table), []);
    assert_eq!(table.map(small, 0, RW, Level::L1), Err(AlreadyMapped { addr: BASE }), "in quarantine");
    assert_eq!(table.map(large, 0, RW, Level::L2), Err(AlreadyMapped { addr: BASE + 2 * MIB }), "in quarantine");
    assert_eq!(unmap(&table, small).err(), Some(NotMapped { addr: BASE }), "once is enough");

    // One round for both.
    let proof = Round::over(&machine, range(BASE, 1024));
    let mut released = Vec::new();
    tokens.into_iter().for_each(|token| token.release(&proof, |extent| released.push(extent.frames().unwrap())));
    let single = |number| FrameRange::new(Frame::new(number), 1).unwrap();
    assert_eq!(released, [single(900), single(7), single(512), FrameRange::new(Frame::new(1536), 512).unwrap()]);
    assert_eq!(table.map(large, 0, RW, Level::L2), Ok(()));
    assert_eq!(table.nr_tables(), nr_tables, "tables stay, and are used again");
}

#[test]
fn device_memory_above_all_frames_has_no_frames() {
    assert_eq!(Extent { phys: 1 << 44, nr_pages: 1 }.frames(), None);
    assert_eq!(Extent { phys: (1 << 44) - 4096, nr_pages: 2 }.frames(), None);
    assert!(Extent { phys: (1 << 44) - 4096, nr_pages: 1 }.frames().is_some());
}

#[test]
#[should_panic(expected = "was not flushed since")]
fn a_round_begun_before_the_unmapping_is_no_proof() {
    let machine = Machine::new(8);
    let table = table(&machine);
    table.map(range(BASE, 1), 0, RW, Level::L1).unwrap();
    let early = Round::over(&machine, range(BASE, 1));
    unmap(&table, range(BASE, 1)).unwrap().release(&early, |_| ());
}

#[test]
#[should_panic(expected = "was not flushed since")]
fn a_round_over_another_range_is_no_proof() {
    let machine = Machine::new(8);
    let table = table(&machine);
    table.map(range(BASE, 2), 0, RW, Level::L1).unwrap();
    let token = unmap(&table, range(BASE, 2)).unwrap();
    let half = Round::over(&machine, range(BASE, 1));
    token.release(&half, |_| ());
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "never spent on a shootdown")]
fn a_token_that_is_dropped_panics_in_debug_builds() {
    let machine = Machine::new(8);
    let table = table(&machine);
    table.map(range(BASE, 1), 0, RW, Level::L1).unwrap();
    drop(unmap(&table, range(BASE, 1)));
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "never spent on a shootdown")]
fn a_downgrade_that_is_dropped_panics_in_debug_builds() {
    let machine = Machine::new(8);
    let table = table(&machine);
    table.map(range(BASE, 1), 0, RW, Level::L1).unwrap();
    drop(protect(&table, range(BASE, 1), Attributes::READ_ONLY));
}

#[test]
fn only_a_change_for_the_worse_asks_for_a_shootdown() {
    use Attributes as A;
    let device = A::DEVICE;
    let combining = A { cache: Cache::WriteCombining, ..A::READ_WRITE };
    for (old, new, expected) in [
        (A::READ_ONLY, A::READ_ONLY, "unchanged"),
        (A::READ_ONLY, A::READ_WRITE, "raised"),
        (A::READ_ONLY, A::EXECUTABLE, "raised"),
        (A::READ_WRITE, A::READ_ONLY, "lowered"),
        (A::READ_WRITE, A::EXECUTABLE, "lowered"),
        (A::EXECUTABLE, A::READ_ONLY, "lowered"),
        (A::EXECUTABLE, A::READ_WRITE, "lowered"),
        (A::READ_WRITE, device, "lowered"),
        (device, combining, "lowered"),
        (combining, A::READ_WRITE, "lowered"),
    ] {
        let machine = Machine::new(8);
        let table = table(&machine);
        let pages = range(BASE, 513);
        table.map(pages, 0, old, Level::L2).unwrap();
        let change = match protect(&table, pages, new).unwrap() {
            Protected::Unchanged => "unchanged",
            Protected::Raised => "raised",
            Protected::Lowered(token) => {
                assert_eq!((token.range(), token.since()), (pages, 7));
                token.spend(&Round::over(&machine, pages));
                "lowered"
            }
        };
        assert_eq!(change, expected, "{old:?} to {new:?}");
        assert_eq!(table.leaves(pages).map(|leaf| leaf.attributes).collect::<Vec<_>>(), [new, new]);
    }
}

#[test]
fn one_lowered_page_among_raised_ones_counts() {
    let machine = Machine::new(8);
    let table = table(&machine);
    table.map(range(BASE, 1), 0, Attributes::EXECUTABLE, Level::L1).unwrap();
    table.map(range(BASE + 0x1000, 2), 0, Attributes::READ_ONLY, Level::L1).unwrap();
    let Protected::Lowered(token) = protect(&table, range(BASE, 3), RW).unwrap() else { panic!("not lowered") };
    token.spend(&Round::over(&machine, range(BASE, 3)));
}

#[test]
fn bits_that_the_hardware_sets_survive_a_change_of_rights() {
    let machine = Machine::new(8);
    let table = table(&machine);
    table.map(range(BASE, 1), 0x5000, Attributes::READ_ONLY, Level::L1).unwrap();
    entry_of(&table, BASE).fetch_or(ACCESSED | DIRTY, Ordering::Relaxed);
    assert!(matches!(protect(&table, range(BASE, 1), RW), Ok(Protected::Raised)));
    assert_eq!(entry_of(&table, BASE).load(Ordering::Relaxed) & (ACCESSED | DIRTY), ACCESSED | DIRTY);
    assert_eq!(table.translate(BASE), Some(Mapping { phys: 0x5000, level: Level::L1, attributes: RW }));
}

#[test]
fn the_loser_of_a_race_for_a_table_uses_the_winners() {
    let machine = Machine::new(8);
    let table = table(&machine);
    let (root, index) = (table.root(), Level::L4.index_of(range(BASE, 1).page_numbers().start));
    *machine.in_next_alloc.lock().unwrap() = Some(Box::new(move |machine| {
        let winner = machine.alloc_table().unwrap();
        // SAFETY: the root of a tree that is there; the index is that of an address.
        unsafe { machine.entry(root, index) }.store(LikeX86.table(winner), Ordering::Release);
    }));
    table.map(range(BASE, 1), 0x1000, RW, Level::L1).unwrap();
    assert_eq!(machine.nr_returned.load(Ordering::Relaxed), 1);
    assert_eq!(machine.nr_tables_out(), 4);
    assert_eq!(table.nr_tables(), 3, "the winner counts its own");
    assert_eq!(table.translate(BASE).map(|at| at.phys), Some(0x1000));
}

#[test]
fn owners_of_neighbouring_pages_map_and_unmap_at_once() {
    const NR_OWNERS: usize = 4;
    let (nr_rounds, nr_turns) = if cfg!(miri) { (1, 1) } else { (200, 4) };
    for _ in 0..nr_rounds {
        let machine = Machine::new(16);
        let table = table(&machine);
        let barrier = std::sync::Barrier::new(NR_OWNERS);
        std::thread::scope(|scope| {
            for owner in 0..NR_OWNERS {
                let (table, machine, barrier) = (&table, &machine, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    // Interleaved pages: all owners share every table.
                    for turn in 0..nr_turns {
                        let page = range(BASE + (turn * NR_OWNERS + owner) * 4096, 1);
                        table.map(page, page.start() as u64 & 0xffff_f000, RW, Level::L1).unwrap();
                        let token = unmap(table, page).unwrap();
                        let proof = Round::over(machine, page);
                        token.release(&proof, |extent| assert_eq!(extent.phys, page.start() as u64 & 0xffff_f000));
                        table.map(page, 0x7000, RW, Level::L1).unwrap();
                    }
                });
            }
        });
        let nr_pages = nr_turns * NR_OWNERS;
        assert_eq!(table.leaves(range(BASE, nr_pages)).count(), nr_pages);
        assert_eq!((table.nr_tables(), machine.nr_tables_out()), (4, 4), "losers gave theirs back");
    }
}

#[test]
fn writable_code_of_others_making_is_found() {
    let machine = Machine::new(8);
    let table = table(&machine);
    table.map(range(BASE, 5), 0, RW, Level::L1).unwrap();
    let is_wx = |leaf: &Leaf| leaf.attributes.writable && leaf.attributes.executable;
    assert!(!all_leaves(&table).iter().any(is_wx));
    let entry = entry_of(&table, BASE + 0x3000);
    entry.store(LikeX86.leaf(Level::L1, 0x3000, Attributes { executable: true, ..RW }), Ordering::Relaxed);
    let found: Vec<usize> = all_leaves(&table).into_iter().filter(is_wx).map(|leaf| leaf.range.start()).collect();
    assert_eq!(found, [BASE + 0x3000]);
}
