//! `qr`: the last run of `bench` as QR codes, for a telephone where there is no network and no serial line.
//!
//! What is shown, how it is cut and how it looks is the crate `qr`'s; here are the arguments, the display and the keys.
//! On a host `just qr-decode` makes a recording of it again.

use core::cell::Cell;
use core::fmt;

use kernel::args::{ArgError, Args};
use kernel::fixed::Fixed;
use kernel::keys::{Decoder, Key};
use kernel::screen::colour::Rgb;
use kernel::units;
use qr::choice;
use qr::code::{Canvas, Code};
use qr::cut::{Cut, MIN_VERSION, Version};
use spin::mutex::SpinMutex;

use super::{Command, Out, Status};
use crate::console::{self, println};
use crate::screen::{self, Picture};
use crate::time::Deadline;
use crate::{bench, input, machine, shell};

/// The commands of this module.
pub const COMMANDS: &[Command] = &[Command {
    name: "qr",
    usage: "[--parts 3,5-7] [--auto 5s] [--columns N] [--text]",
    help: "shows the last run of `bench` as QR codes",
    details: "Scan them with a telephone, or photograph them; `just qr-decode` makes a recording of the pictures, or of the\n\
              texts in any order. A run in short: quartiles instead of all repetitions.\n\
              Any key shows the next code, the left arrow the one before, q and Ctrl-C end; with --auto each is shown\n\
              for so long. --parts shows some of them again. Without a screen, or with --columns, codes are drawn on the\n\
              serial line with half blocks, at most N columns wide (80); --text prints what the codes hold instead, one\n\
              a line: a log of the line is all that `just qr-decode` needs.",
    run: qr,
}];

/// Columns of a terminal, unless somebody says otherwise.
const USUAL_COLUMNS: usize = 80;
/// Nobody's terminal is wider than that.
const MAX_COLUMNS: u64 = 1000;

/// What a script that says nothing of it shows a code on the screen for.
const USUAL_AUTO_NS: u64 = 5_000_000_000;

/// How codes are shown.
#[derive(Clone, Copy)]
enum Display {
    /// On the whole screen, of so many pixels, above a line of text of so many.
    Screen { width: usize, height: usize, line: usize },
    /// With half blocks, in so many columns.
    Terminal { columns: usize },
    /// What they hold, in words.
    Text,
}

impl Display {
    /// The one that there is if nobody says what it should be.
    fn usual() -> Self {
        let size = console::with_screen(|screen| {
            let (width, height, _) = screen.pixels();
            Self::Screen { width, height, line: height / screen.size().1.max(1) }
        });
        size.unwrap_or(Self::Terminal { columns: USUAL_COLUMNS })
    }

    /// The largest code that it shows.
    fn most(self) -> Option<Version> {
        match self {
            Self::Screen { width, height, line } => {
                Version::for_screen(width, height.saturating_sub(room_for_words(line)))
            }
            Self::Terminal { columns } => Version::within_modules(columns),
            Self::Text => Some(Version::MAX),
        }
    }
}

/// What a person wants to see behind a code.
enum Step {
    Next,
    Back,
    End,
}

/// How many codes `qr` shows; `None` if there is no run.
pub fn nr_codes() -> Option<u16> {
    bench::with_last_run(|run| Some(Cut::new(run?, Display::usual().most()?)?.nr_parts()))
}

