//! Rights that are taken away are gone on every CPU when `protect` returns, and the page when `unmap` does: for one page,
//! around the number of pages above which everything is flushed, and for many.

use arch::probe;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};
use mm::frame::PAGE_SIZE;
use smp::CpuId;

use super::company::{call, everybody, while_busy};
use super::verdict::{Failure, Figures, Run};
use crate::space::{self, Attributes, Mapped};
use crate::workers;

/// Pages of a range. The last one, 16 MiB, is left out where there is too little memory.
const SIZES: [usize; 5] = [1, 31, 32, 33, 4096];
/// The one range that is looked at while all CPUs compute, too: just above the number that is flushed page by page.
const SIZE_WHILE_BUSY: usize = 33;
/// Of a range with more pages than that every so many are looked at, and the last.
const MAX_LOOKED_AT: usize = 64;
/// `ret`, in every byte.
const RETURNS: u8 = 0xc3;

/// Whether this CPU can do something at an address.
type Can = fn(usize) -> bool;

/// See the file.
pub(super) fn visible(run: &Run) -> Result<Figures, Failure> {
    let nr_looks = AtomicU64::new(0);
    let mut nr_left_out = 0;
    for nr_pages in SIZES.into_iter().cycle().take(SIZES.len() * run.nr_ops as usize) {
        run.watch();
        if run.is_over() {
            break;
        }
        // Halted CPUs catch up when they wake; those that compute have to be told.
        if nr_pages == SIZE_WHILE_BUSY {
            while_busy(&workers::others(), || range(run, nr_pages, &nr_looks))?;
        }
        match range(run, nr_pages, &nr_looks) {
            Err(Failure::Memory(_)) if nr_pages > MAX_LOOKED_AT => nr_left_out += 1,
            other => other?,
        }
    }
    run.result(Figures::of([("looks", nr_looks.into_inner()), ("ranges left out for want of memory", nr_left_out)]))
}

/// Writable, read-only, gone; then executable, read-only, gone.
fn range(run: &Run, nr_pages: usize, nr_looks: &AtomicU64) -> Result<(), Failure> {
    let rights =
        [("write to", Attributes::READ_WRITE, can_write as Can), ("execute", Attributes::EXECUTABLE, can_execute)];
    for (right, attributes, can) in rights {
        let fill = |_, page: NonNull<u8>| {
            // SAFETY: the page is a frame that nobody else has yet, seen through the direct map.
            unsafe { page.write_bytes(RETURNS, PAGE_SIZE) };
        };
        let mapped = space::map_filled(nr_pages, attributes, fill)?;
        let look = |can: Can, right, is_held| {
            let look_here = |cpu: CpuId| {
                for addr in addresses(&mapped, nr_pages) {
                    nr_looks.fetch_add(1, Ordering::Relaxed);
                    if can(addr) != is_held {
                        return run.fail(Failure::Right { cpu, addr, right, is_held: !is_held });
                    }
                }
            };
            call(&everybody(), &look_here)
        };
        let seen = look(can, right, true).and_then(|()| {
            // SAFETY: whoever writes or executes does so by a probe.
            unsafe { space::protect(&mapped, Attributes::READ_ONLY) }?;
            look(can, right, false)?;
            look(can_read, "read", true)
        });
        let addr = [mapped.start(), mapped.start() + (nr_pages - 1) * PAGE_SIZE];
        // SAFETY: ours; whoever reads does so by a probe.
        unsafe { space::unmap(mapped) };
        seen?;
        call(&everybody(), &|cpu| {
            if let Some(&addr) = addr.iter().find(|&&addr| can_read(addr)) {
                run.fail(Failure::Right { cpu, addr, right: "read", is_held: true });
            }
        })?;
    }
    Ok(())
}

/// The pages that are looked at.
fn addresses(mapped: &Mapped, nr_pages: usize) -> impl Iterator<Item = usize> {
    let start = mapped.start();
    let stride = nr_pages.div_ceil(MAX_LOOKED_AT);
    (0..nr_pages).step_by(stride).chain([nr_pages - 1]).map(move |page| start + page * PAGE_SIZE)
}

fn can_read(addr: usize) -> bool {
    probe::read_u64(addr).is_some()
}

fn can_write(addr: usize) -> bool {
    // SAFETY: the page is this case's, and keeps its contents.
    unsafe { probe::write_u64(addr, u64::from_ne_bytes([RETURNS; 8])) }.is_some()
}

fn can_execute(addr: usize) -> bool {
    // SAFETY: the page is full of `ret`.
    unsafe { probe::call(addr) }
}
