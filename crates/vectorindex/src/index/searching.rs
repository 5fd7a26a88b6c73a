//! Searches: the graph for what it has, a scan for the rest.

use crate::arrivals::{Cursor, FellBehind};
use crate::graph::Found;
use crate::index::{VectorIndex, not_finite};
use crate::options::Kind;
use crate::ranking::{Hit, Ranking, merge};
use crate::score::Scorer;
use crate::store::View;
use std::sync::atomic::Ordering;
use thiserror::Error;

/// How thoroughly to search.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SearchMode {
    /// By the graph, where there is one and it pays.
    #[default]
    Auto,
    /// Every vector is looked at.
    Exact,
}

/// Why a query was not searched for.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum SearchError {
    #[error("the query has {given} dimensions: the index has {expected}")]
    Dimensions { given: usize, expected: usize },
    #[error("component {position} of the query is not a finite number")]
    NotFinite { position: usize },
}

/// The graph is asked for no more than this many: its working memory grows with them and stays. A scan takes over.
const WANTED_MAX: usize = 4_096;
/// A search for a certain share of the graph touches most of it, in random order: from here on a scan is quicker.
const WANTED_SHARE: usize = 8;
/// By how much to widen a search that found too few live vectors, and how often.
const WIDENING: usize = 4;
const WIDENINGS_MAX: usize = 3;
/// Entries of the list of arrivals that are read under one lock.
const ARRIVALS_READ: usize = 1_024;
/// Attempts at a scan during which the list of arrivals was not moved away.
const SCANS_MAX: usize = 3;

/// What the graph found.
struct Candidates {
    /// Nearest first as the graph sees it, removed ones among them.
    found: Vec<Found>,
    /// How many live ones of these are worth an exact score.
    rescored: usize,
}

impl VectorIndex {
    /// The `k` nearest, best first, equal scores by slot: as many as there are, never a removed one.
    pub fn search(&self, query: &[f32], k: usize, mode: SearchMode) -> Result<Vec<Hit>, SearchError> {
        let expected = self.options.dimensions;
        if query.len() != expected {
            return Err(SearchError::Dimensions { given: query.len(), expected });
        }
        if let Some(position) = not_finite(query) {
            return Err(SearchError::NotFinite { position });
        }
        if k == 0 {
            return Ok(Vec::new());
        }
        let scorer = Scorer::new(self.options.metric, query);
        if mode == SearchMode::Auto
            && self.options.kind == Kind::Hnsw
            && self.store.live() > self.options.exact_up_to
            && !scorer.is_indifferent()
            && let Some(hits) = self.search_graph(&scorer, k)
        {
            return Ok(hits);
        }
        Ok(self.scan(&scorer, k))
    }

    /// `None` if the graph cannot answer, or only at a higher price than a scan.
    pub(super) fn search_graph(&self, scorer: &Scorer, k: usize) -> Option<Vec<Hit>> {
        // The order matters. What leaves the waiting part from here on is in the graph before, or is read below.
        let mut cursor = self.arrivals.read().waiting();
        let mut view = self.store.view();
        let hits = self.ask_graph(scorer, k, &mut view)?;
        let mut others = Ranking::new(k);
        self.scan_arrivals(scorer, &mut cursor, &mut view, &mut others).ok()?;
        Some(merge(hits, others.into_hits(), k))
    }

    /// The best of the graph, with exact scores.
    fn ask_graph(&self, scorer: &Scorer, k: usize, view: &mut View) -> Option<Vec<Hit>> {
        let mut widening = 1;
        for _ in 0..=WIDENINGS_MAX {
            let Candidates { mut found, rescored } = self.candidates(scorer, k, widening)?;
            if self.tombstones() > 0 {
                found.retain(|found| view.is_live(found.slot));
            }
            // Where tombstones are crowded they are more than the average that was allowed for.
            if found.len() >= k.max(self.options.expansion_search / 2) {
                let hits = score_first(&found, rescored, scorer, view);
                if hits.len() >= k {
                    return Some(hits);
                }
            }
            widening *= WIDENING;
        }
        None
    }

    /// What the graph found, nearest first.
    fn candidates(&self, scorer: &Scorer, k: usize, widening: usize) -> Option<Candidates> {
        let permit = self.permits.acquire();
        let graph = self.graph.read();
        let graph = graph.as_ref()?;
        let rescored = graph.codec().rescored(k);
        // As many more as there are tombstones among them, on average.
        let live = self.store.indexed().min(graph.entries());
        let wanted = self.options.expansion_search.max(rescored).saturating_mul(widening);
        let wanted = wanted.saturating_mul(graph.entries()).checked_div(live)?;
        if wanted > WANTED_MAX || wanted.saturating_mul(WANTED_SHARE) > graph.nodes() {
            return None;
        }
        let query = graph.codec().encode_query(scorer.query())?;
        match graph.search(&query, wanted, &permit) {
            Ok(found) => Some(Candidates { found, rescored }),
            Err(error) => {
                if self.graph_failures.fetch_add(1, Ordering::Relaxed) == 0 {
                    tracing::warn!("{error}; this search and others that fail are answered by a scan");
                }
                None
            }
        }
    }

    /// The best of all that is stored.
    fn scan(&self, scorer: &Scorer, k: usize) -> Vec<Hit> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            let mut cursor = self.arrivals.read().end();
            let mut view = self.store.view();
            let mut best = Ranking::new(k);
            view.each(|slot, values, inverse_norm| best.offer(slot, scorer.score(values, inverse_norm)));
            // Some vectors moved while they were scanned: a new one behind the scan, its predecessor before it.
            let mut late = Ranking::new(k);
            if self.scan_arrivals(scorer, &mut cursor, &mut view, &mut late).is_ok() || attempts == SCANS_MAX {
                return merge(best.into_hits(), late.into_hits(), k);
            }
        }
    }

    /// Reads the list to its end, and what is added meanwhile. That is little: a scan handles tens of millions of
    /// vectors a second, and none of the writers that add to the list comes near that.
    fn scan_arrivals(
        &self,
        scorer: &Scorer,
        cursor: &mut Cursor,
        view: &mut View,
        best: &mut Ranking,
    ) -> Result<(), FellBehind> {
        let mut slots = Vec::new();
        loop {
            self.arrivals.read().read(cursor, ARRIVALS_READ, &mut slots)?;
            if slots.is_empty() {
                return Ok(());
            }
            view.each_of(&slots, |slot, values, inverse_norm| best.offer(slot, scorer.score(values, inverse_norm)));
        }
    }
}

/// Exact scores of the first `count` that are live, and of those that are as near as the last of them.
fn score_first(found: &[Found], count: usize, scorer: &Scorer, view: &mut View) -> Vec<Hit> {
    let mut hits = Vec::with_capacity(count.min(found.len()));
    let mut last = None;
    for &Found { slot, node } in found {
        if hits.len() >= count && last != Some(node) {
            break;
        }
        if let Some(score) = view.with(slot, |values, inverse_norm| scorer.score(values, inverse_norm)) {
            hits.push(Hit { slot, score });
            last = Some(node);
        }
    }
    hits
}
