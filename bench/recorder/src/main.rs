//! `bandolier-trace record OUT -- COMMAND`, `bandolier-trace info FILE`: the recipes `record-trace` and `trace-info`.

use recorder::options::{self, Task};
use recorder::{janitor, record, told};
use std::path::Path;
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
        Task::Info(_) => ExitCode::SUCCESS,
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
