//! The few devices the kernel uses, as ACPI describes them: I/O APICs, the PM timer, the way to reset.
//!
//! Read once at boot, while the bootloader's direct map still reaches all tables; what is kept are values.

use arch::acpi::{AcpiError, DirectMap, Fadt, Madt, MadtEntry, Root};
use arch::apic::LocalApic;
use arch::ioapic::{IoApic, Signal};
use arch::pic;
use arch::reboot::ResetRegister;
use mm::frame::PAGE_SIZE;
use spin::Once;

use crate::bootinfo::BootInfo;
use crate::console::log;
use crate::{input, space, traps};

/// I/O APICs that are kept; machines have one for each bridge.
const MAX_IO_APICS: usize = 32;
/// ISA line of the first serial port.
const SERIAL_LINE: u8 = 4;

/// Flag of a MADT entry: the CPU can be used.
const ENABLED: u32 = 1;

/// What ACPI says of the devices.
#[derive(Clone, Copy, Debug)]
pub struct Devices {
    /// Port of the PM timer.
    pub pm_timer_port: Option<u16>,
    /// How to reset the machine.
    pub reset: Option<ResetRegister>,
    /// CPUs that could be started: those that the MADT lists as enabled.
    pub nr_cpus: usize,
    io_apics: [Option<(u64, u32)>; MAX_IO_APICS],
    serial: (u32, Signal),
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
            reset: None,
            nr_cpus: 0,
            io_apics: [None; MAX_IO_APICS],
            serial: (u32::from(SERIAL_LINE), Signal::ISA),
        };
        if let Err(error) = devices.read(info) {
            log!("acpi: {error:?}; no I/O APIC, no PM timer");
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
        let madt = Madt::find(&root)?;
        self.serial = madt.isa_route(SERIAL_LINE);
        let mut places = self.io_apics.iter_mut();
        for entry in madt.entries() {
            match entry {
                MadtEntry::IoApic { phys, gsi_base, .. } => {
                    if let Some(place) = places.next() {
                        *place = Some((u64::from(phys), gsi_base));
                    }
                }
                MadtEntry::LocalApic { flags, .. } | MadtEntry::LocalX2Apic { flags, .. } if flags & ENABLED != 0 => {
                    self.nr_cpus += 1;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Silences the legacy controllers and routes the serial port's interrupt to this CPU.
    pub fn route_serial(&self, apic: &LocalApic) {
        // SAFETY: nothing in this kernel uses the legacy controllers' lines.
        unsafe { pic::remap_and_mask() };
        let (gsi, signal) = self.serial;
        for &(phys, gsi_base) in self.io_apics.iter().flatten() {
            let Ok(base) = space::map_device(phys, PAGE_SIZE) else { continue };
            // SAFETY: the registers of the I/O APIC that the MADT lists, mapped uncached for good; nobody else drives it.
            let mut io_apic = unsafe { IoApic::new(base.cast(), gsi_base) };
            if io_apic.has_input(gsi) {
                match io_apic.route(gsi, traps::SERIAL, apic.id(), signal) {
                    Ok(()) => return input::enable_interrupt(),
                    Err(error) => log!("console: input is polled: {error:?}"),
                }
            }
        }
    }
}
