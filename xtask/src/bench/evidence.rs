//! How often a healthy release is taken back, and how soon a bad one is found: many simulated rollouts, judged second by
//! second by the code that judges real ones, and beside it by what others do with the same numbers.

mod rivals;
mod traffic;

use super::process;
use super::report::{Goal, Report};
use ::evidence::{Assessment, Counts, Judge, Measures, Policy, SLOW_GROWTH_MAX, Side, SignalRule, Threshold};
use anyhow::Result;
use rivals::{FixedThreshold, RepeatedTest};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use traffic::{Fault, Stretch, Traffic};

/// Simulates rollouts with and without a fault; prints false alarms and times to detection.
#[derive(clap::Args)]
#[command(
    after_long_help = "Examples:\n  cargo xtask bench evidence\n  cargo xtask bench evidence --rollouts 1000 --faulty 200"
)]
pub struct Arguments {
    /// Rollouts without a difference.
    #[arg(long, default_value_t = 10_000)]
    rollouts: u64,
    /// Rollouts with each fault.
    #[arg(long, default_value_t = 1_000)]
    faulty: u64,
    /// How long each is looked at, seconds.
    #[arg(long, default_value_t = 1_800)]
    seconds: u64,
    /// First seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Exit with an error when a figure misses its goal.
    #[arg(long)]
    pub strict: bool,
}

/// How often errors are looked at; the conductor does it as often.
const LOOKS_PER_S: u64 = 10;

/// Somebody who looks again and again, and says when it is enough.
trait Watcher {
    /// True when the candidate is to be taken back.
    fn look(&mut self, stretch: &Stretch) -> bool;
}

/// The judge with every signal that a recording has.
struct WholePolicy(Assessment);

impl WholePolicy {
    fn new() -> Self {
        let mut slow = [true; Threshold::ALL.len()];
        slow[Threshold::Limit as usize] = false;
        Self(Assessment::new(&Policy::default(), Measures { slow, replays: false }))
    }
}

impl Watcher for WholePolicy {
    fn look(&mut self, stretch: &Stretch) -> bool {
        self.0.observe_errors(stretch.candidate.errors(), stretch.active.errors());
        self.0.observe_slow(stretch.candidate, stretch.active);
        self.0.pass(stretch.lasted_s);
        self.0.has_failed()
    }
}

/// One signal that has the whole budget.
struct OneSignal {
    judge: Judge,
    signal: evidence::SignalId,
    events: fn(&Side) -> u64,
}

impl OneSignal {
    fn errors() -> Self {
        let rule = SignalRule::Events { ratio_max: 1.0, harmless_rate: None, growth_max: f64::INFINITY };
        Self::new("errors", rule, |side| side.errors)
    }

    fn over_p99() -> Self {
        let rule = SignalRule::Events { ratio_max: 1.0, harmless_rate: None, growth_max: SLOW_GROWTH_MAX };
        Self::new("over_p99", rule, |side| side.slow[Threshold::P99 as usize].unwrap_or(0))
    }

    fn new(name: &str, rule: SignalRule, events: fn(&Side) -> u64) -> Self {
        let mut judge = Judge::new(Policy::default().false_alarm_budget);
        let signal = judge.add(name, name, 1.0, rule);
        Self { judge, signal, events }
    }
}

impl Watcher for OneSignal {
    fn look(&mut self, stretch: &Stretch) -> bool {
        let counts = |side: &Side| Counts { requests: side.requests, events: (self.events)(side) };
        let (candidate, active) = (counts(&stretch.candidate), counts(&stretch.active));
        self.judge.observe(self.signal, candidate, active);
        self.judge.pass(stretch.lasted_s);
        self.judge.has_failed()
    }
}

/// Whom to compare, by name, in the order of the figures.
type Makers = &'static [(&'static str, fn() -> Box<dyn Watcher>)];

const ALL: Makers = &[
    ("every_signal", || Box::new(WholePolicy::new())),
    ("errors_alone", || Box::new(OneSignal::errors())),
    ("fixed_threshold", || Box::new(FixedThreshold::default())),
    ("repeated_z_test", || Box::new(RepeatedTest::default())),
];
const OF_LATENCY: Makers =
    &[("every_signal", || Box::new(WholePolicy::new())), ("over_p99_alone", || Box::new(OneSignal::over_p99()))];

