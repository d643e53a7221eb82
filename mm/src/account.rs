//! Where every frame is: the sums behind `mem` and `slabs`, and whether they agree.
//!
//! Three counts that do not know of each other are compared: what the bitmap manages, what each use says it has taken,
//! and what the frame table says of each frame. They agree to the frame when nobody allocates at the moment; a reader
//! never stops anybody, so on a busy machine they may differ by what moved meanwhile.
//!
//! Called by: the kernel's shell and stress run, tests. Takes each lock for a moment.

use crate::cpu_cache::Counters;
use crate::frame::PAGE_SIZE;
use crate::frame_table::Kind;
use crate::heap::Heap;
use crate::machine::Machine;
use crate::page_magazine::PageCounters;

/// All frames of a heap, by where they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Frames managed: the sum that the rest must give.
    pub nr_managed: u64,
    /// In the bitmap.
    pub nr_free: u64,
    /// In page magazines.
    pub nr_cached: u64,
    /// In use, by kind, as those who took them count.
    pub by_kind: [i64; Kind::COUNT],
    /// In use or cached, by kind, as the frame table says.
    pub in_table: [i64; Kind::COUNT],
    /// Pages of slabs, as the caches count.
    pub nr_slab_pages: u64,
    /// What lies in the slabs, in bytes.
    pub slabs: SlabBytes,
}

/// Bytes of all slabs, by what they are; the sum is all their pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlabBytes {
    /// Objects with users.
    pub out: u64,
    /// Of these and of those in magazines and depots, on guarded pages: in no slab.
    pub guarded: u64,
    /// Objects in CPUs' magazines.
    pub in_magazines: u64,
    /// Objects in depots.
    pub in_depot: u64,
    /// Objects in slabs.
    pub free: u64,
    /// Magazines, used or not.
    pub magazines: u64,
    /// Ends of slabs in which no object fits.
    pub unused: u64,
    /// Objects that went with a magazine that was overwritten.
    pub lost: u64,
    /// Quarantined slabs, less the objects of theirs that have not come back.
    pub quarantined: u64,
}

/// A cache's objects and counters, over all CPUs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheAccount {
    /// Objects with users, counted as allocations less frees.
    pub nr_live: u64,
    /// Objects out of their slabs, counted by the slabs, and guarded ones.
    pub nr_out: u64,
    /// Rounds in CPUs' magazines.
    pub nr_in_magazines: u64,
    /// Rounds in the depot.
    pub nr_in_depot: u64,
    /// Objects that went with a magazine that was overwritten.
    pub nr_lost: u64,
    /// Slabs that were overwritten and are out of use.
    pub nr_quarantined: u64,
    /// Objects handed out.
    pub nr_allocs: u64,
    /// Objects taken back.
    pub nr_frees: u64,
    /// Of both, those that went past the magazines.
    pub nr_direct: u64,
    /// Visits to the depot.
    pub nr_depot_visits: u64,
    /// Visits to the slabs.
    pub nr_slab_visits: u64,
    /// Times the lock of the depot or of the slabs was found held.
    pub nr_waits: u64,
}

impl CacheAccount {
    /// Whether users, magazines, depot and slabs account for each object once.
    pub fn adds_up(&self) -> bool {
        self.nr_out == self.nr_live + self.nr_in_magazines + self.nr_in_depot + self.nr_lost
    }

    /// Operations that a magazine of the CPU served without a visit to depot or slabs, per million.
    pub fn hits_per_million(&self) -> u64 {
        let nr_ops = self.nr_allocs + self.nr_frees;
        let nr_missed = (self.nr_depot_visits + self.nr_slab_visits).min(nr_ops);
        if nr_ops == 0 { 0 } else { ((u128::from(nr_ops - nr_missed) * 1_000_000) / u128::from(nr_ops)) as u64 }
    }
}

impl Account {
    /// Frames that are managed but in none of the places; negative if some are in two.
    pub fn difference(&self) -> i64 {
        self.nr_managed as i64 - self.nr_free as i64 - self.nr_cached as i64 - self.by_kind.iter().sum::<i64>()
    }

    /// Frames in use as `kind`.
    pub fn nr_used(&self, kind: Kind) -> u64 {
        self.by_kind[kind as usize].max(0) as u64
    }

    /// The first kind for which the takers and the frame table disagree, with both counts.
    pub fn disagreement(&self) -> Option<(Kind, i64, i64)> {
        const USES: [Kind; 8] = [
            Kind::Slab,
            Kind::Large,
            Kind::PageTable,
            Kind::Mapped,
            Kind::Owned,
            Kind::Quarantined,
            Kind::Retired,
            Kind::Tags,
        ];
        let cached = (Kind::Cached, self.nr_cached as i64, self.in_table[Kind::Cached as usize]);
        let slab_pages = (Kind::Slab, self.nr_slab_pages as i64, self.in_table[Kind::Slab as usize]);
        USES.into_iter()
            .map(|kind| (kind, self.by_kind[kind as usize], self.in_table[kind as usize]))
            .chain([cached, slab_pages])
            .find(|(_, counted, seen)| counted != seen)
    }

