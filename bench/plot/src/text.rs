//! How wide text is, by Noto Sans, in which the PNG is written. Browsers may take another font: layouts leave a tenth.

use std::sync::LazyLock;

use ttf_parser::Face;

/// The two faces, plain and bold. They are part of the program: what cannot be read here could never be.
pub(crate) struct Fonts {
    pub(crate) plain: Face<'static>,
    pub(crate) bold: Face<'static>,
}

impl Fonts {
    pub(crate) fn face(&self, is_bold: bool) -> &Face<'static> {
        if is_bold { &self.bold } else { &self.plain }
    }
}

pub(crate) static FONTS: LazyLock<Fonts> = LazyLock::new(|| {
    let face = |bytes| Face::parse(bytes, 0).expect("the font in this program is a font");
    Fonts { plain: face(notosans::REGULAR_TTF), bold: face(notosans::BOLD_TTF) }
});

/// Width in pixels, a tenth of it for other fonts.
pub fn width(text: &str, size: f64, is_bold: bool) -> f64 {
    let face = FONTS.face(is_bold);
    let advance = |c| face.glyph_index(c).and_then(|glyph| face.glyph_hor_advance(glyph)).unwrap_or(600);
    let units: f64 = text.chars().map(|c| f64::from(advance(c))).sum();
    units / f64::from(face.units_per_em()) * size * 1.1
}

/// Breaks text at spaces into lines no wider than `room`; a word that is wider has a line of its own.
pub fn wrap(text: &str, size: f64, is_bold: bool, room: f64) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line)
                if width(line, size, is_bold) + width(" ", size, is_bold) + width(word, size, is_bold) <= room =>
            {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Text cut to `room`, with an ellipsis if something was cut.
pub fn cut(text: &str, size: f64, is_bold: bool, room: f64) -> String {
    if width(text, size, is_bold) <= room {
        return text.to_owned();
    }
    let mut kept: Vec<char> = text.chars().collect();
    loop {
        kept.pop();
        let short = kept.iter().collect::<String>() + "…";
        if kept.is_empty() || width(&short, size, is_bold) <= room {
            return short;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wider_text_is_wider() {
        assert!(width("mmmm", 12.0, false) > width("iiii", 12.0, false));
        assert!(width("heap", 12.0, true) > width("heap", 12.0, false));
        assert!((width("heap", 24.0, false) / width("heap", 12.0, false) - 2.0).abs() < 1e-9);
        assert!(width("\u{10ffff}", 12.0, false) > 0.0, "what the font lacks takes room as well");
    }

    #[test]
    fn text_breaks_at_spaces_and_loses_nothing() {
        let lines = wrap("one two  three fourfivesixseven", 12.0, false, 60.0);
        assert_eq!(lines.join(" "), "one two three fourfivesixseven");
        assert!(lines.len() > 1 && lines[..lines.len() - 1].iter().all(|line| width(line, 12.0, false) <= 60.0));
        assert!(wrap("", 12.0, false, 60.0).is_empty());
    }

    #[test]
    fn what_is_too_long_is_cut_and_shows_it() {
        assert_eq!(cut("heap", 12.0, false, 100.0), "heap");
        let short = cut("a name that nobody expected", 12.0, false, 60.0);
        assert!(short.ends_with('…') && width(&short, 12.0, false) <= 60.0);
        assert_eq!(cut("abc", 12.0, false, 0.0), "…");
    }
}
