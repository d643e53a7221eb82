//! An interrupt after every instruction of the allocator: this thread runs with the trap flag set, and the handler of
//! the trap allocates and frees on the same CPU, as an interrupt handler would. Where interrupts are off it does what an
//! NMI may.
//!
//! The machine adds to a word by the very instruction that the kernel uses. Another machine adds by a load and a store,
//! which an interrupt can split; that one must be caught, or the test sees nothing.

use std::cell::Cell;
use std::process::Command;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU64, Ordering};
use std::{env, mem};

use mm::bank::Bank;
use mm::error::Error;
use mm::frame::PAGE_SIZE;
use mm::heap::Heap;
use mm::machine::Machine;
use mm::memory_map::{Region, RegionKind};
use workloads::sizes::{Random, SMALL};

use crate::host::map_memory;

/// RFLAGS.TF: a trap after each instruction.
const TRAP_FLAG: i64 = 1 << 8;

const MEMORY_BYTES: usize = 8 << 20;

/// Objects that the handler keeps from trap to trap at most.
const MAX_KEPT: usize = 40;

thread_local! {
    static IRQ_DEPTH: Cell<usize> = const { Cell::new(0) };
    static HANDLER: Cell<Option<fn()>> = const { Cell::new(None) };
    static NMI: Cell<Option<fn()>> = const { Cell::new(None) };
    /// Objects that NMIs got, and how often one was refused.
    static NR_NMI: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
    static NR_TRAPS: Cell<u64> = const { Cell::new(0) };
    static KEPT: Cell<([*mut u8; MAX_KEPT], usize)> = const { Cell::new(([ptr::null_mut(); MAX_KEPT], 0)) };
}

/// What the two machines share, and a heap of each.
trait Stepped: Machine {
    fn heap() -> &'static Heap<Self>
    where
        Self: Sized;
}

macro_rules! stepped_machine {
    ($(#[$about:meta])* $name:ident, |$word:ident, $n:ident| $add:expr) => {
        $(#[$about])*
        #[derive(Debug)]
        struct $name;

        // SAFETY: only one thread uses the heap. Interrupts are the traps, which `on_trap` holds back while they are off.
        unsafe impl Machine for $name {
            fn bank() -> &'static Bank {
                static BANK: Bank = Bank::empty();
                &BANK
            }

            #[inline(always)]
            fn add_on_this_cpu<const N: i64>($word: &AtomicU64) -> u64 {
                let $n = N;
                $add
            }

            fn irq_save() -> usize {
                let depth = IRQ_DEPTH.get();
                IRQ_DEPTH.set(depth + 1);
                depth
            }

            unsafe fn irq_restore(saved: usize) {
                IRQ_DEPTH.set(saved);
            }

            fn relax(nr_turns: u32) {
                assert!(nr_turns < 1000, "a handler waits for what it interrupted");
            }

            fn drain_other_cpus() {}

            fn report(error: Error) {
                panic!("mm reports {error}");
            }

        }

        impl Stepped for $name {
            fn heap() -> &'static Heap<Self> {
                static HEAP: Heap<$name> = Heap::new();
                &HEAP
            }
        }
    };
}

stepped_machine!(
    /// Adds as the kernel does.
    Whole,
    |word, n| {
        let _ = n;
        arch::irq::add_on_this_cpu::<N>(word)
    }
);

stepped_machine!(
    /// Adds in two steps.
    Split,
    |word, n| {
        let sum = word.load(Ordering::Relaxed).wrapping_add(n as u64);
        // Kept apart from the load: merged, they would be the one instruction.
        std::hint::black_box(word).store(sum, Ordering::Relaxed);
        sum
    }
);

extern "C" fn on_trap(_signal: i32, _info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the third argument of a handler with SA_SIGINFO is the interrupted context, which is this handler's.
    let flags = unsafe { &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs[libc::REG_EFL as usize] };
    let Some(handler) = HANDLER.get() else {
        *flags &= !TRAP_FLAG;
        return;
    };
    *flags |= TRAP_FLAG;
    NR_TRAPS.set(NR_TRAPS.get() + 1);
    if IRQ_DEPTH.get() > 0 || NR_TRAPS.get().is_multiple_of(5) {
        NMI.get().expect("set with the handler")();
    } else {
        handler();
    }
}

fn install(handler: Option<fn()>) {
    HANDLER.set(handler);
    // SAFETY: the action is filled in; the handler touches thread-local cells and the heap under test. Raising the
    // signal once sets the trap flag, or clears it.
    unsafe {
        let mut action: libc::sigaction = mem::zeroed();
        action.sa_sigaction = on_trap as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO;
        assert_eq!(libc::sigaction(libc::SIGTRAP, &raw const action, ptr::null_mut()), 0);
        assert_eq!(libc::raise(libc::SIGTRAP), 0);
    }
}

fn allocate<M: Stepped>(stamp: u8) -> NonNull<u8> {
    let object = M::heap().alloc(SMALL).expect("memory");
    // SAFETY: live, of 64 bytes.
    unsafe {
        assert_ne!(object.read(), 0xaa, "{object:p} belongs to the handler");
        assert_ne!(object.read(), 0xbb, "{object:p} belongs to the interrupted");
        object.write(stamp);
    }
    object
}

