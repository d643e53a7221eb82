//! What a wait does about a CPU that does not answer: asks again, then finds out where it is. That it gives up in the end
//! is for `fault deaf` to show, which the machine does not survive.

use smp::CpuSet;

use super::company::{a_target, call, while_busy, while_masked};
use super::verdict::{Failure, Figures, Run, expect};
use super::watched::Watched;
use super::window::Window;
use crate::image;
use crate::machine::SHOOTDOWNS;

/// The interrupt of a round is lost. The target computes and would not look by itself: only the watchdog's second
/// interrupt ends the wait, and nobody is reported.
pub(super) fn lost_interrupt(run: &Run) -> Result<Figures, Failure> {
    let target = CpuSet::of(a_target()?);
    let window = Window::new()?;
    while_busy(&target, || {
        for _ in 0..run.nr_ops {
            let watched = Watched::losing_first();
            window.step(&watched);
            expect("interrupts asked for", watched.nr_sent(), (2, 2))?;
            expect("reports of a late CPU", watched.nr_late(), (0, 0))?;
            call(&target, &|_| run.note(window.read().map(drop)))?;
        }
        Ok::<_, Failure>(())
    })?;
    run.result(Figures::of([("interrupts sent again", run.nr_ops)]))
}

/// The target keeps its interrupts off for good: asked again in vain, it is reported, and an NMI finds out where it is.
/// Then it answers, and the wait ends.
pub(super) fn no_answer(run: &Run) -> Result<Figures, Failure> {
    let target = a_target()?;
    let window = Window::new()?;
    for _ in 0..run.nr_ops {
        let after = || run.note(window.read().map(drop));
        while_masked(run, target, 0, after, |go_on| {
            let watched = Watched::until_late(go_on);
            let (version, round) = window.begin(&watched);
            SHOOTDOWNS.wait(&watched, round);
            window.acknowledge(version);
            expect("interrupts asked for", watched.nr_sent(), (2, 2))?;
            expect("reports of a late CPU", watched.nr_late(), (1, 1))?;
            match watched.late_cpu() {
                Some((late, Some(rip))) if late == target && image::text().contains(&(rip as usize)) => Ok(()),
                _ => Err(Failure::Missing { what: "the answer of the CPU that was late to an NMI" }),
            }
        })?;
    }
    run.result(Figures::of([("CPUs reported", run.nr_ops)]))
}
