//! Tests of `page`: each kind of event by hand, and any bytes at all.

use super::*;
use crate::format::fixture::HEADER_PAGE;
use proptest::prelude::*;

fn layout() -> PageLayout {
    PageLayout::parse(HEADER_PAGE, false).expect("a good description")
}

fn head(kind: u32, delta: u32) -> Vec<u8> {
    (kind | delta << 5).to_le_bytes().to_vec()
}

/// An event with a payload of whole words.
fn short(delta: u32, payload: &[u8]) -> Vec<u8> {
    [head(payload.len() as u32 / 4, delta), payload.to_vec()].concat()
}

fn page_with(time: u64, flags: u64, data: &[u8], behind: &[u8]) -> Vec<u8> {
    let mut page = [&time.to_le_bytes()[..], &(data.len() as u64 | flags).to_le_bytes(), data, behind].concat();
    page.resize(4096, 0xee);
    page
}

type Seen = Vec<(u64, Vec<u8>)>;

fn read(page: &[u8]) -> (Seen, Result<Missed, PageFault>) {
    let mut seen = Vec::new();
    let end = layout().read(page, |time, payload| seen.push((time, payload.to_vec())));
    (seen, end)
}

fn times(data: &[u8]) -> Vec<u64> {
    let (seen, end) = read(&page_with(1000, 0, data, &[]));
    assert_eq!(end, Ok(Missed::None));
    seen.into_iter().map(|(time, _)| time).collect()
}

#[test]
fn the_layout_comes_from_the_kernels_description() {
    assert_eq!(layout().page_bytes(), 4096);
    let moved = HEADER_PAGE.replace("offset:16;\tsize:4080", "offset:32;\tsize:65504");
    assert_eq!(PageLayout::parse(&moved, false).map(|layout| layout.page_bytes()), Ok(65536));
    let error = PageLayout::parse("\tfield: u64 timestamp;\toffset:0;\tsize:8;\tsigned:0;\n", false);
    assert_eq!(error, Err(FormatError::NoField { of: "header_page".into(), field: "commit".into() }));
}

#[test]
fn a_big_endian_host_is_refused() {
    assert_eq!(PageLayout::parse(HEADER_PAGE, true), Err(FormatError::BigEndian));
}

#[test]
fn events_have_the_sum_of_the_deltas_as_their_time() {
    let long = [head(0, 7), 12u32.to_le_bytes().to_vec(), b"longlong".to_vec()].concat();
    let (seen, end) = read(&page_with(1000, 0, &[short(0, b"abcd"), short(5, b"efghijkl"), long].concat(), &[]));
    assert_eq!(end, Ok(Missed::None));
    let wanted = [(1000, b"abcd".to_vec()), (1005, b"efghijkl".to_vec()), (1012, b"longlong".to_vec())];
    assert_eq!(seen, wanted);
    assert_eq!(read(&page_with(1000, 0, &[], &[])), (vec![], Ok(Missed::None)));
}

#[test]
fn a_long_event_may_end_within_a_word() {
    let long = [head(0, 1), 7u32.to_le_bytes().to_vec(), b"abc\0".to_vec()].concat();
    let (seen, _) = read(&page_with(0, 0, &[long, short(1, b"next")].concat(), &[]));
    assert_eq!(seen, [(1, b"abc".to_vec()), (2, b"next".to_vec())]);
}

#[test]
fn a_time_extend_adds_its_upper_bits() {
    let extend = [head(TIME_EXTEND, 3), 2u32.to_le_bytes().to_vec()].concat();
    assert_eq!(times(&[extend, short(1, b"abcd")].concat()), [1000 + (2 << 27) + 3 + 1]);
}

#[test]
fn an_absolute_time_replaces_what_was_summed_up() {
    let stamp = |time: u64| [head(TIME_STAMP, time as u32 & 0x7ff_ffff), ((time >> 27) as u32).to_le_bytes().to_vec()];
    let data = [short(9, b"abcd"), stamp(5_000_000_000).concat(), short(2, b"efgh")].concat();
    assert_eq!(times(&data), [1009, 5_000_000_002]);
    // Its 59 bits take the upper five from the time before, also over their end.
    let before = (3 << ABSOLUTE_BITS) + 100;
    let (seen, _) = read(&page_with(before, 0, &[stamp(200).concat(), short(0, b"abcd")].concat(), &[]));
    assert_eq!(seen[0].0, (3 << ABSOLUTE_BITS) + 200);
    let (seen, _) = read(&page_with(before, 0, &[stamp(50).concat(), short(0, b"abcd")].concat(), &[]));
    assert_eq!(seen[0].0, (4 << ABSOLUTE_BITS) + 50);
}

