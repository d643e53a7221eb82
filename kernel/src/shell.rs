//! The shell: commands at a prompt, or from `run=` on the kernel command line.
//!
//! A command is a row of a table that the module it belongs to owns. It returns a status; the worst status so far is
//! what `quit` ends QEMU with, so that a script fails if anything in it did.
//!
//! Called by: boot, last, on the first CPU.

mod about;
mod cache_page;
mod clock;
mod cpus;
mod fault;
mod latency;
mod mem;
mod qr;
mod reap;
mod screen;
mod slabs;
mod slabs_debug;
mod smp;
mod space;
mod tlb;
mod vmmap;

pub use mem::{adds_up as mem_adds_up, uses as mem_uses};
pub use qr::nr_codes;

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, Ordering};

use arch::{irq, qemu};
use kernel::args::{ArgError, Args};
use kernel::line::{Editor, Event};
use kernel::{suggest, words};
use spin::mutex::SpinMutex;

use crate::console::{print, println};
use crate::{bench, bootinfo, console, debug, input, memtest, options, replay, stress, tlb_test};

/// What a command came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// Done.
    Ok = 0,
    /// It did not do what it was asked.
    Failed = 1,
    /// It did not understand what it was asked.
    Usage = 2,
}

/// One command.
pub struct Command {
    /// What one types.
    pub name: &'static str,
    /// Its arguments.
    pub usage: &'static str,
    /// A line for the list.
    pub help: &'static str,
    /// More, for `help` of this command; may be empty.
    pub details: &'static str,
    /// Does it, given what follows the name, and `usage` for a complaint about that.
    pub run: for<'a> fn(Args<'a>, usage: &'static str) -> Result<Status, ArgError<'a>>,
}

/// Exit values for `quit`: QEMU's statuses are 33 and 35.
const QUIT_OK: u8 = 0x10;
const QUIT_FAILED: u8 = 0x11;

/// All commands, in the order of `help`.
static TABLES: &[&[Command]] = &[
    about::COMMANDS,
    cpus::COMMANDS,
    smp::COMMANDS,
    clock::COMMANDS,
    mem::COMMANDS,
    vmmap::COMMANDS,
    slabs::COMMANDS,
    reap::COMMANDS,
    latency::COMMANDS,
    tlb::COMMANDS,
    tlb_test::COMMANDS,
    space::COMMANDS,
    replay::COMMANDS,
    stress::COMMANDS,
    memtest::COMMANDS,
    bench::COMMANDS,
    qr::COMMANDS,
    screen::COMMANDS,
    fault::COMMANDS,
];

/// Whether commands come from a person or a program at the prompt, and no longer from the command line.
static IS_AT_PROMPT: AtomicBool = AtomicBool::new(false);

/// Whether the command that runs was typed: the line that it prints to is then a terminal's.
pub fn is_at_prompt() -> bool {
    IS_AT_PROMPT.load(Ordering::Relaxed)
}

/// The worst status since boot.
static WORST: SpinMutex<Status> = SpinMutex::new(Status::Ok);

fn commands() -> impl Iterator<Item = &'static Command> + Clone {
    TABLES.iter().flat_map(|table| table.iter())
}

/// Runs the script of the kernel command line, then reads commands for ever.
pub fn run() -> ! {
    if !options::announce() {
        *WORST.lock() = Status::Usage;
    }
    println!("Bandolier {}. Type `help` for the commands.", env!("CARGO_PKG_VERSION"));
    let mut status = Status::Ok;
    if let Some(script) = bootinfo::get().cmdline().run() {
        for command in words::commands(script) {
            show_prompt(status, || print!("{}", prompt(status)));
            println!("{command}");
            status = execute(command);
            if input::is_cancelled() {
                break;
            }
        }
    }
    interact(status)
}

/// What stands before the cursor: it shows a status that is not 0.
fn prompt(status: Status) -> Prompt {
    let mut prompt = Prompt { bytes: [0; 32], len: 0 };
    let written = match status {
        Status::Ok => write!(prompt, "bandolier> "),
        _ => write!(prompt, "bandolier [{}]> ", status as u8),
    };
    assert!(written.is_ok(), "the prompt fits its {} bytes", prompt.bytes.len());
    prompt
}

