//! The library that was not chosen, on the same data with the same settings and one thread:
//! `cargo run --release -p xtask --features compare -- bench index`.

use super::TOP_K;
use crate::bench::dataset::{Dataset, ExactAnswer};
use crate::bench::report::Report;
use anyhow::Result;
use hnsw_rs::prelude::{DistDot, Hnsw};
use std::time::Instant;

const CONNECTIVITY: usize = 16;
const LAYERS_MAX: usize = 16;
const EXPANSION_ADD: usize = 128;
const EXPANSION_SEARCH: usize = 96;

/// Adds what hnsw_rs does to the report. One thread, so that time passed is time used.
pub fn measure(data: &Dataset, exact: &[ExactAnswer], report: &mut Report) -> Result<()> {
    let unit = |values: Vec<f32>| {
        let length = values.iter().map(|value| value * value).sum::<f32>().sqrt();
        values.into_iter().map(|value| value / length).collect::<Vec<f32>>()
    };
    let vectors: Vec<Vec<f32>> = (0..data.vectors.rows()).map(|row| unit(data.vectors.floats(row))).collect();
    let queries: Vec<Vec<f32>> = (0..exact.len()).map(|query| unit(data.queries.floats(query))).collect();

    let graph = Hnsw::<f32, DistDot>::new(CONNECTIVITY, vectors.len(), LAYERS_MAX, EXPANSION_ADD, DistDot {});
    let started = Instant::now();
    for (row, vector) in vectors.iter().enumerate() {
        graph.insert_slice((vector, row));
    }
    let built_per_s = vectors.len() as f64 / started.elapsed().as_secs_f64();

    let started = Instant::now();
    let answers: Vec<_> = queries.iter().map(|query| graph.search(query, TOP_K, EXPANSION_SEARCH)).collect();
    let searched_per_s = queries.len() as f64 / started.elapsed().as_secs_f64();
    let recall = answers.iter().zip(exact).enumerate().map(|(number, (answer, exact))| {
        let found: Vec<usize> = answer.iter().map(|neighbour| neighbour.d_id).collect();
        data.recall(number, exact, &found)
    });
    let recall = recall.sum::<f64>() / queries.len().max(1) as f64;

    let name = format!("hnsw_rs f32 connectivity={CONNECTIVITY} add={EXPANSION_ADD} search={EXPANSION_SEARCH}");
    report.section(&name);
    report.figure(&format!("{name}: built_per_s"), built_per_s, "1/s");
    report.figure(&format!("{name}: recall_at_10"), recall, "");
    report.figure(&format!("{name}: searched_per_s"), searched_per_s, "1/s");
    Ok(())
}
