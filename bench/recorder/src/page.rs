//! One page of the kernel's ring buffer, as `trace_pipe_raw` hands it out.
//!
//! ```text
//! page    timestamp u64 | commit: length of the data, bit 31: events were missed before, bit 30: and their number
//!         stands behind the data | data
//! event   u32: type 5 bits, time delta 27 bits | more, by type
//!   0         u32 length, itself included | payload
//!   1 to 28   payload of 4 x type bytes
//!   29        padding: up to the end if the delta is 0, else u32 length and so many bytes
//!   30        time extend: u32 upper bits of a delta
//!   31        time stamp: u32 upper bits of an absolute time of 59 bits, the rest as in the time before
//! ```
//!
//! Source: the kernel's `include/linux/ring_buffer.h` and `Documentation/trace/ring-buffer-design.rst`, and the flags
//! of `kernel/trace/ring_buffer.c`. Where timestamp, commit and data lie is read from `events/header_page`.
//!
//! Invariant: no bytes make it panic or read outside the page; what does not add up is a [`PageFault`].
//!
//! Called by: [`crate::collect`].

use crate::format::{Field, FormatError, among, fields, number_among};
use std::fmt;

const MISSED: u64 = 1 << 31;
const MISSED_STORED: u64 = 1 << 30;
/// Of the commit word: what is neither flag nor length has been 0 so far.
const LENGTH_MASK: u64 = MISSED_STORED - 1;
/// An absolute time has 59 bits; these come from the time before.
const ABSOLUTE_BITS: u32 = 59;

const PADDING: u32 = 29;
const TIME_EXTEND: u32 = 30;
const TIME_STAMP: u32 = 31;
const WORD: usize = 4;

/// Where the parts of a page lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageLayout {
    timestamp: Field,
    commit: Field,
    data: Field,
}

/// Events that the kernel overwrote before this page was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missed {
    /// None.
    None,
    /// Some, and there was no room to say how many.
    Some,
    /// So many.
    Count(u64),
}

/// A page that is not as described above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageFault {
    /// It is shorter than its own header, or than the data that it announces.
    Truncated {
        /// Bytes that are there.
        len_bytes: usize,
        /// Bytes that there must be.
        needed_bytes: usize,
    },
    /// An event reaches over the end of the data, or has a length that no event can have.
    Event {
        /// Where it starts, from the start of the data.
        offset: usize,
        /// Its type, 0 to 31.
        kind: u32,
    },
}

impl PageLayout {
    /// Reads `events/header_page`.
    ///
    /// # Errors
    ///
    /// [`FormatError::BigEndian`] for a host that is; a field that is missing.
    pub fn parse(header_page: &str, is_big_endian: bool) -> Result<PageLayout, FormatError> {
        if is_big_endian {
            return Err(FormatError::BigEndian);
        }
        let fields = fields(header_page);
        Ok(PageLayout {
            timestamp: number_among(&fields, "header_page", "timestamp")?,
            commit: number_among(&fields, "header_page", "commit")?,
            data: among(&fields, "header_page", "data")?,
        })
    }

    /// The length of a page in bytes.
    pub fn page_bytes(&self) -> usize {
        self.data.offset.saturating_add(self.data.size)
    }

    /// Calls `event` with the time and the payload of each event of `page`, in their order.
    ///
    /// # Errors
    ///
    /// What does not add up; `event` has then been called for what stands before it.
    pub fn read(&self, page: &[u8], mut event: impl FnMut(u64, &[u8])) -> Result<Missed, PageFault> {
        let truncated = |needed_bytes| PageFault::Truncated { len_bytes: page.len(), needed_bytes };
        let header = truncated(self.data.offset);
        let mut time = self.timestamp.number(page).ok_or(header)?;
        let commit = self.commit.number(page).ok_or(header)?;
        let length = (commit & LENGTH_MASK) as usize;
        let (start, end) = (self.data.offset, self.data.offset.saturating_add(length));
        let data = page.get(start..end).ok_or(truncated(end))?;

        let mut at = 0;
        while at < data.len() {
            let (kind, delta) = match word(data, at) {
                Some(head) => (head & 31, u64::from(head >> 5)),
                None => return Err(PageFault::Event { offset: at, kind: 0 }),
            };
            let fault = PageFault::Event { offset: at, kind };
            let body = at + WORD;
            let second = || word(data, body).ok_or(fault);
            let (payload, next) = match kind {
                0 => {
                    let length = second()? as usize;
                    let payload = length.checked_sub(WORD).ok_or(fault)?;
                    (Some((body + WORD, payload)), body.saturating_add(length.next_multiple_of(WORD)))
                }
                // Discarded: its time counts, what it held does not. Without a time it fills the page up.
                PADDING if delta == 0 => break,
                PADDING => (None, body.saturating_add(second()? as usize)),
                TIME_EXTEND | TIME_STAMP => (None, body + WORD),
                _ => (Some((body, kind as usize * WORD)), body + kind as usize * WORD),
            };
            time = match kind {
                TIME_STAMP => absolute(time, delta | u64::from(second()?) << 27),
                TIME_EXTEND => time.wrapping_add(delta | u64::from(second()?) << 27),
                _ => time.wrapping_add(delta),
            };
            if let Some((from, length)) = payload {
                event(time, data.get(from..from.saturating_add(length)).ok_or(fault)?);
            }
            if next > data.len() || next <= at {
                return Err(fault);
            }
            at = next;
        }
        Ok(match commit {
            commit if commit & MISSED == 0 => Missed::None,
            // The count is a `long`, as wide as the commit word.
            commit if commit & MISSED_STORED == 0 => Missed::Some,
            _ => Field { offset: end, size: self.commit.size }.number(page).map_or(Missed::Some, Missed::Count),
        })
    }
}

fn word(data: &[u8], at: usize) -> Option<u32> {
    data.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

/// The time whose lower 59 bits are `low`, at or after `before`, less than 2^59 away.
fn absolute(before: u64, low: u64) -> u64 {
    let low = low & ((1 << ABSOLUTE_BITS) - 1);
    let time = before >> ABSOLUTE_BITS << ABSOLUTE_BITS | low;
    // Where the upper bits are 0 the kernel has never needed them, and a time may be a little before another.
    if before >> ABSOLUTE_BITS != 0 && time < before { time.wrapping_add(1 << ABSOLUTE_BITS) } else { time }
}

impl fmt::Display for PageFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            PageFault::Truncated { len_bytes, needed_bytes } => {
                write!(f, "a ring-buffer page of {len_bytes} bytes says that it has {needed_bytes}")
            }
            PageFault::Event { offset, kind } => {
                write!(f, "the event of type {kind} at byte {offset} of a ring-buffer page does not fit in it")
            }
        }
    }
}

#[cfg(test)]
#[path = "page_tests.rs"]
mod tests;
