//! Which page runs are the slab layer's own: those in which objects were handed out.
//!
//! Objects have addresses and page runs have page numbers. Between them stands where the kernel maps all of memory, one
//! number that it does not tell and that is another after each boot. It is found out: an object handed out right after
//! its CPU took a page run often lies in that run, and then the difference of both is the start of the map, which is a
//! multiple of 1 GiB. Chance would have to hit one run in hundreds of thousands, several times in the same way.
//!
//! Source of the alignment: the kernel's `arch/x86/mm/kaslr.c` moves the map by entries of the third level of the page
//! tables, 1 GiB each. Where a machine does otherwise, nothing is found, and nothing is said to be a slab's.
//!
//! Called by: [`crate::record`]; the answer is for [`crate::ledger`].

use crate::decode::{Call, Record};
use crate::pages::Pages;
use std::collections::HashMap;

const MAP_ALIGNMENT: u64 = 1 << 30;
/// So many times the same start is no chance.
const ENOUGH_VOTES: u32 = 4;
/// Events of the same CPU between a page run and the first object in it.
const REACH: usize = 4;

/// The start of the kernel's map of all memory, from each CPU's records in its order.
pub fn map_start(streams: &[Vec<Record>], page_bytes: u64) -> Option<u64> {
    let mut votes: HashMap<u64, u32> = HashMap::new();
    for stream in streams {
        for (i, run) in stream.iter().enumerate().filter(|(_, record)| record.call == Call::PageAlloc) {
            let run_bytes = page_bytes.checked_shl(run.size).unwrap_or(0);
            let run_start = run.key.wrapping_mul(page_bytes);
            let behind = stream.iter().skip(i + 1).take(REACH);
            for object in behind.filter(|record| is_slab_object(record, page_bytes)) {
                let start = object.key.wrapping_sub(run_start);
                if start % MAP_ALIGNMENT < run_bytes {
                    *votes.entry(start - start % MAP_ALIGNMENT).or_default() += 1;
                }
            }
        }
    }
    let (start, count) = votes.into_iter().max_by_key(|&(start, count)| (count, start))?;
    (count >= ENOUGH_VOTES).then_some(start)
}

/// Of each page run in `records`, in their order, whether an object lay in it; nothing else is `true`.
pub fn mark(records: impl Iterator<Item = Record>, map_start: Option<u64>, page_bytes: u64) -> Vec<bool> {
    let mut is_slab = Vec::new();
    let Some(map_start) = map_start else { return is_slab };
    let mut runs = Pages::default();
    for record in records {
        let nr_pages = || 1u64.checked_shl(record.size).unwrap_or(u64::MAX);
        match record.call {
            Call::PageAlloc => {
                runs.take_overlapping(record.key, nr_pages());
                runs.insert(record.key, nr_pages(), is_slab.len());
                is_slab.push(false);
            }
            Call::PageFree => {
                runs.free(record.key, nr_pages());
            }
            _ if is_slab_object(&record, page_bytes) => {
                let page = record.key.wrapping_sub(map_start) / page_bytes;
                if let Some(mark) = runs.get(page).and_then(|index| is_slab.get_mut(index)) {
                    *mark = true;
                }
            }
            _ => {}
        }
    }
    is_slab
}

/// Whether this hands out an object of a slab. A `kmalloc` of more than two pages is a page run by itself.
fn is_slab_object(record: &Record, page_bytes: u64) -> bool {
    match record.call {
        Call::CacheAlloc => true,
        Call::Kmalloc => u64::from(record.size) <= 2 * page_bytes,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: u64 = 4096;
    const START: u64 = 0xffff_9d40_4000_0000;

    fn record(call: Call, key: u64, size: u32) -> Record {
        Record { time_ns: 0, key, size, cpu: 0, call, is_own: false }
    }

    fn object(page: u64, offset: u64, size: u32) -> Record {
        record(Call::Kmalloc, START + page * PAGE + offset, size)
    }

    #[test]
    fn the_map_is_found_from_objects_in_fresh_slabs() {
        let slab = |page: u64| {
            let aside = record(Call::CacheAlloc, 0xffff_9d40_1234_5678, 16);
            [record(Call::PageAlloc, page, 1), aside, object(page, 4096 + 64, 64)]
        };
        let stream: Vec<_> = (0..4).flat_map(|i| slab(0x1_0000 + 2 * i)).collect();
        assert_eq!(map_start(std::slice::from_ref(&stream), PAGE), Some(START));
        assert_eq!(map_start(&[stream[..6].to_vec(), stream[6..].to_vec()], PAGE), Some(START));
        assert_eq!(map_start(&[stream[..9].to_vec()], PAGE), None);
        assert_eq!(map_start(&[], PAGE), None);
    }

    #[test]
    fn runs_with_objects_in_them_are_slabs() {
        let records = [
            record(Call::PageAlloc, 8, 1),
            record(Call::PageAlloc, 16, 2),
            record(Call::PageAlloc, 32, 2),
            object(9, 0, 64),
            // A large object is a page run of its own.
            object(32, 0, 10_000),
            record(Call::PageFree, 16, 2),
            object(17, 0, 64),
            record(Call::PageAlloc, 16, 0),
            object(16, 128, 64),
        ];
        assert_eq!(mark(records.into_iter(), Some(START), PAGE), [true, false, false, true]);
        assert_eq!(mark(records.into_iter(), None, PAGE), [false; 0]);
    }
}
