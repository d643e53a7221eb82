//! `chaos=` on the kernel command line: faults on purpose, each to show that the check against it can fail.
//!
//! ```text
//!   chaos=drop-ipi               interrupts of TLB shootdowns are dropped: `stress` and `tlb-test` must fail
//!   chaos=no-self-service        who waits for a lock serves no shootdowns: `tlb-test lock-holder` must hang, and be named
//!   chaos=nmi-to-sleep           an NMI that came before a `hlt` returns to it: `tlb-test halt` must fail
//!   chaos=tsc-told:1000000       CPUID seems to say that the TSC has so many kHz: boot must find that wrong
//!   chaos=skew-tsc:1:500000000   in comparisons of clocks CPU 1's reads so many ticks too high: `clock` must fail
//!   chaos=bad-frame:12345        the frame of this number, in hexadecimal, reads back wrong: `memtest` must fail
//!   chaos=parity:1:cr4           CPU 1 comes with a harmless bit of CR0, CR4, EFER, the PAT or an MTRR changed: boot must
//!                                name CPU and register, and stop
//!   chaos=poison-reclaimed       memory is filled with 0xCC, not zeroes, when it is taken over from the bootloader
//!   chaos=mp:duplicate           our own loader lies about the CPUs: boot must say so and go on (loader/src/lies.rs)
//! ```
//!
//! May be given several times.
//!
//! Called by: boot and the shell, to complain of what cannot be understood; and by the commands concerned.

use core::fmt;

use crate::units;
use arch::control::Register;

/// A word behind `chaos=`, understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chaos {
    /// Interrupts of TLB shootdowns are dropped.
    DropIpi,
    /// CPUs that wait, for a lock or for one another, serve no shootdowns meanwhile.
    NoSelfService,
    /// A CPU that an NMI found between `sti` and `hlt` goes on to halt.
    NmiToSleep,
    /// CPUID seems to give this rate of the TSC.
    TscTold {
        /// In Hz.
        hz: u64,
    },
    /// One CPU's clock is read too high where clocks are compared.
    SkewTsc {
        /// Whose.
        cpu: u64,
        /// By how much.
        ticks: u64,
    },
    /// One CPU has a harmless bit of one register changed before registers are compared.
    Parity {
        /// Which CPU.
        cpu: u64,
        /// Which register.
        register: Register,
    },
    /// Memory taken over from the bootloader is poisoned.
    PoisonReclaimed,
    /// Our own loader lies about the CPUs; this kernel only has to know that the word is one.
    Mp {
        /// How.
        lie: &'static str,
    },
    /// A frame reads back wrong in `memtest`.
    BadFrame {
        /// Its number.
        number: u32,
    },
}

/// The names of the registers of `parity`, which are `arch`'s.
const REGISTERS: [(&str, Register); 5] = [
    ("cr0", Register::Cr0),
    ("cr4", Register::Cr4),
    ("efer", Register::Efer),
    ("pat", Register::Pat),
    ("mtrr", Register::Mtrr),
];

/// The lies that our loader knows: the names of `loader/src/lies.rs`.
pub const MP_LIES: [&str; 18] = [
    "duplicate",
    "reversed",
    "no-first",
    "first-id",
    "wrong-id",
    "same-entry",
    "two-in-one",
    "capable",
    "absent",
    "late",
    "null",
    "wild",
    "crowd",
    "none",
    "empty",
    "endless",
    "flag",
    "xapic",
];

impl Chaos {
    /// What there is, for a complaint.
    pub const KNOWN: &'static str = "drop-ipi, no-self-service, nmi-to-sleep, tsc-told:KHZ, skew-tsc:CPU:TICKS, \
                                     bad-frame:HEX, parity:CPU:REGISTER, poison-reclaimed, mp:LIE";

