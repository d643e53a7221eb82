//! All counters of one cache in one snapshot, under the names that illumos' `kmem_cache` statistics have.
//!
//! The names and their meaning follow Solaris and illumos (`kstat -m unix -c kmem_cache`), so that who can read one can
//! read the other; what this allocator counts beyond them comes behind. There is no hash from object to slab here, so
//! there are no `hash_` counters.
//!
//! A snapshot stops nobody: it reads the CPUs' counters as they change, and takes the depot's and the slabs' lock for
//! a few loads each. On a busy cache figures of different layers are from slightly different moments; differences that
//! would be negative for that reason are 0. Counters that count events only grow, from one snapshot to the next, for as
//! long as the cache lives.
//!
//! A cache in the place of one that was destroyed goes on from its CPU and depot counters, in which every object has come
//! back; its slab counters begin anew.
//!
//! Called by: the kernel's shell, tests.

use crate::cpu_cache::Counters;
use crate::frame::PAGE_SIZE;
use crate::heap::Heap;
use crate::machine::Machine;

/// A cache's figures. Sizes in bytes, `buf` are objects, the rest are events so far unless said otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStatistics {
    /// Size that was asked for.
    pub buf_size: u64,
    /// Alignment that was asked for.
    pub align: u64,
    /// Distance from one object to the next.
    pub chunk_size: u64,
    /// A new slab's size.
    pub slab_size: u64,
    /// Objects handed out.
    pub alloc: u64,
    /// Allocations refused, after a reclaim had not helped either.
    pub alloc_fail: u64,
    /// Objects taken back.
    pub free: u64,
    /// Full magazines that CPUs got from the depot.
    pub depot_alloc: u64,
    /// Full magazines that CPUs left in the depot.
    pub depot_free: u64,
    /// Times the depot's lock was found held.
    pub depot_contention: u64,
    /// Objects that left the slabs.
    pub slab_alloc: u64,
    /// Objects that came back to the slabs.
    pub slab_free: u64,
    /// Slabs made.
    pub slab_create: u64,
    /// Slabs given back.
    pub slab_destroy: u64,
    /// Objects in magazines and depot now: free, and constructed.
    pub buf_constructed: u64,
    /// Free objects now: constructed ones and those in slabs.
    pub buf_avail: u64,
    /// Objects with users now, guarded ones too.
    pub buf_inuse: u64,
    /// Objects now: these, and the free ones.
    pub buf_total: u64,
    /// The most objects that the slabs have had.
    pub buf_max: u64,
    /// Full magazines in the depot now.
    pub full_magazines: u64,
    /// Empty magazines in the depot now.
    pub empty_magazines: u64,
    /// Objects in a magazine that is made now.
    pub magazine_size: u64,
    /// Times it was reaped.
    pub reap: u64,

    /// Of `alloc`, those past the magazines.
    pub alloc_direct: u64,
    /// Of `free`, those past the magazines.
    pub free_direct: u64,
    /// Of `free`, those that turned out later to be none.
    pub free_refused: u64,
    /// Magazines exchanged without leaving the CPU.
    pub cpu_swaps: u64,
    /// Visits to the depot.
    pub depot_visits: u64,
    /// Slabs there are now.
    pub slabs: u64,
    /// Of these, without an object out.
    pub slabs_empty: u64,
    /// Of these, with some objects out and some in.
    pub slabs_partial: u64,
    /// Pages of all slabs now.
    pub slab_pages: u64,
    /// Batches of objects that left the slabs, of one object or many.
    pub refills: u64,
    /// Slabs that these came out of, counted for each batch.
    pub refill_slabs: u64,
    /// Batches of objects that came back to the slabs.
    pub flushes: u64,
    /// Slabs that these went into, counted for each batch.
    pub flush_slabs: u64,
}

impl CacheStatistics {
    /// Slabs with some objects out and some in, of a million slabs: memory that neighbours keep from being given back.
    pub fn partial_slabs_per_million(&self) -> u64 {
        (self.slabs_partial * 1_000_000).checked_div(self.slabs).unwrap_or(0)
    }
}

impl<M: Machine> Heap<M> {
    /// The figures of the cache with this id; `None` if there is none.
    pub fn cache_statistics(&self, id: u16) -> Option<CacheStatistics> {
        let (_, cache) = self.caches().find(|&(other, _)| other == id)?;
        let (alloc_direct, free_direct) = cache.direct_counters();
        let free_refused = cache.nr_refused();
        let mut cpus = Counters::default();
        for (_, counters) in self.cpu_counters(id) {
            cpus.nr_allocs += counters.nr_allocs;
            cpus.nr_frees += counters.nr_frees;
            cpus.nr_swaps += counters.nr_swaps;
            cpus.nr_rounds += counters.nr_rounds;
        }
        let (depot, slabs, geometry) = (cache.depot_counters(), cache.slab_counters(), cache.geometry());
        let buf_constructed = cpus.nr_rounds + depot.nr_rounds;
        let buf_avail = buf_constructed + slabs.nr_objects - slabs.nr_out;
        // Not by the slabs: guarded objects, and those of quarantined slabs, are in none.
        let buf_inuse = self.cache_account(id).nr_live;
        Some(CacheStatistics {
            buf_size: cache.settings().size as u64,
            align: cache.settings().align as u64,
            chunk_size: geometry.object_size as u64,
            slab_size: (geometry.nr_pages * PAGE_SIZE) as u64,
            alloc: cpus.nr_allocs + alloc_direct,
            alloc_fail: cache.nr_failed(),
            free: cpus.nr_frees + free_direct,
            depot_alloc: depot.nr_given,
            depot_free: depot.nr_taken,
            depot_contention: depot.nr_contended,
            slab_alloc: slabs.nr_taken,
            slab_free: slabs.nr_put,
            slab_create: slabs.nr_created,
            slab_destroy: slabs.nr_destroyed,
            buf_constructed,
            buf_avail,
            buf_inuse,
            buf_total: buf_inuse + buf_avail,
            buf_max: slabs.max_objects,
            full_magazines: depot.nr_full,
            empty_magazines: depot.nr_empty,
            magazine_size: cache.magazine_rounds() as u64,
            reap: cache.nr_reaps(),
            alloc_direct,
            free_direct,
            free_refused,
            cpu_swaps: cpus.nr_swaps,
            depot_visits: depot.nr_visits,
            slabs: slabs.nr_slabs,
            slabs_empty: slabs.nr_empty,
            slabs_partial: slabs.nr_partial,
            slab_pages: slabs.nr_pages,
            refills: slabs.nr_refills,
            refill_slabs: slabs.nr_refill_slabs,
            flushes: slabs.nr_flushes,
            flush_slabs: slabs.nr_flush_slabs,
        })
    }

    /// Each CPU's number and its counters of the cache with this id.
    pub fn cpu_counters(&self, id: u16) -> impl Iterator<Item = (usize, Counters)> {
        let of = move |bank: &crate::bank::Bank| bank.caches.get(usize::from(id)).map(|cache| cache.counters());
        self.banks().filter_map(move |(cpu, bank)| Some((cpu, of(bank)?)))
    }
}