fn qr<'a>(mut args: Args<'a>, usage: &'static str) -> Result<Status, ArgError<'a>> {
    let list = args.option("--parts", "numbers of parts (3,5-7)")?;
    let auto = args.option("--auto", "a duration (5s)")?;
    let smallest = u64::from(MIN_VERSION) * 4 + 25;
    let columns = args.option_number("--columns", smallest..=MAX_COLUMNS)?;
    let is_text = args.flag("--text");
    args.finish(usage)?;
    let display = match columns {
        _ if is_text => Display::Text,
        Some(columns) => Display::Terminal { columns: columns as usize },
        None => Display::usual(),
    };
    let auto_ns = match auto.map(|word| (word, units::duration_ns(word))) {
        None => None,
        Some((_, Ok(ns))) => Some(ns),
        Some((word, Err(_))) => {
            println!("qr: --auto expected a duration (5s), got `{word}`; usage: qr {usage}");
            return Ok(Status::Usage);
        }
    };
    Ok(bench::with_last_run(|run| {
        let Some(run) = run else {
            println!("qr: there is no run to show; `bench` makes one");
            return Status::Failed;
        };
        let Some(cut) = display.most().and_then(|most| Cut::new(run, most)) else {
            println!("qr: a run of {} bytes is too large for this display", run.len());
            return Status::Failed;
        };
        let nr_parts = cut.nr_parts();
        if let Some(wrong) = list.and_then(|list| choice::ranges(list, nr_parts).find_map(Result::err)) {
            println!("qr: --parts expected numbers from 1 to {nr_parts} (3,5-7), got `{wrong}`; usage: qr {usage}");
            return Status::Usage;
        }
        let is_wanted = |number: &u16| list.is_none_or(|list| choice::has(list, *number, nr_parts));
        let is_shown =
            show(&Tour { cut, is_wanted, auto_ns, at: Cell::new(0), keys: Cell::new(Decoder::new()) }, display);
        is_shown.map_or_else(
            |why| {
                println!("qr: {why}");
                Status::Failed
            },
            |()| Status::Ok,
        )
    }))
}

/// Why nothing is shown any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NotShown {
    /// The screen is gone.
    NoScreen(screen::NoScreen),
    /// The console takes nothing.
    Console,
}

impl fmt::Display for NotShown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoScreen(why) => write!(f, "{why}"),
            Self::Console => f.write_str("the console takes no codes"),
        }
    }
}

/// Shows the parts that are wanted, until the last or until somebody has had enough.
fn show<W: Fn(&u16) -> bool>(tour: &Tour<'_, W>, display: Display) -> Result<(), NotShown> {
    /// Here and not on the stack.
    static CANVAS: SpinMutex<Canvas> = SpinMutex::new(Canvas::new());
    let mut canvas = CANVAS.lock();
    let version = tour.cut.version();
    if !tour.start() {
        return Ok(());
    }
    if let Display::Screen { .. } = display {
        println!("qr: on the screen; --columns N draws here, --text prints what the codes hold");
        let paint = |picture: &mut Picture| {
            // It fits, as every part fits the version of its cut.
            if let Some(code) = tour.part().and_then(|part| canvas.draw(&part, version)) {
                paint(picture, &code, tour.words().as_str());
            }
        };
        return screen::show_each(paint, || tour.goes_on(true)).map_err(NotShown::NoScreen);
    }
    let is_text = matches!(display, Display::Text);
    loop {
        if let Some(part) = tour.part() {
            if is_text {
                println!("{part}");
            } else if let Some(code) = canvas.draw(&part, version) {
                code.write_blocks(&mut Out).map_err(|_| NotShown::Console)?;
                println!("qr: {}", tour.words().as_str());
            }
        }
        let goes_on = if is_text { !input::is_cancelled() && tour.step(Step::Next) } else { tour.goes_on(false) };
        if !goes_on {
            return Ok(());
        }
    }
}

/// What a line of text below a code takes, with a little air.
fn room_for_words(line: usize) -> usize {
    line + line / 2
}

/// Paints a code as large as there is room for, with words below.
fn paint(picture: &mut Picture, code: &Code<'_>, words: &str) {
    let (width, height) = picture.size();
    let (_, line) = picture.character();
    let nr_modules = code.nr_modules();
    let module = (width.min(height.saturating_sub(room_for_words(line))) / nr_modules).max(1);
    let left = width.saturating_sub(nr_modules * module) / 2;
    picture.fill(0, 0, width, height, Rgb::WHITE);
    for row in 0..nr_modules {
        let mut column = 0;
        while column < nr_modules {
            // Dark modules side by side are one rectangle.
            let len = (column..nr_modules).take_while(|&column| code.is_dark(column, row)).count();
            picture.fill(left + column * module, row * module, len * module, module, Rgb::BLACK);
            column += len.max(1);
        }
    }
    picture.text(left + 4 * module, nr_modules * module + line / 4, words, Rgb::BLACK, Rgb::WHITE);
}

