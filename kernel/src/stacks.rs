//! Stacks, each with an unmapped page below and above it: an overflow is a fault and not a neighbour's data.

use mm::error::Result;

use crate::space::{self, Attributes};

/// Pages of a CPU's main stack: a stress worker below the shell takes a third of it.
const MAIN_PAGES: usize = 16;
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
        Ok(Self {
            main: Stack::new(MAIN_PAGES)?,
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
