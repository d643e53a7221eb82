//! A survey as charts: live bytes, sizes, lifetimes, frees on other CPUs; on one sheet, or on a page.
//!
//! Called by: the program's `info`.

use crate::error::{Error, IoExt};
use crate::survey::{KindSurvey, NR_LIFETIMES, Survey};
use figures::{Bytes, Count, Percent};
use plot::drawing::Shape;
use plot::{Axis, Band, Column, ColumnChart, Drawing, Head, Layout, LineChart, Point, Series, Unit};
use std::fmt::Write;
use std::fs;
use std::path::Path;

/// Space between two charts of a sheet, in pixels.
const GAP: f64 = 24.0;
const REMARK: &str =
    "A recording has no clock: its course is counted in events. What was live at its end is freed there.";

/// Draws `survey` of the recording `name` into the file `path`, as the end of its name says: `.svg`, `.png`, `.html`.
///
/// # Errors
///
/// Another ending; the file cannot be written.
pub fn write(name: &str, survey: &Survey, path: &Path) -> Result<(), Error> {
    let bytes = match path.extension().and_then(|extension| extension.to_str()) {
        Some("svg") => plot::svg::file(&sheet(name, survey)).into_bytes(),
        Some("png") => {
            plot::png::encode(&sheet(name, survey), 2.0).map_err(std::io::Error::other).doing("draw", path)?
        }
        Some("html") => page(name, survey).into_bytes(),
        _ => {
            let source = std::io::Error::other("a plot is .svg, .png or .html");
            return Err(Error::Io { doing: "draw".into(), path: path.into(), source });
        }
    };
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder).doing("make", folder)?;
    }
    fs::write(path, bytes).doing("write", path)
}

/// The charts below one another, two beside each other, in one drawing.
fn sheet(name: &str, survey: &Survey) -> Drawing {
    let layout = Layout { width: 640.0, plot_height: 260.0, ..Layout::FULL };
    let drawings = charts(name, survey).map(|chart| chart.draw(&layout));
    let mut sheet = Drawing { width: 2.0 * layout.width + GAP, says: name.into(), ..Drawing::default() };
    for pair in drawings.chunks(2) {
        for (i, drawing) in pair.iter().enumerate() {
            let by = (i as f64 * (layout.width + GAP), sheet.height);
            sheet.shapes.extend(drawing.shapes.iter().map(|shape| moved(shape, by)));
        }
        sheet.height += pair.iter().map(|drawing| drawing.height).fold(0.0, f64::max);
    }
    // The ground of the whole, below that of each part, so that gaps are no holes.
    let mut ground = Drawing::default();
    ground.rect((0.0, 0.0), (sheet.width, sheet.height), plot::Ink::Surface, 1.0);
    sheet.shapes.splice(0..0, ground.shapes);
    sheet
}

fn moved(shape: &Shape, (dx, dy): (f64, f64)) -> Shape {
    let mut shape = shape.clone();
    let places = match &mut shape {
        Shape::Area { points, .. } | Shape::Line { points, .. } => points.as_mut_slice(),
        Shape::Mark { at, .. } | Shape::Text { at, .. } => std::slice::from_mut(at),
    };
    places.iter_mut().for_each(|place| *place = (place.0 + dx, place.1 + dy));
    shape
}

/// A page with all charts, for a desk and for a telephone.
fn page(name: &str, survey: &Survey) -> String {
    let title = plot::svg::escaped(name);
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><title>{title}</title>\n<style>\n{}\
         :root{{color-scheme:light dark}}body{{font-family:system-ui,sans-serif;max-width:48rem;margin:auto;padding:1rem}}\
         svg{{width:100%;height:auto}}.narrow{{display:none}}\
         @media(max-width:36rem){{.wide{{display:none}}.narrow{{display:block}}}}\n</style></head><body>\n<h1>{title}</h1>\n",
        *plot::svg::STYLE
    );
    for chart in charts(name, survey) {
        let head = chart.head();
        let _ = write!(
            html,
            "<h2>{}</h2>\n<p>{}</p>\n{}{}",
            plot::svg::escaped(&head.title),
            plot::svg::escaped(&head.subtitle),
            plot::svg::inline(&chart.draw(&Layout::WIDE), "wide"),
            plot::svg::inline(&chart.draw(&Layout::NARROW), "narrow")
        );
    }
    let _ = writeln!(html, "<p><small>{REMARK}</small></p></body></html>");
    html
}

