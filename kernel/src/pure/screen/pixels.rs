//! Video memory: how a pixel is written, and whether a bootloader's description of it can be believed.
//!
//! A description is refused rather than bent: a console that draws garbage over somebody's memory is worse than none.

use super::colour::Rgb;

/// Where a colour's bits are in a pixel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mask {
    /// How many bits.
    pub size: u8,
    /// How many bits are below them.
    pub shift: u8,
}

impl Mask {
    fn place(self, value: u8) -> u32 {
        let value = u32::from(value);
        let scaled = if self.size <= 8 { value >> (8 - self.size) } else { value << (self.size - 8) };
        scaled << self.shift
    }

    /// The bits, if they lie in a pixel of `nr_bits`.
    fn bits(self, nr_bits: u16) -> Option<u32> {
        let end = u16::from(self.size) + u16::from(self.shift);
        ((4..=16).contains(&self.size) && end <= nr_bits).then(|| ((1u32 << self.size) - 1) << self.shift)
    }
}

/// A framebuffer, as a bootloader describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Bytes from one row to the next.
    pub pitch: usize,
    /// Bits of a pixel.
    pub nr_bits: u16,
    /// Red, green, blue.
    pub masks: [Mask; 3],
}

/// Why a framebuffer is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadMode {
    /// Pixels of a size that is not 24 or 32 bits.
    Bits(u16),
    /// Colours that overlap, or lie outside the pixel.
    Masks([Mask; 3]),
    /// Rows that are longer than their distance, or more of them than memory could have.
    Size {
        /// Pixels in a row.
        width: usize,
        /// Rows.
        height: usize,
        /// Bytes from one row to the next.
        pitch: usize,
    },
}

impl core::fmt::Display for BadMode {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Bits(nr_bits) => write!(f, "pixels of {nr_bits} bits, not 24 or 32"),
            Self::Masks(masks) => {
                f.write_str("colours at")?;
                masks.iter().try_for_each(|mask| write!(f, " {}:{}", mask.size, mask.shift))
            }
            Self::Size { width, height, pitch } => write!(f, "{width}x{height} with {pitch} bytes a row"),
        }
    }
}

impl Mode {
    /// The longest side that is believed.
    const MAX_SIDE: usize = 1 << 15;

    /// The mode itself, if it makes sense.
    ///
    /// # Errors
    ///
    /// What does not.
    pub fn checked(self) -> Result<Self, BadMode> {
        if !matches!(self.nr_bits, 24 | 32) {
            return Err(BadMode::Bits(self.nr_bits));
        }
        let mut all = 0;
        for mask in self.masks {
            match mask.bits(self.nr_bits) {
                Some(bits) if all & bits == 0 => all |= bits,
                _ => return Err(BadMode::Masks(self.masks)),
            }
        }
        let sides = 1..=Self::MAX_SIDE;
        let is_row = self.pitch >= self.width * self.pixel_len() && self.pitch <= 8 * Self::MAX_SIDE;
        if !sides.contains(&self.width) || !sides.contains(&self.height) || !is_row {
            return Err(BadMode::Size { width: self.width, height: self.height, pitch: self.pitch });
        }
        Ok(self)
    }

    /// Bytes of a pixel.
    pub const fn pixel_len(&self) -> usize {
        self.nr_bits as usize / 8
    }

    /// Bytes of all.
    pub const fn len(&self) -> usize {
        self.pitch * self.height
    }

    /// Whether there is nothing; never so for a mode that was checked.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where the pixel at `(x, y)` starts, in bytes.
    pub const fn offset(&self, x: usize, y: usize) -> usize {
        y * self.pitch + x * self.pixel_len()
    }

    /// The pixel of a colour, lowest byte first in memory.
    pub fn pixel(&self, Rgb { red, green, blue }: Rgb) -> u32 {
        let [red_mask, green_mask, blue_mask] = self.masks;
        red_mask.place(red) | green_mask.place(green) | blue_mask.place(blue)
    }
}

/// Sixteen steps from paper to ink, as pixels.
pub type Ramp = [u32; 16];

/// Video memory that can be written. Offsets are in bytes; what lies outside is not written.
pub trait Video {
    /// Writes one pixel for each byte of `coverage`: the step of `ramp` that it comes to.
    fn paint(&mut self, offset: usize, coverage: &[u8], ramp: &Ramp);

    /// Writes `nr_pixels` times the same pixel.
    fn fill(&mut self, offset: usize, nr_pixels: usize, pixel: u32);
}

