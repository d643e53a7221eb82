//! What may be wrong with a recording, and how it is said.
//!
//! Produced by: [`crate::Trace::parse`] for the header, [`crate::check`] for the events.

use crate::{EVENT_LEN, HEADER_LEN, Kind, MAX_CPUS};
use core::fmt;

/// A recording is damaged: where, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damaged {
    /// The event, counted from 0; nothing if it is the header or the recording as a whole.
    pub event: Option<u64>,
    /// What is wrong there.
    pub what: Fault,
}

/// What is wrong with a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The file is shorter than a header.
    TooShort {
        /// Its length.
        len_bytes: u64,
    },
    /// The file begins with something else.
    WrongMagic {
        /// That something.
        found: [u8; 8],
    },
    /// No CPU, or more than an event can name.
    Cpus {
        /// The header's number.
        nr_cpus: u32,
    },
    /// The length is not that of the header's events.
    Length {
        /// The header's number of events.
        nr_events: u64,
        /// The length of the file.
        len_bytes: u64,
    },
    /// More objects than events.
    Objects {
        /// The header's number of objects.
        nr_objects: u32,
        /// The header's number of events.
        nr_events: u64,
    },
    /// The CPU is not one of the header's.
    Cpu {
        /// The event's CPU.
        cpu: u8,
        /// The header's number of CPUs.
        nr_cpus: u32,
    },
    /// The object is not one of the header's.
    Id {
        /// The event's object.
        id: u32,
        /// The header's number of objects.
        nr_objects: u32,
    },
    /// An allocation of nothing.
    ZeroSize {
        /// The object.
        id: u32,
    },
    /// A page run that is not a power of two of pages.
    NotAPageOrder {
        /// The object.
        id: u32,
        /// Its size.
        size_bytes: u32,
    },
    /// A free with a size.
    SizeInFree {
        /// The object.
        id: u32,
        /// The size.
        size_bytes: u32,
    },
    /// A second allocation, before or after the free.
    AllocatedTwice {
        /// The object.
        id: u32,
    },
    /// A free before the allocation.
    FreeBeforeAlloc {
        /// The object.
        id: u32,
    },
    /// A second free.
    FreedTwice {
        /// The object.
        id: u32,
    },
    /// A page run freed as an object, or an object as a page run.
    WrongKind {
        /// The object.
        id: u32,
        /// What was allocated.
        allocated: Kind,
    },
    /// No event allocates the object.
    NeverAllocated {
        /// The object.
        id: u32,
    },
    /// No event frees the object; the event is its allocation.
    NeverFreed {
        /// The object.
        id: u32,
    },
    /// The header's peak is not the peak of the events.
    Peak {
        /// The header's peak.
        header_bytes: u64,
        /// The peak of the events.
        found_bytes: u64,
    },
    /// Not the recording's fault: the caller lent too little scratch memory.
    Scratch {
        /// How many entries were lent.
        len: usize,
        /// How many are needed.
        nr_objects: u32,
    },
}

impl fmt::Display for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.event {
            Some(event) => write!(f, "event {event}: {}", self.what),
            None => write!(f, "{}", self.what),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Fault::TooShort { len_bytes } => {
                write!(f, "{len_bytes} bytes are no recording: the header alone has {HEADER_LEN}")
            }
            Fault::WrongMagic { found } => {
                write!(f, "not a recording: it begins with \"{}\", not \"KMTRACE1\"", found.escape_ascii())
            }
            Fault::Cpus { nr_cpus } => write!(f, "the header says {nr_cpus} CPUs, 1 to {MAX_CPUS} are possible"),
            Fault::Length { nr_events, len_bytes } => {
                let needed = u128::from(nr_events) * EVENT_LEN as u128 + HEADER_LEN as u128;
                write!(f, "{nr_events} events make {needed} bytes, the file has {len_bytes}")
            }
            Fault::Objects { nr_objects, nr_events } => {
                write!(f, "the header says {nr_objects} objects but only {nr_events} events")
            }
            Fault::Cpu { cpu, nr_cpus } => write!(f, "CPU {cpu}, but {nr_cpus} were recorded"),
            Fault::Id { id, nr_objects } => write!(f, "object {id}, but the header says {nr_objects} objects"),
            Fault::ZeroSize { id } => write!(f, "object {id} is allocated with size 0"),
            Fault::NotAPageOrder { id, size_bytes } => {
                write!(f, "page run {id} has {size_bytes} bytes, which is not 4096 << order")
            }
            Fault::SizeInFree { id, size_bytes } => write!(f, "object {id} is freed with a size, {size_bytes}"),
            Fault::AllocatedTwice { id } => write!(f, "object {id} is allocated a second time"),
            Fault::FreeBeforeAlloc { id } => write!(f, "object {id} is freed before it is allocated"),
            Fault::FreedTwice { id } => write!(f, "object {id} is freed a second time"),
            Fault::WrongKind { id, allocated: Kind::PageRun } => write!(f, "page run {id} is freed as an object"),
            Fault::WrongKind { id, allocated: Kind::Object } => write!(f, "object {id} is freed as a page run"),
            Fault::NeverAllocated { id } => write!(f, "object {id} is never allocated"),
            Fault::NeverFreed { id } => write!(f, "object {id} is allocated here and never freed"),
            Fault::Peak { header_bytes, found_bytes } => {
                write!(f, "the header says {header_bytes} bytes live at the peak, the events make {found_bytes}")
            }
            Fault::Scratch { len, nr_objects } => {
                write!(f, "checking {nr_objects} objects needs as many scratch entries, there are {len}")
            }
        }
    }
}
