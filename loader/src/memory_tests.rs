//! Tests of the memory map, against a model that holds one kind for each page.

use super::*;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

fn map(entries: &[(u64, u64, Kind)]) -> Map {
    Map::new(entries.iter().map(|&(base, size, kind)| (Range::of(base, size), kind))).expect("a valid map")
}

fn check_invariants(map: &Map) {
    for region in map.regions() {
        assert!(
            !region.range.is_empty() && region.range.base % PAGE == 0 && region.range.end % PAGE == 0,
            "{region:?}"
        );
    }
    for pair in map.regions().windows(2) {
        assert!(pair[0].range.end <= pair[1].range.base, "{pair:?}");
        assert!(pair[0].range.end < pair[1].range.base || pair[0].kind != pair[1].kind, "unmerged {pair:?}");
    }
}

fn kind_at(map: &Map, address: u64) -> Option<Kind> {
    map.regions().iter().find(|r| r.range.base <= address && address < r.range.end).map(|r| r.kind)
}

#[test]
fn unsorted_map_with_a_trailing_zero_entry_is_sorted() {
    // The shape that qboot hands over.
    let map = map(&[
        (MIB, 511 * MIB, Kind::Usable),
        (0xfffc_0000, 0x4_0000, Kind::Reserved),
        (0, 0x9_fc00, Kind::Usable),
        (0, 0, Kind::Reserved),
    ]);
    check_invariants(&map);
    assert_eq!(kind_at(&map, 0), Some(Kind::Reserved), "page 0 is never usable");
    assert_eq!(kind_at(&map, 0x9_f000), None, "a page that is only partly usable is not");
    assert_eq!(kind_at(&map, 0x9_e000), Some(Kind::Usable));
    assert_eq!(map.regions().len(), 4);
}

#[test]
fn safest_reading_wins_where_entries_overlap() {
    let map = map(&[
        (MIB, 4 * MIB, Kind::Usable),
        (2 * MIB, MIB, Kind::AcpiReclaimable),
        (2 * MIB + 0x800, 0x100, Kind::Bad),
        (3 * MIB - 0x100, 0x200, Kind::Reserved),
    ]);
    check_invariants(&map);
    assert_eq!(kind_at(&map, 2 * MIB), Some(Kind::Bad), "unaligned bad memory grows to its page");
    assert_eq!(kind_at(&map, 2 * MIB + PAGE), Some(Kind::AcpiReclaimable));
    assert_eq!(kind_at(&map, 3 * MIB - PAGE), Some(Kind::Reserved));
    assert_eq!(kind_at(&map, 3 * MIB), Some(Kind::Reserved));
    assert_eq!(kind_at(&map, 3 * MIB + PAGE), Some(Kind::Usable));
}

#[test]
fn entries_that_wrap_around_are_cut_off() {
    let map = map(&[(MIB, MIB, Kind::Usable), (u64::MAX - 5, 100, Kind::Usable), (1 << 51, u64::MAX, Kind::Reserved)]);
    check_invariants(&map);
    assert_eq!(kind_at(&map, 1 << 51), Some(Kind::Reserved));
}

#[test]
fn map_without_usable_memory_is_refused() {
    let only = |size, kind| Map::new([(Range::of(0, size), kind)].into_iter()).err();
    assert_eq!(only(GIB, Kind::Reserved), Some(MemoryError::NothingUsable));
    assert_eq!(only(PAGE, Kind::Usable), Some(MemoryError::NothingUsable));
    assert_eq!(Map::new(core::iter::empty()).err(), Some(MemoryError::NothingUsable));
}

