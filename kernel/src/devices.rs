//! The few devices the kernel uses, as ACPI describes them: I/O APICs, the PM timer, the HPET, the way to reset.
//!
//! Read once at boot, while the bootloader's direct map still reaches all tables; what is kept are values.

use arch::acpi::{AcpiError, Cpus, DirectMap, Fadt, Hpet, Madt, MadtEntry, Root};
use arch::apic::LocalApic;
use arch::ioapic::{IoApic, Signal};
use arch::reboot::ResetRegister;
use arch::serial::COM1_IRQ;
use arch::{i8042, pic};
use mm::frame::PAGE_SIZE;
use spin::Once;

use crate::bootinfo::BootInfo;
use crate::console::log;
use crate::{input, space, traps};

/// I/O APICs that are kept; machines have one for each bridge.
const MAX_IO_APICS: usize = 32;
/// What the console's interrupts come on: ISA line, and the vector here. Serial port, keyboard.
const LINES: [(u8, u8); 2] = [(COM1_IRQ, traps::SERIAL), (i8042::IRQ, traps::KEYBOARD)];

/// What ACPI says of the devices.
#[derive(Clone, Copy, Debug)]
pub struct Devices {
    /// Port of the PM timer.
    pub pm_timer_port: Option<u16>,
    /// Physical address of the HPET's registers.
    pub hpet_phys: Option<u64>,
    /// How to reset the machine.
    pub reset: Option<ResetRegister>,
    /// The CPUs that the MADT names, those that could be plugged in among them.
    pub cpus: Cpus,
    io_apics: [Option<(u64, u32)>; MAX_IO_APICS],
    /// Global interrupt and signal of each of [`LINES`].
    routes: [(u32, Signal); LINES.len()],
}

static DEVICES: Once<Devices> = Once::new();

/// What was found; `None` before [`find`].
pub fn get() -> Option<&'static Devices> {
    DEVICES.get()
}

/// Reads the tables. The bootloader's page tables are still in use.
pub fn find(info: &BootInfo) -> &'static Devices {
    DEVICES.call_once(|| {
        let mut devices = Devices {
            pm_timer_port: None,
            hpet_phys: None,
            reset: None,
            cpus: Cpus::NONE,
            io_apics: [None; MAX_IO_APICS],
            routes: LINES.map(|(line, _)| (u32::from(line), Signal::ISA)),
        };
        if let Err(error) = devices.read(info) {
            log!("acpi: {error}; no I/O APIC, no PM timer");
        }
        devices
    })
}

impl Devices {
    fn read(&mut self, info: &BootInfo) -> Result<(), AcpiError> {
        let rsdp = info.rsdp_phys.ok_or(AcpiError::Unreadable { phys: 0 })?;
        // SAFETY: the trap handler calls `probe::fixup`, so a hole in the direct map is an error and no crash.
        let memory = unsafe { DirectMap::new(info.direct_map, u64::MAX) };
        let root = Root::find(&memory, rsdp)?;
        if let Ok(fadt) = Fadt::find(&root) {
            self.pm_timer_port = fadt.pm_timer_port;
            self.reset = fadt.reset;
        }
        self.hpet_phys = Hpet::find(&root).ok().map(|hpet| hpet.phys);
        let madt = Madt::find(&root)?;
        self.routes = LINES.map(|(line, _)| madt.isa_route(line));
        self.cpus = Cpus::of(&madt);
        let io_apics = madt.entries().filter_map(|entry| match entry {
            MadtEntry::IoApic { phys, gsi_base, .. } => Some((u64::from(phys), gsi_base)),
            _ => None,
        });
        for (place, io_apic) in self.io_apics.iter_mut().zip(io_apics) {
            *place = Some(io_apic);
        }
        Ok(())
    }

    /// Silences the legacy controllers, routes the console's interrupts to this CPU, and has them come.
    pub fn route_console(&self, apic: &LocalApic) {
        // SAFETY: nothing in this kernel uses the legacy controllers' lines.
        unsafe { pic::remap_and_mask() };
        let mut is_routed = [false; LINES.len()];
        for &(phys, gsi_base) in self.io_apics.iter().flatten() {
            let Ok(base) = space::map_device(phys, PAGE_SIZE) else { continue };
            // SAFETY: the registers of the I/O APIC that the MADT lists, mapped uncached for good; nobody else drives it.
            let mut io_apic = unsafe { IoApic::new(base.cast(), gsi_base) };
            for ((&(gsi, signal), (_, vector)), is_routed) in self.routes.iter().zip(LINES).zip(&mut is_routed) {
                if io_apic.has_input(gsi) {
                    match io_apic.route(gsi, vector, apic.id(), signal) {
                        Ok(()) => *is_routed = true,
                        Err(error) => log!("console: input is polled: {error}"),
                    }
                }
            }
            if is_routed == [true; LINES.len()] {
                break;
            }
        }
        let [serial, keyboard] = is_routed;
        input::enable_interrupts(serial, keyboard);
    }
}