struct Prompt {
    bytes: [u8; 32],
    len: usize,
}

impl Prompt {
    fn as_str(&self) -> &str {
        core::str::from_utf8(&self.bytes[..self.len]).unwrap_or("> ")
    }
}

impl Write for Prompt {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let place = self.bytes.get_mut(self.len..self.len + text.len()).ok_or(fmt::Error)?;
        place.copy_from_slice(text.as_bytes());
        self.len += text.len();
        Ok(())
    }
}

impl fmt::Display for Prompt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn interact(mut status: Status) -> ! {
    // A static: on the stack, or on its way into a box, its 9 KiB would be most of what a command has left.
    static EDITOR: SpinMutex<Editor> = SpinMutex::new(Editor::new(80));
    IS_AT_PROMPT.store(true, Ordering::Relaxed);
    let mut editor = EDITOR.lock();
    let mut out = console::write_bytes;
    show_prompt(status, || editor.start(prompt(status).as_str(), &mut out));
    loop {
        let byte = input::wait_for_byte();
        status = match editor.input(byte, &complete, &mut out) {
            Event::None => continue,
            Event::Line(line) => {
                let mut last = None;
                for command in words::commands(line) {
                    last = Some(execute(command));
                    if input::is_cancelled() {
                        break;
                    }
                }
                last.unwrap_or(status)
            }
            Event::TooLong => {
                println!("that line is too long");
                Status::Usage
            }
            Event::Interrupt => Status::Ok,
            Event::EndOfInput => execute("quit"),
        };
        show_prompt(status, || editor.start(prompt(status).as_str(), &mut out));
    }
}

/// Shows the prompt, on the screen in a colour that says how the last command ended.
fn show_prompt(status: Status, show: impl FnOnce()) {
    console::colour(if status == Status::Ok { "\x1b[32m" } else { "\x1b[31m" });
    show();
    console::colour("\x1b[m");
}

/// Completes command names, and the names of modules behind `replay`.
fn complete(before: &str, word: &str, offer: &mut dyn FnMut(&str)) {
    match words::split_name(before) {
        None | Some(("help", _)) => commands().map(|command| command.name).for_each(offer),
        Some(("replay", _)) => bootinfo::get().modules().map(|module| module.name.as_str()).for_each(offer),
        Some(("fault", _)) => fault::KINDS.iter().map(|(name, ..)| *name).for_each(offer),
        Some(("bench", _)) => bench::names().for_each(offer),
        Some(("memtest", _)) => memtest::names().for_each(offer),
        Some(("tlb-test", _)) => tlb_test::names().for_each(offer),
        _ => {}
    }
    let _ = word;
}

/// Runs one command and says what was wrong with it.
fn execute(text: &str) -> Status {
    let Some(args) = Args::new(text) else { return Status::Ok };
    input::start_command();
    let name = args.command();
    let status = match commands().find(|command| command.name == name) {
        Some(command) => (command.run)(args, command.usage).unwrap_or_else(|error| {
            println!("{error}");
            Status::Usage
        }),
        None => {
            print!("`{name}` is not a command");
            match suggest::closest(name, commands().map(|command| command.name)) {
                Some(nearest) => println!("; did you mean `{nearest}`?"),
                None => println!("; `help` lists them"),
            }
            Status::Usage
        }
    };
    input::end_command();
    let mut worst = WORST.lock();
    *worst = (*worst).max(status);
    status
}

/// Ends QEMU with the worst status so far.
fn quit() -> ! {
    let worst = *WORST.lock();
    console::refresh();
    // What a debug check has found fails the run, whatever the commands came to.
    qemu::try_exit(if worst == Status::Ok && debug::nr_findings() == 0 { QUIT_OK } else { QUIT_FAILED });
    println!("bandolier: this is no QEMU that can be ended; the machine may be turned off");
    console::refresh();
    irq::halt_forever()
}

/// Prints to the console through [`fmt::Write`].
pub struct Out;

impl Write for Out {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        print!("{text}");
        Ok(())
    }
}
