//! The names of CPUs: a dense index, and the proof of which one this code runs on.
//!
//! An index here is the order in which the kernel numbered the CPUs, 0 being the boot CPU. It is not an APIC id:
//! those are sparse, may exceed 255 with four CPUs in the machine, and stay in the kernel's table.

use core::fmt;
use core::marker::PhantomData;

/// How many CPUs the arrays have room for. CPUs beyond it are parked and reported by the kernel.
///
/// 64 under loom, where a set is then one word and a model stays small.
pub const MAX_CPUS: usize = if cfg!(loom) { 64 } else { 512 };

/// A CPU's dense index.
///
/// Having a `CpuId` tells you that its index is below [`MAX_CPUS`]. It does not tell you that such a CPU exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CpuId(u16);

impl CpuId {
    /// The CPU that ran the boot loader.
    pub const BOOT: Self = Self(0);

    /// The CPU with this index, if it is below [`MAX_CPUS`].
    pub const fn new(index: usize) -> Option<Self> {
        if index < MAX_CPUS { Some(Self(index as u16)) } else { None }
    }

    /// The index, below [`MAX_CPUS`].
    #[inline(always)]
    pub const fn index(self) -> usize {
        // SAFETY: `BOOT`, `new` and `first` make all there are, and none beyond the limit. Said here so that an array of
        // `MAX_CPUS` costs no check: an initiator looks at every CPU.
        unsafe { core::hint::assert_unchecked((self.0 as usize) < MAX_CPUS) };
        self.0 as usize
    }

    /// The first `nr_cpus` CPUs in order, or all [`MAX_CPUS`] if that is less.
    pub fn first(nr_cpus: usize) -> impl DoubleEndedIterator<Item = Self> + Clone {
        (0..nr_cpus.min(MAX_CPUS)).map(|index| Self(index as u16))
    }
}

impl fmt::Display for CpuId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The proof that this code runs on one CPU, and which.
///
/// Having a `Pinned` tells you that the code that holds it runs on [`Pinned::cpu`] and will, as long as the token
/// lives. No scheduler moves anybody in this kernel, so holding one costs nothing and hinders nobody. It can neither
/// be sent nor shared:
///
/// ```compile_fail
/// fn send<T: Send>() {}
/// send::<smp::Pinned>();
/// ```
/// ```compile_fail
/// fn share<T: Sync>() {}
/// share::<smp::Pinned>();
/// ```
#[derive(Debug)]
pub struct Pinned {
    cpu: CpuId,
    not_send_nor_sync: PhantomData<*mut ()>,
}

impl Pinned {
    /// States that this code runs on `cpu`.
    ///
    /// # Safety
    /// As long as the token lives:
    /// - the code that holds it runs on `cpu`, and no other thread of execution does under the same number;
    /// - an interrupt handler that makes a token of its own on `cpu` reaches through it only data that tolerates being
    ///   entered again (atomics), unless the code it may have interrupted masks interrupts around its own use.
    #[inline(always)]
    pub const unsafe fn new(cpu: CpuId) -> Self {
        Self { cpu, not_send_nor_sync: PhantomData }
    }

    /// The CPU this code runs on.
    #[inline(always)]
    pub const fn cpu(&self) -> CpuId {
        self.cpu
    }
}

#[cfg(all(test, not(loom), not(shuttle)))]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_accepted_below_the_limit_only() {
        assert_eq!(CpuId::new(0), Some(CpuId::BOOT));
        assert_eq!(CpuId::new(MAX_CPUS - 1).map(CpuId::index), Some(MAX_CPUS - 1));
        assert_eq!(CpuId::new(MAX_CPUS), None);
        assert_eq!(CpuId::new(usize::MAX), None);
    }

    #[test]
    fn the_first_cpus_come_in_order_and_stop_at_the_limit() {
        assert!(CpuId::first(3).map(CpuId::index).eq(0..3));
        assert_eq!(CpuId::first(usize::MAX).count(), MAX_CPUS);
    }
}
