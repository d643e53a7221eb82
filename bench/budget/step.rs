//! Counts instructions by single steps: a child of this process does the work, this process follows it by ptrace.
//!
//! Exact, and the same on every x86-64: what is counted is the instructions of this program between two stops of the
//! child. Those of the C library are left out, as it picks its `memcpy` by the CPU's features; the call is counted.

use std::fs;
use std::hint::black_box;
use std::ops::Range;
use std::os::raw::{c_int, c_long, c_void};
use std::ptr::{self, NonNull};

use crate::machine::{mask, unmask};

/// Something to count: two words in, one out, in registers, so that a path's count is from its entry to its `ret`.
pub(crate) type Call = extern "C" fn(usize, usize) -> usize;

/// What a call took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    /// Instructions, with the call's own way in and out the same for all.
    pub(crate) nr_instructions: u64,
    /// Of these, the longest stretch with interrupts off.
    pub(crate) nr_masked: u64,
}

/// What a call was, and how many objects it moved. All zeroes: not labelled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Label {
    /// Number of the path, from 1.
    pub(crate) path: u32,
    pub(crate) nr_objects: u32,
}

/// Calls that a script may make.
const MAX_CALLS: usize = 1 << 16;

/// In the child: makes calls that are counted.
pub(crate) struct Counted {
    /// A label for each call, where the parent sees it.
    labels: NonNull<Label>,
    nr_calls: usize,
}

impl Counted {
    /// Calls `call` under the eyes of the parent.
    #[inline(never)]
    pub(crate) fn call(&mut self, call: Call, a: usize, b: usize) -> usize {
        assert!(self.nr_calls < MAX_CALLS, "more than {MAX_CALLS} calls");
        self.nr_calls += 1;
        let call = black_box(call);
        stop();
        let result = call(a, b);
        stop();
        result
    }

    /// Says what the latest call was.
    pub(crate) fn label(&mut self, label: Label) {
        // SAFETY: a call has been made, fewer than MAX_CALLS before it, and the mapping has a label for each.
        unsafe { self.labels.add(self.nr_calls - 1).write(label) };
    }
}

#[inline(never)]
fn stop() {
    // SAFETY: stops this process, whose one thread has its number, until its tracer lets it go on. Not by `raise`, which
    // takes many more steps.
    unsafe { libc::syscall(libc::SYS_kill, libc::syscall(libc::SYS_getpid), libc::SIGSTOP) };
}

/// A request without an address, or with a number in its place.
fn ptrace(request: libc::c_uint, pid: libc::pid_t, addr: usize, data: usize) -> Result<c_long, String> {
    // SAFETY: none of the requests made here writes to this process's memory.
    let result = unsafe { libc::ptrace(request, pid, addr as *mut c_void, data as *mut c_void) };
    // A word that was asked for may be -1, but no address of an instruction is.
    if result == -1 { Err(format!("ptrace: {}", std::io::Error::last_os_error())) } else { Ok(result) }
}

/// How the child stands.
enum Stop {
    Exited(c_int),
    Signal(c_int),
}

fn wait(pid: libc::pid_t) -> Result<Stop, String> {
    let mut status = 0;
    // SAFETY: `status` is valid for the write.
    while unsafe { libc::waitpid(pid, &raw mut status, 0) } < 0 {
        let error = std::io::Error::last_os_error();
        if error.kind() != std::io::ErrorKind::Interrupted {
            return Err(format!("waitpid: {error}"));
        }
    }
    if libc::WIFSTOPPED(status) {
        Ok(Stop::Signal(libc::WSTOPSIG(status)))
    } else if libc::WIFEXITED(status) {
        Ok(Stop::Exited(libc::WEXITSTATUS(status)))
    } else {
        Err(format!("the child was killed by signal {}", libc::WTERMSIG(status)))
    }
}

/// Addresses of this program's own code.
fn own_code() -> Result<Range<usize>, String> {
    let maps = fs::read_to_string("/proc/self/maps").map_err(|error| format!("/proc/self/maps: {error}"))?;
    let here = own_code as fn() -> _ as usize;
    let ranges = maps.lines().filter_map(|line| {
        let (start, rest) = line.split_once('-')?;
        let end = rest.split(' ').next()?;
        Some(usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?)
    });
    ranges.into_iter().find(|range| range.contains(&here)).ok_or("no mapping holds this program's code".into())
}

