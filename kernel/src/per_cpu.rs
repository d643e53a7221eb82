//! The area of a CPU: found by GS, owned by that CPU, and what others may know of it.
//!
//! ```text
//!   GS base ──► this (its own address) | cpu | ... | stacks | bank (all of the CPU's magazines)
//! ```
//!
//! A reference to one's own area is a load from gs:[0]; the bank, which every allocation needs, lies at a fixed
//! distance from it. Nothing migrates a thread of execution from CPU to CPU in this kernel.

use core::marker::PhantomData;
use core::mem::offset_of;
use core::ops::Deref;
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU8, AtomicU32, AtomicU64, Ordering};

use arch::gs;
use mm::bank::Bank;
use mm::frame::PAGE_SIZE;
use smp::{CpuId, MAX_CPUS};

use crate::stacks::Stack;

// To ensure that a CPU that one crate can name, the other can.
const _: () = assert!(MAX_CPUS == mm::bank::MAX_CPUS);

/// How far a CPU has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// Its area exists, it has been told to come.
    Starting = 0,
    /// It runs the kernel.
    Online = 1,
    /// It did not come in time; if it does, it parks.
    Failed = 2,
    /// It was stopped by a crash.
    Stopped = 3,
}

/// One CPU's area. See the module.
#[repr(C, align(128))]
pub struct PerCpu {
    /// Its own address; gs:[0].
    this: AtomicPtr<PerCpu>,
    /// The address of its bank, for the hit path of an allocation.
    its_bank: AtomicPtr<Bank>,
    /// Which CPU.
    pub cpu: CpuId,
    apic_id: AtomicU32,
    state: AtomicU8,
    /// Where it was when it was stopped or asked by NMI, for the report.
    pub seen_rip: AtomicU64,
    /// Frame pointer at that point.
    pub seen_rbp: AtomicU64,
    /// NMIs that were sent to ask where it is. Counted by whoever asks, before it sends.
    pub nr_nmi_questions: AtomicU64,
    /// Of these, those that it has taken. Counted by this CPU alone.
    pub nr_nmi_answers: AtomicU64,
    /// Bounds of its stack; 0 until it has one of its own.
    stack_bottom: AtomicU64,
    stack_top: AtomicU64,
    nr_interrupts: AtomicU64,
    /// Its magazines. Its own through [`This::bank`], to others counters.
    bank: Bank,
}

// To ensure that gs:[0] is the area's address.
const _: () = assert!(core::mem::offset_of!(PerCpu, this) == 0);

impl PerCpu {
    /// An area for `cpu`.
    pub const fn new(cpu: CpuId, apic_id: u32) -> Self {
        Self {
            this: AtomicPtr::new(ptr::null_mut()),
            its_bank: AtomicPtr::new(ptr::null_mut()),
            cpu,
            apic_id: AtomicU32::new(apic_id),
            state: AtomicU8::new(State::Starting as u8),
            seen_rip: AtomicU64::new(0),
            seen_rbp: AtomicU64::new(0),
            nr_nmi_questions: AtomicU64::new(0),
            nr_nmi_answers: AtomicU64::new(0),
            stack_bottom: AtomicU64::new(0),
            stack_top: AtomicU64::new(0),
            nr_interrupts: AtomicU64::new(0),
            bank: Bank::empty(),
        }
    }

    /// The id that interprocessor interrupts name it by.
    pub fn apic_id(&self) -> u32 {
        self.apic_id.load(Ordering::Relaxed)
    }

    /// Whether `addr` lies on its stack.
    pub fn has_on_stack(&self, addr: usize) -> bool {
        let bounds = self.stack_bottom.load(Ordering::Relaxed)..self.stack_top.load(Ordering::Relaxed);
        bounds.contains(&(addr as u64))
    }

    /// Lowest address of its stack, and one past the highest.
    pub fn stack_bounds(&self) -> (usize, usize) {
        (self.stack_bottom.load(Ordering::Relaxed) as usize, self.stack_top.load(Ordering::Relaxed) as usize)
    }

    /// Whether `addr` lies in the unmapped page below its stack.
    pub fn is_guard_page(&self, addr: usize) -> bool {
        let bottom = self.stack_bottom.load(Ordering::Relaxed) as usize;
        (bottom.saturating_sub(PAGE_SIZE)..bottom).contains(&addr)
    }

