//! `jadeshift verify`.

use super::short_digests;
use super::table::{Table, grouped};
use wire::Colour;
use wire::control::Verified;

/// Characters of a digest that are shown; the whole one is in the JSON.
const DIGEST_SHOWN: usize = 16;

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
    format!("{result} at lsn {}: {}\n\n{}", grouped(verified.lsn), short_digests(&verified.why), table.render())
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
