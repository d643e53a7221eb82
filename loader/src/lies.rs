//! Lies about the processors, on request: a kernel's way to see that it survives a bad MP response.
//!
//! ```text
//!   chaos=mp:duplicate    the last processor has the APIC id of the one before it
//!   chaos=mp:reversed     the list is in the opposite order, the boot processor last
//!   chaos=mp:no-first     the boot processor is not listed
//!   chaos=mp:first-id     the boot processor's APIC id is 0x7777, says the response
//!   chaos=mp:wrong-id     the last processor's APIC id is 0x7777, says its entry
//!   chaos=mp:same-entry   the last two places of the list point at one entry
//!   chaos=mp:two-in-one   the last two processors wait for one entry
//!   chaos=mp:capable      the last processor is not listed though it waits; ACPI calls it, and all that are not enabled,
//!                         online-capable
//!   chaos=mp:absent       one more processor, which does not exist
//!   chaos=mp:late         the last processor comes two seconds after it was called
//!   chaos=mp:null         the last place of the list points nowhere
//!   chaos=mp:wild         the last place of the list points at an address that is none
//!   chaos=mp:crowd        600 more processors, none of which exists
//!   chaos=mp:none         there is no response
//!   chaos=mp:empty        the list has no entries
//!   chaos=mp:endless      the list has 2^64 - 1 entries, says the response
//!   chaos=mp:flag         the response says xAPIC where it is x2APIC, and the other way around
//!   chaos=mp:xapic        the processors are left in xAPIC mode, and the response says so
//! ```
//!
//! Said of machines with three processors or more, whose first is the boot processor; on others some lies are truths.
//!
//! Called by: the binary's `boot`, `mp` and `answers`.

use crate::protocol::{MP_X2APIC, MpInfo, MpResponse};

/// An APIC id that no processor has.
pub const NOBODYS_ID: u32 = 0x7777;
/// Made-up processors of [`Lie::Crowd`].
const CROWD: usize = 600;
/// An address that leads nowhere: not canonical.
const NOWHERE: u64 = 0x0123_4567_89ab_cde8;

/// What to lie about; see the list above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "described above, where one looks for them")]
pub enum Lie {
    Duplicate,
    Reversed,
    NoFirst,
    FirstId,
    WrongId,
    SameEntry,
    TwoInOne,
    Capable,
    Absent,
    Late,
    Null,
    Wild,
    Crowd,
    None,
    Empty,
    Endless,
    Flag,
    XApic,
}

const NAMES: [(&[u8], Lie); 18] = [
    (b"duplicate", Lie::Duplicate),
    (b"reversed", Lie::Reversed),
    (b"no-first", Lie::NoFirst),
    (b"first-id", Lie::FirstId),
    (b"wrong-id", Lie::WrongId),
    (b"same-entry", Lie::SameEntry),
    (b"two-in-one", Lie::TwoInOne),
    (b"capable", Lie::Capable),
    (b"absent", Lie::Absent),
    (b"late", Lie::Late),
    (b"null", Lie::Null),
    (b"wild", Lie::Wild),
    (b"crowd", Lie::Crowd),
    (b"none", Lie::None),
    (b"empty", Lie::Empty),
    (b"endless", Lie::Endless),
    (b"flag", Lie::Flag),
    (b"xapic", Lie::XApic),
];

impl Lie {
    /// The last lie that a command line asks for, before `run=`. Words that it does not know are the kernel's business.
    pub fn asked(cmdline: &[u8]) -> Option<Self> {
        let words = cmdline.split(u8::is_ascii_whitespace).take_while(|word| !word.starts_with(b"run="));
        let lies = words.filter_map(|word| word.strip_prefix(b"chaos=mp:"));
        lies.filter_map(|name| NAMES.iter().find(|(known, _)| *known == name)).last().map(|&(_, lie)| lie)
    }

    /// Entries to make up.
    pub fn nr_made_up(self) -> usize {
        match self {
            Self::Absent => 1,
            Self::Crowd => CROWD,
            _ => 0,
        }
    }

    /// Fills in the entries that are made up.
    pub fn make_up(self, entries: &mut [MpInfo]) {
        for (entry, id) in entries.iter_mut().zip(NOBODYS_ID..) {
            entry.lapic_id = id;
        }
    }

    /// Changes what the real entries say.
    pub fn distort(self, entries: &mut [MpInfo]) {
        let [.., before, last] = entries else { return };
        match self {
            Self::Duplicate => last.lapic_id = before.lapic_id,
            Self::WrongId => last.lapic_id = NOBODYS_ID,
            _ => {}
        }
    }

    /// Changes the list, the boot processor's entry being at `first`; returns how many there are then.
    pub fn relist(self, list: &mut [u64], first: usize) -> usize {
        let len = list.len();
        match (self, &mut *list) {
            (Self::Reversed, list) => list.reverse(),
            (Self::NoFirst, list) if first < len => {
                list.copy_within(first + 1.., first);
                return len - 1;
            }
            (Self::TwoInOne | Self::Capable, [_, _, ..]) => return len - 1,
            (Self::SameEntry, [.., before, last]) => *last = *before,
            (Self::Null, [.., last]) => *last = 0,
            (Self::Wild, [.., last]) => *last = NOWHERE,
            _ => {}
        }
        len
    }

    /// Changes the response. `None` is no response.
    pub fn misreport(self, response: MpResponse) -> Option<MpResponse> {
        Some(match self {
            Self::None => return None,
            Self::Empty => MpResponse { cpu_count: 0, ..response },
            Self::Endless => MpResponse { cpu_count: u64::MAX, ..response },
            Self::FirstId => MpResponse { bsp_lapic_id: NOBODYS_ID, ..response },
            Self::Flag => MpResponse { flags: response.flags ^ MP_X2APIC as u32, ..response },
            _ => response,
        })
    }
}

#[cfg(test)]
#[path = "lies_tests.rs"]
mod tests;
