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
    /// A line for people.
    about: &'static str,
    pub(super) shape: Shape,
}

const fn workload(name: &'static str, about: &'static str, shape: Shape) -> Workload {
    Workload { name, about, shape }
}

/// All of them.
pub(super) static WORKLOADS: [Workload; 7] = [
    workload("pair64", "one object of 64 bytes, at once freed", Shape::Pair(64)),
    workload("pairmix", "the same with sizes from 16 to 1024 bytes", Shape::PairMix),
    workload("lifo1000", "1000 objects of 64 bytes, freed from the last to the first", Shape::Lifo),
    workload("fifo1000", "1000 objects of 64 bytes, freed from the first to the last", Shape::Fifo),
    workload("mstress", "1000 live objects of mixed sizes, replaced at random", Shape::Mstress),
    workload("xmalloc", "one CPU of two allocates, the other frees", Shape::Xmalloc),
    workload("larson", "as mstress, and the CPUs exchange what they hold", Shape::Larson),
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
