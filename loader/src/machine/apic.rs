//! The local APIC: identity, start-up messages, and a one-shot timer that ends a `hlt`.
//!
//! Both modes, one set of registers: in x2APIC mode they are MSRs, otherwise memory.
//! After the Intel SDM, volume 3A, chapter 11.
//! Called by: `mp` on the boot processor, `park` on the others.

use core::arch::asm;
use core::sync::atomic::Ordering;

use super::cpu::{read_msr, write_msr};
use super::traps::APIC_MMIO;

const APIC_BASE: u32 = 0x1b;
const ENABLED: u64 = 1 << 11;
const X2APIC: u64 = 1 << 10;
const ADDRESS: u64 = 0xffff_f000;

const ID: u32 = 0x20;
const SPURIOUS: u32 = 0xf0;
const PENDING: u32 = 0x200;
const COMMAND: u32 = 0x300;
const COMMAND_BUSY: u64 = 1 << 12;
const TIMER: u32 = 0x320;
const TIMER_COUNT: u32 = 0x380;
const TIMER_DIVIDE: u32 = 0x3e0;
const MASKED: u64 = 1 << 16;

/// Everyone but this processor: INIT, level asserted.
pub(super) const INIT_OTHERS: u64 = 0xc_4500;
/// Everyone but this processor: start at the page in the low byte.
pub(super) const START_OTHERS: u64 = 0xc_4600;
/// One processor: INIT, level asserted.
const INIT: u64 = 0x4500;

const TIMER_VECTOR: u64 = 0xe0;
const SPURIOUS_VECTOR: u64 = 0xff;
const SOFTWARE_ENABLED: u64 = 1 << 8;
const DIVIDE_BY_1: u64 = 0b1011;

/// How the registers are reached.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Memory; ids below 255.
    XApic,
    /// MSRs; any id.
    X2Apic,
}

/// This processor's local APIC, in a known mode.
pub(super) struct LocalApic {
    mmio: u64,
}

impl LocalApic {
    /// Puts the APIC into `mode`. The CPU must have that mode; all processors must use the same.
    pub(super) fn init_this_cpu(mode: Mode) -> Self {
        // SAFETY: callers have asked CPUID for an APIC.
        let old = unsafe { read_msr(APIC_BASE) };
        let new = old & !X2APIC | ENABLED | if mode == Mode::X2Apic { X2APIC } else { 0 };
        // SAFETY: legal transitions only (SDM, figure 11-27): x2APIC mode is left by way of "off", and entered from
        // "on"; the address stays.
        unsafe {
            if old & X2APIC != 0 && mode == Mode::XApic {
                write_msr(APIC_BASE, old & !(X2APIC | ENABLED));
            }
            if mode == Mode::X2Apic && old & ENABLED == 0 {
                write_msr(APIC_BASE, old & !X2APIC | ENABLED);
            }
            if new != old {
                write_msr(APIC_BASE, new);
            }
        }
        let mmio = if mode == Mode::X2Apic { 0 } else { new & ADDRESS };
        // The same value on every processor: they share mode and address.
        APIC_MMIO.store(mmio, Ordering::Relaxed);
        Self { mmio }
    }

    fn read(&self, register: u32) -> u64 {
        if self.mmio == 0 {
            // SAFETY: x2APIC mode is on (`init_this_cpu`); the constants above name readable registers.
            return unsafe { read_msr(0x800 + (register >> 4)) };
        }
        // SAFETY: the register page, mapped uncached by the entry stub; 32-bit reads at multiples of 16.
        u64::from(unsafe { ((self.mmio + u64::from(register)) as *const u32).read_volatile() })
    }

    fn write(&self, register: u32, value: u64) {
        // SAFETY: as in `read`; no command that the loader sends touches its own memory.
        unsafe {
            if self.mmio == 0 {
                write_msr(0x800 + (register >> 4), value);
            } else {
                ((self.mmio + u64::from(register)) as *mut u32).write_volatile(value as u32);
            }
        }
    }

    /// This processor's APIC id.
    pub(super) fn id(&self) -> u32 {
        let id = self.read(ID) as u32;
        if self.mmio == 0 { id } else { id >> 24 }
    }

    /// Sends a command with a shorthand for its target. What was written before is seen by whom it starts.
    pub(super) fn send(&self, command: u64) {
        // SAFETY: a fence; x2APIC writes are not ordered after earlier stores by themselves (SDM 11.12.3).
        unsafe { asm!("mfence", "lfence", options(nostack, preserves_flags)) };
        if self.mmio == 0 {
            self.write(COMMAND, command);
            return;
        }
        self.write(COMMAND + 0x10, command >> 32 << 24);
        self.write(COMMAND, command & 0xffff_ffff);
        while self.read(COMMAND) & COMMAND_BUSY != 0 {}
    }

    /// Sends one processor back to waiting for its start-up message.
    pub(super) fn init_one(&self, apic_id: u32) {
        self.send(u64::from(apic_id) << 32 | INIT);
    }

    /// Turns the timer on for [`Timer::nap`].
    pub(super) fn timer(&self) -> Timer<'_> {
        let saved = [SPURIOUS, TIMER, TIMER_DIVIDE].map(|register| self.read(register));
        self.write(SPURIOUS, SOFTWARE_ENABLED | SPURIOUS_VECTOR);
        self.write(TIMER_DIVIDE, DIVIDE_BY_1);
        self.write(TIMER, TIMER_VECTOR);
        Timer { apic: self, saved }
    }
}

/// The timer, on; registers are put back by [`Timer::stop`].
pub(super) struct Timer<'a> {
    apic: &'a LocalApic,
    saved: [u64; 3],
}

impl Timer<'_> {
    /// Halts for about `ticks` of the APIC's clock (1 ns each under QEMU), less if some interrupt comes first.
    ///
    /// Interrupts are off before and after. Nothing can be lost in between: `sti` lets interrupts in only after the
    /// instruction that follows it, so an interrupt that is already pending ends the `hlt` at once.
    pub(super) fn nap(&self, ticks: u32) {
        self.apic.write(TIMER_COUNT, u64::from(ticks.max(1)));
        // SAFETY: the handlers only acknowledge (`traps`), and every register and flag but IF is theirs to restore.
        unsafe { asm!("sti", "hlt", "cli") };
    }

    /// Stops the timer, lets in what is still pending, and puts the registers back: as after a reset, if they were so.
    pub(super) fn stop(self) {
        let [spurious, timer, divide] = self.saved;
        self.apic.write(TIMER_COUNT, 0);
        self.apic.write(TIMER, MASKED | TIMER_VECTOR);
        // Bounded: what firmware's task priority holds back stays pending.
        for _ in 0..256 {
            if (1..8).all(|word| self.apic.read(PENDING + word * 0x10) == 0) {
                break;
            }
            // SAFETY: as in `nap`; the instruction after `sti` is still covered, the one after that takes interrupts.
            unsafe { asm!("sti", "nop", "nop", "cli") };
        }
        self.apic.write(TIMER, timer);
        self.apic.write(TIMER_DIVIDE, divide);
        self.apic.write(SPURIOUS, spurious);
    }
}
