//! Memory for tables runs out at every point where it can.

use super::*;

/// Fails the n-th table allocation, for every n until all succeed.
#[test]
fn running_out_of_tables_leaves_every_leaf_as_it_was() {
    let machine = Machine::new(16);
    // Across a boundary of every level: two tables each of L3, L2 and L1, at the middle of the upper half.
    let pages = range(BASE - 0x1000, 2);
    let mut nr_failures = 0;
    let table = table(&machine);
    table.map(range(BASE + 0x10_0000_0000, 1), 0x9000, RW, Level::L1).unwrap();
    let before = all_leaves(&table);
    loop {
        machine.budget.store(nr_failures, Ordering::Relaxed);
        let nr_tables_before = table.nr_tables();
        let result = match nr_failures % 2 {
            0 => table.map(pages, 0x5000, RW, Level::L3),
            _ => table.map_frames(pages, [Frame::new(5), Frame::new(6)].into_iter(), RW),
        };
        assert_eq!(table.nr_tables(), machine.nr_tables_out());
        if result.is_ok() {
            break;
        }
        assert_eq!(result, Err(OutOfMemory { bytes: PAGE_SIZE }));
        assert_eq!(all_leaves(&table), before);
        assert_eq!(table.nr_tables(), nr_tables_before + nr_failures, "tables added stay");
        nr_failures += 1;
    }
    // 5 tables are missing: what one attempt adds, the next finds. 0, then 1, then 2 more, and 3 are enough.
    assert_eq!(nr_failures, 3);
    assert_eq!(all_leaves(&table).len(), 3);
    assert_eq!(table.translate(BASE).map(|at| at.phys), Some(0x6000));
}

#[test]
fn running_out_at_any_single_table_is_the_same_on_a_fresh_machine() {
    for budget in (0..).step_by(if cfg!(miri) { 4 } else { 1 }) {
        let machine = Machine::new(16);
        let table = table(&machine);
        machine.budget.store(budget, Ordering::Relaxed);
        let pages = range(BASE - 2 * MIB - 0x1000, 1026);
        if table.map(pages, 0x5000, RW, Level::L1).is_ok() {
            assert_eq!(budget, 2 + 2 + 4, "tables of L3, L2, and L1");
            assert_eq!(table.leaves(pages).count(), 1026);
            break;
        }
        assert_eq!(all_leaves(&table), []);
        assert_eq!(table.nr_tables(), budget + 1);
        machine.budget.store(16, Ordering::Relaxed);
        assert_eq!(table.map(pages, 0x5000, RW, Level::L1), Ok(()), "after {budget} tables");
    }
}

#[test]
fn reserved_tables_make_mapping_certain() {
    let machine = Machine::new(16);
    let table = table(&machine);
    let pages = range(BASE - 0x1000, 514);
    table.reserve_tables(pages).unwrap();
    machine.budget.store(0, Ordering::Relaxed);
    table.map_frames(pages, (100..614).map(Frame::new).collect::<Vec<_>>().into_iter(), RW).unwrap();
    assert_eq!(table.translate(BASE + 512 * 4096 + 5).map(|at| at.phys), Some(613 * 4096 + 5));
    let token = unmap(&table, pages).unwrap();
    let proof = Round::over(&machine, pages);
    token.release(&proof, |_| ());
    // A large page would fit now, but a table stands in its place for good.
    table.map(range(BASE, 512), 0, RW, Level::L3).unwrap();
    assert_eq!(table.translate(BASE).map(|at| at.level), Some(Level::L1));
}