/// A way through the parts that are wanted.
struct Tour<'a, W> {
    cut: Cut<'a>,
    is_wanted: W,
    auto_ns: Option<u64>,
    /// The part that is shown.
    at: Cell<u16>,
    /// Keys of several bytes.
    keys: Cell<Decoder>,
}

impl<'a, W: Fn(&u16) -> bool> Tour<'a, W> {
    /// Goes to the first part; whether there is one.
    fn start(&self) -> bool {
        self.step(Step::Next)
    }

    fn part(&self) -> Option<qr::part::Part<'a>> {
        self.cut.part(self.at.get())
    }

    fn next(&self) -> Option<u16> {
        (self.at.get() + 1..=self.cut.nr_parts()).find(&self.is_wanted)
    }

    /// Goes a step; whether there is a part to show then. There is nothing before the first but the first.
    fn step(&self, step: Step) -> bool {
        let to = match step {
            Step::Next => self.next(),
            Step::Back => (1..self.at.get()).rev().find(&self.is_wanted).or(Some(self.at.get())),
            Step::End => None,
        };
        to.inspect(|&to| self.at.set(to)).is_some()
    }

    /// What stands below a code.
    fn words(&self) -> Fixed<128> {
        let what_next = match (self.next(), self.auto_ns) {
            (_, None) if !shell::is_at_prompt() => "",
            (Some(_), None) => ": any key for the next, left arrow: back, Ctrl-C ends",
            (None, None) => ": the last; any key ends, left arrow: back",
            (_, Some(_)) => ": goes on by itself, or by any key; Ctrl-C ends",
        };
        let (at, nr_parts) = (self.at.get(), self.cut.nr_parts());
        Fixed::of(format_args!("run {:08X}, part {at} of {nr_parts}{what_next}", self.cut.run()))
    }

    /// Waits for a key or until the time is up, and goes where that leads; whether there is a part to show then. A script
    /// that gives no time waits for nobody, but leaves a picture for a while.
    fn goes_on(&self, is_picture: bool) -> bool {
        let auto_ns = self.auto_ns.or((is_picture && !shell::is_at_prompt()).then_some(USUAL_AUTO_NS));
        let step = match auto_ns {
            Some(time_ns) => self.wait_until(Deadline::after_ns(time_ns)),
            None if shell::is_at_prompt() => self.wait_for_key(),
            None if input::is_cancelled() => Step::End,
            None => Step::Next,
        };
        self.step(step)
    }

    fn wait_for_key(&self) -> Step {
        loop {
            match input::wait_for_key().map(|byte| self.key(byte)) {
                None => return Step::End,
                Some(Some(step)) => return step,
                // Part of a key.
                Some(None) => {}
            }
        }
    }

    fn wait_until(&self, deadline: Deadline) -> Step {
        loop {
            if input::is_cancelled() {
                return Step::End;
            }
            if let Some(step) = input::next_byte().and_then(|byte| self.key(byte)) {
                return step;
            }
            if deadline.has_passed() {
                return Step::Next;
            }
            // No interrupt comes when the time is up, so there is no halting.
            machine::relax_and_serve();
        }
    }

    /// What the key says that `byte` completes.
    fn key(&self, byte: u8) -> Option<Step> {
        let mut keys = self.keys.take();
        let key = keys.feed(byte);
        self.keys.set(keys);
        key.map(|key| match key {
            Key::Char(b'q' | b'Q') | Key::EndOfInput | Key::Interrupt => Step::End,
            Key::Left | Key::Up | Key::Backspace => Step::Back,
            _ => Step::Next,
        })
    }
}
