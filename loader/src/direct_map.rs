//! What the higher-half direct map covers, which depends on the base revision.
//!
//! | revision | first 4 GiB | above | identity mapping |
//! |---|---|---|---|
//! | 0 | all | every region | the same, without page 0 |
//! | 1, 2 | all | all but reserved and bad | no |
//! | 3 | only usable, reclaimable, executable and modules | the same | no |
//!
//! Called by: the binary's `address_space`.

use crate::memory::{Kind, Range, Region};

const FOUR_GIB: u64 = 1 << 32;

/// The ranges that the direct map covers, sorted, apart from each other, as large as can be.
pub fn coverage(regions: &[Region], revision: u64) -> impl Iterator<Item = Range> + '_ {
    let mut rest = regions.iter().filter(move |region| is_covered(region.kind, revision)).map(|region| region.range);
    let mut pending = (revision < 3).then_some(Range { base: 0, end: FOUR_GIB });
    core::iter::from_fn(move || {
        loop {
            match (pending, rest.next()) {
                (Some(whole), Some(next)) if next.base <= whole.end => {
                    pending = Some(Range { base: whole.base, end: whole.end.max(next.end) });
                }
                (Some(whole), next) => {
                    pending = next;
                    return Some(whole);
                }
                (None, Some(next)) => pending = Some(next),
                (None, None) => return None,
            }
        }
    })
}

fn is_covered(kind: Kind, revision: u64) -> bool {
    match revision {
        0 => true,
        1 | 2 => !matches!(kind, Kind::Reserved | Kind::Bad),
        _ => matches!(kind, Kind::Usable | Kind::Reclaimable | Kind::ExecutableAndModules),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn each_revision_covers_what_it_promises() {
        let region = |base, end, kind| Region { range: Range { base: base * GIB, end: end * GIB }, kind };
        let regions = [
            region(0, 1, Kind::Usable),
            region(1, 2, Kind::Reclaimable),
            region(2, 3, Kind::AcpiNvs),
            region(3, 4, Kind::ExecutableAndModules),
            region(4, 5, Kind::Usable),
            region(5, 6, Kind::AcpiReclaimable),
            region(7, 8, Kind::Reserved),
            region(8, 9, Kind::Bad),
        ];
        let covered = |revision| {
            coverage(&regions, revision).map(|range| (range.base / GIB, range.end / GIB)).collect::<Vec<_>>()
        };
        assert_eq!(covered(0), [(0, 6), (7, 9)]);
        assert_eq!(covered(1), [(0, 6)]);
        assert_eq!(covered(2), [(0, 6)]);
        assert_eq!(covered(3), [(0, 2), (3, 5)]);
        assert_eq!(coverage(&[], 2).collect::<Vec<_>>(), [Range { base: 0, end: 4 * GIB }]);
        assert_eq!(coverage(&[], 3).count(), 0);
    }
}
