//! What a recording shows: sizes, lifetimes, live bytes over its course, who frees what.
//!
//! A recording has no clock: its course and all lifetimes are counted in events.
//!
//! Its end is made up, in part: what was live when the recording stopped is freed by CPU 0. The frees by CPU 0 with which
//! it ends, without an allocation between them, are taken for that; lifetimes and frees on other CPUs leave them out,
//! because nobody knows when and where those objects were freed.
//!
//! Called by: [`crate::description`] and [`crate::charts`].

use mm::histogram::Histogram;
use mm::size_class;
use trace::check::{NR_SIZE_CLASSES, ObjectState, Summary};
use trace::fault::Damaged;
use trace::{Action, Kind, Trace};

/// Moments of its course that are kept.
pub const NR_MOMENTS: usize = 240;
/// Lifetimes are counted by their power of two.
pub const NR_LIFETIMES: usize = 33;

/// Of a whole recording.
#[derive(Clone, Debug)]
pub struct Survey {
    /// What the kernel's checker counted.
    pub summary: Summary,
    /// How many CPUs were recorded.
    pub nr_cpus: usize,
    /// Objects by size class of the heap; the last is all that is larger.
    pub by_class: [u64; size_class::NR_CLASSES + 1],
    /// Page runs by order, from one page on.
    pub by_order: [u64; NR_SIZE_CLASSES],
    /// Objects and page runs.
    pub kinds: [KindSurvey; 2],
    /// By power of two of the size, objects and page runs: how many were freed, and how many of them on another CPU.
    pub freed_by_log2_size: [(u64, u64); NR_SIZE_CLASSES],
    /// Its course in equal parts, at most [`NR_MOMENTS`]: in each, the moment with the most live bytes.
    pub moments: Vec<Moment>,
    /// Each CPU's part.
    pub cpus: Vec<CpuSurvey>,
    /// Frees at the end that are no traffic: see above.
    pub nr_live_at_end: u64,
}

/// Of one kind.
#[derive(Clone, Debug, Default)]
pub struct KindSurvey {
    /// How many.
    pub nr: u64,
    /// Their sizes added up.
    pub bytes: u64,
    /// Events from allocation to free.
    pub lifetimes: Histogram,
    /// The same by power of two: entry i counts from 2^i to 2^(i+1) - 1 events.
    pub by_log2_lifetime: Vec<u64>,
    /// Freed on another CPU.
    pub nr_cross: u64,
    /// Most bytes live at once.
    pub peak_bytes: u64,
}

/// A moment in its course.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// After so many events.
    pub nr_events: u64,
    /// Bytes of live objects.
    pub object_bytes: u64,
    /// Bytes of live page runs.
    pub page_bytes: u64,
}

/// What one CPU did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuSurvey {
    /// Its allocations.
    pub nr_allocs: u64,
    /// Its frees, those at the end left out.
    pub nr_frees: u64,
    /// Of these, of what another CPU allocated.
    pub nr_foreign: u64,
    /// Bytes that it allocated.
    pub bytes: u64,
}

impl Moment {
    /// All live bytes.
    pub fn bytes(&self) -> u64 {
        self.object_bytes + self.page_bytes
    }
}

impl Survey {
    /// Frees on another CPU, and all frees that are traffic.
    pub fn cross(&self) -> (u64, u64) {
        let [objects, runs] = &self.kinds;
        (objects.nr_cross + runs.nr_cross, self.summary.nr_objects - self.nr_live_at_end)
    }

