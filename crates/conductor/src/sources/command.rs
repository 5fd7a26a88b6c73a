//! A program that gets the question as JSON and in variables, and answers with JSON or with its exit code.

use super::reading::{Answer, Reading, read};
use super::{Question, beginning};
use evidence::Outcome;
use rustix::process::{Pid, Signal, kill_process_group};
use std::process::{ExitStatus, Stdio};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wire::document::{CommandSource, Source, SourceRule};

const OUTPUT_BYTES_MAX: u64 = 1 << 16;

pub(super) async fn ask(command: &CommandSource, source: &Source, question: &Question) -> Result<Answer, String> {
    let mut program = tokio::process::Command::new(&command.program);
    program.args(&command.args).envs(variables(source, question)).envs(&command.env);
    program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = program.spawn().map_err(|error| format!("`{}` cannot be started: {error}", command.program))?;
    let _group = Group::of(&child);
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let text = serde_json::to_vec(question).map_err(|error| error.to_string())?;
    let telling = async {
        if let Some(mut stdin) = stdin {
            // It need not read.
            let _ = stdin.write_all(&text).await;
        }
    };
    let ((), out, error, status) = tokio::join!(telling, bounded(stdout), bounded(stderr), child.wait());
    let status = status.map_err(|error| format!("`{}` cannot be waited for: {error}", command.program))?;
    answer(&out?, &error?, status, source.rule())
}

async fn bounded(pipe: Option<impl AsyncReadExt + Unpin>) -> Result<String, String> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        let read = pipe.take(OUTPUT_BYTES_MAX + 1).read_to_end(&mut bytes).await;
        read.map_err(|error| format!("its output cannot be read: {error}"))?;
    }
    match bytes.len() as u64 > OUTPUT_BYTES_MAX {
        true => Err(format!("it wrote more than {OUTPUT_BYTES_MAX} bytes")),
        false => Ok(String::from_utf8_lossy(&bytes).into_owned()),
    }
}

fn variables(source: &Source, question: &Question) -> Vec<(&'static str, String)> {
    let http = |http: &Option<String>| http.clone().unwrap_or_default();
    vec![
        ("JADESHIFT_SIGNAL", source.name.clone()),
        ("JADESHIFT_DEPLOYMENT", question.deployment.clone()),
        ("JADESHIFT_RUN", question.run.to_string()),
        ("JADESHIFT_PHASE", question.phase.into()),
        ("JADESHIFT_SHARE_PERCENT", question.share_percent.to_string()),
        ("JADESHIFT_CANDIDATE", question.candidate.colour.to_string()),
        ("JADESHIFT_CANDIDATE_VERSION", question.candidate.version.clone()),
        ("JADESHIFT_CANDIDATE_HTTP", http(&question.candidate.http)),
        ("JADESHIFT_ACTIVE", question.active.colour.to_string()),
        ("JADESHIFT_ACTIVE_VERSION", question.active.version.clone()),
        ("JADESHIFT_ACTIVE_HTTP", http(&question.active.http)),
    ]
}

/// JSON, a number where one is asked for, or else the exit code.
fn answer(out: &str, error: &str, status: ExitStatus, rule: SourceRule) -> Result<Answer, String> {
    let last = |text: &str| text.trim().lines().next_back().map(beginning).unwrap_or_default();
    let said = match (last(error), last(out)) {
        (error, out) if error.is_empty() => out,
        (error, _) => error,
    };
    let json = out.trim_start().starts_with('{');
    match (rule, status.code()) {
        (_, Some(0)) if json => read(out, rule),
        (SourceRule::Verdict, Some(code @ (0 | 1))) => {
            let outcome = if code == 0 { Outcome::Pass } else { Outcome::Fail };
            Ok(Reading::Verdict(outcome, said).into())
        }
        (SourceRule::Value { .. }, Some(0)) if out.trim().parse::<f64>().is_ok() => {
            Ok(Reading::Value(out.trim().parse().map_err(|_| "no number")?).into())
        }
        (_, Some(0)) => read(out, rule),
        (_, Some(code)) => Err(format!("it ended with code {code}: {said}")),
        (_, None) => Err(format!("it ended by itself ({status}): {said}")),
    }
}

/// Everything that the program started ends with the question.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &tokio::process::Child) -> Self {
        Self(child.id().and_then(|id| Pid::from_raw(id as i32)))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // What has ended already cannot be ended again.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}
