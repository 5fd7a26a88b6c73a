//! `/v1/databases/{db}/search`.

use crate::common::TestNode;
use bytes::Bytes;
use jadevectordb::fault::Faults;
use jadevectordb::rest::search::replay;
use serde_json::{Value, json};
use std::sync::atomic::Ordering;
use wire::admin::Replay;

/// Points on a quarter of a circle: `v00` is nearest to [1, 0], `v09` to [0, 1].
async fn circle(node: &TestNode, extra: Value) -> String {
    let mut body = json!({ "name": "circle", "vectorDimension": 2 });
    for (name, value) in extra.as_object().unwrap() {
        body[name] = value.clone();
    }
    let created = node.post("/v1/databases", &body).await.expect(201);
    let db = created["databaseId"].as_str().unwrap().to_owned();
    let vectors: Vec<Value> = (0..10)
        .map(|n| {
            let angle = f64::from(n) / 9.0 * std::f64::consts::FRAC_PI_2;
            let parity = if n % 2 == 0 { "even" } else { "odd" };
            let metadata = json!({ "category": parity, "number": n, "big": n >= 5, "as text": n.to_string() });
            json!({ "id": format!("v{n:02}"), "values": [angle.cos(), angle.sin()], "metadata": metadata })
        })
        .collect();
    node.post(&format!("/v1/databases/{db}/vectors/batch"), &json!({ "vectors": vectors })).await.expect(201);
    format!("/v1/databases/{db}/search")
}

