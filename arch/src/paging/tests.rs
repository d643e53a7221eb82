use super::*;
use x86_64::structures::paging::PageTableFlags as Theirs;

fn leaf(level: Level, phys: u64, access: Access, memory: MemoryType) -> u64 {
    Entry::leaf(level, phys, access, memory).expect("a valid leaf").to_raw()
}

#[test]
fn bits_are_those_of_the_x86_64_crate() {
    let both = Theirs::PRESENT | Theirs::ACCESSED | Theirs::DIRTY;
    assert_eq!(leaf(Level::One, 0, Access::ReadExecute, MemoryType::WriteBack), both.bits());
    assert_eq!(
        leaf(Level::One, 0, Access::ReadWrite, MemoryType::Uncached),
        (both | Theirs::WRITABLE | Theirs::NO_EXECUTE | Theirs::NO_CACHE | Theirs::WRITE_THROUGH).bits()
    );
    assert_eq!(
        leaf(Level::Two, 0, Access::ReadOnly, MemoryType::WriteBack),
        (both | Theirs::NO_EXECUTE | Theirs::HUGE_PAGE).bits()
    );
}

#[test]
fn nothing_is_global_or_the_users() {
    for level in [Level::One, Level::Two, Level::Three] {
        for access in [Access::ReadOnly, Access::ReadWrite, Access::ReadExecute] {
            for memory in [MemoryType::WriteBack, MemoryType::Uncached, MemoryType::WriteCombining] {
                let forbidden = Theirs::GLOBAL | Theirs::USER_ACCESSIBLE;
                assert_eq!(leaf(level, 0, access, memory) & forbidden.bits(), 0);
            }
        }
    }
}

#[test]
fn address_rights_and_memory_type_come_back() {
    for (level, phys) in [(Level::One, 0xf_ffff_ffff_f000), (Level::Two, 0x1_0020_0000), (Level::Three, 0x80_4000_0000)]
    {
        for access in [Access::ReadOnly, Access::ReadWrite, Access::ReadExecute] {
            for (memory, pat_index) in
                [(MemoryType::WriteBack, 0), (MemoryType::Uncached, 3), (MemoryType::WriteCombining, 5)]
            {
                let entry = Entry::leaf(level, phys, access, memory).expect("a valid leaf");
                assert!(entry.is_present() && entry.is_leaf(level));
                assert_eq!(entry.leaf_address(level), phys);
                assert_eq!(entry.access(), Some(access));
                assert_eq!(entry.pat_index(level), pat_index, "{level:?} {memory:?}");
            }
        }
    }
}

#[test]
fn the_pat_indices_name_the_types_that_control_loads() {
    // SDM vol. 3, table "Memory Types That Can Be Encoded With PAT": 0 UC, 1 WC, 6 WB.
    let types = crate::control::PAT_LAYOUT.to_le_bytes();
    assert_eq!((types[0], types[3], types[5]), (6, 0, 1));
}

#[test]
fn a_misaligned_or_impossible_leaf_is_an_error() {
    for (level, phys) in [
        (Level::One, 0x800),
        (Level::One, 1 << 52),
        (Level::Two, 0x1000),
        (Level::Three, 0x20_0000),
        (Level::Four, 0),
        (Level::Five, 0),
    ] {
        assert_eq!(Entry::leaf(level, phys, Access::ReadOnly, MemoryType::WriteBack), Err(BadLeaf { phys, level }));
    }
}

#[test]
fn rights_change_without_the_rest() {
    let before = Entry::leaf(Level::Two, 0x20_0000, Access::ReadWrite, MemoryType::WriteCombining).expect("valid");
    let after = before.with_access(Access::ReadExecute);
    assert_eq!(
        after,
        Entry::leaf(Level::Two, 0x20_0000, Access::ReadExecute, MemoryType::WriteCombining).expect("valid")
    );
}

#[test]
fn a_table_entry_grants_everything_and_is_no_leaf() {
    let entry = Entry::table(0x1234_5000);
    assert!(entry.is_present() && entry.is_writable() && entry.is_executable());
    assert_eq!(entry.table_address(), 0x1234_5000);
    assert!([Level::Two, Level::Three, Level::Four, Level::Five].iter().all(|&level| !entry.is_leaf(level)));
}

#[test]
#[should_panic(expected = "frame")]
fn a_table_outside_a_frame_is_a_broken_invariant() {
    Entry::table(0x1234_5008);
}

#[test]
fn an_empty_entry_is_nothing() {
    assert!(!Entry::EMPTY.is_present() && !Entry::EMPTY.is_leaf(Level::One));
}

#[test]
fn an_address_takes_nine_bits_at_each_level() {
    let address = 0xffff_8080_c060_5123_u64 as usize;
    let indices = [Level::Five, Level::Four, Level::Three, Level::Two, Level::One].map(|level| level.index(address));
    assert_eq!(indices, [0x1ff, 0x101, 3, 3, 5]);
    assert_eq!(Level::Three.bytes_per_entry(), 1 << 30);
    assert_eq!(Level::Five.below().and_then(Level::below), Some(Level::Three));
}
