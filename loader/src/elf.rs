//! The kernel's ELF file: what it wants loaded where, checked before a byte of it is used.
//!
//! Holding an [`Elf`] tells you: an x86-64 executable; every segment's content lies inside the file; segments do not
//! overlap, and two that share a page share its permissions; all of them lie in the top 2 GiB once the slide is added.
//!
//! Called by: the binary's `kernel`. Calls: `relocate` for position-independent kernels.

use core::fmt;

use crate::memory::PAGE;
use crate::protocol::KERNEL_SPACE;
use crate::relocate::{self, RelocationError};

/// Loadable segments a kernel may have.
const MAX_SEGMENTS: usize = 32;
/// Alignments beyond 1 GiB are taken for nonsense.
const MAX_ALIGN: u64 = 1 << 30;

/// Permission bits of a segment, as in `p_flags`.
pub const EXECUTE: u32 = 1;
/// Writable segment.
pub const WRITE: u32 = 2;

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;

/// Why a kernel was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ElfError {
    /// No ELF magic.
    NotElf,
    /// ELF, but not 64-bit little-endian x86-64.
    NotX86_64,
    /// Neither `ET_EXEC` nor `ET_DYN`.
    NotExecutable {
        /// The type it has.
        kind: u16,
    },
    /// A header or segment reaches beyond the file, or its numbers contradict each other.
    Malformed {
        /// What is wrong.
        what: &'static str,
    },
    /// A segment below the top 2 GiB, and no relocations to move it.
    NotHigherHalf {
        /// Its address.
        vaddr: u64,
    },
    /// Two segments overlap, or share a page with different permissions.
    Overlap {
        /// Address of one.
        first: u64,
        /// Address of the other.
        second: u64,
    },
    /// More than 32 loadable segments.
    TooManySegments,
    /// Nothing to load.
    NoSegments,
    /// Relocations failed.
    Relocation(RelocationError),
}

impl fmt::Display for ElfError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NotElf => write!(f, "the first file of the archive is not an ELF file"),
            Self::NotX86_64 => write!(f, "kernel: not a 64-bit x86-64 ELF file"),
            Self::NotExecutable { kind } => write!(f, "kernel: ELF type {kind} is not an executable (2 or 3)"),
            Self::Malformed { what } => write!(f, "kernel: malformed ELF file: {what}"),
            Self::NotHigherHalf { vaddr } => {
                write!(f, "kernel: segment at {vaddr:#x} is not in the higher half (at or above {KERNEL_SPACE:#x})")
            }
            Self::Overlap { first, second } => {
                write!(
                    f,
                    "kernel: segments at {first:#x} and {second:#x} overlap or share a page with other permissions"
                )
            }
            Self::TooManySegments => write!(f, "kernel: more than {MAX_SEGMENTS} loadable segments"),
            Self::NoSegments => write!(f, "kernel: no loadable segment"),
            Self::Relocation(error) => write!(f, "kernel: {error}"),
        }
    }
}

impl From<RelocationError> for ElfError {
    fn from(error: RelocationError) -> Self {
        Self::Relocation(error)
    }
}

/// A loadable segment, at its address before the slide.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Segment {
    /// First byte.
    pub vaddr: u64,
    /// Bytes in memory; at least `file_size`.
    pub memory_size: u64,
    /// [`EXECUTE`] and [`WRITE`].
    pub flags: u32,
    offset: usize,
    file_size: usize,
}

impl Segment {
    fn end(&self) -> u64 {
        self.vaddr + self.memory_size
    }

    fn overlaps(&self, other: &Self) -> bool {
        let page = |address: u64| address & !(PAGE - 1);
        let share_bytes = self.vaddr < other.end() && other.vaddr < self.end();
        let share_page = page(self.vaddr) <= page(other.end() - 1) && page(other.vaddr) <= page(self.end() - 1);
        share_bytes || (share_page && self.flags != other.flags)
    }
}

/// A kernel file that can be loaded.
#[derive(Clone, Debug)]
pub struct Elf<'a> {
    file: &'a [u8],
    segments: [Segment; MAX_SEGMENTS],
    nr_segments: usize,
    /// Address of the dynamic section, of a position-independent kernel only.
    dynamic: Option<u64>,
    /// Entry point, slide added.
    pub entry: u64,
    /// What is added to every address in the file: 0, or the top 2 GiB for kernels linked at 0.
    pub slide: u64,
    /// Page-aligned address of the image, before the slide.
    base: u64,
    /// Bytes of the image, whole pages.
    pub image_size: u64,
    /// Alignment that the image wants, at least a page.
    pub align: u64,
}

