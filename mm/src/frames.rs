//! Frames: the frame bitmap behind one lock, each CPU's page magazine before it, and the frame table beside it.
//!
//! Invariants: a frame is in exactly one place: the bitmap (kind `Free`), one page magazine (`Cached`), or in use, and
//! then its descriptor says what for. A free is checked against the descriptor at once.
//! Called by: [`crate::supply`] for slabs, [`crate::heap`] for large allocations, the kernel for page tables and mapped
//! ranges. Lock order: the frame bitmap is last.

mod retired;
mod runs;

use core::ptr::NonNull;
use core::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};

use crate::error::{Error, Result};
use crate::frame::{Frame, FrameRange, PAGE_SIZE};
use crate::frame_bitmap::FrameBitmap;
use crate::frame_table::{FrameTable, Kind};
use crate::incidents::Incidents;
use crate::lock::Lock;
use crate::machine::Machine;
use crate::memory_map::{self, CarveRequest, Region};
use crate::page_magazine::PageMagazine;

/// Single frames that are moved under one hold of the bitmap's lock, at most: what bounds the time with interrupts off.
const MAX_SINGLES: usize = 16;

/// All frames of the machine.
#[derive(Debug)]
pub struct Frames<M> {
    bitmap: Lock<Option<FrameBitmap<'static>>, M>,
    table: FrameTable,
    /// Virtual address of physical address 0 in the direct map.
    direct_map: AtomicUsize,
    /// A racy copy of the number of frames that are not in the bitmap: who only wants to know whether memory is getting used up
    /// does not take the lock.
    nr_taken: AtomicU64,
    /// Frames in use by kind, as far as the CPUs' own counts do not tell: runs, and what interrupts took past a magazine.
    by_kind: [AtomicI64; Kind::COUNT],
    /// Damage that was found under a lock and waits to be reported.
    pub(crate) incidents: Incidents<M>,
}

/// What [`Frames::init`] made of the memory map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Initialised {
    /// Usable frames in the map.
    pub nr_usable: u64,
    /// Of these, taken for the bitmap and the frame table.
    pub nr_metadata: u64,
}

impl<M: Machine> Frames<M> {
    /// No frames.
    pub const fn new() -> Self {
        Self {
            bitmap: Lock::new(None),
            table: FrameTable::new(),
            direct_map: AtomicUsize::new(0),
            nr_taken: AtomicU64::new(0),
            by_kind: [const { AtomicI64::new(0) }; Kind::COUNT],
            incidents: Incidents::new(),
        }
    }

    /// Takes charge of the usable frames in `regions`; those of `later` (say, the bootloader's) can be added by
    /// [`Frames::add`] when they are free.
    ///
    /// The bitmap and the frame table are carved out of the usable frames.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`] if no usable run is long enough for them.
    ///
    /// # Safety
    ///
    /// Called once, by one CPU, before any other use. `direct_map` is where physical address 0 is mapped, and all
    /// usable frames are mapped there, writable, for good. Nothing else uses the usable frames.
    pub unsafe fn init(&self, regions: &[Region], later: &[FrameRange], direct_map: usize) -> Result<Initialised> {
        let in_map = memory_map::usable_ranges(regions).map(FrameRange::end_number).max().unwrap_or(0);
        let nr_frames = later.iter().map(|range| range.end_number()).fold(in_map, u64::max) as usize;
        let nr_table_pages = FrameTable::pages_needed(nr_frames);
        let bitmap_words = FrameBitmap::words_needed(nr_frames);
        let nr_metadata = nr_table_pages + (bitmap_words * size_of::<u64>()).div_ceil(PAGE_SIZE);
        let no_room = Error::OutOfMemory { bytes: nr_metadata.saturating_mul(PAGE_SIZE) };
        let metadata = memory_map::carve(regions, CarveRequest { nr_pages: nr_metadata, align_pages: 1, below: None })
            .ok_or(no_room)?;

        self.direct_map.store(direct_map, Ordering::Relaxed);
        let storage = self.virt(metadata.start());
        // SAFETY: the carved pages are mapped by this function's contract, and nobody else's from here; the table
        // takes the first `nr_table_pages` of them.
        unsafe { self.table.init(storage, nr_frames) };
        // SAFETY: the rest of the carved pages, page-aligned, large enough by the sum above, kept for ever; the write
        // makes them initialised.
        let words = unsafe {
            let words = storage.add(nr_table_pages * PAGE_SIZE).cast::<u64>();
            words.write_bytes(0, bitmap_words);
            core::slice::from_raw_parts_mut(words.as_ptr(), bitmap_words)
        };
        let mut bitmap = FrameBitmap::new(words, nr_frames)?;
        let mut nr_usable = 0;
        for range in memory_map::usable_ranges(regions) {
            nr_usable += u64::from(range.nr_pages());
            for part in without(range, metadata).into_iter().flatten() {
                bitmap.add_range(part)?;
            }
        }
        *self.bitmap.lock() = Some(bitmap);
        Ok(Initialised { nr_usable, nr_metadata: nr_metadata as u64 })
    }

