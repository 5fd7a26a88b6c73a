//! `deploy`: begin a rollout, and if asked to, stay until it has ended.

use crate::cli::{Deploy, Globals};
use crate::deployment::Deployment;
use crate::exit::ExitCode;
use crate::failure::Failure;
use crate::follow::{Looks, News, ended, line, timed_out};
use crate::output::Printer;
use rollout::{Command, Outcome, Record};
use std::time::{Duration, Instant};
use wire::document::version_label;

const POLL: Duration = Duration::from_millis(200);

pub async fn run(globals: &Globals, printer: &Printer, args: &Deploy) -> Result<ExitCode, Failure> {
    version_label(&args.version).map_err(|error| Failure::usage("could not deploy", error))?;
    let command = Command::Deploy { version: args.version.clone() };
    let info = Deployment::find(globals).await?.command(&command).await?;
    if !args.wait {
        printer.result(|| line(&info), &info);
        return Ok(ExitCode::Ok);
    }
    let run = info.run.as_ref().map(|run| run.id).or_else(|| info.history.last().map(|record| record.run.id));
    let Some(run) = run else {
        return Err(Failure::failed(
            "could not wait for the rollout",
            "the deployment does not say which one it began",
        ));
    };
    let record = wait(globals, printer, args, run).await?;
    printer.result(|| sentence(&record), &record);
    Ok(match record.outcome {
        Outcome::Promoted => ExitCode::Ok,
        Outcome::RolledBack => ExitCode::Failed,
    })
}

async fn wait(globals: &Globals, printer: &Printer, args: &Deploy, run: u64) -> Result<Record, Failure> {
    let deadline = Instant::now() + Duration::from_millis(args.timeout_ms);
    let mut looks = Looks::at(globals);
    let mut news = News::default();
    let mut last = None;
    while Instant::now() < deadline {
        if let Some(info) = looks.next().await? {
            if let Some(record) = ended(&info, run) {
                return Ok(record.clone());
            }
            if let Some(line) = news.line(&info) {
                printer.progress(&line);
            }
            last = Some(line(&info));
        }
        tokio::time::sleep(POLL).await;
    }
    Err(timed_out(
        &format!("version {} is neither promoted nor rolled back", args.version),
        args.timeout_ms,
        last.as_deref(),
    ))
}

/// How a rollout ended, in a sentence.
pub fn sentence(record: &Record) -> String {
    let (run, seconds) = (&record.run, record.ended_ms.saturating_sub(record.run.started_ms) as f64 / 1_000.0);
    match record.outcome {
        Outcome::Promoted => {
            format!(
                "promoted: {} serves version {} after {seconds:.1} s: {}",
                run.candidate, run.to_version, record.reason
            )
        }
        Outcome::RolledBack => format!(
            "rolled back: {} serves version {} again after {seconds:.1} s: {}",
            run.candidate.other(),
            run.from_version,
            record.reason
        ),
    }
}
