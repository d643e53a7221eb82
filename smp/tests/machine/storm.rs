//! A storm: every CPU does everything at once, at random, in a bounded number of steps.
//!
//! Each CPU owns some pages, which it unmaps and maps again; all read all pages; all idle, leave and join, turn
//! interrupts off, and call each other. `Cpu::read` notices a stale translation; a step that never ends is a hang.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use super::{Cpu, Machine, pages, thread};
use smp::shootdown::{CounterValues, Mode};
use smp::{Barrier, CpuId, CpuSet, Hardware, PageRange};

const PAGES_OF_EACH: usize = 3;

/// What all CPUs of a storm share.
pub(crate) struct Storm {
    /// All have begun.
    start: Barrier,
    nr_done: AtomicUsize,
    nr_called: AtomicUsize,
    nr_calls_due: AtomicUsize,
}

/// A small generator: the schedule is what a storm varies, this only picks the steps.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 32) as usize % n
    }
}

/// As [`run`], where every CPU changes the mode at random: rounds by interrupts and by the hardware meet.
pub(crate) fn run_and_switch<const N: usize>(machine: &Arc<Machine<N>>, seed: u64, nr_steps: usize) -> CounterValues {
    machine.switches_mode.store(true, Relaxed);
    run(machine, seed, nr_steps)
}

/// Runs `nr_steps` steps on each of `N` CPUs and checks that everything adds up. The sum of all counters.
pub(crate) fn run<const N: usize>(machine: &Arc<Machine<N>>, seed: u64, nr_steps: usize) -> CounterValues {
    let storm = Arc::new(Storm {
        start: Barrier::new(N as u32),
        nr_done: AtomicUsize::new(0),
        nr_called: AtomicUsize::new(0),
        nr_calls_due: AtomicUsize::new(0),
    });
    let cpus = machine.online_cpus();
    let threads = cpus.map(|cpu| {
        let storm = storm.clone();
        thread::spawn(move || play(&cpu, &storm, Random(seed + 1 + cpu.id.index() as u64 * 7919), nr_steps))
    });
    threads.into_iter().for_each(|thread| thread.join().unwrap());

    assert_eq!(storm.nr_called.load(Relaxed), storm.nr_calls_due.load(Relaxed), "functions run, and due");
    let ids = CpuId::first(N);
    for cpu in ids.clone() {
        assert_eq!(machine.shootdown.seen(cpu), machine.shootdown.generation(), "cpu {cpu} is behind");
    }
    ids.map(|cpu| machine.shootdown.counters(cpu).values()).fold(CounterValues::default(), |sum, one| sum + one)
}

/// A CPU in the storm, and the frame that it will map next.
struct Player<'a, const N: usize> {
    cpu: &'a Cpu<N>,
    storm: &'a Storm,
    random: Random,
    spare_frame: usize,
}

fn play<const N: usize>(cpu: &Cpu<N>, storm: &Storm, random: Random, nr_steps: usize) {
    let mut player = Player { cpu, storm, random, spare_frame: cpu.spare_frame() };
    storm.start.wait(cpu);
    for _ in 0..nr_steps {
        player.step();
        cpu.window();
    }
    storm.nr_done.fetch_add(1, Relaxed);
    while storm.nr_done.load(Relaxed) < N {
        player.read_any();
        cpu.window();
        cpu.yield_now();
    }
    cpu.without_interrupts(|| cpu.machine.shootdown.service(cpu));
}

impl<const N: usize> Player<'_, N> {
    fn step(&mut self) {
        let cpu = self.cpu;
        let shootdown = &cpu.machine.shootdown;
        let mine = cpu.id.index() * PAGES_OF_EACH;
        if cpu.machine.switches_mode.load(Relaxed) {
            shootdown.settings().set_mode([Mode::Coalescing, Mode::Broadcast][self.random.below(2)]);
        }
        match self.random.below(9) {
            0 => {
                let page = mine + self.random.below(PAGES_OF_EACH);
                self.replace(page, 1);
            }
            1 => self.replace(mine, PAGES_OF_EACH),
            2 => {
                cpu.interrupts_on.set(false);
                self.replace(mine, 1);
                cpu.interrupts_on.set(true);
            }
            3 => {
                // Two rounds at once, one of them of more pages than are flushed one by one.
                let frames = [mine, mine + 1].map(|page| cpu.frame_at(page));
                cpu.unmap(mine);
                let many = shootdown.begin(cpu, [PageRange::EMPTY, pages(mine, 4096)].into_iter());
                cpu.unmap(mine + 1);
                let one = shootdown.begin(cpu, [pages(mine + 1, 1)].into_iter());
                self.read_any();
                shootdown.wait(cpu, one);
                shootdown.wait(cpu, many);
                self.map_another(mine, frames[0]);
                self.map_another(mine + 1, frames[1]);
            }
            4 => {
                // As the idle loop does: cli; enter_idle; sti; hlt; leave_idle.
                cpu.interrupts_on.set(false);
                shootdown.enter_idle(cpu);
                cpu.interrupts_on.set(true);
                cpu.yield_now();
                cpu.window();
                shootdown.leave_idle(cpu);
                self.read_any();
            }
            5 => {
                shootdown.leave(cpu);
                cpu.yield_now();
                shootdown.join(cpu);
                self.read_any();
            }
            6 => self.call_some(),
            7 => {
                // As the slow path of a spin lock.
                cpu.interrupts_on.set(false);
                for _ in 0..3 {
                    self.read_any();
                    shootdown.service_if_pending(cpu);
                }
                cpu.interrupts_on.set(true);
            }
            _ => {
                for _ in 0..3 {
                    self.read_any();
                    cpu.window();
                }
            }
        }
    }

    fn read_any(&mut self) {
        self.cpu.read(self.random.below(N * PAGES_OF_EACH));
    }

    /// Gives each page another frame, by one round.
    fn replace(&mut self, first: usize, nr_pages: usize) {
        let frames: Vec<_> = (first..first + nr_pages).map(|page| (page, self.cpu.frame_at(page))).collect();
        frames.iter().for_each(|&(page, _)| self.cpu.unmap(page));
        self.cpu.machine.shootdown.initiate(self.cpu, frames.iter().map(|&(page, _)| pages(page, 1)));
        frames.into_iter().for_each(|(page, frame)| self.map_another(page, frame));
    }

    fn map_another(&mut self, page: usize, old_frame: usize) {
        self.cpu.replace_frame(page, old_frame, self.spare_frame);
        self.spare_frame = old_frame;
    }

    fn call_some(&mut self) {
        let targets: CpuSet = CpuId::first(N).filter(|_| self.random.below(2) == 0).collect();
        self.storm.nr_calls_due.fetch_add(targets.len(), Relaxed);
        let reached = AtomicUsize::new(0);
        let result = self.cpu.machine.calls.call(self.cpu, &targets, &|_| {
            self.storm.nr_called.fetch_add(1, Relaxed);
            reached.fetch_add(1, Relaxed);
        });
        assert_eq!(result, Ok(()));
        assert_eq!(reached.into_inner(), targets.len());
    }
}