#[test]
fn allocation_is_aligned_below_its_bound_and_never_handed_out_twice() {
    let mut map = map(&[(0, 640 * 1024, Kind::Usable), (MIB, 63 * MIB, Kind::Usable), (4 * GIB, GIB, Kind::Usable)]);
    let trampoline = map.allocate(PAGE, PAGE, Kind::Reclaimable, MIB).expect("low memory");
    assert!(trampoline + PAGE <= MIB);
    let kernel = map.allocate(3 * MIB + 1, 2 * MIB, Kind::ExecutableAndModules, 4 * GIB).expect("an aligned range");
    assert_eq!(kernel % (2 * MIB), 0);
    assert!(kernel + 3 * MIB + PAGE <= 64 * MIB);
    let mut taken = vec![];
    while let Ok(base) = map.allocate(MIB, PAGE, Kind::Reclaimable, 4 * GIB) {
        assert!(taken.iter().all(|&other: &u64| base + MIB <= other || other + MIB <= base), "{base:#x} twice");
        assert!(base + MIB <= kernel || kernel + 3 * MIB + PAGE <= base);
        taken.push(base);
    }
    check_invariants(&map);
    assert!(taken.len() >= 57, "only {} MiB of 60 could be taken", taken.len());
    let error = map.allocate(MIB, PAGE, Kind::Reclaimable, 4 * GIB).unwrap_err();
    assert_eq!(error, MemoryError::Exhausted { bytes: MIB, align: PAGE, below: 4 * GIB });
    assert!(map.allocate(u64::MAX, PAGE, Kind::Reclaimable, 4 * GIB).is_err());
}

#[test]
fn claiming_spares_what_is_not_usable_and_releasing_undoes_it() {
    let mut map = map(&[(0, 8 * MIB, Kind::Usable), (2 * MIB, MIB, Kind::AcpiNvs)]);
    let before = map.regions().to_vec();
    let range = Range::of(MIB + 1, 3 * MIB);
    map.claim(range, Kind::Reclaimable).expect("room");
    assert_eq!(kind_at(&map, MIB), Some(Kind::Reclaimable));
    assert_eq!(kind_at(&map, 2 * MIB), Some(Kind::AcpiNvs));
    assert_eq!(kind_at(&map, 4 * MIB), Some(Kind::Reclaimable));
    assert!(!map.is_usable(Range::of(MIB, PAGE)) && map.is_usable(Range::of(4 * MIB + PAGE, MIB)));
    map.release(range.pages_around(), Kind::Reclaimable).expect("room");
    assert_eq!(map.regions(), before);
}

#[test]
fn too_many_regions_are_an_error_not_a_loss() {
    let many = (0..CAPACITY as u64 + 1).map(|n| (Range::of(n * 2 * PAGE, PAGE), Kind::Usable));
    assert_eq!(Map::new(many).err(), Some(MemoryError::TooFragmented));
}

#[test]
fn random_carving_agrees_with_a_page_by_page_model() {
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |bound: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % bound
    };
    for _ in 0..200 {
        const PAGES: u64 = 128;
        let kinds = [Kind::Usable, Kind::Usable, Kind::Reserved, Kind::AcpiNvs, Kind::Bad];
        let mut entries = vec![(0, PAGES * PAGE, Kind::Usable)];
        for _ in 0..random(8) {
            entries.push((random(PAGES * PAGE), random(16 * PAGE), kinds[random(5) as usize]));
        }
        let mut map = map(&entries);
        let mut model: Vec<Kind> = (0..PAGES)
            .map(|page| {
                let touched = Range::of(page * PAGE, PAGE);
                let covering = entries.iter().filter(|&&(base, size, kind)| {
                    let range = Range::of(base, size);
                    kind != Kind::Usable && !range.is_empty() && range.overlaps(touched)
                });
                covering.map(|e| e.2).max_by_key(|kind| kind.caution()).unwrap_or(Kind::Usable)
            })
            .collect();
        model[0] = if model[0] == Kind::Usable { Kind::Reserved } else { model[0] };
        for _ in 0..20 {
            let range = Range::of(random(PAGES) * PAGE, random(8) * PAGE);
            map.claim(range, Kind::Reclaimable).expect("room");
            for page in range.base / PAGE..(range.end / PAGE).min(PAGES) {
                if model[page as usize] == Kind::Usable {
                    model[page as usize] = Kind::Reclaimable;
                }
            }
            check_invariants(&map);
        }
        for (page, &kind) in model.iter().enumerate() {
            assert_eq!(kind_at(&map, page as u64 * PAGE), Some(kind), "page {page} of {entries:x?}");
        }
    }
}
