//! The machine that `mm` runs on here: a thread is a CPU, the direct map is one mapping of the host.
//!
//! What the hit path touches is what it is in the kernel: the bank is found by a load relative to GS, which a process on
//! this system may use as it likes, and a word is added to by one instruction. Interrupts do not exist, so masking them costs nothing here; the slow paths are a
//! little cheaper than in a kernel by that.

use std::alloc::Layout;
use std::ptr::{self, NonNull};
use std::sync::atomic::AtomicU64;

use mm::bank::Bank;
use mm::error::Error;
use mm::frame::PAGE_SIZE;
use mm::heap::Heap;
use mm::machine::Machine;
use mm::memory_map::{Region, RegionKind};
use workloads::Peer;

/// CPUs, hence threads that may allocate from `mm`.
pub(crate) const NR_CPUS: usize = 2;

/// Bytes of the direct map. Pages that are never touched cost the host nothing.
pub(crate) const MEMORY_BYTES: usize = 1 << 30;

static HEAP: Heap<Host> = Heap::new();
static BANKS: [Bank; NR_CPUS] = [const { Bank::empty() }; NR_CPUS];

/// What GS points at: the address of the CPU's bank.
static AREAS: [&Bank; NR_CPUS] = [&BANKS[0], &BANKS[1]];

/// The host as a machine.
#[derive(Debug)]
struct Host;

// SAFETY: `enter_cpu` gives each bank to one thread at a time, and a thread is a CPU that nothing interrupts.
unsafe impl Machine for Host {
    #[inline(always)]
    fn bank() -> &'static Bank {
        // SAFETY: every thread that measures calls `enter_cpu` first; the word is the address of a static.
        unsafe { &*std::ptr::with_exposed_provenance(arch::gs::load::<0>()) }
    }

    #[inline(always)]
    fn bank_at(offset: usize) -> *const u8 {
        // SAFETY: as above.
        unsafe { arch::gs::address_plus::<0>(offset) }
    }

    #[inline(always)]
    fn add_on_this_cpu<const N: i64>(word: &AtomicU64) -> u64 {
        arch::irq::add_on_this_cpu::<N>(word)
    }

    fn irq_save() -> usize {
        0
    }

    unsafe fn irq_restore(_saved: usize) {}

    fn relax(nr_turns: u32) {
        // As in a kernel: wait for the other CPU; but a CPU of the host may be taken from the holder.
        if nr_turns < 1000 { std::hint::spin_loop() } else { std::thread::yield_now() }
    }

    /// Only reached when memory runs out, which the sizes here do not let happen.
    fn drain_other_cpus() {}

    fn report(error: Error) {
        panic!("mm reports {error}");
    }
}

/// Gives the heap its memory. Once, before any thread allocates from it.
pub(crate) fn init() {
    let memory = map_memory(MEMORY_BYTES);
    // Physical address 0 is the start of the mapping; frame 0 is never handed out.
    let map = [Region { start: PAGE_SIZE as u64, end: MEMORY_BYTES as u64, kind: RegionKind::Usable }];
    enter_cpu(0);
    // SAFETY: the mapping is this heap's alone, zeroed and lives for ever; this is the first use.
    let made = unsafe { HEAP.frames().init(&map, &[], memory.as_ptr().expose_provenance()) };
    assert!(made.is_ok(), "{made:?}");
    for (cpu, bank) in BANKS.iter().enumerate() {
        HEAP.add_cpu(cpu, bank);
    }
    HEAP.init();
    set_gs(0);
}

/// Makes this thread CPU number `cpu`, below [`NR_CPUS`], for good. No other live thread is that CPU.
pub(crate) fn enter_cpu(cpu: usize) {
    ptr::from_ref(AREAS[cpu]).expose_provenance();
    set_gs(ptr::from_ref(&AREAS[cpu]).expose_provenance());
}

/// Sets this thread's GS base, at which nothing of the C library's lies on x86-64.
fn set_gs(base: usize) {
    /// From the kernel's `asm/prctl.h`.
    const ARCH_SET_GS: i32 = 0x1001;
    // SAFETY: it changes a register of this thread that only `Host` reads.
    let result = unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_SET_GS, base) };
    assert!(result == 0, "the GS base cannot be set: {}", std::io::Error::last_os_error());
}

/// Panics unless every frame that `mm` manages is where its own counts say. No thread allocates meanwhile.
pub(crate) fn check_account() {
    // Who counts keeps others from reclaiming, in the name of its CPU's bank; nobody else is CPU 0 meanwhile.
    enter_cpu(0);
    let account = HEAP.account();
    set_gs(0);
    assert!(account.adds_up(), "{account:?}: difference {}", account.difference());
}

/// Has every CPU give back what it holds without use. This thread is the only one that allocates, and CPU 0 from here.
pub(crate) fn reclaim() {
    for cpu in (0..NR_CPUS).rev() {
        enter_cpu(cpu);
        HEAP.drain_this_cpu();
    }
    HEAP.reclaim();
}

/// Frames that are not free.
pub(crate) fn held_frames() -> u64 {
    HEAP.frames().nr_managed() - HEAP.frames().nr_free()
}

/// `nr_bytes` of zeroed memory at a page boundary, for ever.
pub(crate) fn map_memory(nr_bytes: usize) -> NonNull<u8> {
    let (rights, flags) =
        (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE);
    // SAFETY: an anonymous mapping at an address of the host's choice touches nothing that exists.
    let memory = unsafe { libc::mmap(ptr::null_mut(), nr_bytes, rights, flags, -1, 0) };
    assert!(memory != libc::MAP_FAILED, "the host does not map {nr_bytes} bytes: {}", std::io::Error::last_os_error());
    NonNull::new(memory.cast()).expect("a mapping is not at address 0")
}

/// `mm` as a kernel's code calls it: as the global allocator, with a layout on both sides.
pub(crate) struct Mm;

impl Peer for Mm {
    const NAME: &'static str = "mm";

    #[inline(always)]
    fn alloc(layout: Layout) -> *mut u8 {
        // SAFETY: no layout of the workloads has size 0.
        unsafe { std::alloc::GlobalAlloc::alloc(&HEAP, layout) }
    }

    #[inline(always)]
    unsafe fn dealloc(object: *mut u8, layout: Layout) {
        // SAFETY: as promised by the caller; not null, as no workload fills the direct map.
        unsafe { std::alloc::GlobalAlloc::dealloc(&HEAP, object, layout) }
    }

    fn trim() {
        reclaim();
    }

    fn held_pages() -> Option<u64> {
        Some(held_frames())
    }
}

/// `mm` by its own functions, which say what went wrong in a `Result`.
pub(crate) struct MmResult;

impl Peer for MmResult {
    const NAME: &'static str = "mm-result";

    #[inline(always)]
    fn alloc(layout: Layout) -> *mut u8 {
        HEAP.alloc(layout).map_or(ptr::null_mut(), NonNull::as_ptr)
    }

    #[inline(always)]
    unsafe fn dealloc(object: *mut u8, layout: Layout) {
        let Some(object) = NonNull::new(object) else { return };
        // SAFETY: as promised by the caller.
        if let Err(error) = unsafe { HEAP.dealloc(object, layout) } {
            Host::report(error);
        }
    }
}
