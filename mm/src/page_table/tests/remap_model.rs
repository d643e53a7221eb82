//! Random histories of remapping against a map of leaves, while processors remember what they like.

use super::tlbs::Tlbs;
use super::*;
use proptest::prelude::*;
use proptest::sample::Index;
use std::collections::BTreeMap;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ModelLeaf {
    level: Level,
    phys: u64,
    attributes: Attributes,
}

/// Leaves by first page.
type Model = BTreeMap<u64, ModelLeaf>;

#[derive(Clone, Debug)]
enum Op {
    /// Map a range that is free.
    Map {
        at: u64,
        nr_pages: u64,
        phys: u64,
        largest: Level,
    },
    /// The rest are of some leaves that are there, adjacent.
    Remap {
        choice: Index,
        nr_leaves: usize,
        phys: u64,
        largest: Level,
    },
    Resize {
        choice: Index,
        nr_leaves: usize,
        largest: Level,
    },
    Split {
        choice: Index,
        skip: u64,
        nr_pages: u64,
    },
    Protect {
        choice: Index,
        nr_leaves: usize,
        attributes: Attributes,
    },
    Unmap {
        choice: Index,
        nr_leaves: usize,
    },
}

const FIRST: u64 = (BASE / 4096) as u64;

/// Pages of 1 GiB. Miri has only smaller ranges: hundreds of leaves take it a minute.
const LARGE: u64 = if cfg!(miri) { 1 } else { 1 << 18 };

fn any_phys() -> impl Strategy<Value = u64> {
    (1u64..16, prop::sample::select(vec![0u64, 0, 0, 512, 1])).prop_map(|(gib, pages)| (gib << 30) + pages * 4096)
}

fn any_level() -> impl Strategy<Value = Level> {
    prop::sample::select(vec![Level::L1, Level::L2, Level::L2, Level::L3])
}

fn any_op() -> impl Strategy<Value = Op> {
    let place = prop::sample::select(vec![0u64, 512, 1024, 1536, 3, 510, 1 << 18, (1 << 18) + 512]);
    let nr_pages = prop::sample::select(vec![1u64, 5, 512, 512, 1024, 1537, LARGE]);
    let attributes = prop::sample::select(vec![Attributes::READ_ONLY, RW, Attributes::EXECUTABLE]);
    let some = || (any::<Index>(), prop::sample::select(vec![1usize, 2, 3, 512, 513, 1024]));
    prop_oneof![
        3 => (place, nr_pages, any_phys(), any_level())
            .prop_filter("a quarter of a million small pages is slow", |(_, nr_pages, phys, largest)| {
                *nr_pages < 2000 || *largest > Level::L1 && phys % (2 << 20) == 0
            })
            .prop_map(|(at, nr_pages, phys, largest)| Op::Map { at, nr_pages, phys, largest }),
        3 => (some(), any_phys(), any_level())
            .prop_map(|((choice, nr_leaves), phys, largest)| Op::Remap { choice, nr_leaves, phys, largest }),
        3 => (some(), any_level()).prop_map(|((choice, nr_leaves), largest)| Op::Resize { choice, nr_leaves, largest }),
        2 => (any::<Index>(), prop::sample::select(vec![0u64, 1, 511, 512, 700]), 1u64..700)
            .prop_map(|(choice, skip, nr_pages)| Op::Split { choice, skip, nr_pages }),
        1 => (some(), attributes)
            .prop_map(|((choice, nr_leaves), attributes)| Op::Protect { choice, nr_leaves, attributes }),
        1 => some().prop_map(|(choice, nr_leaves)| Op::Unmap { choice, nr_leaves }),
    ]
}

/// A run of up to `nr_leaves` adjacent leaves.
fn some_leaves(model: &Model, choice: Index, nr_leaves: usize) -> Option<VirtRange> {
    let (first, leaf) = model.iter().nth(choice.index(model.len().max(1)))?;
    let mut end = first + leaf.level.nr_pages();
    for _ in 1..nr_leaves {
        end += model.get(&end).map_or(0, |next| next.level.nr_pages());
    }
    VirtRange::new(*first as usize * 4096, (end - first) as usize)
}

fn leaves_in(model: &Model, range: VirtRange) -> Vec<(u64, ModelLeaf)> {
    model.range(range.page_numbers()).map(|(start, leaf)| (*start, *leaf)).collect()
}

