//! One CPU's part of a cache: the loaded magazine, the previous one, and a rack of further ones.
//!
//! ```text
//!   pop / push                 both empty, or both full                 rack all empty, or all full
//!   ┌────────┐ ┌──────────┐    ┌──────────────────────────────┐         ┌───────┐
//!   │ loaded │⇄│ previous │ ⇄  │ rack: full.. | empty or none │    ⇄    │ depot │  (shared, locked)
//!   └────────┘ └──────────┘    └──────────────────────────────┘         └───────┘
//! ```
//!
//! With two magazines every visit behind them is followed by at least one magazine's worth of operations that need
//! none, whatever the workload (Bonwick and Adams, section 3.1). The rack keeps a CPU's own warm blocks on this CPU;
//! with the depot alone two CPUs hand each other cold ones.
//!
//! Invariants: only the owning CPU touches it, and only while it holds its [`gate`](crate::gate): an interrupt that lands
//! on a holder finds that out and takes another way, so nothing here needs a locked instruction or the interrupt flag.
//! Other CPUs read the counters only. Magazines in `rack[..nr_full]` are full, the rest empty or absent. All zero bytes:
//! a valid, empty cache without magazines.

mod exchange;
mod vet;

use core::cell::UnsafeCell;
use core::marker::PhantomData;
use core::ptr::{self, NonNull};
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicI64, AtomicPtr, AtomicU32, AtomicU64, fence};

use crate::gate::{Gate, HOLDER, OPERATION};
use crate::machine::Machine;
use crate::magazine::{MAX_ROUNDS, Magazine};
pub(crate) use vet::Dropped;

/// Magazines in a rack at most.
pub const RACK: usize = 14;

const _: () = assert!(MAX_ROUNDS < HOLDER as usize, "the gate counts the rounds of a magazine");

/// Where the rounds of the loaded magazine are.
#[derive(Debug)]
struct Loaded {
    /// Its capacity and one holder: a gate's word from here on means a full magazine, or an interrupted holder.
    limit: u64,
    rounds: *mut NonNull<u8>,
}

/// One CPU's magazines of one cache. See the module.
#[derive(Debug)]
#[repr(C, align(128))]
pub struct CpuCache {
    /// Counts the rounds in the loaded magazine.
    gate: Gate,
    /// The holder's.
    loaded: UnsafeCell<Loaded>,
    magazine: AtomicPtr<Magazine>,
    previous: AtomicPtr<Magazine>,
    /// Odd while rounds come or go by other ways than `pop` and `push`: what follows here does not fit together then.
    version: AtomicU32,
    nr_full: AtomicU32,
    /// Operations that the gate counted before, and those by the bulk.
    nr_operations: AtomicU64,
    /// Rounds that came from the depot and the slabs less those that went there.
    nr_drawn: AtomicI64,
    // The lines behind the first: touched once in a magazine's worth of operations.
    rack: [AtomicPtr<Magazine>; RACK],
    /// Rounds held here, behind the loaded magazine.
    nr_behind: AtomicU32,
    /// Of these, in the previous magazine, if there is one.
    nr_previous: AtomicU32,
    /// Times the loaded and previous magazine changed places, or one came from the rack.
    nr_swaps: AtomicU64,
}

const _: () = assert!(size_of::<CpuCache>() == 256, "four cache lines, a power of two apart");

// SAFETY: `loaded` is touched only by the CPU that owns the cache, while it holds the gate; the rest is atomics.
unsafe impl Sync for CpuCache {}

/// Counters of one CPU and cache. Each has a single writer; a reader elsewhere sees a recent value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Objects handed out from this CPU's magazines.
    pub nr_allocs: u64,
    /// Objects taken back into them.
    pub nr_frees: u64,
    /// Magazines exchanged without leaving the CPU.
    pub nr_swaps: u64,
    /// Rounds lying in this CPU's magazines now.
    pub nr_rounds: u64,
}

/// Having this means: this CPU has entered the gate alone, so no interrupt handler will touch the cache.
pub(crate) struct Held<'a> {
    cache: &'a CpuCache,
    not_send: PhantomData<*mut ()>,
}

impl CpuCache {
    /// The top round of the loaded magazine: the whole hit path of an allocation. `None` if the magazine is empty, and
    /// if this is an interrupt that landed on a holder.
    #[inline(always)]
    pub(crate) fn pop<M: Machine>(&self) -> Option<NonNull<u8>> {
        let word = self.gate.enter::<M>();
        // Both reasons to go another way in one comparison.
        let len = word.len_held_once();
        if len <= HOLDER as i64 {
            self.gate.retreat::<M>();
            return None;
        }
        // SAFETY: this CPU holds the gate, so the loaded magazine is its own; the entries below the length are rounds.
        let object = unsafe { (*self.loaded.get()).rounds.offset(len as isize - HOLDER as isize - 1).read() };
        self.gate.leave(word.0.wrapping_add(OPERATION - HOLDER - 1));
        Some(object)
    }

