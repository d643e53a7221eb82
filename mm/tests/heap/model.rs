//! Any sequence of operations, beside a naive model; the same with each of the debug modes.

use std::alloc::Layout;
use std::collections::BTreeMap;
use std::ptr::NonNull;

use mm::debug::{DebugFlags, DebugRules};
use mm::frame_table::Kind;
use proptest::prelude::*;

use crate::common::{TestHeap, take_findings, take_reports, with_guard_pool};
use crate::{ALL_CHECKS, layout, stamp, verify};

#[derive(Clone, Debug)]
enum Op {
    Alloc { size: usize, shift: u32 },
    Free { which: usize },
    Realloc { which: usize, size: usize },
    Frame,
    Drain,
    Reclaim,
    Cpu { cpu: usize },
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let size = prop_oneof![4 => 0..600_usize, 2 => 0..40_000_usize, 1 => 0..300_000_usize];
    let op = prop_oneof![
        8 => (size.clone(), 0..14_u32).prop_map(|(size, shift)| Op::Alloc { size, shift }),
        7 => (0..1000_usize).prop_map(|which| Op::Free { which }),
        1 => (0..1000_usize, size).prop_map(|(which, size)| Op::Realloc { which, size }),
        1 => Just(Op::Frame),
        1 => Just(Op::Drain),
        1 => Just(Op::Reclaim),
        2 => (0..3_usize).prop_map(|cpu| Op::Cpu { cpu }),
    ];
    proptest::collection::vec(op, 1..if cfg!(miri) { 30 } else { 250 })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 2 } else { 32 }, ..ProptestConfig::default() })]

    /// The model: which byte ranges are live, with which contents. Live ranges never overlap, keep their contents, and
    /// the account adds up after every step.
    #[test]
    fn the_stack_behaves_like_a_map_of_disjoint_ranges(ops in ops()) {
        follow_the_model(&TestHeap::new(1024), ops)?;
    }

    /// The same with every debug check on every cache, and none finds anything.
    #[test]
    fn the_stack_behaves_the_same_with_all_debug_checks(ops in ops()) {
        follow_the_model(&TestHeap::with_rules(4096, &ALL_CHECKS), ops)?;
        prop_assert_eq!(take_findings(), []);
    }

    /// And when every third visit behind the magazines gets a guarded object.
    #[test]
    fn the_stack_behaves_the_same_with_guarded_objects(ops in ops()) {
        let test = TestHeap::new(1024);
        with_guard_pool();
        test.heap.set_guard_interval(3);
        follow_the_model(&test, ops)?;
        prop_assert_eq!(take_findings(), []);
    }

    /// And with each of them alone.
    #[test]
    fn the_stack_behaves_the_same_with_one_debug_check(ops in ops(), which in 0..3_usize) {
        follow_the_model(&TestHeap::with_rules(4096, ONE_CHECK[which]), ops)?;
        prop_assert_eq!(take_findings(), []);
    }
}

static POISON: DebugRules = |_, _| DebugFlags::POISON;
static REDZONE: DebugRules = |_, _| DebugFlags::REDZONE;
static AUDIT: DebugRules = |_, _| DebugFlags::AUDIT;
const ONE_CHECK: [&DebugRules; 3] = [&POISON, &REDZONE, &AUDIT];

fn follow_the_model(test: &TestHeap, ops: Vec<Op>) -> Result<(), TestCaseError> {
    let mut live: BTreeMap<usize, (NonNull<u8>, Layout, usize)> = BTreeMap::new();
    let mut frames = Vec::new();
    for (step, op) in ops.into_iter().enumerate() {
        match op {
            Op::Alloc { size, shift } => {
                let layout = layout(size, 1 << shift);
                if let Ok(object) = test.heap.alloc(layout) {
                    let start = object.addr().get();
                    prop_assert_eq!(start % layout.align(), 0);
                    let before = live.range(..start + size.max(1)).next_back();
                    prop_assert!(before.is_none_or(|(&at, (_, other, _))| at + other.size().max(1) <= start));
                    stamp(object, size, step);
                    live.insert(start, (object, layout, step));
                }
            }
            Op::Free { which } | Op::Realloc { which, .. } if live.is_empty() => {
                let _ = which;
            }
            Op::Free { which } => {
                let key = *live.keys().nth(which % live.len()).expect("in range");
                let (object, layout, seed) = live.remove(&key).expect("live");
                verify(object, layout.size(), seed);
                // SAFETY: removed from the model, not used any more.
                unsafe { test.heap.dealloc(object, layout) }.expect("ours");
            }
            Op::Realloc { which, size } => {
                let key = *live.keys().nth(which % live.len()).expect("in range");
                let (object, old, seed) = live[&key];
                if old.align() <= 16 {
                    // SAFETY: live; the old address is not used on success.
                    if let Ok(new) = unsafe { test.heap.realloc(object, size) } {
                        live.remove(&key);
                        verify(new, size.min(old.size()), seed);
                        stamp(new, size, step);
                        live.insert(new.addr().get(), (new, layout(size, 16), step));
                    }
                }
            }
            Op::Frame => {
                if let Ok(frame) = test.heap.alloc_frame(Kind::Owned) {
                    frames.push(frame);
                }
            }
            Op::Drain => test.heap.drain_this_cpu(),
            Op::Reclaim => test.heap.reclaim(),
            Op::Cpu { cpu } => test.enter_cpu(cpu),
        }
        test.check();
    }
    for (object, layout, seed) in live.into_values() {
        verify(object, layout.size(), seed);
        // SAFETY: not used any more.
        unsafe { test.heap.dealloc(object, layout) }.expect("ours");
    }
    for frame in frames {
        // SAFETY: not used any more.
        unsafe { test.heap.frames().free(frame, Kind::Owned) }.expect("ours");
    }
    for cpu in 0..3 {
        test.enter_cpu(cpu);
        test.heap.drain_this_cpu();
    }
    prop_assert_eq!(test.heap.check_debugged(), 0);
    test.check_empty();
    prop_assert_eq!(take_reports(), []);
    Ok(())
}
