//! The kernel's file as it travels: without debug information, with its symbols.
//!
//! Only gdb and `just symbolize` read the debug information, and they read it in the file that the linker wrote, which
//! stays as it is. It is four fifths of that file: a stick is read slowly by firmware, and a direct boot has the whole
//! archive in the guest's memory. The kernel reads the symbol table of its own file in crash reports, so that stays.
//!
//! What is dropped are the sections called `.debug*` that no segment loads. Their headers become unused ones
//! (`SHT_NULL`), so that every section keeps its number, by which symbols and other sections name it.
//!
//! Called by: [`crate::qemu`] for the archive of a direct boot, [`crate::image`] for Limine's images.

use crate::error::{self, Error};
use elf::ElfBytes;
use elf::abi::{SHF_ALLOC, SHT_NOBITS, SHT_NULL};
use elf::endian::LittleEndian;
use std::path::Path;

/// Bytes of an ELF64 section header, and the place of its content's offset in it.
const HEADER: usize = 64;
const HEADER_OFFSET: usize = 24;
/// The place of the section header table's offset in the ELF header (`e_shoff`).
const TABLE_OFFSET: usize = 40;

/// The kernel's file for an image or an archive. A file that is no ELF with sections travels as it is: the bootloader
/// says what is wrong with it.
pub fn kernel(path: &Path) -> Result<Vec<u8>, Error> {
    let file = error::read(path)?;
    Ok(without_debug(&file).unwrap_or(file))
}

/// `file` without its debug sections; nothing if it is no 64-bit little-endian ELF file, has no sections, or names
/// bytes that it does not have.
pub fn without_debug(file: &[u8]) -> Option<Vec<u8>> {
    let image = ElfBytes::<LittleEndian>::minimal_parse(file).ok()?;
    (file.get(4) == Some(&2)).then_some(())?;
    let (sections, names) = image.section_headers_with_strtab().ok()?;
    let (sections, names) = (sections?, names?);
    let table = usize::try_from(image.ehdr.e_shoff).ok()?;
    let mut headers = file.get(table..table.checked_add(sections.len().checked_mul(HEADER)?)?)?.to_vec();

    // What segments load stays where it is: they name it by its place in the file.
    let program = &image.ehdr;
    let program_end = program.e_phoff.checked_add(u64::from(program.e_phnum) * u64::from(program.e_phentsize))?;
    let mut loaded_end = usize::try_from(program_end).ok()?.max(usize::from(program.e_ehsize));
    for segment in image.segments()? {
        loaded_end = loaded_end.max(end_of(segment.p_offset, segment.p_filesz)?);
    }
    let mut kept = file.get(..loaded_end)?.to_vec();

    for (section, header) in sections.iter().zip(headers.chunks_exact_mut(HEADER)) {
        let end = end_of(section.sh_offset, section.sh_size);
        if matches!(section.sh_type, SHT_NULL | SHT_NOBITS) || end.is_some_and(|end| end <= loaded_end) {
            continue;
        }
        let is_loaded = section.sh_flags & u64::from(SHF_ALLOC) != 0;
        if !is_loaded && names.get(section.sh_name as usize).is_ok_and(|name| name.starts_with(".debug")) {
            header.fill(0);
            continue;
        }
        let content = file.get(usize::try_from(section.sh_offset).ok()?..end?)?;
        pad(&mut kept, section.sh_addralign)?;
        header[HEADER_OFFSET..HEADER_OFFSET + 8].copy_from_slice(&(kept.len() as u64).to_le_bytes());
        kept.extend_from_slice(content);
    }

    pad(&mut kept, 8)?;
    let table = (kept.len() as u64).to_le_bytes();
    kept.get_mut(TABLE_OFFSET..TABLE_OFFSET + 8)?.copy_from_slice(&table);
    kept.extend_from_slice(&headers);
    Some(kept)
}

fn end_of(offset: u64, size: u64) -> Option<usize> {
    usize::try_from(offset.checked_add(size)?).ok()
}