/// Runs `script` in a child and returns each of its calls, with its label.
///
/// # Errors
///
/// For people: what the host does not permit, or how the child died.
pub(crate) fn follow(script: impl FnOnce(&mut Counted)) -> Result<Vec<(Label, Count)>, String> {
    let code = own_code()?;
    let (rights, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
    // SAFETY: an anonymous mapping at an address of the host's choice touches nothing that exists.
    let labels = unsafe { libc::mmap(ptr::null_mut(), MAX_CALLS * size_of::<Label>(), rights, flags, -1, 0) };
    if labels == libc::MAP_FAILED {
        return Err(format!("mmap: {}", std::io::Error::last_os_error()));
    }
    let labels = NonNull::new(labels.cast::<Label>()).ok_or("a mapping at address 0")?;
    // SAFETY: this program has one thread here, or threads of a test harness, of which the child needs none.
    match unsafe { libc::fork() } {
        -1 => Err(format!("fork: {}", std::io::Error::last_os_error())),
        0 => {
            let status = match ptrace(libc::PTRACE_TRACEME, 0, 0, 0) {
                Ok(_) => {
                    stop();
                    script(&mut Counted { labels, nr_calls: 0 });
                    0
                }
                Err(error) => {
                    eprintln!("{error}");
                    NOT_TRACED
                }
            };
            // SAFETY: ends the child at once, without what the parent has registered for its own end.
            unsafe { libc::_exit(status) }
        }
        pid => {
            let counts = count_calls(pid, &code)?;
            // SAFETY: the child has ended; it labelled its calls in the mapping, which is zeroed else, and never freed.
            let labels = unsafe { std::slice::from_raw_parts(labels.as_ptr(), counts.len()) };
            Ok(labels.iter().copied().zip(counts).collect())
        }
    }
}

/// Status of a child that may not be traced.
const NOT_TRACED: c_int = 77;

fn count_calls(pid: libc::pid_t, code: &Range<usize>) -> Result<Vec<Count>, String> {
    match wait(pid)? {
        Stop::Signal(libc::SIGSTOP) => {}
        Stop::Exited(NOT_TRACED) => return Err("this host does not let a process be traced (ptrace)".into()),
        _ => return Err("the child did not stop to be traced".into()),
    }
    ptrace(libc::PTRACE_SETOPTIONS, pid, 0, libc::PTRACE_O_EXITKILL as usize)?;
    let mut counts = Vec::new();
    loop {
        ptrace(libc::PTRACE_CONT, pid, 0, 0)?;
        match wait(pid)? {
            Stop::Exited(0) => return Ok(counts),
            Stop::Signal(libc::SIGSTOP) => counts.push(count_steps(pid, code)?),
            Stop::Exited(status) => return Err(format!("the child ended with status {status}")),
            Stop::Signal(signal) => return Err(format!("the child got signal {signal}")),
        }
    }
}

/// From a stop of the child to its next one.
fn count_steps(pid: libc::pid_t, code: &Range<usize>) -> Result<Count, String> {
    let mut count = Count::default();
    let mut masked_since = None;
    loop {
        let rip = ptrace(libc::PTRACE_PEEKUSER, pid, std::mem::offset_of!(libc::user_regs_struct, rip), 0)? as usize;
        if rip == mask as extern "C" fn() -> usize as usize {
            masked_since.get_or_insert(count.nr_instructions);
        } else if rip == unmask as extern "C" fn(usize) as usize
            && let Some(since) = masked_since.take()
        {
            count.nr_masked = count.nr_masked.max(count.nr_instructions - since);
        }
        count.nr_instructions += u64::from(code.contains(&rip));
        ptrace(libc::PTRACE_SINGLESTEP, pid, 0, 0)?;
        match wait(pid)? {
            Stop::Signal(libc::SIGTRAP) => {}
            Stop::Signal(libc::SIGSTOP) => return Ok(count),
            Stop::Signal(signal) => return Err(format!("the child got signal {signal} while it was followed")),
            Stop::Exited(status) => return Err(format!("the child ended with status {status} while it was followed")),
        }
    }
}
