use super::*;
use wire::admin::ListedRecord;

const BLUE: Colour = Colour::Blue;

fn vector(id: &str) -> Place {
    Place::Vector { database: "db".into(), id: id.into() }
}

/// A list begun at `from_lsn` and ended at `to_lsn` of records named by id, version and content.
fn list(from_lsn: Lsn, to_lsn: Lsn, records: &[(&str, Lsn, &str)]) -> ListedRecords {
    let listed = |&(id, lsn, content): &(&str, Lsn, &str)| {
        let hash = format!("{id}-{lsn}-{content}");
        ListedRecord { record: vector(id), version: RecordVersion { lsn, hash } }
    };
    ListedRecords { from_lsn, to_lsn, records: records.iter().map(listed).collect() }
}

fn found(first: &ListedRecords, second: &ListedRecords, third: &ListedRecords) -> Vec<String> {
    compare(BLUE, first, second, third).iter().map(ToString::to_string).collect()
}

/// Nothing is written: all three lists are of the same moment.
fn quiet(blue: &[(&str, Lsn, &str)], green: &[(&str, Lsn, &str)]) -> Vec<String> {
    found(&list(100, 100, blue), &list(100, 100, green), &list(100, 100, blue))
}

#[test]
fn each_kind_of_difference_is_named_with_its_side() {
    let same = ("same", 9, "x");
    assert_eq!(quiet(&[same], &[same]), [""; 0]);
    assert_eq!(
        quiet(&[same, ("a", 5, "x")], &[same, ("a", 5, "y")]),
        ["vector `a` of database `db`, written at LSN 5, has another content on blue than on green"]
    );
    assert_eq!(
        quiet(&[same, ("a", 5, "x")], &[same, ("a", 3, "x")]),
        ["vector `a` of database `db` is of LSN 5 on blue and of LSN 3 on green"]
    );
    assert_eq!(
        quiet(&[same, ("a", 5, "x")], &[same]),
        ["vector `a` of database `db`, written at LSN 5 on blue, is missing on green"]
    );
    assert_eq!(
        quiet(&[same], &[same, ("a", 5, "x")]),
        ["vector `a` of database `db`, written at LSN 5 on green, is missing on blue"]
    );
    let two = quiet(&[("a", 1, "x"), ("b", 2, "x")], &[("a", 1, "x"), ("c", 3, "x")]);
    assert_eq!(two.len(), 2, "{two:?}");
}

#[test]
fn a_record_of_a_write_that_never_was_differs_too() {
    let one = quiet(&[("a", 5, "x")], &[("a", 999, "x")]);
    assert_eq!(one, ["vector `a` of database `db` is of LSN 5 on blue and of LSN 999 on green"]);
    assert_eq!(quiet(&[("a", 999, "x")], &[]).len(), 1);
}

/// What was written, rewritten or deleted while the lists were taken is no difference: every such history.
#[test]
fn writes_on_their_way_are_no_differences() {
    // Three writes store or delete one record; each list sees it at any moment of its own.
    let moments = [(10, 12), (12, 15), (16, 18)];
    let mut histories = Vec::new();
    for first in 1..=20 {
        for second in first + 1..=20 {
            for third in second + 1..=20 {
                let kinds =
                    (0..8).map(|kinds| [(first, kinds & 1 > 0), (second, kinds & 2 > 0), (third, kinds & 4 > 0)]);
                histories.extend(kinds);
            }
        }
    }
    for history in histories {
        let at = |moment: Lsn| {
            let last = history.iter().rev().find(|(lsn, _)| *lsn <= moment);
            last.filter(|(_, put)| *put).map(|(lsn, _)| ("a", *lsn, "x"))
        };
        for first in moments[0].0..=moments[0].1 {
            for second in moments[1].0..=moments[1].1 {
                for third in moments[2].0..=moments[2].1 {
                    let seen = |moment: Lsn, (from, to): (Lsn, Lsn)| list(from, to, &Vec::from_iter(at(moment)));
                    let lists = (seen(first, moments[0]), seen(second, moments[1]), seen(third, moments[2]));
                    let found = found(&lists.0, &lists.1, &lists.2);
                    assert_eq!(found, [""; 0], "{history:?} seen at {first}, {second}, {third}");
                }
            }
        }
    }
}

/// While everything else is written, a difference of a record at rest is found.
#[test]
fn a_difference_at_rest_is_found_whatever_is_written_beside_it() {
    let blue = list(10, 12, &[("a", 3, "x"), ("new", 11, "x")]);
    let green = list(13, 15, &[("new", 14, "y")]);
    let again = list(16, 18, &[("a", 3, "x"), ("new", 17, "z")]);
    assert_eq!(
        found(&blue, &green, &again),
        ["vector `a` of database `db`, written at LSN 3 on blue, is missing on green"]
    );
}

#[test]
fn buckets_with_other_sums_are_found() {
    let mut one = vec![0; wire::admin::BUCKETS * BUCKET_SUM_BYTES];
    let other = one.clone();
    assert_eq!(differing(&one, &other), [0; 0]);
    one[31] = 1;
    one[7 * BUCKET_SUM_BYTES] = 1;
    *one.last_mut().unwrap() = 1;
    assert_eq!(differing(&one, &other), [0, 7, u16::MAX]);
}
