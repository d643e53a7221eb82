//! `bandolier-report COMMAND ...`: recordings of benchmark runs as a page, and two of them compared.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use plot::{png, svg};
use report::load::{Run, load};
use report::{compare, page};

const USAGE: &str = "\
bandolier-report page OUT FILE..          one page of all runs; its plots as SVG and PNG in a folder beside it
bandolier-report compare A B [OPTIONS]    B against A; exit status 0: not worse, 1: worse, 2: not to be compared
  --threshold PERCENT   what is no more than that is not worse (5)
  --reference NAME      the contender of the same run that times of emulated runs are divided by
  --counts              judge exact counts alone, and no time
  --force               compare although machine or settings differ
bandolier-report list FILE..              a line for each run";

/// Pixels of a PNG for each of a drawing.
const PNG_SCALE: f32 = 2.0;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["page", out, files @ ..] if !files.is_empty() => write_page(Path::new(out), files),
        ["compare", words @ ..] => compare_files(words),
        ["list", files @ ..] if !files.is_empty() => list(files),
        ["--help" | "-h"] => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => Err(USAGE.to_owned()),
    };
    result.unwrap_or_else(|error| {
        eprintln!("{error}");
        ExitCode::from(2)
    })
}

fn load_all(files: &[&str]) -> Result<Vec<Run>, String> {
    let runs = files.iter().map(|file| load(Path::new(file)).map_err(|error| error.to_string()));
    Ok(runs.collect::<Result<Vec<_>, _>>()?.concat())
}

fn write_page(out: &Path, files: &[&str]) -> Result<ExitCode, String> {
    let runs = load_all(files)?;
    let sections = page::sections(&runs);
    let folder = out.with_extension("plots");
    let say = |path: &Path, error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    fs::create_dir_all(&folder).map_err(|error| say(&folder, &error))?;
    let write = |path: PathBuf, bytes: &[u8]| fs::write(&path, bytes).map_err(|error| say(&path, &error));
    let mut nr_plots = 0;
    for section in &sections {
        for plot in section.plots() {
            let drawing = plot.alone(&section.run.recording.meta.command);
            let file = |extension: &str| folder.join(format!("{}.{extension}", plot.slug));
            write(file("svg"), svg::file(&drawing).as_bytes())?;
            let picture = png::encode(&drawing, PNG_SCALE).map_err(|error| say(&file("png"), &error))?;
            write(file("png"), &picture)?;
            nr_plots += 1;
        }
    }
    let name = folder.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let command = format!("just report {}", files.join(" "));
    write(out.to_owned(), page::html(&sections, &name, &command).as_bytes())?;
    println!(
        "{}: {} runs, {nr_plots} plots, each also as SVG and PNG in {}",
        out.display(),
        runs.len(),
        folder.display()
    );
    Ok(ExitCode::SUCCESS)
}

fn compare_files(words: &[&str]) -> Result<ExitCode, String> {
    let (files, options) = compare::Options::parse(words).map_err(|error| format!("{error}\n\n{USAGE}"))?;
    let [a, b] = files.map(|file| load(Path::new(file)).map_err(|error| error.to_string()));
    let verdict = compare::compare(&a?, &b?, &options);
    print!("{verdict}");
    Ok(ExitCode::from(verdict.exit_code()))
}

fn list(files: &[&str]) -> Result<ExitCode, String> {
    for run in load_all(files)? {
        let (meta, recording) = (&run.recording.meta, &run.recording);
        let end = match &recording.end {
            None => "cut off",
            Some(end) if end.is_stopped => "stopped",
            Some(end) if end.is_pass => "passed",
            Some(_) => "FAILED",
        };
        let when = meta.unix_s.map_or("date not known".into(), report::machine::date);
        let revision = meta.revision.as_deref().unwrap_or("revision not known");
        let nr_rows = recording.rows.len();
        println!(
            "{}: {} on {} ({}), {when}, {revision}: {nr_rows} rows, {end}",
            run.origin, meta.source, meta.cpu, meta.platform
        );
    }
    Ok(ExitCode::SUCCESS)
}
