//! Rounds of another kind for a while.
//!
//! Called by: whatever measures. Context: the first CPU; one at a time, or one inside the other.

use smp::shootdown::Mode;

use crate::machine::SHOOTDOWNS;

/// Holding it means that rounds are begun in the mode that it was made with; without it they are begun as before.
#[must_use = "the mode is set for as long as this lives"]
pub(super) struct ModeGuard {
    before: Mode,
}

impl ModeGuard {
    /// Has all CPUs begin their rounds in `mode` from here on.
    pub(super) fn set(mode: Mode) -> Self {
        let before = SHOOTDOWNS.settings().mode();
        SHOOTDOWNS.settings().set_mode(mode);
        Self { before }
    }
}

impl Drop for ModeGuard {
    fn drop(&mut self) {
        SHOOTDOWNS.settings().set_mode(self.before);
    }
}
