//! The grid and the terminal above it, against a naive model and by examples.

use core::sync::atomic::AtomicU32;

use super::*;
use crate::screen::model::Model;
use crate::screen::terminal::Terminal;
use proptest::prelude::*;

fn cells(nr: usize) -> Vec<AtomicU32> {
    (0..nr).map(|_| AtomicU32::new(0)).collect()
}

/// A terminal of that size and with so many lines above it, fed with `text`.
fn after<'a>(cells: &'a [AtomicU32], (columns, rows): (usize, usize), text: &[u8]) -> Terminal<'a> {
    let mut terminal = Terminal::new(Grid::new(cells, columns, rows).expect("enough cells"));
    terminal.write(text);
    terminal
}

/// What is seen, with trailing blanks cut.
fn seen(grid: &Grid<'_>) -> Vec<String> {
    let row = |row| (0..grid.nr_columns()).map(|column| grid.seen(row, column).character()).collect::<String>();
    (0..grid.nr_rows()).map(|at| row(at).trim_end().to_string()).collect()
}

#[test]
fn lines_wrap_and_scroll_and_can_be_looked_back_at() {
    let cells = cells(4 * 6);
    let mut terminal = after(&cells, (4, 3), b"abcdef\n1\n2\n3\n4");
    assert_eq!(seen(terminal.grid()), ["2", "3", "4"]);
    terminal.grid_mut().look_back(2);
    assert_eq!(seen(terminal.grid()), ["ef", "1", "2"]);
    terminal.grid_mut().look_back(100);
    assert_eq!((terminal.grid().back(), seen(terminal.grid())), (3, vec!["abcd".into(), "ef".into(), "1".into()]));
    terminal.grid_mut().look_back(-1);
    assert_eq!(terminal.grid().back(), 2);
    terminal.write(b"!");
    assert_eq!(seen(terminal.grid()), ["2", "3", "4!"], "what is written is seen");
}

#[test]
fn a_full_line_wraps_only_when_more_comes() {
    let cells = cells(4 * 3);
    assert_eq!(after(&cells, (4, 3), b"abcd").grid().cursor(), (0, 3));
    assert_eq!(seen(after(&cells, (4, 3), b"abcd\r\nx").grid()), ["abcd", "x", ""]);
    assert_eq!(seen(after(&cells, (4, 3), b"abcd\x08X").grid()), ["abXd", "", ""]);
}

#[test]
fn what_the_line_editor_sends_is_understood() {
    let cells = cells(20 * 3);
    assert_eq!(seen(after(&cells, (20, 3), b"> mex\x08 \x08m\r\nok").grid()), ["> mem", "ok", ""]);
    assert_eq!(seen(after(&cells, (20, 3), b"old\nold\x1b[H\x1b[2J> ").grid()), [">", "", ""]);
    assert_eq!(after(&cells, (20, 3), b"a\tb").grid().cursor(), (0, 9));
}

#[test]
fn colours_come_as_asked() {
    let cells = cells(30 * 2);
    let colours = |text: &[u8]| after(&cells, (30, 2), text).grid().seen(0, 0).colours();
    assert_eq!(colours(b"x"), (7, 0));
    assert_eq!(colours(b"\x1b[31mx"), (1, 0));
    assert_eq!(colours(b"\x1b[1;32;44mx"), (10, 4));
    assert_eq!(colours(b"\x1b[97;7mx"), (0, 15));
    assert_eq!(colours(b"\x1b[38;5;196mx"), (1, 0));
    assert_eq!(colours(b"\x1b[38;2;255;255;255;41mx"), (15, 1));
    assert_eq!(colours(b"\x1b[38:5:15mx"), (15, 0));
    assert_eq!(colours(b"\x1b[31m\x1b[mx"), (7, 0));
    assert_eq!(colours(b"\x1b[44m\x1b[Kx"), (7, 4), "erased with the paper");
}

#[test]
fn unknown_sequences_leave_nothing_behind() {
    let cells = cells(20 * 2);
    let text = b"\x1b[5;6;7zA\x1b]0;a title\x07B\x1bPq\x01\x1b\\C\x1b(BD\xff\xfeE";
    assert_eq!(seen(after(&cells, (20, 2), text).grid())[0], "ABCD\u{fffd}\u{fffd}E");
}

#[test]
fn the_cursor_is_seen_where_it_is_and_not_when_hidden_or_looked_away_from() {
    let cells = cells(4 * 5);
    let mut terminal = after(&cells, (4, 2), b"a\nb\nc");
    let cursor = |terminal: &Terminal<'_>| {
        let places = (0..2).flat_map(|row| (0..4).map(move |column| (row, column)));
        places.filter(|&(row, column)| terminal.grid().seen(row, column).colours() == (0, 7)).collect::<Vec<_>>()
    };
    assert_eq!(cursor(&terminal), [(1, 1)]);
    terminal.grid_mut().look_back(1);
    assert_eq!(cursor(&terminal), []);
    terminal.write(b"\x1b[?25l");
    assert_eq!(cursor(&terminal), []);
    terminal.write(b"\x1b[?25h");
    assert_eq!(cursor(&terminal), [(1, 1)]);
}

