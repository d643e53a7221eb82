//! The one door to atomics: `core`'s in the kernel and in plain tests, loom's and shuttle's in the models, and ones that
//! count in a test of bus locks.
//!
//! Everything in this crate imports atomics, fences and shared cells from here and from nowhere else; that is what
//! makes the source that is model-checked the source that boots. Public only for this crate's own tests.

#[cfg(not(any(loom, shuttle, feature = "count-atomics")))]
pub use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering, fence};
#[cfg(all(feature = "count-atomics", not(any(loom, shuttle))))]
pub use counted::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering, fence, rmws_of};
#[cfg(loom)]
pub use loom::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering, fence};
#[cfg(shuttle)]
pub use shuttle::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering, fence};

#[cfg(all(feature = "count-atomics", not(any(loom, shuttle))))]
mod counted;

/// Atomics that no protocol rests on: counters, settings, and flags that only their own CPU touches.
///
/// They are `core`'s in every build. A model that branched on them would explore the same interleavings many times
/// over and find nothing. Whatever another CPU must see in order does not belong here.
pub mod unordered {
    pub use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
}

/// A cell whose accesses loom checks for races; a plain `UnsafeCell` elsewhere.
#[cfg(loom)]
pub use loom::cell::UnsafeCell;

/// A cell whose accesses loom checks for races; a plain `UnsafeCell` elsewhere.
#[cfg(not(loom))]
#[derive(Debug)]
pub struct UnsafeCell<T>(core::cell::UnsafeCell<T>);

#[cfg(not(loom))]
impl<T> UnsafeCell<T> {
    /// Wraps `value`.
    pub const fn new(value: T) -> Self {
        Self(core::cell::UnsafeCell::new(value))
    }

    /// Runs `f` with a pointer for reading. The caller answers for the absence of writers meanwhile.
    #[inline(always)]
    pub fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
        f(self.0.get())
    }

    /// Runs `f` with a pointer for writing. The caller answers for exclusive access meanwhile.
    #[inline(always)]
    pub fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        f(self.0.get())
    }
}

/// Declares a constructor that is `const`, except under loom, whose atomics register with the running model.
macro_rules! const_unless_loom {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),*) -> $ret:ty $body:block) => {
        #[cfg(not(loom))]
        $(#[$meta])*
        $vis const fn $name($($arg: $ty),*) -> $ret $body

        #[cfg(loom)]
        $(#[$meta])*
        $vis fn $name($($arg: $ty),*) -> $ret $body
    };
}

/// An array with every element made by `$element`, in a form that the constructors above may use.
macro_rules! array_of {
    ($element:expr; $len:expr) => {{
        #[cfg(not(loom))]
        let array = [const { $element }; $len];
        #[cfg(loom)]
        let array: [_; $len] = core::array::from_fn(|_| $element);
        array
    }};
}
