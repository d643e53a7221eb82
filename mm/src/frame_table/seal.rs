//! The seal of a slab's descriptor: a sum over all its words, by which a wild write is told from a state of ours.
//!
//! The sum is linear with odd factors, so a change of any one word changes it for certain, and of several by chance in
//! one of 2^64 cases. It also tells which cache a slab belongs to after a write to the word that says so: the factor of
//! that word has an inverse. The frame's number is in the sum, so a descriptor that is copied over another does not fit.
//!
//! Written by: [`crate::slab`], under the cache's slab lock, after every change. Two dozen instructions, and none of them
//! on the way of a magazine.

use core::sync::atomic::Ordering::Relaxed;

use super::{Descriptor, Kind};
use crate::frame::Frame;
use crate::geometry::MAX_SLAB_PAGES;

/// Odd factors with bits all over: the fractions of square roots of primes, as SHA-512 takes them (FIPS 180-4, 4.2.3),
/// made odd.
const FACTORS: [u64; 8] = [
    0x6a09_e667_f3bc_c909,
    0xbb67_ae85_84ca_a73b,
    0x3c6e_f372_fe94_f82b,
    0xa54f_f53a_5f1d_36f1,
    0x510e_527f_ade6_82d1,
    0x9b05_688c_2b3e_6c1f,
    0x1f83_d9ab_fb41_bd6b,
    0x5be0_cd19_137e_2179,
];

/// `FACTORS[0] * INVERSE == 1`, by Newton's iteration: each step doubles the bits that are right.
const INVERSE: u64 = {
    let mut inverse = FACTORS[0];
    let mut nr_bits = 3;
    while nr_bits < 64 {
        inverse = inverse.wrapping_mul(2_u64.wrapping_sub(FACTORS[0].wrapping_mul(inverse)));
        nr_bits *= 2;
    }
    inverse
};

const _: () = assert!(FACTORS[0].wrapping_mul(INVERSE) == 1);

/// Whose slab a descriptor says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    /// Id of the cache.
    pub(crate) cache: u16,
    /// Pages of the slab.
    pub(crate) nr_pages: u32,
    /// Whether the seal agrees with every word.
    pub(crate) is_sealed: bool,
}

impl Descriptor {
    fn identity_word(&self) -> u64 {
        u64::from(self.kind.load(Relaxed))
            | u64::from(self.cache.load(Relaxed)) << 16
            | u64::from(self.nr_pages.load(Relaxed)) << 32
    }

    /// The sum over everything but the identity word.
    fn rest_of_sum(&self, frame: Frame) -> u64 {
        let links = self.links();
        let counts = u64::from(self.nr_out.load(Relaxed)) | u64::from(self.nr_objects.load(Relaxed)) << 16;
        let mut sum = u64::from(frame.number()).wrapping_mul(FACTORS[7]);
        sum = sum.wrapping_add(links.wrapping_mul(FACTORS[1])).wrapping_add(counts.wrapping_mul(FACTORS[2]));
        for (word, factor) in self.out.iter().zip(&FACTORS[3..7]) {
            sum = sum.wrapping_add(word.load(Relaxed).wrapping_mul(*factor));
        }
        sum
    }

    fn sum(&self, frame: Frame) -> u64 {
        self.rest_of_sum(frame).wrapping_add(self.identity_word().wrapping_mul(FACTORS[0]))
    }

    /// Seals what the descriptor of the slab at `frame` says now. The caller holds the cache's slab lock.
    pub(crate) fn seal(&self, frame: Frame) {
        self.seal.store(self.sum(frame), Relaxed);
    }

    /// Sets the neighbours, and the seal by what they change in the sum. The descriptor is sealed.
    #[inline]
    pub(crate) fn set_links(&self, next: u32, prev: u32) {
        let before = self.links();
        self.next.store(next, Relaxed);
        self.prev.store(prev, Relaxed);
        let more = self.links().wrapping_sub(before).wrapping_mul(FACTORS[1]);
        self.seal.store(self.seal.load(Relaxed).wrapping_add(more), Relaxed);
    }

