//! Reads the kernel's machine code as it was linked: the length of the allocation hit path, and what may not stand in
//! it or anywhere.
//!
//! The hit path is what a CPU executes when its magazine serves the request: from the entry of `hit_path_alloc_64` and
//! `hit_path_free_64` to their `ret`, without entering a call (a call there leads to the slow path). Needs a kernel
//! built by `just build`.

use elf::ElfBytes;
use elf::abi::{SHF_EXECINSTR, STT_FUNC};
use elf::endian::LittleEndian;
use iced_x86::{
    CpuidFeature, Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess,
    OpKind, Register,
};
use std::collections::{BTreeMap, BTreeSet};
use tests::Settings;
use tests::budget::{Measured, settle};

/// A function of the kernel: its name, its address and its bytes.
struct Function {
    name: String,
    address: u64,
    code: Vec<u8>,
}

impl Function {
    fn decode(&self) -> impl Iterator<Item = Instruction> + '_ {
        Decoder::with_ip(64, &self.code, self.address, DecoderOptions::NONE).into_iter()
    }
}

/// The functions in the kernel's symbol table, and how many bytes of code it has in all.
fn functions() -> (Vec<Function>, u64) {
    let path = Settings::default().kernel;
    let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}; run `just build`", path.display()));
    let file = ElfBytes::<LittleEndian>::minimal_parse(&bytes).expect("the kernel is an ELF file");
    let sections = file.section_headers().expect("the kernel has sections");
    let is_code = |flags: u64| flags & u64::from(SHF_EXECINSTR) != 0;
    let total = sections.iter().filter(|s| is_code(s.sh_flags)).map(|s| s.sh_size).sum();
    let (symbols, names) = file.symbol_table().expect("a symbol table").expect("the kernel is not stripped");
    let mut found = BTreeMap::new();
    for symbol in symbols.iter().filter(|s| s.st_symtype() == STT_FUNC && s.st_size > 0) {
        let section = sections.get(usize::from(symbol.st_shndx)).expect("a function lies in a section");
        let start = (section.sh_offset + symbol.st_value - section.sh_addr) as usize;
        let code = bytes[start..start + symbol.st_size as usize].to_vec();
        let name = names.get(symbol.st_name as usize).expect("a function has a name").to_string();
        found.insert(symbol.st_value, Function { name, address: symbol.st_value, code });
    }
    (found.into_values().collect(), total)
}

/// What may not stand on the hit path: bus locks (`xchg` with memory locks without saying so) and anything that masks
/// interrupts or restores the mask.
fn forbidden(instruction: &Instruction) -> bool {
    let masks = [Mnemonic::Cli, Mnemonic::Sti, Mnemonic::Popf, Mnemonic::Popfd, Mnemonic::Popfq];
    instruction.has_lock_prefix() || instruction.mnemonic() == Mnemonic::Xchg || masks.contains(&instruction.mnemonic())
}

/// The instructions reachable from a function's entry without entering a call, and the number of instructions on its
/// longest way from entry to `ret` (each instruction at most once).
struct HitPath {
    reachable: BTreeMap<u64, Instruction>,
    longest: Option<usize>,
}

fn hit_path(function: &Function) -> HitPath {
    let code: BTreeMap<u64, Instruction> = function.decode().map(|i| (i.ip(), i)).collect();
    let mut path = HitPath { reachable: BTreeMap::new(), longest: None };
    walk(&code, function.address, &mut BTreeSet::new(), &mut path);
    path
}

/// Follows every way that makes no call, each instruction at most once on a way. The hit path is a handful of tests
/// in a row, so the number of ways is small.
fn walk(code: &BTreeMap<u64, Instruction>, at: u64, way: &mut BTreeSet<u64>, path: &mut HitPath) {
    // A jump out of the function is a tail call.
    let Some(instruction) = code.get(&at) else { return };
    if !way.insert(at) {
        return;
    }
    path.reachable.insert(at, *instruction);
    match instruction.flow_control() {
        FlowControl::Next => walk(code, instruction.next_ip(), way, path),
        FlowControl::ConditionalBranch => {
            walk(code, instruction.next_ip(), way, path);
            walk(code, instruction.near_branch_target(), way, path);
        }
        FlowControl::UnconditionalBranch => walk(code, instruction.near_branch_target(), way, path),
        FlowControl::Return => path.longest = path.longest.max(Some(way.len())),
        // Calls, traps and what cannot be followed are not the hit path.
        _ => {}
    }
    way.remove(&at);
}

/// The instructions of the hit path of the kernel's function `name`.
fn check_hit_path(name: &str) -> u64 {
    let (functions, _) = functions();
    let function = functions.iter().find(|f| f.name == name).unwrap_or_else(|| panic!("the kernel exports {name}"));
    let path = hit_path(function);
    let longest = path.longest.unwrap_or_else(|| panic!("{name} has no way to its end without a call"));
    for instruction in path.reachable.values() {
        assert!(!forbidden(instruction), "{name} has `{instruction}` on its hit path");
    }
    assert!(longest >= 4, "{name} has {longest} instructions on its hit path");
    longest as u64
}