#[test]
fn text_moves_to_other_cells_with_what_is_above_it() {
    let (small, large) = (cells(4 * 3), cells(4 * 10));
    let terminal = after(&small, (4, 2), b"a\nb\nc\nd");
    let mut moved = terminal.grid().moved(&large).expect("enough");
    assert_eq!((seen(&moved), moved.nr_above(), moved.cursor()), (vec!["c".into(), "d".into()], 1, (1, 1)));
    moved.look_back(1);
    assert_eq!(seen(&moved), ["b", "c"]);
    assert!(terminal.grid().moved(&large[..7]).is_none());
    let mut back = moved.moved(&small).expect("enough");
    back.look_back(9);
    assert_eq!((back.nr_above(), seen(&back)), (1, vec!["b".into(), "c".into()]));
}

#[test]
fn a_crash_report_goes_on_where_the_text_ended() {
    let cells = cells(8 * 5);
    let terminal = after(&cells, (8, 3), b"1\n2\n3\n4\nlast");
    let resumed = Grid::resume(&cells, 8, 3, terminal.grid().position()).expect("the same cells");
    let mut report = Terminal::new(resumed);
    report.write(b"\n***");
    assert_eq!(seen(report.grid()), ["4", "last", "***"]);
    let beyond = Position { top: 1000, row: 1000, column: 1000 };
    assert_eq!(Grid::resume(&cells, 8, 3, beyond).expect("brought inside").cursor(), (2, 7));
}

#[test]
fn what_changed_is_said_once() {
    let cells = cells(8 * 5);
    let mut terminal = after(&cells, (8, 3), b"a\nb");
    terminal.grid_mut().take_changed();
    assert!(!terminal.grid().is_changed());
    terminal.write(b"c");
    assert_eq!(terminal.grid_mut().take_changed(), 1..2);
    terminal.write(b"\n\n");
    assert_eq!(terminal.grid_mut().take_changed(), 0..3, "it scrolled");
}

/// Bytes as programs send them: text, line ends, sequences, and now and then anything.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let text = "[ -~äß漢😀─█]{0,9}".prop_map(String::into_bytes);
    let control = prop::sample::select(vec!["\n", "\r", "\r\n", "\x08", "\t", "\x07", "\x1b7", "\x1b8", "\x1bc"]);
    let sequence = (prop::collection::vec(0..12u16, 0..3), prop::sample::select(b"ABCDEFGHJKdfmsu".to_vec()));
    let sequence = sequence.prop_map(|(numbers, last)| {
        let numbers: Vec<String> = numbers.iter().map(u16::to_string).collect();
        format!("\x1b[{}{}", numbers.join(";"), char::from(last)).into_bytes()
    });
    let colour = (30..50u16).prop_map(|number| format!("\x1b[{number}m").into_bytes());
    prop_oneof![
        4 => text,
        3 => control.prop_map(|text| text.as_bytes().to_vec()),
        3 => sequence,
        1 => colour,
        1 => prop::collection::vec(any::<u8>(), 0..6),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_screen_shows_what_the_model_shows(
        columns in 1..14usize,
        rows in 1..6usize,
        more in 0..5usize,
        pieces in prop::collection::vec((piece(), 0..4u8), 0..40),
    ) {
        let cells = cells(columns * (rows + more));
        let mut terminal = Terminal::new(Grid::new(&cells, columns, rows).expect("enough cells"));
        let mut model = Model::new(columns, rows, more);
        for (bytes, look) in pieces {
            terminal.write(&bytes);
            model.write(&bytes);
            if look == 0 {
                terminal.grid_mut().look_back(2);
                model.look_back(2);
            }
            let grid = terminal.grid();
            prop_assert_eq!((grid.cursor(), grid.nr_above(), grid.back()), (model.cursor(), model.nr_above(), model.back()));
            for row in 0..rows {
                for column in 0..columns {
                    prop_assert_eq!(grid.seen(row, column), model.seen(row, column), "row {} column {}", row, column);
                }
            }
        }
    }

    /// Sequences may come in pieces, characters do not: the kernel prints `str`s. (Of a character in two pieces `vte`
    /// 0.15 may swallow the one behind it.)
    #[test]
    fn text_in_any_pieces_comes_to_the_same(
        text in "([ -~äß漢😀─█\n]{0,9}(\u{1b}\\[[0-9;]{0,5}[A-HJKm])?){0,20}",
        cut in 1..9usize,
    ) {
        let (one, other) = (cells(60), cells(60));
        let whole = after(&one, (10, 4), text.as_bytes());
        let mut pieces = after(&other, (10, 4), b"");
        let characters: Vec<char> = text.chars().collect();
        characters.chunks(cut).for_each(|piece| pieces.write(piece.iter().collect::<String>().as_bytes()));
        prop_assert_eq!(pieces.grid().position(), whole.grid().position());
        prop_assert_eq!(seen(pieces.grid()), seen(whole.grid()));
    }
}
