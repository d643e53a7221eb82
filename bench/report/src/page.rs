//! The page: a section for each run, in the order in which they were given, in one file without anything from elsewhere.

use std::fmt::Write as _;

use plot::svg::{STYLE, escaped};

use crate::html::{Plot, slug};
use crate::load::Run;
use crate::people::Colours;
use crate::{charts, instructions, latency, machine, overview, rows, waste};

/// A run with its plots.
#[derive(Clone, Debug)]
pub struct Section<'r> {
    /// The run.
    pub run: &'r Run,
    /// What its plots are called by: a prefix of theirs.
    pub slug: String,
    /// Under headings, in order.
    pub chapters: Vec<(&'static str, Vec<Plot>)>,
}

impl Section<'_> {
    /// All its plots.
    pub fn plots(&self) -> impl Iterator<Item = &Plot> {
        self.chapters.iter().flat_map(|(_, plots)| plots)
    }
}

/// Makes all plots of all runs.
pub fn sections(runs: &[Run]) -> Vec<Section<'_>> {
    let mut colours = Colours::default();
    runs.iter().enumerate().map(|(number, run)| section(number, run, &mut colours)).collect()
}

fn section<'r>(number: usize, run: &'r Run, colours: &mut Colours) -> Section<'r> {
    let (recording, meta) = (&run.recording, &run.recording.meta);
    let workloads = rows::workloads(recording);
    let mut cpus = rows::unique(workloads.iter().flat_map(rows::Workload::cpus));
    cpus.sort_unstable();
    let mut shown = vec![cpus.first().copied().unwrap_or(1), machine::most_cpus(meta, &cpus)];
    shown.dedup();
    let overviews = shown.iter().filter_map(|&cpus| overview::plot(meta, &workloads, cpus, colours)).collect();
    let mut plots = |is_throughput: bool| {
        let wanted = workloads.iter().filter(|workload| workload.is_throughput() == is_throughput);
        wanted.flat_map(|workload| charts::plots(meta, workload, colours)).collect::<Vec<_>>()
    };
    let (throughput, cost) = (plots(true), plots(false));
    let mut chapters = vec![
        ("At a glance", overviews),
        ("Throughput", throughput),
        ("Cost of single operations", cost),
        ("Instructions", instructions::plot(recording, colours).into_iter().collect()),
        ("Latency", latency::plots(meta, &recording.latencies)),
        ("Memory", waste::plots(meta, &recording.wastes, colours)),
    ];
    chapters.retain(|(_, plots): &(_, Vec<Plot>)| !plots.is_empty());
    let prefix = format!("{}-{}", number + 1, slug(&meta.source));
    // Names that differ only in what a slug has not get a number.
    let mut taken = Vec::new();
    for plot in chapters.iter_mut().flat_map(|(_, plots)| plots) {
        let wanted = format!("{prefix}-{}", plot.slug);
        let same =
            |slug: &String| *slug == wanted || slug.strip_prefix(&wanted).is_some_and(|rest| rest.starts_with("--"));
        plot.slug = match taken.iter().filter(|slug| same(slug)).count() {
            0 => wanted,
            nr => format!("{wanted}--{}", nr + 1),
        };
        taken.push(plot.slug.clone());
    }
    Section { run, slug: prefix, chapters }
}

