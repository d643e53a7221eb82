//! Tests of the search for requests.

use super::*;
use crate::protocol::{DIRECT_MAP, MEMORY_MAP, MP};

fn request([a, b]: Id) -> Vec<u64> {
    vec![COMMON_MAGIC[0], COMMON_MAGIC[1], a, b, 0, 0]
}

fn tag(revision: u64) -> Vec<u64> {
    vec![BASE_REVISION_MAGIC[0], BASE_REVISION_MAGIC[1], revision]
}

fn find(parts: &[Vec<u64>]) -> (Vec<u64>, Result<Requests, RequestError>) {
    let image = parts.concat();
    let found = Requests::find(&image);
    (image, found)
}

#[test]
fn whole_image_counts_without_markers() {
    let (image, found) = find(&[vec![1, 2], request(MP), tag(2), vec![3], request(DIRECT_MAP)]);
    let found = found.expect("good");
    assert_eq!((found.position(&image, MP), found.position(&image, DIRECT_MAP)), (Some(2), Some(12)));
    assert_eq!((found.position(&image, MEMORY_MAP), found.revision), (None, 2));
}

#[test]
fn only_what_lies_between_the_markers_counts() {
    let parts = [
        request(MP),
        tag(1),
        START_MARKER.to_vec(),
        request(MEMORY_MAP),
        START_MARKER.to_vec(),
        tag(3),
        request(DIRECT_MAP),
        END_MARKER.to_vec(),
        request(MP),
        tag(2),
        END_MARKER.to_vec(),
    ];
    let (image, found) = find(&parts);
    let found = found.expect("duplicates outside of the markers do not matter");
    assert_eq!((found.position(&image, MP), found.position(&image, MEMORY_MAP)), (None, None));
    assert_eq!((found.position(&image, DIRECT_MAP), found.revision), (Some(26), 3));
}

#[test]
fn duplicates_are_refused() {
    assert_eq!(find(&[request(MP), request(MP)]).1.err(), Some(RequestError::Duplicate { id: MP }));
    assert_eq!(find(&[tag(0), tag(0)]).1.err(), Some(RequestError::TwoRevisionTags));
    let many: Vec<_> = (0..65).map(|n| request([n, n])).collect();
    assert_eq!(find(&many).1.err(), Some(RequestError::TooMany));
}

#[test]
fn requests_cut_off_by_the_end_of_the_image_are_none() {
    for length in 0..6 {
        let (image, found) = find(&[request(MP)[..length].to_vec()]);
        assert_eq!(found.expect("good").position(&image, MP), None, "{length} words");
    }
    assert_eq!(find(&[tag(2)[..2].to_vec()]).1.expect("good").revision, 0);
}

#[test]
fn revision_tags_are_answered_as_specified() {
    let answer = |revision| {
        let mut image = tag(revision);
        let found = Requests::find(&image).expect("good");
        found.answer_tag(&mut image);
        (found.revision, image[1], image[2])
    };
    for supported in 0..=3 {
        assert_eq!(answer(supported), (supported, supported, 0));
    }
    assert_eq!(answer(4), (3, 3, 4), "unsupported: third word unchanged, loaded revision in the second");
    assert_eq!(answer(u64::MAX), (3, 3, u64::MAX));
    assert_eq!(find(&[request(MP)]).1.expect("good").revision, 0, "no tag means revision 0");
}

#[test]
fn section_list_replaces_the_search() {
    let (image, found) = find(&[request(MP), request(DIRECT_MAP)]);
    let mut found = found.expect("good");
    found.replace(&image, [Some(6)].into_iter()).expect("in range");
    assert_eq!((found.position(&image, MP), found.position(&image, DIRECT_MAP)), (None, Some(6)));
    assert_eq!(found.replace(&image, [Some(7)].into_iter()), Err(RequestError::BadSection));
    assert_eq!(found.replace(&image, [None].into_iter()), Err(RequestError::BadSection));
}