/// Appends zeroes up to a multiple of `align`; nothing for an alignment that no linker would ask of what is not loaded.
fn pad(bytes: &mut Vec<u8>, align: u64) -> Option<()> {
    let align = usize::try_from(align.max(1)).ok().filter(|align| *align <= 4096)?;
    bytes.resize(bytes.len().next_multiple_of(align), 0);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use elf::abi::{PT_LOAD, STT_FUNC};
    use elf::segment::ProgramHeader;

    /// This test's own program: an ELF file with debug information that some linker wrote.
    fn own() -> Vec<u8> {
        error::read(&std::env::current_exe().unwrap()).unwrap()
    }

    fn parse(file: &[u8]) -> ElfBytes<'_, LittleEndian> {
        ElfBytes::minimal_parse(file).unwrap()
    }

    /// Names, addresses, sizes and section numbers of all functions.
    fn functions(file: &[u8]) -> Vec<(String, u64, u64, u16)> {
        let (table, names) = parse(file).symbol_table().unwrap().unwrap();
        let functions = table.iter().filter(|symbol| symbol.st_symtype() == STT_FUNC);
        functions.map(|s| (names.get(s.st_name as usize).unwrap().into(), s.st_value, s.st_size, s.st_shndx)).collect()
    }

    #[test]
    fn debug_sections_go_and_symbols_stay() {
        let whole = own();
        let kept = without_debug(&whole).expect("a good file");
        assert!(kept.len() < whole.len() / 2, "{} of {} bytes", kept.len(), whole.len());
        for (file, has_debug) in [(&whole, true), (&kept, false)] {
            let found = parse(file).section_header_by_name(".debug_info").unwrap();
            assert_eq!(found.is_some(), has_debug);
        }
        assert!(functions(&whole).len() > 1000);
        assert_eq!(functions(&whole), functions(&kept));
    }

    #[test]
    fn what_is_loaded_stays_as_it_is_and_where_it_is() {
        let whole = own();
        let kept = without_debug(&whole).unwrap();
        let (before, after) = (parse(&whole), parse(&kept));
        assert_eq!((before.ehdr.e_entry, before.ehdr.e_shnum), (after.ehdr.e_entry, after.ehdr.e_shnum));
        // A program of the host loads its own header as well, and in it the place of the section headers is another.
        let content = |file: &[u8], elf: &ElfBytes<'_, LittleEndian>| {
            let mut file = file.to_vec();
            file[TABLE_OFFSET..TABLE_OFFSET + 8].fill(0);
            let range = |s: &ProgramHeader| s.p_offset as usize..(s.p_offset + s.p_filesz) as usize;
            let segments = elf.segments().unwrap().iter().filter(|segment| segment.p_type == PT_LOAD);
            segments.map(|s| (file[range(&s)].to_vec(), s)).collect::<Vec<_>>()
        };
        let loaded = content(&kept, &after);
        assert!(loaded.len() > 1 && content(&whole, &before) == loaded);
    }

    #[test]
    fn without_debug_information_nothing_is_left_to_drop() {
        let once = without_debug(&own()).unwrap();
        let twice = without_debug(&once).unwrap();
        assert!(twice.len().abs_diff(once.len()) < 4096 && functions(&once) == functions(&twice));
    }

    #[test]
    fn a_damaged_file_travels_as_it_is() {
        assert_eq!(without_debug(b""), None);
        assert_eq!(without_debug(b"no kernel at all"), None);
        let whole = own();
        assert_eq!(without_debug(&whole[..whole.len() / 2]), None);
        // Every byte of the header, and of the section headers' first kilobyte: any answer, and no panic.
        let table = usize::try_from(parse(&whole).ehdr.e_shoff).unwrap();
        for at in (0..64).chain((table..table + 1024).step_by(5)) {
            let mut bad = whole.clone();
            bad[at] ^= 0xff;
            let _ = without_debug(&bad);
        }
    }
}
