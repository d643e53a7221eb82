//! A trial of frees by address that come at once.

use core::sync::atomic::{AtomicU64, Ordering};

use mm::error::Error;

use super::{Verdict, Wrong, sizes_that_fit};
use crate::machine::{self, CALLS, Cpu, SHOOTDOWNS};
use crate::space;

/// Times that each size is tried: which CPU comes between which steps of another is chance.
const NR_ROUNDS: usize = 4;

pub(super) fn at_once() -> Verdict {
    let wrong = |what, error| Err(Wrong::Result { what, error });
    let online = SHOOTDOWNS.online();
    for nr_pages in (0..NR_ROUNDS).flat_map(|_| sizes_that_fit()) {
        let addr = match space::alloc_pages(nr_pages) {
            Ok(pages) => pages.addr().get(),
            Err(error) => return wrong("mapping", Some(error)),
        };
        let [nr_come, nr_done, nr_refused] = [const { AtomicU64::new(0) }; 3];
        let nr_cpus = online.len() as u64;
        let free = || {
            // SAFETY: nobody has seen the range, and no other can take its place before this trial's end.
            let count = match unsafe { space::free_pages(addr) } {
                Ok(()) => &nr_done,
                Err(Error::Foreign { addr: named }) if named == addr => &nr_refused,
                Err(_) => return,
            };
            count.fetch_add(1, Ordering::Relaxed);
        };
        let meet_and_free = |_| {
            nr_come.fetch_add(1, Ordering::Relaxed);
            // Nobody else calls CPUs just now, so all of them come. Shootdowns are served meanwhile.
            machine::wait_until(|| nr_come.load(Ordering::Relaxed) == nr_cpus, || false);
            free();
        };
        if CALLS.call(&Cpu, &online, &meet_and_free).is_err() {
            return wrong("calling all CPUs", None);
        }
        free();
        if nr_done.into_inner() != 1 {
            return wrong("one free of many", None);
        }
        if nr_refused.into_inner() != nr_cpus {
            return wrong("frees of what is free, with the address", None);
        }
    }
    space::purge();
    Ok(())
}
