//! INVLPGB and TLBSYNC: flushing the TLBs of all CPUs without an interrupt (AMD APM vol. 3, "INVLPGB" and "TLBSYNC").
//!
//! The first tells every CPU, this one and halted ones included, to forget translations, and goes on; the second waits
//! until all have done so for what this CPU has asked, and until no access by an old translation is under way.
//!
//! ```text
//! INVLPGB  RAX: 0 address valid | 1 PCID valid | 2 ASID valid | 3 global pages, too | 4 final only | 5 nested | 12.. address
//!          ECX: 0..16 pages beyond the first | 31 step of 2 MiB
//!          EDX: 0..16 ASID | 16..32 PCID
//! ```
//!
//! The count says how many pages follow the first, so that one page is 0; CPUID's maximum is in the same unit, so that a
//! CPU whose maximum is 0 still takes one page at a time. No emulator at hand has the instructions: the encodings are
//! tested, and the protocol around them on a machine made of arrays.
//!
//! Called by: the kernel's shootdown glue.

use core::arch::asm;

const PAGE_SIZE: usize = 4096;
const ADDRESS_VALID: u64 = 1 << 0;
const INCLUDE_GLOBAL: u64 = 1 << 3;

/// A CPU with INVLPGB and TLBSYNC.
///
/// Having one tells you that CPUID leaf 0x8000_0008 EBX bit 3 is set, and how many pages one instruction may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broadcast {
    /// Not 0.
    max_pages: u32,
}

/// The registers of one INVLPGB. EDX is 0: neither an address-space id nor a PCID is named, which means all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Request {
    rax: u64,
    ecx: u32,
}

impl Broadcast {
    /// CPUID said yes, and `count_max` in EDX bits 0 to 15: one less than the most pages.
    pub(crate) const fn proven(count_max: u16) -> Self {
        Self { max_pages: count_max as u32 + 1 }
    }

    /// The most pages that one instruction can name.
    pub const fn max_pages(&self) -> u32 {
        self.max_pages
    }

    /// The instructions for `nr_pages` pages from `start` on. Counts pages: an end may have no address.
    fn requests(self, start: usize, nr_pages: usize) -> impl Iterator<Item = Request> {
        let max_pages = self.max_pages as usize;
        (0..nr_pages).step_by(max_pages).map(move |first| {
            let address = start.wrapping_add(first * PAGE_SIZE) & !(PAGE_SIZE - 1);
            let nr_pages = max_pages.min(nr_pages - first);
            Request { rax: address as u64 | ADDRESS_VALID | INCLUDE_GLOBAL, ecx: nr_pages as u32 - 1 }
        })
    }

    /// Tells all CPUs to forget the `nr_pages` pages from the one that contains `start` on; returns how many instructions
    /// that took. They have done so after the next [`sync`](Self::sync) of this CPU.
    ///
    /// The caller has made its changes to the page tables visible (a full fence): the instruction is weakly ordered.
    pub fn flush(self, start: usize, nr_pages: usize) -> usize {
        self.requests(start, nr_pages).inspect(|request| invlpgb(*request)).count()
    }

    /// As [`flush`](Self::flush), for everything, global pages included.
    pub fn flush_all(self) {
        invlpgb(Request { rax: INCLUDE_GLOBAL, ecx: 0 });
    }

    /// Waits until all CPUs have done what this one has asked. Serialising.
    pub fn sync(self) {
        // SAFETY: CPUID said that it exists; waiting harms nothing. Memory is clobbered: what is unmapped must not be
        // reused above this.
        unsafe { asm!(".byte 0x0f, 0x01, 0xff", options(nostack, preserves_flags)) }
    }
}

fn invlpgb(request: Request) {
    // SAFETY: CPUID said that it exists (only `Broadcast` makes requests), and its maximum is kept; forgetting
    // translations only costs walks.
    unsafe {
        asm!(
            ".byte 0x0f, 0x01, 0xfe",
            in("rax") request.rax,
            in("ecx") request.ecx,
            in("edx") 0,
            options(nostack, preserves_flags),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registers(count_max: u16, start: usize, nr_pages: usize) -> Vec<(u64, u32)> {
        Broadcast::proven(count_max).requests(start, nr_pages).map(|r| (r.rax, r.ecx)).collect()
    }

    #[test]
    fn a_page_is_a_count_of_zero() {
        assert_eq!(registers(7, 0xffff_c000_0000_1000, 1), [(0xffff_c000_0000_1009, 0)]);
        assert_eq!(registers(7, 0xffff_c000_0000_1234, 1), [(0xffff_c000_0000_1009, 0)], "bits 0 to 11 are flags");
    }

    #[test]
    fn a_maximum_of_n_is_n_plus_one_pages_and_longer_ranges_are_split() {
        assert_eq!(registers(7, 0x10000, 8), [(0x10009, 7)]);
        assert_eq!(registers(7, 0x10000, 9), [(0x10009, 7), (0x18009, 0)]);
        assert_eq!(registers(7, 0x10000, 20), [(0x10009, 7), (0x18009, 7), (0x20009, 3)]);
        assert_eq!(registers(0xffff, 0, 0x10000), [(9, 0xffff)]);
    }

    #[test]
    fn a_maximum_of_zero_takes_page_by_page_and_ends() {
        assert_eq!(registers(0, 0x1000, 3), [(0x1009, 0), (0x2009, 0), (0x3009, 0)]);
        assert_eq!(Broadcast::proven(0).max_pages(), 1);
    }

    #[test]
    fn nothing_is_no_instruction_and_the_top_is_not_passed() {
        assert_eq!(registers(7, 0x1000, 0), []);
        let top = usize::MAX - (PAGE_SIZE - 1);
        assert_eq!(registers(0, top - PAGE_SIZE, 2), [(top as u64 - 0xff7, 0), (top as u64 | 9, 0)]);
    }
}
