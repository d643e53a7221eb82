//! Lines, corners and blocks (U+2500 to U+259F), drawn as rectangles so that they meet from cell to cell at every size.
//!
//! The font has none of them. Light, heavy and double lines are drawn as light or heavy ones; dashes as whole lines,
//! round corners as square ones. What is not here (diagonals) is shown as the replacement.

/// How far the lines of a character go: nothing, light or heavy, to the left, right, up and down.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Arms([u8; 4]);

/// Whether a pixel of a cell belongs to `character`: 0 for no, 255 for yes, something between for the shades; `None` if
/// the character is not of these.
///
/// `(x, y)` of `(width, height)`.
pub fn coverage(character: char, (x, y): (usize, usize), (width, height): (usize, usize)) -> Option<u8> {
    let code = character as u32;
    match code {
        0x2500..=0x257f => arms(code).map(|arms| line(arms, (x, y), (width, height))),
        0x2580..=0x259f => block(code, (x, y), (width, height)),
        _ => None,
    }
}

/// Whether [`coverage`] knows the character.
pub fn has(character: char) -> bool {
    coverage(character, (0, 0), (8, 16)).is_some()
}

fn line(Arms([left, right, up, down]): Arms, (x, y): (usize, usize), (width, height): (usize, usize)) -> u8 {
    let light = (width / 8).max(1);
    // From `start` on, `thickness` pixels around the middle of `whole`.
    let is_on = |at: usize, whole: usize, weight: u8| {
        let thickness = light * usize::from(weight);
        let start = (whole - thickness.min(whole)) / 2;
        weight > 0 && (start..start + thickness).contains(&at)
    };
    let heaviest = |a: u8, b: u8| light * usize::from(a.max(b));
    // An arm reaches across the other ones' thickness, so that corners are closed.
    let (mid_x, mid_y) = ((width + heaviest(up, down)).div_ceil(2), (height + heaviest(left, right)).div_ceil(2));
    let is_ink = is_on(y, height, left) && x < mid_x
        || is_on(y, height, right) && x + mid_x >= width
        || is_on(x, width, up) && y < mid_y
        || is_on(x, width, down) && y + mid_y >= height;
    if is_ink { 255 } else { 0 }
}

