//! Measures `mm` on the host, natively, beside other allocators, in turns within one process. See the README.

mod count;
mod handoff;
mod host;
mod locked;
mod measure;
mod options;
mod peers;
mod record;
mod report;
mod round;
mod shapes;
mod stats;
#[cfg(test)]
mod stepped;
mod waste;
mod workload;

use std::process::ExitCode;

use measure::measure;
use options::{Options, USAGE};
use peers::{ALLOCATORS, Allocator, Null};
use record::Recorder;
use round::{Crew, Round};
use workload::WORKLOADS;

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) if options.is_help => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Ok(options) => options,
        Err(error) => {
            eprintln!("{error}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), String> {
    if options.is_list {
        println!("workloads: {}", WORKLOADS.iter().map(|it| it.name).collect::<Vec<_>>().join(" "));
        println!("allocators: {}", ALLOCATORS.iter().map(|it| it.name).collect::<Vec<_>>().join(" "));
        return Ok(());
    }
    check_names(options)?;
    if options.is_count {
        return count::print(options);
    }
    if options.is_frag {
        return match waste::print(options)? {
            false if options.is_demand => Err("a goal is missed".into()),
            _ => Ok(()),
        };
    }
    host::init();
    locked::init();
    if let Some((name, workload)) = &options.probe {
        let allocator = ALLOCATORS.iter().find(|it| it.name == name).ok_or("no such allocator")?;
        host::enter_cpu(0);
        return (allocator.probe)(workload, options.recording.as_deref());
    }
    match &options.play {
        Some((workload, allocator, nr_pairs)) => play(workload, allocator, *nr_pairs),
        None => table(options),
    }
}

fn check_names(options: &Options) -> Result<(), String> {
    if !WORKLOADS.iter().any(|it| options.wants_workload(it.name)) {
        return Err(format!("no workload is called {}; see --list", options.workloads.join(" or ")));
    }
    match options.allocators.iter().find(|&wanted| ALLOCATORS.iter().all(|it| it.name != wanted)) {
        Some(unknown) => Err(format!("no allocator is called {unknown}; see --list")),
        None => Ok(()),
    }
}

/// One round on this thread alone, unmeasured.
fn play(workload: &str, allocator: &str, nr_pairs: u64) -> Result<(), String> {
    let workload = WORKLOADS.iter().find(|it| it.name == workload).ok_or("no such workload")?;
    let allocator = ALLOCATORS.iter().find(|it| it.name == allocator).ok_or("no such allocator")?;
    host::enter_cpu(0);
    (allocator.run)(&Round::new(workload.shape, nr_pairs, 1, false, allocator.name != Null::NAME), 0);
    Ok(())
}

fn table(options: &Options) -> Result<(), String> {
    // Ours and the bare harness are always there.
    let wanted = |&(i, allocator): &(usize, &Allocator)| i < 2 || options.wants_peer(allocator.name);
    let allocators: Vec<Allocator> = ALLOCATORS.iter().enumerate().filter(wanted).map(|(_, it)| *it).collect();
    let crew = Crew::new();
    let mut rows = Vec::new();
    println!("{}", report::HEAD);
    for workload in WORKLOADS.iter().filter(|it| options.wants_workload(it.name)) {
        for nr_threads in (1..=host::NR_CPUS).filter(|&n| options.nr_threads.is_none_or(|wanted| wanted == n)) {
            let row = measure(&crew, workload, nr_threads, &allocators, options.nr_reps);
            println!("{}", report::line(&row));
            rows.push(row);
        }
    }
    host::check_account();
    let locked: Vec<String> = rows.iter().filter_map(report::locked_line).collect();
    if !locked.is_empty() {
        println!("\nbeside the best of those behind one lock:\n\n{}\n{}", report::LOCKED_HEAD, locked.join("\n"));
    }
    if options.is_all {
        println!("\nall, fastest first:");
        rows.iter().for_each(|row| println!("{}", report::line_of_all(row)));
    }
    if let Some(path) = &options.json {
        let mut recorder = Recorder::begin(options.nr_reps);
        rows.iter().for_each(|row| recorder.times(row));
        recorder.finish(path)?;
    }
    Ok(())
}
