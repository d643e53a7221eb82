//! The whole way: a run is summarised, packed, cut, shown as codes, photographed, recognised, put together, and is what
//! it was.

mod camera;
mod program;
mod runs;

use camera::{Camera, screen};
use image::{DynamicImage, GrayImage, ImageFormat};
use proptest::prelude::*;
use qr::code::Canvas;
use qr::collect::{Collected, Collection};
use qr::cut::{Cut, Version};
use qr::photo::{self, Seen};
use qr::{pack, part};
use std::io::Cursor;

const SCREEN: (u32, u32) = (1024, 768);

/// Each code of a run, on a screen.
fn screens(packed: &[u8], version: Version, size: (u32, u32)) -> Vec<GrayImage> {
    let cut = Cut::new(packed, version).expect("it fits");
    let mut canvas = Canvas::new();
    let parts = (1..=cut.nr_parts()).map(|number| cut.part(number).expect("a part"));
    parts.map(|part| screen(&canvas.draw(&part, cut.version()).expect("it fits"), size)).collect()
}

fn file(picture: &GrayImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    DynamicImage::ImageLuma8(picture.clone()).write_to(&mut bytes, format).expect("memory takes everything");
    bytes.into_inner()
}

fn collect(seen: impl IntoIterator<Item = Seen>) -> Vec<Collected> {
    let mut collection = Collection::new();
    for found in seen.into_iter().flat_map(|seen| seen.texts).flat_map(|text| part::find(&text)) {
        collection.add(found);
    }
    collection.finish()
}

/// The text of the only run; else what is wrong.
fn text_of(runs: &[Collected]) -> Result<&str, String> {
    let [run] = runs else { return Err(format!("{} runs", runs.len())) };
    let bytes = run.text.as_ref().map_err(|fault| format!("{} of {} parts: {fault}", run.nr_seen, run.nr_parts))?;
    str::from_utf8(bytes).map_err(|error| error.to_string())
}

fn packed_run(nr_rows: u64) -> (String, Vec<u8>) {
    let text = runs::text(&runs::usual(nr_rows));
    let packed = pack::pack(text.as_bytes()).expect("it is short");
    (text, packed)
}

#[test]
fn screenshots_of_every_kind_are_read() {
    let (text, packed) = packed_run(80);
    let pictures = screens(&packed, Version::MAX, SCREEN);
    assert!(pictures.len() > 2, "{} codes of {} bytes", pictures.len(), packed.len());
    for format in [ImageFormat::Png, ImageFormat::Pnm, ImageFormat::Jpeg] {
        let files: Vec<Vec<u8>> = pictures.iter().map(|picture| file(picture, format)).collect();
        assert!(files.iter().all(|file| photo::is_picture(file)), "{format:?}");
        let runs = collect(files.iter().map(|file| photo::read(file).expect("a picture")));
        assert!(text_of(&runs) == Ok(&text), "{format:?}: {:?}", text_of(&runs).err());
    }
}

#[test]
fn photographs_are_read() {
    let (_, packed) = packed_run(80);
    let picture = &screens(&packed, Version::MAX, SCREEN)[0];
    let plain = Camera::FAULTLESS;
    // A telephone's picture of 2 megapixels, in which the screen fills most of the height.
    let telephone = Camera { size: (1600, 1200), scale: 1.45, blur: 1, noise: 12, ..plain };
    let cameras = [
        ("noisy", Camera { noise: 40, ..plain }),
        ("upside down", Camera { degrees: 180.0, ..plain }),
        ("on its side", Camera { size: (768, 1024), degrees: 90.0, ..plain }),
        ("straight", telephone),
        ("slightly turned", Camera { degrees: 4.0, ..telephone }),
        ("turned", Camera { degrees: 38.0, size: (1800, 1800), ..telephone }),
        ("from the side", Camera { tilt: (0.12, 0.0), ..telephone }),
        ("from above and turned", Camera { tilt: (0.05, 0.10), degrees: -7.0, ..telephone }),
        ("in uneven light", Camera { shade: 35.0, ..telephone }),
        ("blurred", Camera { blur: 2, ..telephone }),
        ("from far away", Camera { size: (1000, 750), scale: 0.85, noise: 6, ..plain }),
        ("large and noisy", Camera { size: (2700, 2100), scale: 2.6, blur: 3, noise: 60, degrees: 2.0, ..plain }),
    ];
    for (name, camera) in cameras {
        let seen = photo::look(&camera.photograph(picture));
        let found: Vec<_> = seen.texts.iter().flat_map(|text| part::find(text)).collect();
        assert!(
            matches!(found[..], [part::Found::Whole { .. }]),
            "{name}: {} codes, {} unread",
            found.len(),
            seen.nr_unread
        );
    }
}

#[test]
fn several_codes_in_one_picture_are_read() {
    let (text, packed) = packed_run(40);
    let version = Version::within_modules(80).expect("a version");
    let pictures = screens(&packed, version, (400, 400));
    assert!(pictures.len() > 4);
    let columns = 3;
    let rows = (pictures.len() as u32).div_ceil(columns);
    let sheet = GrayImage::from_fn(columns * 440, rows * 440, |x, y| {
        let picture = pictures.get((y / 440 * columns + x / 440) as usize);
        let pixel =
            picture.filter(|_| x % 440 < 400 && y % 440 < 400).map(|picture| *picture.get_pixel(x % 440, y % 440));
        pixel.unwrap_or(image::Luma([90]))
    });
    let runs = collect([photo::look(&sheet)]);
    assert!(text_of(&runs) == Ok(&text), "{:?}", text_of(&runs).err());
}

#[test]
fn a_picture_that_claims_to_be_huge_is_refused() {
    let error = photo::read(b"P5 100000 100000 255\n").expect_err("it is too large");
    assert!(error.to_string().contains("are more than"), "{error}");
    assert!(photo::read(b"\x89PNG\r\n\x1a\n").is_err() && photo::read(b"").is_err());
    assert_eq!(photo::look(&GrayImage::new(0, 0)), Seen::default());
    assert_eq!(photo::look(&GrayImage::new(1, 5000)), Seen::default());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn any_run_comes_back(run in runs::any_run(), modules in 37_usize..126, backwards in any::<bool>()) {
        let text = runs::text(&run);
        let packed = pack::pack(text.as_bytes()).expect("it is short");
        let version = Version::within_modules(modules).expect("a version");
        let mut pictures = screens(&packed, version, (640, 640));
        if backwards {
            pictures.reverse();
        }
        let runs = collect(pictures.iter().map(photo::look));
        prop_assert!(text_of(&runs) == Ok(&text), "{:?}", text_of(&runs).err());
        let read = records::lines::read(&text).expect("a recording");
        prop_assert!(read.len() == 1 && read[0].meta.is_summary && read[0].rows.len() == run.rows.len());
    }

    #[test]
    fn no_file_is_fatal(changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..60), kind in 0_usize..3) {
        let (_, packed) = packed_run(1);
        let picture = &screens(&packed, Version::within_modules(61).expect("a version"), (200, 200))[0];
        let mut bytes = file(picture, [ImageFormat::Png, ImageFormat::Pnm, ImageFormat::Jpeg][kind]);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(seen) = photo::read(&bytes) {
            prop_assert!(collect([seen]).iter().all(|run| run.nr_seen <= usize::from(run.nr_parts)));
        }
    }
}
