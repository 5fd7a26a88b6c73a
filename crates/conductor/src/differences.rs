//! Which records differ between two nodes whose digests do, found while writes go on.
//!
//! The sums of the digest's buckets at one marker tell in which buckets to search. The records of these are listed by both
//! nodes, and no two lists are of the same moment: writes go on, one node lags behind the other, and a list itself takes
//! time. What only looks like a difference because of that is told from a real one by positions in the history, which is
//! the same for both: three lists are taken, each begun when its node has everything that the one before had
//! (`from_lsn` and `to_lsn` say between which writes a record may have been seen).
//!
//! **A record seen at version v in a list, where v is not above the `from_lsn` of another list that ended before, was not
//! touched between v and its own list, and so not while the other was taken: the other must have seen the same.** Taken
//! both ways (the second list against the first, the third against the second), this finds every difference of records
//! that are not written at the moment, and never takes a write on its way for one.

use crate::observe::Target;
use client::{CallError, Http};
use std::collections::BTreeMap;
use std::time::Duration;
use wire::admin::{BUCKET_SUM_BYTES, ListedRecords, Lsn, RecordVersion, RecordsIn};
use wire::control::{DIFFERENCES_NAMED_MAX, Difference, Differences};
use wire::snapshot::Place;
use wire::{ByColour, Colour};

const SUMS_TIMEOUT: Duration = Duration::from_secs(5);
/// A node waits up to 5 s for the LSN, and looks at every record then.
const RECORDS_TIMEOUT: Duration = Duration::from_secs(60);
/// Records that a list shall have about, a quarter of what a node lists at most, and buckets it is of at most.
const RECORDS_WANTED: u64 = 5_000;
const BUCKETS_SEARCHED_MAX: u64 = 4_096;
const BUCKETS: u64 = wire::admin::BUCKETS as u64;

/// Why it is not known which records differ.
#[derive(Debug, thiserror::Error)]
enum DifferencesError {
    #[error("{colour} did not give the sums of its buckets: {source}")]
    Sums { colour: Colour, source: CallError },
    #[error("no bucket has another sum at LSN {0}, although the digests differ: a node contradicts itself")]
    NoBucket(Lsn),
    #[error("{colour} did not list its records: {source}")]
    Records { colour: Colour, source: CallError },
    #[error(
        "the records in {0} buckets with other sums are the same: they were overwritten meanwhile, or a digest is not that \
         of its records; compare once more"
    )]
    NoRecord(u64),
}

/// Finds the records that differ between two nodes whose digests at the marker at `lsn` do. `records`: how many they have.
pub(crate) async fn differences(
    http: &Http,
    lsn: Lsn,
    primary: (Colour, &Target),
    other: (Colour, &Target),
    records: u64,
) -> Differences {
    let mut found = Differences::default();
    if let Err(error) = search(http, lsn, primary, other, records, &mut found).await {
        found.error = Some(error.to_string());
    }
    found
}

async fn search(
    http: &Http,
    lsn: Lsn,
    primary: (Colour, &Target),
    other: (Colour, &Target),
    records: u64,
    found: &mut Differences,
) -> Result<(), DifferencesError> {
    let sums = async |(colour, target): (Colour, &Target)| {
        let sums = target.admin(http, SUMS_TIMEOUT).bucket_sums(lsn).await;
        sums.map_err(|source| DifferencesError::Sums { colour, source })
    };
    let (one_sums, other_sums) = tokio::try_join!(sums(primary), sums(other))?;
    let mut buckets = differing(&one_sums, &other_sums);
    if buckets.is_empty() {
        return Err(DifferencesError::NoBucket(lsn));
    }
    found.buckets_differing = buckets.len() as u64;
    let searched = (RECORDS_WANTED / (records / BUCKETS + 1)).clamp(1, BUCKETS_SEARCHED_MAX);
    buckets.truncate(searched as usize);
    found.buckets_searched = buckets.len() as u64;

    let list = async |(colour, target): (Colour, &Target), at_least| {
        let call = RecordsIn { buckets: buckets.clone(), at_least };
        let listed = target.admin(http, RECORDS_TIMEOUT).records(&call).await;
        listed.map_err(|source| DifferencesError::Records { colour, source })
    };
    let first = list(primary, lsn).await?;
    let second = list(other, first.to_lsn).await?;
    let third = list(primary, second.to_lsn).await?;
    let all = compare(primary.0, &first, &second, &third);
    if all.is_empty() {
        return Err(DifferencesError::NoRecord(found.buckets_searched));
    }
    found.count = all.len() as u64;
    found.records = all.into_iter().take(DIFFERENCES_NAMED_MAX).collect();
    Ok(())
}

/// The buckets whose sums differ.
fn differing(one: &[u8], other: &[u8]) -> Vec<u16> {
    let pairs = one.chunks(BUCKET_SUM_BYTES).zip(other.chunks(BUCKET_SUM_BYTES)).zip(0..=u16::MAX);
    pairs.filter(|((one, other), _)| one != other).map(|(_, bucket)| bucket).collect()
}

/// The records that differ for certain; `first` and `third` are lists of the node of `colour`.
fn compare(colour: Colour, first: &ListedRecords, second: &ListedRecords, third: &ListedRecords) -> Vec<Difference> {
    let mut found = BTreeMap::new();
    unequal(first, second, |record, earlier, later| {
        found.insert(record.clone(), versions(colour, earlier, Some(later)));
    });
    unequal(second, third, |record, earlier, later| {
        found.insert(record.clone(), versions(colour, Some(later), earlier));
    });
    found.into_iter().map(|(record, versions)| Difference { record, versions }).collect()
}

fn versions(
    colour: Colour,
    here: Option<&RecordVersion>,
    there: Option<&RecordVersion>,
) -> ByColour<Option<RecordVersion>> {
    ByColour::from_fn(|each| if each == colour { here.cloned() } else { there.cloned() })
}

/// Tells of each record of `later` that `earlier` must have seen as it is, and has not.
fn unequal(
    earlier: &ListedRecords,
    later: &ListedRecords,
    mut tell: impl FnMut(&Place, Option<&RecordVersion>, &RecordVersion),
) {
    let seen: BTreeMap<&Place, &RecordVersion> =
        earlier.records.iter().map(|listed| (&listed.record, &listed.version)).collect();
    for listed in &later.records {
        let old = listed.version.lsn <= earlier.from_lsn;
        // Written by no write there is, so by none that is on its way.
        let of_nowhere = listed.version.lsn > later.to_lsn;
        let before = seen.get(&listed.record).copied();
        if (old || of_nowhere) && before != Some(&listed.version) {
            tell(&listed.record, before, &listed.version);
        }
    }
}

#[cfg(test)]
mod tests;
