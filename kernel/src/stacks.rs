//! Stacks, each with an unmapped page below and above it: an overflow is a fault and not a neighbour's data.

use mm::error::Result;

use crate::space::{self, Attributes};

/// Pages of a CPU's main stack: a stress worker below the shell takes a third of it.
const MAIN_PAGES: usize = 16;
/// Pages of the first CPU's, which runs the shell: to compress a run of `bench` takes some 90 KiB, because the crate that
/// does it makes its tables on the stack before they go to the heap.
const FIRST_MAIN_PAGES: usize = 64;
/// Pages of a stack that the CPU switches to for a double fault, an NMI or a machine check: a whole crash report, drawn
/// on the screen.
const TRAP_PAGES: usize = 4;

/// A stack's bounds. It exists for good.
#[derive(Clone, Copy, Debug)]
pub struct Stack {
    /// Lowest address.
    pub bottom: usize,
    /// One past the highest address; where a stack starts.
    pub top: usize,
}

/// All stacks of one CPU.
#[derive(Clone, Copy, Debug)]
pub struct Stacks {
    /// What it runs on.
    pub main: Stack,
    /// For #DF, NMI and #MC.
    pub traps: [Stack; 3],
}

impl Stacks {
    /// Maps the stacks of one CPU.
    ///
    /// # Errors
    ///
    /// [`mm::error::Error::OutOfMemory`]; what was mapped before stays with the kernel, which does without a CPU then.
    pub fn new() -> Result<Self> {
        Self::with_main(MAIN_PAGES)
    }

    /// Maps those of the first CPU.
    ///
    /// # Errors
    ///
    /// [`mm::error::Error::OutOfMemory`].
    pub fn for_first_cpu() -> Result<Self> {
        Self::with_main(FIRST_MAIN_PAGES)
    }

    fn with_main(nr_pages: usize) -> Result<Self> {
        Ok(Self {
            main: Stack::new(nr_pages)?,
            traps: [Stack::new(TRAP_PAGES)?, Stack::new(TRAP_PAGES)?, Stack::new(TRAP_PAGES)?],
        })
    }
}

impl Stack {
    fn new(nr_pages: usize) -> Result<Self> {
        let range = space::map(nr_pages, Attributes::READ_WRITE)?.leak();
        Ok(Self { bottom: range.start(), top: range.start() + nr_pages * mm::frame::PAGE_SIZE })
    }
}
