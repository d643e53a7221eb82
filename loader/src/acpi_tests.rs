//! Tests of the ACPI reader, on a small made-up machine.

use super::*;

/// One megabyte of memory from address 0, nothing beyond.
struct Ram(Vec<u8>);

impl Physical for Ram {
    fn bytes(&self, base: u64, len: usize) -> Option<&[u8]> {
        let base = usize::try_from(base).ok()?;
        self.0.get(base..base.checked_add(len)?)
    }
}

fn seal(bytes: &mut [u8], checksum_at: usize) {
    bytes[checksum_at] = 0;
    let sum = bytes.iter().fold(0_u8, |sum, &byte| sum.wrapping_add(byte));
    bytes[checksum_at] = 0_u8.wrapping_sub(sum);
}

fn table(signature: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let mut table = vec![0; 36];
    table[..4].copy_from_slice(signature);
    table.extend_from_slice(body);
    let length = table.len() as u32;
    table[4..8].copy_from_slice(&length.to_le_bytes());
    seal(&mut table, 9);
    table
}

fn madt(entries: &[&[u8]]) -> Vec<u8> {
    table(b"APIC", &[&[0; 8], entries.concat().as_slice()].concat())
}

fn lapic(uid: u8, id: u8, flags: u8) -> [u8; 8] {
    [0, 8, uid, id, flags, 0, 0, 0]
}

fn x2apic(uid: u32, id: u32, flags: u32) -> Vec<u8> {
    [&[9, 16, 0, 0][..], &id.to_le_bytes(), &flags.to_le_bytes(), &uid.to_le_bytes()].concat()
}

fn machine(revision: u8) -> Ram {
    let mut ram = vec![0; 1 << 20];
    let mut put = |at: usize, bytes: &[u8]| ram[at..at + bytes.len()].copy_from_slice(bytes);
    put(0x3000, &table(b"FACP", &[1; 20]));
    put(0x4000, &madt(&[&lapic(0, 0, 1), &lapic(1, 1, 1)]));
    put(0x1000, &table(b"RSDT", &[&0x3000_u32.to_le_bytes()[..], &0x4000_u32.to_le_bytes()].concat()));
    put(0x2000, &table(b"XSDT", &[&0x3000_u64.to_le_bytes()[..], &0x4000_u64.to_le_bytes()].concat()));
    let mut rsdp = [0; 36];
    rsdp[..8].copy_from_slice(b"RSD PTR ");
    rsdp[15] = revision;
    rsdp[16..20].copy_from_slice(&0x1000_u32.to_le_bytes());
    rsdp[24..32].copy_from_slice(&0x2000_u64.to_le_bytes());
    seal(&mut rsdp[..20], 8);
    seal(&mut rsdp, 32);
    put(0xf_5a40, &rsdp);
    Ram(ram)
}

#[test]
fn tables_are_found_through_rsdt_and_xsdt() {
    for (revision, width) in [(0, 4), (2, 8)] {
        let ram = machine(revision);
        let rsdp = Rsdp::search(&ram).expect("the root pointer");
        assert_eq!((rsdp.address, rsdp.width), (0xf_5a40, width));
        assert_eq!(rsdp.table(&ram, b"APIC").map(<[u8]>::len), Some(60));
        assert_eq!(rsdp.table(&ram, b"HPET"), None);
    }
}

#[test]
fn broken_checksums_count_as_absent() {
    let mut ram = machine(2);
    let rsdp = Rsdp::search(&ram).expect("the root pointer");
    ram.0[0x4000 + 50] ^= 1;
    assert_eq!(rsdp.table(&ram, b"APIC"), None);
    ram.0[0xf_5a40 + 9] ^= 1;
    assert_eq!(Rsdp::search(&ram), None);
    assert_eq!(Rsdp::at(&ram, u64::MAX - 3), None);
}

#[test]
fn processors_are_deduplicated_and_absent_ones_left_out() {
    let (a, b) = (x2apic(1, 1, 1), x2apic(300, 300, 1));
    let entries: [&[u8]; 7] =
        [&lapic(0, 0, 1), &lapic(1, 1, 1), &lapic(2, 2, 0), &lapic(3, 3, 2), &lapic(4, 0xff, 1), &a, &b];
    let madt = madt(&entries);
    let ids = |x2| processors(&madt, x2).map(|p| (p.uid, p.apic_id)).collect::<Vec<_>>();
    assert_eq!(ids(false), [(0, 0), (1, 1), (3, 3)]);
    assert_eq!(ids(true), [(0, 0), (1, 1), (3, 3), (300, 300)]);
}

#[test]
fn online_capable_ones_are_made_of_one_and_of_the_absent() {
    let (large, own) = (x2apic(7, 300, 0), x2apic(1, 1, 1));
    let io = [1, 12, 0, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0];
    let mut table = madt(&[&lapic(0, 0, 1), &lapic(1, 1, 1), &lapic(2, 2, 0), &io, &large, &own, &[9, 2], &[0, 200]]);
    make_online_capable(&mut table, 1);
    let flags = |entry: &[u8]| entry[if entry[0] == 0 { 4 } else { 8 }];
    let found: Vec<u8> = madt_entries(&table).filter(|e| e[0] != 1 && e.len() > 2).map(flags).collect();
    assert_eq!(found, [1, 2, 2, 2, 2]);
    assert!(sums_to_zero(&table) && io_apics(&table).eq([0xfec0_0000]));
    for len in 0..table.len() {
        make_online_capable(&mut table[..len], 1);
    }
}

#[test]
fn malformed_records_end_the_list() {
    let good = lapic(0, 0, 1);
    assert_eq!(processors(&madt(&[&good, &[0, 200, 1, 1]]), true).count(), 1, "longer than the table");
    assert_eq!(processors(&madt(&[&good, &[0, 0], &lapic(1, 1, 1)]), true).count(), 2, "zero length moves on");
    assert_eq!(processors(&madt(&[&[0, 4, 0, 0], &[9, 8, 0, 0, 0, 0, 0, 0], &good]), true).count(), 1, "short records");
    assert_eq!(processors(&[0; 10], true).count(), 0);
    let io = [1, 12, 0, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0];
    assert_eq!(io_apics(&madt(&[&good, &io])).collect::<Vec<_>>(), [0xfec0_0000]);
}

#[test]
fn dmar_may_forbid_x2apic() {
    assert!(forbids_x2apic(&table(b"DMAR", &[39, 3])) && !forbids_x2apic(&table(b"DMAR", &[39, 1])));
    assert!(!forbids_x2apic(&[]));
}
