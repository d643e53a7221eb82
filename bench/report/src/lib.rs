//! Turns recordings of benchmark runs into a page, and two of them into a verdict.
//!
//! | file | what |
//! |---|---|
//! | [`load`] | files in, runs out; a damaged one is refused with its line |
//! | [`rows`] | a run's rows by workload |
//! | [`people`] | contenders: whose they are, what they are held against, their colours |
//! | [`figure`] | the quantity that is shown: throughput or cost, absolute or relative |
//! | [`stats`] | quartiles, the rank test |
//! | [`sentences`] | what a chart's title says was found |
//! | [`charts`], [`overview`], [`latency`], [`waste`] | the plots with their tables |
//! | [`instructions`] | the plot of exact counts |
//! | [`machine`] | what ran and where, and what keeps its numbers from meaning more |
//! | [`html`] | tables and figures as HTML |
//! | [`page`] | all of it together |
//! | [`terminal`] | texts of recordings where they could steer a terminal |
//! | [`record`] | keeps a run that is being printed |
//! | [`compare`] | two recordings row by row, against the noise of their repetitions |
//!
//! Rules: nothing is left out, losses least of all; a time of an emulated run is shown relative to a contender of the same
//! run that is named, never in seconds; a number stands beside the command that makes it again; every text of a recording
//! is escaped.

#![forbid(unsafe_code)]

pub mod charts;
pub mod compare;
pub mod figure;
pub mod html;
pub mod instructions;
pub mod latency;
pub mod load;
pub mod machine;
pub mod overview;
pub mod page;
pub mod people;
pub mod record;
pub mod rows;
pub mod sentences;
pub mod stats;
pub mod terminal;
pub mod waste;
