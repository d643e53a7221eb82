//! Loops in which a CPU frees what it allocated. Each returns how many objects were bad: see [`crate::objects`].
//!
//! The pointer or the layout goes through `black_box`, so no pair can be left out by the compiler, and what follows
//! from a layout is not worked out once for the whole loop.

use alloc::vec::Vec;
use core::alloc::Layout;
use core::hint::black_box;

use crate::Peer;
use crate::objects::{REFUSED, Slot, check_and_free, stamp};
use crate::sizes::{MIX, Random};

/// Allocates and at once frees, for each of `turns`, what `layout_of` that turn is. Unchecked, objects are not looked
/// at.
#[inline(always)]
pub fn pairs<P: Peer, const CHECK: bool>(turns: core::ops::Range<u64>, layout_of: impl Fn(u64) -> Layout) -> u64 {
    let mut nr_bad = 0;
    for i in turns {
        let layout = layout_of(i);
        let object = black_box(P::alloc(layout));
        if CHECK {
            nr_bad += u64::from(!object.addr().is_multiple_of(layout.align()));
            // SAFETY: null or just allocated with this layout, stamped, and nobody else has seen it.
            nr_bad += unsafe {
                stamp(object, i as u8);
                check_and_free::<P>(black_box(object), i as u8, layout)
            };
        } else {
            // Null only where memory is out, which nobody measures; a test of it would be part of what is measured.
            // SAFETY: just allocated with this layout, and nobody else has seen it.
            unsafe { P::dealloc(object, layout) };
        }
    }
    nr_bad
}

/// `layout`, of which the compiler knows the alignment only.
#[inline(always)]
pub fn opaque(layout: Layout) -> Layout {
    // SAFETY: the size and alignment of a layout.
    unsafe { Layout::from_size_align_unchecked(black_box(layout.size()), layout.align()) }
}

/// The sizes of [`MIX`] one after the other.
#[inline(always)]
pub fn mixed(turn: u64) -> Layout {
    MIX[turn as usize % MIX.len()]
}

/// Fills `objects`, then frees them from the first to the last (`FIFO`) or from the last to the first.
#[inline(always)]
pub fn batch<P: Peer, const CHECK: bool, const FIFO: bool>(objects: &mut [*mut u8], layout: Layout) -> u64 {
    for (i, place) in objects.iter_mut().enumerate() {
        *place = P::alloc(opaque(layout));
        if CHECK {
            // SAFETY: null or just allocated.
            unsafe { stamp(*place, i as u8) };
        }
    }
    black_box(&mut *objects);
    let mut nr_bad = 0;
    let mut free = |(i, &mut object): (usize, &mut *mut u8)| {
        if CHECK {
            // SAFETY: allocated above with this layout, stamped, and freed once.
            nr_bad += unsafe { check_and_free::<P>(object, i as u8, opaque(layout)) };
        } else {
            // SAFETY: allocated above with this layout, and freed once.
            unsafe { P::dealloc(object, opaque(layout)) };
        }
    };
    if FIFO {
        objects.iter_mut().enumerate().for_each(&mut free)
    } else {
        objects.iter_mut().enumerate().rev().for_each(&mut free)
    }
    nr_bad
}

/// Replaces `nr_pairs` of `slots` at random; 1 if an object was damaged, and [`REFUSED`] if one was refused. What is refused
/// ends the loop, and leaves one slot fewer.
///
/// # Safety
///
/// The slots hold objects of `P`.
#[inline(always)]
pub unsafe fn replace<P: Peer>(slots: &mut Vec<Slot>, nr_pairs: u64, random: &mut Random) -> u64 {
    if slots.is_empty() {
        return REFUSED;
    }
    let mut damage = 0;
    let mut refused = None;
    let places = slots.as_mut_slice();
    for _ in 0..nr_pairs {
        let number = random.draw();
        // The high half of a product: a place below the length, without a division.
        let place = (((number >> 32) * places.len() as u64) >> 32) as usize;
        let slot = &mut places[place];
        // SAFETY: an object of `P` by the caller's promise, and replaced at once, or taken out below.
        damage |= unsafe { slot.free::<P>() };
        let Some(new) = Slot::alloc::<P>((number >> 21) as usize % MIX.len()) else {
            refused = Some(place);
            break;
        };
        *slot = new;
    }
    if let Some(place) = refused {
        slots.swap_remove(place);
    }
    u64::from(damage != 0) + if refused.is_some() { REFUSED } else { 0 }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use core::cell::{Cell, UnsafeCell};
    use std::alloc::{GlobalAlloc, System};
    use std::thread_local;

    use super::*;
    use crate::sizes::TINY;

    thread_local! {
        static NR_LEFT: Cell<usize> = const { Cell::new(0) };
        static NR_LIVE: Cell<usize> = const { Cell::new(0) };
        static OBJECT: UnsafeCell<[u64; 128]> = const { UnsafeCell::new([0; 128]) };
    }

    /// Refuses when so many have been allocated.
    struct Limited;

    impl Peer for Limited {
        const NAME: &'static str = "limited";

        fn alloc(layout: Layout) -> *mut u8 {
            if NR_LEFT.get() == 0 {
                return core::ptr::null_mut();
            }
            NR_LEFT.set(NR_LEFT.get() - 1);
            NR_LIVE.set(NR_LIVE.get() + 1);
            // SAFETY: no layout of the workloads has size 0.
            unsafe { System.alloc(layout) }
        }

        unsafe fn dealloc(object: *mut u8, layout: Layout) {
            NR_LIVE.set(NR_LIVE.get() - 1);
            // SAFETY: as promised by the caller.
            unsafe { System.dealloc(object, layout) }
        }
    }

    /// Hands out the same memory again and again.
    struct Same;

    impl Peer for Same {
        const NAME: &'static str = "same";

        fn alloc(_layout: Layout) -> *mut u8 {
            OBJECT.with(|object| object.get().cast())
        }

        unsafe fn dealloc(_object: *mut u8, _layout: Layout) {}
    }

    fn fill<P: Peer>() -> Vec<Slot> {
        (0..10).filter_map(Slot::alloc::<P>).collect()
    }

    #[test]
    fn a_refusal_is_told_and_leaves_live_slots_only() {
        NR_LEFT.set(15);
        let (mut slots, mut random) = (fill::<Limited>(), Random::new(1, 0));
        // SAFETY: objects of `Limited`, as in all that follows.
        assert_eq!(unsafe { replace::<Limited>(&mut slots, 5, &mut random) }, 0);
        assert_eq!((slots.len(), NR_LIVE.get()), (10, 10));
        for nr_live in (0..10).rev() {
            // SAFETY: as above.
            assert_eq!(unsafe { replace::<Limited>(&mut slots, 5, &mut random) }, REFUSED);
            assert_eq!((slots.len(), NR_LIVE.get()), (nr_live, nr_live));
        }
        // SAFETY: as above.
        assert_eq!(unsafe { replace::<Limited>(&mut slots, 5, &mut random) }, REFUSED, "nothing is left to replace");
    }

    #[test]
    fn memory_that_is_handed_out_twice_is_noticed() {
        let (mut slots, mut random) = (fill::<Same>(), Random::new(1, 0));
        // SAFETY: objects of `Same`.
        assert_eq!(unsafe { replace::<Same>(&mut slots, 100, &mut random) }, 1);
        let mut objects = [core::ptr::null_mut(); 10];
        assert_eq!(batch::<Same, true, true>(&mut objects, TINY), 9, "all but the last, whose stamp is there");
    }
}
