//! Recordings to send: one as a kernel makes them, and any.

use proptest::prelude::*;
use qr::summary;
use records::lines::Recording;
use records::{End, Latency, Meta, Record, Remark, Throughput, VERSION};

/// The summary of a run, as text.
pub(crate) fn text(run: &Recording) -> String {
    let mut text = String::new();
    let whole = "a string takes everything";
    summary::meta(&run.meta).write(&mut text).expect(whole);
    for row in &run.rows {
        let quartiles = summary::quartiles(&mut row.milliticks_per_op.to_vec());
        summary::row(row, quartiles.as_ref().map_or(&[], |quartiles| quartiles)).write(&mut text).expect(whole);
    }
    run.latencies.iter().for_each(|latency| latency.write(&mut text).expect(whole));
    run.remarks.iter().for_each(|remark| remark.write(&mut text).expect(whole));
    run.end.iter().for_each(|end| end.write(&mut text).expect(whole));
    text
}

/// A run of so many rows, with figures that do not repeat.
pub(crate) fn usual(nr_rows: u64) -> Recording {
    let mut random = 1_u64;
    let mut next = |most: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % most
    };
    let row = |index: u64| Throughput {
        workload: ["pair64", "larson", "mstress"][(index / 7 % 3) as usize].into(),
        contender: ["heap", "slabs", "talc", "rlsf", "buddy", "linked_list", "slabs-locked"][(index % 7) as usize]
            .into(),
        cpus: 1 + index / 21,
        unit: "pair".into(),
        nr_ops: 100_000,
        milliticks_per_op: (0..10).map(|_| 80_000 + next(900_000)).collect(),
        nr_locks: Some(next(200_000)),
        nr_waits: Some(next(3000)),
        nr_heap_ops: Some(next(200_000)),
        nr_depot_visits: Some(next(4000)),
        nr_slab_visits: Some(next(400)),
        ..Throughput::default()
    };
    Recording {
        meta: Meta { version: VERSION, source: "kernel".into(), seed: 1, nr_reps: 10, ..Meta::default() },
        rows: (0..nr_rows).map(row).collect(),
        end: Some(End { is_pass: true, nr_rows, ..End::default() }),
        ..Recording::default()
    }
}

/// Any run.
pub(crate) fn any_run() -> impl Strategy<Value = Recording> {
    let row = (any::<String>(), any::<Option<u64>>(), proptest::collection::vec(any::<u64>(), 0..12)).prop_map(
        |(contender, nr_locks, values)| Throughput {
            contender: contender.into(),
            nr_locks,
            milliticks_per_op: values.into(),
            ..Throughput::default()
        },
    );
    let latency = any::<[u64; 3]>().prop_map(|[p50_ticks, p99_ticks, max_ticks]| Latency {
        operation: "alloc".into(),
        p50_ticks,
        p99_ticks,
        max_ticks,
        ..Latency::default()
    });
    let lists = (proptest::collection::vec(row, 0..8), proptest::collection::vec(latency, 0..4));
    (any::<String>(), lists, any::<Option<String>>()).prop_map(|(text, (rows, latencies), why)| Recording {
        meta: Meta { version: VERSION, cpu: text.clone().into(), ..Meta::default() },
        rows,
        latencies,
        remarks: vec![Remark { text: text.into() }],
        end: Some(End { why: why.map(Into::into), ..End::default() }),
        ..Recording::default()
    })
}