/// A rectangle of one colour; what of it lies outside is left out.
pub fn fill<V: Video>(
    video: &mut V,
    mode: &Mode,
    (x, y): (usize, usize),
    (width, height): (usize, usize),
    colour: Rgb,
) {
    let (x_end, y_end) = (x.saturating_add(width).min(mode.width), y.saturating_add(height).min(mode.height));
    let pixel = mode.pixel(colour);
    if x < x_end {
        (y..y_end).for_each(|y| video.fill(mode.offset(x, y), x_end - x, pixel));
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The usual layout: blue lowest.
    pub(crate) fn mode(width: usize, height: usize, nr_bits: u16) -> Mode {
        let mask = |shift| Mask { size: 8, shift };
        let pitch = width * usize::from(nr_bits) / 8 + 12;
        Mode { width, height, pitch, nr_bits, masks: [mask(16), mask(8), mask(0)] }
    }

    /// Video memory made of a vector; every write is counted, none goes outside.
    pub(crate) struct Memory {
        pub(crate) bytes: Vec<u8>,
        pub(crate) pixel_len: usize,
        pub(crate) nr_written: usize,
    }

    impl Memory {
        pub(crate) fn of(mode: &Mode) -> Self {
            Self { bytes: vec![0xee; mode.len()], pixel_len: mode.pixel_len(), nr_written: 0 }
        }

        pub(crate) fn pixel(&self, mode: &Mode, x: usize, y: usize) -> u32 {
            let offset = mode.offset(x, y);
            let mut bytes = [0; 4];
            bytes[..self.pixel_len].copy_from_slice(&self.bytes[offset..offset + self.pixel_len]);
            u32::from_le_bytes(bytes)
        }

        fn write(&mut self, offset: usize, pixel: u32) {
            let len = self.pixel_len;
            self.bytes[offset..offset + len].copy_from_slice(&pixel.to_le_bytes()[..len]);
            self.nr_written += 1;
        }
    }

    impl Video for Memory {
        fn paint(&mut self, offset: usize, coverage: &[u8], ramp: &Ramp) {
            for (i, coverage) in coverage.iter().enumerate() {
                self.write(offset + i * self.pixel_len, ramp[usize::from(coverage >> 4)]);
            }
        }

        fn fill(&mut self, offset: usize, nr_pixels: usize, pixel: u32) {
            (0..nr_pixels).for_each(|i| self.write(offset + i * self.pixel_len, pixel));
        }
    }

    #[test]
    fn usual_modes_are_believed_and_odd_ones_refused() {
        assert!(mode(1024, 768, 32).checked().is_ok() && mode(1024, 768, 24).checked().is_ok());
        assert_eq!(mode(1024, 768, 16).checked(), Err(BadMode::Bits(16)));
        assert!(matches!(Mode { pitch: 100, ..mode(800, 600, 32) }.checked(), Err(BadMode::Size { .. })));
        assert!(matches!(mode(0, 600, 32).checked(), Err(BadMode::Size { .. })));
        assert!(matches!(mode(800, 1 << 20, 32).checked(), Err(BadMode::Size { .. })));
        let masks = |sizes: [u8; 3], shifts: [u8; 3]| {
            let masks = [0, 1, 2].map(|i| Mask { size: sizes[i], shift: shifts[i] });
            Mode { masks, ..mode(800, 600, 32) }.checked().is_ok()
        };
        assert!(masks([10, 10, 10], [20, 10, 0]), "30 bits of colour");
        assert!(masks([8, 8, 8], [0, 8, 16]), "red lowest");
        assert!(!masks([8, 8, 8], [0, 8, 12]), "overlapping");
        assert!(!masks([8, 8, 8], [0, 8, 28]), "outside");
        assert!(!masks([0, 8, 8], [0, 8, 16]), "no red");
    }

    #[test]
    fn pixels_have_their_colours_where_the_masks_say() {
        let colour = Rgb::new(0x123456);
        assert_eq!(mode(1, 1, 32).pixel(colour), 0x123456);
        let ten = Mode {
            masks: [Mask { size: 10, shift: 20 }, Mask { size: 10, shift: 10 }, Mask { size: 10, shift: 0 }],
            ..mode(1, 1, 32)
        };
        assert_eq!(ten.pixel(colour), 0x48 << 20 | 0xd0 << 10 | 0x158);
    }

    #[test]
    fn a_rectangle_is_cut_to_the_screen() {
        for nr_bits in [24, 32] {
            let mode = mode(10, 6, nr_bits);
            let mut video = Memory::of(&mode);
            fill(&mut video, &mode, (8, 4), (usize::MAX, 100), Rgb::WHITE);
            fill(&mut video, &mode, (10, 0), (5, 5), Rgb::WHITE);
            assert_eq!(video.nr_written, 4);
            assert_eq!((video.pixel(&mode, 9, 5), video.pixel(&mode, 8, 4)), (0xffffff, 0xffffff));
        }
    }
}
