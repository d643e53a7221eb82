//! Atomics that count: how many read-modify-writes each thread has made, whichever variable they were on.
//!
//! For tests alone (feature `count-atomics`), which play CPUs on threads, or one after the other on one thread, and ask
//! what a step of a protocol has cost in bus locks. Loads and stores are not counted: they take no lock.

use core::cell::Cell;
use core::sync::atomic as real;

pub use core::sync::atomic::{Ordering, fence};

std::thread_local! {
    static NR_RMWS: Cell<u64> = const { Cell::new(0) };
}

/// The read-modify-writes that `body` makes on this thread, and what it returns.
pub fn rmws_of<R>(body: impl FnOnce() -> R) -> (u64, R) {
    let before = NR_RMWS.get();
    let result = body();
    (NR_RMWS.get() - before, result)
}

macro_rules! counted {
    ($($name:ident($value:ty) { $($operation:ident),* })*) => {$(
        /// As `core`'s.
        #[derive(Debug)]
        pub struct $name(real::$name);

        impl $name {
            /// As `core`'s.
            pub const fn new(value: $value) -> Self {
                Self(real::$name::new(value))
            }

            /// As `core`'s.
            pub fn load(&self, order: Ordering) -> $value {
                self.0.load(order)
            }

            /// As `core`'s.
            pub fn store(&self, value: $value, order: Ordering) {
                self.0.store(value, order);
            }

            /// As `core`'s. Counted, as all that follow.
            pub fn compare_exchange(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                NR_RMWS.set(NR_RMWS.get() + 1);
                self.0.compare_exchange(current, new, success, failure)
            }

            $(
                /// As `core`'s.
                pub fn $operation(&self, value: $value, order: Ordering) -> $value {
                    NR_RMWS.set(NR_RMWS.get() + 1);
                    self.0.$operation(value, order)
                }
            )*
        }
    )*};
}

counted! {
    AtomicBool(bool) { swap }
    AtomicU8(u8) { swap }
    AtomicU64(u64) { swap, fetch_add, fetch_or, fetch_and }
    AtomicUsize(usize) { swap, fetch_add, fetch_or, fetch_max }
}