    /// Puts `object` on the loaded magazine: the whole hit path of a free. False if the magazine is full, and if this is
    /// an interrupt that landed on a holder.
    #[inline(always)]
    pub(crate) fn push<M: Machine>(&self, object: NonNull<u8>) -> bool {
        let word = self.gate.enter::<M>();
        // SAFETY: one load, on the CPU of the only writer. Should this be the interrupt of a holder that is changing it,
        // the old and the new limit are both below two holders.
        if word.len_and_holders() >= unsafe { (*self.loaded.get()).limit } {
            self.gate.retreat::<M>();
            return false;
        }
        // SAFETY: below the limit, so this CPU alone holds the gate, and the array has a place behind the last round.
        unsafe { (*self.loaded.get()).rounds.add((word.len_and_holders() - HOLDER) as usize).write(object) };
        self.gate.leave(word.0.wrapping_add(OPERATION - HOLDER + 1));
        true
    }

    /// Whether nobody on this CPU is in the middle of something here. For an NMI, which nobody comes between.
    pub(crate) fn is_open(&self) -> bool {
        self.gate.read().len_and_holders() < HOLDER
    }

    /// Enters for longer than a `pop` or `push`, unless an interrupt landed on a holder.
    pub(crate) fn try_hold<M: Machine>(&self) -> Option<Held<'_>> {
        if !self.gate.try_hold::<M>() {
            return None;
        }
        self.version.store(self.version.load(Relaxed).wrapping_add(1), Relaxed);
        // Who sees what comes now sees the odd version before it.
        fence(Release);
        Some(Held { cache: self, not_send: PhantomData })
    }

    /// What happened here so far.
    pub fn counters(&self) -> Counters {
        /// Holds end soon; but not those that an interrupt on the same CPU asks from within.
        const MAX_TRIES: u32 = 1000;
        let mut nr_tries = 0;
        loop {
            let version = self.version.load(Acquire);
            let word = self.gate.read();
            let nr_rounds = word.len() as u64 + u64::from(self.nr_behind.load(Relaxed));
            let nr_operations = self.nr_operations.load(Relaxed).wrapping_add(word.nr_operations());
            let nr_live = self.nr_drawn.load(Relaxed) - nr_rounds as i64;
            let nr_swaps = self.nr_swaps.load(Relaxed);
            fence(Acquire);
            let is_consistent = version.is_multiple_of(2) && self.version.load(Relaxed) == version;
            if is_consistent || nr_tries == MAX_TRIES {
                // allocations + frees, and allocations - frees.
                let nr_frees = (nr_operations as i64 - nr_live).max(0) as u64 / 2;
                return Counters {
                    nr_allocs: nr_operations - nr_frees.min(nr_operations),
                    nr_frees,
                    nr_swaps,
                    nr_rounds,
                };
            }
            nr_tries += 1;
            core::hint::spin_loop();
        }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        add(&self.cache.nr_operations, self.cache.gate.take_count());
        self.cache.version.store(self.cache.version.load(Relaxed).wrapping_add(1), Release);
        self.cache.gate.release();
    }
}

/// Adds to a counter of which this CPU is the only writer: no locked instruction.
fn add(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(n), Relaxed);
}

