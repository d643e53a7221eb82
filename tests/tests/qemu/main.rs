//! End to end: boots the kernel in QEMU, one machine at a time, and reads its serial line.
//!
//! `cargo test -p tests --test qemu [-- FILTER]` after `just build`; `just test-qemu [FILTER]` does both. Each test's
//! name is printed before it runs. A failure shows what was expected, the end of the serial log and the line that
//! boots the same machine again. Every machine has a time limit; tests assert invariants and counts, not times.

mod accounting;
mod bench;
mod bench_machine;
mod boot;
mod clock;
mod console;
mod debug;
mod fault;
mod image;
mod input;
mod memtest;
mod oracle;
mod qr;
mod replay;
mod screen;
mod shell;
mod smp;
mod smp_told;
mod space;
mod stick;
mod stress;
mod support;
mod tlb;
mod tlb_test;
mod vmmap;

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Instant;
use support::{Outcome, Passed, Test};

fn main() -> ExitCode {
    let (flags, filters): (Vec<String>, Vec<String>) = std::env::args().skip(1).partition(|a| a.starts_with('-'));
    let groups = [
        boot::tests(),
        clock::tests(),
        shell::tests(),
        input::tests(),
        accounting::tests(),
        vmmap::tests(),
        console::tests(),
        replay::tests(),
        space::tests(),
        stress::tests(),
        tlb::tests(),
        tlb_test::tests(),
        memtest::tests(),
        bench::tests(),
        bench_machine::tests(),
        qr::tests(),
        oracle::tests(),
        fault::tests(),
        smp::tests(),
        smp_told::tests(),
        debug::tests(),
        image::tests(),
        screen::tests(),
        stick::tests(),
    ];
    // What takes minutes runs only when its group is named.
    let on_demand = [screen::is_on_demand, stick::is_on_demand, smp::is_on_demand, tlb_test::is_on_demand];
    let wanted = |test: &Test| match on_demand.iter().any(|is_on_demand| is_on_demand(test)) {
        true => filters.iter().any(|f| f.starts_with(test.group()) && test.name.contains(f.as_str())),
        false => filters.is_empty() || filters.iter().any(|f| test.name.contains(f.as_str())),
    };
    let chosen: Vec<Test> = groups.into_iter().flatten().filter(wanted).collect();
    if flags.iter().any(|f| f == "--list") {
        chosen.iter().for_each(|test| println!("{}", test.name));
        return ExitCode::SUCCESS;
    }
    if chosen.is_empty() {
        println!("no test's name contains {}", filters.join(" or "));
        println!("0 passed, 1 failed");
        return ExitCode::FAILURE;
    }

    let (mut passed, mut failed, mut skipped) = (0, Vec::new(), 0);
    for test in &chosen {
        print!("{} ... ", test.name);
        // The name must be out before a machine that may hang.
        let _ = io::stdout().flush();
        let start = Instant::now();
        let outcome: Outcome = (test.run)();
        let took = start.elapsed().as_secs_f64();
        match outcome {
            Ok(Passed::Yes) => {
                println!("ok ({took:.1} s)");
                passed += 1;
            }
            Ok(Passed::Skipped(why)) => {
                println!("skipped: {why}");
                skipped += 1;
            }
            Err(failure) => {
                println!("FAIL ({took:.1} s)\n{failure}");
                failed.push(test.name.as_str());
            }
        }
    }
    if !failed.is_empty() {
        println!("failed: {}", failed.join(", "));
    }
    println!("{passed} passed, {} failed, {skipped} skipped", failed.len());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