impl<'a> Elf<'a> {
    /// Checks `file`.
    ///
    /// # Errors
    /// Any [`ElfError`] but `Relocation`.
    pub fn parse(file: &'a [u8]) -> Result<Self, ElfError> {
        if file.get(..4) != Some(b"\x7fELF") {
            return Err(ElfError::NotElf);
        }
        if file.len() < 64 || file[4] != 2 || file[5] != 1 || half(file, 18) != Some(62) {
            return Err(ElfError::NotX86_64);
        }
        let kind = half(file, 16).unwrap_or(0);
        if kind != 2 && kind != 3 {
            return Err(ElfError::NotExecutable { kind });
        }
        let mut elf = Self {
            file,
            segments: [Segment::default(); MAX_SEGMENTS],
            nr_segments: 0,
            dynamic: None,
            entry: quad(file, 24).unwrap_or(0),
            slide: 0,
            base: 0,
            image_size: 0,
            align: PAGE,
        };
        elf.read_program_headers(kind == 3)?;
        elf.place()?;
        Ok(elf)
    }

    fn read_program_headers(&mut self, may_move: bool) -> Result<(), ElfError> {
        let cut_off = ElfError::Malformed { what: "program headers outside of the file" };
        let table = quad(self.file, 32).and_then(|offset| usize::try_from(offset).ok()).ok_or(cut_off)?;
        let (size, count) =
            (usize::from(half(self.file, 54).unwrap_or(0)), usize::from(half(self.file, 56).unwrap_or(0)));
        if size < 56 {
            return Err(ElfError::Malformed { what: "program headers shorter than 56 bytes" });
        }
        for index in 0..count {
            let at = table.checked_add(index * size).ok_or(cut_off)?;
            let header = at.checked_add(56).and_then(|end| self.file.get(at..end)).ok_or(cut_off)?;
            // All offsets below lie inside the 56 bytes.
            let field = |offset| quad(header, offset).unwrap_or(0);
            match word(header, 0).unwrap_or(0) {
                PT_LOAD if field(40) != 0 => self.add_segment(header)?,
                PT_DYNAMIC if may_move => self.dynamic = Some(field(16)),
                _ => {}
            }
        }
        if may_move && self.dynamic.is_none() {
            return Err(ElfError::Malformed { what: "position-independent, but without a dynamic segment" });
        }
        if self.nr_segments == 0 { Err(ElfError::NoSegments) } else { Ok(()) }
    }

    fn add_segment(&mut self, header: &[u8]) -> Result<(), ElfError> {
        let field = |offset| quad(header, offset).unwrap_or(0);
        let (vaddr, memory_size, align) = (field(16), field(40), field(48));
        let outside = ElfError::Malformed { what: "segment outside of the file" };
        let offset = usize::try_from(field(8)).map_err(|_| outside)?;
        let file_size = usize::try_from(field(32)).map_err(|_| outside)?;
        if offset.checked_add(file_size).is_none_or(|end| end > self.file.len()) {
            return Err(outside);
        }
        if field(32) > memory_size {
            return Err(ElfError::Malformed { what: "segment larger in the file than in memory" });
        }
        // One page of room at the top keeps every later sum of addresses from wrapping.
        if vaddr.checked_add(memory_size).is_none_or(|end| end > u64::MAX - PAGE) {
            return Err(ElfError::Malformed { what: "segment beyond the address space" });
        }
        if align > MAX_ALIGN || (align > 1 && !align.is_power_of_two()) {
            return Err(ElfError::Malformed { what: "segment alignment is no power of two up to 1 GiB" });
        }
        let segment = Segment { vaddr, memory_size, flags: word(header, 4).unwrap_or(0) & 7, offset, file_size };
        if let Some(other) = self.segments().iter().find(|other| other.overlaps(&segment)) {
            return Err(ElfError::Overlap { first: other.vaddr, second: vaddr });
        }
        *self.segments.get_mut(self.nr_segments).ok_or(ElfError::TooManySegments)? = segment;
        self.nr_segments += 1;
        self.align = self.align.max(align);
        Ok(())
    }

