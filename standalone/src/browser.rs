//! Opening a page in the browser of whoever started the program.

use std::{
    io::Write,
    process::{Command, Stdio},
};

/// The program of each system that opens a URL the way its user wants; of Linux, that of freedesktop.org.
const OPENER: &str = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };

/// Opens `url`. That it cannot be opened stops nothing, so it is only told.
pub fn open(url: &str) {
    // It may stay as long as the browser does, and what it prints is not for our terminal.
    let opener = Command::new(OPENER).arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    match opener {
        // A thread waits for it, so that no zombie is left.
        Ok(mut opener) => drop(std::thread::spawn(move || opener.wait())),
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "cannot open {url} in a browser: {OPENER}: {error}");
        }
    }
}
