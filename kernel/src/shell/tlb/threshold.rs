//! `tlb threshold`: when flushing page by page begins to cost more than flushing everything, here.
//!
//! What a flush costs is not only its own time: after it the CPU walks the page tables again for whatever it still uses.
//! So each way is timed together with one read of every page of a working set. Page by page, `k` other pages are
//! forgotten, and the working set stays; all at once, it goes too.
//!
//! Under emulation that is the emulator's own TLB, and with a clock of instructions every flush is one tick: only on a
//! real machine do these figures say where `flush-pages=` should be.

use alloc::vec::Vec;

use arch::{irq, tlb, tsc};
use kernel::report::{self, Cell, Format};
use mm::frame::PAGE_SIZE;
use smp::shootdown::Settings;

use super::Out;
use crate::console::println;
use crate::machine::SHOOTDOWNS;
use crate::shell::Status;
use crate::space::{self, Attributes};

/// Pages that a CPU still needs after the flush.
const NR_WORKING: usize = 64;
/// Numbers of pages that are flushed: doubled, and the neighbours of the default.
const NR_FLUSHED: [usize; 10] = [1, 2, 4, 8, 16, 24, 32, 40, 48, 63];
/// Each is timed so often; the middle counts.
const NR_SAMPLES: usize = 31;

/// One row: ticks to forget so many pages, and to read the working set.
#[derive(Clone, Copy)]
struct Cost {
    nr_pages: usize,
    by_page: u64,
    at_once: u64,
}

/// Measures and prints.
pub(super) fn print(format: Format) -> Status {
    let Some(costs) = measure() else {
        println!("tlb: no memory for {} pages", NR_WORKING + Settings::MAX_FULL_FLUSH_PAGES);
        return Status::Failed;
    };
    let columns = [
        ("pages", "pages"),
        ("page by page, ticks", "by_page_ticks"),
        ("all at once, ticks", "at_once_ticks"),
        ("cheaper", "cheaper"),
    ];
    let printed = report::table(&mut Out, format, "tlb_threshold", columns, |row| {
        for cost in &costs {
            let cheaper = if cost.by_page <= cost.at_once { "page by page" } else { "all at once" };
            row([
                Cell::Id(cost.nr_pages as u64),
                Cell::Count(cost.by_page),
                Cell::Count(cost.at_once),
                Cell::Text(&cheaper),
            ]);
        }
    });
    if format == Format::Text {
        let best = costs.iter().take_while(|cost| cost.by_page <= cost.at_once).map(|cost| cost.nr_pages).last();
        println!(
            "with {NR_WORKING} pages in use, page by page pays up to {} pages; flush-pages is {}",
            best.unwrap_or(0),
            SHOOTDOWNS.settings().full_flush_pages()
        );
    }
    if printed.is_ok() { Status::Ok } else { Status::Failed }
}

fn measure() -> Option<Vec<Cost>> {
    let range = space::map(NR_WORKING + Settings::MAX_FULL_FLUSH_PAGES, Attributes::READ_WRITE).ok()?;
    let page = |nth: usize| range.start() + nth * PAGE_SIZE;
    let read = |nth: usize| {
        // SAFETY: a page of this function's own, mapped and readable.
        _ = unsafe { (page(nth) as *const u64).read_volatile() };
    };
    let cost_of = |flush: &dyn Fn()| {
        let mut samples = [0_u64; NR_SAMPLES];
        for sample in &mut samples {
            let guard = irq::InterruptGuard::new();
            (0..NR_WORKING + Settings::MAX_FULL_FLUSH_PAGES).for_each(read);
            let before = tsc::read_serialised();
            flush();
            (0..NR_WORKING).for_each(read);
            *sample = tsc::read_serialised() - before;
            drop(guard);
        }
        samples.sort_unstable();
        samples[NR_SAMPLES / 2]
    };
    let mut costs = Vec::new();
    costs.try_reserve(NR_FLUSHED.len()).ok()?;
    let at_once = cost_of(&tlb::flush_all);
    for nr_pages in NR_FLUSHED {
        let by_page = cost_of(&|| (NR_WORKING..NR_WORKING + nr_pages).for_each(|nth| tlb::flush_page(page(nth))));
        costs.push(Cost { nr_pages, by_page, at_once });
    }
    // SAFETY: the range is this function's own.
    unsafe { space::unmap(range) };
    Some(costs)
}
