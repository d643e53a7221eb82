//! Objects that come and go, and show what an allocator that lost its way does to them.

use std::alloc::Layout;
use std::collections::BTreeMap;
use std::ptr::NonNull;

use mm::error::Error;

use crate::common::TestHeap;
use crate::layout;

/// Live objects, each stamped with a number of its own: one that is issued twice or lies over another shows.
pub(crate) struct Traffic<'a> {
    pub(crate) test: &'a TestHeap,
    pub(crate) live: BTreeMap<usize, (NonNull<u8>, Layout, u64)>,
    nr_stamps: u64,
    random: u64,
}

impl<'a> Traffic<'a> {
    pub(crate) fn new(test: &'a TestHeap, seed: u64) -> Self {
        Self { test, live: BTreeMap::new(), nr_stamps: 0, random: seed | 1 }
    }

    pub(crate) fn random(&mut self) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) as usize
    }

    /// False when memory is out.
    pub(crate) fn alloc(&mut self, size: usize) -> bool {
        let Ok(object) = self.test.heap.alloc(layout(size, 8)) else { return false };
        let addr = object.addr().get();
        assert!(self.test.heap.frames().frame_of(object).is_some(), "{object:p} is foreign");
        let before = self.live.range(..=addr).next_back();
        assert!(before.is_none_or(|(at, (_, layout, _))| at + layout.size() <= addr), "{object:p} overlaps {before:?}");
        let after = self.live.range(addr..).next();
        assert!(after.is_none_or(|(at, _)| addr + size <= *at), "{object:p} overlaps {after:?}");
        self.nr_stamps += 1;
        // SAFETY: of at least 8 bytes, aligned to 8.
        unsafe { object.cast::<u64>().write(self.nr_stamps) };
        self.live.insert(addr, (object, layout(size, 8), self.nr_stamps));
        true
    }

    pub(crate) fn free_nth(&mut self, nth: usize) {
        let Some(&addr) = self.live.keys().nth(nth % self.live.len().max(1)) else { return };
        let (object, layout, stamp) = self.live.remove(&addr).expect("just seen");
        // SAFETY: live until the free, which may be refused with an error if its slab is damaged.
        unsafe {
            assert_eq!(object.cast::<u64>().read(), stamp, "{object:p} was written by another owner");
            if let Err(error) = self.test.heap.dealloc(object, layout) {
                let addr = object.addr().get();
                assert!(matches!(error, Error::Foreign { addr: at } if at == addr), "{error}");
            }
        }
    }

    pub(crate) fn free_all(&mut self) {
        while !self.live.is_empty() {
            self.free_nth(0);
        }
    }
}
