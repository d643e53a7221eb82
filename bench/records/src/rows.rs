//! What was measured.

use crate::record::{List, Text, record};

record! {
    /// One contender on one workload with so many CPUs, all repetitions.
    "bench-row" => Throughput<'a> {
        /// Known name of the workload.
        workload: Text<'a>,
        /// Who played it.
        contender: Text<'a>,
        /// How many CPUs took part.
        cpus: u64,
        /// What was varied beside that, if anything: `pages`, `fill_per_mille`.
        scale: Option<Text<'a>>,
        /// And how much of it.
        scale_value: Option<u64>,
        /// What one operation is: `pair` (an allocation and a free), `event` (either), `map, touch, unmap`, `round` (of
        /// shootdowns), `round trip`.
        unit: Text<'a>,
        /// Operations of all CPUs in all measured repetitions.
        nr_ops: u64,
        /// For each repetition the time of a CPU for one of its own operations, in thousandths of a tick: the sum of what
        /// the CPUs took, over the sum of their operations. With n CPUs there are n operations in that time, if all work
        /// from the first to the last. Each does a given number and stops: where a lock is unfair some end early, the last
        /// ones are then less disturbed than they were together, and the figure is better than a lasting load would be.
        milliticks_per_op: List<'a>,
        /// The same of the CPU that took longest, as the mean of the measured repetitions: far above the others where a lock
        /// let one CPU wait while the rest went on. `null` where not every CPU was timed.
        longest_milliticks_per_op: Option<u64>,
        /// Locks taken in the measured repetitions, depots and slabs included.
        nr_locks: Option<u64>,
        /// Locks of these that were found held by another CPU; of a heap those of its depots, slabs and frames.
        nr_waits: Option<u64>,
        /// Allocations and frees that our heap counted; of frames, those that page magazines did.
        nr_heap_ops: Option<u64>,
        /// Visits to depots; of frames, their page magazines' visits to the bitmap.
        nr_depot_visits: Option<u64>,
        /// Visits to slabs.
        nr_slab_visits: Option<u64>,
        /// Interrupts sent to other CPUs; a broadcast is one for each of its targets.
        nr_ipis: Option<u64>,
        /// Instructions of one operation, in thousandths, where they were counted.
        milli_instructions_per_op: Option<u64>,
        /// Objects, frames or pages that were damaged or misaligned, in all repetitions. Anything but 0 is a fault. Who was
        /// refused memory has no row, but a remark.
        nr_bad: u64,
    }
}

record! {
    /// How long single operations took. The clock's own cost is part of every one of them.
    "bench-latency" => Latency<'a> {
        /// As in a row.
        workload: Text<'a>,
        /// As in a row.
        contender: Text<'a>,
        /// As in a row.
        cpus: u64,
        /// As in a row.
        scale: Option<Text<'a>>,
        /// As in a row.
        scale_value: Option<u64>,
        /// Which operation: `alloc`, `free`, `map`, `unmap`, `round`, `call`.
        operation: Text<'a>,
        /// How many were timed.
        nr_samples: u64,
        /// Half took no longer.
        p50_ticks: u64,
        /// 99 of 100 took no longer. Of fewer than 100 samples that is the longest or near it: not shown to people.
        p99_ticks: u64,
        /// 999 of 1000 took no longer. Of fewer than 1000 samples as for the one before.
        p999_ticks: u64,
        /// The longest.
        max_ticks: u64,
        /// What two readings of the clock with nothing between them take, as the median of many there and then.
        timer_ticks: u64,
    }
}

record! {
    /// Memory that a contender held while the program had so much of it in use.
    "bench-waste" => Waste<'a> {
        /// What was allocated.
        workload: Text<'a>,
        /// As in a row.
        contender: Text<'a>,
        /// Bytes that were asked for and not given back.
        live_bytes: u64,
        /// Bytes taken from the machine for them.
        held_bytes: u64,
    }
}

record! {
    /// Something that was not as it should be at the end, or a remark on what is missing.
    "bench-remark" => Remark<'a> {
        /// In words.
        text: Text<'a>,
    }
}

record! {
    /// The last record. Without it the recording is cut off.
    "bench-end" => End<'a> {
        /// Nothing was damaged, and memory was as before.
        is_pass: bool,
        /// It was stopped, and holds what there was until then.
        is_stopped: bool,
        /// Rows written.
        nr_rows: u64,
        /// Bad objects in all of them, and in what has no row; and recordings that were damaged themselves.
        nr_bad: u64,
        /// Requests that were refused for want of memory: what they belong to has remarks instead of figures. That is no fault.
        nr_refused: Option<u64>,
        /// Why it did not pass, or ended early.
        why: Option<Text<'a>>,
    }
}
