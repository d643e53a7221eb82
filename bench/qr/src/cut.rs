//! A packed run, cut into parts that fit codes of a given size: as few as that allows, and all alike.
//!
//! The size of the codes. A code is readable if the camera sees each module on several of its pixels and the reader
//! finds each module's place, so what counts is how many modules stand side by side, not how many pixels the screen has.
//! Version 20 (97 modules, 1249 characters) is the largest that we show. Larger ones gain less than they cost: version 25
//! would hold half as much again, but readers that know of three corners and one inner mark only, as rqrr and many
//! telephones' do, begin to miss modules in turned, tilted and blurred pictures of more than some hundred modules.
//! On a smaller display it is the largest with [`MIN_MODULE_PIXELS`] for a module.
//! Error correction is level L (7 %): a screen is neither torn nor dirty, and a part that could not be read is shown
//! again at no cost; what is free in the last code is given to it.
//!
//! Invariant: the parts of a cut, joined, are the run; none but the last is shorter than the others.

use crate::crc32;
use crate::part::{MAX_PARTS, Part, PartId};
use crate::symbols;

/// Light modules around a code (ISO/IEC 18004, section 6.3.8).
pub const QUIET_MODULES: usize = 4;
/// A module of a code on a screen has at least so many pixels in each direction.
pub const MIN_MODULE_PIXELS: usize = 4;
/// The largest version that is shown.
pub const MAX_VERSION: u8 = 20;
/// The smallest version: a smaller one has room for little more than the head of a part.
pub const MIN_VERSION: u8 = 3;

/// Characters of the alphanumeric set that a code of error correction level L holds, by version from 1
/// (ISO/IEC 18004, table 7).
const CAPACITIES: [u16; MAX_VERSION as usize] =
    [25, 47, 77, 114, 154, 195, 224, 279, 335, 395, 468, 535, 619, 667, 758, 854, 938, 1046, 1153, 1249];

/// The version of a code, which says how many modules and characters it has: from [`MIN_VERSION`] to [`MAX_VERSION`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(u8);

impl Version {
    /// The largest.
    pub const MAX: Self = Self(MAX_VERSION);

    /// The largest version whose modules, with the quiet zone, are at most so many side by side; `None` if that is too
    /// few for any.
    pub fn within_modules(nr_modules: usize) -> Option<Self> {
        (MIN_VERSION..=MAX_VERSION).rev().map(Self).find(|version| version.nr_modules_quiet() <= nr_modules)
    }

    /// The largest version for a screen, or a part of one, with so many pixels; `None` if that is too few for any.
    pub fn for_screen(width: usize, height: usize) -> Option<Self> {
        Self::within_modules(width.min(height) / MIN_MODULE_PIXELS)
    }

    /// The smallest version that holds so many characters.
    fn holding(nr_chars: usize) -> Option<Self> {
        (MIN_VERSION..=MAX_VERSION).map(Self).find(|version| version.nr_chars() >= nr_chars)
    }

    /// Its number.
    pub const fn number(self) -> u8 {
        self.0
    }

    /// Modules side by side.
    pub const fn nr_modules(self) -> usize {
        self.0 as usize * 4 + 17
    }

    /// The same with the quiet zone on both sides.
    pub const fn nr_modules_quiet(self) -> usize {
        self.nr_modules() + 2 * QUIET_MODULES
    }

    /// Characters that it holds.
    pub const fn nr_chars(self) -> usize {
        CAPACITIES[self.0 as usize - 1] as usize
    }

    /// Bytes of a run that a part of so many characters holds.
    const fn nr_bytes(self) -> usize {
        symbols::nr_bytes(self.nr_chars() - Part::max_chars(0))
    }
}

/// A run, cut.
#[derive(Clone, Copy, Debug)]
pub struct Cut<'a> {
    packed: &'a [u8],
    run: u32,
    nr_parts: u16,
    bytes_each: usize,
    version: Version,
}

