//! Tables and figures as HTML. Every text is escaped here, and nowhere else.

use std::fmt::Write as _;

use plot::svg::escaped;
use plot::{ColumnChart, DotChart, Drawing, Layout, LineChart, svg};

/// A table: names at the left, figures at the right of their columns.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// What stands above its columns.
    pub head: Vec<String>,
    /// Its rows, each as long as the head.
    pub rows: Vec<Vec<String>>,
    /// Columns from the left that hold names.
    pub nr_names: usize,
    /// Rows that stand out, by number.
    pub strong: Vec<usize>,
}

/// Pixels that a table has on the page: at a desk, on a telephone.
const ROOM: [f64; 2] = [820.0, 346.0];

/// A table of more rows is folded away.
const MOST_ROWS: usize = 12;

/// Any of the charts.
#[derive(Clone, Debug)]
pub enum Chart {
    /// Lines.
    Lines(LineChart),
    /// Dots.
    Dots(DotChart),
    /// Columns.
    Columns(ColumnChart),
}

impl Chart {
    /// Draws it.
    pub fn draw(&self, layout: &Layout) -> Drawing {
        match self {
            Self::Lines(chart) => chart.draw(layout),
            Self::Dots(chart) => chart.draw(layout),
            Self::Columns(chart) => chart.draw(layout),
        }
    }
}

/// A plot with all that belongs to it.
#[derive(Clone, Debug)]
pub struct Plot {
    /// Names its files and its place on the page; letters, digits and hyphens.
    pub slug: String,
    /// What was found.
    pub title: String,
    /// Where and how.
    pub subtitle: String,
    /// What keeps it from meaning more.
    pub remarks: Vec<String>,
    /// The picture; its head is filled in from the above.
    pub chart: Chart,
    /// Below the picture.
    pub table: Table,
    /// Further tables with what they are, folded away.
    pub more: Vec<(String, Table)>,
}

/// A name of letters, digits and hyphens, from any text.
pub fn slug(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' });
    let parts: String = plain.collect();
    parts.split('-').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-").chars().take(60).collect()
}

/// The address of a file's name beside the page: bytes that mean something else in an address or in HTML as hexadecimal
/// numbers (RFC 3986, section 2.1).
fn address(name: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    name.bytes().map(byte).collect()
}

impl Table {
    /// Adds a row.
    pub fn push(&mut self, row: Vec<String>) {
        self.rows.push(row);
    }

    /// Pixels that it is wide, with `padding` in each cell. A browser's font may differ by a little.
    fn width(&self, padding: f64) -> f64 {
        let columns = 0..self.head.len();
        let cells =
            |column: usize| self.rows.iter().filter_map(move |row| row.get(column)).chain(self.head.get(column));
        let wide = |text: &String| plot::text::width(text, 13.8, false) + padding;
        columns.map(|column| cells(column).map(wide).fold(0.0, f64::max)).sum()
    }

    /// How much there is of it: `32 rows`.
    pub fn extent(&self) -> String {
        match self.rows.len() {
            1 => "1 row".into(),
            nr => format!("{nr} rows"),
        }
    }

    /// As HTML below a plot: folded away if it is long, behind a line that says how long.
    fn html_below(&self) -> String {
        if self.rows.len() <= MOST_ROWS {
            return self.html();
        }
        format!("<details><summary>Table of {}</summary>\n{}</details>\n", self.extent(), self.html())
    }

    /// As HTML, in a box that scrolls sideways by itself; where it will have to, that is said.
    pub fn html(&self) -> String {
        let is_wider = [self.width(22.4) > ROOM[0], self.width(16.0) > ROOM[1]];
        let mut out = match is_wider {
            [true, _] => format!("<p class=\"hint\">{} columns; scrolls sideways →</p>\n", self.head.len()),
            [_, true] => format!("<p class=\"hint narrow\">{} columns; scrolls sideways →</p>\n", self.head.len()),
            _ => String::new(),
        };
        out.push_str("<div class=\"scroll\" tabindex=\"0\"><table>\n<thead><tr>");
        let name = |column: usize| if column < self.nr_names { " class=\"name\"" } else { "" };
        for (column, text) in self.head.iter().enumerate() {
            let _ = write!(out, "<th scope=\"col\"{}>{}</th>", name(column), escaped(text));
        }
        out.push_str("</tr></thead>\n<tbody>\n");
        for (number, row) in self.rows.iter().enumerate() {
            out.push_str(if self.strong.contains(&number) { "<tr class=\"strong\">" } else { "<tr>" });
            for (column, text) in row.iter().enumerate() {
                let _ = match column {
                    0 => write!(out, "<th scope=\"row\"{}>{}</th>", name(column), escaped(text)),
                    _ => write!(out, "<td{}>{}</td>", name(column), escaped(text)),
                };
            }
            out.push_str("</tr>\n");
        }
        out.push_str("</tbody></table></div>\n");
        out
    }
}