    /// Checks a recording as the kernel does, and looks at it.
    ///
    /// # Errors
    ///
    /// What is wrong with it, and at which event.
    pub fn of(bytes: &[u8]) -> Result<Survey, Damaged> {
        let trace = Trace::parse(bytes)?;
        let mut scratch = vec![ObjectState::NEW; trace.header().nr_objects as usize];
        let checked = trace.validate(&mut scratch)?;
        let (trace, objects, summary) = (*checked.trace(), checked.objects(), *checked.summary());

        let is_tail = |event: &trace::Event| event.action == Action::Free && event.cpu == 0;
        let nr_live_at_end = trace.events().rev().take_while(is_tail).count() as u64;
        let mut survey = Survey::empty(summary, trace.header().nr_cpus as usize, nr_live_at_end);
        let end = summary.nr_events - nr_live_at_end;
        let part = summary.nr_events.div_ceil(NR_MOMENTS as u64).max(1);
        let mut born = vec![0u64; objects.len()];
        let mut now = Moment::default();
        let mut most: Option<Moment> = None;
        for (event, index) in trace.events().zip(0u64..) {
            // The checker has seen that every object and CPU is there.
            let Some(object) = objects.get(event.id as usize) else { continue };
            let Some(cpu) = survey.cpus.get_mut(usize::from(event.cpu)) else { continue };
            let size = u64::from(object.size_bytes());
            let kind = &mut survey.kinds[usize::from(object.kind() == Kind::PageRun)];
            let live = match object.kind() {
                Kind::Object => &mut now.object_bytes,
                Kind::PageRun => &mut now.page_bytes,
            };
            match event.action {
                Action::Alloc => {
                    *live += size;
                    kind.peak_bytes = kind.peak_bytes.max(*live);
                    kind.nr += 1;
                    kind.bytes += size;
                    cpu.nr_allocs += 1;
                    cpu.bytes += size;
                    if let Some(at) = born.get_mut(event.id as usize) {
                        *at = index;
                    }
                    match object.kind() {
                        Kind::Object => {
                            let class = size_class::index_for(size as usize, 1).unwrap_or(size_class::NR_CLASSES);
                            survey.by_class[class] += 1;
                        }
                        Kind::PageRun => survey.by_order[(size / 4096).max(1).ilog2() as usize] += 1,
                    }
                }
                Action::Free => {
                    *live -= size;
                    if index < end {
                        let lifetime = index - born.get(event.id as usize).copied().unwrap_or(index);
                        let is_cross = object.alloc_cpu() != event.cpu;
                        kind.lifetimes.record(lifetime);
                        kind.by_log2_lifetime[(lifetime.max(1).ilog2() as usize).min(NR_LIFETIMES - 1)] += 1;
                        kind.nr_cross += u64::from(is_cross);
                        cpu.nr_frees += 1;
                        cpu.nr_foreign += u64::from(is_cross);
                        let (freed, cross) = &mut survey.freed_by_log2_size[size.max(1).ilog2() as usize];
                        *freed += 1;
                        *cross += u64::from(is_cross);
                    }
                }
            }
            now.nr_events = index + 1;
            if most.is_none_or(|most| now.bytes() >= most.bytes()) {
                most = Some(now);
            }
            if (index + 1).is_multiple_of(part) {
                survey.moments.extend(most.take());
            }
        }
        survey.moments.extend(most);
        Ok(survey)
    }

