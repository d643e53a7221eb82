//! A round: some threads doing the same thing with one allocator for about as long as a time slice leaves in peace.
//!
//! The threads are made once and kept, as an allocator's state belongs to its threads. What is timed is CPU time of the
//! thread, between a barrier that starts all of them together and one after which they clean up.

use std::array;
use std::mem::{self, MaybeUninit};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use crate::handoff::Exchange;
use crate::host::{self, NR_CPUS};
use crate::peers::Allocator;
use crate::workload::Shape;

/// What all threads of a round share.
#[derive(Debug)]
pub(crate) struct Round {
    pub(crate) shape: Shape,
    /// Pairs for each thread. Batches are played whole.
    pub(crate) nr_pairs: u64,
    pub(crate) nr_threads: usize,
    /// Objects are written, and looked at when they are freed.
    pub(crate) is_checked: bool,
    /// The allocator hands out objects of its own, so that the check can demand them.
    pub(crate) is_real: bool,
    pub(crate) exchange: Exchange,
    nr_arrived: AtomicUsize,
}

/// What one thread measured.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sample {
    pub(crate) cpu_ns: u64,
    pub(crate) nr_pairs: u64,
    /// Times the CPU was taken from the thread meanwhile.
    pub(crate) nr_switches: u64,
}

impl Round {
    pub(crate) fn new(shape: Shape, nr_pairs: u64, nr_threads: usize, is_checked: bool, is_real: bool) -> Self {
        let (exchange, nr_arrived) = (Exchange::default(), AtomicUsize::new(0));
        Self { shape, nr_pairs, nr_threads, is_checked, is_real, exchange, nr_arrived }
    }

    /// Returns when every thread of the round has called it once more than it had returned.
    pub(crate) fn wait(&self) {
        let ticket = self.nr_arrived.fetch_add(1, Ordering::AcqRel);
        let all = (ticket / self.nr_threads + 1) * self.nr_threads;
        let mut nr_turns = 0;
        while self.nr_arrived.load(Ordering::Acquire) < all {
            wait_a_little(&mut nr_turns);
        }
    }

    /// Times `work`, which returns how many pairs it did. All threads of the round call it once.
    pub(crate) fn timed(&self, work: impl FnOnce() -> u64) -> Sample {
        self.wait();
        let switches_before = nr_involuntary_switches();
        let before = thread_cpu_ns();
        let nr_pairs = work();
        let cpu_ns = thread_cpu_ns() - before;
        let nr_switches = nr_involuntary_switches() - switches_before;
        self.wait();
        Sample { cpu_ns, nr_pairs, nr_switches }
    }

    /// Panics if an object was not as its owner left it; the bare harness's always is another's.
    pub(crate) fn demand_intact(&self, nr_damaged: u64) {
        assert!(nr_damaged == 0 || !self.is_real, "{nr_damaged} objects were damaged in {:?}", self.shape);
    }
}

/// One turn of a wait for another thread, which may have lost its CPU.
pub(crate) fn wait_a_little(nr_turns: &mut u32) {
    *nr_turns = nr_turns.saturating_add(1);
    if *nr_turns < 10_000 { std::hint::spin_loop() } else { thread::yield_now() }
}

/// Ties this thread to the host's CPU number `cpu` of those it may use, where there are as many: two threads that take
/// turns on one CPU would show nothing of what two CPUs do to each other.
fn tie_to_cpu(cpu: usize) {
    let mut allowed = MaybeUninit::<libc::cpu_set_t>::zeroed();
    // SAFETY: the set is valid for the write, and of the size given.
    let status = unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), allowed.as_mut_ptr()) };
    // SAFETY: made of integers, and all of it zeroed or written.
    let (allowed, mut only) = unsafe { (allowed.assume_init(), mem::zeroed::<libc::cpu_set_t>()) };
    // SAFETY: the numbers are below the size of the set.
    let mut numbers = (0..libc::CPU_SETSIZE as usize).filter(|&number| unsafe { libc::CPU_ISSET(number, &allowed) });
    let Some(number) = numbers.nth(cpu).filter(|_| status == 0) else {
        eprintln!("no CPU of its own for thread {cpu}: times of 2 threads mean little");
        return;
    };
    // SAFETY: as above.
    unsafe { libc::CPU_SET(number, &mut only) };
    // SAFETY: the set is valid for the read, and of the size given.
    if unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const only) } != 0 {
        eprintln!("thread {cpu} is not tied to its CPU: {}", std::io::Error::last_os_error());
    }
}

fn thread_cpu_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid for the write.
    let status = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(status, 0, "the host has no clock of a thread's CPU time");
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Nanoseconds between two readings of the clock with nothing in between: the least of many.
pub(crate) fn clock_cost_ns() -> u64 {
    let cost = || {
        let before = thread_cpu_ns();
        thread_cpu_ns() - before
    };
    (0..1000).map(|_| cost()).min().unwrap_or(0)
}

fn nr_involuntary_switches() -> u64 {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: `usage` is valid for the write.
    let status = unsafe { libc::getrusage(libc::RUSAGE_THREAD, usage.as_mut_ptr()) };
    assert_eq!(status, 0, "the host does not count a thread's context switches");
    // SAFETY: made of integers, and all of it zeroed or written.
    unsafe { usage.assume_init() }.ru_nivcsw as u64
}

struct Job {
    run: fn(&Round, usize) -> Sample,
    round: Arc<Round>,
}

/// The threads. Each is a CPU to `mm`.
pub(crate) struct Crew {
    jobs: [Sender<Job>; NR_CPUS],
    samples: Receiver<Sample>,
}

impl Crew {
    /// Starts the threads; they end with the process.
    pub(crate) fn new() -> Self {
        let (samples_in, samples) = mpsc::channel();
        let jobs = array::from_fn(|cpu| {
            let (jobs, jobs_out) = mpsc::channel::<Job>();
            let samples = samples_in.clone();
            thread::spawn(move || {
                tie_to_cpu(cpu);
                host::enter_cpu(cpu);
                for job in jobs_out {
                    let sample = (job.run)(&job.round, cpu);
                    samples.send(sample).expect("the crew waits for every sample");
                }
            });
            jobs
        });
        Self { jobs, samples }
    }

    /// Plays `round`, and returns the sum of what its threads measured.
    pub(crate) fn play(&self, allocator: &Allocator, round: Round) -> Sample {
        let round = Arc::new(round);
        for jobs in &self.jobs[..round.nr_threads] {
            let job = Job { run: allocator.run, round: Arc::clone(&round) };
            jobs.send(job).expect("the threads live as long as the process");
        }
        (0..round.nr_threads).fold(Sample::default(), |sum, _| {
            let sample = self.samples.recv().expect("every thread sends its sample");
            Sample {
                cpu_ns: sum.cpu_ns + sample.cpu_ns,
                nr_pairs: sum.nr_pairs + sample.nr_pairs,
                nr_switches: sum.nr_switches + sample.nr_switches,
            }
        })
    }
}
