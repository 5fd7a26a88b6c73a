//! The check: every write that was ever acknowledged is looked up at one place: by id, in the list, and by search.

use super::books::{self, Content};
use super::clients::{Shared, finds};
use crate::api::Api;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::task::JoinSet;

/// Ids asked for in one batch-get.
const GET_BATCH: usize = 500;
/// Vectors on a page of the list.
const PAGE: usize = 1_000;
/// More pages than there can be records twice over.
const PAGES_MAX: usize = 200;
/// Searches and single gets under way at a time.
const CONCURRENCY: usize = 8;
/// Ids got one by one.
const SINGLE_GETS: usize = 100;

/// Where to look, and how thoroughly.
pub struct Place {
    /// For messages: `gateway`, `blue`, `green`.
    pub name: String,
    pub api: Api,
    /// Ids to be searched for by their own vector, if they are there.
    pub searched: Arc<Vec<String>>,
}

/// What was looked at.
#[derive(Debug, Clone, Copy, Default)]
pub struct Looked {
    pub records: usize,
    pub searches: usize,
    /// Records that the graph missed although a scan found them.
    pub missed_by_graph: usize,
}

/// Compares everything at `place` with the books; nobody writes meanwhile.
///
/// # Errors
/// When the place does not answer; differences are noted in the books.
pub async fn examine(place: &Place, shared: &Arc<Shared>) -> Result<Looked> {
    let ids = shared.books.ids();
    let newest = shared.newest_lsn.load(Ordering::Relaxed);
    get_all(place, shared, &ids, newest).await?;
    list(place, shared, &ids).await?;
    get_single(place, shared, &ids).await?;
    let (searches, missed_by_graph) = search_all(place, shared).await?;
    Ok(Looked { records: ids.len(), searches, missed_by_graph })
}

/// Everything by batch-get, as new as the newest acknowledged write: what is there, and what must not be.
async fn get_all(place: &Place, shared: &Shared, ids: &[String], newest: u64) -> Result<()> {
    let path = place.api.path("/vectors/batch-get");
    for ids in ids.chunks(GET_BATCH) {
        let answer = place.api.call_with("POST", &path, &json!({"ids": ids}), Some(newest)).await?;
        ensure!(answer.status == 200, "{}: batch-get: status {}", place.name, answer.status);
        let answer: Value = serde_json::from_slice(&answer.body)?;
        let mut missing: BTreeSet<&str> = ids.iter().map(String::as_str).collect();
        for record in answer["vectors"].as_array().context("batch-get without vectors")? {
            let id = record["id"].as_str().context("a vector without id")?;
            shared.books.judge(&place.name, id, books::content_of(id, record));
            if !missing.remove(id) {
                shared.books.duplicated(&place.name, id);
            }
        }
        missing.into_iter().for_each(|id| shared.books.judge(&place.name, id, Ok(Content::Deleted)));
    }
    Ok(())
}

/// Everything by the list, page by page, and its total.
async fn list(place: &Place, shared: &Shared, ids: &[String]) -> Result<()> {
    let mut listed = BTreeSet::new();
    let mut total = 0;
    for page in 0..PAGES_MAX {
        let path = place.api.path(&format!("/vectors?limit={PAGE}&offset={}", page * PAGE));
        let answer = place.api.json("GET", &path, &Value::Null, 200).await?;
        total = answer["total"].as_u64().context("a list without total")?;
        let vectors = answer["vectors"].as_array().context("a list without vectors")?;
        for record in vectors {
            let id = record["id"].as_str().context("a vector without id")?.to_string();
            shared.books.judge(&place.name, &id, books::content_of(&id, record));
            if let Some(id) = listed.replace(id) {
                shared.books.duplicated(&place.name, &id);
            }
        }
        if vectors.len() < PAGE {
            break;
        }
    }
    for id in ids.iter().filter(|id| !listed.contains(*id)) {
        shared.books.judge(&place.name, id, Ok(Content::Deleted));
    }
    if total != listed.len() as u64 {
        shared.wrong(format!("{}: the list has {} records and says {total}", place.name, listed.len()));
    }
    Ok(())
}

/// Some of them one by one, as most clients do.
async fn get_single(place: &Place, shared: &Shared, ids: &[String]) -> Result<()> {
    for id in ids.iter().step_by((ids.len() / SINGLE_GETS).max(1)) {
        let answer = place.api.call("GET", &place.api.path(&format!("/vectors/{id}")), &Value::Null).await?;
        let found = match answer.status {
            200 => books::content_of(id, &serde_json::from_slice(&answer.body)?),
            404 => Ok(Content::Deleted),
            status => Err(format!("status {status}")),
        };
        shared.books.judge(&place.name, id, found);
    }
    Ok(())
}

/// Each by its own vector: the graph may miss one in thousands, which is counted; a scan may not.
async fn search_all(place: &Place, shared: &Arc<Shared>) -> Result<(usize, usize)> {
    let mut tasks = JoinSet::new();
    for worker in 0..CONCURRENCY {
        let (api, ids, shared) = (place.api.clone(), place.searched.clone(), shared.clone());
        let name = place.name.clone();
        tasks.spawn(async move {
            let (mut searches, mut missed) = (0, 0);
            for id in ids.iter().skip(worker).step_by(CONCURRENCY) {
                let Some(revision) = shared.books.present(id) else { continue };
                searches += 1;
                if !search(&api, id, revision, false).await? {
                    missed += 1;
                    if !search(&api, id, revision, true).await? {
                        shared.books.not_found_by_search(&name, id);
                    }
                }
            }
            Ok::<_, anyhow::Error>((searches, missed))
        });
    }
    let mut sum = (0, 0);
    while let Some(counted) = tasks.join_next().await {
        let (searches, missed) = counted.context("a search broke off")?.with_context(|| place.name.clone())?;
        sum = (sum.0 + searches, sum.1 + missed);
    }
    Ok(sum)
}

async fn search(api: &Api, id: &str, revision: u32, exact: bool) -> Result<bool> {
    let query = json!({"queryVector": books::values(id, revision), "topK": 3, "exact": exact});
    let answer = api.call("POST", &api.path("/search"), &query).await?;
    ensure!(answer.status == 200, "search: status {}: {}", answer.status, crate::api::text(&answer));
    Ok(finds(id, &answer))
}
