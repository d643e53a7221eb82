//! Small responses: revision, names, firmware, stack, paging mode, RSDP, date; and what must stay without one.

use super::report::Report;
use super::requests::{
    BASE_REVISION, BOOTLOADER_INFO, DATE, FIRMWARE_TYPE, HHDM, OUTSIDE, PAGING_MODE, REVISION, RSDP, STACK_SIZE,
    UNKNOWN, revision,
};

/// Checks them.
pub(super) fn check(report: &mut Report) {
    let supported = BASE_REVISION.is_supported();
    let is_future = cfg!(feature = "revision-future");
    report.check(supported != is_future, format_args!("base revision {REVISION}: supported is {supported}"));
    // Loaders that know revision 3 say which one is in force; older ones cannot.
    match BASE_REVISION.loaded_revision() {
        Some(loaded) if is_future => report.check(loaded >= 3, format_args!("base revision: loaded {loaded}")),
        Some(loaded) => report.check(loaded == REVISION, format_args!("base revision: loaded {loaded}")),
        None => report.check(REVISION < 3, format_args!("base revision: the loader does not say which one it uses")),
    }
    match BOOTLOADER_INFO.get_response() {
        Some(info) => report.check(true, format_args!("bootloader info: {} {}", info.name(), info.version())),
        None => report.check(false, format_args!("bootloader info: not answered")),
    }
    let firmware = FIRMWARE_TYPE.get_response().is_some();
    report.check(firmware, format_args!("firmware type: answered"));
    report.check(STACK_SIZE.get_response().is_some(), format_args!("stack size: answered"));
    let mode = PAGING_MODE.get_response().map(|response| response.mode());
    let is_4_level = mode == Some(limine::paging::Mode::FOUR_LEVEL);
    report.check(is_4_level, format_args!("paging mode: four levels, as asked"));
    #[cfg(not(feature = "plain-entry"))]
    report.check(super::requests::ENTRY.get_response().is_some(), format_args!("entry point: answered"));

    // A volatile read, as the loader may have written it.
    // SAFETY: a word of a static.
    let unknown = unsafe { (&raw const UNKNOWN[5]).read_volatile() };
    report.check(unknown == 0, format_args!("unknown request: not answered"));
    report.check(OUTSIDE.get_response().is_none(), format_args!("request after the end marker: not answered"));

    if let Some(date) = DATE.get_response() {
        let seconds = date.timestamp().as_secs();
        // 2020 to 2100: wherever these tests run, the clock is somewhere in there.
        report.check((1_577_836_800..4_102_444_800).contains(&seconds), format_args!("date: {seconds} s since 1970"));
    } else {
        report.note(format_args!("date: no clock"));
    }
    check_rsdp(report);
}

fn check_rsdp(report: &mut Report) {
    let Some(rsdp) = RSDP.get_response() else { return report.check(false, format_args!("rsdp: not answered")) };
    let address = rsdp.address() as u64;
    let Some(hhdm) = HHDM.get_response().map(|response| response.offset()) else { return };
    let is_virtual = address >= hhdm;
    report.check(is_virtual != (revision() == 3), format_args!("rsdp: at {address:#x}, virtual but for revision 3"));
    if revision() < 3 && is_virtual {
        // SAFETY: in the direct map, which covers the first 4 GiB.
        let bytes = unsafe { (address as *const [u8; 20]).read_unaligned() };
        let sum = bytes.iter().fold(0_u8, |sum, &byte| sum.wrapping_add(byte));
        report.check(&bytes[..8] == b"RSD PTR " && sum == 0, format_args!("rsdp: signature and checksum"));
    }
}
