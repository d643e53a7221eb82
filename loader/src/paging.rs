//! Four-level page tables, written with the largest page that fits.
//!
//! Generic over where tables live ([`Frames`]), so that the tests walk tables made of a vector.
//! After the Intel SDM, volume 3A, section 4.5.
//!
//! Called by: the binary's `address_space`.

use core::fmt;

use crate::memory::{MemoryError, PAGE};

/// Present, and writable below: what entries that point to a table carry.
const TABLE: u64 = 0b11;
const PRESENT: u64 = 1;
const WRITABLE: u64 = 1 << 1;
const LARGE: u64 = 1 << 7;
const NO_EXECUTE: u64 = 1 << 63;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// What a mapping allows besides reading.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Access {
    /// Writing.
    pub write: bool,
    /// Executing.
    pub execute: bool,
}

impl Access {
    fn bits(self) -> u64 {
        PRESENT | if self.write { WRITABLE } else { 0 } | if self.execute { 0 } else { NO_EXECUTE }
    }
}

/// Why a mapping was not made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MapError {
    /// No memory for a table.
    Memory(MemoryError),
    /// Something is mapped there already.
    Occupied {
        /// The virtual address.
        address: u64,
    },
}

impl fmt::Display for MapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Memory(error) => write!(f, "{error}"),
            Self::Occupied { address } => write!(f, "page at {address:#x} would be mapped twice"),
        }
    }
}

impl From<MemoryError> for MapError {
    fn from(error: MemoryError) -> Self {
        Self::Memory(error)
    }
}

/// Where page tables live.
pub trait Frames {
    /// A zeroed frame, by its physical address.
    ///
    /// # Errors
    /// What the allocator says.
    fn frame(&mut self) -> Result<u64, MemoryError>;

    /// Entry `index` (below 512) of the table in the frame at `table`, which came from `frame`.
    fn entry(&mut self, table: u64, index: usize) -> &mut u64;
}

/// A tree of page tables.
pub struct Tables<F> {
    /// Where the tables live.
    pub frames: F,
    root: u64,
    has_gib_pages: bool,
}

impl<F: Frames> Tables<F> {
    /// An empty tree. `has_gib_pages`: the CPU knows 1 GiB pages.
    ///
    /// # Errors
    /// No memory for the root.
    pub fn new(mut frames: F, has_gib_pages: bool) -> Result<Self, MemoryError> {
        let root = frames.frame()?;
        Ok(Self { frames, root, has_gib_pages })
    }

    /// Physical address of the root, for CR3.
    pub fn root(&self) -> u64 {
        self.root
    }

    /// Maps `len` bytes at `virt` to `phys`; all three are multiples of the page size.
    ///
    /// # Errors
    /// `Occupied` if any of it is mapped already; no memory for a table.
    pub fn map(&mut self, virt: u64, phys: u64, len: u64, access: Access) -> Result<(), MapError> {
        let mut done = 0;
        while done < len {
            let (virt, phys) = (virt.wrapping_add(done), phys + done);
            let fits = |size: u64| (virt | phys) & (size - 1) == 0 && len - done >= size;
            let level = if self.has_gib_pages && fits(1 << 30) {
                2
            } else if fits(1 << 21) {
                1
            } else {
                0
            };
            self.set(virt, level, phys | access.bits() | if level > 0 { LARGE } else { 0 })?;
            done += PAGE << (9 * level);
        }
        Ok(())
    }

