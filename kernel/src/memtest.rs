//! `memtest`: writes patterns to all free frames and reads them back; what does not hold them is never used again.
//!
//! All free frames are held at once, so that two addresses of one cell meet in the same step, but for a reserve from which
//! the kernel goes on; when the rest has been tested and given back, the reserve is taken and tested. CPUs share the work
//! by chunks and meet after each step. Written lines are flushed before the step ends, so what a later step reads comes from
//! memory. Steps upwards begin with the lowest chunk and steps downwards with the highest; between chunks that several CPUs
//! have at a time there is no order, so a test that rests on one (see [`kernel::memtest`]) is strict with `--cpus 1`.
//!
//! | file | what it does |
//! |---|---|
//! | [`holdings`] | frames, taken and given back |
//! | [`page`] | a frame as words, in memory and not in a cache |
//! | [`bad`] | what was found |
//!
//! Called by: the shell. Context: the first CPU, interrupts on; the others idle.

mod bad;
mod holdings;
mod page;

use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use kernel::args::{ArgError, Args};
use kernel::chaos::Chaos;
use kernel::figures::{Bytes, Count, Percent, Things};
use kernel::fixed::Fixed;
use kernel::json;
use kernel::memtest::{Order, Step, Test};
use kernel::report::Format;
use kernel::rng::SplitMix64;
use mm::frame::{Frame, PAGE_SIZE};

use crate::baseline::Baseline;
use crate::console::{print, println};
use crate::machine::HEAP;
use crate::shell::{self, Command, Status};
use crate::{boot, chaos, input, time, workers};

use bad::BadFrames;
use holdings::{Chunk, Holdings};
use page::Flush;

/// The commands of this module.
pub const COMMANDS: &[Command] = &[Command {
    name: "memtest",
    usage: "[test..] [--passes N] [--seed S] [--cpus N] [--json]",
    help: "write patterns to all free frames and read them back; retires bad ones",
    details: "Tests: address, walking (March C- with walking ones), checkerboard, random; without a name all of them.\n\
              Each bad word is shown with its physical address, what was written, what was read, and the bits that differ.\n\
              A frame with one is never handed out again; `mem` shows it as retired. Ctrl-C stops and gives all back.\n\
              With --cpus 1 the order of words is strict, which finds coupled words that lie in different chunks for sure.",
    run: memtest,
}];

/// Names of tests, for completion.
pub fn names() -> impl Iterator<Item = &'static str> {
    Test::ALL.into_iter().map(Test::name)
}

/// What all CPUs share.
struct Run {
    format: Format,
    seed: u64,
    nr_cpus: usize,
    flush: Flush,
    bad: BadFrames,
    /// Frames that chaos wants bad.
    chaos: Chaotic,
    is_over: AtomicBool,
    /// Frames done by all steps so far, and when all are done.
    nr_done: AtomicU64,
    nr_to_do: AtomicU64,
    start_ns: u64,
    next_progress_ns: AtomicU64,
}

/// Frames that are to read back wrong: looked up for every frame of every step, so kept at hand.
struct Chaotic {
    frames: [Option<Frame>; Self::MOST],
}

impl Chaotic {
    /// More are not asked for on purpose; the first ones count.
    const MOST: usize = 16;

    fn asked() -> Self {
        let mut frames = [None; Self::MOST];
        let asked = chaos::asked().filter_map(|chaos| match chaos {
            Chaos::BadFrame { number } => Some(Frame::new(number)),
            _ => None,
        });
        for (place, frame) in frames.iter_mut().zip(asked) {
            *place = Some(frame);
        }
        Self { frames }
    }

    fn iter(&self) -> impl Iterator<Item = Frame> {
        self.frames.iter().map_while(|frame| *frame)
    }

    fn contains(&self, frame: Frame) -> bool {
        self.iter().any(|chaotic| chaotic == frame)
    }
}

/// Which tests, by their names or all.
struct Chosen([bool; Test::ALL.len()]);

impl Chosen {
    fn iter(&self) -> impl Iterator<Item = Test> + Clone {
        let all = self.0.iter().all(|is_named| !is_named);
        Test::ALL.into_iter().zip(self.0).filter(move |(_, is_named)| all || *is_named).map(|(test, _)| test)
    }
}

