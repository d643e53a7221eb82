//! What is done in a round: the workloads by name, with the goal of each, and the choice of the code for each.

use workloads::Peer;
use workloads::sizes::{PAGE, SMALL, layout};

use crate::handoff;
use crate::round::{Round, Sample};
use crate::shapes;

/// The code of a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// One object of that size, known only at run time, at once freed.
    Pair(usize),
    /// As `Pair(64)`, with the layout known to the compiler.
    PairConstant,
    /// As `Pair`, each of another size.
    PairMix,
    /// An object of 8 bytes, written twenty times, freed.
    Thrash,
    /// As `Thrash`, after freeing an object next to one that another thread had.
    Scratch,
    /// 1000 allocated, and freed from the last to the first.
    Lifo,
    /// 1000 allocated, and freed from the first to the last.
    Fifo,
    /// 10,000 live objects of mixed sizes, one after another replaced at random.
    Mstress,
    /// 1000 live objects for each thread, replaced at random; the threads exchange what they hold.
    Larson,
    /// One thread allocates, the other frees.
    Xmalloc,
    /// 128 of 64 bytes allocated at once, and freed at once.
    Bulk,
    /// Batches of mixed sizes whose lifetimes overlap.
    Sh6,
    /// 300 live objects of 16 to 8192 bytes for each thread, replaced at random; every eighth is freed by the next thread.
    Rptest,
    /// 64 pages allocated, and freed from the last to the first.
    Page4k,
}

/// A workload. See [`WORKLOADS`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    pub(crate) shape: Shape,
    /// Time over the best peer's that ours shall not exceed, with 1 and with 2 threads.
    pub(crate) goals: [f64; 2],
    /// Instructions for a pair that ours shall not exceed, one thread, where that is counted.
    pub(crate) goal_instructions: Option<u32>,
}

const fn workload(name: &'static str, shape: Shape, goals: [f64; 2], goal_instructions: Option<u32>) -> Workload {
    Workload { name, shape, goals, goal_instructions }
}

/// All of them.
pub(crate) const WORKLOADS: &[Workload] = &[
    workload("pair16", Shape::Pair(16), [0.75, 0.75], None),
    workload("pair64", Shape::Pair(64), [0.75, 0.75], Some(46)),
    workload("pair64c", Shape::PairConstant, [0.60, 0.60], Some(26)),
    workload("pair256", Shape::Pair(256), [0.75, 0.75], None),
    workload("pair1024", Shape::Pair(1024), [0.70, 0.70], Some(46)),
    workload("pair4096", Shape::Pair(4096), [0.50, 0.50], None),
    workload("pairmix", Shape::PairMix, [0.70, 0.70], None),
    workload("cache-thrash", Shape::Thrash, [1.00, 1.00], None),
    workload("cache-scratch", Shape::Scratch, [1.05, 1.05], None),
    workload("lifo1000", Shape::Lifo, [0.80, 0.80], Some(56)),
    workload("fifo1000", Shape::Fifo, [0.80, 0.80], Some(57)),
    workload("mstress", Shape::Mstress, [0.75, 0.75], Some(62)),
    workload("larson", Shape::Larson, [0.85, 0.80], None),
    workload("xmalloc", Shape::Xmalloc, [0.70, 0.60], None),
    workload("bulk", Shape::Bulk, [1.00, 1.00], None),
    workload("sh6", Shape::Sh6, [1.00, 1.00], None),
    workload("rptest", Shape::Rptest, [1.00, 1.00], None),
    workload("page4k", Shape::Page4k, [0.95, 0.95], Some(110)),
];

/// Plays the part of thread number `thread` in `round` with allocator `P`.
pub(crate) fn run<P: Peer>(round: &Round, thread: usize) -> Sample {
    if round.is_checked { choose::<P, true>(round, thread) } else { choose::<P, false>(round, thread) }
}

fn choose<P: Peer, const CHECK: bool>(round: &Round, thread: usize) -> Sample {
    match round.shape {
        Shape::Pair(size) => shapes::pair::<P, CHECK>(round, layout(size, 8)),
        Shape::PairConstant => shapes::pair_constant::<P, CHECK>(round),
        Shape::PairMix => shapes::pair_mix::<P, CHECK>(round),
        Shape::Thrash => shapes::thrash::<P>(round),
        Shape::Scratch => handoff::scratch::<P>(round, thread),
        Shape::Lifo => shapes::batch::<P, CHECK, false, 1000>(round, SMALL),
        Shape::Fifo => shapes::batch::<P, CHECK, true, 1000>(round, SMALL),
        Shape::Page4k => shapes::batch::<P, CHECK, false, 64>(round, PAGE),
        Shape::Mstress => shapes::mstress::<P>(round, thread),
        Shape::Bulk => shapes::bulk::<P>(round),
        Shape::Sh6 => shapes::sh6::<P>(round, thread),
        Shape::Rptest => handoff::rptest::<P>(round, thread),
        Shape::Larson => handoff::larson::<P>(round, thread),
        Shape::Xmalloc if round.nr_threads == 1 => shapes::batch::<P, true, true, 128>(round, SMALL),
        Shape::Xmalloc => handoff::xmalloc::<P>(round, thread),
    }
}
