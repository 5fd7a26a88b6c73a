use super::*;
use std::collections::HashMap;

fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
    fields.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
}

fn at(lsn: u64) -> HeaderMap {
    headers(&[("jadevectordb-lsn", &lsn.to_string())])
}

fn demanded(memory: &OwnWrites, credential: Credential) -> u64 {
    let mut sent = HeaderMap::new();
    let demand = memory.demand(credential, &mut sent);
    assert_eq!(demand.map(|demand| demand.lsn), lsn(&sent));
    lsn(&sent).unwrap_or(0)
}

fn lsn(sent: &HeaderMap) -> Option<u64> {
    sent.get("jadevectordb-min-lsn").map(|value| value.to_str().unwrap().parse().unwrap())
}

#[test]
fn a_secret_is_the_same_however_it_is_written() {
    let memory = OwnWrites::new(8, 0);
    let one = memory.credential(&headers(&[("authorization", "Bearer jade-1")]));
    assert_eq!(memory.credential(&headers(&[("authorization", "ApiKey jade-1")])), one);
    assert_eq!(memory.credential(&headers(&[("x-api-key", "jade-1")])), one);
    assert_ne!(memory.credential(&headers(&[("authorization", "Bearer jade-2")])), one);
    assert_ne!(memory.credential(&HeaderMap::new()), one);
    // Another process cannot be told by the hash what the secret is.
    assert_ne!(OwnWrites::new(8, 0).credential(&headers(&[("x-api-key", "jade-1")])), one);
}

#[test]
fn the_highest_write_is_demanded_of_the_credential_that_made_it() {
    let memory = OwnWrites::new(1_000, 0);
    let [one, two] = ["one", "two"].map(|key| memory.credential(&headers(&[("x-api-key", key)])));
    assert_eq!((demanded(&memory, one), demanded(&memory, two)), (0, 0));
    // Answers overtake each other; one without an LSN says nothing.
    for answer in [at(7), at(9), at(8), HeaderMap::new(), headers(&[("jadevectordb-lsn", "x")])] {
        memory.acknowledged(one, &answer);
    }
    assert_eq!((demanded(&memory, one), demanded(&memory, two)), (9, 0));
}

#[test]
fn the_higher_demand_of_gateway_and_client_wins() {
    let memory = OwnWrites::new(8, 0);
    let one = memory.credential(&HeaderMap::new());
    memory.acknowledged(one, &at(9));
    for (client, sent, ours) in
        [("8", "9", true), ("9", "9", false), ("10", "10", false), ("nonsense", "nonsense", false)]
    {
        let mut head = headers(&[("jadevectordb-min-lsn", client)]);
        let demand = memory.demand(one, &mut head);
        assert_eq!((head["jadevectordb-min-lsn"].to_str().unwrap(), demand.is_some()), (sent, ours));
        if let Some(demand) = demand {
            demand.withdraw(&mut head);
            assert_eq!(head["jadevectordb-min-lsn"], client, "the client's own words");
        }
    }
}

/// Whatever is forgotten, no credential's reads demand less than it wrote.
#[test]
fn more_writers_than_there_is_room_for_raise_the_demand_of_all() {
    let memory = OwnWrites::new(64, 5);
    assert_eq!(demanded(&memory, Credential(1)), 5, "what came before is demanded from the start");
    let mut written = HashMap::new();
    for lsn in 6..2_000u64 {
        // A few write often, many once.
        let writer = if lsn % 3 == 0 { lsn % 7 } else { 1_000 + lsn };
        let credential = writer.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(20) | 1;
        memory.acknowledged(Credential(credential), &at(lsn));
        written.insert(credential, lsn);
    }
    for (credential, lsn) in written {
        assert!(demanded(&memory, Credential(credential)) >= lsn);
    }
    // A set that forgets has seven others that are younger.
    assert!((100..2_000 - 8).contains(&memory.floor()), "{}", memory.floor());
}

#[test]
fn what_the_primary_does_not_have_is_given_up() {
    let memory = OwnWrites::new(8, 0);
    let one = memory.credential(&HeaderMap::new());
    memory.acknowledged(one, &at(1_000));
    let mut sent = HeaderMap::new();
    let demand = memory.demand(one, &mut sent).unwrap();
    assert!(!memory.give_up(&demand, &at(1_000)), "it has it");
    assert!(!memory.give_up(&demand, &HeaderMap::new()), "it does not say where it stands");
    assert_eq!(demanded(&memory, one), 1_000);
    // Another write was acknowledged while the primary said no to this one.
    memory.acknowledged(one, &at(1_001));
    assert!(memory.give_up(&demand, &at(990)));
    assert_eq!(demanded(&memory, one), 1_001);
    let demand = memory.demand(one, &mut HeaderMap::new()).unwrap();
    assert!(memory.give_up(&demand, &at(991)));
    assert_eq!(demanded(&memory, one), 991);
    demand.withdraw(&mut sent);
    assert!(sent.is_empty());
}

#[test]
fn a_floor_of_a_history_that_was_given_up_goes_too() {
    let memory = OwnWrites::new(8, 50);
    let demand = memory.demand(Credential(3), &mut HeaderMap::new()).unwrap();
    assert!(memory.give_up(&demand, &at(40)));
    assert_eq!(demanded(&memory, Credential(4)), 40);
}

#[test]
fn switched_off_it_demands_nothing() {
    let memory = OwnWrites::off();
    let one = memory.credential(&HeaderMap::new());
    memory.acknowledged(one, &at(9));
    assert_eq!(demanded(&memory, one), 0);
}

/// Writers push each other out while their own reads look: a read after its write never demands less.
#[test]
fn a_read_beside_evictions_demands_what_was_written() {
    let memory = OwnWrites::new(8, 0);
    let next = AtomicU64::new(1);
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let (memory, next) = (&memory, &next);
            scope.spawn(move || {
                for turn in 0..50_000u64 {
                    let credential = Credential(1 + thread * 1_000 + turn % 5);
                    let lsn = next.fetch_add(1, Ordering::Relaxed);
                    memory.remember(credential, lsn);
                    assert!(memory.lsn_of(credential) >= lsn);
                }
            });
        }
    });
}
