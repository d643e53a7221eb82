//! The checks, in order. `first_cpu` is entered with the state that `state` caught at the first instruction.

mod files;
mod image;
mod mappings;
mod memory_map;
mod processors;
mod report;
mod requests;
mod responses;
mod state;

use self::report::Report;
use self::state::State;

/// Runs every check on the boot processor, then on the others.
extern "C" fn first_cpu(state: &State) -> ! {
    let mut report = Report::new();
    responses::check(&mut report);
    let Some(memory) = memory_map::check(&mut report) else { report.finish() };
    state.check(&mut report, "bsp", &memory, 0);
    mappings::check(&mut report, &memory, state.cr3);
    image::check(&mut report, &memory, state.cr3);
    files::check(&mut report, &memory);
    processors::check(&mut report, &memory, state);
    report.finish()
}
