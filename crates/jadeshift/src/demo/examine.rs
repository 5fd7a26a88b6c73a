//! The check at the end of each act: every acknowledged write, read back through the gateway.

use super::checker;
use super::connection::NoAnswer;
use super::load::{Session, Shared, text};
use serde_json::{Value, json};
use std::sync::atomic::Ordering;

/// Ids asked for in one batch-get.
const GET_BATCH: usize = 250;
/// Vectors on a page of the list.
const PAGE: usize = 1_000;
/// More pages than there can be records twice over.
const PAGES_MAX: usize = 50;
/// Packages searched for by their own vector.
const SAMPLE: usize = 200;
/// Results asked for when a package is searched for by its own vector; up to 13 packages share a vector.
const SAMPLE_TOP_K: usize = 20;

/// What a check found.
#[derive(Debug, Default)]
pub struct Finding {
    /// Packages compared.
    pub compared: usize,
    /// Packages that the index missed although an exact search found them.
    pub missed_by_index: usize,
    /// A sentence for each difference.
    pub differences: Vec<String>,
}

/// Lets the writers finish what they are writing, and compares everything while the records stand still; the readers go
/// on.
pub async fn examine(session: &Session, shared: &Shared) -> Result<Finding, NoAnswer> {
    let _still = shared.gate.write().await;
    let mut connection = session.connect(&shared.tally);
    connection.demand_lsn(shared.newest_lsn.load(Ordering::Relaxed));
    let mut finding = Finding::default();

    let rows = shared.checker.written();
    for rows in rows.chunks(GET_BATCH) {
        let ids: Vec<&str> = rows.iter().map(|row| shared.data.packages[*row].name).collect();
        let path = session.path("/vectors/batch-get");
        let answer = connection.call("POST", &path, text(&json!({ "ids": ids }))).await?.json()?;
        let vectors = answer["vectors"].as_array().map(Vec::as_slice).unwrap_or_default();
        finding.differences.extend(shared.checker.compare(&shared.data, rows, vectors));
    }
    finding.compared = rows.len();

    let mut ids = Vec::new();
    for page in 0..PAGES_MAX {
        let path = session.path(&format!("/vectors?limit={PAGE}&offset={}", page * PAGE));
        let answer = connection.call("GET", &path, Default::default()).await?.json()?;
        let vectors = answer["vectors"].as_array().map(Vec::as_slice).unwrap_or_default();
        if vectors.is_empty() {
            break;
        }
        ids.extend(vectors.iter().filter_map(|vector: &Value| Some(vector["id"].as_str()?.to_string())));
    }
    finding.differences.extend(shared.checker.compare_list(&ids));

    let present = shared.checker.present();
    for (row, revision) in present.iter().step_by((present.len() / SAMPLE).max(1)) {
        let name = shared.data.packages[*row].name;
        let vector = checker::values(&shared.data, *row, *revision);
        let mut found = false;
        for exact in [false, true] {
            let (results, _) = session.search(&mut connection, &vector, SAMPLE_TOP_K, exact).await?;
            found = results.iter().any(|(id, _)| id == name);
            if found {
                finding.missed_by_index += usize::from(exact);
                break;
            }
        }
        if !found {
            shared.checker.not_found_by_search(*row);
            finding.differences.push(format!("{name}: not found by its own vector"));
        }
    }
    Ok(finding)
}
