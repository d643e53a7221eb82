//! What is played: one list, one line each; the names and shapes are those of the native benchmark and of the literature,
//! which the loops themselves name ([`workloads`]).

use workloads::bulk::BULK;
use workloads::handoff::{NR_PLACES, PAIRS_PER_SWAP};
use workloads::{rptest, sh6};

use super::plan::Plan;
use super::round::{BATCH, CHUNK, NR_LIVE};

/// The code of a workload. See [`super::shapes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// One object of that size, at once freed. The compiler knows its alignment, as it does of a type, and not its size.
    Pair(usize),
    /// As `Pair`, each of another size from 16 to 1024 bytes.
    PairMix,
    /// A batch of 64-byte objects, freed from the last to the first.
    Lifo,
    /// A batch of 64-byte objects, freed from the first to the last.
    Fifo,
    /// A batch of 64-byte objects, allocated and freed by the call for many.
    Bulk,
    /// Live objects of mixed sizes, one after another replaced at random.
    Mstress,
    /// Batches of mixed sizes whose lifetimes overlap.
    Sh6,
    /// Live objects of 16 bytes to 8 KiB, replaced at random, some of them freed by the next CPU.
    Rptest,
    /// One CPU of two allocates, the other frees.
    Xmalloc,
    /// As `Mstress`, and the CPUs exchange what they hold.
    Larson,
    /// An object of 8 bytes, written many times, freed.
    Thrash,
    /// As `Thrash`, after each CPU freed one of several neighbours.
    Scratch,
}

impl Shape {
    /// Pairs that are played together or not at all.
    fn unit(self) -> u64 {
        match self {
            Self::Lifo | Self::Fifo => BATCH as u64,
            Self::Bulk => BULK as u64,
            Self::Sh6 => sh6::BATCH as u64,
            Self::Larson => PAIRS_PER_SWAP,
            Self::Pair(_)
            | Self::PairMix
            | Self::Mstress
            | Self::Rptest
            | Self::Xmalloc
            | Self::Thrash
            | Self::Scratch => 1,
        }
    }

    /// As many pairs of a CPU as it takes to be this workload and no other: until what a round begins with has been
    /// replaced several times, sets have been exchanged as often, a ring has gone round.
    pub(super) fn least_ops(self) -> u64 {
        const TIMES: u64 = 4;
        match self {
            Self::Pair(_) | Self::PairMix | Self::Thrash | Self::Scratch => CHUNK,
            Self::Lifo | Self::Fifo | Self::Bulk => 2 * self.unit(),
            Self::Sh6 | Self::Larson => TIMES * self.unit(),
            Self::Mstress => TIMES * NR_LIVE as u64,
            Self::Rptest => TIMES * rptest::NR_LIVE as u64,
            Self::Xmalloc => TIMES * NR_PLACES as u64,
        }
    }

    /// `nr_ops`, or a few more: whole units.
    pub(super) fn whole(self, nr_ops: u64) -> u64 {
        nr_ops.next_multiple_of(self.unit())
    }
}

/// A workload.
#[derive(Debug)]
pub(super) struct Workload {
    pub(super) name: &'static str,
    /// A line for people.
    about: &'static str,
    shape: Shape,
    /// Sizes that take the place of the shape's, each with a row of its own; none if the shape says it all.
    sizes: &'static [usize],
}

const fn workload(name: &'static str, about: &'static str, shape: Shape) -> Workload {
    Workload { name, about, shape, sizes: &[] }
}

/// Of the 79 size classes, those at every half of a doubling up to a page, and at every doubling beyond.
static SIZES: [usize; 19] =
    [16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 4096, 8192, 16384, 32768];

/// All of them.
pub(super) static WORKLOADS: [Workload; 13] = [
    Workload {
        name: "pair",
        about: "one object, at once freed, by size: 16 B to 32 KiB, on the first number of CPUs only",
        shape: Shape::Pair(0),
        sizes: &SIZES,
    },
    workload("pair64", "one object of 64 bytes, at once freed", Shape::Pair(64)),
    workload("pairmix", "the same, each of another size from 16 to 1024 bytes", Shape::PairMix),
    workload("lifo1000", "1000 objects of 64 bytes, freed from the last to the first", Shape::Lifo),
    workload("fifo1000", "1000 objects of 64 bytes, freed from the first to the last", Shape::Fifo),
    workload("bulk", "128 objects of 64 bytes, by the call for many where there is one", Shape::Bulk),
    workload("mstress", "live objects of mixed sizes, replaced at random", Shape::Mstress),
    workload("sh6", "batches of mixed sizes whose lifetimes overlap", Shape::Sh6),
    workload("rptest", "16 B to 8 KiB, replaced at random, one in eight freed by the next CPU", Shape::Rptest),
    workload("xmalloc", "one CPU of two allocates, the other frees", Shape::Xmalloc),
    workload("larson", "as mstress, and the CPUs exchange what they hold", Shape::Larson),
    workload("cache-scratch", "8 bytes, written often, after neighbours were freed by several CPUs", Shape::Scratch),
    workload("cache-thrash", "8 bytes, written often, freed", Shape::Thrash),
];

/// Their names, and a line on each.
pub(super) static NAMES: [(&str, &str); WORKLOADS.len()] = {
    let mut names = [("", ""); WORKLOADS.len()];
    let mut i = 0;
    while i < names.len() {
        names[i] = (WORKLOADS[i].name, WORKLOADS[i].about);
        i += 1;
    }
    names
};

/// A workload as it is to be played: what is a group of rows in the end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Game {
    pub(super) workload: &'static Workload,
    pub(super) shape: Shape,
    /// Bytes of an object, where that is varied.
    pub(super) size: Option<usize>,
    pub(super) nr_cpus: usize,
}

/// All that the plan asks for, in order.
pub(super) fn games<'p>(plan: &'p Plan<'_>) -> impl Iterator<Item = Game> + Clone + use<'p> {
    let cpus = plan.cpus.numbers();
    WORKLOADS.iter().filter(|workload| plan.wants(workload.name)).flat_map(move |workload| {
        let sized = workload.sizes.iter().flat_map(move |&size| {
            let first = cpus.iter().take(1);
            first.map(move |&nr_cpus| Game { workload, shape: Shape::Pair(size), size: Some(size), nr_cpus })
        });
        let plain = cpus.iter().take(if workload.sizes.is_empty() { cpus.len() } else { 0 });
        sized.chain(plain.map(move |&nr_cpus| Game { workload, shape: workload.shape, size: None, nr_cpus }))
    })
}
