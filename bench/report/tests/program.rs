//! The program itself: files in, files and exit status out.

mod common;

use common::{Folder, native, tiny, written};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn report(words: &[&str]) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } =
        Command::new(env!("CARGO_BIN_EXE_bandolier-report")).args(words).output().expect("the program starts");
    (status.code(), format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr)))
}

fn names(folder: &Path, extension: &str) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("the folder").map(|entry| entry.expect("an entry").path());
    let of_kind = entries.filter(|path| path.extension().is_some_and(|it| it == extension));
    let mut names: Vec<String> =
        of_kind.filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned())).collect();
    names.sort();
    names
}

#[test]
fn a_page_is_written_with_each_plot_as_svg_and_png() {
    let folder = Folder::new("page");
    let (large, small) = (folder.file("a.jsonl", &written(&native(1, 0.1))), folder.file("b.jsonl", &written(&tiny())));
    let (page, plots) = (folder.0.join("r.html"), folder.0.join("r.plots"));
    let page_word = page.display().to_string();
    let (code, said) = report(&["page", &page_word, &large, &small]);
    assert_eq!(code, Some(0), "{said}");
    let html = fs::read_to_string(&page).expect("the page");
    let (svgs, pngs) = (names(&plots, "svg"), names(&plots, "png"));
    assert!(svgs.len() > 5 && svgs == pngs, "{svgs:?} {pngs:?}");
    for name in &svgs {
        assert!(html.contains(&format!("r.plots/{name}.png")), "{name}");
        let svg = fs::read_to_string(plots.join(format!("{name}.svg"))).expect("the plot");
        assert!(svg.contains("just bench"), "its command is on it");
    }
    // A folder is all recordings in it; beside the page it is what the recipe takes by itself.
    let folder_word = folder.0.display().to_string();
    let (code, said) = report(&["page", &page_word, &folder_word]);
    assert!(code == Some(0) && said.contains("2 runs"), "{said}");
    assert!(fs::read_to_string(&page).expect("the page").contains("This page: <code>just report</code>"));
    assert_eq!(report(&["page", &page_word, &plots.display().to_string()]).0, Some(2), "no recording in it");
    // A later page leaves nothing of an earlier one.
    assert_eq!(report(&["page", &page_word, &small]).0, Some(0));
    assert_eq!(names(&plots, "svg").len(), 1);
}

#[test]
fn the_exit_status_is_the_verdict() {
    let folder = Folder::new("compare");
    let a = folder.file("a.jsonl", &written(&native(1, 0.02)));
    let mut slow = native(2, 0.02);
    slow.rows.iter_mut().filter(|row| row.contender == "mm").for_each(|row| {
        row.milliticks_per_op.to_mut().iter_mut().for_each(|milli| *milli = *milli * 6 / 5);
    });
    let slow = folder.file("slow.jsonl", &written(&slow));
    let other = folder.file("other.jsonl", &written(&tiny()));
    assert_eq!(report(&["compare", &a, &a]).0, Some(0));
    let (code, said) = report(&["compare", &a, &slow]);
    assert!(code == Some(1) && said.contains("WORSE: slower"), "{said}");
    assert_eq!(report(&["compare", &a, &slow, "--threshold", "30"]).0, Some(0));
    let (code, said) = report(&["compare", &a, &other]);
    assert!(code == Some(2) && said.contains("source differs: native and kernel"), "{said}");
}

#[test]
fn what_cannot_be_read_is_said_with_its_line_and_nothing_is_written() {
    let folder = Folder::new("damaged");
    let text = written(&tiny());
    let damaged = folder.file("damaged.jsonl", &text[..text.len() - 20]);
    let page = folder.0.join("r.html").display().to_string();
    for words in [&["page", &page, &damaged][..], &["compare", &damaged, &damaged], &["list", &damaged]] {
        let (code, said) = report(words);
        assert!(code == Some(2) && said.contains("damaged.jsonl: line 3: a damaged record"), "{said}");
    }
    assert!(!Path::new(&page).exists());
    for words in [&[][..], &["page", &page], &["what"], &["compare", "a"], &["compare", "a", "b", "--what"]] {
        assert_eq!(report(words).0, Some(2), "{words:?}");
    }
    let whole = folder.file("whole.jsonl", &text);
    assert!(report(&["list", &whole]).1.contains("whole.jsonl: kernel on Some CPU"));
}

