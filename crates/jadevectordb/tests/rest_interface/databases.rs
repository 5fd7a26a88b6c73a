//! `/v1/databases`.

use crate::common::TestNode;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_database_is_created_listed_changed_and_dropped() {
    let node = TestNode::start().await;
    let empty = node.get("/v1/databases").await.expect(200);
    assert_eq!(empty, json!({ "total": 0, "databases": [] }));

    let body = json!({ "name": "packages \"1\"\n", "description": "d", "vectorDimension": 3, "indexType": "flat",
                       "distance_metric": "l2", "unknown": true });
    let created = node.post("/v1/databases", &body).await.expect(201);
    assert_eq!(created["status"], "success");
    let db = created["databaseId"].as_str().unwrap();
    assert!(db.starts_with("db_") && db[3..].parse::<u64>().is_ok(), "{db}");

    let path = format!("/v1/databases/{db}");
    let got = node.get(&path).await.expect(200);
    assert_eq!(got["name"], "packages \"1\"\n");
    assert_eq!(got["description"], "d");
    assert_eq!(got["vectorDimension"], 3);
    assert_eq!(got["indexType"], "flat");
    assert_eq!(got["metric"], "euclidean");
    assert!(got["created_at"].as_str().unwrap().ends_with('Z'));
    assert!(got.get("stats").is_none());

    node.post(&format!("{path}/vectors"), &json!({ "id": "a", "values": [1, 2, 3] })).await.expect(201);
    let list = node.get("/v1/databases").await.expect(200);
    assert_eq!(list["total"], 1);
    assert_eq!(list["databases"][0]["databaseId"], db);
    assert_eq!(list["databases"][0]["stats"]["vectorCount"], 1);
    assert_eq!(list["databases"][0]["stats"]["indexCount"], 1);
    assert!(list["databases"][0]["stats"]["storageSize"].as_str().unwrap().ends_with(" KB"));

    let changed = node.put(&path, &json!({ "name": "renamed" })).await.expect(200);
    assert_eq!(changed["status"], "success");
    let got = node.get(&path).await.expect(200);
    assert_eq!((got["name"].as_str(), got["description"].as_str()), (Some("renamed"), Some("d")));
    node.put(&path, &json!({})).await.expect(200);

    node.delete(&path).await.expect(200);
    node.get(&path).await.expect(404);
    node.delete(&path).await.expect(404);
    let refused = node.put(&path, &json!({})).await;
    assert_eq!((refused.status, refused.error()), (404, format!("database `{db}` does not exist")));
}

#[tokio::test(flavor = "multi_thread")]
async fn defaults_are_the_original_s_and_ids_are_never_the_same() {
    let node = TestNode::start().await;
    let mut ids = std::collections::BTreeSet::new();
    for _ in 0..20 {
        let created = node.post("/v1/databases", &json!({ "name": "same" })).await.expect(201);
        ids.insert(created["databaseId"].as_str().unwrap().to_owned());
    }
    assert_eq!(ids.len(), 20);
    let got = node.get(&format!("/v1/databases/{}", ids.first().unwrap())).await.expect(200);
    assert_eq!(got["vectorDimension"], 128);
    assert_eq!(got["indexType"], "HNSW");
    assert_eq!(got["metric"], "cosine");
    assert_eq!(node.get("/v1/databases").await.expect(200)["total"], 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dimension_does_not_change_under_vectors() {
    let node = TestNode::start().await;
    let db = node.database(2).await;
    let path = format!("/v1/databases/{db}");
    node.put(&path, &json!({ "vectorDimension": 3 })).await.expect(200);
    node.post(&format!("{path}/vectors"), &json!({ "id": "a", "values": [1, 2, 3] })).await.expect(201);
    let refused = node.refusal("PUT", &path, r#"{"vectorDimension":4}"#).await;
    assert_eq!(
        refused,
        "`vectorDimension` cannot become 4: the database has 1 vectors of dimension 3; \
         delete them first or create another database"
    );
    assert_eq!(node.get(&path).await.expect(200)["vectorDimension"], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_bad_field_is_named() {
    let node = TestNode::start().await;
    for (body, expected) in [
        ("{}", "`name` is required: a non-empty string"),
        (r#"{"name":""}"#, "`name` is empty, it must have 1 to 1024 bytes"),
        (r#"{"name":5}"#, "`name` must be a string, got 5"),
        (r#"{"name":"x","description":[]}"#, "`description` must be a string, got []"),
        (r#"{"name":"x","vectorDimension":0}"#, "`vectorDimension` must be a whole number from 1 to 10000, got 0"),
        (
            r#"{"name":"x","vectorDimension":10001}"#,
            "`vectorDimension` must be a whole number from 1 to 10000, got 10001",
        ),
        (
            r#"{"name":"x","vectorDimension":"128"}"#,
            "`vectorDimension` must be a whole number from 1 to 10000, got \"128\"",
        ),
        (r#"{"name":"x","indexType":"btree"}"#, "`indexType` is `btree`, it must be one of hnsw, ivf, flat, lsh"),
        (
            r#"{"name":"x","metric":"hamming"}"#,
            "`metric` is `hamming`, it must be one of cosine, euclidean (l2), dot_product (inner_product, dot)",
        ),
        ("", "the body is empty, it must be a JSON object"),
        (r#"{"name":"#, "the body is not valid JSON: EOF while parsing a value at line 1 column 8"),
        ("[]", "the body has the wrong shape: invalid type: sequence, expected a JSON object at line 1 column 0"),
    ] {
        assert_eq!(node.refusal("POST", "/v1/databases", body).await, expected);
    }
    assert_eq!(node.get("/v1/databases").await.expect(200)["total"], 0);
}
