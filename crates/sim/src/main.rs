//! `sim`: one seed, in a process of its own. `cargo xtask sim` runs many.

use sim::simulation::{self, Options};
use std::process::ExitCode;

const USAGE: &str = "usage: sim --seed N [--brief] [--dense] [--verbose] [--mutation NAME] [--json]";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("error: {why}\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

/// True when nothing was violated.
fn run(arguments: &[String]) -> Result<bool, String> {
    let (mut options, mut json) = (Options::default(), false);
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let mut value = || rest.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "--seed" => options.seed = value()?.parse().map_err(|_| "--seed must be a whole number".to_string())?,
            "--mutation" => options.mutation = Some(value()?.parse()?),
            "--verbose" => options.verbose = true,
            "--brief" => options.brief = true,
            "--dense" => options.dense = true,
            "--json" => json = true,
            other => return Err(format!("`{other}` is not known")),
        }
    }
    if options.verbose {
        let lines = tracing_subscriber::fmt().without_time().with_target(false).with_writer(std::io::stdout);
        lines.with_max_level(tracing::Level::DEBUG).init();
    }
    let report = simulation::run(options).map_err(|error| error.to_string())?;
    if json {
        println!("{}", serde_json::to_string(&report).map_err(|error| error.to_string())?);
    } else {
        print!("{report}");
    }
    Ok(report.violations.is_empty())
}
