//! The firmware's memory map, read safely: which whole frames are usable, each exactly once.
//!
//! Firmware lists regions in any order, with holes, byte-granular edges, overlaps, empty and wrapping entries. We
//! read it so that the safest reading wins:
//! - a frame is usable if every byte of it lies in usable regions (two that meet inside a frame join) and no byte of
//!   it lies in any other region, whatever the order of the entries;
//! - an entry that ends before it starts wraps at 2^64: as a usable region it is not believed, as any other it
//!   covers both ends of the address space;
//! - what lies at or above [`PHYS_LIMIT`](crate::frame::PHYS_LIMIT) is not handed out;
//! - frame 0 is never usable: a physical address of zero stays free to mean "none", and firmware writes there.
//!
//! ```text
//!   frames        |  0  |  1  |  2  |  3  |  4  |  5  |  6  |
//!   usable       ==================    =====================
//!   reserved                                  ===
//!   handed out          |#####|#####|           |     |#####|
//! ```
//!
//! Nothing is stored and nothing allocated: each step looks at the whole list again, O(n^2) for n entries, about 10 ms
//! for two thousand. Called once, at boot, by the kernel, to fill the [frame bitmap](crate::frame_bitmap).

use crate::frame::{Frame, FrameRange, PAGE_SIZE};

const PAGE: u64 = PAGE_SIZE as u64;

/// One past the last frame number.
const NR_FRAMES: u64 = 1 << 32;

/// What a region is for, as far as an allocator cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegionKind {
    /// Free for use.
    Usable,
    /// Used by the bootloader; usable once nothing of the bootloader's is needed any more.
    BootloaderReclaimable,
    /// ACPI tables; usable once they have been read.
    AcpiReclaimable,
    /// Anything else: devices, firmware, bad memory, the kernel's own image.
    Reserved,
}

/// One entry of a memory map: the bytes `start..end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// First physical address.
    pub start: u64,
    /// One past the last; equal to `start` for an empty entry, below it for one that wraps at 2^64.
    pub end: u64,
    /// What it is for.
    pub kind: RegionKind,
}

impl Region {
    /// A region as firmware states it, by length: a length past 2^64 gives an entry that wraps.
    pub const fn with_len(start: u64, len: u64, kind: RegionKind) -> Self {
        Self { start, end: start.wrapping_add(len), kind }
    }

    /// The end of a believable region; `None` for one that is empty or wraps.
    fn plain_end(&self) -> Option<u64> {
        (self.end > self.start).then_some(self.end)
    }

    /// The frames it touches, even in part, as up to two ranges of frame numbers.
    fn touched(&self) -> [(u64, u64); 2] {
        if self.end < self.start {
            return [(self.start / PAGE, u64::MAX), (0, self.end.div_ceil(PAGE))];
        }
        if self.end == self.start {
            return [(0, 0); 2];
        }
        [(self.start / PAGE, self.end.div_ceil(PAGE)), (0, 0)]
    }
}

/// The usable frames of a map as ranges, ascending and merged: no two of them touch or overlap.
pub fn usable_ranges(regions: &[Region]) -> Ranges<'_> {
    ranges_of_kind(regions, RegionKind::Usable)
}

/// The frames that lie wholly in regions of `kind` and touch no region of another kind, ascending and merged.
///
/// No frame comes up under two kinds, so what is reclaimed later cannot overlap what was usable from the start.
pub fn ranges_of_kind(regions: &[Region], kind: RegionKind) -> Ranges<'_> {
    Ranges { regions, kind, next_byte: 0, frames: 0..0 }
}

/// Iterator of [`usable_ranges`] and [`ranges_of_kind`].
#[derive(Clone, Debug)]
pub struct Ranges<'a> {
    regions: &'a [Region],
    kind: RegionKind,
    /// Bytes below this have been dealt with.
    next_byte: u64,
    /// Whole frames of the wanted kind that have not been held against the other kinds yet.
    frames: core::ops::Range<u64>,
}

impl Ranges<'_> {
    /// The next maximal interval of bytes covered by regions of the wanted kind.
    fn next_covered(&mut self) -> Option<(u64, u64)> {
        let wanted = || {
            let of_kind = self.regions.iter().filter(|region| region.kind == self.kind);
            of_kind.filter_map(|region| Some((region.start, region.plain_end()?)))
        };
        // Intervals are maximal, so whatever ends at or below `next_byte` has been part of an earlier one.
        let start = wanted().filter(|(_, end)| *end > self.next_byte).map(|(start, _)| start).min()?;
        let mut end = start;
        while let Some(further) = wanted().filter(|(from, to)| *from <= end && *to > end).map(|(_, to)| to).max() {
            end = further;
        }
        self.next_byte = end;
        Some((start, end))
    }

    /// Where the regions of other kinds that touch frame `number` end, if any does.
    fn blocked_until(&self, number: u64) -> Option<u64> {
        let touching = self.other_kinds().filter(|(from, to)| *from <= number && number < *to);
        touching.map(|(_, to)| to).max()
    }

    /// The frames touched by regions of other kinds.
    fn other_kinds(&self) -> impl Iterator<Item = (u64, u64)> {
        self.regions.iter().filter(|region| region.kind != self.kind).flat_map(Region::touched)
    }
}

