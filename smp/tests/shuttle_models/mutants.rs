//! The mutants that random schedules of a storm notice: those that change the order of steps, and are neither hidden by
//! the machine (its `relax` serves what a wait loop forgets) nor too rare for chance. Loom's table has all.

use smp::mutant::Mutant;

use super::machine::mutants::assert_killed;

#[test]
fn each_mutant_that_reorders_steps_is_killed() {
    let models = [
        // Rare: which storm meets it depends on the schedules. Loom finds it always.
        (Mutant::PendingClearedLate, "a_storm_across_the_wrap_of_generations"),
        (Mutant::ServiceInterruptible, "a_storm_on_four_cpus"),
        (Mutant::WakeCatchesUpFirst, "a_storm_on_four_cpus"),
        (Mutant::JoinWithoutFlush, "a_storm_on_four_cpus"),
        (Mutant::JoinFlushesFirst, "a_storm_on_four_cpus"),
        (Mutant::SendBeforePublish, "a_storm_on_four_cpus"),
        (Mutant::CallTakenLate, "a_storm_on_four_cpus"),
    ];
    assert_killed(&models);
}
