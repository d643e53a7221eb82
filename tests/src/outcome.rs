//! What the end of a machine means.
//!
//! The kernel ends QEMU through `isa-debug-exit`: writing `v` makes QEMU's exit status `2v + 1`, which is always odd,
//! so success is 33 and never 0. Status 0 means that the guest was reset or switched off without a word (a triple
//! fault, under `-no-reboot`), which is success only for a script that asked for `reboot`.

use std::fmt;
use std::process::ExitStatus;

/// How a machine ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Every command was carried out and found nothing wrong.
    Success,
    /// A command failed or was misused.
    CommandFailed,
    /// A panic or an unexpected exception, with a report on the serial line.
    Crashed,
    /// The kernel could not use what the bootloader gave it.
    BadBoot,
    /// The guest was reset or switched off without a report.
    Reset,
    /// QEMU itself gave up; it says why on its standard error.
    Qemu(i32),
    /// QEMU was ended by a signal.
    Killed,
    /// The time allowed was over, and QEMU was ended.
    TimedOut,
}

impl End {
    /// The kernel's value for success, written to the exit port.
    pub const PORT_SUCCESS: i32 = 0x10;
    /// The kernel's value for a failed command.
    pub const PORT_COMMAND_FAILED: i32 = 0x11;
    /// The kernel's value for a crash.
    pub const PORT_CRASHED: i32 = 0x12;
    /// The kernel's value for a boot it refuses.
    pub const PORT_BAD_BOOT: i32 = 0x13;

    /// Reads QEMU's exit status.
    pub fn from_status(status: ExitStatus) -> Self {
        status.code().map_or(Self::Killed, Self::from_code)
    }

    fn from_code(code: i32) -> Self {
        let port = |value: i32| 2 * value + 1;
        match code {
            0 => Self::Reset,
            c if c == port(Self::PORT_SUCCESS) => Self::Success,
            c if c == port(Self::PORT_COMMAND_FAILED) => Self::CommandFailed,
            c if c == port(Self::PORT_CRASHED) => Self::Crashed,
            c if c == port(Self::PORT_BAD_BOOT) => Self::BadBoot,
            other => Self::Qemu(other),
        }
    }

    /// The exit status of a command that ran this machine: 0 only for success; 124 as `timeout` has it.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::CommandFailed => 1,
            Self::Crashed => 2,
            Self::BadBoot => 3,
            Self::Reset => 4,
            Self::Qemu(_) | Self::Killed => 5,
            Self::TimedOut => 124,
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Success => f.write_str("success"),
            Self::CommandFailed => f.write_str("a command failed"),
            Self::Crashed => f.write_str("the kernel crashed; the report is above"),
            Self::BadBoot => f.write_str("the kernel refused the boot; the reason is above"),
            Self::Reset => f.write_str("the machine was reset: by `reboot`, or by a triple fault"),
            Self::Qemu(code) => write!(f, "QEMU gave up with status {code}"),
            Self::Killed => f.write_str("QEMU was ended by a signal"),
            Self::TimedOut => f.write_str("time was up, and QEMU was ended"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_kernels_own_word_is_success() {
        assert_eq!(End::from_code(33), End::Success);
        assert_eq!(End::from_code(35), End::CommandFailed);
        assert_eq!(End::from_code(37), End::Crashed);
        assert_eq!(End::from_code(39), End::BadBoot);
        assert_eq!(End::from_code(0), End::Reset);
        assert_eq!(End::from_code(1), End::Qemu(1));
        for end in
            [End::CommandFailed, End::Crashed, End::BadBoot, End::Reset, End::Qemu(1), End::Killed, End::TimedOut]
        {
            assert_ne!(end.exit_code(), 0, "{end}");
        }
    }
}
