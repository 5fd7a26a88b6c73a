//! Counts and latencies of each colour: plain atomics on the way of a request, values for everybody else.
//!
//! Counters only grow; who wants the figures of a step takes the difference of two snapshots ([`ColourMetrics::since`]).

use serde::{Deserialize, Serialize};
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use wire::latency::{Latency, LatencyCounter};
use wire::{ByColour, Colour};

/// What one colour answered since the gateway started. One request counts once for each colour it was tried on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct ColourMetrics {
    pub reads: u64,
    /// Reads answered with 5xx, or not, or not to the end.
    pub read_errors: u64,
    /// Reads answered with 503 because the node has not what its client wrote: lag, and no error.
    pub reads_behind: u64,
    pub writes: u64,
    /// Writes answered with 5xx, or not, or not to the end.
    pub write_errors: u64,
    /// Requests at this colour at the moment, until the last byte of the answer has been passed on.
    pub in_flight: u64,
    /// Time from the attempt at this colour to the head of its answer (or to its failure).
    pub read_latency: Latency,
    pub write_latency: Latency,
}

impl ColourMetrics {
    /// What came after `earlier`, a snapshot of the same gateway. `in_flight` is that of now.
    pub fn since(&self, earlier: &ColourMetrics) -> ColourMetrics {
        ColourMetrics {
            reads: self.reads.saturating_sub(earlier.reads),
            read_errors: self.read_errors.saturating_sub(earlier.read_errors),
            reads_behind: self.reads_behind.saturating_sub(earlier.reads_behind),
            writes: self.writes.saturating_sub(earlier.writes),
            write_errors: self.write_errors.saturating_sub(earlier.write_errors),
            in_flight: self.in_flight,
            read_latency: self.read_latency.since(&earlier.read_latency),
            write_latency: self.write_latency.since(&earlier.write_latency),
        }
    }
}

/// Counters of one colour, on cache lines of their own. Requests are counted by the histograms.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Counters {
    reads: LatencyCounter,
    writes: LatencyCounter,
    read_errors: AtomicU64,
    reads_behind: AtomicU64,
    write_errors: AtomicU64,
    in_flight: AtomicU64,
}

impl Counters {
    fn new() -> Self {
        Self {
            reads: LatencyCounter::default(),
            writes: LatencyCounter::default(),
            read_errors: AtomicU64::new(0),
            reads_behind: AtomicU64::new(0),
            write_errors: AtomicU64::new(0),
            in_flight: AtomicU64::new(0),
        }
    }

    pub(crate) fn record(&self, read: bool, failed: bool, took: Duration) {
        let histogram = if read { &self.reads } else { &self.writes };
        histogram.record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        if failed {
            self.record_error(read);
        }
    }

    /// An error of a request that is counted already: its answer broke off.
    pub(crate) fn record_error(&self, read: bool) {
        let errors = if read { &self.read_errors } else { &self.write_errors };
        errors.fetch_add(1, Ordering::Relaxed);
    }