    fn links(&self) -> u64 {
        u64::from(self.next.load(Relaxed)) | u64::from(self.prev.load(Relaxed)) << 32
    }

    /// Breaks the seal: what begins at `frame` is no slab any more.
    pub(crate) fn unseal(&self, frame: Frame) {
        self.seal.store(!self.sum(frame), Relaxed);
    }

    /// Whether this is the first frame of a slab of `cache`, and no word has changed since it was sealed.
    pub(crate) fn is_sealed_slab(&self, frame: Frame, cache: u16) -> bool {
        self.kind.load(Relaxed) == Kind::Slab as u8
            && self.cache.load(Relaxed) == cache
            && self.seal.load(Relaxed) == self.sum(frame)
    }

    /// Whose slab begins at `frame`, even if one of the descriptor's words has been overwritten; `None` if none does.
    pub(crate) fn claim(&self, frame: Frame) -> Option<Claim> {
        let stated = self.identity_word();
        let sealed = self.seal.load(Relaxed).wrapping_sub(self.rest_of_sum(frame)).wrapping_mul(INVERSE);
        let is_sealed = sealed == stated;
        // If it is another word that has changed, what the seal says of this one is noise, and fits no slab.
        claim_of(sealed, is_sealed).or_else(|| claim_of(stated, false))
    }
}

fn claim_of(word: u64, is_sealed: bool) -> Option<Claim> {
    let (kind, cache, nr_pages) = (word as u16, (word >> 16) as u16, (word >> 32) as u32);
    let is_slab = kind == Kind::Slab as u16 && (1..=MAX_SLAB_PAGES as u32).contains(&nr_pages);
    is_slab.then_some(Claim { cache, nr_pages, is_sealed })
}

#[cfg(test)]
mod tests {
    use core::sync::atomic::AtomicU64;

    use super::*;

    fn sealed(frame: Frame) -> Descriptor {
        // SAFETY: all fields are atomic integers; zero is the state of a free frame.
        let descriptor: Descriptor = unsafe { core::mem::zeroed() };
        descriptor.set_head(Kind::Slab, 3);
        descriptor.cache.store(17, Relaxed);
        descriptor.next.store(99, Relaxed);
        descriptor.nr_out.store(5, Relaxed);
        descriptor.nr_objects.store(200, Relaxed);
        descriptor.out[1].store(0x1f, Relaxed);
        descriptor.seal(frame);
        descriptor
    }

    #[test]
    fn every_bit_of_every_word_counts_and_the_owner_is_known_all_the_same() {
        let frame = Frame::new(1234);
        let whole = Claim { cache: 17, nr_pages: 3, is_sealed: true };
        for word in 0..8 {
            for bit in 0..64 {
                let descriptor = sealed(frame);
                assert_eq!(descriptor.claim(frame), Some(whole));
                let before = descriptor.sum(frame);
                // SAFETY: eight words of a descriptor of our own, aligned to 64.
                let words = unsafe { &*(&raw const descriptor).cast::<[AtomicU64; 8]>() };
                words[word].fetch_xor(1 << bit, Relaxed);
                if word < 7 && descriptor.sum(frame) == before {
                    continue; // padding
                }
                assert!(!descriptor.is_sealed_slab(frame, 17), "word {word} bit {bit}");
                assert_eq!(descriptor.claim(frame), Some(Claim { is_sealed: false, ..whole }), "word {word} bit {bit}");
            }
        }
    }

    #[test]
    fn a_descriptor_does_not_fit_another_frame_and_an_unsealed_one_none() {
        let descriptor = sealed(Frame::new(5));
        assert!(descriptor.is_sealed_slab(Frame::new(5), 17));
        assert!(!descriptor.is_sealed_slab(Frame::new(6), 17));
        descriptor.unseal(Frame::new(5));
        assert!(!descriptor.is_sealed_slab(Frame::new(5), 17));
    }
}
