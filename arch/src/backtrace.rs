//! Return addresses, by frame pointers.
//!
//! Every function of the kernel starts with `push rbp; mov rbp, rsp` (forced by the build), so at `[rbp]` lies the
//! caller's RBP and at `[rbp + 8]` the address it returns to. The naked entries zero RBP, which ends the chain.
//!
//! The stack may be the very thing that is broken. So each frame must satisfy the caller's idea of a stack address,
//! both words are read by [`probe`], and the walk ends after [`MAX_FRAMES`]: it neither faults nor loops. Frames need
//! not ascend: a trap on a stack of its own leads back to another stack.

use crate::probe;
use crate::traps::TrapFrame;
use core::arch::asm;

/// The longest walk.
pub const MAX_FRAMES: usize = 64;

/// Return addresses, innermost first. Each points behind a call: subtract one to find the line of the call.
#[derive(Clone, Debug)]
pub struct Backtrace<V> {
    frame_pointer: usize,
    nr_left: usize,
    is_stack: V,
}

impl<V: Fn(usize) -> bool> Backtrace<V> {
    /// From the caller's frame. `is_stack` says whether an address may hold a frame.
    #[inline(always)]
    pub fn here(is_stack: V) -> Self {
        let frame_pointer;
        // SAFETY: reads a register.
        unsafe { asm!("mov {}, rbp", out(reg) frame_pointer, options(nomem, nostack, preserves_flags)) }
        Self::from(frame_pointer, is_stack)
    }

    /// From the code that a trap interrupted. Its own address is `frame.rip`; this begins with its caller's. (Should
    /// the trap have hit between a function's call and its `mov rbp, rsp`, one caller is left out.)
    pub fn interrupted(frame: &TrapFrame, is_stack: V) -> Self {
        Self::from(frame.rbp as usize, is_stack)
    }

    /// From a frame pointer.
    pub fn from(frame_pointer: usize, is_stack: V) -> Self {
        Self { frame_pointer, nr_left: MAX_FRAMES, is_stack }
    }
}

impl<V: Fn(usize) -> bool> Iterator for Backtrace<V> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let frame = self.frame_pointer;
        let return_slot = frame.checked_add(8)?;
        if self.nr_left == 0 || frame == 0 || !frame.is_multiple_of(8) {
            return None;
        }
        if !(self.is_stack)(frame) || !(self.is_stack)(return_slot) {
            return None;
        }
        let caller = probe::read_u64(frame)? as usize;
        let return_address = probe::read_u64(return_slot)? as usize;
        if return_address == 0 {
            return None;
        }
        self.nr_left -= 1;
        self.frame_pointer = caller;
        Some(return_address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames in one array: `[caller's frame, return address]` pairs by index, usize::MAX as the end.
    fn stack<const N: usize>(links: [(usize, usize); N]) -> Box<[[usize; 2]; N]> {
        let mut frames = Box::new([[0; 2]; N]);
        let base = frames.as_ptr() as usize;
        for (slot, (next, address)) in frames.iter_mut().zip(links) {
            *slot = [if next == usize::MAX { 0 } else { base + 16 * next }, address];
        }
        frames
    }

    #[test]
    fn a_chain_is_followed_to_its_end() {
        let frames = stack([(2, 0x11), (usize::MAX, 0x33), (1, 0x22)]);
        let found: Vec<_> = Backtrace::from(frames.as_ptr() as usize, |_| true).collect();
        assert_eq!(found, [0x11, 0x22, 0x33]);
    }

    #[test]
    fn a_loop_ends_after_the_bound() {
        let frames = stack([(1, 0x11), (0, 0x22)]);
        assert_eq!(Backtrace::from(frames.as_ptr() as usize, |_| true).count(), MAX_FRAMES);
    }

    #[test]
    fn frames_off_the_stack_are_not_read() {
        let frames = stack([(1, 0x11), (2, 0x22), (usize::MAX, 0x33)]);
        let base = frames.as_ptr() as usize;
        let found: Vec<_> = Backtrace::from(base, |address| address < base + 24).collect();
        assert_eq!(found, [0x11], "the second frame's return address is beyond the limit");
    }

    #[test]
    fn wild_frame_pointers_end_the_walk() {
        for wild in [0, 1, 0x1003, usize::MAX, usize::MAX - 7] {
            assert_eq!(Backtrace::from(wild, |_| true).next(), None);
        }
    }

    #[test]
    fn a_zero_return_address_is_the_end() {
        let frames = stack([(1, 0x11), (0, 0)]);
        assert_eq!(Backtrace::from(frames.as_ptr() as usize, |_| true).count(), 1);
    }
}
