//! Numbers as people read them.

use wire::Colour;
use wire::admin::{FeedState, Role, Seeding};

/// A span of time: `350 ms`, `4 s`, `2.5 s`, `7 min`.
pub(crate) fn span(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..10_000 if ms % 1_000 >= 100 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        1_000..600_000 => format!("{} s", ms / 1_000),
        _ => format!("{} min", ms / 60_000),
    }
}

/// A number in groups of three digits: `412,000`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let first = digits.len() % 3;
    let groups =
        std::iter::once(&digits[..first]).chain((first..digits.len()).step_by(3).map(|at| &digits[at..at + 3]));
    groups.filter(|group| !group.is_empty()).collect::<Vec<_>>().join(",")
}

/// A rate: `58 MB/s`, `3.4 MB/s`, `120 kB/s`.
pub(crate) fn rate(bytes_per_s: u64) -> String {
    match bytes_per_s {
        0..1_000_000 => format!("{} kB/s", bytes_per_s / 1_000),
        1_000_000..10_000_000 => format!("{}.{} MB/s", bytes_per_s / 1_000_000, bytes_per_s % 1_000_000 / 100_000),
        _ => format!("{} MB/s", grouped(bytes_per_s / 1_000_000)),
    }
}

/// How far a snapshot has come: `green has received 412,000 of 1,000,000 records of blue, 58 MB/s, about 6 s left`.
pub(crate) fn seeding(colour: Colour, seeding: &Seeding, feed: &FeedState) -> String {
    let (records, total) = (grouped(seeding.records), grouped(seeding.records_total));
    let received = format!("{colour} has received {records} of {total} records of {}", colour.other());
    let asked_again = match &feed.error {
        Some(error) => format!("; the rest was asked for again: {error}"),
        None => String::new(),
    };
    match seeding.left_ms() {
        None => format!("{received}{asked_again}"),
        Some(0..1_000) => format!("{received}, {}, less than a second left{asked_again}", rate(seeding.bytes_per_s)),
        Some(left_ms) => {
            let left = span(left_ms / 1_000 * 1_000);
            format!("{received}, {}, about {left} left{asked_again}", rate(seeding.bytes_per_s))
        }
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
    use super::*;

    #[test]
    fn spans_are_short() {
        let written: Vec<_> = [0, 999, 1_000, 1_050, 2_500, 10_900, 599_999, 600_000].map(span).into();
        assert_eq!(written, ["0 ms", "999 ms", "1 s", "1 s", "2.5 s", "10 s", "599 s", "10 min"]);
    }

    #[test]
    fn numbers_are_grouped() {
        let written: Vec<_> = [0, 999, 1_000, 12_345, 1_000_000].map(grouped).into();
        assert_eq!(written, ["0", "999", "1,000", "12,345", "1,000,000"]);
        let written: Vec<_> = [0, 120_499, 3_456_789, 58_900_000, 1_200_000_000].map(rate).into();
        assert_eq!(written, ["0 kB/s", "120 kB/s", "3.4 MB/s", "58 MB/s", "1,200 MB/s"]);
    }

    #[test]
    fn a_seed_says_how_far_it_is_and_how_long_it_takes() {
        let told = |bytes_per_s, error: Option<&str>| {
            let now =
                Seeding { records: 412_000, records_total: 1_000_000, bytes: 240_000_000, bytes_per_s, resumed: 0 };
            let error = error.map(String::from);
            let feed = FeedState { connected: false, primary_lsn: 0, lag_ms: 0, seeding: None, error };
            seeding(Colour::Green, &now, &feed)
        };
        let received = "green has received 412,000 of 1,000,000 records of blue";
        assert_eq!(told(58_000_000, None), format!("{received}, 58 MB/s, about 5 s left"));
        let again = "400 kB/s, about 14 min left; the rest was asked for again: no space left";
        assert_eq!(told(400_000, Some("no space left")), format!("{received}, {again}"));
        assert_eq!(told(1_000_000_000, None), format!("{received}, 1,000 MB/s, less than a second left"));
        assert_eq!(told(0, None), received);
        assert_eq!(told(0, Some("cut off")), format!("{received}; the rest was asked for again: cut off"));
    }
}
