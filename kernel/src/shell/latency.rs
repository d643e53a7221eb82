//! `latency`: how long allocations and frees take, by how deep they had to go.

use kernel::args::{ArgError, Args};
use kernel::figures::Nanos;
use kernel::histogram::Histogram;
use kernel::json;
use kernel::report::{self, Cell, Format};
use mm::latency::{Operation, Path, Scope};
use spin::mutex::SpinMutex;

use super::{Command, Out, Status};
use crate::console::println;
use crate::machine::HEAP;
use crate::{per_cpu, time};

/// The commands of this module.
pub const COMMANDS: &[Command] = &[Command {
    name: "latency",
    usage: "[on|off|reset|show] [cpu=N] [--json]",
    help: "how long allocations take, by path",
    details: "`on` begins to record, and takes 20 KiB for each CPU and cache; `off` ends it, `reset` forgets what was\n\
              recorded. An operation that leaves the loaded magazine counts as a whole for the deepest layer that it\n\
              came to: another magazine of the CPU (swap), depot, slab, or frame. Hits are not timed as they happen:\n\
              the one that ends each of these is. Every time includes what reading the clock costs, which is shown.",
    run: latency,
}];

fn latency<'a>(mut args: Args<'a>, usage: &'static str) -> Result<Status, ArgError<'a>> {
    let verb = args.word();
    let cpu = args.number("cpu", 0..=smp::MAX_CPUS as u64 - 1)?;
    let format = Format::json_if(args.flag("--json"));
    args.finish(usage)?;
    match verb {
        Some("on") => match HEAP.record_latency() {
            Ok(()) => println!("latency: on, {} frames for the samples", HEAP.nr_latency_frames()),
            Err(error) => {
                println!("latency: {error}");
                return Ok(Status::Failed);
            }
        },
        Some("off") => HEAP.stop_recording_latency(),
        Some("reset") => HEAP.reset_latency(),
        None | Some("show") => {
            let scope = match cpu {
                None => Scope::Heap,
                Some(cpu) if per_cpu::all().any(|area| area.cpu.index() == cpu as usize) => Scope::Cpu(cpu as usize),
                Some(cpu) => {
                    println!("latency: there is no cpu {cpu}");
                    return Ok(Status::Usage);
                }
            };
            return Ok(show(scope, format));
        }
        Some(other) => {
            println!("latency: `{other}` is none of on, off, reset, show");
            return Ok(Status::Usage);
        }
    }
    Ok(Status::Ok)
}

/// Prints what was recorded of `scope`.
pub(super) fn show(scope: Scope, format: Format) -> Status {
    /// Here and not on the stack, of which it would be an eighth.
    static SCRATCH: SpinMutex<Histogram> = SpinMutex::new(Histogram::new());
    const COLUMNS: [report::Column; 11] = [
        ("of", "scope"),
        ("no.", "number"),
        ("operation", "operation"),
        ("path", "path"),
        ("samples", "samples"),
        ("mean", "mean"),
        ("p50", "p50"),
        ("p90", "p90"),
        ("p99", "p99"),
        ("p99.9", "p999"),
        ("max", "max"),
    ];
    let Some(frequency) = time::frequency() else {
        println!("latency: nobody knows how fast the clock is");
        return Status::Failed;
    };
    let (name, number) = match scope {
        Scope::Heap => ("heap", 0),
        Scope::Cpu(cpu) => ("cpu", cpu as u64),
        Scope::Cache(id) => ("cache", u64::from(id)),
    };
    let time = |ticks| Cell::Nanos(frequency.nanoseconds(ticks));
    let printed = report::table(&mut Out, format, "latency", COLUMNS, |row| {
        for operation in Operation::ALL {
            for path in Path::ALL {
                let mut histogram = SCRATCH.lock();
                histogram.clear();
                HEAP.add_latency_to(scope, operation, path, &mut histogram);
                if histogram.count() > 0 {
                    row([
                        Cell::Text(&name),
                        Cell::Id(number),
                        Cell::Text(&operation.name()),
                        Cell::Text(&path.name()),
                        Cell::Count(histogram.count()),
                        time(histogram.mean()),
                        time(histogram.quantile(50, 100)),
                        time(histogram.quantile(90, 100)),
                        time(histogram.quantile(99, 100)),
                        time(histogram.quantile(999, 1000)),
                        time(histogram.max()),
                    ]);
                }
            }
        }
    });
    let cost_ns = frequency.nanoseconds(HEAP.clock_cost());
    let is_on = HEAP.is_recording_latency();
    let printed = printed.and_then(|()| match format {
        Format::Json => json::line(&mut Out, |object| {
            object.text("kind", "latency_clock");
            object.boolean("recording", is_on);
            object.number("cost_ns", cost_ns);
            object.number("frequency_hz", frequency.hz);
            object.number("memory_frames", HEAP.nr_latency_frames());
        }),
        Format::Text => {
            let state = if is_on { "on" } else { "off" };
            println!("latency: recording is {state}; {} of each time are the clock's own", Nanos(cost_ns));
            Ok(())
        }
    });
    if printed.is_ok() { Status::Ok } else { Status::Failed }
}
