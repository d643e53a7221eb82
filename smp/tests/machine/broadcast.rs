//! A machine whose CPUs flush one another's TLBs without interrupts, as INVLPGB and TLBSYNC do.
//!
//! What is asked of a CPU is a list, and a number that says how far the list goes. The CPU answers between two accesses,
//! whenever it comes to that: as late as the hardware may. A CPU that reads no more, since its part of a model is over,
//! has nothing to answer.

use std::sync::Mutex;
use std::sync::atomic::Ordering::Relaxed;

use smp::sync::{AtomicBool, AtomicUsize, Ordering, fence, unordered};
use smp::{Broadcast, PageRange};

use super::{Cpu, NO_FRAME, NR_PAGES, PAGE_SIZE};

/// The state of all broadcasts.
pub(crate) struct Wires {
    are_there: unordered::AtomicBool,
    /// A range, or everything.
    asked: Mutex<Vec<Option<PageRange>>>,
    /// How many of these have been sent.
    nr_asked: AtomicUsize,
    /// How many of these each CPU has done.
    nr_done: Vec<AtomicUsize>,
    has_stopped: Vec<AtomicBool>,
}

impl Wires {
    pub(crate) fn new(nr_cpus: usize) -> Self {
        Self {
            are_there: unordered::AtomicBool::new(false),
            asked: Mutex::new(Vec::new()),
            nr_asked: AtomicUsize::new(0),
            nr_done: (0..nr_cpus).map(|_| AtomicUsize::new(0)).collect(),
            has_stopped: (0..nr_cpus).map(|_| AtomicBool::new(false)).collect(),
        }
    }

    pub(crate) fn are_there(&self) -> bool {
        self.are_there.load(Relaxed)
    }

    pub(crate) fn install(&self) {
        self.are_there.store(true, Relaxed);
    }
}

impl<const N: usize> Cpu<N> {
    /// Does what has been asked of this CPU's TLB so far.
    pub(crate) fn answer_broadcasts(&self) {
        let wires = &self.machine.wires;
        if !wires.are_there() {
            return;
        }
        let nr_done = &wires.nr_done[self.id.index()];
        let (done, asked) = (nr_done.load(Ordering::Relaxed), wires.nr_asked.load(Ordering::Relaxed));
        if done == asked {
            return;
        }
        // With the initiator's fence: walks from here on see what it stored before that.
        fence(Ordering::Acquire);
        let asked_of = wires.asked.lock().unwrap()[done..asked].to_vec();
        for range in asked_of {
            match range {
                Some(range) => range.pages().for_each(|page| self.forget(page / PAGE_SIZE)),
                None => (0..NR_PAGES).for_each(|page| self.forget(page)),
            }
        }
        // Release: what this CPU read through the old translations happened before.
        nr_done.store(asked, Ordering::Release);
    }

    fn forget(&self, page: usize) {
        if let Some(entry) = self.tlb().get(page) {
            entry.store(NO_FRAME, Relaxed);
        }
    }

    /// This CPU's part of a model is over: it reads nothing any more, and so need not be waited for.
    pub(crate) fn stop_reading(&self) {
        if self.machine.wires.are_there() {
            self.machine.wires.has_stopped[self.id.index()].store(true, Ordering::Release);
        }
    }
}

/// A CPU's way to the TLBs of all.
pub(crate) struct Wire<'a, const N: usize>(pub(crate) &'a Cpu<N>);

impl<const N: usize> Wire<'_, N> {
    fn ask(&self, range: Option<PageRange>) {
        let wires = &self.0.machine.wires;
        let nr_asked = {
            let mut asked = wires.asked.lock().unwrap();
            asked.push(range);
            asked.len()
        };
        // Relaxed: the instruction orders nothing.
        wires.nr_asked.fetch_max(nr_asked, Ordering::Relaxed);
    }
}

impl<const N: usize> Broadcast for Wire<'_, N> {
    fn flush(&self, range: PageRange) {
        self.ask(Some(range));
    }

    fn flush_all(&self) {
        self.ask(None);
    }

    fn sync(&self) {
        let wires = &self.0.machine.wires;
        let newest = wires.nr_asked.load(Ordering::Relaxed);
        for cpu in 0..N {
            while wires.nr_done[cpu].load(Ordering::Acquire) < newest && !wires.has_stopped[cpu].load(Ordering::Acquire)
            {
                self.0.answer_broadcasts();
                self.0.yield_now();
            }
        }
    }
}
