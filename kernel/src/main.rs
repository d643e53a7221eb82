//! Bandolier: a multicore kernel whose one subject is memory management.
//!
//! This binary is the composition: it boots, wires `arch`, `mm` and `smp` together ([`machine`] is where), and gives
//! them a console. It holds no algorithm; what it computes without a machine is the library beside it.
//!
//! Read [`boot`] first: it is the whole system, top-down, on one screen.

#![no_std]
#![no_main]
#![allow(unreachable_pub, reason = "in a binary `pub` can only mean: for the other modules")]

extern crate alloc;

mod baseline;
mod bench;
mod boot;
mod bootinfo;
mod chaos;
mod clock;
mod console;
mod crash;
mod debug;
mod devices;
mod hit_path;
mod idle;
mod image;
mod input;
mod machine;
mod members;
mod memtest;
mod options;
mod others;
mod per_cpu;
mod reclaim;
mod replay;
mod screen;
mod shell;
mod space;
mod stacks;
mod stress;
mod time;
mod tlb_test;
mod traps;
mod workers;