fn memtest<'a>(mut args: Args<'a>, usage: &'static str) -> Result<Status, ArgError<'a>> {
    let nr_cpus = workers::nr_available() as u64;
    let nr_passes = args.option_number("--passes", 1..=u64::MAX)?.unwrap_or(1);
    let seed = args.option_number("--seed", 0..=u64::MAX)?.unwrap_or_else(arch::tsc::read);
    let nr_cpus = args.option_number("--cpus", 1..=nr_cpus)?.unwrap_or(nr_cpus) as usize;
    let format = Format::json_if(args.flag("--json"));
    let mut chosen = Chosen([false; Test::ALL.len()]);
    while let Some(name) = args.word() {
        match Test::ALL.iter().position(|test| test.name() == name) {
            Some(index) => chosen.0[index] = true,
            None => {
                println!("memtest: `{name}` is no test; there are: address, walking, checkerboard, random");
                return Ok(Status::Usage);
            }
        }
    }
    args.finish(usage)?;
    let Some(baseline) = Baseline::take() else {
        println!("memtest: FAIL: memory does not add up before the run");
        return Ok(Status::Failed);
    };
    let run = Run {
        format,
        seed,
        nr_cpus,
        flush: Flush::new(boot::features().and_then(|features| features.line_flush)),
        bad: BadFrames::new(format),
        chaos: Chaotic::asked(),
        is_over: AtomicBool::new(false),
        nr_done: AtomicU64::new(0),
        nr_to_do: AtomicU64::new(0),
        start_ns: time::now_ns(),
        next_progress_ns: AtomicU64::new(time::now_ns() + 1_000_000_000),
    };
    if format == Format::Text {
        println!("memtest: seed {seed}, {}, {}", Things(nr_cpus as u64, "CPU"), run.flush);
    }
    Ok(run.all(&chosen, nr_passes, &baseline))
}

impl Run {
    fn all(&self, chosen: &Chosen, nr_passes: u64, baseline: &Baseline) -> Status {
        let nr_steps: u64 =
            chosen.iter().map(|test| test.steps(0).count() as u64).sum::<u64>().saturating_mul(nr_passes);
        let nr_reserved = holdings::reserve(HEAP.frames().nr_free());
        let (mut nr_tested, mut nr_retired, mut from) = (0, 0, Frame::new(0));
        let mut complaint = None;
        // First all but the reserve, then the reserve.
        for nr_left in [nr_reserved, 0] {
            let held = Holdings::take(from, nr_left);
            from = held.end();
            if nr_left > 0 {
                self.nr_to_do.store((held.nr_frames() + nr_left).saturating_mul(nr_steps), Ordering::Relaxed);
            }
            let is_done = self.passes(&held, chosen, nr_passes);
            nr_tested += if is_done { held.nr_frames() } else { 0 };
            match held.give_back(&self.bad) {
                Ok(nr_bad) => nr_retired += nr_bad,
                Err(error) => complaint = Some(error),
            }
        }
        if let Some(error) = complaint {
            println!("memtest: FAIL: a frame could not be given back: {error}");
            return Status::Failed;
        }
        if let Some(difference) = baseline.compare() {
            println!("memtest: FAIL: {difference}");
            return Status::Failed;
        }
        self.conclude(nr_tested, nr_retired, nr_passes)
    }

    /// Every chosen test, so many times. False if Ctrl-C came.
    fn passes(&self, held: &Holdings, chosen: &Chosen, nr_passes: u64) -> bool {
        for pass in 0..nr_passes {
            let pass_seed = SplitMix64::stream(self.seed, pass).next_u64();
            for test in chosen.iter() {
                for (nth, step) in test.steps(pass_seed).enumerate() {
                    if self.is_over.load(Ordering::Relaxed) {
                        return false;
                    }
                    self.step(held, step, format_args!("pass {}, {} {}", pass + 1, test.name(), nth + 1));
                }
            }
        }
        !self.is_over.load(Ordering::Relaxed)
    }

    /// One step through all that is held, by all CPUs. All have done their part when it returns.
    fn step(&self, held: &Holdings, step: Step, what: core::fmt::Arguments<'_>) {
        let chunks = held.chunks();
        let next = AtomicUsize::new(0);
        // Arguments cannot cross to other CPUs, and only the first one prints.
        let name = Fixed::<48>::of(what);
        workers::run(
            self.nr_cpus,
            &|number| {
                while !self.is_over.load(Ordering::Relaxed) {
                    let taken = next.fetch_add(1, Ordering::Relaxed);
                    let Some(index) = chunks.len().checked_sub(taken + 1) else { break };
                    let index = if step.order == Order::Up { taken } else { index };
                    self.sweep(&chunks[index], step, |nr_frames| {
                        self.nr_done.fetch_add(nr_frames, Ordering::Relaxed);
                        if number == 0 {
                            self.watch(name.as_str());
                        }
                        !self.is_over.load(Ordering::Relaxed)
                    });
                }
            },
            || {
                if input::is_cancelled() {
                    self.is_over.store(true, Ordering::Relaxed);
                }
            },
        );
    }

