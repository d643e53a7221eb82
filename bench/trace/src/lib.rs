//! KMTRACE1: recordings of a real kernel's allocator traffic.
//!
//! ```text
//! header  32 bytes   magic "KMTRACE1" | u32 cpus | u32 objects | u64 events | u64 peak_live_bytes
//! event    8 bytes   u32 object id    | u32 op (bits 0-1), cpu (bits 2-7), size in bytes (bits 8-31)
//! ```
//!
//! Little-endian. Ops: 0 object alloc, 1 object free, 2 page-run alloc (4096 << order bytes), 3 page-run free. Events
//! stand in the order in which the machine saw them; ids are dense from 0, each is allocated once and freed once.
//!
//! This file reads the format; [`check`] decides whether a recording keeps these rules; [`fault`] names what may be wrong
//! with it. What `recorder` writes and what the kernel's `replay` plays is judged by the same lines.
//!
//! A recording comes from outside: it is refused with the offending value, never believed, and never causes a panic.
//!
//! Invariant: a [`Trace`] has as many events as its header says, 1 to 64 CPUs, and no more objects than events.

#![cfg_attr(not(any(test, feature = "fixture")), no_std)]
#![forbid(unsafe_code)]

pub mod check;
pub mod fault;
#[cfg(any(test, feature = "fixture"))]
pub mod fixture;

use crate::fault::{Damaged, Fault};
use core::fmt;

/// What a recording begins with.
pub const MAGIC: [u8; 8] = *b"KMTRACE1";
/// The length of the header in bytes.
pub const HEADER_LEN: usize = 32;
/// The length of an event in bytes.
pub const EVENT_LEN: usize = 8;
/// The most CPUs that a recording can name.
pub const MAX_CPUS: usize = 64;

/// A recording's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// How many CPUs were recorded, 1 to 64.
    pub nr_cpus: u32,
    /// How many objects were allocated, at most `nr_events`.
    pub nr_objects: u32,
    /// How many events follow.
    pub nr_events: u64,
    /// The most bytes that were live at once.
    pub peak_live_bytes: u64,
}

/// What an event deals with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// An object of the slab layer, of any size.
    #[default]
    Object,
    /// A run of pages, a power of two of them.
    PageRun,
}

/// What an event does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It allocates.
    Alloc,
    /// It frees.
    Free,
}

/// One call of the recorded kernel's allocator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Allocation or free.
    pub action: Action,
    /// Object or page run.
    pub kind: Kind,
    /// The CPU that called, 0 to 63.
    pub cpu: u8,
    /// Which object.
    pub id: u32,
    /// The size in bytes, below 2^24; 0 in a free.
    pub size_bytes: u32,
}

/// A recording whose header agrees with its length. Its events may still break the rules: see
/// [`Trace::validate`](Trace::validate).
#[derive(Clone, Copy, Debug)]
pub struct Trace<'t> {
    header: Header,
    events: &'t [u8],
}

