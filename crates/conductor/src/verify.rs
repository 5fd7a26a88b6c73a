//! Comparing the two copies: a marker is written to the history, and both say their digest there.

use crate::differences::differences;
use crate::observe::Target;
use client::{CallError, Http};
use std::time::Duration;
use wire::admin::{Lsn, Rehash, Role};
use wire::control::{Differences, Verified, VerifiedEnvironment};
use wire::{ByColour, Colour, Member};

/// A node waits up to 5 s for a marker to arrive.
const DIGEST_TIMEOUT: Duration = Duration::from_secs(6);
const CALL_TIMEOUT: Duration = Duration::from_secs(2);
/// Recomputing reads everything from storage.
const REHASH_TIMEOUT: Duration = Duration::from_secs(300);

/// Records that are named in a sentence; more are in [`Differences`].
const NAMED_MAX: usize = 3;

/// Where to ask, as of the last look.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Directory {
    pub primary: Colour,
    pub targets: ByColour<Option<Target>>,
    /// The nodes that are not heads.
    pub followers: Vec<(Member, Target)>,
}

/// Why nothing could be compared.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error("{0}, the primary, does not run")]
    PrimaryNotRunning(Colour),
    #[error("{colour}, the primary, did not write a marker: {source}")]
    Marker { colour: Colour, source: CallError },
    #[error("{colour} did not say its digest at LSN {lsn}: {source}")]
    Digest { colour: Colour, lsn: Lsn, source: CallError },
    #[error("{colour} did not recompute its digest from storage: {source}")]
    Rehash { colour: Colour, source: CallError },
}

/// Compares both copies at one LSN; `deep`: each also recomputes its digest from storage.
pub(crate) async fn verify(http: &Http, directory: &Directory, deep: bool) -> Result<Verified, VerifyError> {
    let Directory { primary, targets, .. } = directory;
    let (primary, other) = (*primary, primary.other());
    let target = targets.get(primary).as_ref().ok_or(VerifyError::PrimaryNotRunning(primary))?;
    let marker = target.admin(http, CALL_TIMEOUT).marker().await;
    let lsn = marker.map_err(|source| VerifyError::Marker { colour: primary, source })?.lsn;
    let of_primary = environment(http, primary, target, lsn, deep).await?;

    let mut environments = ByColour::new(None, None);
    let (of_other, absent) = match follower(http, other, targets.get(other).as_ref()).await {
        Ok(target) => (Some(environment(http, other, target, lsn, deep).await?), None),
        Err(why) => (None, Some(why)),
    };
    let (mut found, records) = (None, of_primary.records.max(of_other.as_ref().map_or(0, |other| other.records)));
    if let (Some(of_other), Some(other_target)) = (&of_other, targets.get(other))
        && of_other.digest != of_primary.digest
    {
        found = Some(differences(http, lsn, (primary, target), (other, other_target), records).await);
    }
    let (equal, why) = match (&of_other, absent) {
        (Some(of_other), _) => compare(lsn, (primary, &of_primary), (other, of_other), found.as_ref()),
        (None, absent) => {
            let absent = absent.unwrap_or_default();
            (false, format!("{primary} has digest {} at LSN {lsn}; nothing to compare: {absent}", of_primary.digest))
        }
    };
    *environments.get_mut(primary) = Some(of_primary);
    *environments.get_mut(other) = of_other;
    Ok(Verified { equal, lsn, environments, primary, why, differences: found })
}

/// The node, if it follows; otherwise why there is nothing to compare with.
async fn follower<'a>(http: &Http, colour: Colour, target: Option<&'a Target>) -> Result<&'a Target, String> {
    let target = target.ok_or_else(|| format!("{colour} does not run"))?;
    let state = target.admin(http, CALL_TIMEOUT).state().await.map_err(|error| format!("{colour}: {error}"))?;
    match state.role {
        Role::Follower { .. } => Ok(target),
        _ => Err(format!("{colour} is not following")),
    }
}

async fn environment(
    http: &Http,
    colour: Colour,
    target: &Target,
    lsn: Lsn,
    deep: bool,
) -> Result<VerifiedEnvironment, VerifyError> {
    let digest = target.admin(http, DIGEST_TIMEOUT).digest(lsn).await;
    let digest = digest.map_err(|source| VerifyError::Digest { colour, lsn, source })?;
    let deep = match deep {
        true => {
            let rehash = target.admin(http, REHASH_TIMEOUT).rehash().await;
            Some(rehash.map_err(|source| VerifyError::Rehash { colour, source })?)
        }
        false => None,
    };
    Ok(VerifiedEnvironment { digest: digest.digest, records: digest.records, deep })
}

fn compare(
    lsn: Lsn,
    one: (Colour, &VerifiedEnvironment),
    other: (Colour, &VerifiedEnvironment),
    differences: Option<&Differences>,
) -> (bool, String) {
    for (colour, environment) in [one, other] {
        if let Some(Rehash { lsn, from_memory, from_storage, .. }) = &environment.deep
            && from_memory != from_storage
        {
            let why = format!("{colour} has digest {from_memory} in memory and {from_storage} in storage at LSN {lsn}");
            return (false, why);
        }
    }
    let ((one_colour, one), (other_colour, other)) = (one, other);
    if one.digest != other.digest {
        let why = format!(
            "the copies differ at LSN {lsn}: {one_colour} has digest {} over {} records, {other_colour} {} over {}{}",
            one.digest,
            one.records,
            other.digest,
            other.records,
            differences.map(|differences| format!("; {}", names(differences))).unwrap_or_default()
        );
        return (false, why);
    }
    let stored = if one.deep.is_some() { ", in memory and in storage" } else { "" };
    (true, format!("both copies have digest {} over {} records at LSN {lsn}{stored}", one.digest, one.records))
}

/// The first records that differ, for a sentence.
fn names(differences: &Differences) -> String {
    if let Some(error) = &differences.error {
        return format!("which records differ could not be found out: {error}");
    }
    let first: Vec<String> = differences.records.iter().take(NAMED_MAX).map(ToString::to_string).collect();
    let more = differences.count.saturating_sub(first.len() as u64);
    let rest = differences.buckets_differing - differences.buckets_searched;
    let mut text = first.join("; ");
    if more > 0 {
        text.push_str(&format!("; and {more} more"));
    }
    if rest > 0 {
        text.push_str(&format!("; and those in {rest} buckets that were not searched"));
    }
    text
}
