//! Codes out of a terminal's log, where they were drawn with half blocks.
//!
//! Nothing has to be recognised: the characters are the modules. Colours are passed over, and so is the quiet zone, which
//! a copied text may have lost: a code has dark modules on each of its four sides.

use std::vec::Vec;

use rqrr::{Grid, SimpleGrid};

/// The contents of all codes that `log` shows, in their order.
pub fn read(log: &str) -> Vec<Vec<u8>> {
    let mut texts = Vec::new();
    let mut rows: Vec<[Vec<bool>; 2]> = Vec::new();
    // A last line that shows nothing ends the last code.
    for line in log.lines().chain([""]) {
        match modules(line) {
            Some(pair) => rows.push(pair),
            None => texts.extend(decode(&std::mem::take(&mut rows))),
        }
    }
    texts
}

/// The two rows of modules that a line shows; `None` if it shows something else, or nothing dark.
fn modules(line: &str) -> Option<[Vec<bool>; 2]> {
    let mut pair = [Vec::new(), Vec::new()];
    let mut chars = line.trim_end_matches('\r').chars();
    while let Some(shown) = chars.next() {
        let [upper, lower] = match shown {
            ' ' => [false, false],
            '\u{2584}' => [false, true],
            '\u{2580}' => [true, false],
            '\u{2588}' => [true, true],
            // A colour: ESC, a bracket, numbers, an m.
            '\x1b' => {
                chars.by_ref().find(char::is_ascii_alphabetic)?;
                continue;
            }
            _ => return None,
        };
        pair[0].push(upper);
        pair[1].push(lower);
    }
    pair.iter().flatten().any(|is_dark| *is_dark).then_some(pair)
}

fn decode(rows: &[[Vec<bool>; 2]]) -> Option<Vec<u8>> {
    let rows: Vec<&[bool]> = rows.iter().flatten().map(Vec::as_slice).collect();
    let dark = |row: &[bool]| row.iter().position(|is_dark| *is_dark);
    let top = rows.iter().position(|row| dark(row).is_some())?;
    let bottom = rows.iter().rposition(|row| dark(row).is_some())?;
    let left = rows.iter().filter_map(|row| dark(row)).min()?;
    let size = bottom - top + 1;
    // Sizes of versions 1 to 40.
    if !(21..=177).contains(&size) || size % 4 != 1 {
        return None;
    }
    let is_dark = |x: usize, y: usize| rows[top + y].get(left + x).copied().unwrap_or(false);
    let mut text = Vec::new();
    Grid::new(SimpleGrid::from_func(size, is_dark)).decode_to(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::code::Canvas;
    use crate::cut::{Cut, Version};
    use proptest::prelude::*;
    use std::string::{String, ToString};
    use std::{format, vec};

    /// The text of each part, and what a terminal shows of it.
    fn drawn(nr_bytes: usize, nr_modules: usize) -> Vec<(String, String)> {
        let packed: Vec<u8> = (0..nr_bytes).map(|at| (at * 31 + at / 256) as u8).collect();
        let cut = Cut::new(&packed, Version::within_modules(nr_modules).expect("a version")).expect("it fits");
        let mut canvas = Canvas::new();
        let parts = (1..=cut.nr_parts()).map(|number| {
            let part = cut.part(number).expect("a part");
            let mut shown = String::new();
            let code = canvas.draw(&part, cut.version()).expect("it fits");
            code.write_blocks(&mut shown).expect("a string takes everything");
            (part.to_string(), shown)
        });
        parts.collect()
    }

    #[test]
    fn codes_are_read_out_of_a_log() {
        let parts = drawn(3000, 80);
        let log: String =
            parts.iter().map(|(_, shown)| format!("part of run\r\n{}\n", shown.replace('\n', "\r\n"))).collect();
        let texts: Vec<String> = parts.into_iter().map(|(text, _)| text).collect();
        assert!(texts.len() > 5);
        assert_eq!(read(&log), texts.iter().map(|text| text.as_bytes().to_vec()).collect::<Vec<_>>());
        // As copied: no colours, no blanks at the ends.
        let bare = log.replace("\x1b[30;107m", "").replace("\x1b[0m", "");
        let copied: Vec<&str> = bare.lines().map(str::trim_end).collect();
        assert_eq!(read(&copied.join("\n")).len(), texts.len());
    }

    #[test]
    fn a_damaged_code_gives_no_wrong_text() {
        let parts = drawn(100, 80);
        let (text, shown) = &parts[0];
        for from in (0..shown.lines().count()).step_by(3) {
            let lines = shown.lines().enumerate().filter(|(at, _)| !(from..from + 3).contains(at));
            let cut = lines.map(|(_, line)| line).collect::<Vec<_>>().join("\n");
            assert!(read(&cut).iter().all(|found| found == text.as_bytes()), "without lines from {from}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn no_log_is_fatal(lines in proptest::collection::vec("[ ▀▄█]{0,60}", 0..40), width in 0_usize..40) {
            let _ = read(&lines.join("\n"));
            let square = vec!["█".repeat(width); width / 2 + 1];
            let _ = read(&square.join("\n"));
        }
    }
}