impl<'t> Trace<'t> {
    /// Reads the header of `bytes` and checks it against their number.
    ///
    /// # Errors
    /// `TooShort`, `WrongMagic`, `Cpus`, `Length` or `Objects`, without an event.
    pub fn parse(bytes: &'t [u8]) -> Result<Trace<'t>, Damaged> {
        let damaged = |what| Err(Damaged { event: None, what });
        let len_bytes = bytes.len() as u64;
        let Some((head, events)) = bytes.split_first_chunk::<HEADER_LEN>() else {
            return damaged(Fault::TooShort { len_bytes });
        };
        let [m0, m1, m2, m3, m4, m5, m6, m7, rest @ ..] = *head;
        let found = [m0, m1, m2, m3, m4, m5, m6, m7];
        if found != MAGIC {
            return damaged(Fault::WrongMagic { found });
        }
        let header = Header {
            nr_cpus: le32(&rest, 0),
            nr_objects: le32(&rest, 4),
            nr_events: u64::from(le32(&rest, 8)) | u64::from(le32(&rest, 12)) << 32,
            peak_live_bytes: u64::from(le32(&rest, 16)) | u64::from(le32(&rest, 20)) << 32,
        };
        let Header { nr_cpus, nr_objects, nr_events, .. } = header;
        if nr_cpus == 0 || nr_cpus as usize > MAX_CPUS {
            return damaged(Fault::Cpus { nr_cpus });
        }
        if nr_events.checked_mul(EVENT_LEN as u64) != Some(events.len() as u64) {
            return damaged(Fault::Length { nr_events, len_bytes });
        }
        if u64::from(nr_objects) > nr_events {
            return damaged(Fault::Objects { nr_objects, nr_events });
        }
        Ok(Trace { header, events })
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The events, in the order in which the machine saw them.
    pub fn events(&self) -> impl ExactSizeIterator<Item = Event> + DoubleEndedIterator + Clone + use<'t> {
        self.events.as_chunks().0.iter().map(|bytes| Event::decode(*bytes))
    }

    /// Event `index`, counted from 0.
    pub fn event(&self, index: u64) -> Option<Event> {
        self.events.as_chunks().0.get(usize::try_from(index).ok()?).map(|bytes| Event::decode(*bytes))
    }
}

impl Event {
    /// Takes an event apart; every eight bytes are one.
    fn decode(bytes: [u8; EVENT_LEN]) -> Event {
        let word = le32(&bytes, 4);
        Event {
            action: if word & 1 == 0 { Action::Alloc } else { Action::Free },
            kind: if word & 2 == 0 { Kind::Object } else { Kind::PageRun },
            cpu: (word >> 2) as u8 & 63,
            id: le32(&bytes, 0),
            size_bytes: word >> 8,
        }
    }
}

fn le32(bytes: &[u8], at: usize) -> u32 {
    (0..4).fold(0, |word, i| word | u32::from(bytes[at + i]) << (8 * i))
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Kind::Object => "object",
            Kind::PageRun => "page run",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fixture::good;

    fn refused(bytes: &[u8]) -> String {
        Trace::parse(bytes).expect_err("a damaged header").to_string()
    }

    #[test]
    fn events_are_taken_apart() {
        let bytes = good();
        let trace = Trace::parse(&bytes).expect("a good recording");
        assert_eq!(trace.header(), &Header { nr_cpus: 2, nr_objects: 3, nr_events: 6, peak_live_bytes: 4196 });
        assert_eq!(trace.events().len(), 6);
        let run = Event { action: Action::Alloc, kind: Kind::PageRun, cpu: 1, id: 1, size_bytes: 4096 };
        assert_eq!(trace.event(1), Some(run));
        assert_eq!(trace.events().nth(1), Some(run));
        let free = Event { action: Action::Free, kind: Kind::Object, cpu: 1, id: 0, size_bytes: 0 };
        assert_eq!(trace.event(2), Some(free));
        assert_eq!([trace.event(6), trace.event(u64::MAX)], [None, None]);
    }

    #[test]
    fn extreme_fields_are_kept_apart() {
        let bytes = fixture::bytes(64, 1, 0, &[(3, 63, u32::MAX, 0xff_ffff)]);
        let event = Trace::parse(&bytes).expect("a good header").event(0);
        let wanted = Event { action: Action::Free, kind: Kind::PageRun, cpu: 63, id: u32::MAX, size_bytes: 0xff_ffff };
        assert_eq!(event, Some(wanted));
    }

    #[test]
    fn a_damaged_header_is_refused_with_its_values() {
        assert_eq!(refused(b""), "0 bytes are no recording: the header alone has 32");
        assert_eq!(refused(&good()[..31]), "31 bytes are no recording: the header alone has 32");
        let mut bad = good();
        bad[7] = 0;
        assert_eq!(refused(&bad), "not a recording: it begins with \"KMTRACE\\x00\", not \"KMTRACE1\"");
        assert_eq!(refused(&good()[..79]), "6 events make 80 bytes, the file has 79");
        assert_eq!(refused(&[good(), vec![0]].concat()), "6 events make 80 bytes, the file has 81");
        for nr_cpus in [0, 65, u32::MAX] {
            let wanted = format!("the header says {nr_cpus} CPUs, 1 to 64 are possible");
            assert_eq!(refused(&fixture::bytes(nr_cpus, 0, 0, &[])), wanted);
        }
        assert_eq!(refused(&fixture::bytes(1, 1, 0, &[])), "the header says 1 objects but only 0 events");
        // A number of events whose length in bytes overflows to the right one.
        let mut bad = good();
        bad[16..24].copy_from_slice(&((1u64 << 61) + 6).to_le_bytes());
        assert_eq!(refused(&bad), "2305843009213693958 events make 18446744073709551696 bytes, the file has 80");
    }
}
