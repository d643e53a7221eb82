//! `bandolier-trace record OUT -- COMMAND`, `bandolier-trace info FILE`: the recipes `record-trace` and `trace-info`.

use recorder::options::{self, InfoRequest, Task};
use recorder::{info, janitor, record, told};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn main() -> ExitCode {
    let task = match options::parse(std::env::args_os().skip(1)) {
        Ok(task) => task,
        Err(error) => {
            eprintln!("error: {error}\n{}", options::USAGE);
            return ExitCode::from(125);
        }
    };
    match task {
        Task::Help => {
            println!("{}", options::USAGE);
            ExitCode::SUCCESS
        }
        Task::Janitor(dir) => ExitCode::from(u8::from(!janitor::run(&dir))),
        Task::Info(request) => describe(&request),
        Task::Record(request) => {
            // The name of this program, even if it has been replaced since it was started.
            match record::record(&request, Path::new("/proc/self/exe")) {
                Ok(outcome) => {
                    eprint!("{}", told::Told { path: &request.out, outcome: &outcome });
                    ExitCode::from(outcome.exit_code)
                }
                Err(error) => {
                    eprintln!("bandolier-trace: error: {error}");
                    ExitCode::from(error.exit_code())
                }
            }
        }
    }
}

fn describe(request: &InfoRequest) -> ExitCode {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    match info::describe(request, &target.join("bench")) {
        Ok(info) => {
            // A reader that has seen enough, such as `head`, is no failure.
            let _ = std::io::stdout().write_all(info.text.as_bytes());
            if let Some(path) = info.plot {
                eprintln!("plot: {}", path.display());
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("bandolier-trace: error: {error}");
            ExitCode::FAILURE
        }
    }
}
