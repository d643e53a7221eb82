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
use kernel::json;
use kernel::report::{self, Cell, Format};
use mm::frame::PAGE_SIZE;
use smp::shootdown::Settings;

use super::Out;
use super::problem::Problem;
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
    let costs = match measure() {
        Ok(costs) => costs,
        Err(problem) => {
            println!("tlb: threshold: {problem}");
            return Status::Failed;
        }
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
    let best = costs.iter().take_while(|cost| cost.by_page <= cost.at_once).map(|cost| cost.nr_pages).last();
    let (best, flush_pages) = (best.unwrap_or(0), SHOOTDOWNS.settings().full_flush_pages());
    let concluded = match format {
        Format::Text => {
            println!(
                "with {NR_WORKING} pages in use, page by page pays up to {best} pages; flush-pages is {flush_pages}"
            );
            Ok(())
        }
        Format::Json => json::line(&mut Out, |object| {
            object.text("kind", "tlb_threshold_best");
            object.number("working_pages", NR_WORKING as u64);
            object.number("best_pages", best as u64);
            object.number("flush_pages", flush_pages as u64);
        }),
    };
    if printed.and(concluded).is_ok() { Status::Ok } else { Status::Failed }
}

fn measure() -> Result<Vec<Cost>, Problem> {
    const NR_PAGES: usize = NR_WORKING + Settings::MAX_FULL_FLUSH_PAGES;
    let no_memory = Problem::NoMemory { nr_pages: NR_PAGES };
    let mut costs = Vec::new();
    costs.try_reserve(NR_FLUSHED.len()).map_err(|_| no_memory)?;
    let range = space::map(NR_PAGES, Attributes::READ_WRITE).map_err(|_| no_memory)?;
    let page = |nth: usize| range.start() + nth * PAGE_SIZE;
    let read = |nth: usize| {
        // SAFETY: a page of this function's own, mapped and readable.
        _ = unsafe { (page(nth) as *const u64).read_volatile() };
    };
    let cost_of = |flush: &dyn Fn()| {
        let mut samples = [0_u64; NR_SAMPLES];
        for sample in &mut samples {
            let guard = irq::InterruptGuard::new();
            (0..NR_PAGES).for_each(read);
            let before = tsc::read_serialised();
            flush();
            (0..NR_WORKING).for_each(read);
            *sample = tsc::read_serialised() - before;
            drop(guard);
        }
        samples.sort_unstable();
        samples[NR_SAMPLES / 2]
    };
    let at_once = cost_of(&tlb::flush_all);
    for nr_pages in NR_FLUSHED {
        let by_page = cost_of(&|| (NR_WORKING..NR_WORKING + nr_pages).for_each(|nth| tlb::flush_page(page(nth))));
        costs.push(Cost { nr_pages, by_page, at_once });
    }
    // SAFETY: the range is this function's own.
    unsafe { space::unmap(range) };
    Ok(costs)
}
