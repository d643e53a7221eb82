//! Exceptions and interrupts: one table, 256 stubs, one Rust function.
//!
//! Every vector leads by an interrupt gate (IF = 0 on entry) to a stub of its own, which stores the vector and a whole
//! [`TrapFrame`] and calls the kernel's handler. Returning from the handler resumes what was interrupted, with whatever
//! the handler changed in the frame.
//!
//! There is no user mode, so the entry has nothing to swap or to switch: GS is always the kernel's, and the stack stays
//! but for #DF, NMI and #MC, which have their own (see `gdt`). No STAC is ever executed, so RFLAGS.AC needs no CLAC.
//!
//! NMIs: the CPU blocks further ones until the next IRETQ, whoever executes it. A handler that faults on the way (a
//! `probe` does) unblocks them early, and a second NMI would then start at the top of the same stack and overwrite the
//! first one's frame. So an NMI handler must not fault; one that ends the machine may, for nobody returns through it.
//! The same holds for machine checks, where a second one while the first is handled shuts the CPU down.
//!
//! Called by: boot. Calls: the handler given to [`init`].

mod code;
mod frame;
mod idt;
mod stubs;
mod vector;

pub use code::PageFaultCode;
pub use frame::TrapFrame;
pub use vector::{exception_name, has_error_code, vectors};

use crate::gdt;
use core::sync::atomic::{AtomicPtr, Ordering};

/// What the kernel does with a trap. Runs with interrupts off, on the interrupted stack (or the vector's own).
pub type Handler = fn(&mut TrapFrame);

/// An interrupt whose length other CPUs wait for: its handler gets no frame, and is called by an entry that saves
/// nothing but what a function may change.
#[derive(Clone, Copy, Debug)]
pub struct Short {
    /// Its vector: an interrupt's, not an exception's.
    pub vector: u8,
    /// What the kernel does with it. Runs with interrupts off, on the interrupted stack.
    pub handler: extern "C" fn(),
}

/// The handler of [`Short`], as a pointer that the entry calls. Written once, before any IDT is loaded.
static SHORT_HANDLER: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

/// The handler, as a pointer; null before [`init`]. Written once, before any IDT is loaded; Release pairs with the
/// Acquire in `load_this_cpu`, after which a CPU's own loads in `dispatch` need no order.
static HANDLER: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

/// Builds the interrupt table around `handler`, with one vector that has a handler of its own.
///
/// Context: boot of the first CPU, once.
///
/// # Panics
/// If called twice, or for a `short` exception: those need their frame.
pub fn init(handler: Handler, short: Short) {
    assert!(short.vector >= vectors::FIRST_INTERRUPT, "vector {} is an exception's", short.vector);
    idt::build(short.vector);
    SHORT_HANDLER.store(short.handler as *mut (), Ordering::Release);
    HANDLER.store(handler as *mut (), Ordering::Release);
}

/// Makes this CPU use the interrupt table.
///
/// Context: boot of each CPU, interrupts off. The [`gdt::Loaded`] shows that the gates' selector and stacks are there.
///
/// # Panics
/// If [`init`] has not run.
pub fn load_this_cpu(_tables: &gdt::Loaded) {
    assert!(!HANDLER.load(Ordering::Acquire).is_null(), "traps::load_this_cpu before traps::init");
    idt::load();
}

/// CR2: the address that the last page fault on this CPU wanted. Valid in a #PF handler until anything can fault again.
#[inline]
pub fn fault_address() -> usize {
    x86_64::registers::control::Cr2::read_raw() as usize
}

/// Where the stubs arrive.
extern "C" fn dispatch(frame: &mut TrapFrame) {
    let handler = HANDLER.load(Ordering::Relaxed);
    debug_assert!(!handler.is_null());
    // SAFETY: `init` stored a `Handler` here before any CPU could load the table that leads to this function.
    let handler = unsafe { core::mem::transmute::<*mut (), Handler>(handler) };
    handler(frame);
}
