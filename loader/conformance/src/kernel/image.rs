//! The kernel's own image: where it is, with which permissions, relocated and zeroed.

use super::mappings::walk;
use super::memory_map::{Kind, Memory};
use super::report::Report;
use super::requests::ADDRESS;

unsafe extern "C" {
    static image_start: u8;
    static text_start: u8;
    static text_end: u8;
    static rodata_start: u8;
    static rodata_end: u8;
    static data_start: u8;
    static data_end: u8;
}

/// A value in .rodata that something else points to.
static VALUE: u64 = 0x5a5a_1234_a5a5_4321;
/// A pointer that a position-independent image must have relocated.
static POINTER: &u64 = &VALUE;
/// Pointers in a row, so that the linker may pack them.
static POINTERS: [&u64; 70] = [&VALUE; 70];
static ZEROES: [u64; 3000] = [0; 3000];

/// Checks the image.
pub(super) fn check(report: &mut Report, memory: &Memory, root: u64) {
    let response = ADDRESS.get_response();
    report.check(response.is_some(), format_args!("address: answered"));
    let Some(response) = response else { return };
    let (virt, phys) = (response.virtual_base(), response.physical_base());
    let start = (&raw const image_start) as u64;
    report.check(virt == start, format_args!("address: image at {virt:#x}, physical {phys:#x}"));
    report.check(virt >= 0xffff_ffff_8000_0000, format_args!("address: in the top 2 GiB"));
    let size = (&raw const data_end) as u64 - start;
    let is_marked = memory.is_all(phys, size, Kind::EXECUTABLE_AND_MODULES);
    report.check(is_marked, format_args!("address: {size:#x} bytes are executable and modules"));
    for (name, from, to, write, execute) in [
        ("text", &raw const text_start, &raw const text_end, false, true),
        ("rodata", &raw const rodata_start, &raw const rodata_end, false, false),
        ("data", &raw const data_start, &raw const data_end, true, false),
    ] {
        let wrong = (from as u64..to as u64).step_by(4096).find(|&page| {
            !walk(memory, root, page).is_some_and(|m| {
                m.physical == phys + (page - virt)
                    && m.write == write
                    && m.execute == execute
                    && !m.user
                    && m.cache == 0
            })
        });
        let found = wrong.map(|page| (page, walk(memory, root, page)));
        report.check(wrong.is_none(), format_args!("image: {name} mapped with its permissions, {found:x?}"));
    }
    let pointers = core::hint::black_box(&POINTERS);
    let is_relocated = core::ptr::eq(*core::hint::black_box(&POINTER), &VALUE)
        && pointers.iter().all(|&pointer| core::ptr::eq(pointer, &VALUE) && *pointer == 0x5a5a_1234_a5a5_4321);
    report.check(is_relocated, format_args!("image: pointers are relocated"));
    let is_zero = core::hint::black_box(&ZEROES).iter().all(|&word| word == 0);
    report.check(is_zero, format_args!("image: .bss is zero"));
}