impl Iterator for Ranges<'_> {
    type Item = FrameRange;

    fn next(&mut self) -> Option<FrameRange> {
        loop {
            if self.frames.is_empty() {
                let (start, end) = self.next_covered()?;
                self.frames = start.div_ceil(PAGE).max(1)..(end / PAGE).min(NR_FRAMES);
                continue;
            }
            if let Some(until) = self.blocked_until(self.frames.start) {
                self.frames.start = until;
                continue;
            }
            let start = self.frames.start;
            let next_block = self.other_kinds().map(|(from, _)| from).filter(|from| *from > start).min();
            let end = self.frames.end.min(next_block.unwrap_or(u64::MAX));
            self.frames.start = end;
            return FrameRange::new(Frame::new(start as u32), (end - start) as u32);
        }
    }
}

/// What [`carve`] is to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CarveRequest {
    /// How many adjacent frames.
    pub nr_pages: usize,
    /// The first frame's number is a multiple of this power of two.
    pub align_pages: usize,
    /// All of it lies below this physical address.
    pub below: Option<u64>,
}

/// Finds room for what must exist before the frame allocator does: its own bitmap, the frame table.
///
/// Takes the highest fitting frames of the whole map: memory below 4 GiB stays for those who need it, and since single
/// frames are taken from the top too, what stays for ever lies at the edge of the long runs and not inside them.
///
/// Nothing is marked: the caller adds the result to the map as a [`RegionKind::Reserved`] region, or claims it once the
/// allocator stands. To carve twice, add the first result to the map before. `None` if nothing fits, or if the request
/// has no meaning (no pages, an alignment that is not a power of two).
pub fn carve(regions: &[Region], request: CarveRequest) -> Option<FrameRange> {
    let nr_pages = u32::try_from(request.nr_pages).ok()?;
    let align = request.align_pages as u64;
    if nr_pages == 0 || !align.is_power_of_two() {
        return None;
    }
    let below = request.below.map_or(NR_FRAMES, |limit| limit / PAGE);
    let fitting = usable_ranges(regions).filter_map(|range| {
        let start = range.end_number().min(below).checked_sub(nr_pages as u64)? & !(align - 1);
        (start >= range.start().number() as u64).then_some(start)
    });
    FrameRange::new(Frame::new(fitting.last()? as u32), nr_pages)
}

#[cfg(test)]
mod tests {
    use super::RegionKind::{BootloaderReclaimable, Reserved, Usable};
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    fn region(start: u64, end: u64, kind: RegionKind) -> Region {
        Region { start, end, kind }
    }

    fn numbers(regions: &[Region]) -> Vec<(u64, u64)> {
        usable_ranges(regions).map(|range| (range.start().number() as u64, range.end_number())).collect()
    }

    #[test]
    fn edges_are_rounded_inwards_for_usable_and_outwards_for_the_rest() {
        assert_eq!(numbers(&[region(0x1001, 0x5fff, Usable)]), [(2, 5)]);
        assert_eq!(numbers(&[region(0x1000, 0x9000, Usable), region(0x3fff, 0x4001, Reserved)]), [(1, 3), (5, 9)]);
        assert_eq!(numbers(&[region(0x1001, 0x1fff, Usable)]), []);
    }

    #[test]
    fn usable_regions_that_meet_inside_a_frame_join() {
        let halves = [region(0x2800, 0x4000, Usable), region(0x1000, 0x2800, Usable)];
        assert_eq!(numbers(&halves), [(1, 4)]);
        let gap_of_a_byte = [region(0x2801, 0x4000, Usable), region(0x1000, 0x2800, Usable)];
        assert_eq!(numbers(&gap_of_a_byte), [(1, 2), (3, 4)]);
    }

    #[test]
    fn overlaps_are_reserved_whatever_the_order() {
        let mut map =
            [region(0x1000, 0x8000, Usable), region(0x2000, 0x3000, Reserved), region(0x2000, 0x4000, Usable)];
        for _ in 0..3 {
            map.rotate_left(1);
            assert_eq!(numbers(&map), [(1, 2), (3, 8)]);
        }
    }

    #[test]
    fn frame_zero_and_what_no_frame_number_reaches_are_left_out() {
        assert_eq!(numbers(&[region(0, 0x3000, Usable)]), [(1, 3)]);
        let top = 1 << 44;
        assert_eq!(numbers(&[region(top - 0x1000, top + 0x5000, Usable)]), [(u32::MAX as u64, 1 << 32)]);
        assert_eq!(numbers(&[region(top, u64::MAX, Usable)]), []);
        assert_eq!(numbers(&[region(0, u64::MAX, Usable)]), [(1, 1 << 32)]);
    }