    fn set(&mut self, virt: u64, leaf_level: u32, entry: u64) -> Result<(), MapError> {
        let occupied = MapError::Occupied { address: virt };
        let index = |level: u32| (virt >> (12 + 9 * level)) as usize & 511;
        let mut table = self.root;
        for level in (leaf_level + 1..4).rev() {
            let next = *self.frames.entry(table, index(level));
            if next & PRESENT == 0 {
                let new = self.frames.frame()?;
                *self.frames.entry(table, index(level)) = new | TABLE;
                table = new;
            } else if next & LARGE != 0 {
                return Err(occupied);
            } else {
                table = next & ADDRESS;
            }
        }
        let slot = self.frames.entry(table, index(leaf_level));
        if *slot & PRESENT != 0 {
            return Err(occupied);
        }
        *slot = entry;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames made of a vector; physical address = (index + 1) * 4096.
    struct Arena {
        tables: Vec<[u64; 512]>,
        limit: usize,
    }

    impl Frames for Arena {
        fn frame(&mut self) -> Result<u64, MemoryError> {
            if self.tables.len() == self.limit {
                return Err(MemoryError::TooFragmented);
            }
            self.tables.push([0; 512]);
            Ok(self.tables.len() as u64 * PAGE)
        }

        fn entry(&mut self, table: u64, index: usize) -> &mut u64 {
            &mut self.tables[(table / PAGE) as usize - 1][index]
        }
    }

    fn tables(has_gib_pages: bool) -> Tables<Arena> {
        Tables::new(Arena { tables: vec![], limit: 64 }, has_gib_pages).expect("a root")
    }

    /// Physical address, page size and access of a virtual address.
    fn walk(tables: &mut Tables<Arena>, virt: u64) -> Option<(u64, u64, Access)> {
        let mut table = tables.root();
        for level in (0..4).rev() {
            let entry = *tables.frames.entry(table, (virt >> (12 + 9 * level)) as usize & 511);
            if entry & PRESENT == 0 {
                return None;
            }
            if level == 0 || entry & LARGE != 0 {
                let size = PAGE << (9 * level);
                let access = Access { write: entry & WRITABLE != 0, execute: entry & NO_EXECUTE == 0 };
                return Some(((entry & ADDRESS & !(size - 1)) + virt % size, size, access));
            }
            table = entry & ADDRESS;
        }
        None
    }

    const ALL: Access = Access { write: true, execute: true };
    const HIGH: u64 = 0xffff_8000_0000_0000;
    const GIB: u64 = 1 << 30;
    const MIB: u64 = 1 << 20;

    #[test]
    fn largest_page_that_fits_is_used() {
        for (has_gib_pages, large) in [(true, GIB), (false, 2 * MIB)] {
            let mut tables = tables(has_gib_pages);
            tables.map(HIGH + MIB, MIB, 2 * GIB + 3 * PAGE, ALL).expect("room");
            for (address, size) in [
                (MIB, PAGE),
                (2 * MIB, 2 * MIB),
                (GIB - 1, 2 * MIB),
                (GIB, large),
                (2 * GIB - 1, large),
                // From here to the end there is only 1 MiB and a little.
                (2 * GIB, PAGE),
                (2 * GIB + MIB + 3 * PAGE - 1, PAGE),
            ] {
                assert_eq!(walk(&mut tables, HIGH + address), Some((address, size, ALL)), "{address:#x}");
            }
            assert_eq!(walk(&mut tables, HIGH + MIB - 1), None);
            assert_eq!(walk(&mut tables, HIGH + 2 * GIB + MIB + 3 * PAGE), None);
        }
    }

    #[test]
    fn access_is_exact_up_to_the_last_page_of_the_address_space() {
        let mut tables = tables(true);
        let last = u64::MAX - PAGE + 1;
        for (page, write, execute) in [(0, false, true), (1, true, false), (2, false, false)] {
            tables.map(last - page * PAGE, 8 * PAGE + page * PAGE, PAGE, Access { write, execute }).expect("room");
        }
        for (page, write, execute) in [(0, false, true), (1, true, false), (2, false, false)] {
            let expected = (8 * PAGE + page * PAGE, PAGE, Access { write, execute });
            assert_eq!(walk(&mut tables, last - page * PAGE), Some(expected));
        }
    }

    #[test]
    fn mapping_twice_is_refused_whatever_the_page_size() {
        let mut tables = tables(true);
        tables.map(0, 0, 2 * MIB, ALL).expect("room");
        assert_eq!(tables.map(PAGE, PAGE, PAGE, ALL), Err(MapError::Occupied { address: PAGE }));
        assert_eq!(tables.map(0, 0, GIB, ALL), Err(MapError::Occupied { address: 0 }));
    }

    #[test]
    fn running_out_of_frames_is_an_error() {
        let mut tables = Tables::new(Arena { tables: vec![], limit: 3 }, true).expect("a root");
        assert!(tables.map(0, 0, PAGE, ALL).is_err());
    }
}
