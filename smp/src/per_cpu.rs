//! One value for each CPU, each on lines of its own.
//!
//! 128 bytes, not 64: processors fetch lines in pairs, so a neighbour's writes would still be felt.

use crossbeam_utils::CachePadded;

use crate::cpu::{CpuId, MAX_CPUS, Pinned};

/// An array of `N` values, one for each CPU, padded so that no two share a cache line.
///
/// A CPU reaches its own value with its [`Pinned`] token; it reaches another's only if the type is made for sharing.
/// So a `Cell` in here is private to its CPU by type, and a counter of atomics may be read by all.
#[derive(Debug)]
pub struct PerCpu<T, const N: usize = MAX_CPUS> {
    slots: [CachePadded<T>; N],
}

// To ensure that the padding is what the text above says.
#[cfg(target_arch = "x86_64")]
const _: () = assert!(align_of::<CachePadded<u8>>() == 128);

// SAFETY: sharing a `PerCpu<T>` between CPUs gives each of them
// - `&T` to its own slot by `local`, and to no other: a `Pinned` exists for one thread of execution only, so this is
//   like handing each slot's value to its CPU, which `T: Send` allows;
// - `&T` to other slots by `remote`, which asks for `T: Sync` itself.
// `local` and `remote` may alias the same slot, and then `T: Sync` holds.
unsafe impl<T: Send, const N: usize> Sync for PerCpu<T, N> {}

impl<T, const N: usize> PerCpu<T, N> {
    /// Takes the values, the first for CPU 0.
    pub const fn from_slots(slots: [CachePadded<T>; N]) -> Self {
        Self { slots }
    }

    /// This CPU's own value.
    ///
    /// # Panics
    /// If the CPU's index is not below `N`.
    #[inline(always)]
    pub fn local<'a>(&'a self, pin: &'a Pinned) -> &'a T {
        &self.slots[pin.cpu().index()]
    }

    /// The value of any CPU.
    ///
    /// # Panics
    /// If the CPU's index is not below `N`.
    #[inline(always)]
    pub fn remote(&self, cpu: CpuId) -> &T
    where
        T: Sync,
    {
        &self.slots[cpu.index()]
    }
}

#[cfg(all(test, not(loom), not(shuttle)))]
mod tests {
    use super::*;
    use core::cell::Cell;

    #[test]
    fn each_cpu_has_its_own_private_cell() {
        static CELLS: PerCpu<Cell<usize>, 4> = PerCpu::from_slots([const { CachePadded::new(Cell::new(0)) }; 4]);
        std::thread::scope(|s| {
            for cpu in CpuId::first(4) {
                s.spawn(move || {
                    // SAFETY: one thread for each number, and no interrupt handlers.
                    let pin = unsafe { Pinned::new(cpu) };
                    for _ in 0..100 {
                        let cell = CELLS.local(&pin);
                        cell.set(cell.get() + cpu.index());
                    }
                    assert_eq!(CELLS.local(&pin).get(), 100 * cpu.index());
                });
            }
        });
    }

    #[test]
    fn slots_do_not_share_a_pair_of_lines() {
        let values: PerCpu<u8, 2> = PerCpu::from_slots([CachePadded::new(1), CachePadded::new(2)]);
        let [first, second] = [0, 1].map(|i| values.remote(CpuId::new(i).unwrap()));
        assert_eq!((*first, *second), (1, 2));
        assert!(
            core::ptr::from_ref(second).addr() - core::ptr::from_ref(first).addr() >= align_of::<CachePadded<u8>>()
        );
    }
}
