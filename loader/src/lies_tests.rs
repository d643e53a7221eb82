use super::*;

fn entries(ids: &[u32]) -> Vec<MpInfo> {
    let of = |&lapic_id| MpInfo { processor_id: 0, lapic_id, reserved: 0, goto_address: 0, extra_argument: 0 };
    ids.iter().map(of).collect()
}

fn ids_after(lie: Lie, ids: &[u32]) -> Vec<u32> {
    let mut entries = entries(ids);
    lie.distort(&mut entries);
    entries.iter().map(|entry| entry.lapic_id).collect()
}

fn list_after(lie: Lie, list: &[u64]) -> Vec<u64> {
    let mut list = list.to_vec();
    let len = lie.relist(&mut list, 0);
    list.truncate(len);
    list
}

const RESPONSE: MpResponse = MpResponse { revision: 0, flags: 1, bsp_lapic_id: 0, cpu_count: 3, cpus: 0x1000 };

#[test]
fn a_lie_is_asked_for_among_the_options_and_not_in_a_script() {
    assert_eq!(Lie::asked(b"chaos=mp:late run=smp"), Some(Lie::Late));
    assert_eq!(Lie::asked(b"a chaos=mp:null\tchaos=mp:wild"), Some(Lie::Wild));
    for line in [&b""[..], b"chaos=mp:", b"chaos=mp:truth", b"run=x chaos=mp:late", b"xchaos=mp:late", b"\xff\x00"] {
        assert_eq!(Lie::asked(line), None);
    }
}

#[test]
fn every_name_leads_to_its_own_lie() {
    for (name, lie) in NAMES {
        let line = [b"chaos=mp:", name].concat();
        assert_eq!(Lie::asked(&line), Some(lie));
        assert_eq!(NAMES.iter().filter(|(_, other)| *other == lie).count(), 1);
    }
}

#[test]
fn entries_lie_about_their_ids() {
    assert_eq!(ids_after(Lie::Duplicate, &[0, 1, 2]), [0, 1, 1]);
    assert_eq!(ids_after(Lie::WrongId, &[0, 1, 2]), [0, 1, NOBODYS_ID]);
    assert_eq!(ids_after(Lie::Null, &[0, 1, 2]), [0, 1, 2]);
    assert_eq!(ids_after(Lie::Duplicate, &[0]), [0]);
}

#[test]
fn lists_lie_about_their_entries() {
    assert_eq!(list_after(Lie::Reversed, &[1, 2, 3]), [3, 2, 1]);
    assert_eq!(list_after(Lie::NoFirst, &[1, 2, 3]), [2, 3]);
    assert_eq!(list_after(Lie::SameEntry, &[1, 2, 3]), [1, 2, 2]);
    assert_eq!(list_after(Lie::TwoInOne, &[1, 2, 3]), [1, 2]);
    assert_eq!(list_after(Lie::Capable, &[1, 2, 3]), [1, 2]);
    assert_eq!(list_after(Lie::Null, &[1, 2, 3]), [1, 2, 0]);
    assert_eq!(list_after(Lie::Wild, &[1, 2, 3]), [1, 2, NOWHERE]);
    for (_, lie) in NAMES {
        assert!(lie.relist(&mut [], 0) == 0 && lie.relist(&mut [8], 0) <= 1);
    }
}

#[test]
fn responses_lie_about_their_list() {
    assert!(Lie::None.misreport(RESPONSE).is_none());
    let told = |lie: Lie| lie.misreport(RESPONSE).map(|r| (r.flags, r.bsp_lapic_id, r.cpu_count));
    assert_eq!(told(Lie::Empty), Some((1, 0, 0)));
    assert_eq!(told(Lie::Endless), Some((1, 0, u64::MAX)));
    assert_eq!(told(Lie::FirstId), Some((1, NOBODYS_ID, 3)));
    assert_eq!(told(Lie::Flag), Some((0, 0, 3)));
    assert_eq!(told(Lie::Late), Some((1, 0, 3)));
}

#[test]
fn made_up_processors_have_ids_of_their_own() {
    let mut made_up = entries(&vec![0; Lie::Crowd.nr_made_up()]);
    Lie::Crowd.make_up(&mut made_up);
    assert!(made_up.len() > 512 && made_up.windows(2).all(|two| two[0].lapic_id < two[1].lapic_id));
    assert_eq!(Lie::Absent.nr_made_up(), 1);
}
