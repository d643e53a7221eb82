//! Typed caches: objects of one type that are constructed once and used many times.
//!
//! What a constructor made (a lock that is open, a list that is empty, a buffer that is there) is kept while the object
//! is free, so an allocation does only what differs from one use to the next (Bonwick 1994, section 2). The cache's
//! place is part of its type, so the compiler knows where in the bank the magazines are: 11 instructions to allocate.
//!
//! ```text
//!   open ── alloc: constructed, or kept from before ──► Object ── drop: kept, as it is ──► .. ── reclaim: T's own drop
//! ```
//!
//! Called by: whoever has many objects of a type. Calls: [`crate::heap`].

use core::fmt;
use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::ops::{Deref, DerefMut};
use core::ptr::{self, NonNull};

use crate::cache::Settings;
use crate::error::{Error, Result};
use crate::heap::{CacheHandle, Heap, NR_PLACES};
use crate::machine::Machine;

/// What a typed cache can hold.
///
/// The type's own `Drop`, if any, undoes the construction when the object goes back to the slabs.
pub trait Construct: Sized + Send + 'static {
    /// For people.
    const NAME: &'static str;

    /// Makes what every object of the cache has in common. May allocate, from the cache itself too; runs with no lock
    /// held, in the context of the allocation.
    ///
    /// # Errors
    ///
    /// Whatever keeps it from being made: the allocation fails with [`Error::OutOfMemory`].
    fn construct() -> Result<Self>;
}

/// A cache of `T`s in place `PLACE` of the heap's, from 0 on. A static of the kernel.
#[derive(Debug)]
pub struct Cache<T, M: 'static, const PLACE: usize> {
    heap: &'static Heap<M>,
    objects: PhantomData<fn() -> T>,
}

impl<T: Construct, M: Machine, const PLACE: usize> Cache<T, M, PLACE> {
    /// The cache in its place, to be opened before use.
    ///
    /// # Safety
    ///
    /// No other cache is ever made for this place of this heap: one of another type would hand out these objects.
    pub const unsafe fn new(heap: &'static Heap<M>) -> Self {
        const { assert!(PLACE < NR_PLACES, "there are fewer places") };
        Self { heap, objects: PhantomData }
    }

    /// Makes the cache live. Once.
    ///
    /// # Errors
    ///
    /// [`Error::InUse`] with the place's id, if it is taken; [`Error::BadRequest`] for a size or alignment of `T` that
    /// slabs cannot have.
    pub fn open(&self) -> Result<()> {
        let settings = Settings {
            constructor: Some(construct_at::<T>),
            destructor: if core::mem::needs_drop::<T>() { Some(drop_at::<T>) } else { None },
            ..Settings::new(T::NAME, size_of::<T>().max(1), align_of::<T>())
        };
        self.heap.create_cache_at(PLACE, settings).map(|_handle| ())
    }

    /// Unmakes it, and every object in it.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] with the number of objects that are still out; [`Error::BadRequest`] if it is not open. Nothing
    /// has changed then.
    pub fn close(&self) -> Result<()> {
        self.heap.destroy_cache(Self::handle()).map_err(|(_, error)| error)
    }

    /// A constructed object, as new or as its last user left it.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`], also when the constructor refused; [`Error::BadRequest`] if the cache is not open.
    #[inline]
    pub fn alloc(&self) -> Result<Object<T, M, PLACE>> {
        let object = self.heap.cache_alloc(&Self::handle())?;
        Ok(Object { object: object.cast(), heap: self.heap })
    }

    /// The cache's id, by which [`Heap::caches`] knows it.
    pub fn id(&self) -> u16 {
        Self::handle().id()
    }

    #[inline(always)]
    fn handle() -> CacheHandle {
        CacheHandle::at(PLACE)
    }
}

/// An object of a typed cache. Having it means: nobody else does. It goes back, constructed, when it is dropped.
pub struct Object<T: Construct, M: Machine, const PLACE: usize> {
    object: NonNull<T>,
    heap: &'static Heap<M>,
}

// SAFETY: an object owns its T, which may go where its type may.
unsafe impl<T: Construct, M: Machine, const PLACE: usize> Send for Object<T, M, PLACE> {}
// SAFETY: a shared reference to it gives a shared reference to T, no more.
unsafe impl<T: Construct + Sync, M: Machine, const PLACE: usize> Sync for Object<T, M, PLACE> {}

impl<T: Construct, M: Machine, const PLACE: usize> Deref for Object<T, M, PLACE> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: constructed when it left its slab, and this object's alone.
        unsafe { self.object.as_ref() }
    }
}

impl<T: Construct, M: Machine, const PLACE: usize> DerefMut for Object<T, M, PLACE> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above.
        unsafe { self.object.as_mut() }
    }
}

impl<T: Construct, M: Machine, const PLACE: usize> Drop for Object<T, M, PLACE> {
    #[inline]
    fn drop(&mut self) {
        let handle = Cache::<T, M, PLACE>::handle();
        // SAFETY: this was the only way to it.
        if let Err(error) = unsafe { self.heap.cache_free(&handle, self.object.cast()) } {
            M::report(error);
        }
    }
}

impl<T: Construct + fmt::Debug, M: Machine, const PLACE: usize> fmt::Debug for Object<T, M, PLACE> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

fn construct_at<T: Construct>(object: NonNull<u8>) -> Result<()> {
    let value = T::construct().map_err(|_| Error::OutOfMemory { bytes: size_of::<T>() })?;
    // SAFETY: the cache was opened with the size and alignment of T, and nobody else has the object.
    unsafe { object.cast::<MaybeUninit<T>>().as_mut() }.write(value);
    Ok(())
}

fn drop_at<T>(object: NonNull<u8>) {
    // SAFETY: constructed by `construct_at`, and on its way back to the slab: nobody has it.
    unsafe { ptr::drop_in_place(object.cast::<T>().as_ptr()) };
}
