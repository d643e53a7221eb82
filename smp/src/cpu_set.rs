//! Sets of CPUs: a value to compute with, and one that several CPUs change at once.

use core::fmt;

use crate::cpu::{CpuId, MAX_CPUS};
use crate::sync::{AtomicU64, Ordering};

const WORDS: usize = MAX_CPUS / 64;

/// The word of a CPU, and its bit within it.
#[inline(always)]
const fn place(cpu: CpuId) -> (usize, u64) {
    (cpu.index() / 64, 1 << (cpu.index() % 64))
}

/// A set of CPUs, as a plain value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuSet {
    words: [u64; WORDS],
}

impl CpuSet {
    /// No CPU.
    pub const EMPTY: Self = Self { words: [0; WORDS] };

    /// The set of one CPU.
    pub const fn of(cpu: CpuId) -> Self {
        let mut set = Self::EMPTY;
        let (word, bit) = place(cpu);
        set.words[word] = bit;
        set
    }

    /// Adds `cpu`; whether it was missing before.
    pub const fn insert(&mut self, cpu: CpuId) -> bool {
        let (word, bit) = place(cpu);
        let missing = self.words[word] & bit == 0;
        self.words[word] |= bit;
        missing
    }

    /// Takes `cpu` out; whether it was there before.
    pub const fn remove(&mut self, cpu: CpuId) -> bool {
        let (word, bit) = place(cpu);
        let there = self.words[word] & bit != 0;
        self.words[word] &= !bit;
        there
    }

    /// Whether `cpu` is in the set.
    pub const fn contains(&self, cpu: CpuId) -> bool {
        let (word, bit) = place(cpu);
        self.words[word] & bit != 0
    }

    /// Whether no CPU is in the set.
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|&word| word == 0)
    }

    /// How many CPUs are in the set.
    #[inline]
    pub fn len(&self) -> usize {
        // Most words are empty, and without POPCNT, which the kernel's target does not have, counting takes a dozen steps.
        self.words.iter().filter(|&&word| word != 0).map(|word| word.count_ones() as usize).sum()
    }

    /// Takes out the first CPU and all that have the same `key`; what they have in common, and who they are. `None` if
    /// the set is empty.
    ///
    /// Groups come out whole, in whatever order their members are numbered. Each costs one walk over what is left.
    pub fn take_group<K: PartialEq>(&mut self, key: impl Fn(CpuId) -> K) -> Option<(K, Self)> {
        let shared = key(self.first()?);
        let mut group = Self::EMPTY;
        for cpu in self.iter() {
            if key(cpu) == shared {
                group.insert(cpu);
                self.remove(cpu);
            }
        }
        Some((shared, group))
    }

    /// The CPU with the lowest index, if there is one.
    pub fn first(&self) -> Option<CpuId> {
        self.iter().next()
    }

    /// The CPUs of the set in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = CpuId> + use<> {
        let mut rest = self.words;
        let mut word = 0;
        core::iter::from_fn(move || {
            while word < WORDS {
                if rest[word] != 0 {
                    let bit = rest[word].trailing_zeros() as usize;
                    rest[word] &= rest[word] - 1;
                    return CpuId::new(word * 64 + bit);
                }
                word += 1;
            }
            None
        })
    }
}

impl FromIterator<CpuId> for CpuSet {
    fn from_iter<I: IntoIterator<Item = CpuId>>(cpus: I) -> Self {
        let mut set = Self::EMPTY;
        for cpu in cpus {
            set.insert(cpu);
        }
        set
    }
}

/// Runs of neighbours as `0-3,7`; `none` if empty.
impl fmt::Display for CpuSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut cpus = self.iter().map(CpuId::index).peekable();
        if cpus.peek().is_none() {
            return f.write_str("none");
        }
        let mut separator = "";
        while let Some(start) = cpus.next() {
            let mut end = start;
            while let Some(next) = cpus.next_if_eq(&(end + 1)) {
                end = next;
            }
            write!(f, "{separator}{start}")?;
            if end > start {
                write!(f, "-{end}")?;
            }
            separator = ",";
        }
        Ok(())
    }
}

/// A set of CPUs that several CPUs change at once.
///
/// Each CPU is one bit and each change one atomic operation on its word. There is no order between words: a snapshot
/// is exact for every CPU on its own, and may show a state of the whole set that never was.
#[derive(Debug)]
pub struct AtomicCpuSet {
    words: [AtomicU64; WORDS],
}

impl AtomicCpuSet {
    const_unless_loom! {
        /// A set without members.
        pub fn new() -> Self {
            Self { words: array_of!(AtomicU64::new(0); WORDS) }
        }
    }

    /// Adds `cpu`; whether its word, the 64 CPUs around it, was empty before.
    ///
    /// Whoever finds the word empty is the one to tell its owner: everybody after it relies on that.
    #[inline]
    pub fn insert(&self, cpu: CpuId, order: Ordering) -> bool {
        let (word, bit) = place(cpu);
        self.words[word].fetch_or(bit, order) == 0
    }

    /// Takes `cpu` out; whether it was there before.
    #[inline]
    pub fn remove(&self, cpu: CpuId, order: Ordering) -> bool {
        let (word, bit) = place(cpu);
        self.words[word].fetch_and(!bit, order) & bit != 0
    }

