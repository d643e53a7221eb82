//! A few unpredictable bits, for seeds. Not for secrets: this kernel has none.

use crate::cpu;
use crate::tsc;
use core::arch::asm;

/// SDM vol. 1, "Random Number Generator Instructions": ten tries, then the generator is taken for broken.
const MAX_TRIES: u32 = 10;

/// A seed: from RDRAND where the CPU has it and it works, else from the time-stamp counter.
///
/// Under a deterministic machine (icount) without RDRAND the seed is deterministic too, which is what one wants there.
pub fn seed(rdrand: Option<cpu::Rdrand>) -> u64 {
    rdrand.and_then(random).unwrap_or_else(|| mix(tsc::read()))
}

fn random(_proof: cpu::Rdrand) -> Option<u64> {
    (0..MAX_TRIES).find_map(|_| {
        let value: u64;
        let is_valid: u8;
        // SAFETY: the proof says that the instruction exists.
        unsafe { asm!("rdrand {}", "setc {}", out(reg) value, out(reg_byte) is_valid, options(nomem, nostack)) }
        (is_valid != 0).then_some(value)
    })
}

/// Spreads the counter's few changing bits over the word (the finaliser of splitmix64, by Sebastiano Vigna).
fn mix(mut word: u64) -> u64 {
    word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ word >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_counts_give_seeds_far_apart() {
        for count in [1u64, 1 << 40] {
            assert!((mix(count) ^ mix(count + 1)).count_ones() > 16);
        }
    }

    #[test]
    fn two_seeds_differ() {
        let rdrand = cpu::Features::detect().rdrand;
        assert_ne!(seed(rdrand), seed(rdrand));
    }
}