    #[test]
    fn empty_entries_mean_nothing_and_wrapping_ones_are_never_usable() {
        let base = region(0x1000, 0x9000, Usable);
        assert_eq!(numbers(&[base, region(0x4000, 0x4000, Reserved), region(0x4800, 0x4800, Reserved)]), [(1, 9)]);
        assert_eq!(numbers(&[region(0x9000, 0x1000, Usable)]), []);
        assert_eq!(numbers(&[base, region(0x6000, 0x2000, Reserved)]), [(2, 6)]);
        assert_eq!(numbers(&[base, Region::with_len(0x6000, u64::MAX - 0x5fff, Reserved)]), [(1, 6)]);
        assert_eq!(numbers(&[]), []);
    }

    #[test]
    fn no_frame_comes_up_under_two_kinds() {
        let map = [region(0x1000, 0x2800, Usable), region(0x2800, 0x5000, BootloaderReclaimable)];
        assert_eq!(numbers(&map), [(1, 2)]);
        let reclaimable: Vec<_> = ranges_of_kind(&map, BootloaderReclaimable).collect();
        assert_eq!(reclaimable, [FrameRange::new(Frame::new(3), 2).unwrap()]);
    }

    #[test]
    fn carving_takes_the_highest_frames_that_fit() {
        let map = [region(0x100_0000, 0x200_0000, Usable), region(0x1000, 0x9000, Usable)];
        let carved = |nr_pages, align_pages, below| {
            carve(&map, CarveRequest { nr_pages, align_pages, below })
                .map(|range| (range.start().number(), range.nr_pages()))
        };
        assert_eq!(carved(3, 1, None), Some((0x1ffd, 3)));
        assert_eq!(carved(3, 16, None), Some((0x1ff0, 3)));
        assert_eq!(carved(3, 4, Some(0x10_0000)), Some((4, 3)));
        assert_eq!(carved(8, 1, Some(0x9000)), Some((1, 8)));
        assert_eq!(carved(8, 1, Some(0x8fff)), None);
        assert_eq!(carved(0x1000, 1, None), Some((0x1000, 0x1000)));
        assert_eq!(carved(0x1001, 1, None), None);
        for (nr_pages, align_pages, below) in
            [(0, 1, None), (1, 0, None), (1, 3, None), (usize::MAX, 1, None), (1, 1, Some(0))]
        {
            assert_eq!(carved(nr_pages, align_pages, below), None);
        }
    }

    /// Whether a frame is usable, byte by byte in effect: its bytes cut at every edge of the map.
    fn naive_is_usable(regions: &[Region], number: u64) -> bool {
        let (first, last) = (number * PAGE, number * PAGE + PAGE - 1);
        let covers = |region: &Region, byte: u64| match region.start.cmp(&region.end) {
            core::cmp::Ordering::Less => region.start <= byte && byte < region.end,
            core::cmp::Ordering::Equal => false,
            core::cmp::Ordering::Greater => region.kind != Usable && (byte >= region.start || byte < region.end),
        };
        let edges = regions.iter().flat_map(|region| [region.start, region.end, region.start.wrapping_sub(1)]);
        let mut probes = edges.chain([first, last]).filter(|byte| (first..=last).contains(byte));
        number != 0
            && probes.all(|byte| {
                regions.iter().any(|region| region.kind == Usable && covers(region, byte))
                    && !regions.iter().any(|region| region.kind != Usable && covers(region, byte))
            })
    }

    /// Addresses with a taste for page edges, and now and then for the ends of the address space.
    fn any_address() -> impl Strategy<Value = u64> {
        let near_page =
            (0u64..40, 0u64..6).prop_map(|(page, nudge)| page * PAGE + [0, 0, 0, 1, 0x800, 0xfff][nudge as usize]);
        prop_oneof![20 => near_page, 1 => any::<u64>(), 1 => (0u64..9).prop_map(|below| u64::MAX - below)]
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 2000,
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        #[cfg_attr(miri, ignore)]
        fn hostile_maps_are_read_as_byte_by_byte(
            entries in prop::collection::vec((any_address(), any_address(), 0u8..8), 0..12),
        ) {
            let regions: Vec<Region> = entries
                .into_iter()
                .map(|(one, other, choice)| {
                    // One entry in eight may wrap.
                    let (start, end) = if choice == 7 { (one, other) } else { (one.min(other), one.max(other)) };
                    region(start, end, if choice < 5 { Usable } else { Reserved })
                })
                .collect();
            let ranges = numbers(&regions);
            for pair in ranges.windows(2) {
                prop_assert!(pair[0].1 < pair[1].0, "ascending and merged: {:x?}", ranges);
            }
            for number in 0..45 {
                let is_usable = ranges.iter().any(|(start, end)| (*start..*end).contains(&number));
                prop_assert_eq!(is_usable, naive_is_usable(&regions, number), "frame {} of {:x?}", number, regions);
            }
        }
    }
}
