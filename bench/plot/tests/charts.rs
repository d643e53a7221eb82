//! Charts of what callers may give: every text inside the picture, none over another, nothing lost, no panic.

use plot::drawing::{Anchor, Drawing, Shape};
use plot::text::width;
use plot::{Axis, Band, Column, ColumnChart, Dot, DotChart, Head, Kind, Layout, LineChart, Point, Row, Series, Unit};
use proptest::prelude::*;

const LAYOUTS: [Layout; 3] = [Layout::WIDE, Layout::NARROW, Layout::FULL];

fn head() -> Head {
    Head {
        title: "A sentence that says what was found and is long enough to need a second line on most layouts".into(),
        subtitle: "where & how <it> was measured".into(),
        remark: "what it does not mean".into(),
        watermark: "emulated: relative only".into(),
    }
}

fn line_chart(ys: &[f64], is_log: bool) -> LineChart {
    let point = |x: usize, y: f64| Point { x: (1 << x) as f64, y, spread: (y * 0.9, y * 1.2) };
    let of = |i: usize, y: f64| (0..4).map(|x| point(x, y * (1.0 + (i * x) as f64 / 4.0))).collect();
    let mut series: Vec<Series> =
        ys.iter().enumerate().map(|(i, &y)| Series::numbered(format!("contender {i}"), of(i, y), i)).collect();
    series.push(Series::guide("ideal", vec![Point::at(1.0, 1.0), Point::at(8.0, 8.0)]));
    LineChart {
        head: head(),
        x: Axis { is_log, ..Axis::linear("CPUs", Unit::Whole).ticked(&[1.0, 2.0, 4.0, 8.0]) },
        y: Axis { is_log, ..Axis::linear("operations a second, higher is better", Unit::Plain) },
        series,
        bands: vec![Band { from: 3.0, to: f64::INFINITY, name: "oversubscribed: the host has 2".into() }],
    }
}

fn dot_chart(values: &[f64]) -> DotChart {
    let rows = values.iter().enumerate().map(|(i, &value)| Row {
        name: format!("workload number {i}"),
        is_ours: i == 0,
        dots: (0..4).map(|kind| Dot::at(kind, value * (kind + 1) as f64)).collect(),
    });
    DotChart {
        head: head(),
        x: Axis::log("time, lower is better", Unit::Nanoseconds),
        kinds: ["p50", "p99", "p99.9", "max"].iter().enumerate().map(|(i, name)| Kind::numbered(*name, i)).collect(),
        rows: rows.collect(),
        guide: Some((100.0, "one round trip".into())),
        is_joined: true,
        ..DotChart::default()
    }
}

fn column_chart(values: &[f64]) -> ColumnChart {
    let column = |(i, &value): (usize, &f64)| Column { name: Unit::Bytes.show((1_u64 << (i + 3)) as f64), value };
    let columns = values.iter().enumerate().map(column).collect();
    ColumnChart { head: head(), x_label: "size".into(), y: Axis::linear("objects", Unit::Plain), columns, series: 0 }
}

/// Boxes about all upright texts: left, top, right, bottom.
fn boxes(drawing: &Drawing) -> Vec<([f64; 4], &str)> {
    let of = |shape| match shape {
        &Shape::Text { at: (x, y), anchor, size, is_bold, turn: 0.0, ref text, .. } => {
            // Without the reserve for other fonts.
            let wide = width(text, size, is_bold) / 1.1;
            let left = match anchor {
                Anchor::Start => x,
                Anchor::Middle => x - wide / 2.0,
                Anchor::End => x - wide,
            };
            Some(([left, y - size * 0.72, left + wide, y], text.as_str()))
        }
        _ => None,
    };
    drawing.shapes.iter().filter_map(of).collect()
}

/// Texts that leave the picture or lie over one another.
fn faults(drawing: &Drawing) -> Vec<String> {
    let boxes = boxes(drawing);
    let mut faults = Vec::new();
    for (i, ([left, top, right, bottom], text)) in boxes.iter().enumerate() {
        if *left < -0.5 || *top < -0.5 || *right > drawing.width + 0.5 || *bottom > drawing.height + 0.5 {
            faults.push(format!("{text} leaves the picture"));
        }
        for ([l, t, r, b], other) in &boxes[i + 1..] {
            if left < r && l < right && top < b && t < bottom {
                faults.push(format!("{text} and {other} overlap"));
            }
        }
    }
    faults
}

fn check(draw: impl Fn(&Layout) -> Drawing, names: &[&str]) {
    for layout in &LAYOUTS {
        let drawing = draw(layout);
        assert_eq!(faults(&drawing), Vec::<String>::new(), "width {}", layout.width);
        let svg = plot::svg::file(&drawing);
        names.iter().for_each(|name| assert!(svg.contains(name), "{name} is missing at width {}", layout.width));
        assert_eq!(svg.contains("what it does not mean"), layout.is_alone);
        assert!(plot::png::encode(&drawing, 1.0).is_ok_and(|png| png.starts_with(b"\x89PNG")));
    }
}

#[test]
fn names_of_lines_that_end_in_one_place_do_not_overlap() {
    let names =
        ["contender 0", "contender 6", "ideal", "oversubscribed", "higher is better", "emulated: relative only"];
    check(|layout| line_chart(&[1.0; 7], false).draw(layout), &names);
    check(|layout| line_chart(&[1.0, 1.01, 100.0, 100.5, 0.001, 0.0011, 0.0012], true).draw(layout), &names);
    check(|layout| line_chart(&[2.0; 30], true).draw(layout), &["contender 29"]);
}

