//! The address space as the kernel shows it: regions with their rights, ranges with their guards, and the same to people
//! and to programs.

use crate::support::{Run, Test, script};
use serde_json::Value;
use tests::{End, kernel};

/// The tests of this file.
pub(crate) fn tests() -> Vec<Test> {
    vec![Test::new("vmmap::every-range-lies-between-guards-and-its-tags-are-counted", || {
        let run = Run::of(script(2, "vmmap; stress 2k seed=7; vmmap --all; vmmap --json; mem --json; mem; quit"))?;
        run.ends(End::Success)?.judges("stress", &[true])?.adds_up(1)?;
        let text = kernel::answer(run.serial(), "vmmap --all");
        run.check(text.contains("each between unmapped pages: ok"), || format!("guards, found {text}"))?;
        let rows: Vec<Value> = kernel::answer(run.serial(), "vmmap --json")
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect();
        let of = |kind: &str| rows.iter().filter(|row| row["kind"] == kind).cloned().collect::<Vec<_>>();
        let number = |row: &Value, key: &str| row[key].as_u64().unwrap_or(u64::MAX);

        // Programs read names, people words.
        run.check(["largest free ", "depot visits ", "tag frames "].iter().all(|words| text.contains(words)), || {
            format!("figures by names of words, found {text}")
        })?;

        // Text alone is executable, and nothing of that is writable.
        let rights: Vec<_> =
            of("vmmap_region").iter().map(|row| (row["region"].clone(), row["rights"].clone())).collect();
        for (region, due) in [("text", "r-x"), ("constants", "r--"), ("data", "rw-"), ("direct map", "rw-")] {
            run.check(rights.iter().any(|(name, rights)| name == region && rights == due), || {
                format!("{region} with {due}, found {rights:?}")
            })?;
        }
        let nr_executable =
            rights.iter().filter(|(_, rights)| rights.as_str().is_some_and(|it| it.contains('x'))).count();
        run.check(nr_executable == 1, || format!("one executable region, found {rights:?}"))?;

        // Each range that the long list has is in the sums, and nothing else.
        let nr_listed = text.lines().filter(|line| line.starts_with("0xffff")).count();
        let figures = of("vmmap").pop().unwrap_or_default();
        let (nr_out, nr_cached) = (number(&figures, "ranges_out"), number(&figures, "ranges_cached"));
        let ranges = of("vmmap_ranges");
        let sum: u64 = ranges.iter().map(|row| number(row, "ranges")).sum();
        run.check(sum == nr_out + nr_cached, || format!("{nr_out} and {nr_cached} ranges, found {ranges:?}"))?;
        let nr_regions = kernel::answer(run.serial(), "vmmap").lines().filter(|line| line.contains(" 0xffff")).count();
        run.check(nr_listed as u64 >= nr_out && nr_regions >= 6, || {
            format!("{nr_listed} ranges, {nr_regions} regions")
        })?;
        let is_conserved = number(&figures, "allocs") == number(&figures, "frees") + nr_out;
        run.check(is_conserved, || format!("allocations less frees as ranges that are out, found {figures}"))?;
        run.check(number(&figures, "magazine_allocs") > 0, || format!("magazines in use, found {figures}"))?;

        // Free and cut addresses, guards, and the first page of the area are all of it.
        let nr_free: u64 = of("vmmap_free").iter().map(|row| number(row, "pages")).sum();
        let nr_cut = number(&figures, "cut_bytes") / 4096 + nr_out + nr_cached + 1;
        run.check((nr_free + nr_cut) * 4096 == number(&figures, "area_bytes"), || {
            format!("{nr_free} pages free and {nr_cut} cut, found {figures}")
        })?;

        let memory: Value = kernel::answer(run.serial(), "mem --json")
            .lines()
            .find_map(|line| serde_json::from_str(line).ok())
            .unwrap_or_default();
        run.check(memory["address_tag_frames"] == figures["tag_frames"], || format!("{figures} as in {memory}"))?;
        run.check(memory["page_table_frames"] == figures["table_frames"], || format!("{figures} as in {memory}"))?;
        run.passes()
    })]
}
