//! Starts the other processors: one INIT, two start-up messages, everyone at once.
//!
//! `start` sends and returns at once; the processors come up while the boot processor goes on loading, and `wait`
//! collects them. The wait is bounded by progress: as long as processors keep coming it goes on.
//!
//! A processor that does not come is left out, with a warning: it is sent back to wait for a start-up message, and
//! should it come all the same it stays in the trampoline's page, which is then reserved for good.
//!
//! Called by: `boot`.

use core::sync::atomic::{AtomicU32, Ordering};

use loader::acpi::{self, Rsdp};
use loader::lies::Lie;
use loader::memory::{Kind, PAGE};
use loader::protocol::{HHDM, MP, MP_X2APIC, MpInfo};

use super::apic::{INIT_OTHERS, LocalApic, Mode, START_OTHERS};
use super::cpu::{self, Cpu};
use super::fail::{Refusal, warn};
use super::kernel::Kernel;
use super::park::{self, Slot};
use super::physical::{Identity, slice_mut};
use super::store::Store;
use super::{mtrr, trampoline};

/// Trampolines live below this.
const LOW_MEMORY: u64 = 1 << 20;
/// Between INIT and start-up message, and between the two of these, in ticks of 1 ns (under QEMU).
const INIT_NAP: u32 = 50_000;
/// While waiting for processors.
const WAIT_NAP: u32 = 50_000;
/// Without anybody new for so many ticks of the time stamp counter, the rest is lost: 2 s at 4 GHz, 8 s at 1 GHz.
const PATIENCE: u64 = 1 << 33;
/// Parked processors together wake up at most about every so many ns, once they have waited long.
const WAKE_INTERVAL: u32 = 100_000;

/// Processors on their way. `None` where the kernel did not ask for them.
pub(super) struct Processors(Option<Starting>);

struct Starting {
    apic: LocalApic,
    mode: Mode,
    infos: &'static mut [MpInfo],
    slots: &'static [Slot],
    trampoline: Option<u64>,
    /// The tables list processors that this mode cannot address; everyone is started, so they come and go astray.
    has_unlisted: bool,
    lie: Option<Lie>,
    /// Address and length of the MADT.
    madt: (u64, usize),
}

/// What the MP response says.
pub(super) struct Started {
    /// x2APIC mode is on.
    pub(super) uses_x2apic: bool,
    /// APIC id of the boot processor.
    pub(super) bsp_apic_id: u32,
    /// All processors; an entry whose `reserved` is [`LEFT_OUT`] did not come.
    pub(super) infos: &'static mut [MpInfo],
    /// The page that must stay reserved, as somebody may still be in it.
    pub(super) haunted_page: Option<u64>,
    /// What to say that is not so.
    pub(super) lie: Option<Lie>,
}

/// Marks an entry of [`Started::infos`] as not there. No stack ends here.
pub(super) const LEFT_OUT: u64 = u64::MAX;

/// Starts the other processors, if the kernel asks for them.
pub(super) fn start(
    kernel: &Kernel,
    cpu: &Cpu,
    rsdp: &Rsdp,
    stack_bytes: u64,
    lie: Option<Lie>,
    store: &mut Store,
) -> Result<Processors, Refusal> {
    let Some(request) = kernel.request(MP).filter(|_| cpu.has_apic) else { return Ok(Processors(None)) };
    let forbidden = rsdp.table(&Identity, b"DMAR").is_some_and(acpi::forbids_x2apic);
    let is_wanted = kernel.member(request, 0) & MP_X2APIC != 0 && lie != Some(Lie::XApic);
    let mode = if is_wanted && cpu.has_x2apic && !forbidden { Mode::X2Apic } else { Mode::XApic };
    let apic = LocalApic::init_this_cpu(mode);
    let own_id = apic.id();

    let madt = rsdp.table(&Identity, b"APIC").unwrap_or(&[]);
    let listed = || acpi::processors(madt, mode == Mode::X2Apic);
    // A machine whose tables forget the boot processor still has it.
    let forgotten = listed().all(|processor| processor.apic_id != own_id);
    let own = forgotten.then_some(acpi::Processor { uid: 0, apic_id: own_id });
    let nr_processors = listed().count() + usize::from(forgotten);
    let infos = store.array::<MpInfo>(nr_processors)?;
    for (info, processor) in infos.iter_mut().zip(own.into_iter().chain(listed())) {
        *info = MpInfo {
            processor_id: processor.uid,
            lapic_id: processor.apic_id,
            reserved: 0,
            goto_address: 0,
            extra_argument: 0,
        };
    }
    let has_unlisted = acpi::processors(madt, true).count() > listed().count();
    let madt = (madt.as_ptr() as u64, madt.len());
    let mut starting = Starting { apic, mode, infos, slots: &[], trampoline: None, has_unlisted, lie, madt };
    if nr_processors > 1 {
        starting.prepare(own_id, stack_bytes, store)?;
        mtrr::save(cpu);
        starting.send();
    }
    Ok(Processors(Some(starting)))
}

