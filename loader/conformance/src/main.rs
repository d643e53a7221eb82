//! A kernel that checks, at its first instruction, what the Limine boot protocol promises a kernel.
//!
//! It says a line for each check on COM1, then `conformance: PASS` or `conformance: FAIL`, and leaves QEMU by its debug
//! exit device with status 33 or 35. It runs under this repository's loader and under Limine itself: a check that
//! Limine fails is a wrong check.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod kernel;

#[cfg(not(target_os = "none"))]
fn main() -> std::process::ExitCode {
    eprintln!("This kernel runs on bare metal: cargo build -p conformance --release --target x86_64-unknown-none");
    std::process::ExitCode::FAILURE
}