/// Left, right, up, down of a box-drawing character. Unicode orders most of them by shape, and in a shape by weight.
fn arms(code: u32) -> Option<Arms> {
    // Weights of the side arm, the upper and the lower one, in the order that Unicode gives the eight of a shape.
    const TEES: [[u8; 3]; 8] = [[1, 1, 1], [2, 1, 1], [1, 2, 1], [1, 1, 2], [1, 2, 2], [2, 2, 1], [2, 1, 2], [2, 2, 2]];
    let tee = |first: u32| TEES[(code - first) as usize];
    Some(Arms(match code {
        0x2500 | 0x2504 | 0x2508 | 0x254c => [1, 1, 0, 0],
        0x2501 | 0x2505 | 0x2509 | 0x254d | 0x2550 => [2, 2, 0, 0],
        0x2502 | 0x2506 | 0x250a | 0x254e => [0, 0, 1, 1],
        0x2503 | 0x2507 | 0x250b | 0x254f | 0x2551 => [0, 0, 2, 2],
        0x250c..=0x250f => [0, 1 + (code & 1) as u8, 0, 1 + (code >> 1 & 1) as u8],
        0x2510..=0x2513 => [1 + (code & 1) as u8, 0, 0, 1 + (code >> 1 & 1) as u8],
        0x2514..=0x2517 => [0, 1 + (code & 1) as u8, 1 + (code >> 1 & 1) as u8, 0],
        0x2518..=0x251b => [1 + (code & 1) as u8, 0, 1 + (code >> 1 & 1) as u8, 0],
        0x251c..=0x2523 => {
            let [right, up, down] = tee(0x251c);
            [0, right, up, down]
        }
        0x2524..=0x252b => {
            let [left, up, down] = tee(0x2524);
            [left, 0, up, down]
        }
        // Horizontal and down, then horizontal and up: light, left heavy, right, both, the stem, and so on.
        0x252c..=0x253b => {
            let index = code - if code < 0x2534 { 0x252c } else { 0x2534 };
            let weight = |bit: u32| 1 + (index >> bit & 1) as u8;
            let (left, right, stem) = (weight(0), weight(1), weight(2));
            if code < 0x2534 { [left, right, 0, stem] } else { [left, right, stem, 0] }
        }
        0x253c..=0x254b => {
            const CROSSES: [[u8; 4]; 16] = [
                [1, 1, 1, 1],
                [2, 1, 1, 1],
                [1, 2, 1, 1],
                [2, 2, 1, 1],
                [1, 1, 2, 1],
                [1, 1, 1, 2],
                [1, 1, 2, 2],
                [2, 1, 2, 1],
                [1, 2, 2, 1],
                [2, 1, 1, 2],
                [1, 2, 1, 2],
                [2, 2, 2, 1],
                [2, 2, 1, 2],
                [2, 1, 2, 2],
                [1, 2, 2, 2],
                [2, 2, 2, 2],
            ];
            CROSSES[(code - 0x253c) as usize]
        }
        // Double lines: three of each shape (double across, double along, both), all drawn heavy where they are double.
        0x2552..=0x2554 => double(code - 0x2552, [0, 1, 0, 1]),
        0x2555..=0x2557 => double(code - 0x2555, [1, 0, 0, 1]),
        0x2558..=0x255a => double(code - 0x2558, [0, 1, 1, 0]),
        0x255b..=0x255d => double(code - 0x255b, [1, 0, 1, 0]),
        0x255e..=0x2560 => double(code - 0x255e, [0, 1, 1, 1]),
        0x2561..=0x2563 => double(code - 0x2561, [1, 0, 1, 1]),
        0x2564..=0x2566 => double(code - 0x2564, [1, 1, 0, 1]),
        0x2567..=0x2569 => double(code - 0x2567, [1, 1, 1, 0]),
        0x256a..=0x256c => double(code - 0x256a, [1, 1, 1, 1]),
        0x256d => [0, 1, 0, 1],
        0x256e => [1, 0, 0, 1],
        0x256f => [1, 0, 1, 0],
        0x2570 => [0, 1, 1, 0],
        0x2574 => [1, 0, 0, 0],
        0x2575 => [0, 0, 1, 0],
        0x2576 => [0, 1, 0, 0],
        0x2577 => [0, 0, 0, 1],
        0x2578 => [2, 0, 0, 0],
        0x2579 => [0, 0, 2, 0],
        0x257a => [0, 2, 0, 0],
        0x257b => [0, 0, 0, 2],
        0x257c => [1, 2, 0, 0],
        0x257d => [0, 0, 1, 2],
        0x257e => [2, 1, 0, 0],
        0x257f => [0, 0, 2, 1],
        _ => return None,
    }))
}

/// The first of three is double across, the second along, the third both.
fn double(index: u32, [left, right, up, down]: [u8; 4]) -> [u8; 4] {
    let (across, along) = (if index == 1 { 1 } else { 2 }, if index == 0 { 1 } else { 2 });
    [left * across, right * across, up * along, down * along]
}

