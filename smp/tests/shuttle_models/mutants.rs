//! The mutants that random schedules notice: those that change the order of steps, not what an access guarantees.

use smp::mutant::Mutant;

use super::machine::mutants::assert_killed;

#[test]
fn each_mutant_that_reorders_steps_is_killed() {
    let models = [
        (Mutant::PendingClearedLate, "a_storm_on_four_cpus"),
        (Mutant::AckBeforeFlush, "a_storm_on_four_cpus"),
        (Mutant::ServiceInterruptible, "a_storm_on_four_cpus"),
        (Mutant::LogTagIgnored, "a_storm_on_four_cpus"),
        (Mutant::WakeCatchesUpFirst, "a_storm_on_four_cpus"),
        (Mutant::IdleNotReevaluated, "a_storm_on_four_cpus"),
        (Mutant::JoinWithoutFlush, "a_storm_on_four_cpus"),
        (Mutant::JoinFlushesFirst, "a_storm_on_four_cpus"),
        (Mutant::PendingIgnored, "a_storm_on_four_cpus"),
        (Mutant::SendBeforePublish, "a_storm_on_four_cpus"),
        (Mutant::CallAckBeforeRun, "a_storm_on_four_cpus"),
        (Mutant::CallTakenLate, "a_storm_on_four_cpus"),
        (Mutant::CallWithoutService, "a_storm_on_four_cpus"),
    ];
    assert_killed(&models);
}
