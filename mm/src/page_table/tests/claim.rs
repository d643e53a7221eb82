//! Claims: one at a time of a leaf, by several CPUs at once, while the hardware sets bits.

use super::machine::{ACCESSED, DIRTY, Machine, Round};
use super::*;

#[test]
fn a_leaf_is_claimed_once_until_the_claim_is_dropped_or_the_leaf_is_unmapped() {
    let machine = Machine::new(8);
    let table = table(&machine);
    let pages = range(BASE, 3);
    table.map(pages, 0x1000, RW, Level::L1).unwrap();
    let before = table.translate(BASE);
    let claim = table.claim(BASE).unwrap();
    assert_eq!(table.translate(BASE), before, "it says what it did");
    assert!(table.claim(BASE).is_none() && table.claim(BASE + 0xfff).is_none());
    assert!(table.claim(BASE + PAGE_SIZE).is_some(), "another page is another leaf");
    entry_of(&table, BASE).fetch_or(ACCESSED | DIRTY, Ordering::Relaxed);
    drop(claim);
    assert_eq!(entry_of(&table, BASE).load(Ordering::Relaxed) & (ACCESSED | DIRTY), ACCESSED | DIRTY);

    let claim = table.claim(BASE).unwrap();
    match protect(&table, range(BASE, 1), Attributes::READ_ONLY).unwrap() {
        Protected::Lowered(token) => token.spend(&Round::over(&machine, range(BASE, 1))),
        other => panic!("a right was taken away, but {other:?}"),
    }
    assert!(claim.is_held() && table.claim(BASE).is_none(), "a change of rights leaves it");
    let token = unmap(&table, pages).unwrap();
    assert!(!claim.is_held() && table.claim(BASE).is_none(), "it is in quarantine");
    drop(claim);
    token.release(&Round::over(&machine, pages), |_| ());
    assert!(table.claim(BASE).is_none() && table.claim(0x8000_0000_0000).is_none(), "nothing is mapped");
    table.map(pages, 0x1000, RW, Level::L1).unwrap();
    assert!(table.claim(BASE).is_some(), "the next leaf there is nobody's yet");
}

/// Frees by address, by several CPUs at once, while the hardware sets bits.
#[test]
fn of_many_who_claim_a_leaf_one_gets_it() {
    let machine = Machine::new(8);
    let table = table(&machine);
    let nr_rounds = if cfg!(miri) { 5 } else { 2000 };
    let page = range(BASE, 1);
    let (meeting, nr_claims) = (std::sync::Barrier::new(4), AtomicU64::new(0));
    let claim_and_unmap = |is_first: bool| {
        for round in 1..=nr_rounds {
            if is_first {
                table.map(page, 0x1000, RW, Level::L1).unwrap();
            }
            meeting.wait();
            if let Some(claim) = table.claim(BASE) {
                nr_claims.fetch_add(1, Ordering::Relaxed);
                let token = unmap(&table, page).unwrap();
                drop(claim);
                token.release(&Round::over(&machine, page), |_| ());
            }
            meeting.wait();
            assert_eq!(nr_claims.load(Ordering::Relaxed), round);
            meeting.wait();
        }
    };
    std::thread::scope(|scope| {
        for cpu in 0..3 {
            let claim_and_unmap = &claim_and_unmap;
            scope.spawn(move || claim_and_unmap(cpu == 0));
        }
        let entry = || Some(entry_of(&table, BASE)).filter(|entry| entry.load(Ordering::Relaxed) & 1 != 0);
        for _ in 0..nr_rounds {
            meeting.wait();
            if let Some(entry) = entry() {
                let dirty = |value: u64| (value & 1 != 0).then_some(value | ACCESSED | DIRTY);
                _ = entry.fetch_update(Ordering::Relaxed, Ordering::Relaxed, dirty);
            }
            meeting.wait();
            meeting.wait();
        }
    });
}
