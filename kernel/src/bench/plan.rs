//! How everything is played: chosen once, before anything is, and the same for every part of the benchmark.

use kernel::units;

use crate::workers;

/// Numbers of CPUs in one run, at most.
pub(super) const MAX_SWEEP: usize = 16;

/// Why a part ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// Ctrl-C.
    Cancelled,
    /// There is no memory for what the part itself needs.
    OutOfMemory,
}

/// Numbers of CPUs, each of which is there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sweep {
    numbers: [usize; MAX_SWEEP],
    len: usize,
    /// Nobody asked for these numbers.
    is_default: bool,
}

impl Sweep {
    /// 1, 2, 4 and so on, and all that there are.
    pub(super) fn doubling() -> Self {
        let nr_available = workers::nr_available();
        let mut sweep = Self { numbers: [0; MAX_SWEEP], len: 0, is_default: true };
        let doubling = core::iter::successors(Some(1_usize), |number| number.checked_mul(2));
        for number in doubling.take_while(|&number| number < nr_available).take(MAX_SWEEP - 1).chain([nr_available]) {
            sweep.numbers[sweep.len] = number;
            sweep.len += 1;
        }
        sweep
    }

    /// 1, and all that there are.
    pub(super) fn ends() -> Self {
        let nr_available = workers::nr_available();
        let mut numbers = [0; MAX_SWEEP];
        numbers[..2].copy_from_slice(&[1, nr_available]);
        Self { numbers, len: nr_available.min(2), is_default: true }
    }

    /// Whether single operations are timed on so many CPUs: on all numbers that were asked for, else on the first and the
    /// last.
    pub(super) fn wants_latency(&self, nr_cpus: usize) -> bool {
        let numbers = self.numbers();
        !self.is_default || [numbers.first(), numbers.last()].contains(&Some(&nr_cpus))
    }

    /// Reads a list such as `1,2,4`; a number that comes twice is played once.
    ///
    /// # Errors
    ///
    /// The word that is no number of CPUs here, or is one too many.
    pub(super) fn parse(list: &str) -> Result<Self, &str> {
        let nr_available = workers::nr_available() as u64;
        let mut sweep = Self { numbers: [0; MAX_SWEEP], len: 0, is_default: false };
        for word in list.split(',') {
            let number = units::number(word).ok().filter(|number| (1..=nr_available).contains(number));
            let number = number.ok_or(word)? as usize;
            if !sweep.numbers().contains(&number) {
                *sweep.numbers.get_mut(sweep.len).ok_or(word)? = number;
                sweep.len += 1;
            }
        }
        Ok(sweep)
    }

    /// The numbers, in the order in which they are to be played.
    pub(super) fn numbers(&self) -> &[usize] {
        &self.numbers[..self.len]
    }

    /// The largest.
    pub(super) fn most(&self) -> usize {
        self.numbers().iter().copied().max().unwrap_or(1)
    }
}

/// What is played, and how.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan<'a> {
    /// The command as it was given, without its name.
    pub(super) words: &'a str,
    /// A bit for each of [`super::names`]: whether it is to be played.
    pub(super) wanted: u64,
    /// Names of contenders, separated by commas; all are wanted if there are none.
    pub(super) contenders: Option<&'a str>,
    pub(super) cpus: Sweep,
    /// Operations of each CPU in a repetition. Without it each contender finds a number for each workload while it warms
    /// up, and keeps to it: what is measured is bounded by operations, never by time.
    pub(super) nr_ops: Option<u64>,
    /// Measured repetitions.
    pub(super) nr_reps: usize,
    /// Repetitions before, which are not measured.
    pub(super) nr_warm_ups: usize,
    pub(super) seed: u64,
    /// A short run: who finds a number of operations finds a smaller one.
    pub(super) is_quick: bool,
}

impl Plan<'_> {
    /// Whether the workload of that name is to be played.
    pub(super) fn wants(&self, workload: &str) -> bool {
        super::names().position(|name| name == workload).is_some_and(|place| self.wanted >> place & 1 != 0)
    }

    /// Whether the contender of that name takes part.
    pub(super) fn wants_contender(&self, contender: &str) -> bool {
        self.contenders.is_none_or(|list| list.split(',').any(|name| name == contender))
    }
}
