//! What a debug check finds, with all that is known about it.

use core::fmt;

use super::Track;
use crate::error::Error;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A free of what is not to be freed, or not so; [`Finding::error`] says which.
    BadFree,
    /// Bytes before the object were written.
    Underrun,
    /// Bytes behind what was asked for were written.
    Overrun,
    /// The object was written after it was freed.
    WriteAfterFree,
    /// The record behind the object was written: what it says of sites and size is not to be trusted, so nothing is said.
    Record,
    /// The cache is to be destroyed, and the object is still out.
    Leak,
    /// A guarded object was touched after its free, or memory beside it: a fault of the machine, on an unmapped page.
    Touch {
        /// Where, in bytes from the object's start.
        offset: isize,
    },
}

/// When it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// When the object was to be handed out.
    Alloc,
    /// When the object was freed.
    Free,
    /// In a walk over all objects.
    Check,
    /// By the machine, when it was touched.
    Fault,
    /// When the cache was to be destroyed.
    Destroy,
}

/// Bytes that are not as they were left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Of the first, in bytes from the object's start; negative before it.
    pub offset: isize,
    /// From the first to the last.
    pub nr_bytes: usize,
    /// What the first is.
    pub found: u8,
    /// What it should be.
    pub expected: u8,
}

/// One finding. The structures of the allocator are sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What is wrong.
    pub fault: Fault,
    /// When it was found.
    pub moment: Moment,
    /// The same as one of the errors that everybody knows.
    pub error: Error,
    /// The pointer: the object's, or the one that was freed.
    pub addr: usize,
    /// Name of the cache.
    pub cache: &'static str,
    /// Id of the cache.
    pub id: u16,
    /// Bytes of the cache's objects.
    pub object_size: usize,
    /// Bytes that were asked for, if it is known.
    pub requested: Option<usize>,
    /// The overwritten bytes, for faults that have them.
    pub damage: Option<Damage>,
    /// Who came upon it. For a bad free: who frees.
    pub found: Track,
    /// Who allocated the object last, if it is known.
    pub allocated: Option<Track>,
    /// Who freed it last.
    pub freed: Option<Track>,
}

impl fmt::Display for Finding {
    /// One line, without the call sites: their names are the machine's to know.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.fault {
            Fault::BadFree => write!(f, "bad free: {}", self.error)?,
            Fault::Underrun => write!(f, "write before an object: {:#x}", self.addr)?,
            Fault::Overrun => write!(f, "write past an object: {:#x}", self.addr)?,
            Fault::WriteAfterFree => write!(f, "write after free: {:#x}", self.addr)?,
            Fault::Record => write!(f, "the record of an object was overwritten: {:#x}", self.addr)?,
            Fault::Leak => write!(f, "still out of a cache that is to go: {:#x}", self.addr)?,
            Fault::Touch { offset } => {
                let size = self.object_size as isize;
                let when = if self.freed.is_some() { "use after free: " } else { "" };
                match offset {
                    ..0 => write!(f, "{when}touched {} bytes before an object: {:#x}", -offset, self.addr)?,
                    _ if offset >= size => {
                        write!(
                            f,
                            "{when}touched {} bytes past the end of an object: {:#x}",
                            offset - size + 1,
                            self.addr
                        )?;
                    }
                    _ => write!(f, "{when}touched byte {offset} of an object: {:#x}", self.addr)?,
                }
            }
        }
        if let Some(damage) = &self.damage {
            write!(
                f,
                ", {} bytes from offset {} on, {:#04x} where {:#04x} was left",
                damage.nr_bytes, damage.offset, damage.found, damage.expected
            )?;
        }
        write!(f, "; cache {} `{}` of {} bytes", self.id, self.cache, self.object_size)?;
        if let Some(requested) = self.requested {
            write!(f, ", {requested} asked for")?;
        }
        let moment = match self.moment {
            Moment::Alloc => "an allocation",
            Moment::Free => "a free",
            Moment::Check => "a check",
            Moment::Fault => "a fault",
            Moment::Destroy => "the end of its cache",
        };
        write!(f, "; found by {moment} on cpu {}", self.found.cpu)
    }
}
