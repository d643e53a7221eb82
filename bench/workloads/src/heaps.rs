//! Allocators made for one CPU, which small kernels put behind one lock: as plain values, with one interface.
//!
//! The lock is the caller's: the native benchmark and the kernel wait differently.

use core::alloc::Layout;
use core::mem::MaybeUninit;
use core::ptr::NonNull;

/// An allocator that owns one block of memory, and of which one CPU at a time may ask something.
pub trait SoloHeap: Send + Sized + 'static {
    /// In tables and filters.
    const NAME: &'static str;
    /// A line for people: what it is, how it searches.
    const ABOUT: &'static str;
    /// It begins at one end of its block and takes no more of it than it needs. Otherwise its objects lie all over the block,
    /// and where they lie says nothing about how much memory it needs.
    const IS_COMPACT: bool = true;
    /// Without memory.
    const EMPTY: Self;

    /// Gives it its block, once; false if it does not take it.
    ///
    /// # Safety
    ///
    /// `nr_bytes` from `block` on can be written and are this heap's alone for as long as it is asked for anything.
    unsafe fn add_block(&mut self, block: NonNull<u8>, nr_bytes: usize) -> bool;

    /// Memory for `layout`, whose size is not 0.
    fn alloc(&mut self, layout: Layout) -> Option<NonNull<u8>>;

    /// Gives `object` back.
    ///
    /// # Safety
    ///
    /// From `alloc` of the same heap with the same `layout`, and nobody uses it any more.
    unsafe fn free(&mut self, object: NonNull<u8>, layout: Layout);
}

/// Talc: best fit by bins, coalescing.
pub struct Talc(talc::base::Talc<talc::source::Manual, talc::DefaultBinning>);

// SAFETY: what it holds besides plain values are pointers into its own block, which is no CPU's.
unsafe impl Send for Talc {}

impl SoloHeap for Talc {
    const NAME: &'static str = "talc";
    const ABOUT: &'static str = "talc 5.1: best fit by bins, coalescing; behind one lock";
    const EMPTY: Self = Self(talc::base::Talc::new(talc::source::Manual));

    unsafe fn add_block(&mut self, block: NonNull<u8>, nr_bytes: usize) -> bool {
        // SAFETY: as promised by the caller.
        unsafe { self.0.claim(block.as_ptr(), nr_bytes) }.is_some()
    }

    #[inline(always)]
    fn alloc(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        // SAFETY: the size is not 0, by the contract of the trait.
        unsafe { self.0.allocate(layout) }
    }

    #[inline(always)]
    unsafe fn free(&mut self, object: NonNull<u8>, layout: Layout) {
        // SAFETY: as promised by the caller.
        unsafe { self.0.deallocate(object.as_ptr(), layout) }
    }
}

/// linked_list_allocator: first fit in one list.
pub struct LinkedList(linked_list_allocator::Heap);

// SAFETY: as for `Talc`.
unsafe impl Send for LinkedList {}

impl SoloHeap for LinkedList {
    const NAME: &'static str = "linked_list";
    const ABOUT: &'static str = "linked_list_allocator 0.10: first fit in one list; behind one lock";
    const EMPTY: Self = Self(linked_list_allocator::Heap::empty());

    unsafe fn add_block(&mut self, block: NonNull<u8>, nr_bytes: usize) -> bool {
        // SAFETY: as promised by the caller, who calls this once.
        unsafe { self.0.init(block.as_ptr(), nr_bytes) };
        true
    }

    #[inline(always)]
    fn alloc(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        self.0.allocate_first_fit(layout).ok()
    }

    #[inline(always)]
    unsafe fn free(&mut self, object: NonNull<u8>, layout: Layout) {
        // SAFETY: as promised by the caller.
        unsafe { self.0.deallocate(object, layout) }
    }
}

/// buddy_system_allocator: powers of two.
pub struct Buddy(buddy_system_allocator::Heap<33>);

// SAFETY: as for `Talc`.
unsafe impl Send for Buddy {}

impl SoloHeap for Buddy {
    const NAME: &'static str = "buddy";
    const ABOUT: &'static str = "buddy_system_allocator 0.13: powers of two; behind one lock";
    const IS_COMPACT: bool = false;
    const EMPTY: Self = Self(buddy_system_allocator::Heap::new());

    unsafe fn add_block(&mut self, block: NonNull<u8>, nr_bytes: usize) -> bool {
        // SAFETY: as promised by the caller.
        unsafe { self.0.init(block.as_ptr().expose_provenance(), nr_bytes) };
        true
    }

    #[inline(always)]
    fn alloc(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        self.0.alloc(layout).ok()
    }

    #[inline(always)]
    unsafe fn free(&mut self, object: NonNull<u8>, layout: Layout) {
        // SAFETY: as promised by the caller.
        unsafe { self.0.dealloc(object, layout) }
    }
}

/// rlsf: two-level segregated fit.
pub struct Rlsf(rlsf::Tlsf<'static, u32, u32, 32, 32>);

// SAFETY: as for `Talc`.
unsafe impl Send for Rlsf {}

impl SoloHeap for Rlsf {
    const NAME: &'static str = "rlsf";
    const ABOUT: &'static str = "rlsf 0.2: two-level segregated fit; behind one lock";
    const EMPTY: Self = Self(rlsf::Tlsf::new());

    unsafe fn add_block(&mut self, block: NonNull<u8>, nr_bytes: usize) -> bool {
        // SAFETY: as promised by the caller; `MaybeUninit` asks nothing of the contents.
        let block = unsafe { core::slice::from_raw_parts_mut(block.cast::<MaybeUninit<u8>>().as_ptr(), nr_bytes) };
        self.0.insert_free_block(block);
        true
    }

    #[inline(always)]
    fn alloc(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        self.0.allocate(layout)
    }

    #[inline(always)]
    unsafe fn free(&mut self, object: NonNull<u8>, layout: Layout) {
        // SAFETY: as promised by the caller.
        unsafe { self.0.deallocate(object, layout.align()) }
    }
}
