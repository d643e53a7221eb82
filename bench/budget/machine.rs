//! The machine on which the steps are counted: this process is its one CPU.
//!
//! The bank is one load from the thread pointer, as a kernel's is one from GS, and a word is added to by the kernel's own
//! instruction. Masking and unmasking of interrupts are
//! functions of their own, so that whoever follows the steps sees when interrupts are off.

use std::alloc::{Layout, alloc_zeroed};
use std::cell::Cell;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use mm::bank::Bank;
use mm::error::Error;
use mm::frame::PAGE_SIZE;
use mm::heap::Heap;
use mm::machine::Machine;
use mm::memory_map::{Region, RegionKind};

/// Enough for whatever the paths need; what is not touched costs the host nothing.
const NR_PAGES: usize = 16 * 1024;

/// The heap whose paths are counted.
pub(crate) static HEAP: Heap<Stepped> = Heap::new();
static BANK: Bank = Bank::empty();
static IRQ_DEPTH: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static MINE: Cell<*const Bank> = const { Cell::new(ptr::null()) };
}

/// The machine.
#[derive(Debug)]
pub(crate) struct Stepped;

/// Interrupts off, as far as anybody can tell.
#[inline(never)]
pub(crate) extern "C" fn mask() -> usize {
    let depth = IRQ_DEPTH.load(Ordering::Relaxed);
    IRQ_DEPTH.store(depth + 1, Ordering::Relaxed);
    depth
}

/// Interrupts as they were.
#[inline(never)]
pub(crate) extern "C" fn unmask(depth: usize) {
    IRQ_DEPTH.store(depth, Ordering::Relaxed);
}

// SAFETY: one thread calls `init`, and is the only CPU; nothing interrupts it.
unsafe impl Machine for Stepped {
    #[inline(always)]
    fn bank() -> &'static Bank {
        // SAFETY: set by `init`, before the first use; the bank is a static.
        unsafe { &*MINE.get() }
    }

    #[inline(always)]
    fn add_on_this_cpu<const N: i64>(word: &AtomicU64) -> u64 {
        arch::irq::add_on_this_cpu::<N>(word)
    }

    fn irq_save() -> usize {
        mask()
    }

    unsafe fn irq_restore(saved: usize) {
        unmask(saved);
    }

    fn relax(_nr_turns: u32) {
        panic!("the only CPU waits for itself");
    }

    fn drain_other_cpus() {}

    fn report(error: Error) {
        panic!("mm reports {error}");
    }
}

/// Gives the heap its memory, and makes this thread its CPU. Once.
pub(crate) fn init() {
    let layout = Layout::from_size_align(NR_PAGES * PAGE_SIZE, PAGE_SIZE).expect("a sane size");
    // SAFETY: the layout has a size.
    let memory = NonNull::new(unsafe { alloc_zeroed(layout) }).expect("the host has memory");
    let end = (NR_PAGES * PAGE_SIZE) as u64;
    // Physical address 0 is the start of the block; frame 0 is never handed out.
    let map = [Region { start: PAGE_SIZE as u64, end, kind: RegionKind::Usable }];
    MINE.set(&raw const BANK);
    // SAFETY: the block is this heap's alone, zeroed and lives for ever; this is the first use.
    let made = unsafe { HEAP.frames().init(&map, &[], memory.as_ptr().expose_provenance()) };
    assert!(made.is_ok(), "{made:?}");
    HEAP.add_cpu(0, &BANK);
    HEAP.init();
}
