//! `bandolier-report COMMAND ...`: recordings of benchmark runs as a page, and two of them compared.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use plot::{png, svg};
use report::load::{Run, load, tell_apart};
use report::record::{Host, record};
use report::terminal::line;
use report::{compare, page};

const USAGE: &str = "\
bandolier-report page OUT FILE..          one page of all runs; its plots as SVG and PNG in a folder beside it;
                                          a folder is all recordings (*.jsonl) in it
bandolier-report compare A B [OPTIONS]    B against A; exit status 0: not worse, 1: worse, 2: not to be compared
  --threshold PERCENT   what is no more than that is not worse (5)
  --reference NAME      the contender of the same run that times of emulated runs are divided by
  --counts              judge exact counts alone, and no time
  --force               compare although machine or settings differ
  --all                 show the rows that do not differ, too, and every reason why two are not to be compared
bandolier-report list FILE..              a line for each run
bandolier-report record FOLDER [COMMAND]  keeps the run that is printed on standard input, made again by COMMAND";

/// Pixels of a PNG for each of a drawing: usually, and what still is a picture of a drawing that is very long.
fn png_scale(drawing: &plot::Drawing) -> f32 {
    let fitting = png::MAX_SIDE / drawing.width.max(drawing.height).max(1.0);
    // Pixels are rounded up.
    (fitting * 0.999).min(2.0) as f32
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["page", out, files @ ..] if !files.is_empty() => write_page(Path::new(out), files),
        ["compare", words @ ..] => compare_files(words),
        ["record", folder] => keep(folder, ""),
        ["record", folder, command] => keep(folder, command),
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

/// The runs of files, and of all recordings in folders, by name.
fn load_all_in(places: &[&str]) -> Result<Vec<Run>, String> {
    let mut runs = Vec::new();
    for &place in places {
        if !Path::new(place).is_dir() {
            runs.extend(load_all(&[place])?);
            continue;
        }
        let entries = fs::read_dir(place).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let entries = entries.map_err(|error| format!("{place}: {error}"))?;
        let mut paths: Vec<PathBuf> = entries.iter().map(fs::DirEntry::path).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
        paths.sort();
        for path in &paths {
            runs.extend(load(path).map_err(|error| error.to_string())?);
        }
        if paths.is_empty() {
            return Err(format!("{place}: there is no recording (*.jsonl) in it"));
        }
    }
    tell_apart(&mut runs);
    Ok(runs)
}

fn write_page(out: &Path, files: &[&str]) -> Result<ExitCode, String> {
    let runs = load_all_in(files)?;
    let sections = page::sections(&runs);
    let folder = out.with_extension("plots");
    let say = |path: &Path, error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    fs::create_dir_all(&folder).map_err(|error| say(&folder, &error))?;
    let write = |path: PathBuf, bytes: &[u8]| fs::write(&path, bytes).map_err(|error| say(&path, &error));
    remove_plots(&folder).map_err(|error| say(&folder, &error))?;
    let mut nr_plots = 0;
    for section in &sections {
        for plot in section.plots() {
            let drawing = plot.alone(&page::title(section), &section.run.recording.meta.command);
            let file = |extension: &str| folder.join(format!("{}.{extension}", plot.slug));
            write(file("svg"), svg::file(&drawing).as_bytes())?;
            let picture = png::encode(&drawing, png_scale(&drawing)).map_err(|error| say(&file("png"), &error))?;
            write(file("png"), &picture)?;
            nr_plots += 1;
        }
    }
    let name = folder.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    // All that lies beside the page is what the recipe takes by itself.
    let is_all = matches!(files, [only] if out.parent() == Some(Path::new(only)));
    let words: Vec<String> = files.iter().map(|file| quoted(file)).collect();
    let command = if is_all { "just report".into() } else { format!("just report {}", words.join(" ")) };
    write(out.to_owned(), page::html(&sections, &name, &command).as_bytes())?;
    println!(
        "{}: {} {}, {nr_plots} plots, each also as SVG and PNG in {}",
        out.display(),
        runs.len(),
        if runs.len() == 1 { "run" } else { "runs" },
        folder.display()
    );
    Ok(ExitCode::SUCCESS)
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,:=@%".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// Removes what an earlier page left in its folder: plots of runs that are not on this one.
fn remove_plots(folder: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "svg" || extension == "png") {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

fn compare_files(words: &[&str]) -> Result<ExitCode, String> {
    let (files, options) = compare::Options::parse(words).map_err(|error| format!("{error}\n\n{USAGE}"))?;
    if let Some(folder) = files.iter().find(|file| Path::new(file).is_dir()) {
        return Err(format!("{folder} is a folder: two files are compared, and a file may hold several runs"));
    }
    let [a, b] = files.map(|file| load(Path::new(file)).map_err(|error| error.to_string()));
    let verdict = compare::compare(&a?, &b?, &options);
    print!("{verdict}");
    Ok(ExitCode::from(verdict.exit_code()))
}

fn keep(folder: &str, command: &str) -> Result<ExitCode, String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let host = Host {
        folder: folder.into(),
        command: command.into(),
        unix_s: now,
        nr_cpus: std::thread::available_parallelism().ok().map(|nr| nr.get() as u64),
        revision: std::env::var("BANDOLIER_REVISION").ok().filter(|revision| !revision.is_empty()),
    };
    let (path, is_good) =
        record(std::io::stdin().lock(), std::io::stdout(), &host).map_err(|error| error.to_string())?;
    println!("recorded: {}", path.display());
    if !is_good {
        eprintln!(
            "the run did not end well, or was stopped; the recording is kept, and `just report` says how it ended"
        );
    }
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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
        let (origin, source, cpu, platform) = (&run.origin, &meta.source, &meta.cpu, &meta.platform);
        let said = format!("{origin}: {source} on {cpu} ({platform}), {when}, {revision}: {nr_rows} rows, {end}");
        println!("{}", line(&said));
    }
    Ok(ExitCode::SUCCESS)
}
