use super::*;
use crate::ioapic::Signal;
use crate::reboot::ResetRegister;

/// A small physical memory: holes above its end.
struct Ram(Vec<u8>);

impl PhysicalMemory for Ram {
    fn read(&self, phys: u64, buffer: &mut [u8]) -> bool {
        let Some(end) = phys.checked_add(buffer.len() as u64) else { return false };
        let Some(bytes) = usize::try_from(phys).ok().zip(usize::try_from(end).ok()).and_then(|(s, e)| self.0.get(s..e))
        else {
            return false;
        };
        buffer.copy_from_slice(bytes);
        true
    }
}

const RSDP: u64 = 0x10;
const XSDT: u64 = 0x100;
const RSDT: u64 = 0x180;
const MADT: u64 = 0x200;
const FADT: u64 = 0x400;
const HPET: u64 = 0x600;

fn balance(bytes: &mut [u8], at: usize) {
    bytes[at] = 0;
    bytes[at] = bytes.iter().fold(0u8, |sum, &b| sum.wrapping_sub(b));
}

fn table(signature: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 36];
    bytes[..4].copy_from_slice(signature);
    bytes.extend_from_slice(body);
    let len = bytes.len() as u32;
    bytes[4..8].copy_from_slice(&len.to_le_bytes());
    balance(&mut bytes, 9);
    bytes
}

fn rsdp(revision: u8, rsdt: u32, xsdt: u64) -> Vec<u8> {
    let mut bytes = b"RSD PTR \0OEMID \x00".to_vec();
    bytes.truncate(15);
    bytes.push(revision);
    bytes.extend(rsdt.to_le_bytes());
    balance(&mut bytes[..20], 8);
    bytes.extend(36u32.to_le_bytes());
    bytes.extend(xsdt.to_le_bytes());
    bytes.extend([0; 4]);
    balance(&mut bytes, 32);
    bytes
}

const MADT_BODY: &[u8] = &[
    0, 0, 0xe0, 0xfe, 1, 0, 0, 0, // local APIC address, flags
    0, 8, 3, 5, 1, 0, 0, 0, // CPU 3, id 5, enabled
    1, 12, 0, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0, // I/O APIC
    2, 10, 0, 0, 2, 0, 0, 0, 0, 0, // ISA 0 is GSI 2
    2, 10, 0, 9, 9, 0, 0, 0, 0x0d, 0, // ISA 9 is level, active high
    4, 6, 0xff, 5, 0, 1, // LINT1 is NMI everywhere
    77, 5, 1, 2, 3, // unknown
    9, 16, 0, 0, 1, 2, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0, // id 0x201
];

fn fadt_body(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; 276];
    bytes[76..80].copy_from_slice(&0x608u32.to_le_bytes());
    bytes[112..116].copy_from_slice(&(1u32 << 10).to_le_bytes());
    bytes[116..128].copy_from_slice(&[1, 8, 0, 1, 0xf9, 0x0c, 0, 0, 0, 0, 0, 0]);
    bytes[128] = 0x0f;
    bytes[208..220].copy_from_slice(&[1, 32, 0, 3, 0x18, 0x08, 0, 0, 0, 0, 0, 0]);
    bytes[36..len].to_vec()
}

fn place(ram: &mut Vec<u8>, at: u64, bytes: &[u8]) {
    let end = at as usize + bytes.len();
    ram.resize(ram.len().max(end), 0);
    ram[at as usize..end].copy_from_slice(bytes);
}

fn machine() -> Vec<u8> {
    let mut ram = Vec::new();
    let addresses = [FADT, MADT, HPET];
    let in_64: Vec<u8> = addresses.iter().flat_map(|a| a.to_le_bytes()).collect();
    let in_32: Vec<u8> = addresses.iter().flat_map(|&a| (a as u32).to_le_bytes()).collect();
    place(&mut ram, RSDP, &rsdp(2, RSDT as u32, XSDT));
    place(&mut ram, XSDT, &table(b"XSDT", &in_64));
    place(&mut ram, RSDT, &table(b"RSDT", &in_32));
    place(&mut ram, MADT, &table(b"APIC", MADT_BODY));
    place(&mut ram, FADT, &table(b"FACP", &fadt_body(276)));
    place(
        &mut ram,
        HPET,
        &table(b"HPET", &[1, 0xa2, 0x86, 0x80, 0, 64, 0, 0, 0, 0, 0xd0, 0xfe, 0, 0, 0, 0, 0, 0, 0, 0]),
    );
    ram
}

/// Everything boot does with ACPI.
fn read_all(ram: &Ram) -> Result<(Vec<MadtEntry>, Fadt, Hpet), AcpiError> {
    let root = Root::find(ram, RSDP)?;
    let entries = Madt::find(&root)?.entries().collect();
    Ok((entries, Fadt::find(&root)?, Hpet::find(&root)?))
}

