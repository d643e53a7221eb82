//! The kernel's file, the command line, and modules.
//!
//! Tests pass modules named `pattern-N`, in rising order of N, whose byte at offset `i` is `(31 i + i / 256 + N) mod 256`.

use core::ffi::CStr;

use limine::file::File;

use super::memory_map::{BOOTLOADER_RECLAIMABLE, Kind, Memory};
use super::report::Report;
use super::requests::{CMDLINE, CMDLINE_REQUEST, FILE, INTERNAL, MODULES};

/// Checks them.
pub(super) fn check(report: &mut Report, memory: &Memory) {
    match FILE.get_response() {
        Some(response) => check_kernel(report, memory, response.file()),
        None => report.check(false, format_args!("executable file: not answered")),
    }
    let Some(response) = MODULES.get_response() else { return report.note(format_args!("modules: none")) };
    let modules = response.modules();
    report.check(response.revision() >= 1 && !modules.is_empty(), format_args!("modules: {}", modules.len()));
    let mut previous = 0;
    for (index, module) in modules.iter().enumerate() {
        check_file(report, memory, module);
        let physical = (module.addr() as u64).wrapping_sub(memory.hhdm);
        let is_marked = memory.is_all(physical, module.size(), Kind::EXECUTABLE_AND_MODULES);
        report.check(is_marked, format_args!("modules: {:?} is executable and modules", module.path()));
        let number = number(module.path());
        let is_internal = module.string().to_bytes() == INTERNAL.as_bytes();
        if is_internal {
            report.check(index == 0 && number == Some(9), format_args!("modules: the internal one comes first"));
        } else {
            report.check(number > Some(previous), format_args!("modules: {:?} in order", module.path()));
            previous = number.unwrap_or(previous);
        }
        // SAFETY: the loader says that the module is there, and nobody writes it.
        let content = unsafe { core::slice::from_raw_parts(module.addr(), module.size() as usize) };
        let expected = |index: usize| (31 * index + index / 256 + number.unwrap_or(0)) as u8;
        let wrong = content.iter().enumerate().position(|(index, &byte)| byte != expected(index));
        report.check(wrong.is_none(), format_args!("modules: {} bytes are right, {wrong:x?}", content.len()));
    }
    let overlap = modules.iter().enumerate().any(|(index, a)| {
        let end = |file: &File| file.addr() as u64 + file.size().next_multiple_of(4096);
        modules[..index].iter().any(|b| (a.addr() as u64) < end(b) && (b.addr() as u64) < end(a))
    });
    report.check(!overlap, format_args!("modules: have their pages to themselves"));
}

fn number(path: &CStr) -> Option<usize> {
    let (_, digits) = path.to_str().ok()?.rsplit_once("pattern-")?;
    digits.parse().ok()
}

fn check_file(report: &mut Report, memory: &Memory, file: &File) {
    let (address, size) = (file.addr() as u64, file.size());
    let path = file.path();
    report.check(path.to_bytes().starts_with(b"/"), format_args!("file {path:?}: path starts with a slash"));
    report.check(address % 4096 == 0, format_args!("file {path:?}: {size} bytes at {address:#x}, page-aligned"));
    // The kernel's own file may also be reclaimable: Limine keeps it so.
    let physical = address.wrapping_sub(memory.hhdm);
    let is_kept =
        [Kind::EXECUTABLE_AND_MODULES, BOOTLOADER_RECLAIMABLE].iter().any(|&k| memory.is_all(physical, size, k));
    report.check(is_kept, format_args!("file {path:?}: in memory that is not free"));
    report.check(
        memory.is_response(file) && memory.is_response(path),
        format_args!("file {path:?}: told in reclaimable memory"),
    );
}

fn check_kernel(report: &mut Report, memory: &Memory, file: &File) {
    check_file(report, memory, file);
    let cmdline = file.string();
    report.check(
        cmdline.to_bytes().starts_with(CMDLINE.as_bytes()),
        format_args!("command line: {cmdline:?} starts with {CMDLINE:?}"),
    );
    if let Some(response) = CMDLINE_REQUEST.get_response() {
        let is_same = core::ptr::eq(response.cmdline().as_ptr(), cmdline.as_ptr());
        report.check(is_same, format_args!("command line: both responses point to it"));
    }
    // SAFETY: the loader says that the file is there, and nobody writes it.
    let content = unsafe { core::slice::from_raw_parts(file.addr(), file.size() as usize) };
    report.check(content.starts_with(b"\x7fELF"), format_args!("executable file: is an ELF file"));
    let quad = |at: usize| content.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes);
    // The first program header is the text segment: it must be in memory as it is in the file.
    let (offset, size) = (quad(64 + 8) as usize, quad(64 + 32) as usize);
    unsafe extern "C" {
        static text_start: u8;
    }
    // SAFETY: the text segment of this image, `size` bytes long by its own header.
    let text = unsafe { core::slice::from_raw_parts(&raw const text_start, size) };
    let is_same = size > 4096 && content.get(offset..offset + size) == Some(text);
    report.check(is_same, format_args!("executable file: {size} bytes of text are those in memory"));
}
