//! Lists as bootloaders should make them, and as they should not.

use super::*;
use proptest::prelude::*;

const ROOM: Limits = Limits { nr_cpus: 512, nr_asked: usize::MAX, max_apic_id: u32::MAX };

/// A list with these APIC ids, each with a block of its own.
fn list(apic_ids: &[u32]) -> Vec<Entry> {
    apic_ids.iter().enumerate().map(|(place, &id)| Entry::new(place, Some(0x1000 + 32 * place), id)).collect()
}

/// The fates in the order of the list.
fn fates(mut entries: Vec<Entry>, first: u32, limits: Limits) -> (Vec<Fate>, bool) {
    let is_listed = plan(&mut entries, first, limits);
    entries.sort_by_key(|entry| entry.place);
    (entries.iter().map(|entry| entry.fate).collect(), is_listed)
}

const fn start(cpu: usize) -> Fate {
    Fate::Start { cpu }
}

#[test]
fn numbers_follow_the_apic_ids_and_the_first_cpu_is_0_wherever_it_stands() {
    assert_eq!(fates(list(&[0, 1, 2]), 0, ROOM), (vec![Fate::First, start(1), start(2)], true));
    assert_eq!(fates(list(&[513, 0, 512, 261]), 0, ROOM).0, [start(3), Fate::First, start(2), start(1)]);
    assert_eq!(fates(list(&[7, 3, 5]), 5, ROOM).0, [start(2), start(1), Fate::First]);
}

#[test]
fn a_first_cpu_that_is_not_listed_is_told_and_the_others_come() {
    assert_eq!(fates(list(&[1, 2]), 0, ROOM), (vec![start(1), start(2)], false));
    assert_eq!(fates(list(&[]), 0, ROOM), (vec![], false));
}

#[test]
fn an_id_that_is_there_twice_comes_once() {
    assert_eq!(
        fates(list(&[0, 1, 1, 1]), 0, ROOM).0[1..],
        [start(1), Fate::SameId { as_entry: 1 }, Fate::SameId { as_entry: 1 }]
    );
    assert_eq!(fates(list(&[0, 0]), 0, ROOM).0, [Fate::First, Fate::SameId { as_entry: 0 }]);
}

#[test]
fn a_block_that_is_there_twice_comes_once_and_none_not_at_all() {
    let mut entries = list(&[0, 1, 1, 0]);
    entries[2].block = entries[1].block;
    entries[3].block = None;
    assert_eq!(fates(entries, 0, ROOM).0, [Fate::First, start(1), Fate::SameEntry { as_entry: 1 }, Fate::NoEntry]);
}

#[test]
fn limits_park_the_rest() {
    let asked = |nr_asked| fates(list(&[0, 1, 2]), 0, Limits { nr_asked, ..ROOM }).0;
    assert_eq!(asked(2), [Fate::First, start(1), Fate::NotAsked]);
    assert_eq!(asked(1), [Fate::First, Fate::NotAsked, Fate::NotAsked]);
    assert_eq!(asked(0), asked(1), "the first CPU is there, asked for or not");
    assert_eq!(fates(list(&[0, 1, 2]), 0, Limits { nr_cpus: 2, ..ROOM }).0[2], Fate::NoRoom);
    assert_eq!(
        fates(list(&[0, 254, 255]), 0, Limits { max_apic_id: 254, ..ROOM }).0[1..],
        [start(1), Fate::OutOfReach]
    );
}

#[test]
fn every_fate_but_the_usual_ones_says_why() {
    for fate in [Fate::NotAsked, Fate::NoRoom, Fate::NoMemory, Fate::OutOfReach, Fate::NoEntry] {
        assert!(fate.to_string().len() > 10, "{fate:?}");
    }
    assert_eq!(Fate::SameId { as_entry: 3 }.to_string(), "has the same APIC id as entry 3");
    assert_eq!(start(1).to_string(), "");
}

/// Any list: few ids and few blocks, so that they collide, or many.
fn any_list() -> impl Strategy<Value = Vec<(Option<usize>, u32)>> {
    let block = prop_oneof![Just(None), (0..8_usize).prop_map(Some), any::<u16>().prop_map(|n| Some(n.into()))];
    let id = prop_oneof![0..8_u32, 250..260_u32, any::<u32>()];
    prop::collection::vec((block, id), 0..700)
}

proptest! {
    #[test]
    fn whatever_the_list_who_comes_is_one_of_a_kind(
        list in any_list(),
        first in prop_oneof![0..8_u32, any::<u32>()],
        nr_cpus in 1..600_usize,
        nr_asked in 0..600_usize,
        max_apic_id in prop_oneof![Just(254), Just(u32::MAX)],
    ) {
        let mut entries: Vec<Entry> = list.iter().enumerate().map(|(i, &(block, id))| Entry::new(i, block, id)).collect();
        let is_listed = plan(&mut entries, first, Limits { nr_cpus, nr_asked, max_apic_id });

        prop_assert_eq!(entries.len(), list.len());
        let mut places: Vec<usize> = entries.iter().map(|entry| entry.place).collect();
        places.sort_unstable();
        prop_assert!(places.into_iter().eq(0..list.len()), "every entry is still there");

        let started: Vec<&Entry> = entries.iter().filter(|entry| matches!(entry.fate, Fate::Start { .. })).collect();
        for (index, entry) in started.iter().enumerate() {
            prop_assert_eq!(entry.fate, Fate::Start { cpu: index + 1 }, "numbers are dense and in order");
            prop_assert!(entry.apic_id != first && entry.apic_id <= max_apic_id && entry.block.is_some());
        }
        prop_assert!(started.windows(2).all(|two| two[0].apic_id < two[1].apic_id), "ids rise, so none comes twice");
        let mut blocks: Vec<_> = started.iter().map(|entry| entry.block).collect();
        blocks.sort_unstable();
        blocks.dedup();
        prop_assert_eq!(blocks.len(), started.len(), "no two CPUs come by one block");
        prop_assert!(started.len() < nr_cpus && started.len() <= nr_asked.saturating_sub(1));

        prop_assert_eq!(entries.iter().filter(|entry| entry.fate == Fate::First).count(), usize::from(is_listed));
        // What is parked for want of room stays out because the room is full, not because of a miscount.
        if entries.iter().any(|entry| entry.fate == Fate::NoRoom) {
            prop_assert_eq!(started.len(), nr_cpus - 1);
        }
        if entries.iter().any(|entry| entry.fate == Fate::NotAsked) {
            prop_assert_eq!(started.len(), nr_asked.saturating_sub(1));
        }
    }

    #[test]
    fn the_order_of_an_honest_list_changes_nothing(
        ids in prop::collection::btree_set(any::<u32>(), 1..64),
        seed in any::<u64>(),
    ) {
        let ids: Vec<u32> = ids.into_iter().collect();
        let mut shuffled: Vec<(usize, u32)> = ids.iter().copied().enumerate().collect();
        shuffled.sort_by_key(|&(index, _)| (index as u64 + 1).wrapping_mul(seed | 1).rotate_left(17));
        let of = |pairs: &[(usize, u32)]| {
            let mut entries: Vec<Entry> =
                pairs.iter().enumerate().map(|(place, &(block, id))| Entry::new(place, Some(block), id)).collect();
            plan(&mut entries, ids[0], ROOM);
            entries.iter().map(|entry| (entry.apic_id, entry.fate)).collect::<Vec<_>>()
        };
        let straight: Vec<(usize, u32)> = ids.iter().copied().enumerate().collect();
        prop_assert_eq!(of(&shuffled), of(&straight));
    }
}