    /// One step through a chunk. Asks `goes_on` every now and then, with the frames done since.
    fn sweep(&self, chunk: &Chunk, step: Step, mut goes_on: impl FnMut(u64) -> bool) {
        /// Frames between two questions.
        const STRIDE: u32 = 64;
        let nr_pages = chunk.range().nr_pages();
        let first = chunk.range().start().number();
        for done in 0..nr_pages {
            let offset = if step.order == Order::Up { done } else { nr_pages - 1 - done };
            let frame = Frame::new(first + offset);
            let is_chaos = self.chaos.contains(frame);
            // SAFETY: the chunk is this run's, and of its frames each is one CPU's at a time.
            unsafe { page::sweep(frame, is_chaos, step, self.flush, |fault| self.bad.add(chunk, frame, fault)) };
            let nr_since = done % STRIDE + 1;
            if (nr_since == STRIDE || done + 1 == nr_pages) && !goes_on(u64::from(nr_since)) {
                return;
            }
        }
    }

    /// What the first CPU does between pages: shows progress once a second, and looks for Ctrl-C.
    fn watch(&self, what: &str) {
        if input::is_cancelled() {
            self.is_over.store(true, Ordering::Relaxed);
        }
        let now_ns = time::now_ns();
        if self.format == Format::Json || now_ns < self.next_progress_ns.load(Ordering::Relaxed) {
            return;
        }
        self.next_progress_ns.store(now_ns + 1_000_000_000, Ordering::Relaxed);
        let (nr_done, nr_to_do) = (self.nr_done.load(Ordering::Relaxed), self.nr_to_do.load(Ordering::Relaxed));
        println!("memtest: {what}: {} of all, {} a second", Percent(nr_done, nr_to_do), Bytes(self.bytes_per_second()));
    }

    fn bytes_per_second(&self) -> u64 {
        let nr_bytes = u128::from(self.nr_done.load(Ordering::Relaxed)) * PAGE_SIZE as u128;
        let elapsed_ns = u128::from((time::now_ns() - self.start_ns).max(1));
        (nr_bytes * 1_000_000_000 / elapsed_ns) as u64
    }

    fn conclude(&self, nr_tested: u64, nr_retired: u64, nr_passes: u64) -> Status {
        let nr_usable = crate::reclaim::boot_memory().nr_usable;
        let elapsed_ms = (time::now_ns() - self.start_ns) / 1_000_000;
        let (nr_words, nr_frames) = (self.bad.nr_words(), nr_retired);
        let is_stopped = self.is_over.load(Ordering::Relaxed);
        let verdict = match (nr_words, is_stopped) {
            (0, false) => "PASS",
            (0, true) => "STOPPED",
            _ => "FAIL",
        };
        let is_ok = nr_words == 0 && !is_stopped;
        if self.format == Format::Json {
            let printed = json::line(&mut shell::Out, |object| {
                object.text("kind", "memtest");
                object.boolean("ok", is_ok);
                object.boolean("stopped", is_stopped);
                object.number("tested_frames", nr_tested);
                object.number("usable_frames", nr_usable);
                object.number("bad_words", nr_words);
                object.number("retired_frames", nr_frames);
                object.number("passes", nr_passes);
                object.number("seed", self.seed);
                object.number("cpus", self.nr_cpus as u64);
                object.number("elapsed_ms", elapsed_ms);
            });
            return if printed.is_ok() && is_ok { Status::Ok } else { Status::Failed };
        }
        self.explain(nr_tested, nr_usable);
        println!(
            "memtest: {verdict} frames={nr_tested} of={nr_usable} bad_words={nr_words} retired={nr_frames} \
             passes={nr_passes} seed={} cpus={} ms={elapsed_ms}",
            self.seed, self.nr_cpus
        );
        if is_ok { Status::Ok } else { Status::Failed }
    }

    /// What was tested, and what was not and why.
    fn explain(&self, nr_tested: u64, nr_usable: u64) {
        println!(
            "memtest: {} of {} usable frames tested, {} a second",
            Count(nr_tested),
            Count(nr_usable),
            Bytes(self.bytes_per_second())
        );
        print!("memtest: not tested, because in use:");
        for (nth, (name, nr_frames)) in shell::mem_uses().filter(|(_, nr_frames)| *nr_frames > 0).enumerate() {
            print!("{} {name} {}", if nth == 0 { "" } else { "," }, Count(nr_frames));
        }
        println!("; and what firmware and bootloader keep");
        if !self.is_over.load(Ordering::Relaxed) {
            for frame in self.chaos.iter().filter(|frame| !self.bad.contains(*frame)) {
                println!("memtest: frame {:#x}, bad by chaos, is not free and was not tested", frame.number());
            }
        }
    }
}
