//! Random histories against a map of leaves, with ranges around the edges of tables and large pages.

use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ModelLeaf {
    nr_pages: u64,
    phys: u64,
    /// `None` in quarantine.
    attributes: Option<Attributes>,
}

/// What the tree should hold, found by the simplest means.
#[derive(Default)]
struct Model {
    leaves: BTreeMap<u64, ModelLeaf>,
    /// Tables by level and first page.
    tables: BTreeSet<(Level, u64)>,
}

impl Model {
    fn leaf_around(&self, page: u64) -> Option<(u64, ModelLeaf)> {
        let (start, leaf) = self.leaves.range(..=page).next_back()?;
        (page < start + leaf.nr_pages).then_some((*start, *leaf))
    }

    fn map(&mut self, range: VirtRange, phys: u64, attributes: Attributes, largest: Level) -> Result<()> {
        let pages = range.page_numbers();
        let (mut page, mut added) = (pages.start, Vec::new());
        while page < pages.end {
            let phys = phys + (page - pages.start) * 4096;
            if self.leaf_around(page).is_some() {
                return Err(AlreadyMapped { addr: page as usize * 4096 });
            }
            let size = |level: Level| level.nr_pages();
            let level = [Level::L3, Level::L2].into_iter().filter(|level| *level <= largest).find(|level| {
                page.is_multiple_of(size(*level))
                    && page + size(*level) <= pages.end
                    && phys.is_multiple_of(level.nr_bytes())
                    && !self.tables.contains(&(level.below().unwrap(), page))
            });
            let level = level.unwrap_or(Level::L1);
            for above in [Level::L1, Level::L2, Level::L3].into_iter().filter(|table| *table >= level) {
                let covered = above.nr_pages() * 512;
                self.tables.insert((above, page / covered * covered));
            }
            added.push((page, ModelLeaf { nr_pages: size(level), phys, attributes: Some(attributes) }));
            page += size(level);
        }
        self.leaves.extend(added);
        Ok(())
    }

    /// The leaves that make up `range` exactly.
    fn whole_leaves(&self, range: VirtRange) -> Result<Vec<u64>> {
        let pages = range.page_numbers();
        let (mut page, mut starts) = (pages.start, Vec::new());
        while page < pages.end {
            let addr = page as usize * 4096;
            let (start, leaf) =
                self.leaf_around(page).filter(|(_, leaf)| leaf.attributes.is_some()).ok_or(NotMapped { addr })?;
            if start < page || start + leaf.nr_pages > pages.end {
                return Err(WouldSplit { addr });
            }
            starts.push(start);
            page += leaf.nr_pages;
        }
        Ok(starts)
    }
}

#[derive(Clone, Debug)]
enum Op {
    Map { range: VirtRange, phys: u64, attributes: Attributes, largest: Level },
    MapFrames { range: VirtRange, first: u32 },
    Unmap { range: VirtRange },
    UnmapLeaves { choice: prop::sample::Index, nr_leaves: usize },
    Protect { range: VirtRange, attributes: Attributes },
    Release { choice: prop::sample::Index },
}

/// Pages of 1 GiB. Miri has only smaller ranges: hundreds of leaves take it a minute.
const LARGE: usize = if cfg!(miri) { 1 } else { 1 << 18 };

/// Pages near the edges of 2 MiB and 1 GiB pages, so that ranges often meet.
fn any_range() -> impl Strategy<Value = VirtRange> {
    let start = (
        0u64..3,
        prop_oneof![Just(0u64), Just(1), Just(510), Just(511)],
        prop::sample::select(vec![0u64, 0, 1, 2, 510, 511]),
    );
    let nr_pages =
        prop_oneof![4 => 1usize..4, 2 => 511usize..515, 2 => Just(1024usize), 1 => Just(LARGE), 1 => Just(LARGE + 513)];
    (start, nr_pages).prop_map(|((gib, mib2, page), nr_pages)| {
        let first = (gib << 18) + (mib2 << 9) + page;
        VirtRange::new(BASE + first as usize * 4096, nr_pages).unwrap()
    })
}

fn any_attributes() -> impl Strategy<Value = Attributes> {
    use Attributes as A;
    prop::sample::select(vec![A::READ_ONLY, A::READ_WRITE, A::READ_WRITE, A::EXECUTABLE, A::DEVICE])
}

fn any_op() -> impl Strategy<Value = Op> {
    let phys =
        (0u64..4, prop::sample::select(vec![0u64, 0, 0, 1, 512])).prop_map(|(gib, pages)| (gib << 30) + pages * 4096);
    let largest = prop::sample::select(vec![Level::L1, Level::L2, Level::L2, Level::L3]);
    // What is mapped often lies as its address does within 1 GiB, so that large pages are possible.
    let aligned = (any_range(), phys, any::<bool>()).prop_map(|(range, phys, alike)| {
        let offset = range.start() as u64 & (Level::L3.nr_bytes() - 1);
        (range, if alike { phys + offset } else { phys })
    });
    let small_enough = |range: &VirtRange| range.nr_pages() < 2000;
    prop_oneof![
        4 => (aligned, any_attributes(), largest)
            .prop_filter("a quarter of a million small pages is slow", |((range, phys), _, largest)| {
                let large_fit = (range.start() as u64 ^ phys).is_multiple_of(Level::L2.nr_bytes());
                range.nr_pages() < 2000 || *largest > Level::L1 && large_fit
            })
            .prop_map(|((range, phys), attributes, largest)| Op::Map { range, phys, attributes, largest }),
        1 => (any_range().prop_filter("slow", small_enough), 1u32..1000).prop_map(|(range, first)| Op::MapFrames { range, first }),
        1 => any_range().prop_map(|range| Op::Unmap { range }),
        3 => (any::<prop::sample::Index>(), 1usize..4).prop_map(|(choice, nr_leaves)| Op::UnmapLeaves { choice, nr_leaves }),
        2 => (any_range(), any_attributes()).prop_map(|(range, attributes)| Op::Protect { range, attributes }),
        3 => any::<prop::sample::Index>().prop_map(|choice| Op::Release { choice }),
    ]
}