    fn empty(summary: Summary, nr_cpus: usize, nr_live_at_end: u64) -> Survey {
        let kind = KindSurvey { by_log2_lifetime: vec![0; NR_LIFETIMES], ..KindSurvey::default() };
        Survey {
            summary,
            nr_cpus,
            by_class: [0; size_class::NR_CLASSES + 1],
            by_order: [0; NR_SIZE_CLASSES],
            kinds: [kind.clone(), kind],
            freed_by_log2_size: [(0, 0); NR_SIZE_CLASSES],
            moments: Vec::new(),
            cpus: vec![CpuSurvey::default(); nr_cpus],
            nr_live_at_end,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REAL: &[u8] = include_bytes!("../../../tests/data/fork-exec-small.kmt");

    /// (op, cpu, id, size)
    fn recording(nr_cpus: u32, nr_objects: u32, peak: u64, events: &[(u32, u32, u32, u32)]) -> Vec<u8> {
        let mut bytes = b"KMTRACE1".to_vec();
        bytes.extend([nr_cpus, nr_objects].iter().flat_map(|word| word.to_le_bytes()));
        bytes.extend([events.len() as u64, peak].iter().flat_map(|word| word.to_le_bytes()));
        for (op, cpu, id, size) in events {
            bytes.extend([*id, op | cpu << 2 | size << 8].iter().flat_map(|word| word.to_le_bytes()));
        }
        bytes
    }

    #[test]
    fn what_happens_is_counted_where_it_belongs() {
        let bytes = recording(
            2,
            4,
            12_352,
            &[
                (0, 0, 0, 60),
                (2, 1, 1, 8192),
                (1, 1, 0, 0),
                (0, 1, 2, 64),
                (2, 0, 3, 4096),
                (3, 0, 3, 0),
                (3, 0, 1, 0),
                (1, 0, 2, 0),
            ],
        );
        let survey = Survey::of(&bytes).expect("a good recording");
        assert_eq!(survey.nr_live_at_end, 3);
        let [objects, runs] = &survey.kinds;
        assert_eq!((objects.nr, objects.bytes, objects.nr_cross, objects.peak_bytes), (2, 124, 1, 64));
        assert_eq!((runs.nr, runs.bytes, runs.nr_cross, runs.peak_bytes), (2, 12_288, 0, 12_288));
        assert_eq!((objects.lifetimes.count(), objects.lifetimes.max(), runs.lifetimes.count()), (1, 2, 0));
        assert_eq!(objects.by_log2_lifetime[1], 1);
        assert_eq!(survey.by_class[size_class::index(64)], 2);
        assert_eq!(survey.by_order[..3], [1, 1, 0]);
        assert_eq!(survey.freed_by_log2_size[5], (1, 1));
        assert_eq!(survey.cross(), (1, 1));
        let wanted = [
            CpuSurvey { nr_allocs: 2, nr_frees: 0, nr_foreign: 0, bytes: 4156 },
            CpuSurvey { nr_allocs: 2, nr_frees: 1, nr_foreign: 1, bytes: 8256 },
        ];
        assert_eq!(survey.cpus, wanted);
        assert_eq!(survey.moments.len(), 8);
        assert_eq!(survey.moments[4], Moment { nr_events: 5, object_bytes: 64, page_bytes: 12_288 });
        assert_eq!(survey.moments[7].bytes(), 0);
    }

    #[test]
    fn a_real_recordings_survey_agrees_with_the_checkers_sums() {
        let survey = Survey::of(REAL).expect("a good recording");
        let [objects, runs] = &survey.kinds;
        assert_eq!((objects.nr + runs.nr, runs.nr), (10_752, 2779));
        assert_eq!(survey.by_class.iter().sum::<u64>(), objects.nr);
        assert_eq!(survey.by_order.iter().sum::<u64>(), runs.nr);
        assert_eq!(objects.bytes + runs.bytes, survey.summary.total_bytes);
        assert_eq!(survey.moments.iter().map(Moment::bytes).max(), Some(2_909_570));
        assert_eq!(survey.moments.last().map(|moment| moment.nr_events <= 21_504), Some(true));
        assert!(survey.moments.len() <= NR_MOMENTS);
        let frees: u64 = survey.cpus.iter().map(|cpu| cpu.nr_frees).sum();
        assert_eq!(frees + survey.nr_live_at_end, 10_752);
    }

    #[test]
    fn damage_is_refused_with_its_event() {
        let bytes = recording(1, 1, 64, &[(0, 0, 0, 64), (0, 0, 0, 64)]);
        assert_eq!(
            Survey::of(&bytes).expect_err("damaged").to_string(),
            "event 1: object 0 is allocated a second time"
        );
        assert!(Survey::of(&recording(1, 0, 0, &[])).is_ok_and(|survey| survey.moments.is_empty()));
    }
}