#[test]
fn padding_is_passed_over_and_its_time_counts() {
    let discarded = [head(PADDING, 4), 12u32.to_le_bytes().to_vec(), b"discard!".to_vec()].concat();
    assert_eq!(times(&[discarded, short(1, b"abcd")].concat()), [1005]);
    let rest = [head(PADDING, 0), vec![0xff; 40]].concat();
    assert_eq!(times(&[short(1, b"abcd"), rest].concat()), [1001]);
}

#[test]
fn missed_events_are_said_with_their_number_where_it_is_known() {
    let data = short(0, b"abcd");
    assert_eq!(read(&page_with(0, MISSED, &data, &[])).1, Ok(Missed::Some));
    let count = 77u64.to_le_bytes();
    assert_eq!(read(&page_with(0, MISSED | MISSED_STORED, &data, &count)).1, Ok(Missed::Count(77)));
    // The flags are no part of the length.
    assert_eq!(read(&page_with(0, MISSED | MISSED_STORED, &data, &count)).0.len(), 1);
}

#[test]
fn what_does_not_fit_is_refused_where_it_stands() {
    let fault = |data: &[u8]| read(&page_with(0, 0, data, &[])).1.expect_err("damaged");
    assert_eq!(fault(&[short(0, b"abcd"), head(3, 0)].concat()), PageFault::Event { offset: 8, kind: 3 });
    assert_eq!(fault(&[head(0, 0), 3u32.to_le_bytes().to_vec()].concat()), PageFault::Event { offset: 0, kind: 0 });
    assert_eq!(fault(&[head(0, 0), vec![0xff; 4]].concat()), PageFault::Event { offset: 0, kind: 0 });
    assert_eq!(fault(&[head(PADDING, 1), vec![0xff; 4]].concat()), PageFault::Event { offset: 0, kind: PADDING });
    assert_eq!(fault(&head(TIME_EXTEND, 1)), PageFault::Event { offset: 0, kind: TIME_EXTEND });
    assert_eq!(fault(&[1, 2]), PageFault::Event { offset: 0, kind: 0 });
}

#[test]
fn a_truncated_page_is_refused() {
    let whole = page_with(0, 0, &short(0, b"abcdefgh"), &[]);
    for length in 0..28 {
        assert!(matches!(read(&whole[..length]).1, Err(PageFault::Truncated { len_bytes, .. }) if len_bytes == length));
    }
    assert_eq!(read(&whole[..28]).1, Ok(Missed::None));
    let too_long = page_with(0, 5000, &[], &[]);
    assert_eq!(read(&too_long).1, Err(PageFault::Truncated { len_bytes: 4096, needed_bytes: 5016 }));
}

proptest! {
    /// Bytes that are often nearly right: small types and lengths.
    #[test]
    fn any_page_is_read_without_a_panic_and_payloads_stay_inside(
        time in any::<u64>(),
        flags in prop_oneof![Just(0), Just(MISSED), Just(MISSED | MISSED_STORED), any::<u64>()],
        words in prop::collection::vec(prop_oneof![any::<u32>(), 0..64u32, (0..32u32, 0..9u32).prop_map(|(k, d)| k | d << 5)], 0..60),
        cut in 0..5000usize,
    ) {
        let data: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let page = page_with(time, flags, &data, &[]);
        let page = &page[..cut.min(page.len())];
        let mut nr_bytes = 0;
        let _ = layout().read(page, |_, payload| nr_bytes += payload.len());
        prop_assert!(nr_bytes <= page.len());
    }

    #[test]
    fn what_was_written_is_read(events in prop::collection::vec((0..1u32 << 27, 1..29usize), 0..30), time in 0..1u64 << 60) {
        let data: Vec<u8> = events.iter().flat_map(|&(delta, words)| short(delta, &vec![delta as u8; words * 4])).collect();
        let (seen, end) = read(&page_with(time, 0, &data, &[]));
        prop_assert_eq!(end, Ok(Missed::None));
        let mut now = time;
        let wanted: Seen = events.iter().map(|&(delta, words)| {
            now += u64::from(delta);
            (now, vec![delta as u8; words * 4])
        }).collect();
        prop_assert_eq!(seen, wanted);
    }
}