enum Chart {
    Lines(LineChart),
    Columns(ColumnChart),
}

impl Chart {
    fn draw(&self, layout: &Layout) -> Drawing {
        match self {
            Chart::Lines(chart) => chart.draw(layout),
            Chart::Columns(chart) => chart.draw(layout),
        }
    }

    fn head(&self) -> &Head {
        match self {
            Chart::Lines(chart) => &chart.head,
            Chart::Columns(chart) => &chart.head,
        }
    }
}

fn charts(name: &str, survey: &Survey) -> [Chart; 4] {
    [Chart::Lines(course(name, survey)), sizes(survey), Chart::Lines(lifetimes(survey)), cross(survey)]
}

fn course(name: &str, survey: &Survey) -> LineChart {
    let points = |bytes: fn(&crate::survey::Moment) -> u64| {
        let moments = survey.moments.iter();
        moments.map(|moment| Point::at(moment.nr_events as f64, bytes(moment) as f64)).collect::<Vec<_>>()
    };
    let summary = &survey.summary;
    // Where it is wide enough to be seen.
    let end = (survey.nr_live_at_end > summary.nr_events / 50).then(|| Band {
        from: (summary.nr_events - survey.nr_live_at_end) as f64,
        to: f64::INFINITY,
        name: "end: what is live is freed".into(),
    });
    LineChart {
        head: Head {
            title: format!("{name}: at most {} are live", Bytes(summary.peak_live_bytes)),
            subtitle: format!(
                "{} events of {} CPUs, {} objects, {} page runs",
                Count(summary.nr_events),
                survey.nr_cpus,
                Count(survey.kinds[0].nr),
                Count(survey.kinds[1].nr)
            ),
            remark: REMARK.into(),
            ..Head::default()
        },
        x: Axis::linear("events since the start", Unit::Plain),
        y: Axis::linear("live bytes", Unit::Bytes),
        series: vec![
            Series { is_ours: true, ..Series::line("both", points(|moment| moment.bytes())) }.filled(),
            Series { mark: None, ..Series::numbered("page runs", points(|moment| moment.page_bytes), 1) },
            Series { mark: None, ..Series::numbered("objects", points(|moment| moment.object_bytes), 2) },
        ],
        bands: end.into_iter().collect(),
    }
}

/// Powers of two of the size, from the first to the last that occurs.
fn occurring<T>(all: &[T], is_there: impl Fn(&T) -> bool) -> std::ops::Range<usize> {
    let first = all.iter().position(&is_there).unwrap_or(0);
    first..all.iter().rposition(is_there).map_or(first, |last| last + 1)
}

fn size_name(log2: usize) -> String {
    Unit::Bytes.show((1u64 << log2) as f64)
}

fn sizes(survey: &Survey) -> Chart {
    let counts = &survey.summary.nr_by_log2_size;
    let range = occurring(counts, |&count| count > 0);
    let most = range.clone().max_by_key(|&log2| counts[log2]).unwrap_or(0);
    let share = Percent(counts[most], survey.summary.nr_objects);
    Chart::Columns(ColumnChart {
        head: Head {
            title: format!("{share} of all allocations have {} to just below {}", size_name(most), size_name(most + 1)),
            subtitle: "objects and page runs by size".into(),
            ..Head::default()
        },
        x_label: "size: from this on, to the next".into(),
        y: Axis::linear("allocations", Unit::Plain),
        columns: range.map(|log2| Column { name: size_name(log2), value: counts[log2] as f64 }).collect(),
        series: 0,
    })
}

