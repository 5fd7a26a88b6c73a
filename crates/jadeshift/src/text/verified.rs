//! `jadeshift verify`.

use super::short_digests;
use super::table::{Table, grouped};
use wire::Colour;
use wire::admin::RecordVersion;
use wire::control::{Differences, Verified};
use wire::snapshot::Place;

/// Characters of a digest that are shown; the whole one is in the JSON.
const DIGEST_SHOWN: usize = 16;
/// The same of the hash of one record.
const HASH_SHOWN: usize = 8;

pub fn verified(verified: &Verified) -> String {
    let deep = Colour::BOTH.iter().any(|colour| {
        verified.environments.get(*colour).as_ref().is_some_and(|environment| environment.deep.is_some())
    });
    let mut names = vec!["", "records", "digest"];
    if deep {
        names.extend(["in memory", "in storage", "at lsn"]);
    }
    let mut table = Table::with_header(&names).align_right(&[1, 5]);
    for colour in Colour::BOTH {
        let Some(environment) = verified.environments.get(colour) else {
            table.row([colour.to_string(), "-".into(), "-".into()]);
            continue;
        };
        let mut cells = vec![colour.to_string(), grouped(environment.records), short(&environment.digest)];
        if let Some(rehash) = &environment.deep {
            cells.extend([short(&rehash.from_memory), short(&rehash.from_storage), grouped(rehash.lsn)]);
        }
        table.row(cells);
    }
    let result = match (verified.equal, is_compared(verified)) {
        (true, _) => "equal",
        (false, true) => "NOT equal",
        (false, false) => "not compared",
    };
    let differences = verified.differences.as_ref().map(differences).unwrap_or_default();
    let (lsn, why) = (grouped(verified.lsn), short_digests(&verified.why));
    format!("{result} at lsn {lsn}: {why}\n\n{}{differences}", table.render())
}

/// Each record that differs, and which write each environment has of it.
fn differences(differences: &Differences) -> String {
    if differences.records.is_empty() {
        return String::new();
    }
    let mut table = Table::with_header(&["differs", "database", "id", "blue", "green"]);
    for difference in &differences.records {
        let (kind, database, id) = parts(&difference.record);
        let versions = Colour::BOTH.map(|colour| version(difference.versions.get(colour).as_ref()));
        table.row([kind.to_owned(), database.to_owned(), id].into_iter().chain(versions));
    }
    let mut text = format!("\n{}", table.render());
    let more = differences.count.saturating_sub(differences.records.len() as u64);
    if more > 0 {
        text.push_str(&format!("and {} more\n", grouped(more)));
    }
    if differences.buckets_searched < differences.buckets_differing {
        let (searched, all) = (grouped(differences.buckets_searched), grouped(differences.buckets_differing));
        text.push_str(&format!("{searched} of {all} buckets with differences were searched\n"));
    }
    text
}

fn parts(record: &Place) -> (&str, &str, String) {
    let (kind, database, id) = match record {
        Place::User { id } => ("user", "-", id),
        Place::ApiKey { id } => ("API key", "-", id),
        Place::Token { id } => ("login", "-", id),
        Place::Key { lsn } => return ("idempotency key", "-", format!("lsn {}", grouped(*lsn))),
        Place::Database { id } => ("database", "-", id),
        Place::Vector { database, id } => ("vector", database.as_str(), id),
    };
    (kind, database, id.clone())
}

fn version(version: Option<&RecordVersion>) -> String {
    let Some(RecordVersion { lsn, hash }) = version else { return "missing".into() };
    let hash: String = hash.chars().take(HASH_SHOWN).collect();
    format!("lsn {} ({hash})", grouped(*lsn))
}

/// Something was held against something else: both environments, or the memory of one against its storage.
pub fn is_compared(verified: &Verified) -> bool {
    let environments = [&verified.environments.blue, &verified.environments.green];
    let differs_on_disk = environments
        .into_iter()
        .flatten()
        .any(|environment| environment.deep.as_ref().is_some_and(|deep| deep.from_memory != deep.from_storage));
    differs_on_disk || environments.iter().all(|environment| environment.is_some())
}

fn short(digest: &str) -> String {
    digest.chars().take(DIGEST_SHOWN).collect()
}
