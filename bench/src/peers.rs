//! What is measured: one trait, and the list of everything that has it.
//!
//! Every peer is called statically, so that what can be inlined is; those in C are called through their C interface,
//! without optimisation across the languages.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::path::Path;

use crate::host::{Mm, MmResult};
use crate::locked::{BuddyPeer, LinkedListPeer, RlsfPeer, TalcPeer};
use crate::round::{Round, Sample};
use crate::waste::probe;
use crate::workload::run;

/// An allocator, called as it wants to be called.
pub(crate) trait Peer: 'static {
    /// In tables and filters.
    const NAME: &'static str;

    /// Memory for `layout`, whose size is not 0; null if there is none.
    fn alloc(layout: Layout) -> *mut u8;

    /// Gives `object` back.
    ///
    /// # Safety
    ///
    /// `object` is not null, comes from `alloc` with the same `layout`, and nobody uses it any more.
    unsafe fn dealloc(object: *mut u8, layout: Layout);

    /// Gives back to the machine what it can, by the call it has for that, if it has one.
    fn trim() {}

    /// Pages it holds by its own count; `None` if only the host can tell.
    fn held_pages() -> Option<u64> {
        None
    }
}

/// A peer in the list.
#[derive(Clone, Copy)]
pub(crate) struct Allocator {
    pub(crate) name: &'static str,
    /// Plays this thread's part of a round.
    pub(crate) run: fn(&Round, usize) -> Sample,
    /// Prints what it holds over what it was asked for, in the workload of that name, perhaps a recording.
    pub(crate) probe: fn(&str, Option<&Path>) -> Result<(), String>,
    /// What is beside ours in the table: not ours, not the bare harness.
    pub(crate) is_peer: bool,
}

const fn allocator<P: Peer>(is_peer: bool) -> Allocator {
    Allocator { name: P::NAME, run: run::<P>, probe: probe::<P>, is_peer }
}

/// Everything that is measured. Ours comes first, the bare harness second.
pub(crate) const ALLOCATORS: &[Allocator] = &[
    allocator::<Mm>(false),
    allocator::<Null>(false),
    allocator::<MmResult>(false),
    #[cfg(feature = "c-peers")]
    allocator::<in_c::Mimalloc>(true),
    #[cfg(feature = "c-peers")]
    allocator::<in_c::MimallocC>(true),
    #[cfg(feature = "c-peers")]
    allocator::<in_c::Jemalloc>(true),
    #[cfg(feature = "c-peers")]
    allocator::<in_c::Snmalloc>(true),
    #[cfg(feature = "c-peers")]
    allocator::<in_c::Rpmalloc>(true),
    allocator::<Glibc>(true),
    allocator::<TalcPeer>(true),
    allocator::<LinkedListPeer>(true),
    allocator::<BuddyPeer>(true),
    allocator::<RlsfPeer>(true),
];

/// The bare harness: one object for each thread, always the same. What its rows show is in every other row, too.
pub(crate) struct Null;

impl Null {
    pub(crate) const NAME: &'static str = "null";
}

#[repr(align(4096))]
struct Object(UnsafeCell<[u8; 4096]>);

thread_local! {
    static OBJECT: Object = const { Object(UnsafeCell::new([0; 4096])) };
}

impl Peer for Null {
    const NAME: &'static str = Null::NAME;

    #[inline(always)]
    fn alloc(_layout: Layout) -> *mut u8 {
        OBJECT.with(|object| object.0.get().cast())
    }

    #[inline(always)]
    unsafe fn dealloc(_object: *mut u8, _layout: Layout) {}
}

macro_rules! global_alloc_peer {
    ($(#[$doc:meta])* $peer:ident, $name:literal, $allocator:expr $(, $trim:expr)?) => {
        $(#[$doc])*
        pub(crate) struct $peer;

        impl Peer for $peer {
            const NAME: &'static str = $name;

            #[inline(always)]
            fn alloc(layout: Layout) -> *mut u8 {
                // SAFETY: the size is not 0, as promised to `alloc`.
                unsafe { $allocator.alloc(layout) }
            }

            #[inline(always)]
            unsafe fn dealloc(object: *mut u8, layout: Layout) {
                // SAFETY: as promised by the caller.
                unsafe { $allocator.dealloc(object, layout) }
            }

            $(fn trim() {
                $trim
            })?
        }
    };
}

global_alloc_peer!(
    /// The C library's malloc.
    Glibc,
    "glibc",
    System,
    {
        // SAFETY: callable at any time.
        unsafe { libc::malloc_trim(0) };
    }
);

#[cfg(feature = "c-peers")]
mod in_c {
    //! Peers written in C and C++.

    use super::*;

    global_alloc_peer!(
        /// mimalloc by its crate, which always asks for an alignment.
        Mimalloc,
        "mimalloc",
        mimalloc::MiMalloc,
        {
            // SAFETY: callable at any time.
            unsafe { mi_collect(true) };
        }
    );

    unsafe extern "C" {
        /// Gives back what is free, all of it if `force`. Its crate declares it only with further parts of the library.
        fn mi_collect(force: bool);
    }
    global_alloc_peer!(
        /// jemalloc, as TiKV packs it.
        Jemalloc,
        "jemalloc",
        tikv_jemallocator::Jemalloc
    );
    global_alloc_peer!(
        /// snmalloc.
        Snmalloc,
        "snmalloc",
        snmalloc_rs::SnMalloc
    );
    global_alloc_peer!(
        /// rpmalloc.
        Rpmalloc,
        "rpmalloc",
        rpmalloc::RpMalloc
    );

    /// mimalloc by its C functions, without an alignment where none beyond the usual is wanted: its fastest way in.
    pub(crate) struct MimallocC;

    impl Peer for MimallocC {
        const NAME: &'static str = "mimalloc-c";

        #[inline(always)]
        fn alloc(layout: Layout) -> *mut u8 {
            if layout.align() <= 16 {
                // SAFETY: any size may be asked for.
                unsafe { libmimalloc_sys::mi_malloc(layout.size()).cast() }
            } else {
                // SAFETY: any size may be asked for; the alignment of a layout is a power of two.
                unsafe { libmimalloc_sys::mi_malloc_aligned(layout.size(), layout.align()).cast() }
            }
        }

        #[inline(always)]
        unsafe fn dealloc(object: *mut u8, _layout: Layout) {
            // SAFETY: as promised by the caller.
            unsafe { libmimalloc_sys::mi_free(object.cast()) }
        }
    }
}