/// What may not stand on the hit paths stands there not, and they are as long as the budget says.
#[test]
fn hit_paths_lock_nothing_mask_nothing_and_stay_within_the_budget() {
    let paths = [("alloc-constant", "hit_path_alloc_64"), ("free-constant", "hit_path_free_64")];
    let measured = paths.map(|(name, function)| Measured::new(name, check_hit_path(function), 1));
    let outcome = settle("kernel", &measured).expect("mm/budget.txt is in order");
    println!("instructions of the hit paths, entry to ret: path, budget, measured\n{}", outcome.table);
    assert_eq!(outcome.nr_failed, 0, "\n{}", outcome.table);
}

/// A bus-locked operation on memory that another CPU may write, too. `xchg` with memory locks without saying so; the
/// compiler's full fence is a locked operation on the CPU's own stack, which no other CPU touches.
fn locks_shared_memory(instruction: &Instruction) -> bool {
    let has_memory = (0..instruction.op_count()).any(|i| instruction.op_kind(i) == OpKind::Memory);
    let is_locked = instruction.has_lock_prefix() || instruction.mnemonic() == Mnemonic::Xchg;
    has_memory && is_locked && instruction.memory_base() != Register::RSP
}

/// The functions that can run when the one at `entry` does, without those that only end the machine.
fn callees<'a>(functions: &'a [Function], entry: &'a Function) -> Vec<&'a Function> {
    let mut found = vec![entry];
    let mut next = 0;
    while let Some(function) = found.get(next).copied() {
        next += 1;
        for instruction in function.decode() {
            let target = match instruction.flow_control() {
                FlowControl::Call | FlowControl::UnconditionalBranch | FlowControl::ConditionalBranch => {
                    instruction.near_branch_target()
                }
                FlowControl::IndirectCall | FlowControl::IndirectBranch => {
                    panic!("{} leads somewhere unknown: `{instruction}`", function.name)
                }
                _ => continue,
            };
            let callee = functions.iter().find(|f| (f.address..f.address + f.code.len() as u64).contains(&target));
            let callee = callee.unwrap_or_else(|| panic!("{} leads to no function: `{instruction}`", function.name));
            if !callee.name.contains("panicking") && !found.iter().any(|f| f.address == callee.address) {
                found.push(callee);
            }
        }
    }
    found
}

/// What a target does to acknowledge a shootdown, in its interrupt handler and in its wait loops: stores to lines that it
/// alone writes, and no bus lock, in any function that can run.
#[test]
fn acknowledging_a_shootdown_locks_no_shared_memory() {
    let (functions, _) = functions();
    for part in ["on_shootdown", "service_if_pending"] {
        let entry = functions.iter().find(|f| f.name.contains(part)).unwrap_or_else(|| panic!("the kernel has {part}"));
        for function in callees(&functions, entry) {
            if let Some(locked) = function.decode().find(locks_shared_memory) {
                panic!("{part} comes to {}, which has `{locked}`", function.name);
            }
        }
    }
    // The initiator's side has what it must have, and the check sees it: announcing, and telling each target.
    let initiator = |f: &&Function| f.name.contains("shootdown5round") && f.decode().any(|i| locks_shared_memory(&i));
    assert!(functions.iter().any(|f| initiator(&f)), "no initiator tells anybody");
}

/// The x2APIC's interrupt command register, and the one for interrupts to oneself.
const ICR_MSRS: [u64; 2] = [0x830, 0x83f];

/// The constant that `register`, of 32 bits, holds behind `code`, through copies; `None` if it is loaded or computed.
fn constant(code: &[Instruction], register: Register) -> Option<u64> {
    let sets = |i: &Instruction| i.mnemonic() == Mnemonic::Mov && i.op0_register() == register;
    let (at, last) = code.iter().enumerate().rev().find(|(_, i)| sets(i))?;
    match last.op1_kind() {
        OpKind::Register => constant(&code[..at], last.op1_register()),
        OpKind::Immediate32 => Some(u64::from(last.immediate32())),
        _ => None,
    }
}

/// The writes to the interrupt command register in `function`, and whether `mfence; lfence` stands before each with no
/// store in between.
fn sends(function: &Function) -> Vec<bool> {
    let code: Vec<Instruction> = function.decode().collect();
    let mut info = InstructionInfoFactory::new();
    let mut found = Vec::new();
    for (at, _) in code.iter().enumerate().filter(|(_, i)| i.mnemonic() == Mnemonic::Wrmsr) {
        let before = code[at.saturating_sub(16)..at].iter().rev();
        let number = constant(&code[..at], Register::ECX);
        if number.is_some_and(|number| ICR_MSRS.contains(&number)) {
            let mut stores = |i: &Instruction| info.info(i).used_memory().iter().any(|m| m.access() != OpAccess::Read);
            let mut since: Vec<&Instruction> = before.take_while(|i| i.mnemonic() != Mnemonic::Mfence).collect();
            let has_both = since.len() < 16 && since.pop().is_some_and(|i| i.mnemonic() == Mnemonic::Lfence);
            found.push(has_both && !since.into_iter().any(&mut stores));
        }
    }
    found
}