#[test]
fn rows_and_columns_have_their_names() {
    check(|layout| dot_chart(&[1.0, 100.0, 30_000.0]).draw(layout), &["workload number 2", "p99.9", "one round trip"]);
    // The last number of the axis is wide, and stands near its end.
    let wide = |layout: &Layout| {
        DotChart { x: Axis::log("", Unit::Times).ticked(&[1e7]), ..dot_chart(&[1.0, 2.4e6]) }.draw(layout)
    };
    check(wide, &[]);
    check(|layout| column_chart(&[5.0; 40]).draw(layout), &["8 B", "objects", "size"]);
}

/// From where to where the texts that contain `part` reach.
fn reach(drawing: &Drawing, part: &str) -> (f64, f64) {
    let texts = drawing.shapes.iter().filter_map(|shape| match shape {
        Shape::Text { at, size, is_bold, text, .. } if text.contains(part) => {
            Some((at.0, at.0 + width(text, *size, *is_bold)))
        }
        _ => None,
    });
    texts.fold((f64::INFINITY, f64::NEG_INFINITY), |(from, to), (a, b)| (from.min(a), to.max(b)))
}

#[test]
fn names_above_their_rows_do_not_stand_on_the_guide() {
    for (guide, values) in [(1.0, [1.0, 50.0]), (1.0, [0.5, 50.0]), (1.0, [0.2, 5.0]), (1.0, [0.01, 1.0])] {
        let row = |value| Row { name: "workload".into(), is_ours: false, dots: vec![Dot::at(0, value)] };
        let chart = DotChart {
            x: Axis::log("time", Unit::Times),
            kinds: vec![Kind::numbered("one", 0)],
            rows: values.into_iter().map(row).collect(),
            guide: Some((guide, "as fast".into())),
            ..DotChart::default()
        };
        let drawing = chart.draw(&Layout::NARROW);
        let line = drawing.shapes.iter().find_map(|shape| match shape {
            Shape::Line { points, dash: plot::drawing::Dash::Dashed, .. } => Some(points[0].0),
            _ => None,
        });
        let (line, (from, to)) = (line.expect("the guide"), reach(&drawing, "workload"));
        assert!(to < line || from > line, "{values:?}: from {from} to {to}, the guide at {line}");
    }
}

#[test]
fn overlaps_would_be_found() {
    let mut drawing = LineChart::default().draw(&Layout::WIDE);
    drawing.text((20.0, 20.0), Anchor::Start, 12.0, plot::Ink::Text, "one");
    drawing.text((25.0, 22.0), Anchor::Start, 12.0, plot::Ink::Text, "other");
    drawing.text((9999.0, 22.0), Anchor::Start, 12.0, plot::Ink::Text, "outside");
    assert_eq!(faults(&drawing), ["one and other overlap", "outside leaves the picture"]);
}

#[test]
fn charts_of_nothing_are_drawn() {
    check(|layout| LineChart { head: head(), ..LineChart::default() }.draw(layout), &[]);
    check(|layout| DotChart { head: head(), ..DotChart::default() }.draw(layout), &[]);
    check(|layout| ColumnChart { head: head(), ..ColumnChart::default() }.draw(layout), &[]);
    check(|layout| line_chart(&[f64::NAN, 0.0, -1.0], true).draw(layout), &[]);
    check(|layout| line_chart(&[1.0], false).draw(layout), &["contender 0"]);
    check(|layout| dot_chart(&[f64::INFINITY, 0.0]).draw(layout), &["workload number 0"]);
    check(|layout| column_chart(&[0.0, f64::NAN]).draw(layout), &["16 B"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn no_values_make_texts_overlap(ys in proptest::collection::vec(1e-6..1e9_f64, 1..10), is_log in any::<bool>()) {
        for layout in &LAYOUTS {
            let drawings = [line_chart(&ys, is_log).draw(layout), dot_chart(&ys).draw(layout), column_chart(&ys).draw(layout)];
            for drawing in &drawings {
                prop_assert_eq!(faults(drawing), Vec::<String>::new(), "width {}", layout.width);
            }
        }
    }
}

/// Not a test: `SAMPLES=folder` writes the pictures, to be looked at.
#[test]
fn samples() {
    let Some(folder) = std::env::var_os("SAMPLES").map(std::path::PathBuf::from) else { return };
    for (name, layout) in ["wide", "narrow", "full"].iter().zip(&LAYOUTS) {
        let drawings = [
            ("log", line_chart(&[1.0, 1.01, 100.0, 100.5, 0.001, 0.0011, 0.0012], true).draw(layout)),
            ("linear", line_chart(&[2.0, 1.0, 0.9, 0.2], false).draw(layout)),
            ("dots", dot_chart(&[1.0, 100.0, 30_000.0, 50.0]).draw(layout)),
            ("columns", column_chart(&[5.0, 100.0, 250.0, 30.0, 0.1, 0.0, 10.0, 60.0]).draw(layout)),
        ];
        for (chart, drawing) in &drawings {
            let path = folder.join(format!("{chart}-{name}"));
            std::fs::write(path.with_extension("svg"), plot::svg::file(drawing)).expect("the folder can be written");
            let png = plot::png::encode(drawing, 1.5).expect("a picture");
            std::fs::write(path.with_extension("png"), png).expect("the folder can be written");
        }
    }
}
