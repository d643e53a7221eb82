//! A frame as words that are read from memory: through the direct map, by volatile accesses, with lines flushed.

use core::fmt;
use core::ptr::NonNull;

use arch::cache::LineFlush;
use kernel::memtest::{Fault, Step, Words};
use mm::frame::{Frame, PAGE_SIZE};

use crate::machine::HEAP;

/// What brings written words from the caches to memory.
#[derive(Clone, Copy)]
pub(super) struct Flush(Option<LineFlush>);

impl Flush {
    pub(super) fn new(proof: Option<LineFlush>) -> Self {
        Self(proof)
    }
}

impl fmt::Display for Flush {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(proof) => write!(f, "lines are flushed by {proof} after each write"),
            None => f.write_str("no flush of lines: what caches hold is not read from memory"),
        }
    }
}

/// The words of a frame.
struct Page(NonNull<u64>);

impl Words for Page {
    fn len(&self) -> usize {
        PAGE_SIZE / size_of::<u64>()
    }

    #[inline(always)]
    fn read(&self, index: usize) -> u64 {
        assert!(index < self.len());
        // SAFETY: a word of the frame that `sweep` was given.
        unsafe { self.0.add(index).read_volatile() }
    }

    #[inline(always)]
    fn write(&mut self, index: usize, value: u64) {
        assert!(index < self.len());
        // SAFETY: as above.
        unsafe { self.0.add(index).write_volatile(value) }
    }
}

/// The same with one bit that always reads as 1, for chaos.
struct StuckPage(Page);

/// The word and the bit.
const STUCK: (usize, u64) = (77, 1 << 21);

impl Words for StuckPage {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn read(&self, index: usize) -> u64 {
        self.0.read(index) | if index == STUCK.0 { STUCK.1 } else { 0 }
    }

    fn write(&mut self, index: usize, value: u64) {
        self.0.write(index, value);
    }
}

/// Does one step in `frame`, as if a bit were stuck if `is_chaos`; then flushes what it wrote.
///
/// # Safety
///
/// The frame is the caller's, and nobody else uses it meanwhile.
pub(super) unsafe fn sweep(frame: Frame, is_chaos: bool, step: Step, flush: Flush, report: impl FnMut(Fault)) {
    let start: NonNull<u64> = HEAP.frames().virt(frame).cast();
    if is_chaos {
        step.sweep(&mut StuckPage(Page(start)), frame.addr(), report);
    } else {
        step.sweep(&mut Page(start), frame.addr(), report);
    }
    if let Some(proof) = flush.0
        && step.is_writing()
    {
        // SAFETY: the frame is mapped in the direct map.
        unsafe { proof.flush(start.as_ptr().cast(), PAGE_SIZE) };
    }
}