    /// A read that is counted already, and is no error.
    pub(crate) fn record_behind(&self) {
        self.reads_behind.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn enter(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn leave(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Relaxed)
    }

    fn snapshot(&self) -> ColourMetrics {
        // Errors first: a request is counted before its error, so errors never outnumber requests here.
        let read_errors = self.read_errors.load(Ordering::Relaxed);
        let reads_behind = self.reads_behind.load(Ordering::Relaxed);
        let write_errors = self.write_errors.load(Ordering::Relaxed);
        let (read_latency, write_latency) = (self.reads.snapshot(), self.writes.snapshot());
        ColourMetrics {
            reads: read_latency.count(),
            read_errors,
            reads_behind,
            writes: write_latency.count(),
            write_errors,
            in_flight: self.in_flight(),
            read_latency,
            write_latency,
        }
    }
}

/// All counters of a gateway.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) colours: ByColour<Counters>,
    /// Reads that were sent again, to the same colour or to the other.
    pub(crate) reads_repeated: AtomicU64,
    /// Client connections beyond the limit.
    pub(crate) connections_refused: AtomicU64,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        Self {
            colours: ByColour::from_fn(|_| Counters::new()),
            reads_repeated: AtomicU64::new(0),
            connections_refused: AtomicU64::new(0),
        }
    }

    pub(crate) fn of(&self, colour: Colour) -> &Counters {
        self.colours.get(colour)
    }

    pub(crate) fn snapshot(&self) -> ByColour<ColourMetrics> {
        ByColour::from_fn(|colour| self.of(colour).snapshot())
    }

    /// Prometheus text format 0.0.4. `gauges`: name, help, value of what is known elsewhere.
    pub(crate) fn prometheus_text(&self, gauges: &[(&str, &str, u64)]) -> String {
        let snapshot = self.snapshot();
        let mut text = String::with_capacity(8 * 1024);
        type Values = fn(&ColourMetrics) -> [u64; 2];
        let requests: Values = |metrics| [metrics.reads, metrics.writes];
        let errors: Values = |metrics| [metrics.read_errors, metrics.write_errors];
        let series = [
            ("requests_total", "Requests tried on a colour.", requests),
            ("request_errors_total", "Requests a colour answered with 5xx, or not.", errors),
        ];
        for (name, help, values) in series {
            head(&mut text, name, help, "counter");
            for (colour, metrics) in snapshot.iter() {
                let [reads, writes] = values(metrics);
                let _ = writeln!(text, "jadeshift_gateway_{name}{{colour=\"{colour}\",kind=\"read\"}} {reads}");
                let _ = writeln!(text, "jadeshift_gateway_{name}{{colour=\"{colour}\",kind=\"write\"}} {writes}");
            }
        }
        head(&mut text, "reads_behind_total", "Reads a colour refused because it lags behind their writes.", "counter");
        for (colour, metrics) in snapshot.iter() {
            let _ =
                writeln!(text, "jadeshift_gateway_reads_behind_total{{colour=\"{colour}\"}} {}", metrics.reads_behind);
        }
        head(&mut text, "in_flight", "Requests at a colour now.", "gauge");
        for (colour, metrics) in snapshot.iter() {
            let _ = writeln!(text, "jadeshift_gateway_in_flight{{colour=\"{colour}\"}} {}", metrics.in_flight);
        }
        head(&mut text, "latency_seconds", "Time to the head of a colour's answer.", "histogram");
        for (colour, metrics) in snapshot.iter() {
            latency_lines(&mut text, colour, "read", &metrics.read_latency);
            latency_lines(&mut text, colour, "write", &metrics.write_latency);
        }
        let totals = [
            ("reads_repeated_total", "Reads sent a second time.", &self.reads_repeated),
            ("connections_refused_total", "Client connections over the limit.", &self.connections_refused),
        ];
        for (name, help, value) in totals {
            head(&mut text, name, help, "counter");
            let _ = writeln!(text, "jadeshift_gateway_{name} {}", value.load(Ordering::Relaxed));
        }
        for (name, help, value) in gauges {
            head(&mut text, name, help, "gauge");
            let _ = writeln!(text, "jadeshift_gateway_{name} {value}");
        }
        text
    }
}

fn head(text: &mut String, name: &str, help: &str, kind: &str) {
    let _ = writeln!(text, "# HELP jadeshift_gateway_{name} {help}\n# TYPE jadeshift_gateway_{name} {kind}");
}

/// Cumulative buckets, one to the octave: what a page needs, at a quarter of the lines.
fn latency_lines(text: &mut String, colour: Colour, kind: &str, latency: &Latency) {
    let labels = format!("colour=\"{colour}\",kind=\"{kind}\"");
    let mut total = 0;
    for (index, count) in latency.counts.iter().enumerate() {
        total += count;
        if let Some(&bound) = latency.bounds_us.get(index)
            && bound.is_power_of_two()
        {
            let le = bound as f64 / 1e6;
            let _ = writeln!(text, "jadeshift_gateway_latency_seconds_bucket{{{labels},le=\"{le}\"}} {total}");
        }
    }
    let _ = writeln!(text, "jadeshift_gateway_latency_seconds_bucket{{{labels},le=\"+Inf\"}} {total}");
    let sum = latency.sum_us as f64 / 1e6;
    let _ = writeln!(text, "jadeshift_gateway_latency_seconds_sum{{{labels}}} {sum}");
    let _ = writeln!(text, "jadeshift_gateway_latency_seconds_count{{{labels}}} {total}");
}

#[cfg(test)]
mod tests;
