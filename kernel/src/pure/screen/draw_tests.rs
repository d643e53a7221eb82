//! The drawing, into memory made of a vector, in both sizes of pixels.

use core::sync::atomic::AtomicU32;

use super::*;
use crate::screen::pixels::tests::{Memory, mode};
use crate::screen::terminal::Terminal;
use proptest::prelude::*;

fn cells(nr: usize) -> Vec<AtomicU32> {
    (0..nr).map(|_| AtomicU32::new(0)).collect()
}

/// What a cell should look like, pixel by pixel, computed the slow way.
fn expected(canvas: &Canvas<'_>, grid: &Grid<'_>, x: usize, y: usize) -> u32 {
    let Layout { face, left, top, nr_columns, nr_rows } = canvas.layout;
    let (width, height) = face.cell();
    let paper = PALETTE[usize::from(Cell::BLANK.colours().1)];
    let (Some(x), Some(y)) = (x.checked_sub(left), y.checked_sub(top)) else { return canvas.mode.pixel(paper) };
    if x / width >= nr_columns || y / height >= nr_rows {
        return canvas.mode.pixel(paper);
    }
    let cell = grid.seen(y / height, x / width);
    let mut row = vec![0; width];
    face.row(face.glyph(cell.character()), y % height, &mut row);
    let is_line = cell.is_underlined() && underline(height).contains(&(y % height));
    let coverage = if is_line { 255 } else { row[x % width] };
    let (ink, paper) = cell.colours();
    let (ink, paper) = (PALETTE[usize::from(ink)], PALETTE[usize::from(paper)]);
    canvas.mode.pixel(paper.towards(ink, coverage / 16 * 17))
}

#[track_caller]
fn assert_shows(canvas: &Canvas<'_>, video: &Memory, grid: &Grid<'_>) {
    for y in 0..canvas.mode.height {
        for x in 0..canvas.mode.width {
            let (is, should) = (video.pixel(&canvas.mode, x, y), expected(canvas, grid, x, y));
            assert_eq!(is, should, "pixel {x},{y}: {is:#x} instead of {should:#x}");
        }
    }
}

#[test]
fn every_pixel_is_as_the_cells_say_in_both_pixel_sizes() {
    for nr_bits in [24, 32] {
        let mode = mode(120, 90, nr_bits).checked().expect("a usual mode");
        let drawn = cells(Layout::MAX_CELLS);
        let canvas = Canvas::new(mode, &drawn).expect("room");
        let store = cells(canvas.layout.nr_columns * (canvas.layout.nr_rows + 3));
        let grid = Grid::new(&store, canvas.layout.nr_columns, canvas.layout.nr_rows).expect("enough cells");
        let mut terminal = Terminal::new(grid);
        let mut video = Memory::of(&canvas.mode);
        canvas.clear(&mut video);
        for text in ["boot\n\x1b[31mred \x1b[4mline\x1b[0m ─┼█ é\n", "\x1b[7minverse\x1b[0m\n\n\n", "last", "\r\n!"]
        {
            terminal.write(text.as_bytes());
            let rows = terminal.grid_mut().take_changed();
            canvas.draw(&mut video, terminal.grid(), rows);
            assert_shows(&canvas, &video, terminal.grid());
        }
    }
}

#[test]
fn only_what_differs_is_drawn() {
    let mode = mode(1024, 768, 32).checked().expect("a usual mode");
    let drawn = cells(Layout::MAX_CELLS);
    let canvas = Canvas::new(mode, &drawn).expect("room");
    let (columns, rows) = (canvas.layout.nr_columns, canvas.layout.nr_rows);
    let store = cells(columns * rows);
    let mut terminal = Terminal::new(Grid::new(&store, columns, rows).expect("enough cells"));
    let mut video = Memory::of(&canvas.mode);
    canvas.clear(&mut video);
    let mut draw = |text: &str| {
        terminal.write(text.as_bytes());
        let rows = terminal.grid_mut().take_changed();
        let before = video.nr_written;
        let nr_cells = canvas.draw(&mut video, terminal.grid(), rows);
        assert_eq!(video.nr_written - before, nr_cells * 9 * 20, "no pixel beside the cells");
        nr_cells
    };
    assert_eq!(draw(""), 1, "the cursor");
    assert_eq!(draw("a"), 2, "a letter and the cursor behind it");
    assert_eq!(draw(""), 0);
    // Equal lines do not change when they scroll; the cursor stays in the last row.
    for _ in 0..rows {
        draw("same text in every line\r\n");
    }
    assert_eq!(draw("same text in every line\r\n"), 0, "each row shows what was there before");
    assert_eq!(draw("Same text\r\n"), 12, "where the new line is another one");
}

#[test]
fn what_was_forgotten_is_drawn_again() {
    let mode = mode(200, 100, 24).checked().expect("a usual mode");
    let drawn = cells(Layout::MAX_CELLS);
    let canvas = Canvas::new(mode, &drawn).expect("room");
    let (columns, rows) = (canvas.layout.nr_columns, canvas.layout.nr_rows);
    let store = cells(columns * rows);
    let mut terminal = Terminal::new(Grid::new(&store, columns, rows).expect("enough cells"));
    terminal.write(b"text");
    let mut video = Memory::of(&canvas.mode);
    canvas.clear(&mut video);
    canvas.draw(&mut video, terminal.grid(), 0..rows);
    pixels::fill(&mut video, &canvas.mode, (20, 20), (90, 40), crate::screen::colour::Rgb::WHITE);
    canvas.forget();
    assert_eq!(canvas.draw(&mut video, terminal.grid(), 0..rows), columns * rows);
    assert_shows(&canvas, &video, terminal.grid());
    remark(&canvas, &mut video, b"[3 lines back]");
    assert_eq!(canvas.draw(&mut video, terminal.grid(), 0..1), 14, "the remark goes with the next drawing");
    assert_shows(&canvas, &video, terminal.grid());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_text_in_any_steps_ends_in_the_right_pixels(
        texts in prop::collection::vec("[ -~é█│\n\r\u{8}\u{1b}\\[0-9;mHJK]{0,40}", 1..8),
    ) {
        let mode = mode(75, 50, 32).checked().expect("a usual mode");
        let drawn = cells(Layout::MAX_CELLS);
        let canvas = Canvas::new(mode, &drawn).expect("room");
        let (columns, rows) = (canvas.layout.nr_columns, canvas.layout.nr_rows);
        let store = cells(columns * (rows + 2));
        let mut terminal = Terminal::new(Grid::new(&store, columns, rows).expect("enough cells"));
        let mut video = Memory::of(&canvas.mode);
        canvas.clear(&mut video);
        for text in texts {
            terminal.write(text.as_bytes());
            let rows = terminal.grid_mut().take_changed();
            canvas.draw(&mut video, terminal.grid(), rows);
        }
        assert_shows(&canvas, &video, terminal.grid());
    }
}
