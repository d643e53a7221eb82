//! The kernel in memory: its image, and what it asks for.
//!
//! Called by: `boot`; read by everything after it.

use loader::elf::Elf;
use loader::memory::Kind;
use loader::protocol::{Id, REQUEST_MEMBERS, REQUEST_RESPONSE, REQUEST_REVISION};
use loader::requests::{RequestError, Requests};

use super::fail::Refusal;
use super::physical::{LIMIT, slice_mut};
use super::store::Store;

/// A loaded kernel.
pub(super) struct Kernel {
    /// Its file.
    pub(super) elf: Elf<'static>,
    /// Physical address of its image.
    pub(super) physical_base: u64,
    /// What it asks for.
    requests: Requests,
    image: &'static mut [u64],
}

/// Loads the kernel: segments, relocations, requests.
pub(super) fn load(file: &'static [u8], store: &mut Store) -> Result<Kernel, Refusal> {
    let elf = Elf::parse(file)?;
    let base = store.map.allocate(elf.image_size, elf.align, Kind::ExecutableAndModules, LIMIT)?;
    let size = elf.image_size as usize;
    // SAFETY: `size` bytes below `LIMIT`, just allocated and nobody else's; bytes may hold anything.
    elf.load(unsafe { slice_mut(base, size) })?;
    // SAFETY: as above; whole pages are whole words, page-aligned; the view as bytes is gone.
    let image = unsafe { slice_mut::<u64>(base, size / 8) };
    let content = &image[..elf.content_size().div_ceil(8)];
    let mut requests = Requests::find(content)?;
    if requests.revision == 0
        && let Some((address, bytes)) = elf.section(b".limine_reqs")
    {
        let word_of = |address: u64| elf.offset_of(address).filter(|offset| offset % 8 == 0).map(|offset| offset / 8);
        let first = word_of(address.wrapping_add(elf.slide)).ok_or(RequestError::BadSection)?;
        let list = image.get(first..first + bytes as usize / 8).ok_or(RequestError::BadSection)?;
        requests.replace(image, list.iter().take_while(|&&pointer| pointer != 0).map(|&pointer| word_of(pointer)))?;
    }
    requests.answer_tag(image);
    Ok(Kernel { elf, physical_base: base, requests, image })
}

/// A request of the kernel, by its place.
#[derive(Clone, Copy)]
pub(super) struct Request(usize);

impl Kernel {
    /// The base revision in force.
    pub(super) fn revision(&self) -> u64 {
        self.requests.revision
    }

    /// The request with this id, if the kernel makes it.
    pub(super) fn request(&self, id: Id) -> Option<Request> {
        self.requests.position(self.image, id).map(Request)
    }

    /// The request's revision.
    pub(super) fn request_revision(&self, request: Request) -> u64 {
        self.image[request.0 + REQUEST_REVISION]
    }

    /// Word `index` of the request's own members; 0 beyond the end of the image.
    pub(super) fn member(&self, request: Request, index: usize) -> u64 {
        self.image.get(request.0 + REQUEST_MEMBERS + index).copied().unwrap_or(0)
    }

    /// Puts the pointer to a response into its request.
    pub(super) fn answer(&mut self, request: Request, response: u64) {
        self.image[request.0 + REQUEST_RESPONSE] = response;
    }

    /// The word at one of the kernel's own addresses.
    pub(super) fn word_at(&self, address: u64) -> Option<u64> {
        let offset = self.elf.offset_of(address).filter(|offset| offset % 8 == 0)?;
        self.image.get(offset / 8).copied()
    }

    /// The zero-terminated text at one of the kernel's own addresses.
    pub(super) fn text_at(&self, address: u64) -> Option<impl Iterator<Item = u8> + Clone + '_> {
        let offset = self.elf.offset_of(address)?;
        let bytes = self.image[offset / 8..].iter().flat_map(|word| word.to_le_bytes()).skip(offset % 8);
        bytes.clone().any(|byte| byte == 0).then(|| bytes.take_while(|&byte| byte != 0))
    }
}
