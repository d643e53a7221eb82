//! The one error type of this crate: exhaustion and bad input, with the offending values inside.
//!
//! A broken invariant of ours is a panic with values; everything a caller can cause is one of these.

use core::fmt;

/// Shorthand for results of this crate.
pub type Result<T> = core::result::Result<T, Error>;

/// What the allocator keeps about its memory, where a wild write can do harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metadata {
    /// The descriptors of a slab's frames: the slab is quarantined.
    Slab,
    /// The links between slabs; they have been made anew from the frame table.
    SlabList,
    /// The header of a magazine, or a pointer to one: the magazine is dropped, with its rounds.
    Magazine,
    /// A depot's stack: what was left of it is dropped.
    Depot,
    /// An entry of a magazine of address ranges: the range that stood there is nobody's for good.
    Range,
}

impl fmt::Display for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Slab => "the state of a slab",
            Self::SlabList => "a list of slabs",
            Self::Magazine => "a magazine",
            Self::Depot => "a stack of magazines",
            Self::Range => "a range in a magazine",
        })
    }
}

/// Why an operation on memory was refused. No variant changes any state: a failed call leaves all as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// Nothing left that meets the request, after every cache of free memory was drained.
    OutOfMemory {
        /// Bytes asked for.
        bytes: usize,
    },
    /// The size, count or alignment can never be served: zero, overflowing, or not a power of two where one is due.
    BadRequest {
        /// The offending value.
        value: usize,
    },
    /// The address was not handed out by the allocator it was given to, or points inside an allocation.
    Foreign {
        /// The offending address.
        addr: usize,
    },
    /// The address was handed out once and has been freed already.
    DoubleFree {
        /// The offending address.
        addr: usize,
    },
    /// The address belongs to another cache than the one it was freed to.
    WrongCache {
        /// The offending address.
        addr: usize,
        /// Id of the cache that owns the address.
        owner: u16,
        /// Id of the cache it was given to.
        given: u16,
    },
    /// The address was allocated with another size or alignment than it was freed with.
    WrongSize {
        /// The offending address.
        addr: usize,
        /// The size it was freed with, in bytes.
        given: usize,
    },
    /// Memory around the object, or of a free object, was written: a debug check found it, and the object is out of use.
    Corrupted {
        /// The object's address.
        addr: usize,
    },
    /// Part of the range is mapped already.
    AlreadyMapped {
        /// First address that is.
        addr: usize,
    },
    /// Part of the range is not mapped.
    NotMapped {
        /// First address that is not.
        addr: usize,
    },
    /// The frame or the range that was asked for by name is taken already.
    InUse {
        /// First address that is.
        addr: usize,
    },
    /// Only part of a large page would be affected, and large pages are not split.
    WouldSplit {
        /// First address of the part that is asked for.
        addr: usize,
    },
    /// What the allocator keeps about its memory was overwritten. The damaged part has been taken out of use, and all
    /// else goes on; this error is only ever reported, to [`crate::machine::Machine::report`].
    Corrupt {
        /// What was overwritten.
        what: Metadata,
        /// The slab's, magazine's or range's address, or what stood where one should be.
        addr: usize,
    },
    /// The cache still has objects out.
    Busy {
        /// Objects not yet freed.
        nr_objects: usize,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Error::OutOfMemory { bytes } => write!(f, "out of memory for {bytes} bytes"),
            Error::BadRequest { value } => write!(f, "a request that can never be served: {value:#x}"),
            Error::Foreign { addr } => write!(f, "{addr:#x} is not an allocation"),
            Error::DoubleFree { addr } => write!(f, "{addr:#x} is free already"),
            Error::WrongCache { addr, owner, given } => {
                write!(f, "{addr:#x} belongs to cache {owner}, not to cache {given}")
            }
            Error::WrongSize { addr, given } => write!(f, "{addr:#x} was not allocated with size {given}"),
            Error::Corrupted { addr } => write!(f, "{addr:#x} was written where it must not be"),
            Error::AlreadyMapped { addr } => write!(f, "{addr:#x} is mapped already"),
            Error::NotMapped { addr } => write!(f, "{addr:#x} is not mapped"),
            Error::InUse { addr } => write!(f, "{addr:#x} is in use already"),
            Error::WouldSplit { addr } => write!(f, "{addr:#x} is inside a large page that would have to be split"),
            Error::Corrupt { what: what @ Metadata::Range, addr } => {
                write!(f, "{what} was overwritten with {addr:#x} and is out of use")
            }
            Error::Corrupt { what, addr } => write!(f, "{what} at {addr:#x} was overwritten and is out of use"),
            Error::Busy { nr_objects } => write!(f, "{nr_objects} objects are still out"),
        }
    }
}

impl core::error::Error for Error {}
