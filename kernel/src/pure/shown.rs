//! Pieces of messages that are computed when they are printed: no buffer, no type of their own.
//!
//! `core::fmt::from_fn` will do when the oldest compiler that builds this kernel has it.
//!
//! Called by: whoever prints parts that may be missing.

use core::fmt;

/// What [`by`] makes.
pub struct By<F>(F);

/// Shows what `write` writes.
pub fn by<F: Fn(&mut fmt::Formatter<'_>) -> fmt::Result>(write: F) -> By<F> {
    By(write)
}

impl<F: Fn(&mut fmt::Formatter<'_>) -> fmt::Result> fmt::Display for By<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (self.0)(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_computed_when_it_is_printed() {
        let count = core::cell::Cell::new(0);
        let shown = by(|f| {
            count.set(count.get() + 1);
            write!(f, "{}", count.get())
        });
        assert_eq!(count.get(), 0);
        assert_eq!(format!("{shown} {shown}"), "1 2");
    }
}
