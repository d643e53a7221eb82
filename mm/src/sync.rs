//! The atomics of this crate: core's, or loom's when a model checks the shipped source. Import them only from here.

#[cfg(not(loom))]
pub(crate) use core::cell::UnsafeCell;
#[cfg(not(loom))]
pub(crate) use core::sync::atomic::AtomicBool;

#[cfg(loom)]
pub(crate) use loom::sync::atomic::AtomicBool;

/// loom's cell with the interface of core's, as far as [`crate::lock`] needs it.
#[cfg(loom)]
#[derive(Debug)]
pub(crate) struct UnsafeCell<T>(loom::cell::UnsafeCell<T>);

#[cfg(loom)]
impl<T> UnsafeCell<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(loom::cell::UnsafeCell::new(value))
    }

    /// Tells loom of the access, so that two at once are reported as a race.
    pub(crate) fn get(&self) -> *mut T {
        self.0.with_mut(|value| value)
    }
}

/// The order in which a lock is opened: Release, so that the next holder sees what this one did. A mutant of the models
/// weakens it, to show that they would notice.
#[cfg(not(loom))]
pub(crate) fn open_order() -> core::sync::atomic::Ordering {
    core::sync::atomic::Ordering::Release
}

#[cfg(loom)]
pub(crate) fn open_order() -> core::sync::atomic::Ordering {
    use core::sync::atomic::Ordering;
    if mutant::OPEN_RELAXED.load(Ordering::Relaxed) { Ordering::Relaxed } else { Ordering::Release }
}

#[cfg(loom)]
pub(crate) mod mutant {
    //! Which weakening is on. Plain core atomics: loom must not take the switch for part of the model.
    pub(crate) static OPEN_RELAXED: core::sync::atomic::AtomicBool = core::sync::atomic::AtomicBool::new(false);
}
