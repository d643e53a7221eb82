//! The state of a processor at its first instruction, caught before anything changes it.
//!
//! Three entries lead here: the ELF header's, the one of the entry point request, and the one for other processors.
//! Each saves all registers into a [`State`] and goes on in Rust on the stack it was given.

use core::arch::naked_asm;

use super::first_cpu;
use super::memory_map::{BOOTLOADER_RECLAIMABLE, Memory};
use super::report::Report;
use super::requests::STACK_BYTES;

/// Registers at entry, in the order in which the entries save them.
#[repr(C)]
#[derive(Default)]
pub(super) struct State {
    /// rax, rbx, rcx, rdx, rsi, rdi, rbp, r8 to r15.
    pub(super) general: [u64; 15],
    pub(super) rsp: u64,
    pub(super) rflags: u64,
    pub(super) cr0: u64,
    pub(super) cr3: u64,
    pub(super) cr4: u64,
    pub(super) efer: u64,
    pub(super) pat: u64,
    /// cs, ds, es, fs, gs, ss.
    pub(super) selectors: [u64; 6],
    pub(super) gdt_limit: u64,
    pub(super) gdt_base: u64,
}

/// Where the boot processor's state is caught.
static mut FIRST: State = State {
    general: [0; 15],
    rsp: 0,
    rflags: 0,
    cr0: 0,
    cr3: 0,
    cr4: 0,
    efer: 0,
    pat: 0,
    selectors: [0; 6],
    gdt_limit: 0,
    gdt_base: 0,
};

/// Saves everything to the `State` whose address is on top of the stack, above the old rax; then both are gone.
macro_rules! save_state {
    () => {
        r#"
        mov rax, [rsp]
        mov [rax + 1 * 8], rbx
        mov [rax + 2 * 8], rcx
        mov [rax + 3 * 8], rdx
        mov [rax + 4 * 8], rsi
        mov [rax + 5 * 8], rdi
        mov [rax + 6 * 8], rbp
        mov [rax + 7 * 8], r8
        mov [rax + 8 * 8], r9
        mov [rax + 9 * 8], r10
        mov [rax + 10 * 8], r11
        mov [rax + 11 * 8], r12
        mov [rax + 12 * 8], r13
        mov [rax + 13 * 8], r14
        mov [rax + 14 * 8], r15
        mov rbx, rax
        add rsp, 8
        pop rax
        mov [rbx], rax
        pop rax
        mov [rbx + 16 * 8], rax
        mov [rbx + 15 * 8], rsp
        mov rax, cr0
        mov [rbx + 17 * 8], rax
        mov rax, cr3
        mov [rbx + 18 * 8], rax
        mov rax, cr4
        mov [rbx + 19 * 8], rax
        mov ecx, 0xc0000080
        rdmsr
        mov [rbx + 20 * 8], eax
        mov [rbx + 20 * 8 + 4], edx
        mov ecx, 0x277
        rdmsr
        mov [rbx + 21 * 8], eax
        mov [rbx + 21 * 8 + 4], edx
        mov [rbx + 22 * 8], cs
        mov [rbx + 23 * 8], ds
        mov [rbx + 24 * 8], es
        mov [rbx + 25 * 8], fs
        mov [rbx + 26 * 8], gs
        mov [rbx + 27 * 8], ss
        sub rsp, 16
        sgdt [rsp]
        movzx eax, word ptr [rsp]
        mov [rbx + 28 * 8], rax
        mov rax, [rsp + 2]
        mov [rbx + 29 * 8], rax
        add rsp, 16
        mov rdi, rbx
        and rsp, -16
        xor ebp, ebp
        "#
    };
}

/// Entry by the entry point request.
#[cfg(not(feature = "plain-entry"))]
#[unsafe(naked)]
pub(super) extern "C" fn requested_entry() -> ! {
    naked_asm!(
        "pushfq",
        "push rax",
        "lea rax, [rip + {first}]",
        "push rax",
        save_state!(),
        "call {run}",
        "ud2",
        first = sym FIRST,
        run = sym first_cpu,
    )
}

/// Entry by the ELF header. With an entry point request nobody may come here: the stack is then broken on purpose.
#[unsafe(naked)]
#[unsafe(no_mangle)]
extern "C" fn _start() -> ! {
    #[cfg(not(feature = "plain-entry"))]
    naked_asm!("call {wrong}", "ud2", wrong = sym wrong_entry);
    #[cfg(feature = "plain-entry")]
    naked_asm!(
        "pushfq",
        "push rax",
        "lea rax, [rip + {first}]",
        "push rax",
        save_state!(),
        "call {run}",
        "ud2",
        first = sym FIRST,
        run = sym first_cpu,
    )
}

