//! Answers for people and for programs from one description: a table or a page of figures, or one JSON object a line.
//!
//! A column or figure has one name for both, but that its words are set apart by blanks for people. What a cell is decides how it is shown: to people with its unit and its
//! thousands set apart, to programs as a bare number whose name ends with the unit (`size` becomes `size_bytes`). Every
//! object begins with a `kind` that says what it describes, so that a program can pick its lines out of a log.
//!
//! Called by: the shell's commands.

use core::fmt::{self, Display, Write};

use crate::figures::{Bytes, Count, Nanos, Percent, Ratio};
use crate::json::{self, Object};
use crate::table::{self, Align};

/// Who reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// People.
    Text,
    /// Programs.
    Json,
}

impl Format {
    /// For programs if there was a `--json`.
    pub fn json_if(is_json: bool) -> Self {
        if is_json { Self::Json } else { Self::Text }
    }
}

/// A value, and what it is.
#[derive(Clone, Copy)]
pub enum Cell<'a> {
    /// Words.
    Text(&'a dyn Display),
    /// A number that counts nothing: an id.
    Id(u64),
    /// A number of what the name says.
    Count(u64),
    /// A size.
    Bytes(u64),
    /// A time.
    Nanos(u64),
    /// A share.
    PerMillion(u64),
    /// A quotient; none if the second is 0.
    Ratio(u64, u64),
}

impl Cell<'_> {
    /// What stands behind the name for programs.
    fn unit(&self) -> &'static str {
        match self {
            Self::Bytes(_) => "_bytes",
            Self::Nanos(_) => "_ns",
            Self::PerMillion(_) => "_per_million",
            Self::Text(_) | Self::Id(_) | Self::Count(_) | Self::Ratio(..) => "",
        }
    }

    /// Where it stands in a column.
    fn align(&self) -> Align {
        if matches!(self, Self::Text(_)) { Align::Left } else { Align::Right }
    }

    /// Writes it as a field of an object for programs: `name`, with the unit behind it.
    pub fn write(&self, object: &mut Object<'_>, name: &str) {
        match *self {
            Self::Text(text) => object.text(name, text),
            Self::Ratio(part, whole) => object.ratio(name, part, whole),
            Self::Id(n) | Self::Count(n) | Self::Bytes(n) | Self::Nanos(n) | Self::PerMillion(n) => {
                object.number_in(name, self.unit(), n);
            }
        }
    }
}

impl Display for Cell<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Text(text) => text.fmt(f),
            Self::Id(id) => id.fmt(f),
            Self::Count(count) => Count(count).fmt(f),
            Self::Bytes(bytes) => Bytes(bytes).fmt(f),
            Self::Nanos(ns) => Nanos(ns).fmt(f),
            Self::PerMillion(share) => Percent(share, 1_000_000).fmt(f),
            Self::Ratio(part, whole) => Ratio(part, whole).fmt(f),
        }
    }
}

/// A column: its heading, and its name for programs.
pub type Column = (&'static str, &'static str);

/// What takes the cells of one row.
pub type Row<'r, const N: usize> = dyn FnMut([Cell<'_>; N]) + 'r;

/// Prints the rows that `rows` hands over: a table, or an object of this `kind` for each. For a table `rows` runs more
/// than once.
pub fn table<const N: usize>(
    out: &mut dyn Write,
    format: Format,
    kind: &str,
    columns: [Column; N],
    rows: impl Fn(&mut Row<'_, N>),
) -> fmt::Result {
    if format == Format::Json {
        let mut result = Ok(());
        rows(&mut |cells| {
            result = result.and_then(|()| {
                json::line(out, |object| {
                    object.text("kind", kind);
                    columns.iter().zip(&cells).for_each(|((_, name), cell)| cell.write(object, name));
                })
            });
        });
        return result;
    }
    // A column of figures stands to the right, and so does its heading, and the `-` where there is none.
    let mut aligns = [Align::Left; N];
    rows(&mut |cells| {
        let figures = aligns.iter_mut().zip(&cells).filter(|(_, cell)| matches!(cell.align(), Align::Right));
        figures.for_each(|(align, _)| *align = Align::Right);
    });
    let mut headings = columns.map(|(heading, _)| (heading, Align::Left));
    headings.iter_mut().zip(aligns).for_each(|((_, heading), align)| *heading = align);
    table::print(out, headings, |row| rows(&mut |cells| row(cells.each_ref().map(|cell| cell as &dyn Display))))
}

/// A name whose words are joined by underscores, as people read it.
struct Words<'a>(&'a str);

impl Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, word) in self.0.split('_').enumerate() {
            f.write_str(if nth == 0 { "" } else { " " })?;
            f.write_str(word)?;
        }
        (self.0.len()..f.width().unwrap_or(0)).try_for_each(|_| f.write_char(' '))
    }
}