/// The leaves that map `range` to `phys`, as large as may be.
fn largest_leaves(range: VirtRange, phys: u64, attributes: Attributes, largest: Level) -> Vec<(u64, ModelLeaf)> {
    let pages = range.page_numbers();
    let (mut page, mut leaves) = (pages.start, Vec::new());
    while page < pages.end {
        let phys = phys + (page - pages.start) * 4096;
        let fits = |level: &Level| {
            *level <= largest
                && page.is_multiple_of(level.nr_pages())
                && phys.is_multiple_of(level.nr_bytes())
                && page + level.nr_pages() <= pages.end
        };
        let level = [Level::L3, Level::L2].into_iter().find(fits).unwrap_or(Level::L1);
        leaves.push((page, ModelLeaf { level, phys, attributes }));
        page += level.nr_pages();
    }
    leaves
}

/// Replaces a leaf that reaches over an end of `range` by smaller ones that do not.
fn split_leaf(model: &mut Model, page: u64, range: &std::ops::Range<u64>) {
    let Some((&start, &leaf)) = model.range(..=page).next_back() else { return };
    let end = start + leaf.level.nr_pages();
    if page >= end || range.start <= start && end <= range.end {
        return;
    }
    let below = leaf.level.below().expect("a small page is not cut");
    model.remove(&start);
    for i in 0..512 {
        let phys = leaf.phys + i * below.nr_bytes();
        model.insert(start + i * below.nr_pages(), ModelLeaf { level: below, phys, ..leaf });
    }
    split_leaf(model, page, range);
}

fn put(model: &mut Model, leaves: Vec<(u64, ModelLeaf)>) {
    model.extend(leaves);
}

fn check(table: &Table<'_>, machine: &Machine, model: &Model) {
    let leaves = all_leaves(table);
    let found = leaves.iter().map(|leaf| {
        let ModelLeaf { level, phys, attributes } =
            ModelLeaf { level: leaf.level, phys: leaf.phys, attributes: leaf.attributes };
        (leaf.range.page_numbers().start, level, phys, attributes)
    });
    let expected = model.iter().map(|(start, leaf)| (*start, leaf.level, leaf.phys, leaf.attributes));
    assert!(found.eq(expected), "leaves differ from the model");
    assert_eq!(table.nr_tables(), machine.nr_tables_out());
}

/// A history: the walker, the model and the processors.
struct History<'m> {
    machine: &'m Machine,
    table: &'m Table<'m>,
    tlbs: Tlbs,
    model: Model,
    /// Memory that was led to so far, in units of 32 GiB: each mapping has its own, so that what is given back is known by
    /// its address.
    nr_placed: u64,
}

