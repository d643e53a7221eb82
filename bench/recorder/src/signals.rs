//! Signals that ask a recording to end, and waiting for whatever comes first.
//!
//! The only unsafe code of this crate: three system calls that the standard library does not have.
//!
//! Invariant: a handler does nothing but add to one atomic number. What a handler catches has its default effect again
//! in the command: handlers do not survive an exec.
//!
//! Called by: [`crate::command`] and [`crate::record`].

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// The signals that end a recording.
pub const ENDING: [i32; 3] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP];

/// Upper bits: how many came; lower 8: the last one.
static RECEIVED: AtomicU32 = AtomicU32::new(0);

extern "C" fn note(signal: libc::c_int) {
    let count = RECEIVED.load(Ordering::Relaxed) >> 8;
    // Two at the same instant may count as one; that is one more Ctrl-C.
    RECEIVED.store((count + 1) << 8 | (signal as u32 & 0xff), Ordering::Relaxed);
}

/// Catches the signals of [`ENDING`] from now on. One that is ignored already, as `nohup` does, stays ignored.
///
/// # Errors
///
/// Of the system call.
pub fn catch() -> io::Result<()> {
    for signal in ENDING {
        // SAFETY: all-zero bytes are a valid `sigaction`, an empty mask and no flags among it.
        let mut old: libc::sigaction = unsafe { std::mem::zeroed() };
        // SAFETY: as above.
        let mut new: libc::sigaction = unsafe { std::mem::zeroed() };
        new.sa_sigaction = note as extern "C" fn(libc::c_int) as libc::sighandler_t;
        // SAFETY: the pointers are to live values of that type; the handler touches an atomic only, which is safe in a
        // signal handler. Without SA_RESTART, so that `poll` returns.
        let result = unsafe { libc::sigaction(signal, &new, &mut old) };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
        if old.sa_sigaction == libc::SIG_IGN {
            // SAFETY: puts back what the same call has just returned.
            unsafe { libc::sigaction(signal, &old, std::ptr::null_mut()) };
        }
    }
    Ok(())
}

/// How many of them came so far, and the last.
pub fn received() -> (u32, i32) {
    let received = RECEIVED.load(Ordering::Relaxed);
    (received >> 8, (received & 0xff) as i32)
}

/// Sends `signal` to the process `pid`, a child that has not been waited for.
///
/// # Errors
///
/// Of the system call.
pub fn send(pid: u32, signal: i32) -> io::Result<()> {
    let pid = libc::pid_t::try_from(pid).map_err(io::Error::other)?;
    // SAFETY: takes no pointers; the caller's child cannot have become another process before it was waited for.
    let result = unsafe { libc::kill(pid, signal) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Whether a Ctrl-C typed here goes to us and, in our process group, to the command as well.
pub fn is_in_foreground() -> bool {
    // SAFETY: both take no pointers, and fail with -1 where standard input is no terminal.
    unsafe { libc::tcgetpgrp(0) == libc::getpgrp() }
}

/// A descriptor that becomes readable when the child `pid` ends.
///
/// # Errors
///
/// Kernels before 5.3 have none.
pub fn process_fd(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: takes no pointers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid as libc::pid_t, 0) };
    let fd = i32::try_from(fd).ok().filter(|&fd| fd >= 0).ok_or_else(io::Error::last_os_error)?;
    // SAFETY: the call has just opened it for us alone, and close-on-exec.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Waits until one of `fds` is readable, a signal comes, or the time is up.
///
/// # Errors
///
/// Of the system call; an interruption is none.
pub fn wait(fds: &[BorrowedFd<'_>], timeout: Duration) -> io::Result<()> {
    let poll = |fd: &BorrowedFd<'_>| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let mut polled: Vec<_> = fds.iter().map(poll).collect();
    let timeout_ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: the pointer is to as many live entries as the length says; the descriptors are borrowed, hence open.
    let result = unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, timeout_ms) };
    match io::Error::last_os_error() {
        _ if result >= 0 => Ok(()),
        error if error.kind() == io::ErrorKind::Interrupted => Ok(()),
        error => Err(error),
    }
}

/// The size of this machine's pages in bytes.
pub fn page_bytes() -> u64 {
    // SAFETY: takes no pointers and cannot fail for this name.
    unsafe { libc::sysconf(libc::_SC_PAGESIZE) }.max(1) as u64
}