#[test]
fn names_of_files_are_text_to_the_shell_and_to_the_page() {
    let folder = Folder::new("names");
    let hostile = folder.file("a <b>'s & $(x)\".jsonl", &written(&tiny()));
    let page = folder.0.join("r <i> 1.html");
    let (code, said) = report(&["page", &page.display().to_string(), &hostile]);
    assert_eq!(code, Some(0), "{said}");
    let html = fs::read_to_string(&page).expect("the page");
    assert!(
        html.contains("a &lt;b&gt;&#39;s &amp; $(x)&quot;.jsonl") && !html.contains("<b>") && !html.contains("<i>")
    );
    assert!(html.contains("&lt;b&gt;&#39;\\&#39;&#39;s"), "the command that makes it again is quoted");
    assert!(html.contains("href=\"r%20%3Ci%3E%201.plots/1-kernel-"), "and its plots are found");
    assert_eq!(names(&folder.0.join("r <i> 1.plots"), "png").len(), 1);
    let (code, said) = report(&["compare", &hostile, &folder.0.display().to_string()]);
    assert!(code == Some(2) && said.contains("is a folder"), "{said}");
    let (code, said) =
        report(&["page", &page.display().to_string(), &folder.0.join("none.jsonl").display().to_string()]);
    assert!(code == Some(2) && said.contains("none.jsonl: No such file"), "{said}");
}

#[test]
fn recordings_of_the_same_name_are_told_apart() {
    let folder = Folder::new("same");
    for part in ["before", "after"] {
        fs::create_dir(folder.0.join(part)).expect("a folder");
        folder.file(&format!("{part}/run.jsonl"), &written(&tiny()));
    }
    let other = folder.file("other.jsonl", &written(&tiny()));
    let of = |part: &str| folder.0.join(part).display().to_string();
    let page = of("r.html");
    let (code, said) = report(&["page", &page, &of("before"), &of("after/run.jsonl"), &other]);
    assert_eq!(code, Some(0), "{said}");
    let html = fs::read_to_string(&page).expect("the page");
    for name in [of("before/run.jsonl"), of("after/run.jsonl"), "other.jsonl".into()] {
        assert!(html.contains(&format!("class=\"file\">{name}<")), "{name}");
    }
}

#[test]
fn a_thousand_rows_make_a_page_with_all_its_pictures() {
    let row = |i: u64, contender: &'static str| common::row(&mut common::Random(i), ("pair", contender, 1), 100.0, 0.1);
    let named =
        |i: u64, contender| records::Throughput { workload: format!("workload {i}").into(), ..row(i, contender) };
    let mut recording = native(1, 0.1);
    // One plot with all workloads, and one with all contenders.
    recording.rows = (0..12).flat_map(|i| [named(i, "mm"), named(i, "jemalloc")]).collect();
    recording.wastes.clear();
    recording.latencies.clear();
    let one = |i: u64| records::Throughput { contender: format!("c{i}").into(), ..row(i, "mm") };
    recording.rows.extend((0..1000).map(one));
    recording.end = common::end(recording.rows.len());
    let folder = Folder::new("thousand");
    let (file, page) = (folder.file("a.jsonl", &written(&recording)), folder.0.join("r.html").display().to_string());
    let (code, said) = report(&["page", &page, &file]);
    assert_eq!(code, Some(0), "{said}");
    let plots = folder.0.join("r.plots");
    assert!(names(&plots, "png").len() >= 13 && names(&plots, "png") == names(&plots, "svg"));
    assert!(fs::read_to_string(&page).expect("the page").contains("Table of 1000 rows"));
}

#[test]
fn names_do_not_steer_a_terminal() {
    let folder = Folder::new("steer");
    let mut recording = native(1, 0.05);
    recording.rows.iter_mut().for_each(|row| row.workload = "\u{1b}[2Jx\nbench-compare: PASS".into());
    recording.meta.cpu = "\u{1b}]0;title\u{7}".into();
    let file = folder.file("a.jsonl", &written(&recording));
    let (_, compared) = report(&["compare", &file, &file, "--all"]);
    let (_, listed) = report(&["list", &file]);
    assert!(compared.contains("[2Jx") && listed.contains("]0;title"));
    assert!(!(compared.clone() + &listed).contains(['\u{1b}', '\u{7}']), "{compared}");
    assert_eq!(compared.lines().filter(|line| line.starts_with("bench-compare: ")).count(), 1, "{compared}");
}
