//! The allocator's debug modes in this kernel: the rules of the command line, call sites, and what a finding comes to.
//!
//! A finding ends the machine, as a bad free that is found late does, unless `debug=go-on` is given; then it is printed
//! and counted, and the shell's script fails in the end.
//!
//! Called by: `mm` through the machine, at any allocation and free of a debugged cache, in any context but an NMI.

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use arch::backtrace::Backtrace;
use kernel::debug_option::{Checks, DebugOption, Target, WrongDebugOption};
use kernel::symbols::Symbols;
use kernel::words::key_value;
use mm::arena::{Options, Policy};
use mm::debug::{DebugFlags, DebugRules, Fault, Finding, Track};
use mm::size_class;

use crate::crash::{self, Place};
use crate::machine::HEAP;
use crate::{bootinfo, console};

/// What the heap asks when it opens a cache.
static RULES: DebugRules = flags_for;

static NR_FINDINGS: AtomicU64 = AtomicU64::new(0);

/// Findings that did not end the machine.
pub fn nr_findings() -> u64 {
    NR_FINDINGS.load(Ordering::Relaxed)
}

/// The words behind each `debug=`.
fn options() -> impl Iterator<Item = Result<DebugOption<'static>, WrongDebugOption<'static>>> {
    let cmdline = bootinfo::try_get().map(|info| info.cmdline());
    cmdline.into_iter().flat_map(|cmdline| {
        cmdline
            .options()
            .filter_map(key_value)
            .filter(|(key, _)| *key == "debug")
            .map(|(_, value)| DebugOption::parse(value))
    })
}

/// What was given as `debug=` and cannot be understood.
pub fn wrong_options() -> impl Iterator<Item = WrongDebugOption<'static>> {
    options().filter_map(Result::err)
}

/// Whether findings do not end the machine.
pub fn goes_on() -> bool {
    options().any(|option| option == Ok(DebugOption::GoOn))
}

fn flags_for(name: &str, size: usize) -> DebugFlags {
    let is_class = name == "size class";
    let is_meant = |target| match target {
        Target::Name(wanted) => wanted == name,
        Target::Size(wanted) if is_class => size_class::size(size_class::index(wanted)) == size,
        Target::Size(wanted) => wanted == size,
    };
    let checks = options().fold(Checks::default(), |checks, option| match option {
        Ok(DebugOption::Slab(rule)) if rule.targets().is_none_or(|mut targets| targets.any(is_meant)) => {
            checks.with(rule.checks)
        }
        _ => checks,
    });
    let flag = |is_on: bool, flag: DebugFlags| if is_on { flag } else { DebugFlags::NONE };
    flag(checks.poison, DebugFlags::POISON)
        .with(flag(checks.redzone, DebugFlags::REDZONE))
        .with(flag(checks.audit, DebugFlags::AUDIT))
}

/// How addresses are handed out: whoever debugs wants a stale pointer to meet a hole, so no address is reused soon.
pub fn arena_options() -> Options {
    let is_debugged = options().any(|option| matches!(option, Ok(DebugOption::Slab(_) | DebugOption::Guard(_))));
    if is_debugged { Options { policy: Policy::Next, has_quantum_caches: false } } else { Options::default() }
}

/// One visit in so many gets a guarded object, by the last word that says so.
fn guard_interval() -> Option<u32> {
    let guards = options().filter_map(|option| match option {
        Ok(DebugOption::Guard(interval)) => Some(interval),
        _ => None,
    });
    guards.last()
}

/// Tells the heap what the command line says. Before it is opened.
pub fn init() {
    HEAP.set_debug_rules(&RULES);
    if let Some(interval) = guard_interval() {
        HEAP.set_guard_interval(interval);
    }
}

/// Says at boot what is debugged; also that nothing is, where a word named no class that there is.
pub fn announce() {
    if let Some(interval) = guard_interval() {
        console::println!("bandolier: debug: about one in {interval} visits behind the magazines is guarded");
    }
    if options().any(|option| matches!(option, Ok(DebugOption::Slab(_)))) {
        let nr_debugged = HEAP.caches().filter(|(_, cache)| cache.is_debugged()).count();
        console::println!("bandolier: debug: {nr_debugged} of {} size classes are debugged", size_class::NR_CLASSES);
    }
}

