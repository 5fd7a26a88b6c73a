//! Seeds of the simulation, each in a process of its own: that they hold, that they can be repeated, and that they would
//! find what is broken.

use serde_json::Value;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Seeds among which each mutation must be found.
const MUTATION_SEEDS: u64 = 600;

/// What `sim --json` says of a seed.
fn run(seed: u64, more: &[&str]) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sim"));
    let output = command.args(["--seed", &seed.to_string(), "--json", "--brief"]).args(more).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("seed {seed}: {}, {said}", output.status))
}

fn violations(report: &Value) -> &[Value] {
    report["violations"].as_array().unwrap()
}

/// Runs seeds on every core, until `done`.
fn on_every_core(seeds: std::ops::Range<u64>, more: &[&str], done: impl Fn(&Value) -> bool + Sync) -> Vec<Value> {
    let (next, stop) = (AtomicU64::new(seeds.start), AtomicU64::new(0));
    let reports = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while stop.load(Ordering::SeqCst) == 0 {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed >= seeds.end {
                        return;
                    }
                    let report = run(seed, more);
                    stop.fetch_max(done(&report).into(), Ordering::SeqCst);
                    reports.lock().unwrap().push(report);
                }
            });
        }
    });
    reports.into_inner().unwrap()
}

#[test]
fn nothing_is_lost_in_a_few_dozen_seeds() {
    let reports = on_every_core(1..33, &[], |_| false);
    for report in &reports {
        let replay = format!("replay: cargo xtask sim --brief --seed {} --verbose", report["seed"]);
        assert_eq!(violations(report), &[] as &[Value], "{replay}");
    }
    let sum = |count: &str| reports.iter().filter_map(|report| report["counts"][count].as_u64()).sum::<u64>();
    // Without these the seeds would show nothing.
    for (count, least) in [("handovers", 100), ("writes acknowledged", 1_000), ("power lost", 1), ("partitions", 1)] {
        assert!(sum(count) >= least, "{} {count} in all", sum(count));
    }
}

#[test]
fn a_seed_is_repeated_exactly_and_others_are_other_runs() {
    let fingerprints: Vec<String> = (100..105).map(|seed| run(seed, &[])["fingerprint"].to_string()).collect();
    for (seed, fingerprint) in (100..105).zip(&fingerprints) {
        assert_eq!(run(seed, &[])["fingerprint"].to_string(), *fingerprint, "seed {seed}");
    }
    let mut distinct = fingerprints.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), fingerprints.len());
}

/// A mutation that no seed finds would mean that the simulation cannot see the mistake.
fn is_found(mutation: &str) {
    let found = |report: &Value| !violations(report).is_empty();
    let reports = on_every_core(1..MUTATION_SEEDS + 1, &["--mutation", mutation], found);
    assert!(reports.iter().any(found), "{mutation} was not found by {MUTATION_SEEDS} seeds");
}

#[test]
fn acknowledging_before_the_disk_has_it_is_found() {
    is_found("acknowledge-before-sync");
}

#[test]
fn a_role_that_is_forgotten_is_found() {
    is_found("role-is-forgotten");
}

#[test]
fn obeying_calls_that_are_over_is_found() {
    is_found("stale-calls-are-obeyed");
}

#[test]
fn a_commit_that_is_not_stored_is_found() {
    is_found("commit-is-not-stored");
}

#[test]
fn a_seal_that_is_skipped_is_found() {
    is_found("seal-is-skipped");
}

#[test]
fn promoting_before_catching_up_is_found() {
    is_found("promoted-before-caught-up");
}
