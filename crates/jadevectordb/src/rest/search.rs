//! `/v1/databases/{db}/search`: the nearest vectors, with filters, a threshold, and faults on purpose.

use super::Rest;
use super::answer::{Answer, Outcome, Problem};
use super::body::{self, Field};
use super::call::Call;
use super::databases::find;
use super::metadata::{self, Filter};
use super::numbers;
use super::vectors::{aside, bounded_answer, long_to_scan, write_id};
use crate::auth::Caller;
use crate::engine::Node;
use crate::fault::Faults;
use crate::record::Metric;
use crate::store::{Database, Match, SearchError};
use http::StatusCode;
use serde::Deserialize;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::time::Instant;
use wire::admin::{Replay, Replayed};
use wire::document::IndexKind;

const TOP_K_DEFAULT: usize = 10;
/// A search with a filter begins with so many candidates for each result wanted, and takes four times as many until
/// enough are admitted; beyond the bound everything is looked at.
const CANDIDATES_PER_RESULT: usize = 8;
const CANDIDATES_MIN: usize = 64;
const CANDIDATES_GROWTH: usize = 4;
const CANDIDATES_MAX: usize = 4_096;

#[derive(Deserialize)]
struct Given<'a> {
    #[serde(borrow, default, rename = "queryVector")]
    query_vector: Field<'a>,
    #[serde(borrow, default, rename = "topK")]
    top_k: Field<'a>,
    #[serde(borrow, default)]
    threshold: Field<'a>,
    #[serde(borrow, default)]
    filters: Field<'a>,
    #[serde(borrow, default, rename = "includeMetadata")]
    include_metadata: Field<'a>,
    #[serde(borrow, default, rename = "includeVectorData")]
    include_vector_data: Field<'a>,
    #[serde(borrow, default, rename = "includeValues")]
    include_values: Field<'a>,
    #[serde(borrow, default)]
    exact: Field<'a>,
}

/// What is searched for.
struct Ask {
    query: Vec<f32>,
    top_k: usize,
    threshold: f32,
    filter: Filter,
    exact: bool,
}

struct Shown {
    metadata: bool,
    values: bool,
}

fn read(call: &Call, database: &Database, results_max: usize) -> Result<(Ask, Shown), Problem> {
    let given: Given<'_> = body::parse(&call.body)?;
    let record = database.record();
    let query = body::floats("queryVector", given.query_vector, record.dimension)?;
    if query.len() != record.dimension {
        return Err(wrong_dimension(query.len(), record.dimension));
    }
    let top_k = body::whole("topK", given.top_k, 1..=results_max)?.unwrap_or(TOP_K_DEFAULT);
    let threshold = body::number("threshold", given.threshold)?;
    let dot = record.metric == Metric::DotProduct;
    if let Some(threshold) = threshold.filter(|threshold| !dot && !(0.0..=1.0).contains(threshold)) {
        return Err(Problem::BadRequest(format!("`threshold` is {threshold}, it must be from 0 to 1")));
    }
    // As in the original, scores below 0 are not shown unless asked for; dot products have no such zero.
    let threshold = threshold.map_or(if dot { f32::NEG_INFINITY } else { 0.0 }, |threshold| threshold as f32);
    let filter = Filter::parse(given.filters)?;
    let exact = body::flag("exact", given.exact)?.unwrap_or(false);
    let values = body::flag("includeVectorData", given.include_vector_data)?.unwrap_or(false)
        | body::flag("includeValues", given.include_values)?.unwrap_or(false);
    let shown = Shown { metadata: body::flag("includeMetadata", given.include_metadata)?.unwrap_or(false), values };
    if shown.values {
        bounded_answer(top_k.min(database.len()) * record.dimension, "topK")?;
    }
    Ok((Ask { query, top_k, threshold, filter, exact }, shown))
}

fn wrong_dimension(got: usize, expected: usize) -> Problem {
    Problem::BadRequest(format!("`queryVector` has {got} numbers, the database has dimension {expected}"))
}

