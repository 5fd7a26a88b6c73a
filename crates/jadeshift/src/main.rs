//! `jadeshift`: the command line, and the one place where everything is put together.
//!
//! | file | holds |
//! |---|---|
//! | `cli.rs` | what can be typed |
//! | `commands.rs`, `commands/` | what each command does, one file each where it is more than a call |
//! | `deployment.rs` | the deployment that a command is about: of this machine, or of a cluster |
//! | `control.rs` | talking to the running `jadeshift up` |
//! | `follow.rs` | watching a rollout until something happens |
//! | `text.rs`, `text/` | results as people read them |
//! | `output.rs`, `logging.rs`, `signals.rs` | stdout and stderr, log lines, Ctrl-C |
//! | `exit.rs`, `failure.rs` | exit codes; errors in one line |
//! | `demo.rs`, `demo/` | the demonstration |

mod cli;
mod commands;
mod control;
mod demo;
mod deployment;
mod document;
mod exit;
mod failure;
mod follow;
mod logging;
mod output;
mod signals;
mod text;

use std::io::Write;

fn main() -> std::process::ExitCode {
    match commands::run(cli::Cli::of_this_process()) {
        Ok(code) => code,
        Err(failure) => {
            // Nobody is left to be told when stderr is gone; the exit code still says it.
            let _ = writeln!(std::io::stderr(), "jadeshift: {failure}");
            failure.code.into()
        }
    }
}
