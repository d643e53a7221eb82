//! The frame table: one descriptor of 64 bytes for each frame, found by the frame's number.
//!
//! ```text
//!   frame 0x1234 ──► table[0x1234]  kind | cache | nr_pages or offset | list links | nr_out, nr_objects
//!                                   out: 256 bits, one for each object of the slab that starts here
//! ```
//!
//! It answers in O(1) what an address belongs to, and it is where a slab keeps its state: nothing of the allocator
//! lies inside the memory that it hands out, so an overrun of an object cannot reach it, and a slab of 64-byte objects
//! holds 64 of them. The price is 1/64 of memory, as in Linux' `struct page`.
//!
//! The table is initialised page by page, when a frame that it describes is first taken from the bitmap; a large
//! machine boots as fast as a small one. `ready` says which pages are.
//!
//! Written by: [`crate::frames`] (kind), [`crate::slab`] (the rest, under the cache's slab lock). Read by anyone.

mod seal;

use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use crate::frame::{Frame, FrameRange, PAGE_SIZE};

/// Objects in a slab at most: bits of the out-map in a descriptor.
pub const MAX_OBJECTS: usize = 256;

/// "No frame" in a list link. Frame 0 is never handed out.
pub const NIL: u32 = 0;

/// What a frame is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Not managed, or in the bitmap.
    Free = 0,
    /// In a page magazine.
    Cached = 1,
    /// Part of a slab.
    Slab = 2,
    /// Part of a run that the heap gave to a large allocation.
    Large = 3,
    /// A page table.
    PageTable = 4,
    /// Backs a mapped range.
    Mapped = 5,
    /// A caller's of the frame interface.
    Owned = 6,
    /// Part of a slab whose descriptor was overwritten: out of use for good. See [`crate::slab`].
    Quarantined = 7,
    /// Found bad: out of use for good. See [`crate::frames::Frames::retire`].
    Retired = 8,
    /// Holds tags of the address arena, or what it finds them by. Only ever grows.
    Tags = 9,
}

impl Kind {
    /// Number of kinds.
    pub const COUNT: usize = 10;

    fn from_u8(value: u8) -> Self {
        match value {
            1 => Self::Cached,
            2 => Self::Slab,
            3 => Self::Large,
            4 => Self::PageTable,
            5 => Self::Mapped,
            6 => Self::Owned,
            7 => Self::Quarantined,
            8 => Self::Retired,
            9 => Self::Tags,
            _ => Self::Free,
        }
    }
}

/// Bit of the kind byte: not the first frame of its slab or run.
const TAIL: u8 = 0x80;

/// Owner of a frame that is in no slab of a cache's lists.
pub(crate) const NO_CACHE: u16 = u16::MAX;

/// What is known of one frame.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Descriptor {
    kind: AtomicU8,
    /// Slab: the id of the cache in whose lists it is; [`NO_CACHE`] for all other frames, a slab in the making too.
    pub(crate) cache: AtomicU16,
    /// First frame of a slab or run: its length in pages. Another frame of it: distance to the first.
    pub(crate) nr_pages: AtomicU32,
    /// Slab: neighbours in the cache's list, as frame numbers; written under the cache's slab lock.
    pub(crate) next: AtomicU32,
    /// See `next`.
    pub(crate) prev: AtomicU32,
    /// Slab: objects that left it; written under the slab lock.
    pub(crate) nr_out: AtomicU16,
    /// Slab: objects it has.
    pub(crate) nr_objects: AtomicU16,
    /// Slab: the flush of its cache, by number, that put an object back last; written under the slab lock.
    pub(crate) last_flush: AtomicU32,
    /// Slab: a bit for each object, set while it is out of the slab; written under the slab lock.
    pub(crate) out: [AtomicU64; MAX_OBJECTS / 64],
    /// Slab: a sum over all that is above; see [`Descriptor::seal`].
    seal: AtomicU64,
}

const _: () = assert!(size_of::<Descriptor>() == 64, "a descriptor is one cache line");

impl Descriptor {
    /// What the frame is used for.
    pub fn kind(&self) -> Kind {
        Kind::from_u8(self.kind.load(Ordering::Relaxed) & !TAIL)
    }

    /// Pages of the slab or run that starts here; `None` inside one, and for a free frame.
    pub fn run_length(&self) -> Option<u32> {
        let kind = self.kind.load(Ordering::Relaxed);
        (kind & TAIL == 0 && Kind::from_u8(kind) != Kind::Free).then(|| self.nr_pages.load(Ordering::Relaxed))
    }