impl History<'_> {
    fn fresh(&mut self, phys: u64) -> u64 {
        self.nr_placed += 1;
        phys + (self.nr_placed << 35)
    }

    fn round(&self, range: VirtRange) -> Round {
        self.tlbs.flush(range);
        Round::over(self.machine, range)
    }

    fn finish(&mut self, token: Remapping<'_, LikeX86, &Machine>, new: Vec<(u64, ModelLeaf)>, is_moved: bool) {
        let range = token.range();
        assert_eq!(self.table.translate(range.start()), None, "not while it is broken");
        let expected: Vec<Extent> = leaves_in(&self.model, range)
            .into_iter()
            .map(|(_, leaf)| Extent { phys: leaf.phys, nr_pages: leaf.level.nr_pages() as usize })
            .collect();
        let proof = self.round(range);
        let mut old = Vec::new();
        token.finish(&proof, |extent| {
            if is_moved {
                self.tlbs.check_gone(extent);
            }
            old.push(extent);
        });
        assert_eq!(old, expected);
        self.model.retain(|start, _| !range.page_numbers().contains(start));
        put(&mut self.model, new);
    }

    fn play(&mut self, op: Op) {
        let table = self.table;
        let out_of_memory = Some(OutOfMemory { bytes: PAGE_SIZE });
        match op {
            Op::Map { at, nr_pages, phys, largest } => {
                let pages = range((FIRST + at) as usize * 4096, nr_pages as usize);
                let phys = self.fresh(phys);
                if table.map(pages, phys, RW, largest).is_ok() {
                    // Where tables stand, leaves are smaller than they could be: what there is, is the walker's to say.
                    let is_right = |leaf: &Leaf| leaf.phys == phys + (leaf.range.start() - pages.start()) as u64;
                    let leaves: Vec<Leaf> = table.leaves(pages).collect();
                    assert!(leaves.iter().all(is_right));
                    put(
                        &mut self.model,
                        leaves
                            .into_iter()
                            .map(|leaf| {
                                (
                                    leaf.range.page_numbers().start,
                                    ModelLeaf { level: leaf.level, phys: leaf.phys, attributes: RW },
                                )
                            })
                            .collect(),
                    );
                }
            }
            Op::Remap { choice, nr_leaves, phys, largest } => {
                let Some(range) = some_leaves(&self.model, choice, nr_leaves) else { return };
                let phys = self.fresh(phys);
                // SAFETY: the memory of this machine does not exist, so nobody uses it.
                match unsafe { table.remap(range, phys, RW, largest) } {
                    Ok(token) => self.finish(token, largest_leaves(range, phys, RW, largest), true),
                    Err(error) => assert_eq!(Some(error), out_of_memory),
                }
            }
            Op::Resize { choice, nr_leaves, largest } => {
                let Some(range) = some_leaves(&self.model, choice, nr_leaves) else { return };
                let leaves = leaves_in(&self.model, range);
                let (first, leaf) = leaves[0];
                let unlike = leaves.iter().find(|(start, other)| {
                    other.phys != leaf.phys + (start - first) * 4096 || other.attributes != leaf.attributes
                });
                // SAFETY: as above.
                match unsafe { table.resize(range, largest) } {
                    Ok(token) => {
                        assert_eq!(unlike, None);
                        let new = largest_leaves(range, leaf.phys, leaf.attributes, largest);
                        self.finish(token, new, false);
                    }
                    Err(BadRequest { value }) => {
                        assert_eq!(unlike.map(|(start, _)| *start as usize * 4096), Some(value))
                    }
                    Err(error) => assert_eq!(Some(error), out_of_memory),
                }
            }
            Op::Split { choice, skip, nr_pages } => {
                let Some(leaf) = some_leaves(&self.model, choice, 1) else { return };
                let range = range(leaf.start() + skip as usize % leaf.nr_pages() * 4096, nr_pages as usize);
                // SAFETY: as above.
                match unsafe { table.split(range) } {
                    Ok(token) => {
                        let before = self.model.clone();
                        let pages = range.page_numbers();
                        split_leaf(&mut self.model, pages.start, &pages);
                        split_leaf(&mut self.model, pages.end - 1, &pages);
                        assert_eq!(token.is_some(), before != self.model);
                        if let Some(token) = token {
                            token.ranges().into_iter().flatten().for_each(|range| self.tlbs.flush(range));
                            let proof = Round::over(self.machine, range_of_all());
                            token.finish(&proof);
                        }
                    }
                    Err(NotMapped { .. }) => assert!(
                        table.translate(range.start()).is_none() || {
                            table.translate(range.start() + (range.nr_pages() - 1) * 4096).is_none()
                        }
                    ),
                    Err(error) => assert_eq!(Some(error), out_of_memory),
                }
            }
            Op::Protect { choice, nr_leaves, attributes } => {
                let Some(range) = some_leaves(&self.model, choice, nr_leaves) else { return };
                if let Protected::Lowered(token) = protect(table, range, attributes).unwrap() {
                    token.spend(&self.round(range));
                }
                self.model.range_mut(range.page_numbers()).for_each(|(_, leaf)| leaf.attributes = attributes);
            }
            Op::Unmap { choice, nr_leaves } => {
                let Some(range) = some_leaves(&self.model, choice, nr_leaves) else { return };
                let token = unmap(table, range).unwrap();
                let proof = self.round(range);
                token.release(&proof, |extent| self.tlbs.check_gone(extent));
                self.model.retain(|start, _| !range.page_numbers().contains(start));
            }
        }
    }
}

fn range_of_all() -> VirtRange {
    range(BASE, 1 << 27)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 1 } else { 96 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_processor_sees_two_leaves_at_once(
        ops in prop::collection::vec(any_op(), if cfg!(miri) { 3..7 } else { 1..40 }),
        seed in any::<u64>(),
    ) {
        let machine = Machine::new(60);
        let table = table(&machine);
        let looked_at = [0, 1, 7, 511, 512, 513, 1024, 1535, 1536, 1 << 18, (1 << 18) + 600];
        let pages = looked_at.into_iter().map(|page| FIRST + page).collect();
        let tlbs = Tlbs::watch(&machine, table.root(), pages, seed, 16);
        let mut history = History { machine: &machine, table: &table, tlbs, model: Model::new(), nr_placed: 0 };
        for op in ops {
            history.play(op);
            history.tlbs.check();
            // Miri looks at the end: a look takes it longer than all that went before.
            if !cfg!(miri) {
                check(&table, &machine, &history.model);
            }
        }
        check(&table, &machine, &history.model);
    }
}
