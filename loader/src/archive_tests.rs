//! Tests of the archive reader, on archives made here and broken here.

use super::*;

/// One header block with a right checksum, then the content, padded.
fn entry(name: &[u8], kind: u8, content: &[u8]) -> Vec<u8> {
    let mut block = vec![0_u8; BLOCK];
    block[..name.len()].copy_from_slice(name);
    block[100..108].copy_from_slice(b"0000644\0");
    block[124..136].copy_from_slice(format!("{:011o}\0", content.len()).as_bytes());
    block[156] = kind;
    block[257..265].copy_from_slice(b"ustar\x0000");
    seal(&mut block);
    block.extend_from_slice(content);
    block.resize(block.len().next_multiple_of(BLOCK), 0);
    block
}

fn seal(header: &mut [u8]) {
    header[148..156].copy_from_slice(b"        ");
    let sum: u32 = header[..BLOCK].iter().map(|&byte| u32::from(byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

fn archive(entries: &[Vec<u8>]) -> Vec<u8> {
    let mut all = entries.concat();
    all.resize(all.len() + 2 * BLOCK, 0);
    all
}

fn names(archive: &[u8]) -> Vec<String> {
    entries(archive)
        .map(|entry| String::from_utf8(entry.expect("a good archive").name.bytes().collect()).expect("text"))
        .collect()
}

#[test]
fn files_come_in_order_with_their_content() {
    let archive = archive(&[entry(b"kernel", b'0', b"ELF"), entry(b"./a/b", 0, &[7; 513]), entry(b"/c", b'7', b"")]);
    assert_eq!(check(&archive), Ok(3));
    assert_eq!(names(&archive), ["kernel", "a/b", "c"]);
    let second = entries(&archive).nth(1).expect("three").expect("good");
    assert_eq!(&archive[second.offset..second.offset + second.size], [7; 513]);
}

#[test]
fn odds_and_ends_are_stepped_over_and_long_names_kept() {
    let long = [b'n'; 180];
    let pax = b"30 mtime=1700000000.123456789\n16 path=deep/er\n8 uid=0\n";
    let archive = archive(&[
        entry(b"boot/", b'5', b""),
        entry(b"g", b'g', b"12 comment=\n"),
        entry(b"kernel", b'0', b"k"),
        entry(b"././@LongLink", b'L', &[&long[..], b"\0"].concat()),
        entry(b"cut off", b'0', b"one"),
        entry(b"PaxHeaders/x", b'x', pax),
        entry(b"also cut off", b'0', b"two"),
        entry(b"null", b'3', b""),
        entry(b"old directory/", 0, b""),
        entry(b"last", b'0', b"three"),
    ]);
    assert_eq!(names(&archive), ["kernel", core::str::from_utf8(&long).expect("text"), "deep/er", "last"]);
}

#[test]
fn ustar_prefix_is_part_of_the_name_but_not_in_gnu_headers() {
    let mut posix = entry(b"rest", b'0', b"");
    posix[345..351].copy_from_slice(b"./long");
    seal(&mut posix);
    let mut gnu = entry(b"rest", b'0', b"");
    gnu[257..265].copy_from_slice(b"ustar  \0");
    gnu[345..350].copy_from_slice(b"14705");
    seal(&mut gnu);
    assert_eq!(names(&archive(&[posix, gnu])), ["long/rest", "rest"]);
}

#[test]
fn truncated_archives_are_refused_at_every_length() {
    let whole = archive(&[entry(b"kernel", b'0', &[1; 1000]), entry(b"module", b'0', &[2; 600])]);
    assert_eq!(check(&whole[..whole.len() - BLOCK]), Ok(2), "one zero block is enough");
    for length in 0..whole.len() - BLOCK {
        let error = check(&whole[..length]).expect_err("a truncated archive");
        match error {
            ArchiveError::NotUstar => assert!(length < BLOCK),
            ArchiveError::Truncated { at } => assert!(at <= length && length >= BLOCK, "{at} {length}"),
            other => panic!("{other:?} at length {length}"),
        }
    }
}

#[test]
fn every_flipped_header_bit_is_noticed() {
    let good = archive(&[entry(b"kernel", b'0', b"k"), entry(b"module", b'0', b"m")]);
    let module = 2 * BLOCK;
    let checksum = module + 148..module + 156;
    for bit in 0..BLOCK * 8 {
        let mut bad = good.clone();
        bad[module + bit / 8] ^= 1 << (bit % 8);
        // A flip inside the checksum field may still spell the same number: a leading zero that becomes a space.
        let is_same = number(&bad[checksum.clone()]) == number(&good[checksum.clone()]);
        let is_harmless = checksum.contains(&(module + bit / 8)) && is_same;
        let expected = if is_harmless { Ok(2) } else { Err(ArchiveError::BrokenHeader { at: module }) };
        assert_eq!(check(&bad), expected, "bit {bit}");
    }
}

#[test]
fn malformed_pax_records_are_refused() {
    for records in [&b"12 path=x\n"[..], b"path=x\n", b"9 path=x", b"0 \n", b" \n", b"9 path=x\n9"] {
        let archive = archive(&[entry(b"x", b'x', records), entry(b"kernel", b'0', b"")]);
        assert_eq!(check(&archive), Err(ArchiveError::BrokenHeader { at: 0 }), "{records:?}");
    }
}

#[test]
fn what_is_no_archive_is_refused() {
    assert_eq!(check(b""), Err(ArchiveError::NotUstar));
    assert_eq!(check(&[0x7f; 4096]), Err(ArchiveError::NotUstar));
    assert_eq!(check(&[0; 1024]), Err(ArchiveError::NoKernel));
    assert_eq!(check(&archive(&[entry(b"boot/", b'5', b"")])), Err(ArchiveError::NoKernel));
}

#[test]
fn links_and_nameless_files_are_refused() {
    for kind in [b'1', b'2', b'S', b'Z'] {
        let archive = archive(&[entry(b"kernel", b'0', b""), entry(b"link", kind, b"")]);
        assert_eq!(check(&archive), Err(ArchiveError::Unsupported { at: BLOCK, kind }));
    }
    assert_eq!(check(&archive(&[entry(b"./", b'0', b"")])), Err(ArchiveError::Nameless { at: 0 }));
}

#[test]
fn sizes_beyond_the_archive_do_not_overflow() {
    for size in [&b"77777777777\0"[..], b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff", b"00000001001 "] {
        let mut header = entry(b"kernel", b'0', b"");
        header[124..136].copy_from_slice(size);
        seal(&mut header);
        assert_eq!(check(&header), Err(ArchiveError::Truncated { at: 0 }), "{size:?}");
    }
    for size in
        [&b"            "[..], b"0000000000x\0", b"00000000009\0", b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"]
    {
        let mut header = entry(b"kernel", b'0', b"");
        header[124..136].copy_from_slice(size);
        seal(&mut header);
        assert_eq!(check(&header), Err(ArchiveError::BrokenHeader { at: 0 }), "{size:?}");
    }
}
