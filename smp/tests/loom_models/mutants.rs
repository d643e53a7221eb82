//! Each mutant, and the model that kills it.

use smp::mutant::{ALL, Mutant};

use super::machine::mutants::assert_killed;

const TABLE: &[(Mutant, &str)] = &[
    (Mutant::InitiatorWithoutFence, "shootdown::a_cpu_that_wakes_up_sees_the_round_or_is_interrupted"),
    (Mutant::ServiceWithoutFence, "shootdown::a_cpu_that_wakes_up_sees_the_round_or_is_waited_for"),
    (Mutant::PendingClearedLate, "shootdown::every_round_reaches_a_cpu_that_is_running"),
    (Mutant::AckBeforeFlush, "shootdown::a_frame_is_reused_only_after_its_last_reader"),
    (Mutant::AckRelaxed, "shootdown::a_frame_is_reused_only_after_its_last_reader"),
    (Mutant::WaitRelaxed, "shootdown::a_frame_is_reused_only_after_its_last_reader"),
    (Mutant::GenerationRelaxed, "shootdown::a_cpu_that_wakes_up_sees_the_round_or_is_waited_for"),
    (Mutant::ServiceInterruptible, "shootdown::progress_never_moves_back"),
    (Mutant::LogTagIgnored, "shootdown::a_word_of_an_older_generation_is_not_taken_for_a_new_one"),
    (Mutant::WakeCatchesUpFirst, "shootdown::a_cpu_that_wakes_up_sees_the_round_or_is_waited_for"),
    (Mutant::IdleRelaxed, "shootdown::a_cpu_that_goes_idle_ends_the_wait"),
    (Mutant::IdleNotReevaluated, "shootdown::a_cpu_that_goes_idle_ends_the_wait"),
    (Mutant::JoinWithoutFlush, "shootdown::a_cpu_that_joins_sees_the_round_or_is_waited_for"),
    (Mutant::JoinFlushesFirst, "shootdown::a_cpu_that_joins_sees_the_round_or_is_waited_for"),
    (Mutant::PendingIgnored, "shootdown::a_cpu_that_spins_for_the_initiators_lock_answers"),
    (Mutant::SendBeforePublish, "shootdown::every_round_reaches_a_cpu_that_is_running"),
    (Mutant::BroadcastWithoutFence, "broadcast::a_frame_is_reused_only_after_its_last_reader"),
    (Mutant::BroadcastWithoutSync, "broadcast::a_frame_is_reused_only_after_its_last_reader"),
    (Mutant::BroadcastUncounted, "broadcast::a_round_proves_nothing_about_what_is_unmapped_after_it"),
    (Mutant::CallAckBeforeRun, "calls::a_call_returns_after_its_function_ran"),
    (Mutant::CallAckRelaxed, "calls::a_call_returns_after_its_function_ran"),
    (Mutant::CallTakenRelaxed, "calls::a_polled_call_sees_what_its_caller_did"),
    (Mutant::CallTakenLate, "calls::an_interrupt_shared_by_two_calls_serves_both"),
    (Mutant::CallWithoutService, "calls::two_callers_with_interrupts_off_serve_each_other"),
    (Mutant::JobFreedEarly, "calls::a_scope_ends_after_its_job"),
    (Mutant::JobDoneRelaxed, "calls::a_scope_ends_after_its_job"),
    (Mutant::BarrierOpenRelaxed, "meetings::two_cpus_meet_again_and_again"),
    (Mutant::BarrierArriveRelaxed, "meetings::two_cpus_meet_again_and_again"),
];

#[test]
fn each_mutant_is_killed() {
    assert_killed(TABLE);
}

#[test]
fn no_mutant_is_forgotten() {
    for mutant in ALL {
        assert!(TABLE.iter().any(|(listed, _)| *listed == mutant), "{mutant:?} has no model");
    }
}
