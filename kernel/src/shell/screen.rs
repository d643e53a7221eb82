//! `screen`: what the console's screen and keyboard are, and a picture to judge it by.

use kernel::args::{ArgError, Args};
use kernel::screen::colour::{PALETTE, Rgb};

use super::{Command, Status};
use crate::console::{self, print, println};
use crate::input;
use crate::screen::{self, Picture};

/// The commands of this module.
pub const COMMANDS: &[Command] = &[Command {
    name: "screen",
    usage: "[test]",
    help: "what screen and keyboard are; with test, colours and characters to judge by",
    details: "Shift with Page Up and Page Down look back and ahead. screen=off on the kernel command line does without,\n\
              keyboard=de and the like choose another layout of keys.",
    run: screen,
}];

fn screen<'a>(mut args: Args<'a>, usage: &'static str) -> Result<Status, ArgError<'a>> {
    let is_test = args.flag("test");
    args.finish(usage)?;
    match input::keyboard() {
        None => println!("keyboard: none"),
        Some(keyboard) => {
            let set = if keyboard.is_translated { 1 } else { 2 };
            let answer = if keyboard.has_acknowledged { "" } else { ", which has not answered" };
            println!("keyboard: PS/2, scan code set {set}{answer}");
        }
    }
    let found = console::with_screen(|screen| (screen.pixels(), screen.size(), screen.nr_above()));
    let Some(((width, height, nr_bits), (columns, rows), nr_above)) = found else {
        println!("screen: none; the bootloader gave no framebuffer, or screen=off was asked for");
        return Ok(if is_test { Status::Failed } else { Status::Ok });
    };
    println!(
        "screen: {width}x{height}, {nr_bits} bits a pixel; {columns} columns, {rows} rows, {nr_above} lines above"
    );
    if is_test {
        for first in [30, 90] {
            (first..first + 8).for_each(|ink| print!("\x1b[{ink}m ink {ink} \x1b[0m"));
            (first + 10..first + 18).for_each(|paper| print!("\x1b[{paper};30m {paper:^4} \x1b[0m"));
            println!();
        }
        println!("┌──────┬──────┐  ╔══════╦══════╗  ░░▒▒▓▓██  ▁▂▃▄▅▆▇█  ▏▎▍▌▋▊▉█  ▖▗▘▙▚▛▜▝▞▟");
        println!(
            "│ \x1b[1mbold\x1b[0m │ \x1b[4mline\x1b[0m │  ║ \x1b[7minverse\x1b[0m     ║  µ ä é ß × ÷ ° ± § – “ ” • → 漢"
        );
        println!("└──────┴──────┘  ╚══════╩══════╝");
        // Whatever ends it, it ends well: there is nothing to cancel.
        let _ = screen::show(paint);
    }
    Ok(Status::Ok)
}

/// All colours, a scale of greys, and the edges of the screen.
fn paint(picture: &mut Picture) {
    let (width, height) = picture.size();
    let (_, line) = picture.character();
    let paper = PALETTE[0];
    picture.fill(0, 0, width, height, Rgb::WHITE);
    picture.fill(1, 1, width.saturating_sub(2), height.saturating_sub(2), paper);
    let cell = width / 18;
    for (nth, &colour) in PALETTE.iter().enumerate() {
        picture.fill(cell * (nth + 1), height / 8, cell, height / 4, colour);
    }
    for step in 0..64 {
        let grey = Rgb::BLACK.towards(Rgb::WHITE, step as u8 * 4 + 3);
        let (start, end) = (cell + 16 * cell * step / 64, cell + 16 * cell * (step + 1) / 64);
        picture.fill(start, height / 2, end - start, height / 8, grey);
    }
    picture.text(cell, height * 3 / 4, "One white line of pixels goes around the screen.", PALETTE[7], paper);
    picture.text(cell, height * 3 / 4 + 2 * line, "Press a key.", PALETTE[11], paper);
}
