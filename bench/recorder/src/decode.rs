//! Events of the kernel's allocators, taken out of their payloads.
//!
//! Which event is which, and where its fields lie, comes from the running kernel's `format` files. Addresses and page
//! numbers are kept only to find out which free belongs to which allocation; they are in no recording.
//!
//! Called by: [`crate::collect`], with each payload of each page.

use crate::format::{EventFormat, Field, FormatError};

/// What is recorded, and must be there: one way or the other of each kind.
pub const EVENTS: [&str; 6] =
    ["kmalloc", "kmem_cache_alloc", "kfree", "kmem_cache_free", "mm_page_alloc", "mm_page_free"];

/// What kernels before 6.1 have beside these; their allocations would be missing without.
pub const OLDER_EVENTS: [&str; 2] = ["kmalloc_node", "kmem_cache_alloc_node"];

/// What an event of the kernel says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// `kmalloc` of any size.
    Kmalloc,
    /// An object of a cache.
    CacheAlloc,
    /// An object is given back, wherever it came from.
    Free,
    /// A run of pages; `size` is its order.
    PageAlloc,
    /// A run of pages is given back; `size` is its order.
    PageFree,
}

/// An event, small enough to keep millions of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// When, by a clock that all CPUs share, in nanoseconds.
    pub time_ns: u64,
    /// The object's address, or the number of the first page.
    pub key: u64,
    /// Bytes asked for, or an order; the largest number for what is larger.
    pub size: u32,
    /// The CPU.
    pub cpu: u16,
    /// What.
    pub call: Call,
    /// The recorder asked for it, for itself.
    pub is_own: bool,
}

/// Knows the layout of the events.
#[derive(Clone, Debug)]
pub struct Decoder {
    common_type: Field,
    common_flags: Field,
    common_pid: Field,
    kinds: Vec<Kind>,
    own_pids: Vec<u32>,
}

#[derive(Clone, Debug)]
struct Kind {
    id: u64,
    call: Call,
    key: Field,
    size: Option<Field>,
}

/// Bits of `common_flags`: in a hard interrupt, a soft one, an NMI (the kernel's `include/linux/trace_events.h`). What
/// an interrupt asks for is nobody's whom it interrupted.
const IN_INTERRUPT: u64 = 0x08 | 0x10 | 0x40;

impl Decoder {
    /// A decoder for events of `formats`; allocations by the threads `own_pids` are marked as the recorder's own.
    ///
    /// # Errors
    ///
    /// A field that is missing, or no format at all.
    pub fn new(formats: &[EventFormat], own_pids: &[u32]) -> Result<Decoder, FormatError> {
        let first = formats.first().ok_or(FormatError::NoId { of: "kmem".into() })?;
        let kinds = formats.iter().map(|format| {
            let (call, key, size) = match format.name.as_str() {
                "kmalloc" | "kmalloc_node" => (Call::Kmalloc, "ptr", Some("bytes_req")),
                "kmem_cache_alloc" | "kmem_cache_alloc_node" => (Call::CacheAlloc, "ptr", Some("bytes_req")),
                "mm_page_alloc" => (Call::PageAlloc, "pfn", Some("order")),
                "mm_page_free" => (Call::PageFree, "pfn", Some("order")),
                _ => (Call::Free, "ptr", None),
            };
            let size = size.map(|name| format.number(name)).transpose()?;
            Ok(Kind { id: format.id, call, key: format.number(key)?, size })
        });
        Ok(Decoder {
            // The same in all events, as their name says.
            common_type: first.number("common_type")?,
            common_flags: first.number("common_flags")?,
            common_pid: first.number("common_pid")?,
            kinds: kinds.collect::<Result<_, _>>()?,
            own_pids: own_pids.to_vec(),
        })
    }