    /// Decides the slide and the extent of the image.
    fn place(&mut self) -> Result<(), ElfError> {
        let lowest = self.segments().iter().map(|segment| segment.vaddr).min().unwrap_or(0);
        let highest = self.segments().iter().map(Segment::end).max().unwrap_or(0);
        self.base = lowest & !(PAGE - 1);
        self.image_size = highest.next_multiple_of(PAGE) - self.base;
        if lowest < KERNEL_SPACE {
            if self.dynamic.is_none() {
                return Err(ElfError::NotHigherHalf { vaddr: lowest });
            }
            // Keep the distance to the alignment that the linker laid the image out for.
            self.slide = KERNEL_SPACE - (self.base & !(self.align - 1));
        }
        let end = (self.base + self.slide).checked_add(self.image_size);
        if end.is_none_or(|end| end > u64::MAX - PAGE) {
            return Err(ElfError::Malformed { what: "image larger than the 2 GiB above it" });
        }
        self.entry = self.entry.wrapping_add(self.slide);
        Ok(())
    }

    /// The segments, at their addresses before the slide.
    pub fn segments(&self) -> &[Segment] {
        &self.segments[..self.nr_segments]
    }

    /// Address of the image, slide added; page-aligned.
    pub fn virtual_base(&self) -> u64 {
        self.base + self.slide
    }

    /// Offset in the image of an address, slide included, if it lies inside.
    pub fn offset_of(&self, address: u64) -> Option<usize> {
        let offset = address.checked_sub(self.virtual_base()).filter(|&offset| offset < self.image_size)?;
        usize::try_from(offset).ok()
    }

    /// True if `address`, slide included, lies in an executable segment.
    pub fn is_code(&self, address: u64) -> bool {
        let address = address.wrapping_sub(self.slide);
        self.segments().iter().any(|s| s.flags & EXECUTE != 0 && s.vaddr <= address && address < s.end())
    }

    /// Permissions of the page at `offset` in the image; `None` for a gap between segments.
    pub fn page_flags(&self, offset: u64) -> Option<u32> {
        let page = self.base + offset;
        self.segments().iter().find(|s| s.vaddr < page + PAGE && page < s.end()).map(|s| s.flags)
    }

    /// Bytes from the start of the image to the end of what comes from the file: no request can lie beyond.
    pub fn content_size(&self) -> usize {
        let end = |s: &Segment| s.vaddr - self.base + s.file_size as u64;
        self.segments().iter().map(end).max().and_then(|end| usize::try_from(end).ok()).unwrap_or(0)
    }

    /// Copies the segments into `image`, zeroes the rest of it, and relocates.
    ///
    /// `image` is [`Elf::image_size`] bytes long.
    ///
    /// # Errors
    /// `Relocation`; `Malformed` if `image` has another size.
    pub fn load(&self, image: &mut [u8]) -> Result<(), ElfError> {
        if u64::try_from(image.len()) != Ok(self.image_size) {
            return Err(ElfError::Malformed { what: "image buffer of another size" });
        }
        image.fill(0);
        for segment in self.segments() {
            // In range: `place` put every segment inside `image_size`, `add_segment` every content inside the file.
            let start = (segment.vaddr - self.base) as usize;
            let content = &self.file[segment.offset..segment.offset + segment.file_size];
            image[start..start + segment.file_size].copy_from_slice(content);
        }
        if let Some(dynamic) = self.dynamic {
            relocate::apply(image, self.base, self.slide, dynamic)?;
        }
        Ok(())
    }

    /// Address and size of a section by its name, slide not added. Only deprecated revision 0 needs sections.
    pub fn section(&self, name: &[u8]) -> Option<(u64, u64)> {
        let table = usize::try_from(quad(self.file, 40)?).ok().filter(|&table| table != 0)?;
        let size = usize::from(half(self.file, 58)?);
        let header = |index: u16| {
            let at = table.checked_add(usize::from(index) * size)?;
            self.file.get(at..at.checked_add(64)?)
        };
        let names = usize::try_from(quad(header(half(self.file, 62)?)?, 24)?).ok()?;
        (0..half(self.file, 60)?).find_map(|index| {
            let header = header(index)?;
            let at = names.checked_add(word(header, 0)? as usize)?;
            let found = self.file.get(at..at.checked_add(name.len() + 1)?)?;
            (found.split_last() == Some((&0, name))).then_some((quad(header, 16)?, quad(header, 32)?))
        })
    }
}

fn half(bytes: &[u8], offset: usize) -> Option<u16> {
    bytes.get(offset..offset + 2)?.try_into().ok().map(u16::from_le_bytes)
}

fn word(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes.get(offset..offset + 4)?.try_into().ok().map(u32::from_le_bytes)
}

fn quad(bytes: &[u8], offset: usize) -> Option<u64> {
    bytes.get(offset..offset + 8)?.try_into().ok().map(u64::from_le_bytes)
}

#[cfg(test)]
#[path = "elf_tests.rs"]
mod tests;
