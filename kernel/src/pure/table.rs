//! Tables whose columns line up, printed through `fmt` alone.
//!
//! The rows come from a closure that is run twice, once to measure and once to print, so that nothing is stored. If the
//! figures change in between, a column may stand out; nothing else happens.
//!
//! Called by: the shell's commands.

use core::fmt::{self, Display, Write};

/// Where a column's cells stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Text.
    Left,
    /// Figures.
    Right,
}

/// What takes the cells of one row.
pub type Row<'r, const N: usize> = dyn FnMut([&dyn Display; N]) + 'r;

/// Prints a line of headings and the rows that `rows` hands over, two blanks between columns, without trailing blanks.
pub fn print<const N: usize>(
    out: &mut dyn Write,
    headings: [(&str, Align); N],
    rows: impl Fn(&mut Row<'_, N>),
) -> fmt::Result {
    let mut widths = headings.map(|(heading, _)| heading.chars().count());
    rows(&mut |cells| {
        for (width, cell) in widths.iter_mut().zip(cells) {
            *width = width_of(cell).max(*width);
        }
    });
    let aligns = headings.map(|(_, align)| align);
    print_row(out, headings.each_ref().map(|(heading, _)| heading as &dyn Display), &widths, &aligns)?;
    let mut result = Ok(());
    rows(&mut |cells| {
        if result.is_ok() {
            result = print_row(out, cells, &widths, &aligns);
        }
    });
    result
}

fn print_row<const N: usize>(
    out: &mut dyn Write,
    cells: [&dyn Display; N],
    widths: &[usize; N],
    aligns: &[Align; N],
) -> fmt::Result {
    // Blanks are owed until something follows them.
    let mut owed = 0;
    for ((cell, &width), align) in cells.iter().zip(widths).zip(aligns) {
        let len = width_of(*cell);
        let missing = width.saturating_sub(len);
        if *align == Align::Right {
            owed += missing;
        }
        if len > 0 {
            write!(out, "{:owed$}{cell}", "")?;
            owed = 0;
        }
        if *align == Align::Left {
            owed += missing;
        }
        owed += 2;
    }
    out.write_char('\n')
}

/// How many characters `cell` prints.
fn width_of(cell: &dyn Display) -> usize {
    struct Counter(usize);
    impl Write for Counter {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0 += text.chars().count();
            Ok(())
        }
    }
    let mut counter = Counter(0);
    // A cell that fails to print has no width.
    write!(counter, "{cell}").map_or(0, |()| counter.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::{Bytes, Count};

    #[test]
    fn columns_line_up() {
        let mut text = String::new();
        let rows = [("kmalloc-64", 1234u64, 4096u64, "ok"), ("page", 5, 0, "")];
        print(
            &mut text,
            [("cache", Align::Left), ("objects", Align::Right), ("memory", Align::Right), ("state", Align::Left)],
            |row| {
                rows.iter().for_each(|(name, objects, memory, state)| {
                    row([name, &Count(*objects), &Bytes(*memory), state]);
                });
            },
        )
        .expect("a string takes everything");
        assert_eq!(
            text,
            "cache       objects  memory  state\n\
             kmalloc-64    1,234   4 KiB  ok\n\
             page              5     0 B\n"
        );
    }

    #[test]
    fn an_error_of_the_writer_ends_it() {
        struct Full(usize);
        impl Write for Full {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                self.0 = self.0.checked_sub(text.len()).ok_or(fmt::Error)?;
                Ok(())
            }
        }
        assert!(print(&mut Full(20), [("a", Align::Left)], |row| (0..100).for_each(|i| row([&i]))).is_err());
        assert!(print(&mut Full(500), [("a", Align::Left)], |row| (0..100).for_each(|i| row([&i]))).is_ok());
    }
}
