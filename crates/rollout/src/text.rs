//! Numbers as people read them.

use wire::admin::Role;

/// A span of time: `350 ms`, `4 s`, `2.5 s`, `7 min`.
pub(crate) fn span(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..10_000 if ms % 1_000 >= 100 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        1_000..600_000 => format!("{} s", ms / 1_000),
        _ => format!("{} min", ms / 60_000),
    }
}

/// A role as part of a sentence: "it is a follower".
pub(crate) fn role(role: &Role) -> String {
    match role {
        Role::Primary { epoch } => format!("the primary of epoch {epoch}"),
        Role::Follower { epoch, .. } => format!("a follower in epoch {epoch}"),
        Role::Sealed { epoch, .. } => format!("sealed in epoch {epoch}"),
        Role::Waiting => "empty and waiting".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::span;

    #[test]
    fn spans_are_short() {
        let written: Vec<_> = [0, 999, 1_000, 1_050, 2_500, 10_900, 599_999, 600_000].map(span).into();
        assert_eq!(written, ["0 ms", "999 ms", "1 s", "1 s", "2.5 s", "10 s", "599 s", "10 min"]);
    }
}