fn ids(answer: &Value) -> Vec<&str> {
    answer["results"].as_array().unwrap().iter().map(|found| found["vectorId"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_nearest_come_first_in_the_original_shape() {
    let node = TestNode::start().await;
    let search = circle(&node, json!({})).await;
    for exact in [false, true] {
        let found = node.post(&search, &json!({ "queryVector": [1, 0], "topK": 3, "exact": exact })).await.expect(200);
        assert_eq!(found["count"], 3);
        assert_eq!(ids(&found), ["v00", "v01", "v02"]);
        assert!((found["results"][0]["score"].as_f64().unwrap() - 1.0).abs() < 1e-6);
        assert!(found["results"][0].get("vector").is_none());
    }
    assert_eq!(node.post(&search, &json!({ "queryVector": [1, 0] })).await.expect(200)["count"], 10);
    let found = node.post(&search, &json!({ "queryVector": [1, 0], "topK": 2.9 })).await.expect(200);
    assert_eq!(found["count"], 2, "a fraction is cut off, as by the original");

    let asked = json!({ "queryVector": [1, 0], "topK": 1, "includeMetadata": true });
    let found = node.post(&search, &asked).await.expect(200);
    let vector = &found["results"][0]["vector"];
    assert_eq!(vector["id"], "v00");
    assert!(vector.get("values").is_none());
    assert_eq!(vector["metadata"]["category"], "even");
    assert_eq!(vector["metadata"]["custom"], json!({ "number": 0, "big": false, "as text": "0" }));
    for name in ["includeVectorData", "includeValues"] {
        let found = node.post(&search, &json!({ "queryVector": [1, 0], "topK": 1, name: true })).await.expect(200);
        assert_eq!(found["results"][0]["vector"]["values"][0], 1.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_answer_is_an_empty_list() {
    let node = TestNode::start().await;
    let db = node.database(2).await;
    let found = node.post(&format!("/v1/databases/{db}/search"), &json!({ "queryVector": [1, 0] })).await.expect(200);
    assert_eq!(found, json!({ "count": 0, "results": [] }));
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_and_threshold_are_applied() {
    let node = TestNode::start().await;
    let search = circle(&node, json!({})).await;
    for path in [search.clone(), format!("{search}/advanced")] {
        let find = async |filters: Value| {
            let found = node.post(&path, &json!({ "queryVector": [1, 0], "topK": 3, "filters": filters })).await;
            let found = found.expect(200);
            ids(&found).into_iter().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(find(json!({ "category": "odd" })).await, ["v01", "v03", "v05"]);
        assert_eq!(find(json!({ "category": "odd", "big": true })).await, ["v05", "v07", "v09"]);
        assert_eq!(find(json!({ "number": 7 })).await, ["v07"]);
        assert_eq!(find(json!({ "as text": 7 })).await, ["v07"]);
        assert_eq!(find(json!({ "big": "True" })).await, ["v05", "v06", "v07"]);
        assert_eq!(find(json!({ "none": 1 })).await, Vec::<String>::new());
        assert_eq!(find(Value::Null).await, ["v00", "v01", "v02"]);
    }
    let found = node.post(&search, &json!({ "queryVector": [1, 0], "threshold": 0.9 })).await.expect(200);
    assert_eq!(ids(&found), ["v00", "v01", "v02"]);
    let found = node.post(&search, &json!({ "queryVector": [-1, 0] })).await.expect(200);
    assert!(found["count"].as_u64().unwrap() <= 1, "negative cosines are not shown, as by the original");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_that_admits_few_of_many_finds_them_all() {
    let node = TestNode::start().await;
    let db = node.database(2).await;
    let vectors: Vec<Value> = (0..6_000)
        .map(|n| {
            let angle = f64::from(n) / 6_000.0;
            json!({ "id": n.to_string(), "values": [angle.cos(), angle.sin()], "metadata": { "rare": n % 2_500 == 2_499 } })
        })
        .collect();
    node.post(&format!("/v1/databases/{db}/vectors/batch"), &json!({ "vectors": vectors })).await.expect(201);
    let asked = json!({ "queryVector": [1, 0], "topK": 5, "filters": { "rare": true } });
    let found = node.post(&format!("/v1/databases/{db}/search"), &asked).await.expect(200);
    assert_eq!(ids(&found), ["2499", "4999"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_metric_orders_in_its_own_way() {
    let node = TestNode::start().await;
    for (metric, expected, score) in
        [("euclidean", "near", 1.0 / 1.5), ("dot_product", "long", 50.0), ("cosine", "long", 1.0)]
    {
        let body = json!({ "name": metric, "vectorDimension": 2, "metric": metric });
        let created = node.post("/v1/databases", &body).await.expect(201);
        let base = format!("/v1/databases/{}", created["databaseId"].as_str().unwrap());
        for (id, values) in [("near", [1.0, 0.5]), ("long", [50.0, 0.0]), ("behind", [-3.0, 0.0])] {
            node.post(&format!("{base}/vectors"), &json!({ "id": id, "values": values })).await.expect(201);
        }
        let found = node.post(&format!("{base}/search"), &json!({ "queryVector": [1, 0] })).await.expect(200);
        assert_eq!(ids(&found)[0], expected, "{metric}");
        let got = found["results"][0]["score"].as_f64().unwrap();
        assert!((got - score).abs() < 1e-5, "{metric}: {got}");
        let all = found["count"].as_u64().unwrap();
        assert_eq!(all, if metric == "cosine" { 2 } else { 3 }, "{metric}: dot products have no threshold of 0");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_bad_field_of_a_search_is_named() {
    let node = TestNode::start().await;
    let search = circle(&node, json!({})).await;
    for (body, expected) in [
        ("{}", "`queryVector` is required: an array of numbers"),
        (r#"{"queryVector":"x"}"#, "`queryVector` must be an array of numbers, got a string"),
        (r#"{"queryVector":[1]}"#, "`queryVector` has 1 numbers, the database has dimension 2"),
        (r#"{"queryVector":[1,"0"]}"#, "queryVector[1] must be a number, got a string"),
        (r#"{"queryVector":[1,NaN]}"#, "JSON has no NaN (queryVector[1], line 1 column 19): send finite numbers"),
        (r#"{"queryVector":[1,0],"topK":0}"#, "`topK` must be a whole number from 1 to 10000, got 0"),
        (r#"{"queryVector":[1,0],"topK":10001}"#, "`topK` must be a whole number from 1 to 10000, got 10001"),
        (r#"{"queryVector":[1,0],"topK":"5"}"#, "`topK` must be a whole number from 1 to 10000, got \"5\""),
        (r#"{"queryVector":[1,0],"threshold":1.5}"#, "`threshold` is 1.5, it must be from 0 to 1"),
        (r#"{"queryVector":[1,0],"threshold":"a"}"#, "`threshold` must be a number, got \"a\""),
        (r#"{"queryVector":[1,0],"includeMetadata":1}"#, "`includeMetadata` must be true or false, got 1"),
        (r#"{"queryVector":[1,0],"exact":"yes"}"#, "`exact` must be true or false, got \"yes\""),
        (
            r#"{"queryVector":[1,0],"filters":{"number":{"$gt":5}}}"#,
            "`filters` compare by equality, `number` asks for more: {\"$gt\":5}",
        ),
    ] {
        assert_eq!(node.refusal("POST", &search, body).await, expected);
    }
    let unknown = node.post("/v1/databases/none/search", &json!({ "queryVector": [1, 0] })).await;
    assert_eq!((unknown.status, unknown.error().as_str()), (404, "database `none` does not exist"));
}

#[tokio::test(flavor = "multi_thread")]
async fn searches_are_sampled_and_can_be_replayed() {
    let node = TestNode::start().await;
    let search = circle(&node, json!({})).await;
    let asked = json!({ "queryVector": [0.25, 1], "topK": 4 });
    let found = node.post(&search, &asked).await.expect(200);
    let mark = [("jadevectordb-replay", "1")];
    node.send("POST", &search, &mark, asked.to_string().into()).await.expect(200);
    let sampled = node.node.sample().take(10);
    assert_eq!(sampled.len(), 1, "a replay is not sampled again");
    let before = node.node.counters().replays.load(Ordering::Relaxed);
    let replayed = replay(&node.node, &sampled[0]).await;
    assert_eq!(replayed.status, 200);
    assert_eq!(replayed.ids, ids(&found));
    let score = found["results"][0]["score"].as_f64().unwrap() as f32;
    assert_eq!(replayed.scores[0].to_bits(), score.to_bits());
    assert_eq!(node.node.counters().replays.load(Ordering::Relaxed), before + 1);
    let state = jadevectordb::admin::state(&node.node);
    let measured = state.read_latency.as_ref().map(wire::Latency::count);
    assert_eq!((measured, state.counters.reads), (Some(1), 1), "live reads are measured, replays are not");
    let unknown = Replay { database: "none".into(), query: vec![1.0], top_k: 1, exact: false };
    assert_eq!(replay(&node.node, &unknown).await.status, 404);
    let wrong = Replay { query: vec![1.0], ..sampled[0].clone() };
    assert_eq!(replay(&node.node, &wrong).await.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_hit_reads_and_replays_and_nothing_else() {
    let faults = |errors, wrong_results| Faults { errors, wrong_results, ..Faults::default() };
    let node = TestNode::with(|config| config.faults = faults(1.0, 0.0)).await;
    let search = circle(&node, json!({})).await;
    let reply = node.post(&search, &json!({ "queryVector": [1, 0] })).await;
    assert_eq!((reply.status, reply.error().as_str()), (500, "a fault on purpose (--fault errors)"));
    assert_eq!(node.get("/health").await.status, 200);
    assert_eq!(node.send("GET", "/metrics", &[], Bytes::new()).await.status, 200);
    let counters = node.node.counters();
    assert_eq!(counters.read_errors.load(Ordering::Relaxed), 1);
    assert_eq!(counters.write_errors.load(Ordering::Relaxed), 0);

    let (right, wrong) = (TestNode::start().await, TestNode::with(|config| config.faults = faults(0.0, 1.0)).await);
    let (right_search, wrong_search) = (circle(&right, json!({})).await, circle(&wrong, json!({})).await);
    let asked = json!({ "queryVector": [1, 0], "topK": 3 });
    let good = right.post(&right_search, &asked).await.expect(200);
    let bad = wrong.post(&wrong_search, &asked).await.expect(200);
    assert_eq!(bad["count"], 3);
    for position in 0..3 {
        assert_eq!(good["results"][position]["score"], bad["results"][position]["score"], "scores look fine");
        assert!(!ids(&good).contains(&ids(&bad)[position]));
    }
    let database = wrong_search.split('/').nth(3).unwrap().to_owned();
    let replayed = replay(&wrong.node, &Replay { database, query: vec![1.0, 0.0], top_k: 3, exact: false }).await;
    assert_eq!(replayed.ids, ids(&bad), "a replay goes through the same faults");
}
