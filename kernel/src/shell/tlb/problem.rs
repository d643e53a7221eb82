//! Why `tlb` has nothing to tell.

use core::fmt;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Problem {
    /// There is no memory to map so many pages.
    NoMemory { nr_pages: usize },
    /// This is the only CPU.
    NoOtherCpu,
    /// This did not come in a time in which it should have come a hundred thousand times.
    Late { what: &'static str },
    /// Ctrl-C.
    Stopped,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NoMemory { nr_pages: 1 } => f.write_str("it needs a page, and there is no memory for it"),
            Self::NoMemory { nr_pages } => write!(f, "it needs {nr_pages} pages, and there is no memory for them"),
            Self::NoOtherCpu => f.write_str("it needs another CPU, and there is none"),
            Self::Late { what } => write!(f, "time was up: {what}"),
            Self::Stopped => f.write_str("stopped"),
        }
    }
}
