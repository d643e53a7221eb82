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
//! Invariants: only the owning CPU touches it, and only while `busy` is set by it. `busy` is a plain flag: an
//! interrupt that lands on a holder sees it set and takes another way, so nothing here needs an atomic
//! read-modify-write or the interrupt flag. The fields are atomics only so that other CPUs may read the counters.
//! Magazines in `rack[..nr_full]` are full, the rest empty or absent. All zero bytes: a valid, empty cache without
//! magazines.

use core::marker::PhantomData;
use core::ptr::{self, NonNull};
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, compiler_fence};

use crate::magazine::Magazine;

/// Magazines in a rack at most.
pub const RACK: usize = 14;

/// One CPU's magazines of one cache. See the module.
#[derive(Debug)]
#[repr(C, align(128))]
pub struct CpuCache {
    busy: AtomicBool,
    /// Rounds in the loaded magazine.
    nr_rounds: AtomicU32,
    /// Rounds that fit into it; 0 without a magazine.
    capacity: AtomicU32,
    /// The loaded magazine's array.
    rounds: AtomicPtr<NonNull<u8>>,
    loaded: AtomicPtr<Magazine>,
    previous: AtomicPtr<Magazine>,
    nr_allocs: AtomicU64,
    nr_frees: AtomicU64,
    // The lines behind the first: touched once in a magazine's worth of operations.
    rack: [AtomicPtr<Magazine>; RACK],
    nr_full: AtomicU32,
    /// Rounds held here, behind the loaded magazine.
    nr_behind: AtomicU32,
    /// Times the loaded and previous magazine changed places, or one came from the rack.
    nr_swaps: AtomicU64,
}

const _: () = assert!(size_of::<CpuCache>() == 256, "four cache lines, a power of two apart");

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

/// Having this means: `busy` was clear and is now set by this CPU, so no interrupt handler will touch the cache.
pub(crate) struct Held<'a> {
    cache: &'a CpuCache,
    not_send: PhantomData<*mut ()>,
}

impl CpuCache {
    /// Sets `busy`, unless an interrupt landed on a holder.
    #[inline(always)]
    pub(crate) fn try_hold(&self) -> Option<Held<'_>> {
        if self.busy.load(Relaxed) {
            return None;
        }
        self.busy.store(true, Relaxed);
        // The other party is a handler on this same CPU: only the compiler could reorder what it sees.
        compiler_fence(core::sync::atomic::Ordering::SeqCst);
        Some(Held { cache: self, not_send: PhantomData })
    }

    /// What happened here so far.
    pub fn counters(&self) -> Counters {
        Counters {
            nr_allocs: self.nr_allocs.load(Relaxed),
            nr_frees: self.nr_frees.load(Relaxed),
            nr_swaps: self.nr_swaps.load(Relaxed),
            nr_rounds: u64::from(self.nr_rounds.load(Relaxed)) + u64::from(self.nr_behind.load(Relaxed)),
        }
    }
}

impl Drop for Held<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        compiler_fence(core::sync::atomic::Ordering::SeqCst);
        self.cache.busy.store(false, Relaxed);
    }
}

/// Adds to a counter of which this CPU is the only writer: no locked instruction.
#[inline(always)]
fn add(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(n), Relaxed);
}

