//! Simulated traffic of two environments, look by look.

use evidence::{Side, Threshold};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rand_distr::{Binomial, Distribution, Poisson};
use std::f64::consts::TAU;

/// Usual rates of events: errors, and answers slower than each quantile.
const ERROR_RATE: f64 = 0.001;
const SLOW_RATES: [f64; 3] = [0.5, 0.1, 0.01];
/// Requests per second of both sides together.
const REQUESTS: f64 = 1_000.0;
/// Shares that a rollout of changing ones draws from.
const SHARES: [f64; 6] = [0.02, 0.1, 0.25, 0.5, 0.75, 0.9];

/// What is wrong with the candidate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    None,
    /// This many times the errors.
    Errors(f64),
    /// This many times the answers slower than p99.
    Slow(f64),
}

impl Fault {
    /// The rate that it multiplies.
    pub fn base(self) -> f64 {
        match self {
            Fault::None | Fault::Errors(_) => ERROR_RATE,
            Fault::Slow(_) => SLOW_RATES[2],
        }
    }
}

/// What both did between two looks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stretch {
    /// How long it was, seconds.
    pub lasted_s: f64,
    pub candidate: Side,
    pub active: Side,
}

/// One rollout's traffic.
pub struct Traffic {
    chance: StdRng,
    fault: Fault,
    drifts: bool,
    /// Of the waves in rate, errors and latency.
    phases: [f64; 3],
    /// How often it is looked at.
    looks_per_s: u64,
    look: u64,
    share: f64,
    /// An incident that both suffer from: until when, and how many times the errors.
    incident: (u64, f64),
}

impl Traffic {
    /// Always the same rates and a share of 10 %.
    pub fn steady(seed: u64, fault: Fault, looks_per_s: u64) -> Self {
        Self { looks_per_s, ..Self::new(seed, fault, false) }
    }

    /// Traffic that comes and goes by half, rates that wander and jump, and shares that change within a minute or so.
    pub fn drifting(seed: u64, fault: Fault) -> Self {
        Self::new(seed, fault, true)
    }

    fn new(seed: u64, fault: Fault, drifts: bool) -> Self {
        let mut chance = StdRng::seed_from_u64(seed);
        let phases = [(); 3].map(|()| chance.random_range(0.0..TAU));
        Self { chance, fault, drifts, phases, looks_per_s: 1, look: 0, share: 0.1, incident: (0, 1.0) }
    }

    pub fn next(&mut self) -> Stretch {
        self.look += 1;
        let lasted_s = 1.0 / self.looks_per_s as f64;
        let (mut requests, mut errors, mut slower) = (REQUESTS * lasted_s, ERROR_RATE, 1.0);
        if self.drifts {
            let wave = |period_s: f64, phase: f64| (self.look as f64 / period_s * TAU + phase).sin();
            let [of_rate, of_errors, of_latency] = self.phases;
            requests *= 1.0 + 0.5 * wave(700.0, of_rate);
            errors *= (1.0 + wave(400.0, of_errors)).exp2();
            slower *= (0.9 * wave(500.0, of_latency)).exp2();
            if self.chance.random_bool(1.0 / 60.0) {
                self.share = SHARES[self.chance.random_range(0..SHARES.len())];
            }
            if self.chance.random_bool(1.0 / 600.0) {
                let lasts_s = self.chance.random_range(5..60);
                self.incident = (self.look + lasts_s, self.chance.random_range(2.0..30.0));
            }
            if self.look < self.incident.0 {
                errors *= self.incident.1;
                slower *= 1.9;
            }
        }
        let all = Poisson::new(requests).map_or(0, |poisson| poisson.sample(&mut self.chance) as u64);
        let candidate = self.draw(all, self.share);
        let worse = self.fault;
        Stretch {
            lasted_s,
            candidate: self.side(candidate, errors, slower, worse),
            active: self.side(all - candidate, errors, slower, Fault::None),
        }
    }

    fn side(&mut self, requests: u64, mut error_rate: f64, slower: f64, fault: Fault) -> Side {
        let mut rates = SLOW_RATES.map(|rate| (rate * slower).min(0.95));
        match fault {
            Fault::None => (),
            Fault::Errors(factor) => error_rate *= factor,
            Fault::Slow(factor) => rates[2] *= factor,
        }
        // Whoever is slower than p99 is slower than p90 and p50 as well.
        let over_p50 = self.draw(requests, rates[0]);
        let over_p90 = self.draw(over_p50, rates[1] / rates[0]);
        let over_p99 = self.draw(over_p90, rates[2] / rates[1]);
        let mut slow = [None; Threshold::ALL.len()];
        slow[Threshold::P50 as usize] = Some(over_p50);
        slow[Threshold::P90 as usize] = Some(over_p90);
        slow[Threshold::P99 as usize] = Some(over_p99);
        Side { requests, errors: self.draw(requests, error_rate), slow }
    }

    fn draw(&mut self, trials: u64, chance: f64) -> u64 {
        Binomial::new(trials, chance.clamp(0.0, 1.0)).map_or(0, |binomial| binomial.sample(&mut self.chance))
    }
}
