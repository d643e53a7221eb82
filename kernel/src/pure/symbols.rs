//! Symbols: which function an address of the kernel lies in, from the kernel's own ELF image.
//!
//! For crash reports: it allocates nothing, keeps nothing but a reference to the image, and scans the symbol table once
//! for each address. A damaged image yields no names, never a panic.
//!
//! Called by: panic and exception reports, on a CPU where everything else may be broken.

use core::fmt;
use elf::ElfBytes;
use elf::abi::{SHN_ABS, SHN_UNDEF, STT_FUNC, STT_NOTYPE};
use elf::endian::LittleEndian;
use elf::string_table::StringTable;
use elf::symbol::{Symbol as ElfSymbol, SymbolTable};

/// The longest name that is demangled. The demangler recurses with the nesting of a name, and a crash report may have
/// little stack left.
const LONGEST_DEMANGLED: usize = 1024;
/// How much of a longer name is printed.
const LONGEST_PRINTED: usize = 120;

/// The symbol table of an ELF image for x86-64.
pub struct Symbols<'a> {
    image: ElfBytes<'a, LittleEndian>,
    table: SymbolTable<'a, LittleEndian>,
    names: StringTable<'a>,
}

/// The function that an address lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Symbol<'a> {
    /// Its name; prints itself demangled, without the compiler's hash.
    pub name: Name<'a>,
    /// Where it starts, as linked.
    pub start: u64,
    /// How far behind the start the address is, in bytes.
    pub offset: u64,
}

/// A symbol's name as it stands in the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name<'a>(pub &'a str);

impl<'a> Symbols<'a> {
    /// The symbols of `image`; nothing if it is not a 64-bit little-endian ELF file with a symbol table.
    pub fn new(image: &'a [u8]) -> Option<Symbols<'a>> {
        let image = ElfBytes::<LittleEndian>::minimal_parse(image).ok()?;
        let (table, names) = image.symbol_table().ok()??;
        Some(Symbols { image, table, names })
    }

    /// The function that `address` (as linked) lies in.
    ///
    /// Of the symbols that contain the address, the one that starts last is the answer. A label of an assembly file
    /// has no size: it reaches to the next symbol, and not beyond its section.
    pub fn lookup(&self, address: u64) -> Option<Symbol<'a>> {
        let mut best: Option<ElfSymbol> = None;
        for symbol in self.table.iter() {
            let is_code = matches!(symbol.st_symtype(), STT_FUNC | STT_NOTYPE);
            let is_here = symbol.st_shndx != SHN_UNDEF && symbol.st_shndx != SHN_ABS;
            if is_code && is_here && symbol.st_value <= address && is_better(&symbol, best.as_ref()) {
                best = Some(symbol);
            }
        }
        let best = best?;
        let offset = address - best.st_value;
        let is_inside = if best.st_size > 0 { offset < best.st_size } else { self.is_in_section_of(&best, address) };
        if !is_inside {
            return None;
        }
        let name = self.names.get(usize::try_from(best.st_name).ok()?).ok().filter(|name| !name.is_empty())?;
        Some(Symbol { name: Name(name), start: best.st_value, offset })
    }

    fn is_in_section_of(&self, symbol: &ElfSymbol, address: u64) -> bool {
        let section = self.image.section_headers().and_then(|sections| sections.get(symbol.st_shndx.into()).ok());
        section.is_some_and(|section| address.checked_sub(section.sh_addr).is_some_and(|at| at < section.sh_size))
    }
}

/// Whether `new` says more about an address behind both than `old` does: it starts later, or there but with a size.
fn is_better(new: &ElfSymbol, old: Option<&ElfSymbol>) -> bool {
    let rank = |symbol: &ElfSymbol| (symbol.st_value, symbol.st_size > 0, symbol.st_symtype() == STT_FUNC);
    old.is_none_or(|old| rank(new) > rank(old))
}

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.len() <= LONGEST_DEMANGLED {
            return write!(f, "{:#}", rustc_demangle::demangle(self.0));
        }
        let end = (0..=LONGEST_PRINTED).rev().find(|&end| self.0.is_char_boundary(end)).unwrap_or(0);
        write!(f, "{}...", &self.0[..end])
    }
}