impl Held<'_> {
    /// The top round of the loaded magazine.
    #[inline(always)]
    pub(crate) fn pop(&self) -> Option<NonNull<u8>> {
        let n = self.cache.nr_rounds.load(Relaxed);
        if n == 0 {
            return None;
        }
        self.cache.nr_rounds.store(n - 1, Relaxed);
        add(&self.cache.nr_allocs, 1);
        // SAFETY: `rounds` is the array of the loaded magazine, which this CPU owns while it holds the cache; the
        // entries below `nr_rounds` have been written by `push` or `fill`.
        Some(unsafe { self.cache.rounds.load(Relaxed).add(n as usize - 1).read() })
    }

    /// Puts `object` on the loaded magazine; false if it is full.
    #[inline(always)]
    pub(crate) fn push(&self, object: NonNull<u8>) -> bool {
        let n = self.cache.nr_rounds.load(Relaxed);
        if n == self.cache.capacity.load(Relaxed) {
            return false;
        }
        // SAFETY: n is below the capacity of the loaded magazine's array, which this CPU owns while it holds the cache.
        unsafe { self.cache.rounds.load(Relaxed).add(n as usize).write(object) };
        self.cache.nr_rounds.store(n + 1, Relaxed);
        add(&self.cache.nr_frees, 1);
        true
    }

    /// Takes rounds of the loaded magazine, up to the length of `objects`; how many.
    pub(crate) fn pop_many(&self, objects: &mut [NonNull<u8>]) -> usize {
        let n = self.cache.nr_rounds.load(Relaxed) as usize;
        let taken = n.min(objects.len());
        if taken > 0 {
            // SAFETY: the top `taken` of n rounds, in the array of the loaded magazine, which this CPU owns.
            unsafe {
                self.cache.rounds.load(Relaxed).add(n - taken).copy_to_nonoverlapping(objects.as_mut_ptr(), taken)
            };
            self.cache.nr_rounds.store((n - taken) as u32, Relaxed);
            add(&self.cache.nr_allocs, taken as u64);
        }
        taken
    }

    /// Puts as many of `objects` on the loaded magazine as fit; how many.
    pub(crate) fn push_many(&self, objects: &[NonNull<u8>]) -> usize {
        let n = self.cache.nr_rounds.load(Relaxed) as usize;
        let put = (self.cache.capacity.load(Relaxed) as usize - n).min(objects.len());
        if put > 0 {
            // SAFETY: room for `put` more behind n rounds, in the array of the loaded magazine, which this CPU owns.
            unsafe { self.cache.rounds.load(Relaxed).add(n).copy_from_nonoverlapping(objects.as_ptr(), put) };
            self.cache.nr_rounds.store((n + put) as u32, Relaxed);
            add(&self.cache.nr_frees, put as u64);
        }
        put
    }

    /// Whether no magazine is loaded yet.
    pub(crate) fn is_unloaded(&self) -> bool {
        self.cache.loaded.load(Relaxed).is_null()
    }

    /// Writes the count of the loaded magazine back into it and takes it out.
    fn unload(&self) -> *mut Magazine {
        let magazine = self.cache.loaded.swap_plain(ptr::null_mut());
        if let Some(mut magazine) = NonNull::new(magazine) {
            // SAFETY: the loaded magazine is this CPU's.
            unsafe { magazine.as_mut().nr_rounds = self.cache.nr_rounds.load(Relaxed) };
        }
        self.cache.nr_rounds.store(0, Relaxed);
        self.cache.capacity.store(0, Relaxed);
        self.cache.rounds.store(ptr::null_mut(), Relaxed);
        magazine
    }

    /// Loads `magazine`, which this CPU owns, into the empty place.
    fn load(&self, magazine: NonNull<Magazine>) {
        // SAFETY: the caller owns the magazine, and gives it to this CPU.
        let header = unsafe { magazine.as_ref() };
        self.cache.nr_rounds.store(header.nr_rounds, Relaxed);
        self.cache.capacity.store(header.capacity, Relaxed);
        // SAFETY: a magazine of this crate.
        self.cache.rounds.store(unsafe { Magazine::rounds(magazine) }.as_ptr(), Relaxed);
        self.cache.loaded.store(magazine.as_ptr(), Relaxed);
    }

    fn previous(&self) -> Option<NonNull<Magazine>> {
        NonNull::new(self.cache.previous.load(Relaxed))
    }

    fn rounds_in(magazine: Option<NonNull<Magazine>>) -> u32 {
        // SAFETY: magazines that this CPU's places name are this CPU's.
        magazine.map_or(0, |magazine| unsafe { magazine.as_ref() }.nr_rounds)
    }

    fn count_behind(&self) {
        let mut n = Self::rounds_in(self.previous());
        for place in &self.cache.rack[..self.cache.nr_full.load(Relaxed) as usize] {
            n += Self::rounds_in(NonNull::new(place.load(Relaxed)));
        }
        self.cache.nr_behind.store(n, Relaxed);
    }

    /// loaded becomes previous, `magazine` becomes loaded; returns what was previous.
    fn rotate(&self, magazine: NonNull<Magazine>) -> Option<NonNull<Magazine>> {
        let was_loaded = self.unload();
        let was_previous = self.cache.previous.swap_plain(was_loaded);
        self.load(magazine);
        self.count_behind();
        NonNull::new(was_previous)
    }

    /// With the loaded magazine empty: brings a magazine with rounds to its place, from this CPU's own.
    pub(crate) fn reload_full(&self) -> bool {
        if Self::rounds_in(self.previous()) > 0 {
            let magazine = self.previous().expect("has rounds");
            self.cache.previous.store(ptr::null_mut(), Relaxed);
            self.rotate(magazine);
        } else {
            let nr_full = self.cache.nr_full.load(Relaxed);
            if nr_full == 0 {
                return false;
            }
            let place = &self.cache.rack[nr_full as usize - 1];
            let full = NonNull::new(place.load(Relaxed)).expect("places below nr_full are taken");
            self.cache.nr_full.store(nr_full - 1, Relaxed);
            let empty = self.rotate(full);
            place.store(empty.map_or(ptr::null_mut(), NonNull::as_ptr), Relaxed);
        }
        add(&self.cache.nr_swaps, 1);
        true
    }

    /// With the loaded magazine full: brings an empty one to its place, from this CPU's own.
    ///
    /// `rack` is how many magazines this cache may keep in its rack.
    pub(crate) fn reload_empty(&self, rack: usize) -> bool {
        if let Some(magazine) = self.previous().filter(|&magazine| Self::rounds_in(Some(magazine)) == 0) {
            self.cache.previous.store(ptr::null_mut(), Relaxed);
            self.rotate(magazine);
        } else {
            let nr_full = self.cache.nr_full.load(Relaxed) as usize;
            let Some(empty) = self.empty_in_rack(rack) else { return false };
            self.cache.rack[nr_full].store(ptr::null_mut(), Relaxed);
            self.shelve(empty);
        }
        add(&self.cache.nr_swaps, 1);
        true
    }

    /// Whether a further full magazine would find a place in the rack.
    pub(crate) fn has_rack_place(&self, rack: usize) -> bool {
        (self.cache.nr_full.load(Relaxed) as usize) < rack.min(RACK)
    }

    fn empty_in_rack(&self, rack: usize) -> Option<NonNull<Magazine>> {
        if !self.has_rack_place(rack) {
            return None;
        }
        NonNull::new(self.cache.rack[self.cache.nr_full.load(Relaxed) as usize].load(Relaxed))
    }

    /// Loads `empty`; the full previous magazine moves into the free place of the rack (the caller has checked that
    /// there is one and that it is vacant).
    fn shelve(&self, empty: NonNull<Magazine>) {
        let nr_full = self.cache.nr_full.load(Relaxed) as usize;
        if let Some(full) = self.rotate(empty) {
            let vacant = self.cache.rack[nr_full].swap_plain(full.as_ptr());
            assert!(vacant.is_null(), "rack place {nr_full} holds {vacant:p}");
            self.cache.nr_full.store(nr_full as u32 + 1, Relaxed);
            self.count_behind();
        }
    }

    /// Loads the new empty magazine `empty`, with the loaded one full or absent. The caller has made sure that there is
    /// a vacant place in the rack, or no previous magazine.
    pub(crate) fn insert_empty(&self, empty: NonNull<Magazine>, rack: usize) {
        if self.has_rack_place(rack) {
            self.shelve(empty);
        } else {
            self.insert(empty);
        }
    }

    /// Takes the previous magazine, which the caller wants to trade in the depot.
    pub(crate) fn take_previous(&self) -> Option<NonNull<Magazine>> {
        let magazine = NonNull::new(self.cache.previous.swap_plain(ptr::null_mut()));
        self.count_behind();
        magazine
    }

    /// Puts back what `take_previous` took.
    pub(crate) fn put_previous(&self, magazine: NonNull<Magazine>) {
        self.cache.previous.store(magazine.as_ptr(), Relaxed);
        self.count_behind();
    }

    /// loaded becomes previous (whose place is vacant), `magazine` becomes loaded.
    pub(crate) fn insert(&self, magazine: NonNull<Magazine>) {
        let displaced = self.rotate(magazine);
        assert!(displaced.is_none(), "previous magazine {displaced:?} displaced");
    }

    /// Fills the empty loaded magazine by `fetch`, which writes objects into the array it is given and returns how
    /// many it wrote.
    pub(crate) fn fill(&self, fetch: impl FnOnce(&mut [NonNull<u8>]) -> usize) -> usize {
        let capacity = self.cache.capacity.load(Relaxed) as usize;
        assert!(self.cache.nr_rounds.load(Relaxed) == 0, "fill of a magazine with rounds");
        if capacity == 0 {
            return 0;
        }
        let mut buffer = [NonNull::dangling(); crate::magazine::MAX_ROUNDS];
        let n = fetch(&mut buffer[..capacity]);
        // SAFETY: the loaded magazine's array has room for `capacity` >= n entries, and is this CPU's.
        unsafe { self.cache.rounds.load(Relaxed).copy_from_nonoverlapping(buffer.as_ptr(), n) };
        self.cache.nr_rounds.store(n as u32, Relaxed);
        n
    }

    /// Hands the rounds of the loaded magazine to `sink` and leaves it empty.
    pub(crate) fn spill(&self, sink: impl FnOnce(&[NonNull<u8>])) {
        let n = self.cache.nr_rounds.load(Relaxed) as usize;
        if n == 0 {
            return;
        }
        self.cache.nr_rounds.store(0, Relaxed);
        // SAFETY: the first n entries of the loaded magazine's array are rounds, and the array stays this CPU's and
        // unchanged while the cache is held.
        sink(unsafe { core::slice::from_raw_parts(self.cache.rounds.load(Relaxed), n) });
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
