//! What a cache is made for, and what follows from it.

use core::ptr::NonNull;

use crate::cpu_cache::RACK;
use crate::debug::object::ObjectLayout;
use crate::error::{Error, Result};
use crate::frame::PAGE_SIZE;
use crate::geometry::Geometry;
use crate::magazine_size::MagazineSize;
use crate::size_class::{self, MAX_CLASS_SIZE};

/// What a cache is made for.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// For people.
    pub name: &'static str,
    /// Bytes of an object.
    pub size: usize,
    /// Alignment of an object, in bytes: a power of two up to a page.
    pub align: usize,
    /// Prepares an object when it first leaves the slabs; may refuse, and the allocation fails then.
    pub constructor: Option<fn(NonNull<u8>) -> Result<()>>,
    /// Undoes the constructor before the object goes back to the slabs.
    pub destructor: Option<fn(NonNull<u8>)>,
}

impl Settings {
    /// Objects of `size` bytes at multiples of `align`, with nothing to construct.
    pub const fn new(name: &'static str, size: usize, align: usize) -> Self {
        Self { name, size, align, constructor: None, destructor: None }
    }

    /// The distance of objects, in bytes.
    pub(super) const fn object_size(&self) -> Result<usize> {
        if !self.align.is_power_of_two() || self.align > PAGE_SIZE {
            return Err(Error::BadRequest { value: self.align });
        }
        if self.size == 0 || self.size > MAX_CLASS_SIZE {
            return Err(Error::BadRequest { value: self.size });
        }
        let align = if self.align < 8 { 8 } else { self.align };
        let size = self.size.next_multiple_of(align);
        let least = size_class::MIN_CLASS_SIZE.next_multiple_of(align);
        let size = if size < least { least } else { size };
        // At most a page more than the largest class, by alignment; refuse what no slab can hold.
        if size > MAX_CLASS_SIZE { Err(Error::BadRequest { value: self.size }) } else { Ok(size) }
    }
}

/// What follows from the settings.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) settings: Settings,
    /// Bytes of an object, with what makes it a multiple of its alignment.
    pub(super) object_size: usize,
    /// How objects lie in their places, in a debugged cache.
    pub(super) debug: Option<ObjectLayout>,
    pub(super) geometry: Geometry,
    /// Magazines in a CPU's rack.
    pub(super) rack: usize,
    /// Full magazines in the depot at most.
    pub(super) depot_limit: u32,
}

impl Plan {
    pub(super) const fn new(settings: Settings, geometry: Geometry) -> Self {
        /// What one CPU's magazines, and what the depot may hold, in bytes. Of pages a CPU keeps some 80, so that batches of
        /// 64 do not come to the depot (1.6 times the best peer with two CPUs if they do, 0.7 if not).
        const CPU_BYTES: usize = 128 * 1024;
        const CPU_BYTES_OF_PAGES: usize = 320 * 1024;
        const DEPOT_BYTES: usize = 1024 * 1024;
        let magazine_bytes = MagazineSize::new(geometry.object_size).rounds() * geometry.object_size;
        let cpu_bytes = if geometry.object_size < PAGE_SIZE { CPU_BYTES } else { CPU_BYTES_OF_PAGES };
        let on_cpu = cpu_bytes / magazine_bytes;
        let rack = on_cpu.saturating_sub(2);
        let depot = DEPOT_BYTES / magazine_bytes;
        Self {
            settings,
            object_size: geometry.object_size,
            debug: None,
            geometry,
            rack: if rack < RACK { rack } else { RACK },
            depot_limit: if depot < 4 {
                4
            } else if depot > 64 {
                64
            } else {
                depot as u32
            },
        }
    }
}
