//! What happens, for the curious, on stderr.

use crate::cli::Globals;
use tracing::Level;
use tracing_subscriber::filter::LevelFilter;

/// Sends log lines to stderr: warnings, more with `-v`, `-vv`, nothing but errors with `--quiet`; `JADESHIFT_LOG` (`error`,
/// `warn`, `info`, `debug`, `trace`, `off`) says otherwise.
pub fn start(globals: &Globals) {
    let asked = std::env::var("JADESHIFT_LOG").ok();
    let level = match asked.as_deref().map(str::parse::<LevelFilter>) {
        Some(Ok(level)) => level,
        _ => by_flags(globals),
    };
    let started = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_target(false)
        .with_max_level(level)
        .try_init();
    if let (Ok(()), Some(Err(_)), Some(asked)) = (started, asked.as_deref().map(str::parse::<LevelFilter>), asked) {
        tracing::warn!("JADESHIFT_LOG is `{asked}`: it must be error, warn, info, debug, trace or off");
    }
}

fn by_flags(globals: &Globals) -> LevelFilter {
    match (globals.quiet, globals.verbose) {
        (true, _) => Level::ERROR.into(),
        (false, 0) => Level::WARN.into(),
        (false, 1) => Level::INFO.into(),
        (false, _) => Level::DEBUG.into(),
    }
}
