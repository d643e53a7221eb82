//! Objects under stress: each says in its first word how long it is, and is filled with a pattern from that word.
//!
//! So whoever gets one can verify and free it, on whichever CPU.

use core::alloc::Layout;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicPtr, Ordering};

use kernel::rng::SplitMix64;

use super::Run;
use super::verdict::Failure;
use crate::machine::HEAP;

/// Bytes of the smallest block: the word that describes it, and one of pattern.
const MIN_BYTES: usize = 16;
/// Blocks that lie between CPUs.
const EXCHANGE_PLACES: usize = 256;
/// Objects of a burst: more than the magazines of a CPU hold.
const BURST: usize = 600;

/// A live, filled block.
pub(super) struct Block(NonNull<u64>);

// SAFETY: a block is owned memory; which CPU owns it does not matter.
unsafe impl Send for Block {}

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, 8).unwrap_or_else(|error| panic!("a block of {size} bytes: {error}"))
}

/// A size: each power of two as likely as the next, rarely more than the size classes serve.
fn random_size(random: &mut SplitMix64) -> usize {
    let shift = if random.chance(1, 100) { random.within(&(15..=17)) } else { random.within(&(4..=11)) };
    let size = (1 << shift) + random.below(1 << shift);
    (size as usize).max(MIN_BYTES)
}

impl Block {
    /// Allocates a block of random size and fills it; `None` when memory is out.
    pub(super) fn new(run: &Run, random: &mut SplitMix64) -> Option<Self> {
        let size = random_size(random);
        match HEAP.alloc(layout(size)) {
            Ok(object) => Some(Self::fill(object, size, random.next_u64() as u32)),
            Err(_) => {
                run.refused();
                None
            }
        }
    }

    fn fill(object: NonNull<u8>, size: usize, salt: u32) -> Self {
        let block = Self(object.cast());
        let word = (size as u64) << 32 | u64::from(salt);
        for i in 0..size / 8 {
            // SAFETY: the object has `size` bytes and is aligned to 8.
            unsafe { block.0.add(i).write_volatile(pattern(word, i)) };
        }
        block
    }

    fn size(&self) -> usize {
        // SAFETY: a live block has its first word.
        (unsafe { self.0.read_volatile() } >> 32) as usize
    }

    fn verify(&self, run: &Run) {
        // SAFETY: a live block has its first word.
        let word = unsafe { self.0.read_volatile() };
        for i in 0..(word >> 32) as usize / 8 {
            // SAFETY: inside the block, by the length in its first word.
            let (at, found) = unsafe { (self.0.add(i), self.0.add(i).read_volatile()) };
            if found != pattern(word, i) {
                let addr = at.addr().get();
                return run.failures.add(Failure::Contents { addr, expected: pattern(word, i), found });
            }
        }
    }

    /// Verifies and frees.
    pub(super) fn free(self, run: &Run) {
        self.verify(run);
        let size = self.size();
        // SAFETY: the block is ours, and not used any more.
        if let Err(error) = unsafe { HEAP.dealloc(self.0.cast(), layout(size)) } {
            run.failures.add(Failure::Refused { error });
        }
    }

    /// Resizes to a random size, which keeps the contents that fit.
    pub(super) fn resize(self, run: &Run, random: &mut SplitMix64) -> Self {
        self.verify(run);
        let (old, new) = (self.size(), random_size(random));
        // SAFETY: the block is ours.
        let word = unsafe { self.0.read_volatile() };
        // SAFETY: live, of that layout, and on success only the new address is used.
        let Some(moved) = NonNull::new(unsafe { alloc::alloc::realloc(self.0.as_ptr().cast(), layout(old), new) })
        else {
            run.refused();
            return self;
        };
        for i in 0..old.min(new) / 8 {
            // SAFETY: inside the smaller of the two sizes.
            let (at, found) = unsafe { (moved.cast::<u64>().add(i), moved.cast::<u64>().add(i).read_volatile()) };
            if found != pattern(word, i) {
                let addr = at.addr().get();
                run.failures.add(Failure::Contents { addr, expected: pattern(word, i), found });
                break;
            }
        }
        Self::fill(moved, new, word as u32)
    }
}

/// Word `i` of a block whose first word is `word`.
fn pattern(word: u64, i: usize) -> u64 {
    if i == 0 { word } else { word.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(i as u64) }
}

/// Places in which CPUs leave blocks for one another.
pub(super) struct Exchange {
    places: [AtomicPtr<u64>; EXCHANGE_PLACES],
}

impl Exchange {
    pub(super) fn new() -> Self {
        Self { places: [const { AtomicPtr::new(core::ptr::null_mut()) }; EXCHANGE_PLACES] }
    }

    /// Leaves `block`, and takes what lay there.
    pub(super) fn swap(&self, block: Option<Block>, random: &mut SplitMix64) -> Option<Block> {
        let place = &self.places[random.below(EXCHANGE_PLACES as u64) as usize];
        let left = block.map_or(core::ptr::null_mut(), |block| block.0.as_ptr());
        // AcqRel: what the other CPU wrote into the block comes before what this one reads, and the same the other way.
        NonNull::new(place.swap(left, Ordering::AcqRel)).map(Block)
    }

    /// Frees all that lies here.
    pub(super) fn empty(&self, run: &Run) {
        for place in &self.places {
            if let Some(block) = NonNull::new(place.swap(core::ptr::null_mut(), Ordering::AcqRel)) {
                Block(block).free(run);
            }
        }
    }
}

/// Takes many objects of one size, so that depot and slabs are needed, and frees every other one first.
pub(super) fn burst(run: &Run, random: &mut SplitMix64) {
    let mut blocks: [Option<NonNull<u8>>; BURST] = [None; BURST];
    let layout = layout((16 << random.below(6)) as usize);
    for place in &mut blocks {
        *place = HEAP.alloc(layout).ok();
    }
    let odd = |(i, _): &(usize, &mut Option<NonNull<u8>>)| i % 2 == 1;
    let free = |(_, place): (usize, &mut Option<NonNull<u8>>)| {
        let Some(object) = place.take() else { return run.refused() };
        // SAFETY: ours, and never used.
        if let Err(error) = unsafe { HEAP.dealloc(object, layout) } {
            run.failures.add(Failure::Refused { error });
        }
    };
    blocks.iter_mut().enumerate().filter(odd).for_each(free);
    blocks.iter_mut().enumerate().filter(|pair| !odd(pair)).for_each(free);
}
