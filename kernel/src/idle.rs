//! Idle CPUs halt. A halted CPU has acknowledged every shootdown in advance and catches up when it wakes.

use arch::irq;

use crate::machine::{Cpu, SHOOTDOWNS, WORK};

/// Halts until an interrupt comes, unless `is_due` says that there is something to do already.
///
/// Context: interrupts on; they stay on. `is_due` is asked with interrupts off, so that an interrupt that makes it true
/// ends the halt.
pub fn wait_unless(is_due: impl Fn() -> bool) {
    irq::disable();
    if !is_due() {
        SHOOTDOWNS.enter_idle(&Cpu);
        // SAFETY: the traps of this CPU are loaded, and it holds no lock: nothing here or in the caller would mind a
        // handler running now.
        unsafe { irq::enable_and_halt() };
        // The interrupt's entry has done so already; an NMI that ends the halt does not.
        SHOOTDOWNS.leave_idle(&Cpu);
    }
    // SAFETY: as above.
    unsafe { irq::enable() };
}

/// What every CPU but the first does for ever: jobs, and halting between them.
pub fn park() -> ! {
    loop {
        wait_unless(|| WORK.has_work(&Cpu));
        WORK.run_one(&Cpu);
    }
}