impl Plot {
    /// The picture by itself, with title, remarks, where it was measured, and the command that makes its numbers again.
    pub fn alone(&self, origin: &str, command: &str) -> Drawing {
        let remark = format!("{} Made again by: {command}", self.remarks.join(" "));
        let mut chart = self.chart.clone();
        let head = match &mut chart {
            Chart::Lines(chart) => &mut chart.head,
            Chart::Dots(chart) => &mut chart.head,
            Chart::Columns(chart) => &mut chart.head,
        };
        (head.title, head.subtitle, head.remark) = (self.title.clone(), format!("{}. {origin}", self.subtitle), remark);
        chart.draw(&Layout::FULL)
    }

    /// As HTML, for a page whose plots lie in `folder`.
    pub fn html(&self, command: &str, folder: &str) -> String {
        let mut out = String::new();
        let (slug, title) = (&self.slug, escaped(&self.title));
        let _ = writeln!(out, "<figure id=\"{slug}\">\n<figcaption><h3>{title}</h3>");
        let _ = writeln!(out, "<p class=\"sub\">{}</p></figcaption>", escaped(&self.subtitle));
        let titled = |mut drawing: Drawing| {
            drawing.says.clone_from(&self.title);
            drawing
        };
        out.push_str(&svg::inline(&titled(self.chart.draw(&Layout::WIDE)), "wide"));
        out.push_str(&svg::inline(&titled(self.chart.draw(&Layout::NARROW)), "narrow"));
        for remark in &self.remarks {
            let _ = writeln!(out, "<p class=\"remark\">{}</p>", escaped(remark));
        }
        out.push_str(&self.table.html_below());
        for (what, table) in &self.more {
            let (what, extent) = (escaped(what), table.extent());
            let _ = writeln!(out, "<details><summary>{what}: {extent}</summary>\n{}</details>", table.html());
        }
        let _ = writeln!(
            out,
            "<p class=\"command\">Made again by <code>{}</code> · <a href=\"{folder}/{slug}.svg\">SVG</a> · \
             <a href=\"{folder}/{slug}.png\">PNG</a></p>\n</figure>",
            escaped(command),
            folder = address(folder),
        );
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slug_is_safe_in_a_path_and_in_a_link() {
        assert_eq!(slug("../Pair 64 <b>"), "pair-64-b");
        assert_eq!(slug("€"), "");
        assert!(slug(&"x".repeat(1000)).len() <= 60);
    }

    #[test]
    fn a_folder_is_an_address() {
        assert_eq!(address("report.plots"), "report.plots");
        assert_eq!(address("a b\"<é?#.plots"), "a%20b%22%3C%C3%A9%3F%23.plots");
    }

    #[test]
    fn a_long_table_is_folded_and_a_wide_one_says_that_it_scrolls() {
        let table = |nr_rows: usize, nr_columns: usize| Table {
            head: vec!["contender".into(); nr_columns],
            rows: vec![vec!["123".into(); nr_columns]; nr_rows],
            ..Table::default()
        };
        assert!(!table(MOST_ROWS, 2).html_below().contains("<details>"));
        let long = table(MOST_ROWS + 20, 2).html_below();
        assert!(long.starts_with("<details><summary>Table of 32 rows</summary>") && !long.contains("<details open"));
        let hint = |nr_columns| table(2, nr_columns).html().split_once("<div").expect("a box").0.to_owned();
        assert_eq!(hint(3), "");
        assert_eq!(hint(6), "<p class=\"hint narrow\">6 columns; scrolls sideways →</p>\n");
        assert_eq!(hint(20), "<p class=\"hint\">20 columns; scrolls sideways →</p>\n");
    }

    #[test]
    fn cells_are_escaped() {
        let head = vec!["<script>".into(), "a&b".into()];
        let table = Table { head, rows: vec![vec!["\"x\"".into(), "<td>".into()]], nr_names: 1, strong: vec![0] };
        let html = table.html();
        assert!(html.contains("&lt;script&gt;") && html.contains("a&amp;b") && html.contains("&lt;td&gt;"));
        assert!(!html.contains("<script>") && html.contains("class=\"strong\""));
    }
}