impl fmt::Display for Symbol<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{:#x}", self.name, self.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// (name, type, section, value, size)
    type Entry = (&'static str, u8, u16, u64, u64);

    const TEXT: u64 = 0xffff_ffff_8000_0000;

    /// An ELF file with one code section at `TEXT` that is 0x1000 long, and `entries` as its symbol table.
    fn image(entries: &[Entry]) -> Vec<u8> {
        let mut names = vec![0u8];
        let mut table = vec![0u8; 24];
        for (name, kind, section, value, size) in entries {
            table.extend((names.len() as u32).to_le_bytes());
            table.extend([0x10 | kind, 0]);
            table.extend(section.to_le_bytes());
            table.extend(value.to_le_bytes());
            table.extend(size.to_le_bytes());
            names.extend(name.as_bytes());
            names.push(0);
        }
        let (table_at, names_at) = (64, 64 + table.len());
        let sections_at = names_at + names.len();
        let mut file = b"\x7fELF\x02\x01\x01".to_vec();
        file.resize(16, 0);
        for half in [2u16, 62] {
            file.extend(half.to_le_bytes());
        }
        file.extend(1u32.to_le_bytes());
        for word in [TEXT, 0, sections_at as u64] {
            file.extend(word.to_le_bytes());
        }
        file.extend(0u32.to_le_bytes());
        for half in [64u16, 56, 0, 64, 4, 3] {
            file.extend(half.to_le_bytes());
        }
        file.extend(table);
        file.extend(&names);
        // Type, address, offset, size, link, entry size: null, code, symbols, names.
        let sections: [(u32, u64, usize, usize, u32, u64); 4] = [
            (0, 0, 0, 0, 0, 0),
            (1, TEXT, 0, 0x1000, 0, 0),
            (2, 0, table_at, names_at - table_at, 3, 24),
            (3, 0, names_at, names.len(), 0, 0),
        ];
        for (kind, address, offset, size, link, entry_size) in sections {
            file.extend(0u32.to_le_bytes());
            file.extend(kind.to_le_bytes());
            for word in [0, address, offset as u64, size as u64] {
                file.extend(word.to_le_bytes());
            }
            file.extend(link.to_le_bytes());
            file.extend(0u32.to_le_bytes());
            for word in [1, entry_size] {
                file.extend(word.to_le_bytes());
            }
        }
        file
    }

    const ENTRIES: [Entry; 7] = [
        ("entry_stub", STT_NOTYPE, 1, TEXT, 0),
        ("_ZN6kernel5shell3run17h0123456789abcdefE", STT_FUNC, 1, TEXT + 0x100, 0x80),
        ("shell_run_label", STT_NOTYPE, 1, TEXT + 0x100, 0),
        ("tail_stub", STT_NOTYPE, 1, TEXT + 0xf00, 0),
        ("somewhere_else", STT_FUNC, SHN_UNDEF, TEXT + 0x180, 0x80),
        ("a_constant", STT_NOTYPE, SHN_ABS, TEXT + 0x120, 0),
        ("a_table", 1, 1, TEXT + 0x110, 0x1000),
    ];

    fn found(entries: &[Entry], address: u64) -> Option<String> {
        let image = image(entries);
        let symbols = Symbols::new(&image).expect("a good image");
        symbols.lookup(address).map(|symbol| symbol.to_string())
    }

    #[test]
    fn an_address_is_named_by_the_function_around_it() {
        for (offset, name) in [
            (0, Some("entry_stub+0x0")),
            (0xff, Some("entry_stub+0xff")),
            (0x100, Some("kernel::shell::run+0x0")),
            (0x17f, Some("kernel::shell::run+0x7f")),
            (0x180, None),
            (0xf00, Some("tail_stub+0x0")),
            (0xfff, Some("tail_stub+0xff")),
            (0x1000, None),
        ] {
            assert_eq!(found(&ENTRIES, TEXT + offset).as_deref(), name, "{offset:#x}");
        }
        assert_eq!(found(&ENTRIES, TEXT - 1), None);
        assert_eq!(found(&ENTRIES, u64::MAX), None);
        assert_eq!(found(&[], TEXT), None);
    }

    #[test]
    fn the_running_test_finds_itself() {
        let Ok(image) = std::env::current_exe().and_then(std::fs::read) else { return };
        let symbols = Symbols::new(&image).expect("a test binary has symbols");
        let mut seen = 0;
        for entry in symbols.table.iter().filter(|entry| entry.st_symtype() == STT_FUNC && entry.st_size > 1) {
            let name = symbols.names.get(entry.st_name as usize).expect("a name");
            if rustc_demangle::demangle(name).to_string().contains("the_running_test_finds_itself") {
                let symbol = symbols.lookup(entry.st_value + 1).expect("it is in the table");
                assert_eq!((symbol.start, symbol.offset), (entry.st_value, 1));
                assert!(symbol.name.to_string().contains("the_running_test_finds_itself"), "{}", symbol.name);
                seen += 1;
            }
        }
        assert!(seen > 0);
    }

    #[test]
    fn overlong_names_are_cut() {
        let long = "é".repeat(LONGEST_DEMANGLED);
        let printed = Name(&long).to_string();
        assert_eq!(printed, "é".repeat(LONGEST_PRINTED / 2) + "...");
        // As deep as a name may nest.
        let deep = "_RINvC1a1b".to_string() + &"R".repeat(LONGEST_DEMANGLED - 12) + "uE";
        assert!(!Name(&deep).to_string().is_empty());
    }

    fn look_everywhere(image: &[u8]) {
        if let Some(symbols) = Symbols::new(image) {
            for address in [0, TEXT, TEXT + 0x101, TEXT + 0xf80, u64::MAX] {
                if let Some(symbol) = symbols.lookup(address) {
                    assert!(symbol.start + symbol.offset == address && !symbol.to_string().is_empty());
                }
            }
        }
    }

    #[test]
    fn every_truncation_and_every_flipped_bit_is_survived() {
        let good = image(&ENTRIES);
        (0..good.len()).for_each(|len| look_everywhere(&good[..len]));
        for at in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[at / 8] ^= 1 << (at % 8);
            look_everywhere(&bad);
        }
    }

    proptest! {
        #[test]
        fn garbage_is_survived(
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<[u8; 8]>(), 1..=8usize), 1..12),
            noise in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            look_everywhere(&noise);
            let mut bad = image(&ENTRIES);
            for (at, bytes, len) in changes {
                let at = at.index(bad.len() - len);
                bad[at..at + len].copy_from_slice(&bytes[..len]);
            }
            look_everywhere(&bad);
        }
    }
}
