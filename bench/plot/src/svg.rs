//! A drawing as SVG: text stays text, colours are named by classes, and a view box lets it scale.
//!
//! On a page [`STYLE`] goes into the page once and [`inline`] gives each drawing; [`file()`] is complete by itself. Both
//! follow the reader's wish for a light or a dark ground.

use std::fmt::Write as _;
use std::sync::LazyLock;

use crate::drawing::{Anchor, Dash, Drawing, Place, Shape};
use crate::ink::{Ink, Rgb};

/// The rules for all drawings: colours by day and by night, fonts.
pub static STYLE: LazyLock<String> = LazyLock::new(|| {
    let colours = |colour: fn(Ink) -> Rgb| {
        Ink::all().fold(String::new(), |mut css, ink| {
            let [red, green, blue] = colour(ink);
            let _ = write!(css, "--plot-{}:#{red:02x}{green:02x}{blue:02x};", ink.class());
            css
        })
    };
    let mut css = format!(".plot{{{}}}\n", colours(Ink::day));
    let _ = writeln!(css, "@media (prefers-color-scheme:dark){{.plot{{{}}}}}", colours(Ink::night));
    css.push_str(".plot{font-family:\"Noto Sans\",system-ui,-apple-system,\"Segoe UI\",Roboto,sans-serif}\n");
    for ink in Ink::all() {
        let class = ink.class();
        let _ = writeln!(
            css,
            ".plot .f-{class}{{fill:var(--plot-{class})}}.plot .k-{class}{{stroke:var(--plot-{class});fill:none}}"
        );
    }
    // A name is read over a line that passes behind it.
    css.push_str(".plot text{paint-order:stroke;stroke:var(--plot-surface);stroke-width:3px;stroke-linejoin:round;stroke-opacity:.75}\n");
    css.push_str(".plot .f-watermark{stroke:none}\n");
    css
});

/// A picture by itself.
pub fn file(drawing: &Drawing) -> String {
    let namespace = " xmlns=\"http://www.w3.org/2000/svg\"";
    let size = format!(" width=\"{}\" height=\"{}\"", drawing.width, drawing.height);
    element(drawing, "plot", &format!("{namespace}{size}"), &format!("<style>{}</style>", *STYLE))
}

/// Part of a page that has [`STYLE`]. `class` is added to the classes of its element.
pub fn inline(drawing: &Drawing, class: &str) -> String {
    element(drawing, &format!("plot {}", escaped(class)), "", "")
}

fn element(drawing: &Drawing, class: &str, attributes: &str, style: &str) -> String {
    let (width, height, says) = (drawing.width, drawing.height, escaped(&drawing.says));
    let mut svg = format!(
        "<svg class=\"{class}\" viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{says}\"{attributes}>\
         <title>{says}</title>{style}\n"
    );
    drawing.shapes.iter().for_each(|shape| write_shape(&mut svg, shape));
    svg.push_str("</svg>\n");
    svg
}

fn write_shape(svg: &mut String, shape: &Shape) {
    // Nothing that is written into a string fails.
    let _ = match shape {
        Shape::Area { points, ink, opacity } => {
            let opacity = if *opacity < 1.0 { format!(" opacity=\"{opacity}\"") } else { String::new() };
            writeln!(svg, "<path class=\"f-{}\" d=\"{}Z\"{opacity}/>", ink.class(), path(points))
        }
        Shape::Line { points, ink, width, dash } => {
            let dash = match dash {
                Dash::Solid => "",
                Dash::Dashed => " stroke-dasharray=\"6 4\"",
                Dash::Dotted => " stroke-dasharray=\"1.5 2.5\"",
            };
            let join = " stroke-linejoin=\"round\"";
            writeln!(
                svg,
                "<path class=\"k-{}\" d=\"{}\" stroke-width=\"{width}\"{dash}{join}/>",
                ink.class(),
                path(points)
            )
        }
        Shape::Mark { at, mark, radius, ink } => {
            let (outlines, is_filled) = mark.outline(*at, *radius);
            let d: String = outlines.iter().map(|outline| path(outline)).collect();
            match is_filled {
                true => writeln!(svg, "<path class=\"f-{}\" d=\"{d}Z\"/>", ink.class()),
                false => writeln!(svg, "<path class=\"k-{}\" d=\"{d}\" stroke-width=\"2\"/>", ink.class()),
            }
        }
        Shape::Text { at: (x, y), anchor, size, is_bold, turn, ink, text } => {
            let anchor = match anchor {
                Anchor::Start => "",
                Anchor::Middle => " text-anchor=\"middle\"",
                Anchor::End => " text-anchor=\"end\"",
            };
            let bold = if *is_bold { " font-weight=\"700\"" } else { "" };
            let turn =
                if *turn == 0.0 { String::new() } else { format!(" transform=\"rotate({turn:.2} {x:.1} {y:.1})\"") };
            let (class, text) = (ink.class(), escaped(text));
            writeln!(
                svg,
                "<text class=\"f-{class}\" x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"{size:.1}\"{anchor}{bold}{turn}>{text}</text>"
            )
        }
    };
}

fn path(points: &[Place]) -> String {
    points.iter().enumerate().fold(String::new(), |mut d, (i, (x, y))| {
        let _ = write!(d, "{}{x:.1} {y:.1}", if i == 0 { 'M' } else { 'L' });
        d
    })
}

/// Whether a character turns the direction in which text is written, beyond its own element too (Unicode, UAX 9).
pub fn turns(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Text as HTML and XML have it, in an element or in an attribute in double quotes. Characters that XML does not have,
/// and those that turn the direction of writing, are shown as the replacement character.
pub fn escaped(text: &str) -> String {
    text.chars().fold(String::new(), |mut out, c| {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\t' | '\n' => out.push(' '),
            c if c.is_control() || turns(c) || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_text_leaves_its_element(text in any::<String>()) {
            let mut drawing = Drawing { says: text.clone(), ..Drawing::default() };
            drawing.text((0.0, 0.0), Anchor::Start, 12.0, Ink::Text, text.as_str());
            let svg = file(&drawing);
            let plain = file(&Drawing { says: String::new(), shapes: vec![Shape::Text {
                at: (0.0, 0.0), anchor: Anchor::Start, size: 12.0, is_bold: false, turn: 0.0, ink: Ink::Text, text: String::new(),
            }], ..drawing });
            // Whatever the text, the elements and attributes are those of the empty one.
            for c in ['<', '>', '"', '\n'] {
                prop_assert_eq!(svg.matches(c).count(), plain.matches(c).count());
            }
            prop_assert!(!svg.contains(|c: char| c.is_control() && c != '\n'));
        }
    }
}
