//! What is asked of the arena: how many pages, where they may lie, and which of the places that fit is taken.
//!
//! The constraints are those of `vmem_xalloc` (Bonwick and Adams, section 4.3). They bind the range; its guard may lie
//! past a boundary or a bound. Called by: [`super`], [`super::search`].

use super::GUARD;
use super::range::PAGE_NUMBERS_END;
use crate::error::{Error, Result};
use crate::frame::PAGE_SIZE;

/// Which of the free segments that fit is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// One of those that are sure to fit, by their list: a few instructions, however many segments there are. Wastes as
    /// little as the powers of two let it.
    #[default]
    Instant,
    /// The smallest: as long as the lists are of its size.
    Best,
    /// The next by address from where the last such range ended, round and round: an address is reused late. As long as
    /// the list of segments between here and there.
    Next,
}

/// A request. With plain numbers: see [`Request::pages`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// How many, its guard aside.
    pub nr_pages: usize,
    /// The first page's number, less `phase_pages`, is a multiple of this power of two.
    pub align_pages: usize,
    /// Below `align_pages`.
    pub phase_pages: usize,
    /// The range does not lie across a multiple of this power of two, in pages.
    pub nocross_pages: Option<usize>,
    /// Least address of the range.
    pub min: usize,
    /// Greatest address that may lie in the range.
    pub max: usize,
    /// See [`Policy`].
    pub policy: Policy,
}

impl Request {
    /// `nr_pages` pages, wherever they are, by instant fit.
    pub const fn pages(nr_pages: usize) -> Self {
        Self {
            nr_pages,
            align_pages: 1,
            phase_pages: 0,
            nocross_pages: None,
            min: 0,
            max: usize::MAX,
            policy: Policy::Instant,
        }
    }
}

/// A request that has been looked at, in page numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) len: u64,
    align: u64,
    phase: u64,
    nocross: Option<u64>,
    min: u64,
    /// One past the greatest page number.
    end: u64,
    pub(super) policy: Policy,
}

impl Wanted {
    /// `nr_pages` pages, wherever they are.
    #[inline]
    pub(super) fn pages(nr_pages: usize, policy: Policy) -> Result<Self> {
        if nr_pages == 0 {
            return Err(Error::BadRequest { value: nr_pages });
        }
        if nr_pages as u64 >= PAGE_NUMBERS_END {
            return Err(out_of_memory(nr_pages));
        }
        let len = nr_pages as u64;
        Ok(Self { len, align: 1, phase: 0, nocross: None, min: 0, end: PAGE_NUMBERS_END, policy })
    }

    /// Looks at a request.
    ///
    /// # Errors
    /// `BadRequest` with the value of the first field that contradicts itself or another; `OutOfMemory` for more pages
    /// than there are, or than lie between the bounds.
    pub(super) fn new(request: &Request) -> Result<Self> {
        let bad = |value| Err(Error::BadRequest { value });
        let &Request { nr_pages, align_pages, phase_pages, nocross_pages, min, max, policy } = request;
        let plain = Self::pages(nr_pages, policy)?;
        if !align_pages.is_power_of_two() {
            return bad(align_pages);
        }
        if phase_pages >= align_pages {
            return bad(phase_pages);
        }
        if let Some(nocross) = nocross_pages {
            if !nocross.is_power_of_two() {
                return bad(nocross);
            }
            // The earliest place behind a boundary, or the only one between two: from there on it must hold.
            if (phase_pages & (nocross - 1)).saturating_add(nr_pages) > nocross {
                return bad(nocross);
            }
        }
        if min > max {
            return bad(min);
        }
        let (min, end) =
            (min.div_ceil(PAGE_SIZE) as u64, (max / PAGE_SIZE) as u64 + u64::from(max % PAGE_SIZE == PAGE_SIZE - 1));
        if end.saturating_sub(min) < plain.len {
            return Err(out_of_memory(nr_pages));
        }
        let (align, phase) = (align_pages as u64, phase_pages as u64);
        Ok(Self { align, phase, nocross: nocross_pages.map(|pages| pages as u64), min, end, ..plain })
    }

    /// Pages with the guard.
    #[inline]
    pub(super) fn with_guard(&self) -> u64 {
        self.len + GUARD
    }

    /// Pages of a free segment in which there is a place whatever its address, if it lies within the bounds.
    #[inline]
    pub(super) fn sure_pages(&self) -> u64 {
        let slip = self.align - 1;
        let sure = self.with_guard().saturating_add(slip);
        match self.nocross {
            // Over a boundary: from anywhere before it, and aligned anew behind it.
            Some(_) => sure.saturating_add(self.len - 1).saturating_add(slip),
            None => sure,
        }
    }

    /// Whether all of the arena, which lies in `start..end`, is within the bounds.
    #[inline]
    pub(super) fn is_unbounded(&self, start: u64, end: u64) -> bool {
        self.min <= start && self.end >= end
    }

    /// The least page from `start` on at which the range fits into the free pages `start..end`, with its guard.
    #[inline]
    pub(super) fn place(&self, start: u64, end: u64) -> Option<u64> {
        let mut at = self.aligned(start.max(self.min));
        if let Some(nocross) = self.nocross
            && (at ^ (at + (self.len - 1))) & !(nocross - 1) != 0
        {
            at = self.aligned((at | (nocross - 1)) + 1);
        }
        // Sums of numbers below 2^52, 2^63 and 2^52.
        (at + self.len <= self.end && at + self.len + GUARD <= end).then_some(at)
    }

    /// The least page from `page` on that has the alignment and phase.
    #[inline]
    fn aligned(&self, page: u64) -> u64 {
        page + (self.phase.wrapping_sub(page) & (self.align - 1))
    }

    /// What to say if there is no place.
    pub(super) fn out_of_memory(&self) -> Error {
        out_of_memory(self.len as usize)
    }
}

/// No room for so many pages.
pub(super) fn out_of_memory(nr_pages: usize) -> Error {
    Error::OutOfMemory { bytes: nr_pages.saturating_mul(PAGE_SIZE) }
}
