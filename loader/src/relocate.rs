//! Relocations of a position-independent kernel: RELA, RELR and PLT tables of its dynamic section.
//!
//! Everything is read from the loaded image, by offsets that are checked one by one. Supported are the kinds that a
//! linker leaves in a static position-independent executable; anything else is refused by number.
//! After the System V ABI, AMD64 supplement 1.0, table 4.9, and the generic ABI's section on RELR.
//!
//! Called by: `elf`.

use core::fmt;

/// Why a kernel could not be relocated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RelocationError {
    /// A table, a symbol or the place to change lies outside of the image.
    Outside {
        /// Address before the slide.
        address: u64,
    },
    /// A relocation type this loader does not know.
    UnknownType {
        /// Its number.
        kind: u32,
    },
    /// A symbol that is defined nowhere.
    UndefinedSymbol {
        /// Its index.
        index: u32,
    },
    /// It wants shared libraries.
    NeedsLibrary,
    /// Tables whose entry sizes are not those of x86-64, or PLT relocations without addends.
    BadTable,
}

impl fmt::Display for RelocationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Outside { address } => write!(f, "relocation or its table at {address:#x} is outside of the image"),
            Self::UnknownType { kind } => write!(f, "relocation type {kind} is not supported"),
            Self::UndefinedSymbol { index } => write!(f, "relocation against undefined symbol {index}"),
            Self::NeedsLibrary => write!(f, "needs a shared library"),
            Self::BadTable => write!(f, "relocation table with unknown entry format"),
        }
    }
}

mod tag {
    pub(super) const NULL: u64 = 0;
    pub(super) const NEEDED: u64 = 1;
    pub(super) const PLTRELSZ: u64 = 2;
    pub(super) const SYMTAB: u64 = 6;
    pub(super) const RELA: u64 = 7;
    pub(super) const RELASZ: u64 = 8;
    pub(super) const RELAENT: u64 = 9;
    pub(super) const SYMENT: u64 = 11;
    pub(super) const PLTREL: u64 = 20;
    pub(super) const JMPREL: u64 = 23;
    pub(super) const RELRSZ: u64 = 35;
    pub(super) const RELR: u64 = 36;
    pub(super) const RELRENT: u64 = 37;
}

/// The image while it is being relocated; addresses are those of the file, before the slide.
struct Target<'a> {
    image: &'a mut [u8],
    base: u64,
    slide: u64,
    symbols: u64,
}

/// Relocates `image`, which was linked for `base`, by `slide`; `dynamic` is the address of its dynamic section.
///
/// # Errors
/// Any [`RelocationError`]; the image is then of no use.
pub fn apply(image: &mut [u8], base: u64, slide: u64, dynamic: u64) -> Result<(), RelocationError> {
    let mut target = Target { image, base, slide, symbols: 0 };
    // What the dynamic section names, by tag; 0 where it names nothing.
    let mut named = [0_u64; 38];
    let mut at = dynamic;
    loop {
        let (tag, value) = (target.quad(at)?, target.quad(at.wrapping_add(8))?);
        match tag {
            tag::NULL => break,
            tag::NEEDED => return Err(RelocationError::NeedsLibrary),
            _ => {
                if let Some(slot) = usize::try_from(tag).ok().and_then(|tag| named.get_mut(tag)) {
                    *slot = value;
                }
            }
        }
        at = at.wrapping_add(16);
    }
    let value = |tag: u64| named[tag as usize];
    let is_one_of = |tag: u64, size: u64| value(tag) == 0 || value(tag) == size;
    if !is_one_of(tag::RELAENT, 24) || !is_one_of(tag::SYMENT, 24) || !is_one_of(tag::RELRENT, 8) {
        return Err(RelocationError::BadTable);
    }
    if value(tag::PLTRELSZ) != 0 && value(tag::PLTREL) != tag::RELA {
        return Err(RelocationError::BadTable);
    }
    target.symbols = value(tag::SYMTAB);
    target.relr(value(tag::RELR), value(tag::RELRSZ))?;
    target.rela(value(tag::RELA), value(tag::RELASZ))?;
    target.rela(value(tag::JMPREL), value(tag::PLTRELSZ))
}

impl Target<'_> {
    /// Relative relocations as addresses, each followed by bit maps of the 63 words after it.
    fn relr(&mut self, table: u64, size: u64) -> Result<(), RelocationError> {
        let mut next = 0_u64;
        for index in 0..size / 8 {
            let entry = self.quad(table.wrapping_add(index * 8))?;
            if entry & 1 == 0 {
                self.slide_word(entry)?;
                next = entry.wrapping_add(8);
            } else {
                for bit in (1..64).filter(|bit| entry >> bit & 1 != 0) {
                    self.slide_word(next.wrapping_add(8 * (bit - 1)))?;
                }
                next = next.wrapping_add(8 * 63);
            }
        }
        Ok(())
    }

    fn slide_word(&mut self, address: u64) -> Result<(), RelocationError> {
        let value = self.quad(address)?;
        self.set_quad(address, value.wrapping_add(self.slide))
    }

    fn rela(&mut self, table: u64, size: u64) -> Result<(), RelocationError> {
        for index in 0..size / 24 {
            let at = table.wrapping_add(index * 24);
            let (place, info) = (self.quad(at)?, self.quad(at.wrapping_add(8))?);
            let addend = self.quad(at.wrapping_add(16))?;
            let (symbol, kind) = ((info >> 32) as u32, info as u32);
            match kind {
                // R_X86_64_NONE
                0 => {}
                // R_X86_64_64
                1 => {
                    let value = self.symbol(symbol)?.wrapping_add(addend);
                    self.set_quad(place, value)?;
                }
                // R_X86_64_GLOB_DAT, R_X86_64_JUMP_SLOT
                6 | 7 => {
                    let value = self.symbol(symbol)?;
                    self.set_quad(place, value)?;
                }
                // R_X86_64_RELATIVE
                8 => self.set_quad(place, addend.wrapping_add(self.slide))?,
                kind => return Err(RelocationError::UnknownType { kind }),
            }
        }
        Ok(())
    }

    /// Value of a symbol, slide added. Weak symbols that nobody defines are 0; absolute ones do not slide.
    fn symbol(&self, index: u32) -> Result<u64, RelocationError> {
        let at = self.symbols.wrapping_add(u64::from(index) * 24);
        let (head, value) = (self.quad(at)?, self.quad(at.wrapping_add(8))?);
        let (binding, section) = (head >> 36 & 15, head >> 48);
        match section {
            0 if binding == 2 => Ok(0),
            0 => Err(RelocationError::UndefinedSymbol { index }),
            0xfff1 => Ok(value),
            _ => Ok(value.wrapping_add(self.slide)),
        }
    }

    fn offset(&self, address: u64) -> Result<usize, RelocationError> {
        let offset = address.checked_sub(self.base).and_then(|offset| usize::try_from(offset).ok());
        let fits = |offset: &usize| offset.checked_add(8).is_some_and(|end| end <= self.image.len());
        offset.filter(fits).ok_or(RelocationError::Outside { address })
    }

    fn quad(&self, address: u64) -> Result<u64, RelocationError> {
        let offset = self.offset(address)?;
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&self.image[offset..offset + 8]);
        Ok(u64::from_le_bytes(bytes))
    }

    fn set_quad(&mut self, address: u64, value: u64) -> Result<(), RelocationError> {
        let offset = self.offset(address)?;
        self.image[offset..offset + 8].copy_from_slice(&value.to_le_bytes());
        Ok(())
    }
}