    /// Whether `cpu` is in the set.
    #[inline]
    pub fn contains(&self, cpu: CpuId, order: Ordering) -> bool {
        let (word, bit) = place(cpu);
        self.words[word].load(order) & bit != 0
    }

    /// Whether no CPU was in the set, each word at its own moment.
    #[inline]
    pub fn is_empty(&self, order: Ordering) -> bool {
        self.words.iter().all(|word| word.load(order) == 0)
    }

    /// The members, each word at its own moment.
    pub fn snapshot(&self, order: Ordering) -> CpuSet {
        let mut set = CpuSet::EMPTY;
        for (value, word) in set.words.iter_mut().zip(&self.words) {
            *value = word.load(order);
        }
        set
    }

    /// Takes all members out and returns them. Words that look empty are left alone, so an empty set costs no write.
    pub fn take(&self, order: Ordering) -> CpuSet {
        let mut set = CpuSet::EMPTY;
        for (value, word) in set.words.iter_mut().zip(&self.words) {
            if word.load(Ordering::Relaxed) != 0 {
                *value = word.swap(0, order);
            }
        }
        set
    }

    /// Makes the members those of `set`. Only for a moment in which nobody else changes it.
    pub fn replace(&self, set: &CpuSet, order: Ordering) {
        for (value, word) in set.words.iter().zip(&self.words) {
            word.store(*value, order);
        }
    }
}

impl Default for AtomicCpuSet {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(all(test, not(loom), not(shuttle)))]
mod tests {
    use super::*;
    use core::sync::atomic::Ordering::SeqCst;
    use std::string::ToString;
    use std::vec::Vec;

    fn set(indices: &[usize]) -> CpuSet {
        indices.iter().map(|&i| CpuId::new(i).unwrap()).collect()
    }

    #[test]
    fn members_at_the_borders_of_words_are_told_apart() {
        let borders = [0, 1, 63, 64, 127, 128, 447, 448, MAX_CPUS - 1];
        let all = set(&borders);
        assert_eq!(all.len(), borders.len());
        assert!(all.iter().map(CpuId::index).eq(borders));
        for index in 0..MAX_CPUS {
            assert_eq!(all.contains(CpuId::new(index).unwrap()), borders.contains(&index), "cpu {index}");
        }
    }

    #[test]
    fn insert_and_remove_report_what_they_changed() {
        let mut set = CpuSet::EMPTY;
        let last = CpuId::new(MAX_CPUS - 1).unwrap();
        assert!(set.is_empty() && set.first().is_none());
        assert!(set.insert(last) && !set.insert(last));
        assert_eq!(set, CpuSet::of(last));
        assert!(set.remove(last) && !set.remove(last));
        assert!(set.is_empty());
    }

    #[test]
    fn groups_come_out_whole_whatever_the_order_of_their_members() {
        let all = [0, 1, 2, 16, 17, 63, 64, 100, 101, MAX_CPUS - 1];
        // Even and odd numbers take turns, as clusters do where the boot loader lists threads before cores.
        let mut rest = set(&all);
        let mut groups = Vec::new();
        while let Some((key, group)) = rest.take_group(|cpu| cpu.index() % 3) {
            assert!(group.iter().all(|cpu| cpu.index() % 3 == key));
            groups.push((key, group.len()));
        }
        assert_eq!(groups, [(0, 2), (1, 5), (2, 3)]);
        assert!(rest.is_empty() && rest.take_group(|cpu| cpu).is_none());
        let mut rest = set(&all);
        assert_eq!(core::iter::from_fn(|| rest.take_group(|cpu| cpu)).count(), all.len(), "all alone");
    }

    #[test]
    fn display_joins_neighbours() {
        assert_eq!(set(&[]).to_string(), "none");
        assert_eq!(set(&[0, 1, 2, 5, 63, 64, 65, 511]).to_string(), "0-2,5,63-65,511");
        assert_eq!(CpuId::first(MAX_CPUS).collect::<CpuSet>().to_string(), "0-511");
    }

    #[test]
    fn an_atomic_set_agrees_with_a_plain_one() {
        let atomic = AtomicCpuSet::new();
        let mut plain = CpuSet::EMPTY;
        let mut state = 1_u64;
        for _ in 0..if cfg!(miri) { 100 } else { 2000 } {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let cpu = CpuId::new((state >> 33) as usize % MAX_CPUS).unwrap();
            if state >> 63 == 0 {
                let word_was_empty = !plain.iter().any(|other| other.index() / 64 == cpu.index() / 64);
                assert_eq!(atomic.insert(cpu, SeqCst), word_was_empty);
                plain.insert(cpu);
            } else {
                assert_eq!(atomic.remove(cpu, SeqCst), plain.remove(cpu));
            }
            assert_eq!(atomic.contains(cpu, SeqCst), plain.contains(cpu));
        }
        assert_eq!(atomic.snapshot(SeqCst), plain);
        assert_eq!(atomic.is_empty(SeqCst), plain.is_empty());
        assert_eq!(atomic.take(SeqCst), plain);
        assert!(atomic.is_empty(SeqCst));
        atomic.replace(&plain, SeqCst);
        assert_eq!(atomic.snapshot(SeqCst).iter().collect::<Vec<_>>(), plain.iter().collect::<Vec<_>>());
    }
}
