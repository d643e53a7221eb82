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
    CpuidFeature, Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, Register,
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
    // movaps xmm0, xmm1; fld1; and mov rax, rbx; ret
    assert!(vector_use(&function(&[0x0f, 0x28, 0xc1])).is_some());
    assert!(vector_use(&function(&[0xd9, 0xe8])).is_some());
    assert!(vector_use(&function(&[0x48, 0x89, 0xd8, 0xc3])).is_none());
}
