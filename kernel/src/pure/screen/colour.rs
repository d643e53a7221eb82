//! The sixteen colours of the console, and which of them comes nearest to one that a program asks for.
//!
//! Numbers 0 to 7 are ECMA-48's (SGR 30 to 37), 8 to 15 their bright forms (SGR 90 to 97, and bold). The values are
//! chosen for long reading: a paper that is not quite black, an ink that is not quite white, and no colour that is hard
//! to tell from the paper.

/// A colour by its parts, 0 to 255 each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rgb {
    /// Red.
    pub red: u8,
    /// Green.
    pub green: u8,
    /// Blue.
    pub blue: u8,
}

impl Rgb {
    /// Black, for pictures.
    pub const BLACK: Self = Self::new(0x000000);
    /// White, for pictures.
    pub const WHITE: Self = Self::new(0xffffff);

    /// From `0xrrggbb`.
    pub const fn new(hex: u32) -> Self {
        Self { red: (hex >> 16) as u8, green: (hex >> 8) as u8, blue: hex as u8 }
    }

    /// The colour that is `share` 255ths of the way from `self` to `other`.
    pub fn towards(self, other: Self, share: u8) -> Self {
        let mix = |from: u8, to: u8| {
            let (from, to, share) = (u32::from(from), u32::from(to), u32::from(share));
            ((from * (255 - share) + to * share + 127) / 255) as u8
        };
        Self { red: mix(self.red, other.red), green: mix(self.green, other.green), blue: mix(self.blue, other.blue) }
    }

    fn distance(self, other: Self) -> u32 {
        let part = |a: u8, b: u8| u32::from(a.abs_diff(b)).pow(2);
        part(self.red, other.red) + part(self.green, other.green) + part(self.blue, other.blue)
    }
}

/// What the numbers look like.
pub const PALETTE: [Rgb; 16] = [
    Rgb::new(0x11151b),
    Rgb::new(0xe5706c),
    Rgb::new(0x8fc46e),
    Rgb::new(0xdcb862),
    Rgb::new(0x6aa9ee),
    Rgb::new(0xc586dc),
    Rgb::new(0x58b9bd),
    Rgb::new(0xd2d6dc),
    Rgb::new(0x77808f),
    Rgb::new(0xff918c),
    Rgb::new(0xb0e48d),
    Rgb::new(0xf7d98a),
    Rgb::new(0x98c8ff),
    Rgb::new(0xe0aef2),
    Rgb::new(0x87dde0),
    Rgb::new(0xffffff),
];

/// Number of the paper that nobody asked for.
pub const PAPER: u8 = 0;
/// Number of the ink that nobody asked for.
pub const INK: u8 = 7;

/// The number that comes nearest to number `n` of xterm's 256 colours: 16 named, a cube of 6 to each side, 24 greys.
pub fn nearest_of_256(n: u16) -> Option<u8> {
    const STEPS: [u8; 6] = [0, 95, 135, 175, 215, 255];
    match n {
        0..=15 => Some(n as u8),
        16..=231 => {
            let n = usize::from(n - 16);
            Some(nearest(Rgb { red: STEPS[n / 36], green: STEPS[n / 6 % 6], blue: STEPS[n % 6] }))
        }
        232..=255 => {
            let grey = (8 + 10 * (n - 232)) as u8;
            Some(nearest(Rgb { red: grey, green: grey, blue: grey }))
        }
        _ => None,
    }
}

/// The number that comes nearest to `wanted`.
pub fn nearest(wanted: Rgb) -> u8 {
    (0..16u8).min_by_key(|&n| PALETTE[usize::from(n)].distance(wanted)).unwrap_or(INK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_colour_of_the_palette_is_nearest_to_itself() {
        for (n, &colour) in PALETTE.iter().enumerate() {
            assert_eq!(usize::from(nearest(colour)), n);
        }
    }

    #[test]
    fn xterms_colours_come_near() {
        assert_eq!((nearest_of_256(9), nearest_of_256(256)), (Some(9), None));
        assert_eq!(nearest_of_256(16), Some(PAPER), "black");
        assert_eq!(nearest_of_256(231), Some(15), "white");
        assert!((16..256).all(|n| nearest_of_256(n).is_some_and(|found| found < 16)));
    }

    #[test]
    fn a_mix_goes_from_one_end_to_the_other() {
        let (from, to) = (PALETTE[0], PALETTE[7]);
        assert_eq!((from.towards(to, 0), from.towards(to, 255)), (from, to));
        let greens: Vec<u8> = (0..=255).map(|share| from.towards(to, share).green).collect();
        assert!(greens.is_sorted());
    }

    #[test]
    fn ink_stands_out_from_paper() {
        // By the sum of the parts; a weak test, but it fails for a palette that was typed wrong.
        let light = |n: u8| {
            let Rgb { red, green, blue } = PALETTE[usize::from(n)];
            u32::from(red) + u32::from(green) + u32::from(blue)
        };
        assert!((1..16).all(|n| light(n) > light(PAPER) + 250), "all but the paper are light");
    }
}