    /// How far it has come.
    pub fn state(&self) -> State {
        match self.state.load(Ordering::Acquire) {
            1 => State::Online,
            2 => State::Failed,
            3 => State::Stopped,
            _ => State::Starting,
        }
    }

    /// Interrupts taken, without exceptions, and without shootdowns, which have a counter of their own.
    pub fn nr_interrupts(&self) -> u64 {
        self.nr_interrupts.load(Ordering::Relaxed)
    }

    /// Says how far it has come.
    pub fn set_state(&self, state: State) {
        self.state.store(state as u8, Ordering::Release);
    }
}

static AREAS: [AtomicPtr<PerCpu>; MAX_CPUS] = [const { AtomicPtr::new(ptr::null_mut()) }; MAX_CPUS];

/// The first CPU's area exists before there is memory to take one from.
static FIRST: PerCpu = PerCpu::new(CpuId::BOOT, 0);

/// Gives the first CPU its area. Before anything that allocates or takes a lock.
///
/// Not inlined: see the text of [`arch::gs`].
#[inline(never)]
pub fn init_first_cpu(apic_id: u32) {
    FIRST.apic_id.store(apic_id, Ordering::Relaxed);
    publish(&FIRST);
    // SAFETY: the area is this CPU's, 'static, and its first word holds its address.
    unsafe { gs::set_base(ptr::from_ref(&FIRST) as usize) };
}

/// Makes an area known to the others, and completes its first word. Its address is the GS base of its CPU.
pub fn publish(area: &'static PerCpu) {
    let address = ptr::from_ref(area).cast_mut();
    area.this.store(address, Ordering::Relaxed);
    area.its_bank.store(ptr::from_ref(&area.bank).cast_mut(), Ordering::Relaxed);
    AREAS[area.cpu.index()].store(address, Ordering::Release);
}

/// The area of the CPU that runs this code.
///
/// Having one tells you which CPU that is, and that it stays so: it cannot be sent or lent to another. What only the
/// owner of an area may do is done through it; what others may know is behind `&PerCpu`, all of it atomics.
#[derive(Clone, Copy)]
pub struct This {
    area: &'static PerCpu,
    not_send_nor_sync: PhantomData<*mut ()>,
}

/// This CPU's area. Nothing migrates, so asking costs one load.
#[inline(always)]
pub fn this() -> This {
    // SAFETY: every CPU has its GS base set to its published area before it runs any other Rust code.
    let area = unsafe { &*gs::this_cpu_ptr().cast::<PerCpu>() };
    This { area, not_send_nor_sync: PhantomData }
}

impl Deref for This {
    type Target = PerCpu;

    #[inline(always)]
    fn deref(&self) -> &PerCpu {
        self.area
    }
}

impl This {
    /// This CPU's magazines, for `mm`: see the contract of [`mm::machine::Machine::bank`].
    #[inline(always)]
    pub fn bank(self) -> &'static Bank {
        &self.area.bank
    }

    /// The address `offset` bytes into this CPU's bank: see [`mm::machine::Machine::bank_at`].
    #[inline(always)]
    pub fn bank_at(offset: usize) -> *const u8 {
        // SAFETY: as in `this`; `publish` writes the word before the base is set, and never again.
        unsafe { gs::address_plus::<{ offset_of!(PerCpu, its_bank) }>(offset) }
    }

    /// Notes the stack that this CPU runs on from here.
    pub fn set_stack(self, stack: Stack) {
        self.stack_bottom.store(stack.bottom as u64, Ordering::Relaxed);
        self.stack_top.store(stack.top as u64, Ordering::Relaxed);
    }

    /// Counts an interrupt. Interrupts are off.
    pub fn count_interrupt(self) {
        self.nr_interrupts.store(self.nr_interrupts.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }
}

/// The area of `cpu`, if it has one.
pub fn of(cpu: CpuId) -> Option<&'static PerCpu> {
    // SAFETY: only `publish` stores here, from static references.
    unsafe { AREAS[cpu.index()].load(Ordering::Acquire).as_ref() }
}

/// All areas, in the order of the CPUs.
pub fn all() -> impl Iterator<Item = &'static PerCpu> {
    CpuId::first(MAX_CPUS).map_while(of)
}
