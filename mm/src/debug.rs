//! Debug modes of a cache: what is checked beyond what a fast allocator can check, and what a check finds.
//!
//! ```text
//!   a place of a debugged cache:
//!   │ redzone │ object, as it was asked for │ slack │ redzone │ record: state, size, who allocated, who freed │
//!             └ aligned as ever             └──── all redzone ┘
//! ```
//!
//! Chosen for each cache when it is opened: see [`crate::heap::Heap::set_debug_rules`]. A debugged cache has no
//! magazines, so the hit path misses by itself and every call comes to [`crate::cache`]'s checks. This is the one
//! exception to the rule that no object carries allocator state.
//!
//! Poison of a cache with a constructor: every object of a debugged cache is constructed when it is handed out and
//! destroyed when it comes back, poisoned or not. So poison meets no constructed state, and the constructor's promise
//! holds; what is lost is the saving of the constructor's work.
//!
//! The idea and the patterns are those of Linux' SLUB debugging (`slub_debug=ZPU`).

mod finding;
#[cfg(not(loom))]
pub(crate) mod object;

pub use finding::{Damage, Fault, Finding, Moment};

/// Return addresses in a [`Track`] at most.
pub const MAX_SITES: usize = 4;

/// Which checks a cache has. A set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DebugFlags(u8);

impl DebugFlags {
    /// No checks.
    pub const NONE: Self = Self(0);
    /// Free memory is filled with a pattern, and verified before it is handed out again: finds writes after a free.
    /// Fresh objects are filled with another, so that nobody takes what he did not write for zeroes.
    pub const POISON: Self = Self(1);
    /// The bytes around an object are filled with a pattern and verified: finds writes past it and before it.
    pub const REDZONE: Self = Self(2);
    /// The call sites of each object's allocation and free are kept: says who, and lists what leaks.
    pub const AUDIT: Self = Self(4);
    /// All of them.
    pub const ALL: Self = Self(7);

    /// These and those.
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` are among these.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether there are none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// Says which checks a cache of that name, for objects of that many bytes, shall have. Asked once, when it is opened.
///
/// All size classes are called "size class".
pub type DebugRules = fn(name: &str, size: usize) -> DebugFlags;

/// Who did something to an object, and when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Track {
    /// Counts the allocations and frees of the cache, from 1; 0: nobody has done it yet.
    pub seq: u64,
    /// Number of the CPU, by [`crate::machine::Machine::cpu_number`].
    pub cpu: u32,
    nr_sites: u32,
    sites: [usize; MAX_SITES],
}

impl Track {
    /// Nobody yet.
    pub(crate) const NOBODY: Self = Self { seq: 0, cpu: 0, nr_sites: 0, sites: [0; MAX_SITES] };

    /// This CPU, now; its call sites only if they are `audited`.
    #[inline(never)]
    pub(crate) fn here<M: crate::machine::Machine>(is_audited: bool) -> Self {
        let mut track = Self { cpu: M::cpu_number() as u32, ..Self::NOBODY };
        if is_audited {
            track.nr_sites = M::backtrace(&mut track.sites).min(MAX_SITES) as u32;
        }
        track
    }

    /// One that was kept elsewhere.
    pub(crate) fn new(seq: u64, cpu: u32, sites: &[usize]) -> Self {
        let mut track = Self { seq, cpu, ..Self::NOBODY };
        for (place, &site) in track.sites.iter_mut().zip(sites) {
            *place = site;
            track.nr_sites += 1;
        }
        track
    }

    /// The same with that number.
    pub(crate) fn with_seq(self, seq: u64) -> Self {
        Self { seq, ..self }
    }

    /// Return addresses, innermost first; empty if they were not recorded.
    pub fn sites(&self) -> &[usize] {
        &self.sites[..(self.nr_sites as usize).min(MAX_SITES)]
    }
}

/// An object that is with a user, for lists of what leaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveObject {
    /// Its address.
    pub addr: usize,
    /// Bytes that were asked for.
    pub size: usize,
    /// Who asked.
    pub allocated: Track,
}