#[test]
fn a_sound_machine_is_read_whole() {
    let ram = Ram(machine());
    let (entries, fadt, hpet) = read_all(&ram).expect("sound tables");
    let edge_high = Signal::ISA;
    assert_eq!(
        entries,
        [
            MadtEntry::LocalApic { processor: 3, apic_id: 5, flags: 1 },
            MadtEntry::IoApic { id: 0, phys: 0xfec0_0000, gsi_base: 0 },
            MadtEntry::Override { isa_irq: 0, gsi: 2, signal: edge_high },
            MadtEntry::Override { isa_irq: 9, gsi: 9, signal: Signal { is_active_low: false, is_level: true } },
            MadtEntry::LocalApicNmi { processor: 0xff, lint: 1 },
            MadtEntry::Other { kind: 77 },
            MadtEntry::LocalX2Apic { apic_id: 0x201, processor: 7, flags: 1 },
        ]
    );
    assert_eq!(fadt.pm_timer_port, Some(0x818), "the extended block wins over the legacy one");
    assert_eq!(fadt.reset, Some(ResetRegister { port: 0xcf9, value: 0x0f }));
    assert_eq!(hpet.phys, 0xfed0_0000);
}

/// A MADT of these entries, and nothing else.
fn cpus_of(entries: &[&[u8]]) -> Cpus {
    let mut ram = machine();
    // Behind all other tables: it may be long.
    let at = ram.len().next_multiple_of(16) as u64;
    place(&mut ram, at, &table(b"APIC", &[&MADT_BODY[..8], &entries.concat()].concat()));
    place(&mut ram, XSDT, &table(b"XSDT", &at.to_le_bytes()));
    let ram = Ram(ram);
    Cpus::of(&Madt::find(&Root::find(&ram, RSDP).expect("root")).expect("MADT"))
}

fn lapic(id: u8, flags: u8) -> [u8; 8] {
    [0, 8, 0, id, flags, 0, 0, 0]
}

fn x2apic(id: u32, flags: u8) -> Vec<u8> {
    [&[9, 16, 0, 0][..], &id.to_le_bytes(), &[flags, 0, 0, 0], &[0; 4]].concat()
}

fn found(cpus: &Cpus) -> Vec<(u32, bool)> {
    let all = cpus.all().expect("few enough to be kept");
    all.iter().map(|cpu| (cpu.apic_id, cpu.readiness == Readiness::Enabled)).collect()
}

#[test]
fn cpus_are_enabled_or_online_capable_or_not_there() {
    // As QEMU has it with `-smp 2,maxcpus=4`, one seat above 254: entries without a flag are to be ignored.
    let cpus = cpus_of(&[&lapic(0, 1), &lapic(1, 1), &lapic(2, 0), &x2apic(300, 0)]);
    assert_eq!((found(&cpus), cpus.nr_enabled()), (vec![(0, true), (1, true)], 2));
    // Seats that may be taken later; both flags at once are reserved, and enabled is what counts.
    let cpus = cpus_of(&[&lapic(0, 1), &lapic(1, 2), &x2apic(300, 2), &lapic(3, 3)]);
    assert_eq!((found(&cpus), cpus.nr_enabled()), (vec![(0, true), (1, false), (300, false), (3, true)], 2));
}

#[test]
fn a_cpu_that_is_listed_twice_is_one() {
    let cpus = cpus_of(&[&lapic(0, 1), &lapic(1, 2), &x2apic(1, 1), &x2apic(0, 2), &x2apic(1, 1)]);
    assert_eq!((found(&cpus), cpus.nr_enabled()), (vec![(0, true), (1, true)], 2));
}

#[test]
fn the_id_of_everybody_is_nobodys() {
    let cpus = cpus_of(&[&lapic(0xff, 1), &x2apic(u32::MAX, 3), &x2apic(0xff, 1), &lapic(0xff, 2)]);
    assert_eq!(found(&cpus), [(0xff, true)], "the one that only a type-9 entry can name");
}

#[test]
fn more_cpus_than_are_kept_are_counted_and_not_told() {
    let entries: Vec<Vec<u8>> = (0..1025).map(|id| x2apic(id, 1)).collect();
    let entries: Vec<&[u8]> = entries.iter().map(Vec::as_slice).collect();
    let (most, more) = (cpus_of(&entries[..1024]), cpus_of(&entries));
    assert_eq!((most.all().map(<[Cpu]>::len), most.nr_enabled()), (Some(1024), 1024));
    assert_eq!((more.all(), more.nr_enabled()), (None, 1025));
}

#[test]
fn isa_lines_follow_their_overrides() {
    let ram = Ram(machine());
    let madt = Madt::find(&Root::find(&ram, RSDP).expect("root")).expect("MADT");
    assert_eq!(madt.isa_route(0), (2, Signal::ISA));
    assert_eq!(madt.isa_route(4), (4, Signal::ISA));
    assert_eq!(madt.isa_route(9), (9, Signal { is_active_low: false, is_level: true }));
}

#[test]
fn version_one_and_a_broken_xsdt_fall_back_to_the_rsdt() {
    let mut ram = machine();
    place(&mut ram, RSDP, &rsdp(0, RSDT as u32, XSDT));
    assert!(read_all(&Ram(ram)).is_ok());
    let mut ram = machine();
    ram[XSDT as usize + 20] ^= 1;
    assert!(read_all(&Ram(ram)).is_ok());
}

