//! Page tables that hang in no tree: those that are to be linked, and those that were and wait to be used again.
//!
//! A table that was ever linked is not given back: a walk on another CPU may be in it still. It is used again, for a table
//! of the same level only, so that such a walk meets an entry of that level, of somebody else's addresses at worst. By
//! then no CPU's paging-structure cache knows it: it went out by a shootdown, which drops these as well.
//!
//! They are linked through their own first entries, by links that decode as no mapping and as no table:
//!
//! ```text
//!   entry 0   the next table, or 0
//!   entry 1   0 for a table that was never linked; anything else for one that was
//!   others    0
//! ```

use super::{Entry, Format, Level, PageTable, Tables};
use crate::error::Result;
use core::sync::atomic::{AtomicU64, Ordering};

/// Level by which links are encoded; any that can name a table.
const LINK: Level = Level::L2;

/// Tables for entries of one level, of one owner.
#[derive(Debug, Default)]
pub(super) struct Chain {
    head: u64,
}

/// Chains of the two levels below which there may be leaves: tables of L1, tables of L2.
pub(super) type Chains = [Chain; 2];

/// Where the tables of `level` are in an array of two.
pub(super) fn index(level: Level) -> usize {
    match level {
        Level::L1 => 0,
        Level::L2 => 1,
        Level::L3 | Level::L4 => panic!("no leaf has a table of {level:?} below it"),
    }
}

impl<F: Format, T: Tables> PageTable<F, T> {
    /// A table full of zeroes, to be linked as one of `level`: one that was used before, or a new one, which counts from
    /// here on.
    pub(super) fn take_table(&self, level: Level) -> Result<(u64, bool)> {
        if let Some(spares) = self.spares_of(level)
            && let Some(table) = self.pop_spare(spares)
        {
            return Ok((table, true));
        }
        let table = self.tables.alloc_table()?;
        self.nr_tables.fetch_add(1, Ordering::Relaxed);
        Ok((table, false))
    }

    /// Takes back a table of `level` from [`take_table`](Self::take_table) that was not linked since, full of zeroes.
    pub(super) fn return_table(&self, level: Level, table: u64, was_linked: bool) {
        if was_linked {
            self.keep_table(level, table);
        } else {
            self.nr_tables.fetch_sub(1, Ordering::Relaxed);
            self.tables.free_table(table);
        }
    }

    /// Keeps a table of `level` that was linked, and is full of zeroes, for later.
    pub(super) fn keep_table(&self, level: Level, table: u64) {
        match self.spares_of(level) {
            Some(spares) => self.push_spares(spares, table, table),
            None => panic!("a table of {level:?} does not come back"),
        }
    }

    /// Adds a table to a chain of the caller's; `was_linked` is remembered.
    pub(super) fn chain(&self, chain: &mut Chain, table: u64, was_linked: bool) {
        let mark = if was_linked { self.format.quarantined_table(LINK, table) } else { 0 };
        self.entry(table, 1).store(mark, Ordering::Relaxed);
        self.set_link(table, chain.head);
        chain.head = table;
    }

    /// Takes a table off a chain of the caller's, full of zeroes, and whether it was linked.
    pub(super) fn unchain(&self, chain: &mut Chain) -> Option<(u64, bool)> {
        let table = chain.head;
        if table == 0 {
            return None;
        }
        chain.head = self.take_link(table);
        let was_linked = self.entry(table, 1).swap(0, Ordering::Relaxed) != 0;
        Some((table, was_linked))
    }

    /// Takes the first spare table. All are taken off and the rest put back: to take one alone, two who do so at a time
    /// would have to agree on what comes next (the ABA problem).
    fn pop_spare(&self, spares: &AtomicU64) -> Option<u64> {
        // Acquire: the links were written before.
        let table = spares.swap(0, Ordering::Acquire);
        if table == 0 {
            return None;
        }
        let rest = self.take_link(table);
        if rest != 0 {
            let mut last = rest;
            while let Some(next) = self.link(last) {
                last = next;
            }
            self.push_spares(spares, rest, last);
        }
        Some(table)
    }

    /// Puts a chain of tables, from `first` to `last`, before the spare ones.
    fn push_spares(&self, spares: &AtomicU64, first: u64, last: u64) {
        let mut head = spares.load(Ordering::Relaxed);
        loop {
            self.set_link(last, head);
            match spares.compare_exchange_weak(head, first, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    fn set_link(&self, table: u64, next: u64) {
        let link = if next == 0 { 0 } else { self.format.quarantined_table(LINK, next) };
        self.entry(table, 0).store(link, Ordering::Relaxed);
    }

    fn link(&self, table: u64) -> Option<u64> {
        match self.format.decode(LINK, self.entry(table, 0).load(Ordering::Relaxed)) {
            Entry::QuarantinedTable(next) => Some(next),
            _ => None,
        }
    }

    fn take_link(&self, table: u64) -> u64 {
        let next = self.link(table).unwrap_or(0);
        self.entry(table, 0).store(0, Ordering::Relaxed);
        next
    }

    fn spares_of(&self, level: Level) -> Option<&AtomicU64> {
        match level {
            Level::L1 | Level::L2 => Some(&self.spares[index(level)]),
            Level::L3 | Level::L4 => None,
        }
    }
}