    /// Reads the word behind `chaos=`.
    pub fn parse(word: &str) -> Option<Self> {
        let (name, value) = word.split_once(':').unwrap_or((word, ""));
        match name {
            "drop-ipi" if !word.contains(':') => Some(Self::DropIpi),
            "no-self-service" if !word.contains(':') => Some(Self::NoSelfService),
            "nmi-to-sleep" if !word.contains(':') => Some(Self::NmiToSleep),
            "tsc-told" => {
                let khz = units::number(value).ok().filter(|&khz| khz > 0)?;
                Some(Self::TscTold { hz: khz.checked_mul(1000)? })
            }
            "skew-tsc" => {
                let (cpu, ticks) = value.split_once(':')?;
                Some(Self::SkewTsc { cpu: units::number(cpu).ok()?, ticks: units::number(ticks).ok()? })
            }
            "parity" => {
                let (cpu, register) = value.split_once(':')?;
                let (_, register) = REGISTERS.into_iter().find(|(name, _)| *name == register)?;
                Some(Self::Parity { cpu: units::number(cpu).ok()?, register })
            }
            "poison-reclaimed" if !word.contains(':') => Some(Self::PoisonReclaimed),
            "mp" => MP_LIES.into_iter().find(|lie| *lie == value).map(|lie| Self::Mp { lie }),
            "bad-frame" => {
                let digits = value.strip_prefix("0x").unwrap_or(value);
                let is_plain = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
                u32::from_str_radix(digits, 16).ok().filter(|_| is_plain).map(|number| Self::BadFrame { number })
            }
            _ => None,
        }
    }

    /// Why it will change nothing on a machine of which `is_there` tells the CPUs that came, if it will not.
    pub fn in_vain(&self, is_there: impl Fn(u64) -> bool) -> Option<Vain> {
        match *self {
            Self::Parity { cpu: 0, .. } => Some(Vain::First),
            Self::Parity { cpu, .. } | Self::SkewTsc { cpu, .. } if !is_there(cpu) => Some(Vain::Nobody { cpu }),
            _ => None,
        }
    }
}

/// Why a fault changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vain {
    /// It is for a CPU that is not there.
    Nobody {
        /// Which.
        cpu: u64,
    },
    /// It is for CPU 0, whose registers are those that have to be alike.
    First,
}

impl fmt::Display for Vain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nobody { cpu } => write!(f, "there is no cpu {cpu}"),
            Self::First => f.write_str("cpu 0 is the one that the others are compared with"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_fault_is_read_with_its_values() {
        assert_eq!(Chaos::parse("drop-ipi"), Some(Chaos::DropIpi));
        assert_eq!(Chaos::parse("no-self-service"), Some(Chaos::NoSelfService));
        assert_eq!(Chaos::parse("nmi-to-sleep"), Some(Chaos::NmiToSleep));
        assert_eq!(Chaos::parse("tsc-told:1000"), Some(Chaos::TscTold { hz: 1_000_000 }));
        assert_eq!(Chaos::parse("skew-tsc:1:0x10"), Some(Chaos::SkewTsc { cpu: 1, ticks: 16 }));
        assert_eq!(Chaos::parse("bad-frame:12ab"), Some(Chaos::BadFrame { number: 0x12ab }));
        assert_eq!(Chaos::parse("parity:3:mtrr"), Some(Chaos::Parity { cpu: 3, register: Register::Mtrr }));
        assert_eq!(Chaos::parse("poison-reclaimed"), Some(Chaos::PoisonReclaimed));
        assert_eq!(Chaos::parse("mp:late"), Some(Chaos::Mp { lie: "late" }));
        assert_eq!(Chaos::parse("bad-frame:0x12ab"), Some(Chaos::BadFrame { number: 0x12ab }));
    }

    #[test]
    fn what_means_nothing_is_refused() {
        let words = ["", "drop", "drop-ipi:1", "tsc-told", "tsc-told:0", "skew-tsc:1", "skew-tsc:a:1", "bad-frame:+1"];
        let more = [
            "no-self-service:1",
            "nmi-to-sleep:1",
            "parity:1",
            "parity:1:cr9",
            "parity:x:cr4",
            "poison-reclaimed:1",
            "mp",
            "mp:",
            "mp:truth",
        ];
        for word in words.into_iter().chain(more) {
            assert_eq!(Chaos::parse(word), None, "{word}");
        }
    }

    #[test]
    fn a_fault_for_nobody_or_for_the_cpu_that_sets_the_measure_is_in_vain() {
        let in_vain = |word: &str| Chaos::parse(word).and_then(|chaos| chaos.in_vain(|cpu| cpu < 4));
        assert_eq!(in_vain("parity:9:cr0"), Some(Vain::Nobody { cpu: 9 }));
        assert_eq!(in_vain("parity:0:cr0"), Some(Vain::First));
        assert_eq!(in_vain("skew-tsc:4:1"), Some(Vain::Nobody { cpu: 4 }));
        for word in ["parity:3:cr0", "skew-tsc:0:1", "drop-ipi", "mp:late"] {
            assert_eq!(in_vain(word), None, "{word}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(drop-ipi|no-self-service|tsc-told|skew-tsc|bad-frame|parity|mp|x)?[ -~]{0,30}") {
            let _ = Chaos::parse(&text);
        }
    }
}