    /// Whether all counts agree, and every byte of the slabs is accounted for.
    pub fn adds_up(&self) -> bool {
        let bytes = &self.slabs;
        let sum = bytes.out + bytes.in_magazines + bytes.in_depot + bytes.free + bytes.magazines + bytes.unused;
        let sum = sum + bytes.lost + bytes.quarantined;
        let nr_pages = self.nr_slab_pages + self.nr_used(Kind::Quarantined);
        self.difference() == 0 && self.disagreement().is_none() && sum == nr_pages * PAGE_SIZE as u64 + bytes.guarded
    }
}

impl<M: Machine> Heap<M> {
    /// Counts every frame.
    pub fn account(&self) -> Account {
        let _exclusive = self.exclude_others();
        let frames = self.frames();
        let mut account = Account { nr_managed: frames.nr_managed(), nr_free: frames.nr_free(), ..Account::default() };
        account.nr_cached = self.page_counters().nr_frames;
        for (kind, count) in account.by_kind.iter_mut().enumerate() {
            *count = frames.count_of(kind, self.banks().map(|(_, bank)| &bank.pages));
        }
        frames.table().for_each(|_, descriptor| {
            let kind = descriptor.kind();
            account.in_table[kind as usize] += i64::from(kind != Kind::Free);
        });
        let mut held_in_quarantine = 0;
        let bytes = &mut account.slabs;
        for (id, cache) in self.caches() {
            let objects = self.cache_account(id);
            let slabs = cache.slab_counters();
            let size = cache.geometry().object_size as u64;
            account.nr_slab_pages += slabs.nr_pages;
            bytes.guarded += cache.nr_guarded() * size;
            bytes.out += objects.nr_live * size;
            bytes.in_magazines += objects.nr_in_magazines * size;
            bytes.in_depot += objects.nr_in_depot * size;
            bytes.lost += objects.nr_lost * size;
            bytes.free += (slabs.nr_objects - slabs.nr_out) * size;
            held_in_quarantine += slabs.nr_quarantined_out * size;
            bytes.unused += slabs.nr_pages * PAGE_SIZE as u64 - slabs.nr_objects * size;
        }
        for (_, slabs) in self.supply().magazine_counters() {
            account.nr_slab_pages += slabs.nr_pages;
            bytes.magazines += slabs.nr_pages * PAGE_SIZE as u64;
        }
        let nr_quarantined = account.by_kind[Kind::Quarantined as usize].max(0) as u64;
        bytes.quarantined = (nr_quarantined * PAGE_SIZE as u64).saturating_sub(held_in_quarantine);
        account
    }

    /// Counts the objects of the cache with this id.
    pub fn cache_account(&self, id: u16) -> CacheAccount {
        let Some((_, cache)) = self.caches().find(|&(other, _)| other == id) else { return CacheAccount::default() };
        // Before the frees that it is taken from: others may count on meanwhile.
        let nr_refused = cache.nr_refused();
        let mut sum = Counters::default();
        for (_, bank) in self.banks() {
            let counters = bank.caches[usize::from(id)].counters();
            sum.nr_allocs += counters.nr_allocs;
            sum.nr_frees += counters.nr_frees;
            sum.nr_rounds += counters.nr_rounds;
        }
        let (direct_allocs, direct_frees) = cache.direct_counters();
        let (depot, slabs) = (cache.depot_counters(), cache.slab_counters());
        let (nr_allocs, nr_frees) = (sum.nr_allocs + direct_allocs, sum.nr_frees + direct_frees - nr_refused);
        CacheAccount {
            nr_live: nr_allocs.saturating_sub(nr_frees),
            nr_out: slabs.nr_out + slabs.nr_quarantined_out + cache.nr_guarded(),
            nr_in_magazines: sum.nr_rounds,
            nr_in_depot: depot.nr_rounds,
            nr_lost: depot.nr_dropped_rounds,
            nr_quarantined: slabs.nr_quarantined,
            nr_allocs,
            nr_frees,
            nr_direct: direct_allocs + direct_frees,
            nr_depot_visits: depot.nr_visits,
            nr_slab_visits: slabs.nr_visits,
            nr_waits: depot.nr_contended + cache.nr_slab_contentions(),
        }
    }

    /// Counters of all CPUs' page magazines together.
    pub fn page_counters(&self) -> PageCounters {
        self.banks().map(|(_, bank)| bank.pages.counters()).fold(PageCounters::default(), |sum, one| PageCounters {
            nr_frames: sum.nr_frames + one.nr_frames,
            nr_allocs: sum.nr_allocs + one.nr_allocs,
            nr_frees: sum.nr_frees + one.nr_frees,
            nr_visits: sum.nr_visits + one.nr_visits,
        })
    }
}
