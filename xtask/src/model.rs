//! `cargo xtask model`: every order of everything that may happen in a handover, within bounds, with the real decisions and
//! the real rules of a node.

use anyhow::{Result, ensure};
use clap::Args;
use serde_json::json;
use sim::model::{Handover, Rules, searches};

/// Searches the model of the handover exhaustively.
#[derive(Args)]
#[command(
    after_long_help = "Examples:\n  cargo xtask model\n  cargo xtask model --deep\n  cargo xtask model --only views"
)]
pub struct Model {
    /// With larger bounds: minutes instead of seconds, and gigabytes of memory.
    #[arg(long)]
    deep: bool,
    /// Only the search of this name.
    #[arg(long)]
    only: Option<String>,
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

pub fn run(options: &Model) -> Result<()> {
    let searches = if options.deep { searches::DEEP } else { searches::QUICK };
    let wanted = |name: &str| options.only.as_deref().is_none_or(|only| only == name);
    let (mut states, mut seconds, mut failures) = (0, 0.0, 0);
    println!("{:<12} {:>10} {:>6} {:>8}", "search", "states", "depth", "took s");
    for bounds in searches.iter().filter(|bounds| wanted(bounds.name)) {
        let report = Handover::new(*bounds, Rules::default()).search(options.threads);
        let took_s = report.took.as_secs_f64();
        println!("{:<12} {:>10} {:>6} {took_s:>8.1}", report.name, report.states, report.depth);
        for (property, way) in &report.failures {
            println!("does not hold: {property}\n{way}");
        }
        for unseen in &report.unseen {
            println!("never seen: {unseen}");
        }
        states += report.states;
        seconds += took_s;
        failures += report.failures.len() + report.unseen.len();
    }
    ensure!(states > 0, "--only: no search has that name; without it, all are listed");
    println!("{}", json!({"deep": options.deep, "states": states, "seconds": seconds, "failures": failures}));
    ensure!(failures == 0, "{failures} properties of the model do not hold");
    Ok(())
}