/// One figure of a page: its name for both, its value, and what it means for people who do not know.
pub type Figure<'a> = (&'static str, Cell<'a>, &'static str);

/// Prints one thing's figures, in sections with a title each: a page, or a single object of this `kind`.
pub fn page(out: &mut dyn Write, format: Format, kind: &str, sections: &[(&str, &[Figure<'_>])]) -> fmt::Result {
    if format == Format::Json {
        return json::line(out, |object| {
            object.text("kind", kind);
            let figures = sections.iter().flat_map(|(_, figures)| *figures);
            figures.for_each(|(name, cell, _)| cell.write(object, name));
        });
    }
    for (title, figures) in sections {
        writeln!(out, "  {title}")?;
        for (name, cell, meaning) in *figures {
            let gap = if meaning.is_empty() { "" } else { "   " };
            writeln!(out, "    {:<24} {cell:>12}{gap}{meaning}", Words(name))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both(print: impl Fn(&mut dyn Write, Format) -> fmt::Result) -> [String; 2] {
        [Format::Text, Format::json_if(true)].map(|format| {
            let mut text = String::new();
            print(&mut text, format).expect("a string takes everything");
            text
        })
    }

    #[test]
    fn a_table_is_printed_both_ways() {
        let rows = [("a \"b\"", 1234, 4096, 999_999), ("c", 5, 10_001, 0)];
        let [text, json] = both(|out, format| {
            let columns = [("name", "name"), ("objects out", "out"), ("memory", "memory"), ("hits", "hits")];
            table(out, format, "cache", columns, |row| {
                for (name, out, memory, hits) in &rows {
                    row([Cell::Text(name), Cell::Count(*out), Cell::Bytes(*memory), Cell::PerMillion(*hits)]);
                }
            })
        });
        assert_eq!(
            text,
            "name   objects out    memory    hits\n\
             a \"b\"        1,234     4 KiB  99.9 %\n\
             c                5  9.76 KiB   0.0 %\n"
        );
        assert_eq!(
            json,
            "{\"kind\":\"cache\",\"name\":\"a \\\"b\\\"\",\"out\":1234,\"memory_bytes\":4096,\"hits_per_million\":999999}\n\
             {\"kind\":\"cache\",\"name\":\"c\",\"out\":5,\"memory_bytes\":10001,\"hits_per_million\":0}\n"
        );
    }

    #[test]
    fn a_column_of_figures_stands_to_the_right_whatever_its_last_row_is() {
        let [text, _] = both(|out, format| {
            table(out, format, "k", [("at most", "most"), ("", "verdict")], |row| {
                row([Cell::Id(1234), Cell::Text(&"holds")]);
                row([Cell::Text(&"-"), Cell::Text(&"told")]);
            })
        });
        assert_eq!(text, "at most\n   1234  holds\n      -  told\n");
    }

    #[test]
    fn a_table_without_rows_has_its_headings_and_no_objects() {
        let [text, json] = both(|out, format| table(out, format, "cache", [("name", "name")], |_| ()));
        assert_eq!((text.as_str(), json.as_str()), ("name\n", ""));
    }

    #[test]
    fn a_page_is_printed_both_ways() {
        let [text, json] = both(|out, format| {
            let objects = [("buf_size", Cell::Bytes(64), "asked for"), ("id", Cell::Id(12_345), "which")];
            let times = [("wait", Cell::Nanos(1500), ""), ("objects_per_slab", Cell::Ratio(5, 2), "neighbours")];
            page(out, format, "cache", &[("objects", &objects), ("times", &times)])
        });
        assert_eq!(
            text,
            "  objects\n    \
             buf size                         64 B   asked for\n    \
             id                              12345   which\n  \
             times\n    \
             wait                          1.50 us\n    \
             objects per slab                 2.50   neighbours\n"
        );
        assert_eq!(
            json,
            "{\"kind\":\"cache\",\"buf_size_bytes\":64,\"id\":12345,\"wait_ns\":1500,\"objects_per_slab\":2.500}\n"
        );
    }

    #[test]
    fn an_error_of_the_writer_ends_it() {
        struct Full;
        impl Write for Full {
            fn write_str(&mut self, _: &str) -> fmt::Result {
                Err(fmt::Error)
            }
        }
        for format in [Format::Text, Format::Json] {
            let columns = [("n", "n")];
            assert!(table(&mut Full, format, "k", columns, |row| (0..3).for_each(|i| row([Cell::Id(i)]))).is_err());
            assert!(page(&mut Full, format, "k", &[("t", &[("n", Cell::Id(1), "")])]).is_err());
        }
    }
}
