//! The description of the format, from the declarations themselves: `docs/records.md`.

use core::fmt::{self, Write};

use crate::record::Record;
use crate::{End, Latency, Meta, Remark, Throughput, Waste};

/// Writes the page, in Markdown.
///
/// # Errors
///
/// The writer's.
pub fn write(out: &mut dyn Write) -> fmt::Result {
    out.write_str(
        "# Records of a benchmark run\n\n\
         A recording is JSON, one record a line, and a `bench-meta` first. `bench --json` in the kernel and\n\
         `just bench-native --json` print them; `just report` and `just bench-compare` read them, also out of a serial\n\
         log with other lines. Numbers are whole; a unit stands at the end of a name; what is not known is `null`.\n\n\
         Printed from `bench/records`; `RENEW=1 cargo test -p records` writes it anew.\n",
    )?;
    of::<Meta<'_>>(out)?;
    of::<Throughput<'_>>(out)?;
    of::<Latency<'_>>(out)?;
    of::<Waste<'_>>(out)?;
    of::<Remark<'_>>(out)?;
    of::<End<'_>>(out)
}

fn of<R: Record>(out: &mut dyn Write) -> fmt::Result {
    write!(out, "\n## {}\n\n", R::KIND)?;
    R::DOC.iter().try_for_each(|line| writeln!(out, "{}", line.trim()))?;
    out.write_str("\n| field | holds | meaning |\n|---|---|---|\n")?;
    for field in R::FIELDS {
        write!(out, "| `{}` | {} |", field.name, field.shape)?;
        field.doc.iter().try_for_each(|line| write!(out, " {}", line.trim()))?;
        out.write_str(" |\n")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;

    #[test]
    fn the_page_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/records.md");
        let mut page = String::new();
        write(&mut page).expect("a string takes everything");
        if std::env::var_os("RENEW").is_some() {
            std::fs::write(path, &page).expect("the page can be written");
        }
        let found = std::fs::read_to_string(path).unwrap_or_default();
        assert!(found == page, "docs/records.md is not what the records say: RENEW=1 cargo test -p records");
    }
}
