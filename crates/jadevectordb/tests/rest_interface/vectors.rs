//! `/v1/databases/{db}/vectors`.

use crate::common::TestNode;
use bytes::Bytes;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

async fn with_database(dimension: usize) -> (TestNode, String) {
    let node = TestNode::start().await;
    let db = node.database(dimension).await;
    let base = format!("/v1/databases/{db}/vectors");
    (node, base)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vector_is_stored_read_replaced_and_deleted() {
    let (node, base) = with_database(2).await;
    let metadata = json!({ "source": "s", "year": 2020, "tags": ["a", null], "status": "active" });
    let stored = node.post(&base, &json!({ "id": "a", "values": [1, -0.5], "metadata": metadata })).await.expect(201);
    assert_eq!(stored, json!({ "status": "success", "vectorId": "a" }));
    let got = node.get(&format!("{base}/a")).await.expect(200);
    assert_eq!(got, json!({ "id": "a", "values": [1.0, -0.5], "metadata": metadata }));

    node.post(&base, &json!({ "id": "a", "values": [2, 3] })).await.expect(201);
    let got = node.get(&format!("{base}/a")).await.expect(200);
    assert_eq!(got, json!({ "id": "a", "values": [2.0, 3.0] }), "replaced with everything it had");

    let updated =
        node.put(&format!("{base}/b"), &json!({ "values": [0, 1], "metadata": { "k": "v" } })).await.expect(200);
    assert_eq!(updated, json!({ "status": "success" }));
    assert_eq!(node.get(&format!("{base}/b")).await.expect(200)["metadata"], json!({ "k": "v" }));

    assert_eq!(node.delete(&format!("{base}/b")).await.expect(200), json!({ "status": "success" }));
    let gone = node.get(&format!("{base}/b")).await;
    assert_eq!(gone.status, 404);
    assert!(gone.error().starts_with("vector `b` does not exist in database `db_"));
    assert_eq!(node.delete(&format!("{base}/b")).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bit_of_every_float_comes_back_from_every_route() {
    let (node, base) = with_database(64).await;
    let mut rng = SmallRng::seed_from_u64(7);
    let mut values: Vec<f32> = vec![0.0, -0.0, f32::MAX, f32::MIN, f32::MIN_POSITIVE, f32::from_bits(1), 0.1, 4e-7];
    while values.len() < 64 {
        let value = f32::from_bits(rng.random());
        if value.is_finite() {
            values.push(value);
        }
    }
    let text: Vec<String> = values.iter().map(|value| format!("{value:?}")).collect();
    let body = format!("{{\"id\":\"a\",\"values\":[{}]}}", text.join(", "));
    assert_eq!(node.send("POST", &base, &[], body.into()).await.status, 201);
    let expected: Vec<u32> = values.iter().map(|value| value.to_bits()).collect();
    let search = base.replace("/vectors", "/search");
    let query = json!({ "queryVector": vec![1.0; 64], "topK": 1, "threshold": 0, "includeValues": true });
    for (path, body) in [
        (format!("{base}/a"), None),
        (base.clone(), None),
        (format!("{base}/batch-get"), Some(json!({ "ids": ["a"] }))),
        (search, Some(query)),
    ] {
        let reply = match body {
            Some(body) => node.post(&path, &body).await,
            None => node.get(&path).await,
        };
        assert_eq!(reply.status, 200);
        // Read as decimals, not through f64.
        let text = std::str::from_utf8(&reply.body).unwrap();
        let Some((_, rest)) = text.split_once("\"values\":[") else {
            // The sums of such numbers are beyond any score: the search may leave the vector out.
            assert!(path.ends_with("/search"), "{path}");
            continue;
        };
        let (numbers, _) = rest.split_once(']').unwrap();
        let bits: Vec<u32> = numbers.split(',').map(|text| text.parse::<f32>().unwrap().to_bits()).collect();
        assert_eq!(bits, expected, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decimal_is_rounded_once() {
    let (node, base) = with_database(1).await;
    let body = "{\"id\":\"a\",\"values\":[1.00000005960464477540]}";
    assert_eq!(node.send("POST", &base, &[], body.into()).await.status, 201);
    let got = node.node.store().databases()[0].get("a").unwrap();
    assert_eq!(got.values[0].to_bits(), 0x3f80_0001);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_ordered_and_counted() {
    let (node, base) = with_database(1).await;
    let empty = node.get(&base).await.expect(200);
    assert_eq!(empty, json!({ "total": 0, "limit": 50, "offset": 0, "vectors": [] }));
    let vectors: Vec<Value> = (0..75).rev().map(|n| json!({ "id": format!("v{n:02}"), "values": [n] })).collect();
    node.post(&format!("{base}/batch"), &json!({ "vectors": vectors })).await.expect(201);
    let page = node.get(&format!("{base}?limit=10&offset=70")).await.expect(200);
    assert_eq!(
        (page["total"].as_u64(), page["limit"].as_u64(), page["offset"].as_u64()),
        (Some(75), Some(10), Some(70))
    );
    let ids: Vec<&str> = page["vectors"].as_array().unwrap().iter().map(|v| v["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["v70", "v71", "v72", "v73", "v74"]);
    assert_eq!(page["vectors"][0], json!({ "id": "v70", "values": [70.0], "metadata": {} }));
    assert_eq!(node.get(&base).await.expect(200)["vectors"].as_array().unwrap().len(), 50);
    assert_eq!(node.get(&format!("{base}?limit=-1")).await.expect(200)["vectors"].as_array().unwrap().len(), 75);
    assert_eq!(node.get(&format!("{base}?offset=80")).await.expect(200)["vectors"], json!([]));
    for (query, expected) in [
        ("limit=ten", "the query parameter `limit` must be a whole number of at least 0, got `ten`"),
        ("offset=-1", "the query parameter `offset` must be a whole number of at least 0, got `-1`"),
        ("limit=10001", "`limit` is 10001, a page has at most 10000 vectors: use `offset`"),
    ] {
        assert_eq!(node.refusal("GET", &format!("{base}?{query}"), "").await, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_stored_whole_with_its_metadata_or_not_at_all() {
    let (node, base) = with_database(2).await;
    let batch = format!("{base}/batch");
    let empty = node.post(&batch, &json!({ "vectors": [] })).await.expect(201);
    assert_eq!(empty, json!({ "status": "success", "count": 0 }));
    let vectors = json!({ "vectors": [
        { "id": "a", "values": [1, 0], "metadata": { "section": "net" } },
        { "id": "b", "values": [0, 1] },
        { "id": "a", "values": [0.5, 0.5], "metadata": { "section": "admin" } },
    ]});
    let stored = node.post(&batch, &vectors).await.expect(201);
    assert_eq!(stored, json!({ "status": "success", "count": 3 }));
    let got = node.get(&format!("{base}/a")).await.expect(200);
    let last = json!({ "id": "a", "values": [0.5, 0.5], "metadata": { "section": "admin" } });
    assert_eq!(got, last, "of equal ids the last counts");
    assert_eq!(node.get(&base).await.expect(200)["total"], 2);
    for (body, expected) in [
        ("{}", "`vectors` is required: an array of vectors".to_owned()),
        (
            r#"{"vectors":{}}"#,
            "the body has the wrong shape: invalid type: map, expected `vectors` to be an array at line 1 column 11"
                .to_owned(),
        ),
        (
            r#"{"vectors":[["x",[1,2]]]}"#,
            "the body has the wrong shape: invalid type: sequence, expected a JSON object at line 1 column 12"
                .to_owned(),
        ),
        (r#"{"vectors":[{"values":[1,2]}]}"#, "`vectors[0].id` is required: a non-empty string".to_owned()),
        (
            r#"{"vectors":[{"id":"c","values":[1,2]},{"id":"d","values":[1]}]}"#,
            "`vectors[1].values` has 1 numbers, the database has dimension 2".to_owned(),
        ),
        (
            r#"{"vectors":[{"id":"c","values":[1,2]},{"id":"d","values":[1,"2"]}]}"#,
            "vectors[1].values[1] must be a number, got a string".to_owned(),
        ),
        (
            r#"{"vectors":[{"id":"c","values":[1,2],"metadata":[]}]}"#,
            "`vectors[0].metadata` must be an object, got an array".to_owned(),
        ),
    ] {
        assert_eq!(node.refusal("POST", &batch, body).await, expected);
    }
    assert_eq!(node.get(&base).await.expect(200)["total"], 2, "nothing of a refused batch is stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_batch_is_stored() {
    let (node, base) = with_database(64).await;
    let vectors: Vec<Value> = (0..2_000).map(|n| json!({ "id": n.to_string(), "values": vec![n; 64] })).collect();
    let body = json!({ "vectors": vectors });
    assert!(body.to_string().len() > 512 << 10);
    assert_eq!(node.post(&format!("{base}/batch"), &body).await.expect(201)["count"], 2_000);
    assert_eq!(node.get(&format!("{base}/1999")).await.expect(200)["values"][63], 1999.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_are_read_at_once_by_any_of_three_names() {
    let (node, base) = with_database(1).await;
    node.post(&base, &json!({ "id": "a", "values": [1], "metadata": { "k": 1 } })).await.expect(201);
    node.post(&base, &json!({ "id": "b", "values": [2] })).await.expect(201);
    let path = format!("{base}/batch-get");
    for name in ["ids", "vector_ids", "vectorIds"] {
        let got = node.post(&path, &json!({ name: ["b", "none", "a"] })).await.expect(200);
        assert_eq!(got["count"], 2);
        assert!(got["database_id"].as_str().unwrap().starts_with("db_"));
        let expected = json!([{ "id": "b", "values": [2.0] }, { "id": "a", "values": [1.0], "metadata": { "k": 1 } }]);
        assert_eq!(got["vectors"], expected);
    }
    assert_eq!(node.post(&path, &json!({ "ids": ["none"] })).await.expect(200)["vectors"], json!([]));
    let rule = "a non-empty array of vector ids (also as `vector_ids` or `vectorIds`)";
    assert_eq!(node.refusal("POST", &path, "{}").await, format!("`ids` is required: {rule}"));
    assert_eq!(node.refusal("POST", &path, r#"{"ids":[]}"#).await, "`ids` has 0 elements, it must have 1 to 10000");
    assert_eq!(node.refusal("POST", &path, r#"{"ids":["a",1]}"#).await, "`ids[1]` must be a string, got 1");
    let unknown = node.post("/v1/databases/none/vectors/batch-get", &json!({ "ids": ["a"] })).await;
    assert_eq!((unknown.status, unknown.error().as_str()), (404, "database `none` does not exist"));
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_may_be_anything_and_paths_are_decoded() {
    let (node, base) = with_database(1).await;
    for (number, (id, path)) in [
        ("a b", "a%20b"),
        ("a/b", "a%2Fb"),
        ("ä\n\"☃", "%C3%A4%0A%22%E2%98%83"),
        ("batch", "batch"),
        ("batch-get", "batch-get"),
        ("100%", "100%25"),
    ]
    .into_iter()
    .enumerate()
    {
        node.post(&base, &json!({ "id": id, "values": [number] })).await.expect(201);
        let got = node.get(&format!("{base}/{path}")).await.expect(200);
        assert_eq!((got["id"].as_str(), got["values"][0].as_f64()), (Some(id), Some(number as f64)));
        node.put(&format!("{base}/{path}"), &json!({ "values": [9] })).await.expect(200);
        assert_eq!(node.get(&format!("{base}/{path}")).await.expect(200)["values"][0], 9.0);
        node.delete(&format!("{base}/{path}")).await.expect(200);
    }
    let reply = node.get(&format!("{base}/%FF")).await;
    assert_eq!(reply.status, 400);
    assert!(reply.error().starts_with("the path cannot be read"));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_bad_input_is_named_and_stores_nothing() {
    let (node, base) = with_database(2).await;
    let long_id = format!(r#"{{"id":"{}","values":[1,2]}}"#, "x".repeat(10_000));
    let large = format!(r#"{{"id":"a","values":[1,2],"metadata":{{"k":"{}"}}}}"#, "x".repeat(70_000));
    for (body, expected) in [
        (r#"{"values":[1,2]}"#, "`id` is required: a non-empty string"),
        (r#"{"id":"","values":[1,2]}"#, "`id` is empty, it must have 1 to 1024 bytes"),
        (r#"{"id":7,"values":[1,2]}"#, "`id` must be a string, got 7"),
        (&long_id, "`id` has 10000 bytes, the limit is 1024"),
        (r#"{"id":"a"}"#, "`values` is required: an array of numbers"),
        (r#"{"id":"a","values":null}"#, "`values` is required: an array of numbers"),
        (r#"{"id":"a","values":"1,2"}"#, "`values` must be an array of numbers, got a string"),
        (r#"{"id":"a","values":[1]}"#, "`values` has 1 numbers, the database has dimension 2"),
        (r#"{"id":"a","values":[1,2,3]}"#, "`values` has 3 numbers, the database has dimension 2"),
        (r#"{"id":"a","values":[1,true]}"#, "values[1] must be a number, got a boolean"),
        (
            r#"{"id":"a","values":[1,1e39]}"#,
            "values[1] is 1e39, which is beyond the range of a 32-bit float (3.4028235e38)",
        ),
        (r#"{"id":"a","values":[1,NaN]}"#, "JSON has no NaN (values[1], line 1 column 23): send finite numbers"),
        (
            r#"{"id":"a","values":[-Infinity,1]}"#,
            "JSON has no -Infinity (values[0], line 1 column 21): send finite numbers",
        ),
        (r#"{"id":"a","values":[1,2],"metadata":"x"}"#, "`metadata` must be an object, got a string"),
        (
            r#"{"id":"a","values":[1,2],"metadata":{"status":"open"}}"#,
            "`metadata.status` is \"open\", it must be one of active, archived, deleted",
        ),
        (&large, "`metadata` has 70008 bytes as JSON, the limit is 65536"),
        (r#"{"id":"a","values":[1,2}"#, "the body is not valid JSON: expected `,` or `]` at line 1 column 24"),
        ("nonsense", "the body is not valid JSON: expected ident at line 1 column 2"),
    ] {
        assert_eq!(node.refusal("POST", &base, body).await, expected);
    }
    assert_eq!(node.refusal("PUT", &format!("{base}/a"), "{}").await, "`values` is required: an array of numbers");
    let long_path = format!("{base}/{}", "x".repeat(2_000));
    let body = r#"{"values":[1,2]}"#;
    assert_eq!(node.refusal("PUT", &long_path, body).await, "`id` has 2000 bytes, the limit is 1024");
    let invalid = node.send("POST", &base, &[], Bytes::from_static(b"{\"id\":\"\xff\"}")).await;
    assert_eq!(invalid.error(), "the body is not UTF-8: the byte at 7 does not belong there");
    let unknown = node.post("/v1/databases/none/vectors", &json!({ "id": "a", "values": [1, 2] })).await;
    assert_eq!((unknown.status, unknown.error().as_str()), (404, "database `none` does not exist"));
    assert_eq!(node.get(&base).await.expect(200)["total"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_over_the_limit_is_refused_and_the_connection_goes_on() {
    let node = TestNode::with(|config| config.limits.body_bytes = 10_000).await;
    let db = node.database(2).await;
    let base = format!("/v1/databases/{db}/vectors");
    let body = Bytes::from(vec![b' '; 15_000]);
    let reply = node.send("POST", &base, &[], body).await;
    assert_eq!(reply.status, 413);
    let expected = "the body has 15000 bytes, the limit is 10000 bytes: send it in smaller parts";
    assert_eq!(reply.error(), expected);
    node.post(&base, &json!({ "id": "a", "values": [1, 2] })).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_vectors_in_one_batch_are_refused() {
    let node = TestNode::with(|config| config.limits.batch_vectors = 2).await;
    let db = node.database(1).await;
    let vectors: Vec<Value> = (0..3).map(|n| json!({ "id": n.to_string(), "values": [n] })).collect();
    let body = json!({ "vectors": vectors }).to_string();
    let refusal = node.refusal("POST", &format!("/v1/databases/{db}/vectors/batch"), &body).await;
    assert_eq!(refusal, "`vectors` has 3 elements, the limit of one batch is 2");
}