/// A write to an x2APIC register orders nothing by itself: an interrupt could overtake what it announces.
#[test]
fn a_fence_stands_before_every_write_of_the_interrupt_command_register() {
    let (functions, _) = functions();
    let mut nr_sends = 0;
    for function in &functions {
        let sends = sends(function);
        assert!(sends.iter().all(|is_fenced| *is_fenced), "{} sends without a fence", function.name);
        nr_sends += sends.len();
    }
    assert!(nr_sends > 0, "nobody sends");
}

/// The first instruction of a function that uses a vector, MMX or x87 register.
fn vector_use(function: &Function) -> Option<Instruction> {
    let mut info = InstructionInfoFactory::new();
    let unsaved = |r: Register| r.is_vector_register() || r.is_mm() || r.is_st();
    let x87 = |i: &Instruction| i.cpuid_features().contains(&CpuidFeature::FPU);
    function.decode().find(|i| x87(i) || info.info(i).used_registers().iter().any(|used| unsaved(used.register())))
}

/// A handler that used vector or floating-point registers would destroy those of the code it interrupts: the kernel
/// saves none.
#[test]
fn no_function_uses_vector_or_floating_point_registers() {
    let (functions, total) = functions();
    let mut covered = 0;
    for function in &functions {
        covered += function.code.len() as u64;
        if let Some(instruction) = vector_use(function) {
            panic!("{} has `{instruction}`", function.name);
        }
    }
    assert!(functions.len() > 100, "only {} functions found", functions.len());
    assert!(covered * 100 >= total * 90, "only {covered} of {total} bytes of code belong to a known function");
}

/// The checks above can fail: they find what they look for in code that has it.
#[test]
fn the_checks_see_what_they_look_for() {
    let function = |code: &[u8]| Function { name: "sample".into(), address: 0x1000, code: code.to_vec() };
    // je +1; ret; lock inc dword ptr [rax]; ret
    let branch = hit_path(&function(&[0x74, 0x01, 0xc3, 0xf0, 0xff, 0x00, 0xc3]));
    assert_eq!((branch.longest, branch.reachable.len()), (Some(3), 4));
    assert!(branch.reachable.values().any(forbidden));
    // xchg [rax], ecx; pushfq; popfq; cli; ret
    let masking = hit_path(&function(&[0x87, 0x08, 0x9c, 0x9d, 0xfa, 0xc3]));
    assert_eq!(masking.reachable.values().filter(|i| forbidden(i)).count(), 3);
    // jne to itself; call; ret: a loop ends, and behind a call there is no hit path.
    assert_eq!(hit_path(&function(&[0x75, 0xfe, 0xe8, 0, 0, 0, 0, 0xc3])).longest, None);
    // lock inc dword ptr [rax]; xchg [rax], ecx; lock or dword ptr [rsp], 0; xchg eax, ecx
    let locks = [&[0xf0, 0xff, 0x00][..], &[0x87, 0x08], &[0xf0, 0x83, 0x0c, 0x24, 0], &[0x91]];
    assert_eq!(locks.map(|code| function(code).decode().any(|i| locks_shared_memory(&i))), [true, true, false, false]);
    // mov ecx, 0x830; wrmsr, without a fence, with both, with the store of what is announced behind them, with one.
    let (select, store, write) = (&[0xb9, 0x30, 0x08, 0, 0][..], &[0x89, 0x07][..], &[0x0f, 0x30][..]);
    let (mfence, lfence) = (&[0x0f, 0xae, 0xf0][..], &[0x0f, 0xae, 0xe8][..]);
    assert_eq!(sends(&function(&[select, write].concat())), [false]);
    assert_eq!(sends(&function(&[store, mfence, lfence, select, write].concat())), [true]);
    assert_eq!(sends(&function(&[mfence, lfence, store, select, write].concat())), [false]);
    assert_eq!(sends(&function(&[store, mfence, select, write].concat())), [false]);
    assert!(sends(&function(&[&[0xb9, 0x0b, 0x08, 0, 0][..], write].concat())).is_empty());
    // movaps xmm0, xmm1; fld1; and mov rax, rbx; ret
    assert!(vector_use(&function(&[0x0f, 0x28, 0xc1])).is_some());
    assert!(vector_use(&function(&[0xd9, 0xe8])).is_some());
    assert!(vector_use(&function(&[0x48, 0x89, 0xd8, 0xc3])).is_none());
}
