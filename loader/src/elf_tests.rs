//! Tests of the ELF reader and of relocation, on files made here and broken here.

use super::*;

const TEXT: u64 = KERNEL_SPACE;
const READ: u32 = 4;

/// A kernel with these segments (address, content, bytes in memory, flags); program headers right after the header.
fn elf(kind: u16, entry: u64, segments: &[(u64, &[u8], u64, u32)], dynamic: Option<u64>) -> Vec<u8> {
    let mut file = vec![0; 64];
    file[..8].copy_from_slice(b"\x7fELF\x02\x01\x01\0");
    file[16..18].copy_from_slice(&kind.to_le_bytes());
    file[18..20].copy_from_slice(&62_u16.to_le_bytes());
    file[24..32].copy_from_slice(&entry.to_le_bytes());
    file[32..40].copy_from_slice(&64_u64.to_le_bytes());
    file[54..56].copy_from_slice(&56_u16.to_le_bytes());
    let count = segments.len() + usize::from(dynamic.is_some());
    file[56..58].copy_from_slice(&(count as u16).to_le_bytes());
    let mut offset = 64 + count as u64 * 56;
    let mut header = |kind: u32, flags: u32, offset: u64, vaddr: u64, file_size: u64, size: u64| {
        file.extend([kind, flags].iter().flat_map(|word| word.to_le_bytes()));
        file.extend([offset, vaddr, vaddr, file_size, size, PAGE].iter().flat_map(|quad| quad.to_le_bytes()));
    };
    for &(vaddr, content, size, flags) in segments {
        header(PT_LOAD, flags, offset, vaddr, content.len() as u64, size);
        offset += content.len() as u64;
    }
    if let Some(vaddr) = dynamic {
        header(PT_DYNAMIC, READ, 0, vaddr, 1, 1);
    }
    for segment in segments {
        file.extend_from_slice(segment.1);
    }
    file
}

