//! What is measured: the list of everything that is a [`Peer`].
//!
//! Every peer is called statically, so that what can be inlined is; those in C are called through their C interface,
//! without optimisation across the languages.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::path::Path;

use workloads::Peer;
use workloads::heaps::{Buddy, LinkedList, Rlsf, Talc};

use crate::host::{Mm, MmResult};
use crate::locked::Locked;
use crate::round::{Round, Sample};
use crate::waste::probe;
use crate::workload::run;

/// A peer in the list.
#[derive(Clone, Copy)]
pub(crate) struct Allocator {
    pub(crate) name: &'static str,
    /// Plays this thread's part of a round.
    pub(crate) run: fn(&Round, usize) -> Sample,
    /// Prints what it holds over what it was asked for, in the workload of that name, perhaps a recording.
    pub(crate) probe: fn(&str, Option<&Path>) -> Result<(), String>,
    /// Whose it is.
    pub(crate) kind: Kind,
}

/// Whose an allocator is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Ours, or the bare harness: not what ours is compared with.
    Own,
    /// Made for many threads.
    Threaded,
    /// Made for one CPU, behind one lock.
    Locked,
}

const fn allocator<P: Peer>(kind: Kind) -> Allocator {
    Allocator { name: P::NAME, run: run::<P>, probe: probe::<P>, kind }
}

/// Everything that is measured. Ours comes first, the bare harness second.
pub(crate) const ALLOCATORS: &[Allocator] = &[
    allocator::<Mm>(Kind::Own),
    allocator::<Null>(Kind::Own),
    allocator::<MmResult>(Kind::Own),
    #[cfg(feature = "c-peers")]
    allocator::<in_c::Mimalloc>(Kind::Threaded),
    #[cfg(feature = "c-peers")]
    allocator::<in_c::MimallocC>(Kind::Threaded),
    #[cfg(feature = "c-peers")]
    allocator::<in_c::Jemalloc>(Kind::Threaded),
    #[cfg(feature = "c-peers")]
    allocator::<in_c::Snmalloc>(Kind::Threaded),
    #[cfg(feature = "c-peers")]
    allocator::<in_c::Rpmalloc>(Kind::Threaded),
    allocator::<Glibc>(Kind::Threaded),
    allocator::<Locked<Talc>>(Kind::Locked),
    allocator::<Locked<LinkedList>>(Kind::Locked),
    allocator::<Locked<Buddy>>(Kind::Locked),
    allocator::<Locked<Rlsf>>(Kind::Locked),
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
