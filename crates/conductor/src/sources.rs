//! Signals of the user's own: each is asked by a task of its own, in its own interval and with its own time limit, so that
//! one that hangs holds up nobody. What they answered is kept here until the engine looks.

mod command;
mod prometheus;
mod reading;
mod standing;
mod webhook;

#[cfg(test)]
mod tests;

use crate::judged::Sides;
use crate::tell::tell;
use bytes::Bytes;
use client::Http;
use clock::Clock;
use evidence::{Counts, SLOW_GROWTH_MAX, SignalRule, SourceSignal, Verdict};
use parking_lot::Mutex;
use reading::Answer;
use serde::Serialize;
pub(crate) use standing::Counted;
use standing::Standing;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use wire::Colour;
use wire::document::{Source, SourceRule};

/// What a source is told about the rollout that it is asked about.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Question {
    pub deployment: String,
    pub run: u64,
    pub phase: &'static str,
    /// The candidate's share of the reads, percent.
    pub share_percent: u8,
    pub candidate: Environment,
    pub active: Environment,
}

/// One environment, as a source may want to ask it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Environment {
    pub colour: Colour,
    pub version: String,
    /// `host:port` of its REST interface, where that is known.
    pub http: Option<String>,
}

/// The tasks and their answers.
pub(crate) struct SourceDesk {
    sources: Vec<Source>,
    question: watch::Sender<Option<Question>>,
    standings: Arc<Mutex<Vec<Standing>>>,
    /// Ends with the desk.
    _tasks: JoinSet<()>,
}

impl SourceDesk {
    pub fn start(sources: &[Source], clock: &Clock) -> Self {
        let question = watch::Sender::new(None);
        let standings: Vec<Standing> = sources.iter().map(Standing::new).collect();
        let standings = Arc::new(Mutex::new(standings));
        let mut tasks = JoinSet::new();
        for (place, source) in sources.iter().enumerate() {
            tasks.spawn(work(place, source.clone(), question.subscribe(), standings.clone(), clock.clone()));
        }
        Self { sources: sources.to_vec(), question, standings, _tasks: tasks }
    }

    /// `None` pauses the questions and keeps the answers.
    pub fn set(&self, question: Option<Question>) {
        tell(&self.question, question);
    }

    /// The signals that are judged by counts, in their order.
    pub fn signals(&self) -> Vec<SourceSignal> {
        let signal = |source: &Source| {
            let rule = match source.rule() {
                // Counters that are fetched lag behind, and not equally on both sides: what hits both at once may be seen of
                // one first. So one stretch counts as about one observation, however many events it has.
                SourceRule::Ratio { ratio_max } => {
                    SignalRule::Events { ratio_max, harmless_rate: None, growth_max: SLOW_GROWTH_MAX }
                }
                SourceRule::Rate { rate_max } => SignalRule::Rate { rate_max },
                SourceRule::Value { .. } | SourceRule::Verdict => return None,
            };
            Some(SourceSignal { name: source.name.clone(), weight: source.weight, rule })
        };
        self.sources.iter().filter_map(signal).collect()
    }

    /// The counters of these signals, in the same order, where they are known and fresh.
    pub fn counts(&self) -> Vec<Option<Sides<Counts>>> {
        let (standings, now) = (self.standings.lock(), Instant::now());
        let counted = self.sources.iter().zip(standings.iter()).filter(|(source, _)| source.rule().wants_counts());
        counted.map(|(_, standing)| standing.counts(now)).collect()
    }

    /// One verdict for each source that has something to say. `judged`: what the counts amount to, by name; `early`: the
    /// candidate has no readers yet.
    pub fn verdicts(&self, early: bool, judged: impl Fn(&Source) -> Verdict) -> Vec<Verdict> {
        let (standings, now) = (self.standings.lock(), Instant::now());
        let speaking = self.sources.iter().zip(standings.iter()).filter(|(source, _)| !early || source.speaks_early());
        let verdict = |(source, standing): (&Source, &Standing)| match source.rule().wants_counts() {
            true => match judged(source) {
                verdict if verdict.outcome == evidence::Outcome::Fail => verdict,
                verdict => standing.trouble(now).map_or(verdict, |why| Verdict::inconclusive(&source.name, why)),
            },
            false => standing.verdict(now),
        };
        speaking.map(verdict).collect()
    }
}