#[cfg(not(feature = "plain-entry"))]
extern "C" fn wrong_entry() -> ! {
    panic!("entered at the ELF entry point, although another one was requested")
}

/// Entry of another processor, by `goto_address`; the state goes to where `extra_argument` of its info points.
#[unsafe(naked)]
pub(super) unsafe extern "C" fn other_entry(info: &limine::mp::Cpu) -> ! {
    naked_asm!(
        "pushfq",
        "push rax",
        "push qword ptr [rdi + 24]",
        save_state!(),
        "call {run}",
        "ud2",
        run = sym super::processors::other_cpu,
    )
}

/// What the seven descriptors must say, without accessed bits and what 64-bit mode ignores: code or data, default size,
/// long mode, limit.
const DESCRIPTORS: [(u64, u64); 7] = [
    (u64::MAX, 0),
    (0xffff_feff_ffff_ffff, 0x0000_9a00_0000_ffff),
    (0xffff_feff_ffff_ffff, 0x0000_9200_0000_ffff),
    (0xffff_feff_ffff_ffff, 0x00cf_9a00_0000_ffff),
    (0xffff_feff_ffff_ffff, 0x00cf_9200_0000_ffff),
    (0x0060_fe00_0000_0000, 0x0020_9a00_0000_0000),
    (0x0000_fe00_0000_0000, 0x0000_9200_0000_0000),
];

impl State {
    /// Checks everything that the protocol says of a processor at entry; `rdi` is what RDI must be.
    pub(super) fn check(&self, report: &mut Report, who: &str, memory: &Memory, rdi: u64) {
        let mut expected = [0; 15];
        expected[5] = rdi;
        report.check(self.general == expected, format_args!("{who}: general registers {:x?}", self.general));
        let flags = self.rflags;
        report
            .check(flags & (1 << 9 | 1 << 10 | 1 << 17) == 0, format_args!("{who}: rflags {flags:#x}: no IF, DF, VM"));
        let cr0 = self.cr0;
        report.check(cr0 & 0x8001_0001 == 0x8001_0001, format_args!("{who}: cr0 {cr0:#x}: PG, WP, PE"));
        report.check(cr0 & 0x6000_000c == 0, format_args!("{who}: cr0 {cr0:#x}: no CD, NW, EM, TS"));
        report.check(self.cr4 == 0x20, format_args!("{who}: cr4 {:#x}: PAE alone", self.cr4));
        report.check(self.efer == 0xd00, format_args!("{who}: efer {:#x}: LME, LMA, NXE", self.efer));
        let pat = self.pat & 0xffff_ffff_ffff;
        report.check(pat == 0x0105_0007_0406, format_args!("{who}: pat {:#x}", self.pat));
        let [cs, data @ ..] = self.selectors;
        report.check(cs == 0x28 && data == [0x30; 5], format_args!("{who}: selectors {:x?}", self.selectors));
        let root = self.cr3 & !0xfff;
        report
            .check(memory.is_all(root, 4096, BOOTLOADER_RECLAIMABLE), format_args!("{who}: cr3 {root:#x} reclaimable"));
        self.check_gdt(report, who, memory);
        self.check_stack(report, who, memory);
    }

    fn check_gdt(&self, report: &mut Report, who: &str, memory: &Memory) {
        let base = self.gdt_base;
        let in_place = self.gdt_limit >= 7 * 8 - 1
            && base >= memory.hhdm
            && memory.is_all(base - memory.hhdm, 56, BOOTLOADER_RECLAIMABLE);
        report.check(in_place, format_args!("{who}: gdt {base:#x}, limit {:#x}, reclaimable", self.gdt_limit));
        if in_place {
            // SAFETY: reclaimable memory is mapped in the direct map, and nobody writes the table.
            let table = unsafe { (base as *const [u64; 7]).read_unaligned() };
            let is_right = table.iter().zip(DESCRIPTORS).all(|(entry, (mask, value))| entry & mask == value & mask);
            report.check(is_right, format_args!("{who}: descriptors {table:x?}"));
        }
    }

    fn check_stack(&self, report: &mut Report, who: &str, memory: &Memory) {
        let rsp = self.rsp;
        report.check(rsp % 16 == 8, format_args!("{who}: stack {rsp:#x} aligned as after a call"));
        let bottom = (rsp + 8).wrapping_sub(memory.hhdm).wrapping_sub(STACK_BYTES);
        let is_there = memory.is_all(bottom, STACK_BYTES, BOOTLOADER_RECLAIMABLE);
        report.check(is_there, format_args!("{who}: {STACK_BYTES:#x} bytes of stack, reclaimable"));
        if is_there {
            // SAFETY: the top word of the stack this processor was given.
            let address = unsafe { (rsp as *const u64).read_volatile() };
            report.check(address == 0, format_args!("{who}: return address {address:#x}"));
        }
    }
}