fn lifetimes(survey: &Survey) -> LineChart {
    let points = |kind: &KindSurvey| {
        let all = kind.lifetimes.count().max(1) as f64;
        let mut sum = 0;
        let counts = kind.by_log2_lifetime.iter().take(NR_LIFETIMES).enumerate();
        let points = counts.map(|(log2, &count)| {
            sum += count;
            Point::at((2u64 << log2) as f64, sum as f64 / all)
        });
        let end = kind.lifetimes.max().max(1).ilog2() as usize + 1;
        points.take(end).collect::<Vec<_>>()
    };
    let [objects, runs] = &survey.kinds;
    LineChart {
        head: Head {
            title: format!("Half of the objects live for at most {} events", Count(objects.lifetimes.percentile(50))),
            subtitle: format!(
                "half of the page runs for {}; {} that were live at the end are left out",
                Count(runs.lifetimes.percentile(50)),
                Count(survey.nr_live_at_end)
            ),
            ..Head::default()
        },
        x: Axis::log("lifetime in events", Unit::Plain),
        y: Axis::linear("freed by then", Unit::Percent).including(&[1.0]),
        series: vec![Series::numbered("page runs", points(runs), 1), Series::numbered("objects", points(objects), 2)],
        bands: Vec::new(),
    }
}

fn cross(survey: &Survey) -> Chart {
    let counts = &survey.freed_by_log2_size;
    let (nr_cross, nr_frees) = survey.cross();
    let range = occurring(counts, |&(freed, _)| freed > 0);
    let column = |log2: usize| {
        let (freed, cross) = counts[log2];
        Column { name: size_name(log2), value: cross as f64 / freed.max(1) as f64 }
    };
    Chart::Columns(ColumnChart {
        head: Head {
            title: format!("{} are freed on another CPU than they were allocated on", Percent(nr_cross, nr_frees)),
            subtitle: "part of what was freed before the end, by size".into(),
            ..Head::default()
        },
        x_label: "size: from this on, to the next".into(),
        y: Axis::linear("freed on another CPU", Unit::Percent),
        columns: range.map(column).collect(),
        series: 3,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const REAL: &[u8] = include_bytes!("../../../tests/data/fork-exec-small.kmt");

    #[test]
    fn each_kind_of_file_is_drawn_and_another_is_refused() {
        let survey = Survey::of(REAL).expect("a good recording");
        let folder = std::env::temp_dir().join(format!("bandolier-charts-{}", std::process::id()));
        for (name, start) in [("a.svg", &b"<svg"[..]), ("a.png", b"\x89PNG"), ("sub/a.html", b"<!doctype html>")] {
            let path = folder.join(name);
            write("fork-exec-small.kmt", &survey, &path).expect("room");
            assert!(fs::read(&path).expect("the file").starts_with(start), "{name}");
        }
        assert!(write("x", &survey, &folder.join("a.gif")).is_err());
        fs::remove_dir_all(folder).expect("ours");
    }

    #[test]
    fn the_sheet_has_every_chart_inside() {
        let survey = Survey::of(REAL).expect("a good recording");
        let sheet = sheet("fork-exec-small.kmt", &survey);
        let texts: Vec<_> = sheet
            .shapes
            .iter()
            .filter_map(|shape| match shape {
                Shape::Text { at, text, .. } => Some((*at, text.as_str())),
                _ => None,
            })
            .collect();
        for part in ["live bytes", "allocations", "lifetime in events", "freed on another CPU"] {
            assert!(texts.iter().any(|(_, text)| text.contains(part)), "{part} is missing");
        }
        assert!(texts.iter().all(|((x, y), _)| (0.0..=sheet.width).contains(x) && (0.0..=sheet.height).contains(y)));
    }

    #[test]
    fn an_empty_recording_is_drawn_too() {
        let mut bytes = b"KMTRACE1".to_vec();
        bytes.extend([1, 0, 0, 0]);
        bytes.resize(32, 0);
        let survey = Survey::of(&bytes).expect("nothing in it, and nothing wrong");
        assert!(page("empty & <bare>", &survey).contains("empty &amp; &lt;bare&gt;"));
        assert!(sheet("empty", &survey).height > 100.0);
    }
}
