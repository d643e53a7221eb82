//! Some CPUs flush, the others do not: who was told must see the new page, the others may see either.
//!
//! After the selftest `hyperv_tlb_flush` of Linux' KVM: pages of which every CPU remembers the translation get other
//! frames, a random set of CPUs flushes one of two pages, everybody looks. A CPU of the set that still sees the old page
//! was not reached; one outside that sees the new one was flushed for nothing, which is counted and no failure.

use core::sync::atomic::{AtomicU64, Ordering};

use kernel::rng::SplitMix64;
use smp::{CpuSet, Hardware};

use super::company::{call, everybody, while_busy};
use super::verdict::{Failure, Figures, Run};
use super::window::Window;
use crate::machine::{Cpu, SHOOTDOWNS};
use crate::per_cpu;
use crate::workers;

/// See the file.
pub(super) fn subset(run: &Run) -> Result<Figures, Failure> {
    let [flushed, left] = [Window::new()?, Window::new()?];
    let (all, me) = (everybody(), per_cpu::this().cpu);
    let mut random = SplitMix64::new(run.seed);
    let (nr_flushes, nr_wrong_cpu, nr_wrong_page) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let count = |counter: &AtomicU64| _ = counter.fetch_add(1, Ordering::Relaxed);
    while_busy(&workers::others(), || {
        for _ in 0..run.nr_ops.div_ceil(all.len() as u64) {
            run.watch();
            if run.is_over() {
                return Ok(());
            }
            let read_both = |_| {
                run.note(flushed.read().map(drop));
                run.note(left.read().map(drop));
            };
            call(&all, &read_both)?;
            let targets: CpuSet = all.iter().filter(|_| random.chance(1, 2)).collect();
            let (new, _) = (flushed.change(), left.change());
            call(&targets, &|_| {
                Cpu.flush_page(flushed.addr());
                count(&nr_flushes);
            })?;
            call(&all, &|cpu| {
                let found = flushed.look().unwrap_or(0);
                match (targets.contains(cpu), found == new) {
                    (true, false) => run.fail(Failure::Stale { cpu, found, acknowledged: new }),
                    (false, true) if cpu != me => count(&nr_wrong_cpu),
                    _ => {}
                }
                if cpu != me && left.look() == Some(left.newest()) {
                    count(&nr_wrong_page);
                }
            })?;
            SHOOTDOWNS.initiate(&Cpu, [flushed.range(), left.range()].into_iter());
            flushed.acknowledge(new);
            left.acknowledge(left.newest());
            call(&all, &read_both)?;
        }
        Ok::<_, Failure>(())
    })?;
    run.result(Figures::of([
        ("flushes", nr_flushes.into_inner()),
        ("CPUs flushed for nothing", nr_wrong_cpu.into_inner()),
        ("pages flushed for nothing", nr_wrong_page.into_inner()),
    ]))
}