/// Asks one source again and again, as long as there is a question.
async fn work(
    place: usize,
    source: Source,
    mut questions: watch::Receiver<Option<Question>>,
    standings: Arc<Mutex<Vec<Standing>>>,
    clock: Clock,
) {
    let http = connections(&source);
    let mut ticks = tokio::time::interval(Duration::from_millis(source.interval_ms));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut run = None;
    loop {
        let question = questions.borrow_and_update().clone();
        let Some(question) = question.filter(|question| question.share_percent > 0 || source.speaks_early()) else {
            if questions.changed().await.is_err() {
                return;
            }
            ticks.reset_immediately();
            continue;
        };
        if run.replace(question.run) != Some(question.run) {
            standings.lock()[place].begin();
            ticks.reset_immediately();
        }
        tokio::select! {
            _ = ticks.tick() => (),
            changed = questions.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
        }
        let answer = match &http {
            Ok(http) => ask(http, &source, &question, clock.now_ms()).await,
            Err(why) => Err(why.clone()),
        };
        standings.lock()[place].hear(answer, Instant::now(), clock.now_ms());
    }
}

/// How this source is spoken to.
fn connections(source: &Source) -> Result<Http, String> {
    let of_prometheus = source.prometheus.as_ref().and_then(|prometheus| prometheus.ca_file.as_deref());
    let ca_file = of_prometheus.or(source.webhook.as_ref().and_then(|webhook| webhook.ca_file.as_deref()));
    match Http::with_tls(ca_file) {
        _ if source.command.is_some() => Ok(Http::new()),
        Ok(http) => Ok(http),
        Err(error) => match ca_file {
            Some(file) => Err(format!("the certificates in {} cannot be used: {error}", file.display())),
            // It may still be asked in plain HTTP.
            None => {
                tracing::warn!("{}: no TLS, as this machine's certificates cannot be read: {error}", source.name);
                Ok(Http::new())
            }
        },
    }
}

async fn ask(http: &Http, source: &Source, question: &Question, now_ms: u64) -> Result<Answer, String> {
    let timeout = Duration::from_millis(source.timeout_ms);
    let asking = async {
        match (&source.prometheus, &source.webhook, &source.command) {
            (Some(prometheus), ..) => prometheus::ask(http, prometheus, source, question).await,
            (_, Some(webhook), _) => webhook::ask(http, webhook, source, question, now_ms).await,
            (.., Some(command)) => command::ask(command, source, question).await,
            _ => Err("nobody to ask".into()),
        }
    };
    let late = |_| Err(format!("no answer within {} ms", source.timeout_ms));
    tokio::time::timeout(timeout, asking).await.unwrap_or_else(late)
}

/// Enough of a text to know what it is about.
fn beginning(text: &str) -> String {
    const LENGTH_MAX: usize = 200;
    let line = text.trim().lines().next().unwrap_or_default();
    match line.char_indices().nth(LENGTH_MAX) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.into(),
    }
}

/// What a file of the user's says, without the space around it. `what`: what is in it.
fn read_file(what: &str, file: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(file);
    let text = text.map_err(|error| format!("the {what} file {} cannot be read: {error}", file.display()))?;
    Ok(text.trim().into())
}

/// Posts `body` and gives the status and the text of the answer.
async fn post(
    http: &Http,
    source: &Source,
    url: &str,
    headers: Vec<(&str, &str)>,
    body: impl Into<Bytes>,
) -> Result<(u16, String), String> {
    const ANSWER_BYTES_MAX: usize = 1 << 20;
    let request = client::post(url, headers, body).map_err(|error| error.to_string())?;
    let timeout = Duration::from_millis(source.timeout_ms);
    let answer = http.whole(request, timeout, ANSWER_BYTES_MAX).await.map_err(|error| error.to_string())?;
    Ok((answer.status, String::from_utf8_lossy(&answer.body).into_owned()))
}