    /// Takes charge of further frames, below the highest one that [`Frames::init`] was told of.
    ///
    /// # Errors
    ///
    /// [`Error::BadRequest`] or [`Error::Foreign`] if a frame is known already or out of range.
    ///
    /// # Safety
    ///
    /// Nothing uses the frames, and the direct map covers them.
    pub unsafe fn add(&self, range: FrameRange) -> Result<()> {
        self.with_bitmap(|bitmap| bitmap.add_range(range))
    }

    fn with_bitmap<R>(&self, f: impl FnOnce(&mut FrameBitmap<'static>) -> R) -> R {
        let mut bitmap = self.bitmap.lock();
        let bitmap = bitmap.as_mut().expect("frames are initialised first");
        let result = f(bitmap);
        self.nr_taken.store((bitmap.nr_managed() - bitmap.nr_free()) as u64, Ordering::Relaxed);
        result
    }

    /// Frames in use or in page magazines, a moment ago. Takes no lock.
    pub(crate) fn nr_taken(&self) -> u64 {
        self.nr_taken.load(Ordering::Relaxed)
    }

    /// Where `frame` can be read and written.
    pub fn virt(&self, frame: Frame) -> NonNull<u8> {
        let addr = self.direct_map.load(Ordering::Relaxed) + frame.addr() as usize;
        NonNull::new(core::ptr::with_exposed_provenance_mut(addr)).expect("the direct map does not begin at address 0")
    }

    /// Where physical address `phys` can be read and written: [`virt`](Self::virt) without its checks, for a walk.
    ///
    /// # Safety
    ///
    /// It lies in one of the frames that are managed.
    #[inline(always)]
    pub unsafe fn virt_at(&self, phys: u64) -> NonNull<u8> {
        let addr = self.direct_map.load(Ordering::Relaxed).wrapping_add(phys as usize);
        // SAFETY: the direct map covers the managed frames at addresses that the kernel uses, and 0 is none of these.
        unsafe { NonNull::new_unchecked(core::ptr::with_exposed_provenance_mut(addr)) }
    }

    /// The frame that direct-map address `addr` lies in; `None` outside the frames that are managed.
    pub fn frame_of(&self, addr: NonNull<u8>) -> Option<Frame> {
        let phys = addr.addr().get().checked_sub(self.direct_map.load(Ordering::Relaxed))?;
        let frame = Frame::containing(phys as u64)?;
        ((frame.number() as usize) < self.table.nr_frames()).then_some(frame)
    }

    /// What is known of each frame.
    pub fn table(&self) -> &FrameTable {
        &self.table
    }

    /// Takes one frame, contents undefined, to be used as `kind`.
    ///
    /// Context: any but an NMI.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`] when the bitmap and this CPU's magazine are empty. Frames may lie in other CPUs'
    /// magazines: see [`crate::heap::Heap::reclaim`].
    #[inline]
    pub fn alloc(&self, kind: Kind) -> Result<Frame> {
        let frame = match M::bank().pages.pop::<M>(kind) {
            Some(frame) => frame,
            None => self.alloc_slow(kind)?,
        };
        self.table.of(frame).set_head(kind, 1);
        Ok(frame)
    }

    /// A frame that this CPU's magazine does not have, or not for this interrupt.
    #[cold]
    #[inline(never)]
    fn alloc_slow(&self, kind: Kind) -> Result<Frame> {
        let out = Error::OutOfMemory { bytes: PAGE_SIZE };
        match M::bank().pages.try_hold::<M>() {
            Some(mine) => {
                // Under one hold: an interrupt in between could take what was brought.
                let frame = mine.pop(kind).or_else(|| {
                    mine.refill(|batch| self.take_batch(batch));
                    mine.pop(kind)
                });
                frame.ok_or(out)
            }
            None => {
                // An interrupt landed on a holder.
                let mut one = [Frame::new(0)];
                if self.take_batch(&mut one) == 0 {
                    return Err(out);
                }
                self.by_kind[kind as usize].fetch_add(1, Ordering::Relaxed);
                Ok(one[0])
            }
        }
    }

    /// Takes single frames from the bitmap, as many as there are, and marks them `Cached`.
    fn take_batch(&self, batch: &mut [Frame]) -> usize {
        let mut nr_taken = 0;
        for part in batch.chunks_mut(MAX_SINGLES) {
            let n = self.with_bitmap(|bitmap| {
                let n = bitmap.take_batch(part);
                part[..n].iter().for_each(|&frame| self.table.make_ready(frame));
                n
            });
            part[..n].iter().for_each(|&frame| self.table.of(frame).set_head(Kind::Cached, 1));
            nr_taken += n;
            if n < part.len() {
                break;
            }
        }
        nr_taken
    }

    /// Takes one frame full of zeroes.
    ///
    /// # Errors
    ///
    /// As [`Frames::alloc`].
    pub fn alloc_zeroed(&self, kind: Kind) -> Result<Frame> {
        let frame = self.alloc(kind)?;
        // SAFETY: the frame is ours, and the direct map covers it.
        unsafe { self.virt(frame).write_bytes(0, PAGE_SIZE) };
        Ok(frame)
    }

    /// Gives back a frame from `alloc` with the same `kind`.
    ///
    /// # Errors
    ///
    /// [`Error::DoubleFree`], [`Error::Foreign`] or [`Error::WrongSize`], with the address; nothing is freed then.
    ///
    /// # Safety
    ///
    /// Nothing uses the frame any more, through any mapping.
    #[inline]
    pub unsafe fn free(&self, frame: Frame, kind: Kind) -> Result<()> {
        match self.table.get(frame) {
            Some(descriptor) if descriptor.is_single(kind) => {
                descriptor.set_head(Kind::Cached, 1);
                if M::bank().pages.push::<M>(frame, kind) { Ok(()) } else { self.free_slow(frame, kind) }
            }
            _ => self.check_run(frame, 1, kind),
        }
    }

    /// Frees a frame, marked `Cached`, for which this CPU's magazine has no room, or none for this interrupt.
    #[cold]
    #[inline(never)]
    fn free_slow(&self, frame: Frame, kind: Kind) -> Result<()> {
        match M::bank().pages.try_hold::<M>() {
            Some(mine) => {
                let mut spilled = Ok(());
                if !mine.push(frame, kind) {
                    mine.spill(|batch| spilled = self.put_batch(batch));
                    mine.push(frame, kind);
                }
                drop(mine);
                // What is wrong with another frame is no error of this free.
                spilled.unwrap_or_else(M::report);
                Ok(())
            }
            None => {
                // An interrupt landed on a holder.
                self.by_kind[kind as usize].fetch_sub(1, Ordering::Relaxed);
                self.put_batch(&[frame])
            }
        }
    }

    /// Puts frames into the bitmap. A bad one is the error, and the others are put all the same: they have left the
    /// magazine.
    fn put_batch(&self, batch: &[Frame]) -> Result<()> {
        let mut result = Ok(());
        for part in batch.chunks(MAX_SINGLES) {
            part.iter().for_each(|&frame| self.table.of(frame).set_head(Kind::Free, 0));
            let put = self.with_bitmap(|bitmap| {
                bitmap
                    .put_batch(part)
                    .or_else(|_| part.iter().map(|&frame| bitmap.put_one(frame)).fold(Ok(()), Result::and))
            });
            result = result.and(put);
        }
        result
    }

    /// Whether exactly `nr_pages` from `frame` on are in use as one run of `kind`.
    fn check_run(&self, frame: Frame, nr_pages: u32, kind: Kind) -> Result<()> {
        let addr = frame.addr() as usize;
        let descriptor = self.table.get(frame).ok_or(Error::Foreign { addr })?;
        match descriptor.kind() {
            Kind::Free if !self.is_managed(frame) => Err(Error::Foreign { addr }),
            Kind::Free | Kind::Cached => Err(Error::DoubleFree { addr }),
            used if used != kind => Err(Error::Foreign { addr }),
            _ if descriptor.run_length() == Some(nr_pages) && self.ends_there(frame, nr_pages, kind) => Ok(()),
            _ => Err(Error::WrongSize { addr, given: nr_pages as usize * PAGE_SIZE }),
        }
    }

    /// Whether the run's last frame says so too, and the one behind it does not: a length that was overwritten must not
    /// free what belongs to others.
    fn ends_there(&self, frame: Frame, nr_pages: u32, kind: Kind) -> bool {
        let is_tail = |offset: u32| {
            let frame = frame.number().checked_add(offset).map(Frame::new);
            frame.and_then(|frame| self.table.get(frame)).is_some_and(|descriptor| descriptor.is_tail(kind, offset))
        };
        (nr_pages == 1 || is_tail(nr_pages - 1)) && !is_tail(nr_pages)
    }

    /// Counts `nr_pages` frames in use as `to` that were in use as `from`. Their descriptors are the caller's.
    pub(crate) fn reclassify(&self, from: Kind, to: Kind, nr_pages: u32) {
        self.by_kind[from as usize].fetch_sub(i64::from(nr_pages), Ordering::Relaxed);
        self.by_kind[to as usize].fetch_add(i64::from(nr_pages), Ordering::Relaxed);
    }

    /// Whether `frame` is one of those that come and go.
    pub fn is_managed(&self, frame: Frame) -> bool {
        self.with_bitmap(|bitmap| bitmap.is_managed(frame))
    }

    /// Empties this CPU's page magazine into the bitmap. False if an interrupt landed on a holder.
    pub(crate) fn drain_this_cpu(&self) -> bool {
        let Some(mine) = M::bank().pages.try_hold::<M>() else { return false };
        let mut result = Ok(());
        while result.is_ok() && mine.spill(|batch| result = self.put_batch(batch)) > 0 {}
        if let Err(error) = result {
            drop(mine);
            M::report(error);
        }
        true
    }

    /// Frames in the bitmap.
    pub fn nr_free(&self) -> u64 {
        self.with_bitmap(|bitmap| bitmap.nr_free() as u64)
    }

    /// Frames managed: free, cached or in use.
    pub fn nr_managed(&self) -> u64 {
        self.with_bitmap(|bitmap| bitmap.nr_managed() as u64)
    }

    /// Frames in use as the kind with this number, given all CPUs' page magazines.
    pub(crate) fn count_of<'a>(&self, kind: usize, pages: impl Iterator<Item = &'a PageMagazine>) -> i64 {
        self.by_kind[kind].load(Ordering::Relaxed) + pages.map(|pages| pages.share_of(kind)).sum::<i64>()
    }

    /// Times the lock of the bitmap was found held.
    pub fn nr_lock_contentions(&self) -> u64 {
        self.bitmap.nr_contended()
    }

    /// Times the lock of the bitmap was taken.
    pub fn nr_lock_acquisitions(&self) -> u64 {
        self.bitmap.nr_acquired()
    }
}

impl<M: Machine> Default for Frames<M> {
    fn default() -> Self {
        Self::new()
    }
}

/// `range` without `hole`: the parts before and behind it.
fn without(range: FrameRange, hole: FrameRange) -> [Option<FrameRange>; 2] {
    let part = |start: u64, end: u64| {
        (start < end).then(|| FrameRange::new(Frame::new(start as u32), (end - start) as u32)).flatten()
    };
    let (start, end) = (u64::from(range.start().number()), range.end_number());
    let (hole_start, hole_end) = (u64::from(hole.start().number()), hole.end_number());
    [part(start, end.min(hole_start)), part(start.max(hole_end), end)]
}