/// A run of up to `nr_leaves` adjacent leaves of the model, as a range.
fn some_leaves(model: &Model, choice: prop::sample::Index, nr_leaves: usize) -> Option<VirtRange> {
    let (first, leaf) = model.leaves.iter().nth(choice.index(model.leaves.len().max(1)))?;
    let mut end = first + leaf.nr_pages;
    for _ in 1..nr_leaves {
        end += model.leaves.get(&end).map_or(0, |next| next.nr_pages);
    }
    VirtRange::new(*first as usize * 4096, (end - first) as usize)
}

fn check(table: &Table<'_>, machine: &Machine, model: &Model) {
    let leaves = all_leaves(table);
    let expected =
        model.leaves.iter().filter_map(|(start, leaf)| Some((*start, leaf.nr_pages, leaf.phys, leaf.attributes?)));
    let found =
        leaves.iter().map(|leaf| (leaf.range.page_numbers().start, leaf.level.nr_pages(), leaf.phys, leaf.attributes));
    assert!(found.eq(expected), "leaves differ from the model");
    assert_eq!(table.nr_tables(), 1 + model.tables.len());
    assert_eq!(table.nr_tables(), machine.nr_tables_out());
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 1 } else { 128 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_operation_does_what_a_map_of_leaves_does(
        ops in prop::collection::vec(any_op(), if cfg!(miri) { 3..7 } else { 1..30 }),
    ) {
        let machine = Machine::new(200);
        let table = table(&machine);
        let mut model = Model::default();
        let mut tokens = Vec::new();
        for op in ops {
            let op = match op {
                Op::UnmapLeaves { choice, nr_leaves } => match some_leaves(&model, choice, nr_leaves) {
                    Some(range) => Op::Unmap { range },
                    None => continue,
                },
                op => op,
            };
            match op {
                Op::Map { range, phys, attributes, largest } => {
                    assert_eq!(table.map(range, phys, attributes, largest), model.map(range, phys, attributes, largest));
                }
                Op::MapFrames { range, first } => {
                    let frames: Vec<Frame> = (first..).map(Frame::new).take(range.nr_pages()).collect();
                    let expected = model.map(range, first as u64 * 4096, RW, Level::L1);
                    assert_eq!(table.map_frames(range, frames.into_iter(), RW), expected);
                }
                Op::Unmap { range } => {
                    let expected = model.whole_leaves(range);
                    match unmap(&table, range) {
                        Ok(token) => {
                            tokens.push(token);
                            for start in expected.unwrap() {
                                model.leaves.get_mut(&start).unwrap().attributes = None;
                            }
                        }
                        Err(error) => assert_eq!(Some(error), expected.err()),
                    }
                }
                Op::Protect { range, attributes } => {
                    let expected = model.whole_leaves(range);
                    match protect(&table, range, attributes) {
                        Ok(change) => {
                            let starts = expected.unwrap();
                            let old = |start: &u64| model.leaves[start].attributes.unwrap();
                            let is_lowered = starts.iter().any(|start| old(start).is_lowered_by(attributes));
                            let is_changed = starts.iter().any(|start| old(start) != attributes);
                            match change {
                                Protected::Unchanged => assert!(!is_changed),
                                Protected::Raised => assert!(is_changed && !is_lowered),
                                Protected::Lowered(token) => {
                                    assert!(is_lowered);
                                    token.spend(&Round::over(&machine, range));
                                }
                            }
                            for start in starts {
                                model.leaves.get_mut(&start).unwrap().attributes = Some(attributes);
                            }
                        }
                        Err(error) => assert_eq!(Some(error), expected.err()),
                    }
                }
                Op::Release { .. } if tokens.is_empty() => {}
                Op::Release { choice } => {
                    let token = tokens.swap_remove(choice.index(tokens.len()));
                    let pages = token.range().page_numbers();
                    let expected: Vec<Extent> = model.leaves.range(pages.clone())
                        .map(|(_, leaf)| Extent { phys: leaf.phys, nr_pages: leaf.nr_pages as usize })
                        .collect();
                    model.leaves.retain(|start, _| !pages.contains(start));
                    let mut released = Vec::new();
                    let proof = Round::over(&machine, token.range());
                    token.release(&proof, |extent| released.push(extent));
                    assert_eq!(released, expected);
                }
                Op::UnmapLeaves { .. } => unreachable!("turned into Unmap above"),
            }
            // Miri looks at the end: a look takes it longer than all that went before.
            if !cfg!(miri) {
                check(&table, &machine, &model);
            }
        }
        check(&table, &machine, &model);
        let everything = range(BASE, 1 << 27);
        let proof = Round::over(&machine, everything);
        tokens.into_iter().for_each(|token| token.release(&proof, |_| ()));
    }
}