fn quads(values: &[u64]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn error(file: &[u8]) -> ElfError {
    Elf::parse(file).expect_err("a refusal")
}

#[test]
fn segments_are_loaded_where_they_ask_to_be_and_the_rest_is_zero() {
    let file = elf(2, TEXT + 8, &[(TEXT, b"code", 4, 5), (TEXT + 0x2100, b"data", 0x1000, 6)], None);
    let elf = Elf::parse(&file).expect("good");
    assert_eq!((elf.virtual_base(), elf.image_size, elf.slide, elf.entry), (TEXT, 0x4000, 0, TEXT + 8));
    assert_eq!(elf.content_size(), 0x2104);
    let mut image = vec![0xee; 0x4000];
    elf.load(&mut image).expect("good");
    assert_eq!((&image[..5], &image[0x20ff..0x2105]), (&b"code\0"[..], &b"\0data\0"[..]));
    assert!(image[0x2104..].iter().all(|&byte| byte == 0));
    assert!(elf.is_code(TEXT + 3) && !elf.is_code(TEXT + 4) && !elf.is_code(TEXT + 0x2100));
    assert_eq!((elf.offset_of(TEXT + 5), elf.offset_of(TEXT + 0x4000), elf.offset_of(TEXT - 1)), (Some(5), None, None));
    assert!(elf.load(&mut image[1..]).is_err());
}

#[test]
fn what_is_no_x86_64_executable_is_refused() {
    let good = elf(2, TEXT, &[(TEXT, b"code", 4, 5)], None);
    assert_eq!(error(b""), ElfError::NotElf);
    assert_eq!(error(b"#!/bin/sh"), ElfError::NotElf);
    for (at, byte) in [(4, 1), (5, 2), (18, 3)] {
        let mut bad = good.clone();
        bad[at] = byte;
        assert_eq!(error(&bad), ElfError::NotX86_64, "byte {at}");
    }
    assert_eq!(error(&elf(1, TEXT, &[(TEXT, b"code", 4, 5)], None)), ElfError::NotExecutable { kind: 1 });
    assert_eq!(error(&elf(2, TEXT, &[], None)), ElfError::NoSegments);
    assert_eq!(error(&elf(2, 0, &[(0x10_0000, b"", 1, 5)], None)), ElfError::NotHigherHalf { vaddr: 0x10_0000 });
}

#[test]
fn overlapping_segments_and_mixed_pages_are_refused() {
    let pair = |a: (u64, u64, u32), b: (u64, u64, u32)| {
        Elf::parse(&elf(2, TEXT, &[(a.0, b"", a.1, a.2), (b.0, b"", b.1, b.2)], None)).map(|_| ())
    };
    let overlap = |first, second| Err(ElfError::Overlap { first, second });
    assert_eq!(pair((TEXT, 0x1001, 6), (TEXT + 0x1000, 1, 6)), overlap(TEXT, TEXT + 0x1000));
    assert_eq!(pair((TEXT, 0x800, 5), (TEXT + 0x800, 1, 6)), overlap(TEXT, TEXT + 0x800));
    assert_eq!(pair((TEXT, 0x800, 6), (TEXT + 0x800, 1, 6)), Ok(()), "same permissions may share a page");
    assert_eq!(pair((TEXT, 0x1000, 5), (TEXT + 0x1000, 1, 6)), Ok(()));
    let inside = pair((TEXT, 0x9000, 6), (TEXT + 0x1000, 1, 6));
    assert_eq!(inside, overlap(TEXT, TEXT + 0x1000));
}

#[test]
fn no_field_of_the_headers_can_make_the_parser_panic() {
    let good = elf(3, 0, &[(0, &[0; 64], 0x1000, 5), (0x1000, &quads(&[0, 0]), 0x1000, 6)], Some(0x1000));
    assert!(Elf::parse(&good).is_ok());
    let values = [0, 1, 7, 0x7fff_ffff, 1 << 63, u64::MAX - 4096, u64::MAX];
    for at in 0..good.len() - 8 {
        for value in values {
            let mut bad = good.clone();
            bad[at..at + 8].copy_from_slice(&value.to_le_bytes());
            if let Ok(elf) = Elf::parse(&bad)
                && elf.image_size <= 1 << 20
            {
                // Loading may fail but must not panic either.
                let _ = elf.load(&mut vec![0; elf.image_size as usize]);
            }
            let _ = Elf::parse(&bad).map(|elf| elf.section(b".limine_reqs"));
        }
        assert!(Elf::parse(&good[..at]).is_err(), "cut off at {at}");
    }
}

/// A position-independent kernel linked at 0: page 0 is code, page 1 holds dynamic section, tables and targets.
fn independent(dynamic: &[u64], tables: &[u64]) -> Vec<u8> {
    let mut data = quads(dynamic);
    data.resize(0x200, 0);
    data.extend(quads(tables));
    elf(3, 0x10, &[(0, &[0x90; 32], 0x1000, 5), (0x1000, &data, 0x1000, 6)], Some(0x1000))
}

fn word_of(file: &[u8], address: u64) -> Result<u64, ElfError> {
    let elf = Elf::parse(file)?;
    let mut image = vec![0; elf.image_size as usize];
    elf.load(&mut image)?;
    Ok(quad(&image, address as usize).expect("inside"))
}

#[test]
fn independent_kernels_slide_to_the_top_and_are_relocated() {
    let rela = [7, 0x1200, 8, 24, 9, 24, 0, 0];
    let file = independent(&rela, &[0x1800, 8, 0x123]);
    let elf = Elf::parse(&file).expect("good");
    assert_eq!((elf.slide, elf.entry, elf.virtual_base()), (TEXT, TEXT + 0x10, TEXT));
    assert_eq!(word_of(&file, 0x1800), Ok(TEXT + 0x123));

    // Absolute and GOT relocations against symbol 1, value 0x40; symbol 2 is weak and undefined, 3 is undefined.
    let dynamic = [7, 0x1200, 8, 24, 6, 0x1260, 11, 24, 0, 0];
    let symbols = |info: u64, addend: u64| {
        let mut tables = vec![0x1800, info, addend];
        tables.resize(12, 0);
        tables.extend([0, 0, 0, 5 << 48 | 1 << 36, 0x40, 0, 2 << 36, 0, 0, 1 << 36, 0, 0]);
        independent(&dynamic, &tables)
    };
    assert_eq!(word_of(&symbols(1 << 32 | 1, 2), 0x1800), Ok(TEXT + 0x42));
    assert_eq!(word_of(&symbols(1 << 32 | 6, 2), 0x1800), Ok(TEXT + 0x40));
    assert_eq!(word_of(&symbols(2 << 32 | 7, 2), 0x1800), Ok(0));
    let failure = word_of(&symbols(3 << 32 | 6, 0), 0x1800);
    assert_eq!(failure, Err(RelocationError::UndefinedSymbol { index: 3 }.into()));
    assert_eq!(word_of(&symbols(37, 0), 0x1800), Err(RelocationError::UnknownType { kind: 37 }.into()));
}

#[test]
fn relr_bit_maps_reach_every_word() {
    let relr = [36, 0x1200, 35, 24, 37, 8, 0, 0];
    // Words 0x1220, then bits for 0x1228 and 0x1220 + 8 * 63, then one bit in the next map.
    let mut tables = vec![0x1220, 1 | 1 << 1 | 1 << 63, 1 | 1 << 1, 0, 5, 6, 7];
    tables.resize(4 + 63 + 8, 9);
    let file = independent(&relr, &tables);
    let word = |index: u64| word_of(&file, 0x1220 + 8 * index).expect("good");
    assert_eq!((word(0), word(1), word(2)), (TEXT + 5, TEXT + 6, 7));
    assert_eq!((word(62), word(63), word(64), word(65)), (9, TEXT + 9, TEXT + 9, 9));
}

#[test]
fn kernels_that_ask_for_the_top_are_not_moved() {
    let mut data = quads(&[7, TEXT + 0x1200, 8, 24, 0, 0]);
    data.resize(0x200, 0);
    data.extend(quads(&[TEXT + 0x1300, 8, TEXT + 0x44]));
    let file = elf(3, TEXT, &[(TEXT, &[0; 8], 8, 5), (TEXT + 0x1000, &data, 0x1000, 6)], Some(TEXT + 0x1000));
    assert_eq!(Elf::parse(&file).expect("good").slide, 0);
    assert_eq!(word_of(&file, 0x1300), Ok(TEXT + 0x44));
}

#[test]
fn relocations_outside_of_the_image_or_with_libraries_are_refused() {
    let failure = |dynamic: &[u64], tables: &[u64]| word_of(&independent(dynamic, tables), 0).expect_err("a refusal");
    let outside = |address| RelocationError::Outside { address }.into();
    assert_eq!(failure(&[7, 0x1200, 8, 24, 0, 0], &[0x1ff9, 8, 0]), outside(0x1ff9));
    assert_eq!(failure(&[7, 0x1200, 8, 24, 0, 0], &[u64::MAX, 8, 0]), outside(u64::MAX));
    assert_eq!(failure(&[7, 0x1fff_0000, 8, 24, 0, 0], &[]), outside(0x1fff_0000));
    assert_eq!(failure(&[1, 5, 0, 0], &[]), RelocationError::NeedsLibrary.into());
    assert_eq!(failure(&[7, 0x1200, 8, 24, 9, 16, 0, 0], &[]), RelocationError::BadTable.into());
    assert_eq!(failure(&[23, 0x1200, 2, 24, 20, 17, 0, 0], &[]), RelocationError::BadTable.into());
    let endless = elf(3, 0, &[(0, b"", 1, 5), (0x1000, &quads(&[5; 512]), 0x1000, 6)], Some(0x1000));
    assert_eq!(word_of(&endless, 0), Err(outside(0x2000)), "a dynamic section without an end");
}

#[test]
fn sections_are_found_by_name() {
    let mut file = elf(2, TEXT, &[(TEXT, b"code", 4, 5)], None);
    let names = file.len();
    file.extend_from_slice(b"\0.limine_reqs\0.limine_reqs_not\0");
    let table = file.len();
    for (name, address) in [(0_u32, 0), (14, 2), (1, 0xabc)] {
        let mut header = vec![0; 64];
        header[..4].copy_from_slice(&name.to_le_bytes());
        header[16..24].copy_from_slice(&u64::to_le_bytes(address));
        header[24..32].copy_from_slice(&(names as u64).to_le_bytes());
        header[32..40].copy_from_slice(&16_u64.to_le_bytes());
        file.extend(header);
    }
    file[40..48].copy_from_slice(&(table as u64).to_le_bytes());
    file[58..64].copy_from_slice(&[64, 0, 3, 0, 0, 0]);
    let elf = Elf::parse(&file).expect("good");
    assert_eq!(elf.section(b".limine_reqs"), Some((0xabc, 16)));
    assert_eq!(elf.section(b".limine"), None);
}
