//! Recordings of allocator traffic, format KMTRACE1: made by hand here, whole and damaged, to see the kernel refuse
//! what is wrong and name the event. Written apart from `bench/trace` on purpose, so that reader and writer cannot share
//! a mistake; a test holds the two against each other.
//!
//! All little-endian. Header of 32 bytes: magic, u32 CPUs, u32 objects, u64 events, u64 peak of live bytes. Each event
//! 8 bytes: u32 object id, then u32 with the operation in bits 0-1, the CPU in bits 2-7 and the size in bits 8-31.

/// The bytes with which a recording begins.
pub const MAGIC: &[u8; 8] = b"KMTRACE1";

/// What an event does.
#[derive(Clone, Copy, Debug)]
pub enum Op {
    /// An object of `size` bytes.
    Alloc = 0,
    /// Its free; the size is 0.
    Free = 1,
    /// A run of pages, `size` = 4096 << order.
    AllocPages = 2,
    /// Its free; the size is 0.
    FreePages = 3,
}

/// One event.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// The object it is about.
    pub id: u32,
    /// What happens to it.
    pub op: Op,
    /// The CPU that did it.
    pub cpu: u32,
    /// Bytes, in an allocation.
    pub size: u32,
}

/// A recording in the making.
#[derive(Clone, Debug)]
pub struct Recording {
    /// Number of CPUs.
    pub cpus: u32,
    /// Number of objects; ids are below it.
    pub objects: u32,
    /// The largest sum of live bytes, as the header claims it.
    pub peak_live_bytes: u64,
    /// The events in their order.
    pub events: Vec<Event>,
}

impl Recording {
    /// A small one that is in order: three objects and a run of pages, freed on other CPUs than allocated.
    pub fn small() -> Self {
        let event = |id, op, cpu, size| Event { id, op, cpu, size };
        let events = vec![
            event(0, Op::Alloc, 0, 64),
            event(1, Op::AllocPages, 1, 8192),
            event(2, Op::Alloc, 0, 1000),
            event(0, Op::Free, 1, 0),
            event(3, Op::Alloc, 1, 192),
            event(2, Op::Free, 1, 0),
            event(1, Op::FreePages, 0, 0),
            event(3, Op::Free, 0, 0),
        ];
        Self { cpus: 2, objects: 4, peak_live_bytes: 8192 + 1000 + 192, events }
    }

    /// The bytes of the file.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&self.cpus.to_le_bytes());
        bytes.extend_from_slice(&self.objects.to_le_bytes());
        bytes.extend_from_slice(&(self.events.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&self.peak_live_bytes.to_le_bytes());
        for event in &self.events {
            bytes.extend_from_slice(&event.id.to_le_bytes());
            bytes.extend_from_slice(&(event.op as u32 | event.cpu << 2 | event.size << 8).to_le_bytes());
        }
        bytes
    }
}

/// A recording that must be refused.
pub struct Damaged {
    /// What is wrong with it, fit for a file name.
    pub name: &'static str,
    /// The file.
    pub bytes: Vec<u8>,
    /// The event that is wrong, counted from 0, where it is one event.
    pub event: Option<usize>,
}

/// One recording for each way in which the format says that a recording is damaged.
pub fn damaged() -> Vec<Damaged> {
    let good = Recording::small();
    let whole = good.encode();
    let edit = |at: usize, change: fn(&mut Event)| {
        let mut bad = good.clone();
        change(&mut bad.events[at]);
        bad.encode()
    };
    let file = |name, bytes| Damaged { name, bytes, event: None };
    let event = |name, at, change| Damaged { name, bytes: edit(at, change), event: Some(at) };
    vec![
        file("wrong-magic", [b"KMTRACE2", &whole[8..]].concat()),
        file("empty", Vec::new()),
        file("half-a-header", whole[..20].to_vec()),
        file("truncated", whole[..whole.len() - 8].to_vec()),
        file("half-an-event", whole[..whole.len() - 3].to_vec()),
        file("trailing-bytes", [&whole[..], &[0; 8]].concat()),
        event("cpu-too-large", 3, |e| e.cpu = 2),
        event("id-too-large", 4, |e| e.id = 4),
        event("alloc-twice", 2, |e| e.id = 0),
        event("free-before-alloc", 3, |e| e.id = 3),
        event("size-zero", 2, |e| e.size = 0),
        event("pages-of-odd-size", 1, |e| e.size = 12288),
        event("pages-below-a-page", 1, |e| e.size = 64),
        event("object-freed-as-pages", 3, |e| e.op = Op::FreePages),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_small_recording_is_in_order_and_the_damaged_ones_differ() {
        let whole = Recording::small().encode();
        assert_eq!(whole.len(), 32 + 8 * Recording::small().events.len());
        for bad in damaged() {
            assert_ne!(bad.bytes, whole, "{}", bad.name);
        }
    }

    #[test]
    fn the_format_s_own_checker_accepts_the_small_one_and_names_what_is_damaged() {
        let check = |bytes: &[u8]| {
            let trace = trace::Trace::parse(bytes)?;
            let mut scratch = vec![trace::check::ObjectState::NEW; trace.header().nr_objects as usize];
            trace.validate(&mut scratch).map(|checked| *checked.summary())
        };
        assert_eq!(check(&Recording::small().encode()).map(|summary| summary.nr_events), Ok(8));
        for bad in damaged() {
            let found = check(&bad.bytes).expect_err(bad.name);
            assert_eq!(found.event, bad.event.map(|event| event as u64), "{}: {found}", bad.name);
        }
    }

    #[test]
    fn the_encoding_is_that_of_a_real_recording() {
        let real = include_bytes!("../data/fork-exec-small.kmt");
        let number = |at: usize| u32::from_le_bytes([real[at], real[at + 1], real[at + 2], real[at + 3]]);
        assert_eq!(&real[..8], MAGIC);
        assert_eq!(real.len(), 32 + 8 * number(16) as usize);
        let first = number(36);
        let (id, op, cpu, size) = (number(32), first & 3, first >> 2 & 63, first >> 8);
        assert!(id < number(12) && cpu < number(8) && (op == 0 || op == 2) && size > 0);
    }
}