pub async fn bench(arguments: Arguments) -> Result<Report> {
    let mut report = Report::new("evidence");
    let began = Instant::now();
    report.section("No difference, drifting traffic, changing shares");
    report.figure("rollouts", arguments.rollouts as f64, "");
    report.figure("looks_each", arguments.seconds as f64, "");
    let alarms = simulate(&arguments, arguments.rollouts, ALL, |seed| Traffic::drifting(seed, Fault::None));
    for ((name, _), times) in ALL.iter().zip(&alarms) {
        let alarms = times.iter().flatten().count() as f64;
        let share = alarms / arguments.rollouts.max(1) as f64;
        report.figure(&format!("false_alarms_{name}"), alarms, "");
        match *name {
            "every_signal" | "errors_alone" => {
                report.goal(&format!("false_alarm_share_{name}"), share, "", Goal::AtMost(0.001));
            }
            _ => report.figure(&format!("false_alarm_share_{name}"), share, ""),
        }
    }
    for (name, fault, looks_per_s, makers, goals) in [
        ("errors_x10", Fault::Errors(10.0), LOOKS_PER_S, ALL, ("errors_alone", 7.0)),
        ("errors_x5", Fault::Errors(5.0), LOOKS_PER_S, ALL, ("errors_alone", 23.0)),
        ("errors_x2", Fault::Errors(2.0), LOOKS_PER_S, ALL, ("errors_alone", 243.0)),
        ("over_p99_x2", Fault::Slow(2.0), 1, OF_LATENCY, ("over_p99_alone", 25.0)),
    ] {
        report.section(&format!("{name}: 1,000 requests/s, share 10 %, base rate {}", fault.base()));
        let traffic = |seed| Traffic::steady(seed, fault, looks_per_s);
        let found = simulate(&arguments, arguments.faulty, makers, traffic);
        for ((maker, _), times) in makers.iter().zip(&found) {
            let mut seconds: Vec<f64> = times.iter().flatten().copied().collect();
            let share = seconds.len() as f64 / times.len().max(1) as f64;
            report.figure(&format!("{name}_found_share_{maker}"), share, "");
            seconds.sort_by(f64::total_cmp);
            // Of all rollouts, not of those in which it was found.
            let at = |part: f64| seconds.get((times.len() as f64 * part) as usize).copied();
            let median = format!("{name}_median_s_{maker}");
            match (at(0.5), *maker == goals.0) {
                (Some(value), true) => report.goal(&median, value, "s", Goal::AtMost(goals.1)),
                (Some(value), false) => report.figure(&median, value, "s"),
                (None, _) => report.text(&median, "not found"),
            }
            if let Some(value) = at(0.9) {
                report.figure(&format!("{name}_p90_s_{maker}"), value, "s");
            }
        }
    }
    report.section("Cost");
    report.figure("took_s", began.elapsed().as_secs_f64(), "s");
    report.figure("resident_mb", process::memory_of(std::process::id())?.peak as f64 / 1e6, "MB");
    Ok(report)
}

/// For each watcher, and each rollout: after how many seconds it was enough.
fn simulate(
    arguments: &Arguments,
    rollouts: u64,
    makers: Makers,
    traffic: impl Fn(u64) -> Traffic + Sync,
) -> Vec<Vec<Option<f64>>> {
    let next = AtomicU64::new(0);
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let one = |number: u64| -> Vec<Option<f64>> {
        let mut watchers: Vec<Box<dyn Watcher>> = makers.iter().map(|(_, make)| make()).collect();
        let mut found = vec![None; watchers.len()];
        let mut traffic = traffic(arguments.seed + number);
        let mut elapsed_s = 0.0;
        while elapsed_s < arguments.seconds as f64 - 1e-6 && found.contains(&None) {
            let stretch = traffic.next();
            elapsed_s += stretch.lasted_s;
            for (watcher, found) in watchers.iter_mut().zip(&mut found) {
                if found.is_none() && watcher.look(&stretch) {
                    *found = Some(elapsed_s);
                }
            }
        }
        found
    };
    let work = || {
        let mut done = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= rollouts {
                return done;
            }
            done.push(one(number));
            if number % 1_000 == 999 {
                eprintln!("  {} of {rollouts}", number + 1);
            }
        }
    };
    let all: Vec<Vec<Option<f64>>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap_or_default()).collect()
    });
    (0..makers.len()).map(|maker| all.iter().map(|found| found[maker]).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments() -> Arguments {
        Arguments { rollouts: 40, faulty: 40, seconds: 300, seed: 7, strict: false }
    }

    #[test]
    fn the_judge_finds_what_the_others_miss_and_raises_no_alarm_where_they_do() {
        let arguments = arguments();
        let count = |times: &Vec<Option<f64>>| times.iter().flatten().count();
        let alarms = simulate(&arguments, 40, ALL, |seed| Traffic::drifting(seed, Fault::None));
        assert_eq!(count(&alarms[0]) + count(&alarms[1]), 0);
        let found = simulate(&arguments, 40, ALL, |seed| Traffic::steady(seed, Fault::Errors(5.0), LOOKS_PER_S));
        assert_eq!((count(&found[0]), count(&found[1])), (40, 40));
        assert!(count(&found[2]) < 40, "half a percent of errors is within the fixed threshold");
    }

    #[test]
    fn a_seed_gives_the_same_rollout_again() {
        let seconds = |seed| {
            let mut traffic = Traffic::drifting(seed, Fault::None);
            (0..50).map(|_| traffic.next()).collect::<Vec<_>>()
        };
        assert_eq!(seconds(3), seconds(3));
        assert_ne!(seconds(3), seconds(4));
    }
}