fn block(code: u32, (x, y): (usize, usize), (width, height): (usize, usize)) -> Option<u8> {
    let of = |is_ink: bool| Some(if is_ink { 255 } else { 0 });
    let eighths = |n: u32, whole: usize| whole * n as usize / 8;
    let (is_left, is_upper) = (x < width / 2, y < height / 2);
    match code {
        0x2580 => of(is_upper),
        // Lower one eighth to all.
        0x2581..=0x2588 => of(y >= height - eighths(code - 0x2580, height)),
        // Left seven eighths to one.
        0x2589..=0x258f => of(x < eighths(0x2590 - code, width).max(1)),
        0x2590 => of(!is_left),
        0x2591 => Some(64),
        0x2592 => Some(128),
        0x2593 => Some(192),
        0x2594 => of(y < eighths(1, height).max(1)),
        0x2595 => of(x >= width - eighths(1, width).max(1)),
        0x2596..=0x259f => {
            // Upper left, upper right, lower left, lower right.
            const QUADRANTS: [u8; 10] =
                [0b0010, 0b0001, 0b1000, 0b1011, 0b1001, 0b1110, 0b1101, 0b0100, 0b0110, 0b0111];
            let bit = match (is_upper, is_left) {
                (true, true) => 3,
                (true, false) => 2,
                (false, true) => 1,
                (false, false) => 0,
            };
            of(QUADRANTS[(code - 0x2596) as usize] >> bit & 1 != 0)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The character as text, `#` for ink.
    fn picture(character: char, (width, height): (usize, usize)) -> Vec<String> {
        let pixel = |x, y| coverage(character, (x, y), (width, height)).expect("it is one of these");
        (0..height).map(|y| (0..width).map(|x| if pixel(x, y) > 127 { '#' } else { '.' }).collect()).collect()
    }

    #[test]
    fn corners_are_closed_and_reach_the_edges() {
        assert_eq!(picture('┌', (5, 5)), [".....", ".....", "..###", "..#..", "..#.."]);
        assert_eq!(picture('┘', (5, 5)), ["..#..", "..#..", "###..", ".....", "....."]);
        assert_eq!(picture('┼', (5, 3)), ["..#..", "#####", "..#.."]);
    }

    #[test]
    fn neighbours_meet_at_every_size_of_the_font() {
        let reaches = |c: char, size: (usize, usize)| {
            let picture = picture(c, size);
            let column = |x: usize| picture.iter().map(|row| row.as_bytes()[x]).collect::<Vec<_>>();
            let row = |y: usize| picture[y].clone().into_bytes();
            let ink = |pixels: Vec<u8>| pixels.iter().positions_of_ink();
            (ink(column(0)), ink(column(size.0 - 1)), ink(row(0)), ink(row(size.1 - 1)))
        };
        for size in [(7, 16), (9, 20), (11, 24), (14, 32), (22, 48)] {
            let across = reaches('─', size);
            let along = reaches('│', size);
            assert!(!across.0.is_empty() && across.0 == across.1 && along.2 == along.3);
            assert_eq!(reaches('┌', size).1, across.0, "{size:?}");
            assert_eq!(reaches('┌', size).3, along.2, "{size:?}");
            assert_eq!(reaches('┤', size).0, across.0, "{size:?}");
            assert_eq!(reaches('┤', size).2, along.2, "{size:?}");
        }
    }

    trait PositionsOfInk {
        fn positions_of_ink(self) -> Vec<usize>;
    }

    impl<'a, I: Iterator<Item = &'a u8>> PositionsOfInk for I {
        fn positions_of_ink(self) -> Vec<usize> {
            self.enumerate().filter(|(_, pixel)| **pixel == b'#').map(|(at, _)| at).collect()
        }
    }

    #[test]
    fn each_tee_and_cross_has_the_arms_of_its_shape() {
        let directions = |code: u32| arms(code).expect("drawn").0.map(|weight| weight > 0);
        assert!((0x251c..=0x2523).all(|code| directions(code) == [false, true, true, true]));
        assert!((0x2524..=0x252b).all(|code| directions(code) == [true, false, true, true]));
        assert!((0x252c..=0x2533).all(|code| directions(code) == [true, true, false, true]));
        assert!((0x2534..=0x253b).all(|code| directions(code) == [true, true, true, false]));
        assert!((0x253c..=0x254b).all(|code| directions(code) == [true; 4]));
    }

    #[test]
    fn blocks_fill_what_they_say() {
        assert_eq!(picture('▀', (2, 4)), ["##", "##", "..", ".."]);
        assert_eq!(picture('▄', (2, 4)), ["..", "..", "##", "##"]);
        assert_eq!(picture('█', (2, 2)), ["##", "##"]);
        assert_eq!(picture('▌', (4, 1)), ["##.."]);
        assert_eq!(picture('▐', (4, 1)), ["..##"]);
        assert_eq!(picture('▚', (2, 2)), ["#.", ".#"]);
        assert_eq!(picture('▞', (2, 2)), [".#", "#."]);
        assert_eq!(picture('▟', (2, 2)), [".#", "##"]);
    }

    #[test]
    fn diagonals_are_not_drawn() {
        assert!(!has('╱') && !has('a') && has('░') && has('╬'));
    }
}
