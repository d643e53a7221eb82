//! Frames that are on their way into a mapping, linked through their own first words: collecting them takes no memory.

use mm::error::Result;
use mm::frame::Frame;
use mm::frame_table::Kind;

use crate::machine::HEAP;

/// Frames of ours that nothing maps yet. Dropped, they go back.
pub(super) struct FrameChain {
    first: Option<Frame>,
    kind: Kind,
}

impl FrameChain {
    /// Takes `nr_frames` single frames.
    ///
    /// # Errors
    ///
    /// [`mm::error::Error::OutOfMemory`]; nothing is taken then.
    pub(super) fn alloc(nr_frames: usize, kind: Kind) -> Result<Self> {
        let mut chain = Self { first: None, kind };
        for _ in 0..nr_frames {
            let frame = HEAP.alloc_frame(kind)?;
            let link = HEAP.frames().virt(frame).cast::<Option<Frame>>();
            // SAFETY: the frame is ours, and seen through the direct map, page-aligned.
            unsafe { link.write(chain.first) };
            chain.first = Some(frame);
        }
        Ok(chain)
    }
}

impl Iterator for FrameChain {
    type Item = Frame;

    fn next(&mut self) -> Option<Frame> {
        let frame = self.first?;
        // SAFETY: the frame is ours, and `alloc` has written the link.
        self.first = unsafe { HEAP.frames().virt(frame).cast::<Option<Frame>>().read() };
        Some(frame)
    }
}

impl Drop for FrameChain {
    fn drop(&mut self) {
        let kind = self.kind;
        for frame in self {
            // SAFETY: nobody but this chain has the frame.
            if let Err(error) = unsafe { HEAP.frames().free(frame, kind) } {
                panic!("a frame that was just allocated cannot be freed: {error}");
            }
        }
    }
}