/// The page. `folder` is where its plots lie as files, `command` what made it.
pub fn html(sections: &[Section<'_>], folder: &str, command: &str) -> String {
    let mut out = String::from("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    out.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    out.push_str("<meta name=\"color-scheme\" content=\"light dark\">\n<title>Bandolier: benchmarks</title>\n");
    let _ = writeln!(out, "<style>\n{}{}</style>\n</head>\n<body>", *STYLE, CSS);
    out.push_str("<header><h1>Bandolier: benchmarks</h1>\n");
    let _ = writeln!(
        out,
        "<p>Medians, with the middle half of the repetitions. Nothing is left out; where a peer is ahead it says so. \
         Below each plot stand its numbers and the command that makes them again. This page: <code>{}</code></p>",
        escaped(command)
    );
    out.push_str("<nav aria-label=\"Contents\">\n");
    sections.iter().for_each(|section| write_contents(&mut out, section));
    out.push_str("</nav></header>\n<main>\n");
    sections.iter().for_each(|section| write_section(&mut out, section, folder));
    out.push_str("</main>\n</body>\n</html>\n");
    out
}

/// What ran and where, in a line.
pub fn title(section: &Section<'_>) -> String {
    let meta = &section.run.recording.meta;
    let where_ = if meta.is_emulated { format!("{}, emulated", meta.platform) } else { meta.platform.to_string() };
    match meta.source.as_ref() {
        "native" => format!("Native, a program on a host: {}", meta.cpu),
        "kernel" => format!("In the kernel, {} CPUs, {where_}: {}", meta.nr_cpus, meta.cpu),
        other => format!("{other}: {}", meta.cpu),
    }
}

fn write_contents(out: &mut String, section: &Section<'_>) {
    let _ = write!(
        out,
        "<details><summary><a href=\"#{}\">{}</a> <small class=\"file\">{}</small></summary>\n<ul>",
        section.slug,
        escaped(&title(section)),
        escaped(&section.run.origin)
    );
    for plot in section.plots() {
        let _ = write!(out, "<li><a href=\"#{}\">{}</a></li>", plot.slug, escaped(&plot.title));
    }
    out.push_str("</ul></details>\n");
}

fn write_section(out: &mut String, section: &Section<'_>, folder: &str) {
    let recording = &section.run.recording;
    let command = recording.meta.command.as_ref();
    let _ = writeln!(out, "<section id=\"{}\">\n<h2>{}</h2>", section.slug, escaped(&title(section)));
    let _ = writeln!(out, "<p class=\"sub\"><span class=\"file\">{}</span></p>", escaped(&section.run.origin));
    for alarm in machine::alarms(recording) {
        let _ = writeln!(out, "<p class=\"alarm\" role=\"alert\">{}</p>", escaped(&alarm));
    }
    for caveat in machine::caveats(recording) {
        let _ = writeln!(out, "<p class=\"caveat\">{}</p>", escaped(&caveat));
    }
    for remark in &recording.remarks {
        let _ = writeln!(out, "<p class=\"caveat\">Said by the run: {}</p>", escaped(&remark.text));
    }
    let _ = writeln!(
        out,
        "<details><summary>Machine and settings</summary>\n{}</details>",
        machine::table(&recording.meta).html()
    );
    let _ = writeln!(out, "<p class=\"command\">Made again by <code>{}</code></p>", escaped(command));
    if section.chapters.is_empty() {
        out.push_str("<p class=\"caveat\">There is nothing to plot in this recording.</p>\n");
    }
    for (heading, plots) in &section.chapters {
        let _ = writeln!(out, "<h3 class=\"chapter\">{}</h3>", escaped(heading));
        plots.iter().for_each(|plot| out.push_str(&plot.html(command, folder)));
    }
    out.push_str("</section>\n");
}

/// The page's own style: one column, wide enough for a plot; the narrow drawings where that does not fit.
const CSS: &str = "\
:root{color-scheme:light dark;--ground:#f5f6f7;--card:#fff;--ink:#1c1e21;--soft:#575e66;--edge:#dfe3e7;--link:#0066a8;--alarm:#a01414;--alarm-ground:#fdecec;--caveat:#8a6d00;--code:#eef0f2;--shadow:#0005}
@media (prefers-color-scheme:dark){:root{--ground:#0f1216;--card:#161a1f;--ink:#e8eaed;--soft:#a3abb4;--edge:#30363d;--link:#62b8f2;--alarm:#ff9c9c;--alarm-ground:#3a1518;--caveat:#e3c34d;--code:#22282f;--shadow:#93a1b266}}
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--ink);font:16px/1.5 \"Noto Sans\",system-ui,-apple-system,\"Segoe UI\",Roboto,sans-serif;overflow-wrap:break-word}
header,main{max-width:56rem;margin:0 auto;padding:0 1rem}
h1{font-size:1.7rem;line-height:1.2;margin:1.5rem 0 .5rem}
h2,h3{text-wrap:pretty}
h2{font-size:1.35rem;line-height:1.25;margin:3rem 0 .25rem;padding-top:1rem;border-top:3px solid var(--ink)}
h3{font-size:1.08rem;line-height:1.35;margin:0}
h3.chapter{font-size:.85rem;letter-spacing:.06em;text-transform:uppercase;color:var(--soft);margin:2.5rem 0 .75rem}
p{margin:.5rem 0}
a{color:var(--link)}
code{background:var(--code);border-radius:3px;padding:.1em .3em;font-size:.9em;font-family:ui-monospace,\"DejaVu Sans Mono\",Menlo,Consolas,monospace}
nav details{margin:.25rem 0}
nav ul{margin:.25rem 0 .75rem;padding-left:1.25rem;font-size:.92rem}
nav li{margin:.2rem 0}
figure{margin:0 0 1.5rem;padding:1.1rem 1.25rem .9rem;background:var(--card);border:1px solid var(--edge);border-radius:8px;scroll-margin-top:.5rem}
figcaption{margin-bottom:.5rem}
.sub{color:var(--soft);font-size:.9rem;margin:.15rem 0 .5rem}
.remark,.command{color:var(--soft);font-size:.88rem;margin:.4rem 0}
.caveat{border-left:4px solid var(--caveat);padding:.1rem 0 .1rem .75rem;margin:.6rem 0;font-size:.95rem}
.alarm{border:2px solid var(--alarm);background:var(--alarm-ground);color:var(--alarm);font-weight:700;border-radius:6px;padding:.6rem .9rem}
svg.plot{display:block;width:100%;height:auto}
svg.narrow{display:none}
.file{display:inline-block;max-width:100%;overflow-wrap:anywhere}
.scroll{overflow-x:auto;margin:.6rem 0;scrollbar-width:thin;--below:var(--card);background:linear-gradient(to left,var(--below) 55%,transparent) right/3rem 100% no-repeat local,linear-gradient(to left,var(--shadow),transparent) right/1.4rem 100% no-repeat scroll}
section>details .scroll{--below:var(--ground)}
.hint{color:var(--soft);font-size:.82rem;margin:.6rem 0 -.35rem}
.hint.narrow{display:none}
table{border-collapse:separate;border-spacing:0;font-size:.86rem;font-variant-numeric:tabular-nums}
th,td{text-align:right;padding:.22rem .7rem;border-bottom:1px solid var(--edge);font-weight:400;white-space:nowrap}
thead th{color:var(--soft);border-bottom:2px solid var(--edge);vertical-align:bottom}
th.name,td.name{text-align:left}
th:first-child{padding-left:.1rem;position:sticky;left:0;background:var(--below);z-index:1}
tr.strong th,tr.strong td{font-weight:700}
section>details table td{white-space:normal}
summary{cursor:pointer;font-size:.92rem;color:var(--soft)}
nav summary{font-size:1rem}
@media (max-width:640px){header,main{padding:0 .6rem}figure{padding:.8rem .65rem .6rem;border-radius:6px}svg.wide{display:none}svg.narrow,.hint.narrow{display:block}h1{font-size:1.4rem}th,td{padding:.22rem .5rem}}
@media print{figure{break-inside:avoid;border:0}nav{display:none}}
";
