use super::*;

fn slots(range: std::ops::Range<u32>) -> Vec<Slot> {
    range.map(Slot::made_up).collect()
}

/// All that is left behind the cursor.
fn rest(arrivals: &Arrivals, cursor: &mut Cursor) -> Vec<Slot> {
    let mut all = Vec::new();
    let mut read = Vec::new();
    loop {
        arrivals.read(cursor, 7, &mut read).unwrap();
        if read.is_empty() {
            return all;
        }
        all.extend(&read);
    }
}

#[test]
fn a_search_reads_what_leaves_the_waiting_part_and_what_is_added_meanwhile() {
    let mut arrivals = Arrivals::default();
    arrivals.extend(&slots(0..20));
    let mut cursor = arrivals.waiting();
    let mut end = arrivals.end();
    let batch = arrivals.next_batch(15);
    assert_eq!(batch.slots, slots(0..15));
    arrivals.finish(&batch);
    arrivals.extend(&slots(20..30));
    assert_eq!(rest(&arrivals, &mut cursor), slots(0..30));
    assert_eq!(rest(&arrivals, &mut end), slots(20..30));
    assert_eq!(rest(&arrivals, &mut arrivals.waiting()), slots(15..30));
    arrivals.extend(&slots(30..31));
    assert_eq!(rest(&arrivals, &mut cursor), slots(30..31));
}

#[test]
fn a_search_learns_that_it_fell_behind() {
    let mut arrivals = Arrivals::default();
    arrivals.extend(&slots(0..100));
    let mut cursor = arrivals.waiting();
    arrivals.extend(&slots(100..KEPT as u32));
    arrivals.finish_all();
    assert_eq!(rest(&arrivals, &mut cursor.clone()).len(), KEPT, "all are kept");
    arrivals.extend(&slots(KEPT as u32..KEPT as u32 + 1));
    arrivals.finish_all();
    assert!(arrivals.read(&mut cursor, 1, &mut Vec::new()).is_err());
    assert_eq!(arrivals.entries.len(), KEPT);
}

#[test]
fn a_compaction_drops_the_dead_and_disturbs_nobody() {
    let mut arrivals = Arrivals::default();
    arrivals.extend(&slots(0..100));
    arrivals.finish(&arrivals.next_batch(10));
    arrivals.extend(&slots(100..KEPT as u32 + 300));
    assert!(!arrivals.wants_compaction(200));
    assert!(arrivals.wants_compaction(5));
    let mut cursor = arrivals.waiting();
    let batch = arrivals.next_batch(10);
    arrivals.compact(|slot| [15, 20].contains(&slot.index()));
    assert!(arrivals.read(&mut cursor, 1, &mut Vec::new()).is_err(), "its entries have moved");
    arrivals.finish(&batch);
    let waiting = [Slot::made_up(15), Slot::made_up(20)];
    assert_eq!(rest(&arrivals, &mut arrivals.waiting()), waiting, "the batch of before must not finish other entries");
    assert_eq!(arrivals.next_batch(10).slots, waiting);
    arrivals.finish(&arrivals.next_batch(1));
    arrivals.extend(&slots(7..8));
    assert_eq!(arrivals.next_batch(10).slots, [Slot::made_up(20), Slot::made_up(7)]);
}
