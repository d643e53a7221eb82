//! Inks: what a colour is for, and the colour that it is by day and by night.
//!
//! The colours of series stay apart for people who do not see red or green (they vary in lightness, too, after the
//! palettes of Okabe and Ito, 2008, and of Tol, 2021); marks of different shape say the same once more.

/// What a colour is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ink {
    /// Behind everything.
    Surface,
    /// Titles and names.
    Text,
    /// What explains.
    Muted,
    /// Lines of a grid.
    Grid,
    /// A region that is set apart.
    Band,
    /// Writing behind the data.
    Watermark,
    /// The data's, by number; beyond [`NR_SERIES`] they begin again.
    Series(usize),
}

/// Colours of series.
pub const NR_SERIES: usize = 8;

/// Red, green, blue.
pub type Rgb = [u8; 3];

const DAY: [Rgb; NR_SERIES] = [
    [0, 0x66, 0xa8],
    [0xc8, 0x52, 0],
    [0x11, 0x77, 0x33],
    [0xa0, 0x3a, 0x90],
    [0x8a, 0x6d, 0],
    [0x0c, 0x7c, 0x7a],
    [0x88, 0x22, 0x55],
    [0x5c, 0x5c, 0x5c],
];

const NIGHT: [Rgb; NR_SERIES] = [
    [0x62, 0xb8, 0xf2],
    [0xff, 0x95, 0x55],
    [0x68, 0xc7, 0x80],
    [0xdd, 0x8f, 0xd4],
    [0xe3, 0xc3, 0x4d],
    [0x6f, 0xd6, 0xce],
    [0xee, 0x82, 0xa6],
    [0xb8, 0xb8, 0xb8],
];

impl Ink {
    /// Every ink there is.
    pub fn all() -> impl Iterator<Item = Self> {
        let fixed = [Self::Surface, Self::Text, Self::Muted, Self::Grid, Self::Band, Self::Watermark];
        fixed.into_iter().chain((0..NR_SERIES).map(Self::Series))
    }

    /// On a light ground.
    pub fn day(self) -> Rgb {
        match self {
            Self::Surface => [0xff, 0xff, 0xff],
            Self::Text => [0x1c, 0x1e, 0x21],
            Self::Muted => [0x57, 0x5e, 0x66],
            Self::Grid => [0xdf, 0xe3, 0xe7],
            Self::Band => [0xee, 0xf0, 0xf2],
            Self::Watermark => [0xd9, 0xdd, 0xe1],
            Self::Series(number) => DAY[number % NR_SERIES],
        }
    }

    /// On a dark ground.
    pub fn night(self) -> Rgb {
        match self {
            Self::Surface => [0x16, 0x1a, 0x1f],
            Self::Text => [0xe8, 0xea, 0xed],
            Self::Muted => [0xa3, 0xab, 0xb4],
            Self::Grid => [0x30, 0x36, 0x3d],
            Self::Band => [0x22, 0x28, 0x2f],
            Self::Watermark => [0x37, 0x3e, 0x47],
            Self::Series(number) => NIGHT[number % NR_SERIES],
        }
    }

    /// Its name in a style sheet.
    pub fn class(self) -> String {
        match self {
            Self::Surface => "surface".into(),
            Self::Text => "text".into(),
            Self::Muted => "muted".into(),
            Self::Grid => "grid".into(),
            Self::Band => "band".into(),
            Self::Watermark => "watermark".into(),
            Self::Series(number) => format!("s{}", number % NR_SERIES),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Relative luminance, after WCAG 2.
    fn luminance(colour: Rgb) -> f64 {
        let linear = colour.map(|part| {
            let part = f64::from(part) / 255.0;
            if part <= 0.04045 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) }
        });
        0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    }

    fn contrast(a: Rgb, b: Rgb) -> f64 {
        let (a, b) = (luminance(a), luminance(b));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    #[test]
    fn text_in_every_ink_of_data_can_be_read_on_both_grounds() {
        // 4.5 is what WCAG 2 asks of small text.
        for ink in (0..NR_SERIES).map(Ink::Series).chain([Ink::Text, Ink::Muted]) {
            for (ground, over) in [(Ink::Surface, 4.5), (Ink::Band, 3.9)] {
                assert!(contrast(ink.day(), ground.day()) >= over, "{ink:?} on {ground:?} by day");
                assert!(contrast(ink.night(), ground.night()) >= over, "{ink:?} on {ground:?} by night");
            }
        }
    }

    #[test]
    fn no_two_inks_have_the_same_name_below_the_number_of_series() {
        let names: std::collections::HashSet<_> = Ink::all().map(Ink::class).collect();
        assert_eq!(names.len(), Ink::all().count());
        assert_eq!(Ink::Series(NR_SERIES).class(), Ink::Series(0).class());
    }
}
