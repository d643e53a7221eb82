//! Empty slabs on their way from a cache to the frames, with the cache's slab lock open.

use core::ptr::NonNull;
use core::sync::atomic::Ordering::Relaxed;

use crate::frame::FrameRange;
use crate::frame_table::Kind;
use crate::frames::Frames;
use crate::geometry::Geometry;
use crate::latency::{self, Path};
use crate::machine::Machine;

/// Empty slabs that are in no list any more, on their way to the frames. Not linked through the frame table: nobody would
/// notice a wild write there.
pub(super) struct Released {
    slabs: [Option<FrameRange>; Self::CAPACITY],
    len: usize,
}

impl Released {
    const CAPACITY: usize = 16;

    pub(super) const fn new() -> Self {
        Self { slabs: [None; Self::CAPACITY], len: 0 }
    }

    pub(super) fn is_full(&self) -> bool {
        self.len == Self::CAPACITY
    }

    /// Adds a slab, for which there is room.
    pub(super) fn extend(&mut self, slab: Option<FrameRange>) {
        if slab.is_some() {
            self.slabs[self.len] = slab;
            self.len += 1;
        }
    }

    pub(super) fn for_each_object<M: Machine>(
        &self,
        frames: &Frames<M>,
        geometry: Geometry,
        mut f: impl FnMut(NonNull<u8>),
    ) {
        for slab in self.slabs.into_iter().flatten() {
            let base = frames.virt(slab.start());
            for index in 0..usize::from(frames.table().of(slab.start()).nr_objects.load(Relaxed)) {
                // SAFETY: the slab has so many objects.
                f(unsafe { base.add(geometry.offset_of(index)) });
            }
        }
    }

    pub(super) fn free<M: Machine>(self, frames: &Frames<M>) {
        for slab in self.slabs.into_iter().flatten() {
            latency::reach::<M>(Path::Frame);
            // SAFETY: no object of the slab is out, and the slab is in no list, so nobody can reach it.
            if let Err(error) = unsafe { frames.free_run(slab, Kind::Slab) } {
                frames.incidents.note(error);
            }
        }
    }
}
