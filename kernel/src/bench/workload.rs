//! What is played: one list, one line each; the names and shapes are those of the native benchmark.

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
    /// Live objects of mixed sizes, one after another replaced at random.
    Mstress,
    /// One CPU of two allocates, the other frees.
    Xmalloc,
    /// As `Mstress`, and the CPUs exchange what they hold.
    Larson,
}

/// A workload.
pub(super) struct Workload {
    pub(super) name: &'static str,
    pub(super) shape: Shape,
}

const fn workload(name: &'static str, shape: Shape) -> Workload {
    Workload { name, shape }
}

/// All of them.
pub(super) static WORKLOADS: [Workload; 7] = [
    workload("pair64", Shape::Pair(64)),
    workload("pairmix", Shape::PairMix),
    workload("lifo1000", Shape::Lifo),
    workload("fifo1000", Shape::Fifo),
    workload("mstress", Shape::Mstress),
    workload("xmalloc", Shape::Xmalloc),
    workload("larson", Shape::Larson),
];
