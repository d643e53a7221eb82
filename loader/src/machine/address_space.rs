//! The page tables that the kernel starts with: its own image, and the higher-half direct map.
//!
//! What the direct map covers at which base revision is said in `loader::direct_map`.
//!
//! Called by: `boot`.

use loader::direct_map;
use loader::elf::{EXECUTE, WRITE};
use loader::memory::PAGE;
use loader::paging::{Access, Tables};
use loader::protocol::HHDM;

use super::cpu::Cpu;
use super::fail::Refusal;
use super::kernel::Kernel;
use super::store::Store;

/// The direct map may reach this far: a quarter of the address space, as in Limine.
const DIRECT_MAP_MAX: u64 = 1 << 46;
const ALL: Access = Access { write: true, execute: true };

/// Builds the tables; returns the physical address of the root.
pub(super) fn build(kernel: &Kernel, cpu: &Cpu, store: &mut Store) -> Result<u64, Refusal> {
    // Taking frames for the tables turns usable memory into reclaimable memory: both are covered, or neither.
    let map = store.map.clone();
    let mut tables = Tables::new(store, cpu.has_gib_pages)?;
    // Page by page: segments may share a page if they share its permissions, and gaps stay unmapped.
    for offset in (0..kernel.elf.image_size).step_by(PAGE as usize) {
        if let Some(flags) = kernel.elf.page_flags(offset) {
            let access = Access { write: flags & WRITE != 0, execute: flags & EXECUTE != 0 };
            tables.map(kernel.elf.virtual_base() + offset, kernel.physical_base + offset, PAGE, access)?;
        }
    }
    let revision = kernel.revision();
    for range in direct_map::coverage(map.regions(), revision) {
        if range.end > DIRECT_MAP_MAX {
            return Err(Refusal::TooMuchMemory { top: range.end });
        }
        tables.map(HHDM + range.base, range.base, range.len(), ALL)?;
        if revision == 0 {
            let base = range.base.max(PAGE);
            tables.map(base, base, range.end - base, ALL)?;
        }
    }
    Ok(tables.root())
}