pub(super) async fn search(rest: Arc<Rest>, call: Arc<Call>, _caller: Caller) -> Outcome {
    let started = Instant::now();
    let database_id = call.param("db");
    let database = find(&rest, database_id)?;
    let (ask, shown) = read(&call, &database, rest.node.config().limits.results)?;
    let metrics = if ask.filter.is_empty() { &rest.metrics.search } else { &rest.metrics.filtered_search };
    let _active = metrics.begin();
    if !call.headers.contains_key(wire::headers::REPLAY) {
        rest.node.sample().offer(database_id, &ask.query, ask.top_k);
    }
    let found = find_matches(&rest.node, database.clone(), ask).await?;
    if let Some(elapsed) = found.filtering {
        rest.metrics.filter_application.observe(elapsed.as_secs_f64());
    }
    let out = write(&database, &found.matches, &shown);
    metrics.end(found.matches.len(), started.elapsed());
    Ok(Answer::json(StatusCode::OK, out))
}

/// Answers a search that another node answered, as a client would get it; counted as a replay.
pub async fn replay(node: &Node, replay: &Replay) -> Replayed {
    let started = Instant::now();
    node.counters().replays.fetch_add(1, Ordering::Relaxed);
    let outcome = replayed_matches(node, replay).await;
    let latency_us = started.elapsed().as_micros() as u64;
    match outcome {
        Ok(matches) => {
            let scores = matches.iter().map(|found| found.score).collect();
            let ids = matches.into_iter().map(|found| found.id).collect();
            Replayed { status: 200, latency_us, ids, scores }
        }
        Err(problem) => Replayed { status: problem.status().as_u16(), latency_us, ids: Vec::new(), scores: Vec::new() },
    }
}

async fn replayed_matches(node: &Node, replay: &Replay) -> Result<Vec<Match>, Problem> {
    if !node.ready() {
        return Err(Problem::unavailable("this node is not ready"));
    }
    if !node.faults().latency.is_zero() {
        tokio::time::sleep(node.faults().latency).await;
    }
    if node.faults().hits_errors() {
        return Err(Problem::Internal("a fault on purpose (--fault errors)".into()));
    }
    let known = node.store().database(&replay.database);
    let database = known.ok_or_else(|| Problem::unknown_database(&replay.database))?;
    let threshold = if database.record().metric == Metric::DotProduct { f32::NEG_INFINITY } else { 0.0 };
    let (query, top_k) = (replay.query.clone(), replay.top_k.clamp(1, node.config().limits.results));
    let ask = Ask { query, top_k, threshold, filter: Filter::default(), exact: replay.exact };
    Ok(find_matches(node, database, ask).await?.matches)
}

struct Found {
    matches: Vec<Match>,
    /// Time that the filter took, if there was one.
    filtering: Option<std::time::Duration>,
}

async fn find_matches(node: &Node, database: Arc<Database>, ask: Ask) -> Result<Found, Problem> {
    let flat = node.config().index.kind == IndexKind::Flat || database.record().index_type.eq_ignore_ascii_case("flat");
    let scans = ask.exact || flat || !ask.filter.is_empty();
    let faults = node.faults();
    let long = scans && long_to_scan(&database);
    aside(long, move || matches(&database, &ask, &faults)).await?.map_err(|error| match error {
        SearchError::Dimensions { given, expected } => wrong_dimension(given, expected),
        other => Problem::BadRequest(format!("`queryVector`: {other}")),
    })
}

fn matches(database: &Database, ask: &Ask, faults: &Faults) -> Result<Found, SearchError> {
    let wrong = faults.hits_wrong_results();
    // Wrong results are the neighbours behind the nearest ones, so twice as many are needed.
    let wanted = if wrong { ask.top_k.saturating_mul(2) } else { ask.top_k };
    let (mut matches, filtering) = if ask.filter.is_empty() {
        (database.search(&ask.query, wanted, ask.exact)?, None)
    } else {
        let (matches, filtering) = filtered(database, ask, wanted)?;
        (matches, Some(filtering))
    };
    if wrong {
        mislead(&mut matches, ask.top_k);
    }
    matches.retain(|found| found.score >= ask.threshold);
    Ok(Found { matches, filtering })
}