impl<'a> Cut<'a> {
    /// Cuts `packed` for codes of `most` at most; `None` if that were more than [`MAX_PARTS`], or none.
    pub fn new(packed: &'a [u8], most: Version) -> Option<Self> {
        let nr_parts = u16::try_from(packed.len().div_ceil(most.nr_bytes())).ok()?;
        if !(1..=MAX_PARTS).contains(&nr_parts) {
            return None;
        }
        // Even parts: each as small, and its modules as large, as so many of them allow.
        let bytes_each = packed.len().div_ceil(usize::from(nr_parts));
        let version = Version::holding(Part::max_chars(bytes_each))?;
        Some(Self { packed, run: crc32::of(packed), nr_parts, bytes_each, version })
    }

    /// The run's name: the CRC-32 of all its bytes.
    pub fn run(&self) -> u32 {
        self.run
    }

    /// How many parts there are.
    pub fn nr_parts(&self) -> u16 {
        self.nr_parts
    }

    /// The version that every part fits.
    pub fn version(&self) -> Version {
        self.version
    }

    /// A part, counted from 1; `None` if there is none of that number.
    pub fn part(&self, number: u16) -> Option<Part<'a>> {
        if !(1..=self.nr_parts).contains(&number) {
            return None;
        }
        let start = (usize::from(number - 1) * self.bytes_each).min(self.packed.len());
        let end = (start + self.bytes_each).min(self.packed.len());
        let id = PartId { run: self.run, number, nr_parts: self.nr_parts };
        Some(Part { id, bytes: &self.packed[start..end] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::string::ToString;
    use std::vec::Vec;

    #[test]
    fn usual_screens_get_the_largest_version() {
        for (width, height) in [(1024, 768), (800, 600), (1280, 720), (1920, 1080), (3840, 2160)] {
            assert_eq!(Version::for_screen(width, height), Some(Version::MAX), "{width}x{height}");
        }
        assert_eq!(Version::for_screen(640, 480).map(Version::number), Some(20));
        assert_eq!(Version::for_screen(400, 300).map(Version::number), Some(12));
        assert_eq!(Version::for_screen(320, 200).map(Version::number), Some(6));
        assert_eq!(Version::for_screen(100, 100), None);
        // A terminal of 80 columns.
        assert_eq!(Version::within_modules(80).map(|version| version.nr_modules_quiet()), Some(77));
    }

    #[test]
    fn what_cannot_be_cut_is_refused() {
        let smallest = Version::within_modules(37).expect("version 3");
        assert_eq!(smallest.number(), MIN_VERSION);
        assert!(Cut::new(&[], Version::MAX).is_none());
        assert!(Cut::new(&[0; 1000 * 70], smallest).is_none());
        let cut = Cut::new(&[0; 10], smallest).expect("it is short");
        assert!(cut.part(0).is_none() && cut.part(cut.nr_parts() + 1).is_none());
    }

    proptest! {
        #[test]
        fn parts_make_the_run_and_fit(len in 1_usize..40_000, modules in 37_usize..140) {
            let packed: Vec<u8> = (0..len).map(|at| (at * 7 + at / 251) as u8).collect();
            let version = Version::within_modules(modules).expect("a version");
            let Some(cut) = Cut::new(&packed, version) else {
                prop_assert!(len > usize::from(MAX_PARTS) * version.nr_bytes());
                return Ok(());
            };
            prop_assert!(cut.version() <= version);
            let parts: Vec<Part<'_>> = (1..=cut.nr_parts()).map(|number| cut.part(number).expect("a part")).collect();
            prop_assert!(parts.iter().all(|part| part.to_string().len() <= cut.version().nr_chars()));
            prop_assert!(parts.iter().flat_map(|part| part.bytes).eq(&packed));
            // One part less would not do.
            prop_assert!(usize::from(cut.nr_parts() - 1) * version.nr_bytes() < len);
        }
    }
}
