//! Two streams: stdout carries data, stderr the rest.

use crate::cli::{Globals, Output};
use serde::Serialize;
use std::io::{IsTerminal, Write};

/// How this invocation prints.
#[derive(Debug, Clone, Copy)]
pub struct Printer {
    pub json: bool,
    quiet: bool,
}

impl Printer {
    pub fn new(globals: &Globals) -> Self {
        Self { json: globals.output == Output::Json, quiet: globals.quiet }
    }

    /// A result, for a person or as JSON, whichever was asked for.
    pub fn result(&self, text: impl FnOnce() -> String, value: &impl Serialize) {
        if self.json {
            // Values of this program have no maps with other keys than strings: they can always be written.
            print(&serde_json::to_string_pretty(value).unwrap_or_default());
        } else {
            print(&text());
        }
    }

    /// One result of several: a line of text, or a line of JSON.
    pub fn line(&self, text: &str, value: &impl Serialize) {
        if self.json {
            print(&serde_json::to_string(value).unwrap_or_default());
        } else {
            print(text);
        }
    }

    /// What is going on; not shown with `--quiet`.
    pub fn progress(&self, text: &str) {
        if !self.quiet {
            // Nobody is left to be told when stderr is gone.
            let _ = writeln!(std::io::stderr(), "{text}");
        }
    }
}

/// Writes data and a line end to stdout. A reader that went away (`jadeshift info | head -1`) is no error.
pub fn print(data: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = writeln!(stdout, "{}", data.trim_end_matches('\n')).and_then(|()| stdout.flush());
}

/// Replaces what is on the terminal.
pub fn redraw(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = writeln!(stdout, "\x1b[H\x1b[2J{text}").and_then(|()| stdout.flush());
}

pub fn stdout_is_terminal() -> bool {
    std::io::stdout().is_terminal()
}
