//! A camera of known faults: codes on a screen, and photographs of it.

use image::{GrayImage, Luma};
use qr::code::Code;

/// A code on a screen, as the kernel draws it: dark on light, the rest of the screen dark.
pub(crate) fn screen(code: &Code<'_>, (width, height): (u32, u32)) -> GrayImage {
    let nr_modules = code.nr_modules() as u32;
    let module = width.min(height) / nr_modules;
    let (left, top) = ((width - nr_modules * module) / 2, (height - nr_modules * module) / 2);
    GrayImage::from_fn(width, height, |x, y| {
        let inside = |at: u32, from: u32| at.checked_sub(from).map(|at| at / module).filter(|at| *at < nr_modules);
        let is_light = match (inside(x, left), inside(y, top)) {
            (Some(column), Some(row)) => !code.is_dark(column as usize, row as usize),
            _ => false,
        };
        Luma([if is_light { 255 } else { 0 }])
    })
}

/// How a photograph was taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Camera {
    /// Pixels of the photograph.
    pub(crate) size: (u32, u32),
    /// How much larger than on the screen things are in it.
    pub(crate) scale: f64,
    /// Turned by so many degrees.
    pub(crate) degrees: f64,
    /// How much smaller the far side is, across and down, as a part of the whole.
    pub(crate) tilt: (f64, f64),
    /// Blurred twice over squares with so many pixels to either side.
    pub(crate) blur: usize,
    /// The largest error of a pixel.
    pub(crate) noise: u32,
    /// How much darker one side is than the other, in levels.
    pub(crate) shade: f64,
}

impl Camera {
    /// One without faults, that sees a screen as it is.
    pub(crate) const FAULTLESS: Self =
        Self { size: (1024, 768), scale: 1.0, degrees: 0.0, tilt: (0.0, 0.0), blur: 0, noise: 0, shade: 0.0 };

    /// Photographs a screen.
    pub(crate) fn photograph(&self, screen: &GrayImage) -> GrayImage {
        let (sin, cos) = self.degrees.to_radians().sin_cos();
        let centre = |(width, height): (u32, u32)| (f64::from(width) / 2.0, f64::from(height) / 2.0);
        let ((to_x, to_y), (from_x, from_y)) = (centre(self.size), centre(screen.dimensions()));
        let mut light: Vec<f32> = Vec::with_capacity((self.size.0 * self.size.1) as usize);
        for (y, x) in (0..self.size.1).flat_map(|y| (0..self.size.0).map(move |x| (y, x))) {
            // Where the lens would have it from.
            let (dx, dy) = ((f64::from(x) + 0.5 - to_x) / self.scale, (f64::from(y) + 0.5 - to_y) / self.scale);
            let (dx, dy) = (dx * cos + dy * sin, dy * cos - dx * sin);
            let depth = 1.0 - self.tilt.0 * dx / from_x - self.tilt.1 * dy / from_y;
            light.push(level(screen, from_x + dx / depth, from_y + dy / depth) as f32);
        }
        let (width, height) = (self.size.0 as usize, self.size.1 as usize);
        // Means over squares, twice: nearly a bell.
        for _ in 0..2 {
            light = means(&light, width, height, self.blur);
            light = means(&light, height, width, self.blur);
        }
        let mut random = 12345_u32;
        GrayImage::from_fn(self.size.0, self.size.1, |x, y| {
            let light = f64::from(light[y as usize * width + x as usize]);
            let light = light * 0.7 + 40.0 - self.shade * f64::from(x) / f64::from(self.size.0);
            // A linear congruential generator (Numerical Recipes, section 7.1).
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let error = f64::from(random >> 8) / f64::from(1_u32 << 24) * 2.0 - 1.0;
            Luma([(light + error * f64::from(self.noise)).clamp(0.0, 255.0) as u8])
        })
    }
}

/// Means along rows over `radius` places to either side; the result has rows and columns exchanged.
fn means(light: &[f32], width: usize, height: usize, radius: usize) -> Vec<f32> {
    let mut result = vec![0.0; light.len()];
    for (y, row) in light.chunks_exact(width).enumerate() {
        for x in 0..width {
            let near = &row[x.saturating_sub(radius)..(x + radius + 1).min(width)];
            result[x * height + y] = near.iter().sum::<f32>() / near.len() as f32;
        }
    }
    result
}

/// The light at a place between pixels; it is dark beyond the screen.
fn level(screen: &GrayImage, x: f64, y: f64) -> f64 {
    let (x, y) = (x - 0.5, y - 0.5);
    let (left, top) = (x.floor(), y.floor());
    let at = |x: f64, y: f64| {
        let is_on = x >= 0.0 && y >= 0.0 && x < f64::from(screen.width()) && y < f64::from(screen.height());
        if is_on { f64::from(screen.get_pixel(x as u32, y as u32).0[0]) } else { 0.0 }
    };
    let (across, down) = (x - left, y - top);
    let upper = at(left, top) * (1.0 - across) + at(left + 1.0, top) * across;
    let lower = at(left, top + 1.0) * (1.0 - across) + at(left + 1.0, top + 1.0) * across;
    upper * (1.0 - down) + lower * down
}
