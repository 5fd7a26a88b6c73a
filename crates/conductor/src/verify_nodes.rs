//! Comparing every node of environments that have several: each says its digest at the marker at which the heads were compared.

use crate::observe::Target;
use crate::verify::{Directory, VerifyError, verify};
use client::Http;
use std::time::Duration;
use tokio::task::JoinSet;
use wire::Member;
use wire::admin::Digest;
use wire::control::Verified;

/// A node waits up to 5 s for a marker to arrive.
const DIGEST_TIMEOUT: Duration = Duration::from_secs(6);
/// Recomputing reads everything from storage.
const REHASH_TIMEOUT: Duration = Duration::from_secs(300);

/// As [`verify`], and all other nodes as well.
pub(crate) async fn verify_all(http: &Http, directory: &Directory, deep: bool) -> Result<Verified, VerifyError> {
    let heads = verify(http, directory, deep).await?;
    let mut asked = JoinSet::new();
    for (member, target) in directory.followers.clone() {
        let (http, lsn) = (http.clone(), heads.lsn);
        asked.spawn(async move { (member, digest(&http, &target, lsn, deep).await) });
    }
    let mut digests = asked.join_all().await;
    digests.sort_by_key(|(member, _)| *member);
    Ok(judge(heads, &digests))
}

async fn digest(http: &Http, target: &Target, lsn: u64, deep: bool) -> Result<Digest, String> {
    let digest = target.admin(http, DIGEST_TIMEOUT).digest(lsn).await.map_err(|error| error.to_string())?;
    if deep {
        let rehash = target.admin(http, REHASH_TIMEOUT).rehash().await.map_err(|error| error.to_string())?;
        if rehash.from_memory != rehash.from_storage {
            let records = rehash.records;
            return Ok(Digest { lsn: rehash.lsn, digest: format!("{} in storage", rehash.from_storage), records });
        }
    }
    Ok(digest)
}

/// What the other nodes say, held against the primary's head. One that says nothing is named, and neither speaks for nor against.
fn judge(heads: Verified, others: &[(Member, Result<Digest, String>)]) -> Verified {
    let Some(of_primary) = heads.environments.get(heads.primary) else { return heads };
    let (mut same, mut different, mut missed) = (Vec::new(), Vec::new(), Vec::new());
    for (member, said) in others {
        match said {
            Ok(said) if said.digest == of_primary.digest => same.push(member.to_string()),
            Ok(said) => different.push(format!("{member} has digest {} over {} records", said.digest, said.records)),
            Err(why) => missed.push(format!("{member} was not compared: {why}")),
        }
    }
    // An environment of several nodes can be compared with itself.
    let compared = heads.environments.iter().all(|(_, seen)| seen.is_some());
    let equal = different.is_empty() && (heads.equal || !compared && !same.is_empty());
    let same = (!same.is_empty()).then(|| format!("the same digest on {}", same.join(", ")));
    let why: Vec<String> = std::iter::once(heads.why.clone()).chain(different).chain(same).chain(missed).collect();
    Verified { equal, why: why.join("; "), ..heads }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::control::VerifiedEnvironment;
    use wire::{ByColour, Colour};

    fn judged(green: bool, equal: bool, others: &[(&str, u8)]) -> Verified {
        let seen = || VerifiedEnvironment { digest: "a".into(), records: 9, deep: None };
        let environments = ByColour::new(Some(seen()), green.then(seen));
        let (why, primary) = ("the heads".to_string(), Colour::Blue);
        let heads = Verified { equal, lsn: 7, environments, primary, why, ..verified() };
        let others: Vec<_> = others
            .iter()
            .map(|(digest, number)| {
                let said = match *digest {
                    "" => Err("no answer".to_string()),
                    digest => Ok(Digest { lsn: 7, digest: digest.into(), records: 9 }),
                };
                (Member::new(Colour::Blue, *number), said)
            })
            .collect();
        judge(heads, &others)
    }

    fn verified() -> Verified {
        serde_json::from_str(
            r#"{"equal":true,"lsn":1,"environments":{"blue":null,"green":null},"primary":"blue","why":""}"#,
        )
        .unwrap()
    }

    #[test]
    fn one_node_that_differs_is_named_whatever_the_others_say() {
        let result = judged(true, true, &[("a", 1), ("b", 2)]);
        assert!(!result.equal);
        assert_eq!(result.why, "the heads; blue-2 has digest b over 9 records; the same digest on blue-1");
        assert!(!judged(true, false, &[("a", 1)]).equal, "the heads differ");
    }

    #[test]
    fn an_environment_of_several_nodes_is_compared_with_itself() {
        assert!(judged(false, false, &[("a", 1)]).equal);
        assert!(!judged(false, false, &[]).equal, "nothing was compared");
        let result = judged(true, true, &[("", 1)]);
        assert_eq!((result.equal, result.why.as_str()), (true, "the heads; blue-1 was not compared: no answer"));
    }
}