#[test]
fn without_any_root_the_error_says_where() {
    let mut ram = machine();
    ram[XSDT as usize + 20] ^= 1;
    ram[RSDT as usize + 20] ^= 1;
    assert_eq!(Root::find(&Ram(ram), RSDP).err(), Some(AcpiError::BadChecksum { phys: RSDT }));
    assert_eq!(
        Root::find(&Ram(machine()), 0x20).err().map(|e| matches!(e, AcpiError::WrongSignature { .. })),
        Some(true)
    );
    assert_eq!(Root::find(&Ram(machine()), u64::MAX - 4).err(), Some(AcpiError::Unreadable { phys: u64::MAX - 4 }));
}

#[test]
fn a_table_that_is_not_listed_is_not_found() {
    let ram = Ram(machine());
    let root = Root::find(&ram, RSDP).expect("root");
    assert_eq!(root.table(*b"SRAT").err(), Some(AcpiError::NotFound { signature: *b"SRAT" }));
}

#[test]
fn absurd_lengths_are_refused() {
    for length in [0, 8, 35, 0x10_0001, u32::MAX] {
        let mut ram = machine();
        ram[MADT as usize + 4..MADT as usize + 8].copy_from_slice(&length.to_le_bytes());
        let ram = Ram(ram);
        let found = Madt::find(&Root::find(&ram, RSDP).expect("root")).err();
        assert_eq!(found, Some(AcpiError::BadLength { phys: MADT, length }));
    }
}

#[test]
fn entries_that_never_end_or_overrun_end_the_walk() {
    for bad in [[0u8, 0], [0, 1], [0, 200]] {
        let body = [&MADT_BODY[..8], &MADT_BODY[8..16], &bad, &[0; 8]].concat();
        let mut ram = machine();
        place(&mut ram, MADT, &table(b"APIC", &body));
        let ram = Ram(ram);
        let madt = Madt::find(&Root::find(&ram, RSDP).expect("root")).expect("MADT");
        let entries: Vec<_> = madt.entries().take(100).collect();
        assert_eq!(entries, [MadtEntry::LocalApic { processor: 3, apic_id: 5, flags: 1 }], "{bad:?}");
    }
}

#[test]
fn an_entry_too_short_for_its_kind_is_skipped() {
    let body = [&MADT_BODY[..8], &[1, 4, 0, 0], &MADT_BODY[8..16]].concat();
    let mut ram = machine();
    place(&mut ram, MADT, &table(b"APIC", &body));
    let ram = Ram(ram);
    let madt = Madt::find(&Root::find(&ram, RSDP).expect("root")).expect("MADT");
    let entries: Vec<_> = madt.entries().collect();
    assert_eq!(entries, [MadtEntry::Other { kind: 1 }, MadtEntry::LocalApic { processor: 3, apic_id: 5, flags: 1 }]);
}

#[test]
fn a_short_fadt_has_the_legacy_timer_and_no_reset() {
    let mut ram = machine();
    place(&mut ram, FADT, &table(b"FACP", &fadt_body(116)));
    let ram = Ram(ram);
    let fadt = Fadt::find(&Root::find(&ram, RSDP).expect("root")).expect("FADT");
    assert_eq!(fadt, Fadt { pm_timer_port: Some(0x608), reset: None });
}

#[test]
fn a_reset_register_that_is_not_declared_is_not_used() {
    let mut ram = machine();
    let mut body = fadt_body(276);
    body[112 - 36..116 - 36].fill(0);
    place(&mut ram, FADT, &table(b"FACP", &body));
    let ram = Ram(ram);
    let fadt = Fadt::find(&Root::find(&ram, RSDP).expect("root")).expect("FADT");
    assert_eq!(fadt, Fadt { pm_timer_port: Some(0x818), reset: None });
}

/// Totality: flip and cut at every place, and read everything. The only assertion is that it comes back; that some of
/// these inputs are refused shows that they were looked at.
#[test]
fn no_damage_makes_the_reader_panic() {
    let sound = machine();
    let mut nr_refused = 0;
    for at in 0..sound.len() {
        for damage in [0x01, 0x80, 0xff] {
            let mut ram = sound.clone();
            ram[at] ^= damage;
            // Lengths are under the checksum, so repair it, to get past it.
            for (start, checksum_at) in [(XSDT, 9), (MADT, 9), (FADT, 9), (HPET, 9)] {
                let len = u32::from_le_bytes(ram[start as usize + 4..start as usize + 8].try_into().unwrap()) as usize;
                if let Some(bytes) = ram.get_mut(start as usize..start as usize + len.min(0x1000))
                    && bytes.len() > checksum_at
                {
                    balance(bytes, checksum_at);
                }
            }
            nr_refused += u32::from(read_all(&Ram(ram)).is_err());
        }
        nr_refused += u32::from(read_all(&Ram(sound[..at].to_vec())).is_err());
    }
    assert!(nr_refused > sound.len() as u32);
}