/// The best `wanted` whose metadata the filter admits.
fn filtered(database: &Database, ask: &Ask, wanted: usize) -> Result<(Vec<Match>, std::time::Duration), SearchError> {
    let mut filtering = std::time::Duration::ZERO;
    let mut candidates = (wanted.saturating_mul(CANDIDATES_PER_RESULT)).max(CANDIDATES_MIN);
    loop {
        // More than there are now, in case some arrive meanwhile.
        let all = candidates > CANDIDATES_MAX || candidates >= database.len();
        let asked = if all { database.len().saturating_add(wanted) } else { candidates };
        let mut found = database.search(&ask.query, asked, ask.exact || all)?;
        let started = Instant::now();
        let mut admitted = 0;
        found.retain(|candidate| {
            let admits = admitted < wanted
                && database.get(&candidate.id).is_some_and(|vector| ask.filter.admits(&vector.metadata));
            admitted += usize::from(admits);
            admits
        });
        filtering += started.elapsed();
        if all || found.len() >= wanted {
            return Ok((found, filtering));
        }
        candidates = candidates.saturating_mul(CANDIDATES_GROWTH);
    }
}

/// A fault on purpose: the scores of the nearest with the ids of those behind them. Quick, healthy, plausible and wrong.
fn mislead(matches: &mut Vec<Match>, top_k: usize) {
    let count = matches.len();
    let shift = top_k.min(count / 2);
    let scores: Vec<f32> = matches.iter().map(|found| found.score).collect();
    matches.rotate_left(shift);
    for (found, score) in matches.iter_mut().zip(scores) {
        found.score = score;
    }
    matches.truncate(top_k);
}

fn write(database: &Database, matches: &[Match], shown: &Shown) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + matches.len() * 64);
    out.extend_from_slice(format!("{{\"count\":{},\"results\":[", matches.len()).as_bytes());
    for (position, found) in matches.iter().enumerate() {
        if position > 0 {
            out.push(b',');
        }
        out.extend_from_slice(b"{\"vectorId\":");
        write_id(&mut out, &found.id);
        out.extend_from_slice(b",\"score\":");
        numbers::write_one(&mut out, found.score);
        if shown.metadata || shown.values {
            write_vector(&mut out, database, &found.id, shown);
        }
        out.push(b'}');
    }
    out.extend_from_slice(b"]}");
    out
}

fn write_vector(out: &mut Vec<u8>, database: &Database, id: &str, shown: &Shown) {
    // Deleted since it was found: the result stays, without a vector.
    let Some(vector) = database.get(id) else { return };
    out.extend_from_slice(b",\"vector\":{\"id\":");
    write_id(out, id);
    if shown.values {
        out.extend_from_slice(b",\"values\":");
        numbers::write(out, &vector.values);
    }
    if shown.metadata {
        out.extend_from_slice(b",\"metadata\":");
        metadata::write_for_search(out, &vector.metadata);
    }
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranked(count: u32) -> Vec<Match> {
        (0..count).map(|slot| Match { id: slot.to_string(), score: 1.0 - slot as f32 / 100.0 }).collect()
    }

    #[test]
    fn wrong_results_have_the_right_scores_and_other_ids() {
        for (count, top_k) in [(20, 10), (15, 10), (10, 10), (3, 10), (2, 1)] {
            let right = ranked(count);
            let mut wrong = right.clone();
            mislead(&mut wrong, top_k);
            assert_eq!(wrong.len(), top_k.min(count as usize));
            for (wrong, right) in wrong.iter().zip(&right) {
                assert_eq!(wrong.score, right.score);
                assert_ne!(wrong.id, right.id);
            }
        }
        let mut ids: Vec<String> = {
            let mut wrong = ranked(20);
            mislead(&mut wrong, 10);
            wrong.into_iter().map(|found| found.id).collect()
        };
        ids.retain(|id| id.parse::<u32>().is_ok_and(|id| id < 10));
        assert!(ids.is_empty(), "none of the nearest is left");
    }
}
