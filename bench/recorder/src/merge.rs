//! The events of all CPUs in one order.
//!
//! Each CPU's events stay in the order in which it wrote them; between CPUs the time decides, and where two have the
//! same, the lower CPU comes first.
//!
//! Called by: [`crate::record`], once all is read.

use crate::decode::Record;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// All records, `streams[cpu]` being those of one CPU in its order. What has a time before that in front
/// of it comes right behind it.
pub fn by_time(streams: &[Vec<Record>]) -> impl Iterator<Item = Record> + '_ {
    let mut next: BinaryHeap<_> =
        streams.iter().enumerate().filter_map(|(i, stream)| Some(Reverse((stream.first()?.time_ns, i, 0)))).collect();
    std::iter::from_fn(move || {
        let Reverse((_, i, at)) = next.pop()?;
        let stream = streams.get(i)?;
        if let Some(following) = stream.get(at + 1) {
            next.push(Reverse((following.time_ns, i, at + 1)));
        }
        stream.get(at).copied()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::Call;
    use proptest::prelude::*;

    fn records(cpu: u16, times: &[u64]) -> Vec<Record> {
        let record = |(key, &time_ns): (usize, &u64)| Record {
            time_ns,
            key: key as u64,
            size: 0,
            cpu,
            call: Call::Free,
            is_own: false,
        };
        times.iter().enumerate().map(record).collect()
    }

    fn order(streams: &[Vec<Record>]) -> Vec<(u16, u64)> {
        by_time(streams).map(|record| (record.cpu, record.time_ns)).collect()
    }

    #[test]
    fn time_decides_between_cpus() {
        let streams = [records(0, &[1, 4, 4]), records(1, &[]), records(2, &[2, 4, 9])];
        assert_eq!(order(&streams), [(0, 1), (2, 2), (0, 4), (0, 4), (2, 4), (2, 9)]);
        assert_eq!(order(&[]), []);
    }

    #[test]
    fn a_clock_that_steps_back_does_not_change_a_cpus_order() {
        let streams = [records(0, &[5, 3, 7]), records(1, &[4, 6])];
        assert_eq!(order(&streams), [(1, 4), (0, 5), (0, 3), (1, 6), (0, 7)]);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_each_cpu_keeps_its_order(times in prop::collection::vec(prop::collection::vec(0..50u64, 0..20), 0..5)) {
            let streams: Vec<_> = times.iter().enumerate().map(|(cpu, times)| records(cpu as u16, times)).collect();
            let merged: Vec<_> = by_time(&streams).collect();
            for (cpu, stream) in streams.iter().enumerate() {
                let of_cpu: Vec<_> = merged.iter().filter(|record| usize::from(record.cpu) == cpu).copied().collect();
                prop_assert_eq!(&of_cpu, stream);
            }
            prop_assert_eq!(merged.len(), times.iter().map(Vec::len).sum::<usize>());
            if streams.iter().all(|stream| stream.is_sorted_by_key(|record| record.time_ns)) {
                prop_assert!(merged.is_sorted_by_key(|record| record.time_ns));
            }
        }
    }
}