impl Starting {
    /// A slot and a stack for each of the others, and the trampoline.
    fn prepare(&mut self, own_id: u32, stack_bytes: u64, store: &mut Store) -> Result<(), Refusal> {
        let nr_others = self.infos.len() - 1;
        // Stacks are left as they are: zeroing them costs more than starting the processors.
        let mut stack_top = store.pages(stack_bytes * nr_others as u64, Kind::Reclaimable)?;
        // One more slot stays zero and ends the list.
        let bytes = store.array::<u64>((nr_others + 1) * size_of::<Slot>() / 8)?;
        // SAFETY: exactly these bytes, aligned; slots are integers, zero is a value; the view as words is gone.
        let slots = unsafe { slice_mut::<Slot>(bytes.as_ptr() as u64, nr_others + 1) };
        let others = self.infos.iter_mut().filter(|info| info.lapic_id != own_id);
        for (slot, info) in slots.iter_mut().zip(others) {
            stack_top += stack_bytes;
            info.reserved = stack_top + HHDM;
            *slot = Slot {
                apic_id: info.lapic_id,
                state: AtomicU32::new(park::WAITING),
                stack_top,
                info: core::ptr::from_mut(info) as u64,
            };
        }
        match (self.lie, &mut slots[..nr_others]) {
            (Some(Lie::TwoInOne), [.., before, last]) => last.info = before.info,
            (Some(Lie::Late), [.., last]) => park::LATE_ID.store(last.apic_id, Ordering::Relaxed),
            _ => {}
        }
        self.slots = &slots[..nr_others];
        self.trampoline = Some(store.map.allocate(PAGE, PAGE, Kind::Reclaimable, LOW_MEMORY)?);
        Ok(())
    }

    fn send(&self) {
        let Some(page) = self.trampoline else { return };
        park::USES_X2APIC.store(self.mode == Mode::X2Apic, Ordering::Release);
        park::LONGEST_NAP.fetch_max(WAKE_INTERVAL * self.slots.len() as u32, Ordering::Relaxed);
        park::SLOTS.store(self.slots.as_ptr() as u64, Ordering::Release);
        // SAFETY: allocated for this, and kept until nobody can start any more.
        let number = unsafe { trampoline::install(page) };
        let timer = self.apic.timer();
        self.apic.send(INIT_OTHERS);
        timer.nap(INIT_NAP);
        self.apic.send(START_OTHERS | number);
        timer.nap(INIT_NAP);
        self.apic.send(START_OTHERS | number);
        timer.stop();
    }
}

impl Processors {
    /// Waits until all processors are ready, or no more come.
    pub(super) fn wait(self) -> Option<Started> {
        let Starting { apic, mode, infos, slots, trampoline, has_unlisted, lie, madt } = self.0?;
        let timer = apic.timer();
        let (mut seen, mut since) = (0, cpu::ticks());
        loop {
            let ready = park::NR_READY.load(Ordering::Acquire);
            if ready as usize == slots.len() || cpu::ticks() - since > PATIENCE {
                break;
            }
            if ready != seen {
                (seen, since) = (ready, cpu::ticks());
            }
            timer.nap(WAIT_NAP);
        }
        timer.stop();
        let has_strays = has_unlisted || trampoline::NR_STRAYS.load(Ordering::Acquire) > 0;
        let mut haunted_page = trampoline.filter(|_| has_strays);
        for slot in slots.iter().filter(|slot| slot.state.swap(park::LOST, Ordering::AcqRel) != park::READY) {
            warn(&format_args!("CPU with APIC id {} did not start and is left out", slot.apic_id));
            apic.init_one(slot.apic_id);
            haunted_page = trampoline;
            infos.iter_mut().filter(|info| info.lapic_id == slot.apic_id).for_each(|info| info.reserved = LEFT_OUT);
        }
        if let (Some(Lie::Capable), Some(last)) = (lie, infos.last()) {
            // SAFETY: the table as `start` found it: bytes, mapped and writable below `LIMIT`. The loader has read all
            // tables by now, and keeps no reference into them; the other processors read none.
            acpi::make_online_capable(unsafe { slice_mut(madt.0, madt.1) }, last.lapic_id);
        }
        Some(Started { uses_x2apic: mode == Mode::X2Apic, bsp_apic_id: apic.id(), infos, haunted_page, lie })
    }
}