    /// The event in `payload`; nothing if it is none of ours, or too short to be.
    pub fn decode(&self, time_ns: u64, cpu: u16, payload: &[u8]) -> Option<Record> {
        let id = self.common_type.number(payload)?;
        let kind = self.kinds.iter().find(|kind| kind.id == id)?;
        let size = match kind.size {
            Some(field) => field.number(payload)?,
            None => 0,
        };
        let pid = self.common_pid.number(payload)?;
        let is_in_interrupt = self.common_flags.number(payload)? & IN_INTERRUPT != 0;
        let is_alloc = !matches!(kind.call, Call::Free | Call::PageFree);
        Some(Record {
            time_ns,
            key: kind.key.number(payload)?,
            size: u32::try_from(size).unwrap_or(u32::MAX),
            cpu,
            call: kind.call,
            // A free needs no mark: what was allocated decides.
            is_own: is_alloc && !is_in_interrupt && self.own_pids.iter().any(|&own| u64::from(own) == pid),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::fixture::{COMMON, kmalloc};

    fn page_alloc() -> String {
        format!(
            "ID: 653\n{COMMON}\tfield:unsigned long pfn;\toffset:8;\tsize:8;\tsigned:0;\n\
             \tfield:unsigned int order;\toffset:16;\tsize:4;\tsigned:0;\n"
        )
    }

    fn decoder() -> Decoder {
        let formats = [EventFormat::parse("kmalloc", &kmalloc()), EventFormat::parse("mm_page_alloc", &page_alloc())];
        let formats: Vec<_> = formats.into_iter().map(|format| format.expect("a good format")).collect();
        Decoder::new(&formats, &[77]).expect("all fields")
    }

    fn payload(id: u16, flags: u8, pid: u32, rest: &[u64]) -> Vec<u8> {
        let mut bytes = [&id.to_ne_bytes()[..], &[flags, 0], &pid.to_ne_bytes()].concat();
        rest.iter().for_each(|word| bytes.extend(word.to_ne_bytes()));
        bytes
    }

    #[test]
    fn size_and_key_are_those_of_the_events_fields() {
        let kmalloc = payload(658, 0, 5, &[0xca11, 0xffff_8880_1234_5680, 57]);
        let wanted =
            Record { time_ns: 9, key: 0xffff_8880_1234_5680, size: 57, cpu: 3, call: Call::Kmalloc, is_own: false };
        assert_eq!(decoder().decode(9, 3, &kmalloc), Some(wanted));
        // The order has four bytes; what stands behind it does not count.
        let pages = payload(653, 0, 5, &[0x1234, 0xffff_ffff_0000_0003]);
        let wanted = Record { time_ns: 9, key: 0x1234, size: 3, cpu: 0, call: Call::PageAlloc, is_own: false };
        assert_eq!(decoder().decode(9, 0, &pages), Some(wanted));
    }

    #[test]
    fn what_the_recorder_asks_for_is_marked_but_not_what_interrupts_it() {
        let own = |flags, pid| decoder().decode(0, 0, &payload(658, flags, pid, &[0, 1, 2])).map(|event| event.is_own);
        assert_eq!([own(0, 77), own(1, 77), own(0x08, 77)], [Some(true), Some(true), Some(false)]);
        assert_eq!([own(0x10, 77), own(0x40, 77), own(0, 78)], [Some(false), Some(false), Some(false)]);
    }

    #[test]
    fn other_and_cut_off_events_are_none() {
        assert_eq!(decoder().decode(0, 0, &payload(1, 0, 5, &[0, 1, 2])), None);
        let whole = payload(658, 0, 5, &[0, 1, 2]);
        for length in 0..whole.len() {
            assert_eq!(decoder().decode(0, 0, &whole[..length]), None);
        }
    }

    #[test]
    fn a_size_beyond_32_bits_is_the_largest() {
        let size = |size| decoder().decode(0, 0, &payload(658, 0, 5, &[0, 1, size])).map(|event| event.size);
        assert_eq!([size(1 << 40), size(0xffff_fffe)], [Some(u32::MAX), Some(0xffff_fffe)]);
    }

    #[test]
    fn a_missing_field_is_named() {
        let format = EventFormat::parse("mm_page_alloc", &page_alloc().replace(" order;", " grade;"));
        let error = Decoder::new(&[format.expect("a good format")], &[]).expect_err("no order");
        assert_eq!(error.to_string(), "the format of mm_page_alloc has no field `order`");
        assert!(Decoder::new(&[], &[]).is_err());
    }
}