    /// Whether the frame is in use on its own, as `kind`.
    #[inline]
    pub(crate) fn is_single(&self, kind: Kind) -> bool {
        self.kind.load(Ordering::Relaxed) == kind as u8 && self.nr_pages.load(Ordering::Relaxed) == 1
    }

    /// Takes the first frame of a run of `kind` out of use; false if another CPU has done so.
    pub(crate) fn end_use(&self, kind: Kind) -> bool {
        let (used, free) = (kind as u8, Kind::Free as u8);
        self.kind.compare_exchange(used, free, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// First frame of the slab or run that `frame`, described by this, is part of.
    pub(crate) fn head(&self, frame: Frame) -> Frame {
        if self.kind.load(Ordering::Relaxed) & TAIL == 0 {
            return frame;
        }
        Frame::new(frame.number().wrapping_sub(self.nr_pages.load(Ordering::Relaxed)))
    }

    /// Whether this is a frame of `kind`, `offset` frames behind the first of its slab or run.
    pub(crate) fn is_tail(&self, kind: Kind, offset: u32) -> bool {
        self.kind.load(Ordering::Relaxed) == kind as u8 | TAIL && self.nr_pages.load(Ordering::Relaxed) == offset
    }

    /// Whether this is the first frame of a slab, in use or quarantined, and `frame` is one of its pages.
    pub(crate) fn is_slab_with(&self, head: Frame, frame: Frame) -> bool {
        let kind = self.kind.load(Ordering::Relaxed);
        let is_slab = kind == Kind::Slab as u8 || kind == Kind::Quarantined as u8;
        is_slab && frame.number().wrapping_sub(head.number()) < self.nr_pages.load(Ordering::Relaxed)
    }

    /// Slab: whether its object number `index` is out, or `None` if it has no such object.
    pub(crate) fn is_out(&self, index: usize) -> Option<bool> {
        let word = self.out.get(index / 64).filter(|_| index < usize::from(self.nr_objects.load(Ordering::Relaxed)))?;
        Some(word.load(Ordering::Relaxed) & (1 << (index % 64)) != 0)
    }

    /// Marks a frame on its own, or the first of `nr_pages`.
    pub(crate) fn set_head(&self, kind: Kind, nr_pages: u32) {
        self.nr_pages.store(nr_pages, Ordering::Relaxed);
        self.kind.store(kind as u8, Ordering::Relaxed);
    }

    /// Marks a frame `offset` frames behind the first of its run.
    pub(crate) fn set_tail(&self, kind: Kind, offset: u32) {
        self.nr_pages.store(offset, Ordering::Relaxed);
        self.kind.store(kind as u8 | TAIL, Ordering::Relaxed);
    }
}

/// Descriptors in one page of the table.
pub const DESCRIPTORS_PER_PAGE: usize = PAGE_SIZE / size_of::<Descriptor>();

/// The descriptors of all frames below a limit.
#[derive(Debug)]
pub struct FrameTable {
    descriptors: AtomicPtr<Descriptor>,
    /// A bit for each page of the table: set once the page is initialised.
    ready: AtomicPtr<AtomicU64>,
    nr_frames: AtomicUsize,
}

impl FrameTable {
    /// A table of no frames.
    pub const fn new() -> Self {
        Self {
            descriptors: AtomicPtr::new(ptr::null_mut()),
            ready: AtomicPtr::new(ptr::null_mut()),
            nr_frames: AtomicUsize::new(0),
        }
    }

    /// Pages of storage for `nr_frames` descriptors, the ready bits behind them included.
    pub const fn pages_needed(nr_frames: usize) -> usize {
        let nr_pages = nr_frames.div_ceil(DESCRIPTORS_PER_PAGE);
        nr_pages + (nr_pages.div_ceil(64) * 8).div_ceil(PAGE_SIZE)
    }

    /// Puts the table into `storage`.
    ///
    /// # Safety
    ///
    /// `storage` is page-aligned and has `pages_needed(nr_frames)` pages that are the table's for ever. Called once,
    /// before any other CPU can use the table.
    pub(crate) unsafe fn init(&self, storage: NonNull<u8>, nr_frames: usize) {
        let nr_table_pages = nr_frames.div_ceil(DESCRIPTORS_PER_PAGE);
        // SAFETY: the ready bits lie behind the descriptors, inside the storage by `pages_needed`.
        let ready = unsafe { storage.as_ptr().add(nr_table_pages * PAGE_SIZE) };
        // SAFETY: as above; the storage is ours alone.
        unsafe { ready.write_bytes(0, nr_table_pages.div_ceil(64) * 8) };
        self.descriptors.store(storage.as_ptr().cast(), Ordering::Relaxed);
        self.ready.store(ready.cast(), Ordering::Relaxed);
        // Release: whoever sees the length sees the pointers.
        self.nr_frames.store(nr_frames, Ordering::Release);
    }

    /// How many frames it describes.
    pub fn nr_frames(&self) -> usize {
        self.nr_frames.load(Ordering::Acquire)
    }

    /// The descriptor of `frame`; `None` for a frame that was never handed out, so that nothing is known of it.
    #[inline]
    pub fn get(&self, frame: Frame) -> Option<&Descriptor> {
        let index = frame.number() as usize;
        if index >= self.nr_frames() || !self.is_ready(index / DESCRIPTORS_PER_PAGE) {
            return None;
        }
        // SAFETY: inside the table (checked above), and its page has been initialised; descriptors are all atomics.
        Some(unsafe { &*self.descriptors.load(Ordering::Relaxed).add(index) })
    }

    /// The descriptor of a frame that was handed out.
    #[inline]
    pub(crate) fn of(&self, frame: Frame) -> &Descriptor {
        match self.get(frame) {
            Some(descriptor) => descriptor,
            None => panic!("frame {:#x} has no descriptor", frame.number()),
        }
    }

    /// Initialises the page that describes `frame`, unless it is. The caller holds the lock of the frame bitmap.
    pub(crate) fn make_ready(&self, frame: Frame) {
        let page = frame.number() as usize / DESCRIPTORS_PER_PAGE;
        assert!((frame.number() as usize) < self.nr_frames(), "frame {:#x} is beyond the table", frame.number());
        if self.is_ready(page) {
            return;
        }
        // SAFETY: the page lies inside the storage; no reference into it exists before its ready bit is set, and the
        // caller's lock keeps others from setting it.
        unsafe {
            self.descriptors
                .load(Ordering::Relaxed)
                .add(page * DESCRIPTORS_PER_PAGE)
                .cast::<u8>()
                .write_bytes(0, PAGE_SIZE);
        }
        for index in 0..DESCRIPTORS_PER_PAGE {
            // SAFETY: inside the page, which is all zeroes, and descriptors are atomics.
            let descriptor =
                unsafe { &*self.descriptors.load(Ordering::Relaxed).add(page * DESCRIPTORS_PER_PAGE + index) };
            descriptor.cache.store(NO_CACHE, Ordering::Relaxed);
        }
        // Release pairs with the load in `is_ready`: who sees the bit sees what the page was filled with.
        self.ready_word(page).fetch_or(1 << (page % 64), Ordering::Release);
    }

    /// As `make_ready`, for all of `range`.
    pub(crate) fn make_range_ready(&self, range: FrameRange) {
        let last = range.end_number() as u32 - 1;
        let mut number = range.start().number();
        while number <= last {
            self.make_ready(Frame::new(number));
            // The first that the next page of the table describes.
            number = (number / DESCRIPTORS_PER_PAGE as u32 + 1) * DESCRIPTORS_PER_PAGE as u32;
        }
    }

    /// Calls `f` with each frame whose descriptor is known.
    pub fn for_each(&self, mut f: impl FnMut(Frame, &Descriptor)) {
        let mut index = 0;
        while index < self.nr_frames() {
            if index % DESCRIPTORS_PER_PAGE == 0 && !self.is_ready(index / DESCRIPTORS_PER_PAGE) {
                index += DESCRIPTORS_PER_PAGE;
                continue;
            }
            let frame = Frame::new(index as u32);
            f(frame, self.of(frame));
            index += 1;
        }
    }

    #[inline]
    fn is_ready(&self, page: usize) -> bool {
        self.ready_word(page).load(Ordering::Acquire) & (1 << (page % 64)) != 0
    }

    fn ready_word(&self, page: usize) -> &AtomicU64 {
        // SAFETY: callers pass pages of the table, and the ready bits cover them all; they are zeroed in `init`.
        unsafe { &*self.ready.load(Ordering::Relaxed).add(page / 64) }
    }
}

impl Default for FrameTable {
    fn default() -> Self {
        Self::new()
    }
}