/// Return addresses into those who called the allocator: without its own functions and those of the language between.
#[inline(never)]
pub fn backtrace(sites: &mut [usize]) -> usize {
    let trace = Backtrace::here(crash::is_stack).skip_while(|&address| is_allocators(address));
    let mut nr_sites = 0;
    for (site, address) in sites.iter_mut().zip(trace) {
        *site = address;
        nr_sites += 1;
    }
    nr_sites
}

/// Whether the return address lies in a function between the allocator and who called it.
///
/// Symbols are found by a walk over all of them, so answers are remembered: `address << 1`, and the answer in bit 0.
fn is_allocators(address: usize) -> bool {
    const NR_REMEMBERED: usize = 512;
    static REMEMBERED: [AtomicUsize; NR_REMEMBERED] = [const { AtomicUsize::new(0) }; NR_REMEMBERED];
    let place = &REMEMBERED[(address ^ (address >> 9)) % NR_REMEMBERED];
    let remembered = place.load(Ordering::Relaxed);
    if remembered & !1 == address << 1 {
        return remembered & 1 != 0;
    }
    let Some(symbols) = bootinfo::try_get().and_then(|info| Symbols::new(info.kernel_file)) else { return false };
    let mut start = Start { bytes: [0; 48], len: 0 };
    if let Some(symbol) = symbols.lookup(address as u64 - 1) {
        // A name longer than what is kept is cut, by an error.
        let _ = write!(start, "{}", symbol.name);
    }
    let is_allocators = start.begins_between();
    place.store(address << 1 | usize::from(is_allocators), Ordering::Relaxed);
    is_allocators
}

/// The first bytes of a name.
struct Start {
    bytes: [u8; 48],
    len: usize,
}

impl Start {
    fn begins_between(&self) -> bool {
        const BETWEEN: [&[u8]; 6] =
            [b"mm::", b"alloc::", b"core::", b"__r", b"bandolier::debug::", b"bandolier::machine::Cpu as mm"];
        let mut name = &self.bytes[..self.len];
        while let [b'<' | b'&', rest @ ..] = name {
            name = rest;
        }
        BETWEEN.iter().any(|start| name.starts_with(start))
    }
}

impl Write for Start {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.bytes.len() - self.len;
        let n = text.len().min(room);
        self.bytes[self.len..self.len + n].copy_from_slice(&text.as_bytes()[..n]);
        self.len += n;
        if n < text.len() { Err(fmt::Error) } else { Ok(()) }
    }
}

/// Prints what a debug check found, and ends the machine if that is how it is.
pub fn report(finding: &Finding) {
    console::write_impatiently(format_args!("{}", Report(finding)));
    NR_FINDINGS.fetch_add(1, Ordering::Relaxed);
    // What a cache leaves behind is a loss and no danger.
    if finding.fault != Fault::Leak && !goes_on() {
        panic!("a debug check found: {finding}");
    }
}

/// Reports a bad free that was found late: ends the machine if that is how it is.
pub fn report_late_free(error: mm::error::Error) {
    if !goes_on() {
        panic!("a bad free was found when its object left the magazines: {error}");
    }
    NR_FINDINGS.fetch_add(1, Ordering::Relaxed);
    console::write_impatiently(format_args!("mm: bad free, found when its object left the magazines: {error}\n"));
}

/// A finding on a few lines, with the names of the call sites.
pub struct Report<'a>(pub &'a Finding);

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding { found, allocated, freed, .. } = self.0;
        writeln!(f, "mm: {}", self.0)?;
        let found = Some(found).filter(|found| !found.sites().is_empty());
        for (verb, track) in [("found", found), ("allocated", allocated.as_ref()), ("freed", freed.as_ref())] {
            if let Some(track) = track {
                writeln!(f, "mm:   {verb} {}", By(track))?;
            }
        }
        Ok(())
    }
}

/// Who did something: CPU, number, call sites, innermost first.
pub struct By<'a>(pub &'a Track);

impl fmt::Display for By<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "on cpu {}, seq {}: ", self.0.cpu, self.0.seq)?;
        if self.0.sites().is_empty() {
            return f.write_str("(no call site is kept)");
        }
        for (nth, &site) in self.0.sites().iter().enumerate() {
            // The address behind a call may already be the next function's.
            write!(f, "{}{}", if nth > 0 { " < " } else { "" }, Place(site as u64 - 1))?;
        }
        Ok(())
    }
}
