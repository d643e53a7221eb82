//! Boots a Limine-protocol kernel straight from `qemu-system-x86_64 -kernel loader -initrd archive.tar`.
//!
//! The binary is the machine's side: entry, memory, processors, hand-over (`machine`). What needs no hardware is the
//! library beside it. Only the bare-metal target makes a loader; on a host this is a program that says so, which lets
//! `cargo build` and `cargo clippy` take the whole workspace.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod machine;

#[cfg(not(target_os = "none"))]
fn main() -> std::process::ExitCode {
    eprintln!("The loader runs on bare metal: cargo build -p loader --release --target x86_64-unknown-none");
    std::process::ExitCode::FAILURE
}
