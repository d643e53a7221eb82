//! What has become of the ranges of quantum caches: a byte for the first page of each, beside the addresses.
//!
//! A range in a magazine is out of the arena, as far as its tag says. Whether it is out in truth, and how long it is, its
//! byte says, without a lock: by that a free is checked at full speed, and the second of two finds that it is.
//!
//! ```text
//!   page, from the base on ──► root[64] ──► node[512] ──► leaf: a byte for each of 4096 pages
//! ```
//!
//! Leaves are made when the first such range comes to lie there: one for every eight leaf tables of the MMU's that the
//! same addresses take when they are mapped.
//!
//! Invariants: a byte is 0 if no quantum cache has the range that starts there, or none does; else it is the range's pages,
//! with [`OUT`] if the range is handed out. Only who has the range writes its byte; who says that he has it, to give it
//! back, must find what he says ([`States::put_back`]). Called by: [`super::shared`], [`super::quantum`].

use core::ptr::{self, NonNull};
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicPtr, AtomicU8, AtomicUsize};

use super::VirtRange;
use crate::bank::MAX_QUANTA;
use crate::frame::PAGE_SIZE;

/// In a byte: the range is handed out.
const OUT: u8 = 0x80;

const _: () = assert!(MAX_QUANTA < OUT as usize, "a byte has room for the pages of a range");

/// Pages of the root, of a node, and of a leaf.
const ROOT: usize = 64;
const NODE: usize = PAGE_SIZE / size_of::<AtomicPtr<u8>>();
const LEAF: usize = PAGE_SIZE;

type Leaf = [AtomicU8; LEAF];
type Node = [AtomicPtr<Leaf>; NODE];

/// The bytes of an arena. See the module.
#[derive(Debug)]
pub(super) struct States {
    /// First address that has a byte.
    base: usize,
    root: [AtomicPtr<Node>; ROOT],
    nr_pages: AtomicUsize,
}

/// Where the tree has its pages from.
pub(super) trait ZeroedPages {
    /// A page full of zeroes, for good.
    fn take(&self) -> Option<NonNull<u8>>;

    /// Takes back a page of [`ZeroedPages::take`] that was not needed.
    fn put(&self, page: NonNull<u8>);
}

/// What a byte says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// No quantum cache's.
    Other,
    /// In a magazine.
    Cached {
        /// Pages of the range.
        nr_pages: usize,
    },
    /// Handed out.
    Out {
        /// Pages of the range.
        nr_pages: usize,
    },
}

/// Follows a link of the tree.
#[inline]
fn follow<T>(link: &AtomicPtr<T>) -> Option<&T> {
    // SAFETY: null, or stored by `link_page`: a page of zeroes, which all these atomics may be, and never given back.
    // Acquire pairs with that store.
    unsafe { link.load(Acquire).as_ref() }
}

impl States {
    /// Bytes for the addresses from `base` on, as far as they go; no page yet.
    pub(super) const fn new(base: usize) -> Self {
        Self { base, root: [const { AtomicPtr::new(ptr::null_mut()) }; ROOT], nr_pages: AtomicUsize::new(0) }
    }

    /// Place in the root, in a node and in a leaf; `None` past the end.
    #[inline]
    fn path(&self, addr: usize) -> Option<(usize, usize, usize)> {
        let page = addr.wrapping_sub(self.base) / PAGE_SIZE;
        (page < ROOT * NODE * LEAF).then_some((page / LEAF / NODE, page / LEAF % NODE, page % LEAF))
    }

    #[inline]
    fn byte(&self, addr: usize) -> Option<&AtomicU8> {
        let (root, node, leaf) = self.path(addr)?;
        Some(&follow(&follow(&self.root[root])?[node])?[leaf])
    }

    /// What the byte of an address says, page-aligned or not.
    pub(super) fn get(&self, addr: usize) -> State {
        let byte = if addr.is_multiple_of(PAGE_SIZE) { self.byte(addr) } else { None };
        match byte.map_or(0, |byte| byte.load(Acquire)) {
            0 => State::Other,
            byte if byte & OUT != 0 => State::Out { nr_pages: usize::from(byte & !OUT) },
            byte => State::Cached { nr_pages: usize::from(byte) },
        }
    }

    /// Hands out a range that lies in a magazine of the caller's. False if it is none: the round was overwritten.
    #[inline]
    pub(super) fn take_out(&self, addr: usize, nr_pages: usize) -> bool {
        let Some(byte) = self.byte(addr) else { return false };
        let is_cached = byte.load(Relaxed) == nr_pages as u8;
        if is_cached {
            byte.store(nr_pages as u8 | OUT, Relaxed);
        }
        is_cached
    }

    /// Takes a range back, for a magazine: true for the one who does it first, of all that say the same.
    #[inline]
    pub(super) fn put_back(&self, addr: usize, nr_pages: usize) -> bool {
        let Some(byte) = self.byte(addr) else { return false };
        addr.is_multiple_of(PAGE_SIZE)
            && byte.compare_exchange(nr_pages as u8 | OUT, nr_pages as u8, AcqRel, Relaxed).is_ok()
    }

    /// A range has come from the arena, for a magazine. False if there is no page for its byte.
    pub(super) fn add(&self, range: VirtRange, pages: &impl ZeroedPages) -> bool {
        let Some((root, node, leaf)) = self.path(range.start()) else { return false };
        let leaf = self
            .follow_or_make(&self.root[root], pages)
            .and_then(|found| self.follow_or_make(&found[node], pages))
            .map(|found| &found[leaf]);
        if let Some(byte) = leaf {
            byte.store(range.nr_pages() as u8, Release);
        }
        leaf.is_some()
    }

    /// A range leaves the quantum caches for the arena. False if it was in none: the round was overwritten.
    pub(super) fn remove(&self, addr: usize, nr_pages: usize) -> bool {
        let byte = if addr.is_multiple_of(PAGE_SIZE) { self.byte(addr) } else { None };
        byte.is_some_and(|byte| byte.compare_exchange(nr_pages as u8, 0, AcqRel, Relaxed).is_ok())
    }

    fn follow_or_make<'a, T>(&'a self, link: &'a AtomicPtr<T>, pages: &impl ZeroedPages) -> Option<&'a T> {
        if let Some(found) = follow(link) {
            return Some(found);
        }
        let page = pages.take()?;
        match link.compare_exchange(ptr::null_mut(), page.as_ptr().cast(), Release, Relaxed) {
            Ok(_) => _ = self.nr_pages.fetch_add(1, Relaxed),
            // Another CPU came first.
            Err(_) => pages.put(page),
        }
        follow(link)
    }

    /// Pages that it was given.
    pub(super) fn nr_pages(&self) -> usize {
        self.nr_pages.load(Relaxed)
    }
}