impl Held<'_> {
    fn len(&self) -> usize {
        self.cache.gate.read().len()
    }

    fn capacity(&self) -> usize {
        // SAFETY: this CPU holds the gate.
        unsafe { ((*self.cache.loaded.get()).limit % HOLDER) as usize }
    }

    fn rounds(&self) -> *mut NonNull<u8> {
        // SAFETY: this CPU holds the gate.
        unsafe { (*self.cache.loaded.get()).rounds }
    }

    /// Counts rounds that came from the depot or a slab, or went there.
    fn draw(&self, change: i64) {
        self.cache.nr_drawn.store(self.cache.nr_drawn.load(Relaxed) + change, Relaxed);
    }

    /// The top round of the loaded magazine.
    pub(crate) fn pop(&self) -> Option<NonNull<u8>> {
        let len = self.len().checked_sub(1)?;
        // SAFETY: the top round, in the array of the loaded magazine, which this CPU owns.
        let object = unsafe { self.rounds().add(len).read() };
        self.cache.gate.set_len(len);
        self.cache.gate.count(1);
        Some(object)
    }

    /// Puts `object` on the loaded magazine; false if it is full.
    pub(crate) fn push(&self, object: NonNull<u8>) -> bool {
        let len = self.len();
        let has_room = len < self.capacity();
        if has_room {
            // SAFETY: room for one more behind the rounds, in the array of the loaded magazine, which this CPU owns.
            unsafe { self.rounds().add(len).write(object) };
            self.cache.gate.set_len(len + 1);
            self.cache.gate.count(1);
        }
        has_room
    }

    /// Takes rounds of the loaded magazine, up to the length of `objects`; how many.
    pub(crate) fn pop_many(&self, objects: &mut [NonNull<u8>]) -> usize {
        let len = self.len();
        let taken = len.min(objects.len());
        if taken > 0 {
            // SAFETY: the top `taken` rounds, in the array of the loaded magazine, which this CPU owns.
            unsafe { self.rounds().add(len - taken).copy_to_nonoverlapping(objects.as_mut_ptr(), taken) };
            self.cache.gate.set_len(len - taken);
            self.cache.gate.count(taken as u64);
        }
        taken
    }

    /// Puts as many of `objects` on the loaded magazine as fit; how many.
    pub(crate) fn push_many(&self, objects: &[NonNull<u8>]) -> usize {
        let len = self.len();
        let put = (self.capacity() - len).min(objects.len());
        if put > 0 {
            // SAFETY: room for `put` more behind the rounds, in the array of the loaded magazine, which this CPU owns.
            unsafe { self.rounds().add(len).copy_from_nonoverlapping(objects.as_ptr(), put) };
            self.cache.gate.set_len(len + put);
            self.cache.gate.count(put as u64);
        }
        put
    }

    /// Whether no magazine is loaded yet.
    pub(crate) fn is_unloaded(&self) -> bool {
        self.cache.magazine.load(Relaxed).is_null()
    }

    /// Writes the count of the loaded magazine back into it and takes it out.
    fn unload(&self) -> *mut Magazine {
        let magazine = self.cache.magazine.swap_plain(ptr::null_mut());
        if let Some(mut magazine) = NonNull::new(magazine) {
            // SAFETY: the loaded magazine is this CPU's.
            unsafe { magazine.as_mut().nr_rounds = self.len() as u32 };
        }
        self.cache.gate.set_len(0);
        self.set_loaded(0, ptr::null_mut());
        magazine
    }

    fn set_loaded(&self, capacity: u32, rounds: *mut NonNull<u8>) {
        // SAFETY: this CPU holds the gate, and nobody has a reference into the cell beyond one access.
        unsafe { *self.cache.loaded.get() = Loaded { limit: HOLDER + u64::from(capacity), rounds } };
    }

    /// Loads `magazine`, which this CPU owns, into the empty place.
    fn load(&self, magazine: NonNull<Magazine>) {
        // SAFETY: the caller owns the magazine, and gives it to this CPU.
        let header = unsafe { magazine.as_ref() };
        self.cache.gate.set_len(header.nr_rounds as usize);
        // SAFETY: a magazine of this crate.
        self.set_loaded(header.capacity, unsafe { Magazine::rounds(magazine) }.as_ptr());
        self.cache.magazine.store(magazine.as_ptr(), Relaxed);
    }

    fn previous(&self) -> Option<NonNull<Magazine>> {
        NonNull::new(self.cache.previous.load(Relaxed))
    }

    fn rounds_in(magazine: Option<NonNull<Magazine>>) -> u32 {
        // SAFETY: magazines that this CPU's places name are this CPU's.
        magazine.map_or(0, |magazine| unsafe { magazine.as_ref() }.nr_rounds)
    }

    /// Fills the empty loaded magazine by `fetch`, which writes objects into the array it is given and returns how
    /// many it wrote.
    pub(crate) fn fill(&self, fetch: impl FnOnce(&mut [NonNull<u8>]) -> usize) -> usize {
        let capacity = self.capacity();
        assert!(self.len() == 0, "fill of a magazine with {} rounds", self.len());
        let mut buffer = [NonNull::dangling(); MAX_ROUNDS];
        let n = fetch(&mut buffer[..capacity]);
        // SAFETY: the loaded magazine's array has room for `capacity` >= n entries, and is this CPU's.
        unsafe { self.rounds().copy_from_nonoverlapping(buffer.as_ptr(), n) };
        self.cache.gate.set_len(n);
        self.draw(n as i64);
        n
    }

    /// Hands the rounds of the loaded magazine to `sink` and leaves it empty.
    pub(crate) fn spill(&self, sink: impl FnOnce(&[Option<NonNull<u8>>])) {
        let n = self.len();
        if n == 0 {
            return;
        }
        self.cache.gate.set_len(0);
        self.draw(-(n as i64));
        // SAFETY: the first n entries of the loaded magazine's array are rounds, and the array stays this CPU's and
        // unchanged while the cache is held.
        sink(unsafe { core::slice::from_raw_parts(self.rounds().cast(), n) });
    }

    /// Takes every magazine out, one at a time, for a drain; the rounds of each are counted in it.
    pub(crate) fn take_any(&self) -> Option<NonNull<Magazine>> {
        self.cache.nr_full.store(0, Relaxed);
        let mut found =
            NonNull::new(self.unload()).or_else(|| NonNull::new(self.cache.previous.swap_plain(ptr::null_mut())));
        for place in &self.cache.rack {
            found = found.or_else(|| NonNull::new(place.swap_plain(ptr::null_mut())));
        }
        self.cache.nr_behind.store(0, Relaxed);
        self.draw(-i64::from(Self::rounds_in(found)));
        found
    }
}

/// A pointer of which this CPU is the only user: exchange without a locked instruction.
trait SwapPlain<T> {
    fn swap_plain(&self, new: *mut T) -> *mut T;
}

impl<T> SwapPlain<T> for AtomicPtr<T> {
    fn swap_plain(&self, new: *mut T) -> *mut T {
        let old = self.load(Relaxed);
        self.store(new, Relaxed);
        old
    }
}
