//! The four releases of the demonstration, and what is done and expected in each.

use super::Tools;
use super::examine::examine;
use super::pauses::now_ms;
use super::report::{ActReport, word};
use crate::exit::ExitCode;
use crate::failure::Failure;
use crate::follow::{Events, ended, line};
use conductor::{HandoverTiming, Info};
use rollout::{Command, Outcome, Phase, Record};
use std::time::{Duration, Instant};

/// One release.
pub struct Act {
    pub name: &'static str,
    version: &'static str,
    expected: Outcome,
    announcement: &'static str,
    /// Rolled back by a person after it has taken over.
    rolled_back_after_switch: bool,
}

pub const ACTS: [Act; 4] = [
    Act {
        name: "upgrade",
        version: "1.1.0",
        expected: Outcome::Promoted,
        announcement: "an upgrade to an index with other settings",
        rolled_back_after_switch: false,
    },
    Act {
        name: "errors",
        version: "1.2.0",
        expected: Outcome::RolledBack,
        announcement: "a release that answers 5 % of the reads with an error",
        rolled_back_after_switch: false,
    },
    Act {
        name: "wrong-results",
        version: "1.3.0",
        expected: Outcome::RolledBack,
        announcement: "a release that is fast and healthy, and finds the wrong packages in 10 % of the searches",
        rolled_back_after_switch: false,
    },
    Act {
        name: "rollback-after-switch",
        version: "1.4.0",
        expected: Outcome::RolledBack,
        announcement: "a release that takes over, is written to, and is rolled back by hand: its writes must stay",
        rolled_back_after_switch: true,
    },
];

/// How often the deployment is looked at.
const POLL: Duration = Duration::from_millis(50);
/// How often memory is looked at, and a line is shown even without news.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// How long an act may take.
const ACT_TIMEOUT: Duration = Duration::from_secs(75);
/// How long, and for how many writes, the new version serves before it is rolled back by hand.
const SERVED_MIN: Duration = Duration::from_millis(2_500);
const SERVED_WRITES_MIN: u64 = 20;
/// Differences said one by one.
const DIFFERENCES_SHOWN: usize = 5;

/// What an act gave for the report.
pub struct Played {
    pub report: ActReport,
    /// Seconds from the first bad answer that could be seen to the recorded rollback; see
    /// [`super::report::RollbackTimes`].
    pub exposed_s: Option<f64>,
    pub complaints: Vec<String>,
}

/// When the candidate of a rollout was first asked anything, ms since 1970 by the deployment's own account.
#[derive(Default)]
struct Exposure {
    first_ms: Option<u64>,
}

impl Exposure {
    fn note(&mut self, info: &Info) {
        if let Phase::Checking { since_ms } | Phase::Shifting { since_ms, .. } = info.phase.unpaused() {
            self.first_ms.get_or_insert(*since_ms);
        }
    }

    fn seconds_until(&self, ended_ms: u64) -> Option<f64> {
        self.first_ms.map(|first_ms| round(ended_ms.saturating_sub(first_ms) as f64 / 1_000.0))
    }
}

/// Plays one act and checks the data at its end.
pub async fn play(tools: &mut Tools, number: usize, act: &Act) -> Result<Played, Failure> {
    let (started, began_ms) = (Instant::now(), now_ms());
    tools.say(&format!("\nAct {number}, {}: {}", act.name, act.announcement));
    let (record, exposure) = release(tools, act).await?;
    tools.say(&format!("  {}: {}", word(record.outcome), record.reason));
    for handover in tools.control.info().await?.handovers.iter().filter(|handover| handover.at_ms >= began_ms) {
        let HandoverTiming { to, seal_to_promote_ms, .. } = handover;
        tools.say(&format!(
            "  the right to write moved to {to}: {seal_to_promote_ms:.1} ms from the seal to the promotion"
        ));
    }
    let mut complaints = Vec::new();
    tools.place.set(format!("in act {}, while its data was checked", act.name));
    match examine(&tools.session, &tools.shared).await {
        Ok(finding) => {
            let lost = finding.differences.len();
            let missed = match finding.missed_by_index {
                0 => String::new(),
                missed => format!(" ({missed} of the sample only by exact search)"),
            };
            tools.say(&format!("  checked: {} packages compared, {lost} differences{missed}", finding.compared));
            let shown = finding.differences.iter().take(DIFFERENCES_SHOWN);
            complaints.extend(shown.map(|difference| format!("act {}: {difference}", act.name)));
            if lost > DIFFERENCES_SHOWN {
                complaints.push(format!("act {}: and {} more differences", act.name, lost - DIFFERENCES_SHOWN));
            }
        }
        Err(error) => complaints.push(format!("act {}: the data could not be checked: {error}", act.name)),
    }
    let report = ActReport {
        name: act.name,
        outcome: record.outcome,
        reason: record.reason.clone(),
        seconds: round(started.elapsed().as_secs_f64()),
        expected: act.expected,
    };
    let exposed_s = exposure.seconds_until(record.ended_ms);
    Ok(Played { report, exposed_s, complaints })
}

/// Deploys, watches, and if the act wants it rolls back; ends when the outcome is recorded.
async fn release(tools: &mut Tools, act: &Act) -> Result<(Record, Exposure), Failure> {
    let deadline = Instant::now() + ACT_TIMEOUT;
    let began_ms = now_ms();
    let info = tools.control.command(&Command::Deploy { version: act.version.into() }).await?;
    let what = format!("act {} has no outcome", act.name);
    let run = info.run.as_ref().map(|run| run.id);
    let run = run.ok_or_else(|| Failure::failed(&what, "the deployment does not say which rollout it began"))?;
    let mut exposure = Exposure::default();
    let mut events = Events::after(&info, began_ms);
    let mut heartbeat = Instant::now();
    let mut served: Option<(Instant, u64)> = None;
    let mut rollback_said = false;
    loop {
        let info = tools.control.info().await?;
        exposure.note(&info);
        tools.place.set(format!("in act {}, {}", act.name, line(&info)));
        let mut news: Vec<String> = events.take(&info).iter().map(|event| event.text.clone()).collect();
        if news.is_empty() && heartbeat.elapsed() > HEARTBEAT {
            news.push(line(&info));
        }
        if !news.is_empty() {
            heartbeat = Instant::now();
            tools.note_memory(&info);
            news.iter().for_each(|text| tools.say_progress(act.name, text));
        }
        if let Some(record) = ended(&info, run) {
            return Ok((record.clone(), exposure));
        }
        if let Phase::Paused { why, .. } = &info.phase {
            return Err(Failure::failed(&what, format!("it is paused: {why}")));
        }
        if act.rolled_back_after_switch && !rollback_said && matches!(info.phase, Phase::Watching { .. }) {
            let acknowledged = tools.shared.checker.totals().acknowledged;
            let (since, at_switch) = *served.get_or_insert((Instant::now(), acknowledged));
            let written = acknowledged - at_switch;
            if since.elapsed() >= SERVED_MIN && written >= SERVED_WRITES_MIN {
                let reason = format!("by hand, after {written} writes to version {}", act.version);
                tools.say(&format!("  rolling back {reason}"));
                tools.control.command(&Command::Rollback { reason, accept_loss: false }).await?;
                rollback_said = true;
            }
        }
        if Instant::now() > deadline {
            let why = format!("not within {} s; it stands at {}", ACT_TIMEOUT.as_secs(), line(&info));
            return Err(Failure::new(ExitCode::TimedOut, &what, why));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Hundredths.
fn round(seconds: f64) -> f64 {
    (seconds * 100.0).round() / 100.0
}
