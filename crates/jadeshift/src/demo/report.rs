//! What the demonstration found, as one JSON document or as a table.

use super::pauses::Pauses;
use crate::text::table::{Table, grouped};
use rollout::Outcome;
use serde::Serialize;

/// The result of a demonstration.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    pub acts: Vec<ActReport>,
    pub requests: Requests,
    pub writes: Writes,
    /// See [`super::pauses`]; `None`: no writer was writing during a handover.
    pub write_pause_ms: Option<Pauses>,
    pub rollback_s: RollbackTimes,
    pub rss_mb: Memory,
    /// What was wrong, in sentences; said on stderr.
    #[serde(skip)]
    pub complaints: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ActReport {
    pub name: &'static str,
    pub outcome: Outcome,
    /// As the deployment recorded it.
    pub reason: String,
    /// From the command until the outcome was recorded and the data was checked.
    pub seconds: f64,
    #[serde(skip)]
    pub expected: Outcome,
}

/// Every request that a client made, checks included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Requests {
    pub total: u64,
    /// Answered with something else than 2xx, wrongly, or not within ten seconds.
    pub failed: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Writes {
    /// Single writes, and records of batches.
    pub acknowledged: u64,
    pub lost: u64,
    pub duplicated: u64,
}

/// Seconds from the first moment at which a bad answer of the candidate could be seen until the rollback was recorded and
/// no request went to the candidate.
///
/// That moment is the beginning of the check before the first step: from then on reads are replayed on the candidate (its
/// answers to clients begin with the step). It is a time of the deployment's own events. The time that the deployment
/// needed to prepare and seed the candidate is not in it, the time it needed to collect enough evidence is.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct RollbackTimes {
    pub errors: Option<f64>,
    pub wrong_results: Option<f64>,
}

/// Resident memory, 10^6 bytes, the highest seen (looked at every two seconds and at each change). The gateway's process also runs the engine.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Memory {
    pub blue: f64,
    pub green: f64,
    pub gateway: f64,
}

impl Memory {
    pub fn raise_to(&mut self, seen: Memory) {
        self.blue = self.blue.max(seen.blue);
        self.green = self.green.max(seen.green);
        self.gateway = self.gateway.max(seen.gateway);
    }
}

impl Report {
    /// Nothing failed, nothing was lost, and every release ended as it should.
    pub fn is_good(&self) -> bool {
        self.complaints.is_empty()
            && self.requests.failed == 0
            && self.writes.lost == 0
            && self.writes.duplicated == 0
            && self.write_pause_ms.is_some()
            && self.acts.iter().all(|act| act.outcome == act.expected)
    }

    pub fn text(&self) -> String {
        let mut acts = Table::with_header(&["act", "outcome", "seconds", "reason"]).align_right(&[2]);
        for act in &self.acts {
            let outcome = match act.outcome == act.expected {
                true => word(act.outcome).to_string(),
                false => format!("{} (!)", word(act.outcome)),
            };
            acts.row([act.name.to_string(), outcome, format!("{:.1}", act.seconds), act.reason.clone()]);
        }
        let mut facts = Table::default();
        let mut fact = |name: &str, text: String| facts.row([name.to_string(), text]);
        let (requests, writes, memory) = (self.requests, self.writes, self.rss_mb);
        fact("requests", format!("{} in total, {} failed", grouped(requests.total), grouped(requests.failed)));
        fact(
            "writes",
            format!(
                "{} acknowledged, {} lost, {} duplicated",
                grouped(writes.acknowledged),
                grouped(writes.lost),
                grouped(writes.duplicated)
            ),
        );
        let pause = match self.write_pause_ms {
            Some(pause) => format!("p50 {} ms, p99 {} ms, max {} ms", pause.p50, pause.p99, pause.max),
            None => "not measured: no write was under way during a handover".into(),
        };
        fact("write pause", pause);
        fact(
            "rolled back",
            format!(
                "errors after {}, wrong results after {}",
                seconds(self.rollback_s.errors),
                seconds(self.rollback_s.wrong_results)
            ),
        );
        fact("memory", format!("blue {} MB, green {} MB, gateway {} MB", memory.blue, memory.green, memory.gateway));
        format!("{}\n{}", acts.render(), facts.render())
    }
}

/// An outcome as people read it.
pub fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Promoted => "promoted",
        Outcome::RolledBack => "rolled back",
    }
}

fn seconds(time: Option<f64>) -> String {
    time.map_or("(not measured)".into(), |time| format!("{time:.1} s"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let act = |name, outcome, reason: &str, seconds, expected| ActReport {
            name,
            outcome,
            reason: reason.into(),
            seconds,
            expected,
        };
        Report {
            acts: vec![
                act("upgrade", Outcome::Promoted, "the watch is over", 14.25, Outcome::Promoted),
                act("errors", Outcome::RolledBack, "5 of 99 reads failed", 6.5, Outcome::RolledBack),
            ],
            requests: Requests { total: 31_204, failed: 0 },
            writes: Writes { acknowledged: 29_001, lost: 0, duplicated: 0 },
            write_pause_ms: Some(Pauses { p50: 4.1, p99: 12.5, max: 12.5 }),
            rollback_s: RollbackTimes { errors: Some(1.5), wrong_results: None },
            rss_mb: Memory { blue: 80.5, green: 82.0, gateway: 14.0 },
            complaints: Vec::new(),
        }
    }

    #[test]
    fn the_table() {
        let expected = "\
act      outcome      seconds  reason
upgrade  promoted        14.2  the watch is over
errors   rolled back      6.5  5 of 99 reads failed

requests     31,204 in total, 0 failed
writes       29,001 acknowledged, 0 lost, 0 duplicated
write pause  p50 4.1 ms, p99 12.5 ms, max 12.5 ms
rolled back  errors after 1.5 s, wrong results after (not measured)
memory       blue 80.5 MB, green 82 MB, gateway 14 MB
";
        assert_eq!(report().text(), expected);
    }

    #[test]
    fn the_json_has_exactly_the_documented_fields() {
        let json = serde_json::to_string(&report()).unwrap();
        assert_eq!(
            json,
            r#"{"acts":[{"name":"upgrade","outcome":"promoted","reason":"the watch is over","seconds":14.25},{"name":"errors","outcome":"rolled_back","reason":"5 of 99 reads failed","seconds":6.5}],"requests":{"total":31204,"failed":0},"writes":{"acknowledged":29001,"lost":0,"duplicated":0},"write_pause_ms":{"p50":4.1,"p99":12.5,"max":12.5},"rollback_s":{"errors":1.5,"wrong_results":null},"rss_mb":{"blue":80.5,"green":82.0,"gateway":14.0}}"#
        );
    }

    #[test]
    fn each_flaw_alone_makes_it_bad() {
        assert!(report().is_good());
        let flaws: [fn(&mut Report); 6] = [
            |report| report.requests.failed = 1,
            |report| report.writes.lost = 1,
            |report| report.writes.duplicated = 1,
            |report| report.write_pause_ms = None,
            |report| report.acts[1].outcome = Outcome::Promoted,
            |report| report.complaints.push("a count is wrong".into()),
        ];
        for flaw in flaws {
            let mut flawed = report();
            flaw(&mut flawed);
            assert!(!flawed.is_good(), "{flawed:?}");
        }
    }
}