fn free<M: Stepped>(object: NonNull<u8>, stamp: u8) {
    // SAFETY: live, of 64 bytes, and not used after this.
    unsafe {
        assert_eq!(object.read(), stamp, "{object:p} was given to somebody else");
        object.write(0);
        M::heap().dealloc(object, SMALL).expect("ours");
    }
}

/// What the interrupt does: allocates, and keeps or frees, so that it leaves the magazine other than it found it.
fn interrupt<M: Stepped>() {
    let (mut kept, mut nr_kept) = KEPT.get();
    let trap = NR_TRAPS.get();
    if !trap.is_multiple_of(3) && nr_kept < MAX_KEPT {
        kept[nr_kept] = allocate::<M>(0xaa).as_ptr();
        nr_kept += 1;
    } else if let Some(object) = nr_kept.checked_sub(1).and_then(|last| NonNull::new(kept[last])) {
        nr_kept -= 1;
        free::<M>(object, 0xaa);
        if trap.is_multiple_of(9) {
            free::<M>(allocate::<M>(0xaa), 0xaa);
        }
    }
    if nr_kept == MAX_KEPT {
        // Most of them at once: the magazine fills up under the interrupted.
        for &object in &kept[4..] {
            free::<M>(NonNull::new(object).expect("kept"), 0xaa);
        }
        nr_kept = 4;
    }
    KEPT.set((kept, nr_kept));
}

/// What an NMI does: takes an object and puts it back, if that can be had at once.
fn nmi<M: Stepped>() {
    let (mut nr_done, mut nr_refused) = NR_NMI.get();
    match M::heap().alloc_now(SMALL) {
        Some(object) => {
            // SAFETY: live, of 64 bytes; given to nobody.
            unsafe {
                assert!(!matches!(object.read(), 0xaa | 0xbb), "{object:p} belongs to somebody");
                object.write(0);
                assert!(M::heap().dealloc_now(object, SMALL), "there was room for it just now");
            }
            nr_done += 1;
        }
        None => nr_refused += 1,
    }
    NR_NMI.set((nr_done, nr_refused));
}

/// Allocates and frees at random, an interrupt after each instruction; then everything must be where it was.
fn step_through<M: Stepped>() {
    let heap = M::heap();
    let memory = map_memory(MEMORY_BYTES);
    let map = [Region { start: PAGE_SIZE as u64, end: MEMORY_BYTES as u64, kind: RegionKind::Usable }];
    // SAFETY: the mapping is this heap's alone, zeroed and lives for ever; this is the first use.
    unsafe { heap.frames().init(&map, &[], memory.as_ptr().expose_provenance()) }.expect("room for the metadata");
    heap.add_cpu(0, M::bank());
    heap.init();
    NMI.set(Some(nmi::<M>));
    let mut random = Random::new(0, 1);
    let mut objects = Vec::with_capacity(200);
    for round in 0..400 {
        // Nothing but the allocator is stepped through, in short stretches.
        let nr_pairs = random.draw() >> 60;
        let is_alloc = objects.is_empty() || objects.len() < 150 && random.draw() >> 63 == 0;
        install(Some(interrupt::<M>));
        for _ in 0..=nr_pairs {
            if is_alloc {
                objects.push(allocate::<M>(0xbb));
            } else if let Some(object) = objects.pop() {
                free::<M>(object, 0xbb);
            }
        }
        install(None);
        if round % 100 == 99 {
            heap.reclaim();
            assert!(heap.account().adds_up(), "{:?}", heap.account());
        }
    }
    objects.drain(..).for_each(|object| free::<M>(object, 0xbb));
    let (kept, nr_kept) = KEPT.get();
    kept[..nr_kept].iter().for_each(|&object| free::<M>(NonNull::new(object).expect("kept"), 0xaa));
    heap.reclaim();
    let account = heap.account();
    assert_eq!(account.nr_free, account.nr_managed, "{account:?}");
    assert!(NR_TRAPS.get() > 10_000, "{} traps", NR_TRAPS.get());
    let (nr_done, nr_refused) = NR_NMI.get();
    assert!(nr_done > 100 && nr_refused > 100, "{nr_done} NMIs were served, {nr_refused} refused");
}

/// AF17 of the failure cases that the field knows.
#[test]
fn af17_an_interrupt_or_nmi_after_every_instruction_of_the_hit_path_and_behind_it() {
    step_through::<Whole>();
}

/// Set for the process in which the machine that can be split runs.
const SPLIT: &str = "BANDOLIER_STEP_THROUGH_SPLIT";

#[test]
fn an_addition_that_an_interrupt_can_split_is_caught() {
    if env::var_os(SPLIT).is_some() {
        // What is broken may also go round for ever: that is caught, too.
        // SAFETY: ends this process, if nothing else does.
        unsafe { libc::alarm(10) };
        return step_through::<Split>();
    }
    let this = env::current_exe().expect("a test has a path");
    let name = "stepped::an_addition_that_an_interrupt_can_split_is_caught";
    let status = Command::new(this).args([name, "--exact"]).env(SPLIT, "1").output().expect("a process").status;
    assert!(!status.success(), "an allocator that interrupts can break passes");
}
