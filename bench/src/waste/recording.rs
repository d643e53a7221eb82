//! A recording of a real kernel's allocator traffic (KMTRACE1; the format stands in `kernel/src/pure/trace.rs`), played
//! on one thread, each recorded CPU's part as one of ours.
//!
//! A recording ends with the free of all that was live: what is measured as the drop is the moment of its last
//! allocation.

use workloads::Peer;

use super::{Live, Looks, Resident, waste};
use crate::host::NR_CPUS;

const HEADER_BYTES: usize = 32;
const PAGE_BYTES: usize = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    Alloc { size: usize, align: usize },
    Free,
}

#[derive(Clone, Copy, Debug)]
struct Event {
    id: usize,
    cpu: usize,
    op: Op,
}

/// A recording that is in order.
#[derive(Debug)]
pub(super) struct Recording {
    nr_objects: usize,
    events: Vec<Event>,
}

impl Recording {
    /// # Errors
    ///
    /// What is wrong with it, and which event.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let (header, rest) = bytes.split_at_checked(HEADER_BYTES).ok_or("shorter than a header")?;
        if !header.starts_with(b"KMTRACE1") {
            return Err("not a recording of format KMTRACE1".into());
        }
        let word =
            |bytes: &[u8], at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let (nr_cpus, nr_objects) = (word(header, 8), word(header, 12) as usize);
        let (events, []) = rest.as_chunks::<8>() else { return Err("ends within an event".into()) };
        if events.len() as u64 != u64::from(word(header, 16)) | u64::from(word(header, 20)) << 32 {
            return Err(format!("{} events, and another number in the header", events.len()));
        }
        // 0: not yet, 1: live, 2: freed. An object more than events is damage, not a reason to allocate for it.
        let mut states = vec![0_u8; nr_objects.min(events.len())];
        let parse = |(i, event): (usize, &[u8; 8])| {
            let (id, rest) = (word(event, 0) as usize, word(event, 4));
            let (op, cpu, size) = (rest & 3, (rest >> 2) & 63, (rest >> 8) as usize);
            let bad = |what: &str| Err(format!("event {i}: {what}"));
            let Some(state) = states.get_mut(id) else { return bad("an object beyond the number of objects") };
            if cpu >= nr_cpus {
                return bad("a CPU beyond the number of CPUs");
            }
            let op = match (op, *state) {
                (0 | 2, 1..) => return bad("an object allocated twice"),
                (1 | 3, 0 | 2) => return bad("a free of what is not live"),
                (0, _) if size == 0 => return bad("no size"),
                (0, _) => Op::Alloc { size, align: 8 },
                (2, _) if size < PAGE_BYTES || !size.is_power_of_two() => return bad("not a run of pages"),
                (2, _) => Op::Alloc { size, align: PAGE_BYTES },
                _ => Op::Free,
            };
            *state += 1;
            Ok(Event { id, cpu: cpu as usize % NR_CPUS, op })
        };
        let events = events.iter().enumerate().map(parse).collect::<Result<_, _>>()?;
        Ok(Self { nr_objects, events })
    }

    /// Where the last allocation stands, and the one after which most is live.
    fn moments(&self) -> (usize, usize) {
        let (mut last, mut peak, mut most, mut now) = (0, 0, 0, 0);
        let mut sizes = vec![0; self.nr_objects];
        for (i, event) in self.events.iter().enumerate() {
            match event.op {
                Op::Alloc { size, .. } => {
                    sizes[event.id] = size;
                    now += size;
                    last = i;
                    if now > most {
                        (most, peak) = (now, i);
                    }
                }
                Op::Free => now -= sizes[event.id],
            }
        }
        (last, peak)
    }

    /// Plays it. This thread is every CPU in its turn. Returns the part of what is held that nobody asked for: at the peak,
    /// and after the last allocation, when the allocator gave back what it could.
    pub(super) fn replay<P: Peer>(&self, looks: &mut Looks) -> Result<[f64; 2], String> {
        let (last, peak) = self.moments();
        let mut objects: Vec<Option<Live>> = vec![None; self.nr_objects];
        let mut nr_live_bytes = 0;
        let resident = Resident::<P>::new()?;
        let (mut at_peak, mut dropped) = (f64::NAN, f64::NAN);
        for (i, event) in self.events.iter().enumerate() {
            crate::host::enter_cpu(event.cpu);
            match event.op {
                Op::Alloc { size, align } => {
                    objects[event.id] = Some(Live::alloc::<P>(size, align)?);
                    nr_live_bytes += size as u64;
                }
                Op::Free => {
                    let live = objects[event.id].take().ok_or("freed twice")?;
                    nr_live_bytes -= u64::from(live.size);
                    live.free::<P>();
                }
            }
            if i == peak {
                at_peak = waste(nr_live_bytes, looks.note(nr_live_bytes, &resident)?);
            }
            if i == last {
                P::trim();
                dropped = waste(nr_live_bytes, looks.note(nr_live_bytes, &resident)?);
            }
        }
        crate::host::enter_cpu(0);
        P::trim();
        Ok([at_peak, dropped])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(nr_objects: u32, events: &[(u32, u32)]) -> Vec<u8> {
        let mut bytes = b"KMTRACE1".to_vec();
        bytes.extend([2, nr_objects].iter().flat_map(|word| word.to_le_bytes()));
        bytes.extend((events.len() as u64).to_le_bytes());
        bytes.extend(0_u64.to_le_bytes());
        bytes.extend(events.iter().flat_map(|&(id, rest)| [id, rest]).flat_map(u32::to_le_bytes));
        bytes
    }

    const ALLOC: u32 = 64 << 8;
    const PAGES: u32 = 2 | 1 << 2 | 8192 << 8;

    #[test]
    fn the_peak_and_the_last_allocation_are_found() {
        let events = [(0, ALLOC), (1, PAGES), (1, 3), (2, ALLOC), (0, 1), (2, 1)];
        let recording = Recording::parse(&file(3, &events)).expect("in order");
        assert_eq!(recording.moments(), (3, 1));
    }

    #[test]
    fn damaged_recordings_are_refused_with_the_event() {
        let refused =
            |nr_objects, events: &[(u32, u32)]| Recording::parse(&file(nr_objects, events)).expect_err("damaged");
        assert!(refused(1, &[(0, ALLOC), (0, ALLOC)]).starts_with("event 1"));
        assert!(refused(1, &[(0, 1)]).starts_with("event 0"));
        assert!(refused(1, &[(1, ALLOC)]).starts_with("event 0"));
        assert!(refused(1, &[(0, 0)]).contains("no size"));
        assert!(refused(1, &[(0, ALLOC | 2 << 2)]).contains("CPU"));
        assert!(refused(1, &[(0, ALLOC | 2)]).contains("run of pages"));
        let whole = file(1, &[(0, ALLOC), (0, 1)]);
        assert!(Recording::parse(&whole).is_ok());
        for length in [0, 20, whole.len() - 3, whole.len() - 8] {
            assert!(Recording::parse(&whole[..length]).is_err(), "{length} bytes");
        }
    }
}
