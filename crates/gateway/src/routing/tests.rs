use super::*;
use std::collections::BTreeSet;

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn both() -> Routing {
    let mut routing = Routing::only(Colour::Blue, address(1));
    routing.backends.green = Some(address(2));
    routing
}

#[test]
fn routes_of_the_database_are_told_apart() {
    use RequestKind::{Read, Write};
    let cases = [
        (Method::GET, "/v1/databases/db_1", Read),
        (Method::HEAD, "/health", Read),
        (Method::OPTIONS, "*", Read),
        (Method::POST, "/v1/databases/db_1/search", Read),
        (Method::POST, "/v1/databases/db_1/search/advanced", Read),
        (Method::POST, "/v1/databases/db_1/search/rerank", Read),
        (Method::POST, "/v1/databases/db_1/vectors/batch-get", Read),
        (Method::POST, "/v1/rerank", Read),
        (Method::POST, "/v1/embeddings/generate", Read),
        (Method::POST, "/v1/databases", Write),
        (Method::POST, "/v1/databases/db_1/vectors", Write),
        (Method::POST, "/v1/databases/db_1/vectors/batch", Write),
        (Method::POST, "/v1/databases/search/vectors", Write),
        (Method::POST, "/v1/databases/search", Write),
        (Method::POST, "/v1/databases//search", Write),
        (Method::POST, "/v1/databases/db_1/vectors/search", Write),
        (Method::POST, "/v1/databases/db_1/searching", Write),
        (Method::POST, "/v1/databases/db_1/bm25-index/build", Write),
        (Method::POST, "/v1/auth/login", Write),
        (Method::PUT, "/v1/databases/db_1/reranking/config", Write),
        (Method::DELETE, "/v1/databases/db_1/vectors/1", Write),
        (Method::PATCH, "/v1/databases/db_1/search", Write),
    ];
    for (method, path, kind) in cases {
        assert_eq!(kind_of(&method, path), kind, "{method} {path}");
    }
}

#[test]
fn every_side_of_the_coin_falls_by_share() {
    let routing = both().with_share(Colour::Green, 10);
    let greens = (0..100).filter(|&side| {
        routing.pick(|sides| {
            assert_eq!(sides, 100);
            side
        }) == Some(Colour::Green)
    });
    assert_eq!(greens.count(), 10);
}

#[test]
fn a_colour_without_backend_gets_nothing() {
    let mut routing = both().with_share(Colour::Green, 100);
    routing.backends.green = None;
    assert_eq!(routing.pick(|_| unreachable!()), Some(Colour::Blue));
    routing.backends.blue = None;
    assert_eq!(routing.pick(|_| unreachable!()), None);
}

#[test]
fn without_shares_reads_go_to_the_primary() {
    let mut routing = both();
    routing.reads = ByColour::new(0, 0);
    routing.primary = Some(Colour::Green);
    assert_eq!(routing.pick(|_| unreachable!()), Some(Colour::Green));
}

#[test]
fn reads_of_a_colour_go_to_any_of_its_nodes_that_did_not_just_fail() {
    let router = Router::new(Arc::new(Limits::default()));
    router.set(Routing { others: ByColour::new(vec![address(3), address(4)], Vec::new()), ..both() });
    let table = router.current();
    let asked = || (0..200).map(|_| table.reader(Colour::Blue).unwrap().address.port()).collect::<BTreeSet<_>>();
    assert_eq!(asked(), BTreeSet::from([1, 3, 4]));
    let failed = table.nodes(Colour::Blue).find(|node| node.address.port() == 3).unwrap().clone();
    failed.answered(false);
    assert_eq!(asked(), BTreeSet::from([1, 4]));
    failed.answered(true);
    assert_eq!(asked(), BTreeSet::from([1, 3, 4]));
    table.nodes(Colour::Blue).for_each(|node| node.answered(false));
    assert!(table.reader(Colour::Blue).is_some(), "when all failed, one is asked all the same");
}

#[test]
fn a_node_keeps_its_connections_when_it_becomes_the_head() {
    let router = Router::new(Arc::new(Limits::default()));
    let with = |head: u16, other: u16| {
        let mut routing = both();
        (routing.backends.blue, routing.others.blue) = (Some(address(head)), vec![address(other)]);
        routing
    };
    router.set(with(1, 3));
    let before = router.current();
    router.set(with(3, 1));
    let after = router.current();
    let other = before.nodes(Colour::Blue).nth(1).unwrap();
    assert!(Arc::ptr_eq(other, after.backend(Colour::Blue).unwrap()));
    assert!(!after.is_follower(other) && before.is_follower(other));
    assert!(after.is_follower(after.backend(Colour::Green).unwrap()));
}

#[test]
fn without_a_head_the_others_answer_reads() {
    let mut routing = Routing { others: ByColour::new(vec![address(3)], Vec::new()), ..both() };
    (routing.backends.blue, routing.backends.green) = (None, None);
    assert_eq!(routing.pick(|_| unreachable!()), Some(Colour::Blue));
}

#[test]
fn a_backend_is_kept_while_its_address_stays() {
    let router = Router::new(Arc::new(Limits::default()));
    router.set(both());
    let before = router.current();
    let mut next = both().with_share(Colour::Green, 50);
    next.backends.green = Some(address(3));
    router.set(next);
    let after = router.current();
    assert!(Arc::ptr_eq(before.backend(Colour::Blue).unwrap(), after.backend(Colour::Blue).unwrap()));
    assert!(!Arc::ptr_eq(before.backend(Colour::Green).unwrap(), after.backend(Colour::Green).unwrap()));
    assert_eq!(after.version, before.version + 1);
}
