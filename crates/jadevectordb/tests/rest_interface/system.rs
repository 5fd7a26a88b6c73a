//! Health, status, metrics, shutdown, and what HTTP itself asks for.

use crate::common::TestNode;
use bytes::Bytes;
use serde_json::json;
use std::sync::atomic::Ordering;

#[tokio::test(flavor = "multi_thread")]
async fn health_and_status_have_the_original_shape() {
    let node = TestNode::start().await;
    let health = node.send("GET", "/health", &[("authorization", "")], Bytes::new()).await.expect(200);
    assert_eq!(health["status"], "healthy");
    assert_eq!(health["version"], "1.0.0-test");
    assert!(health["timestamp"].as_u64().unwrap() > 1_700_000_000_000);
    assert_eq!(health["checks"], json!({ "database": "ok", "storage": "ok", "network": "ok" }));

    let health = node.get("/health/db").await.expect(200);
    assert_eq!(health["healthy"], true);
    assert_eq!(health["checks"]["vector_db"], json!({ "status": "healthy", "healthy": true }));

    node.database(3).await;
    let status = node.get("/status").await.expect(200);
    assert_eq!(status["status"], "operational");
    assert_eq!(status["performance"]["database_count"], 1);
    assert_eq!(status["performance"]["total_vectors"], 0);
    assert!(status["performance"]["active_connections"].as_u64().unwrap() >= 1);
    for name in ["cpu_usage_percent", "memory_usage_percent", "disk_usage_percent"] {
        let percent = status["system"][name].as_f64().unwrap();
        assert!((0.0..=100.0).contains(&percent), "{name} {percent}");
    }
    let refused = node.send("GET", "/status", &[("authorization", "")], Bytes::new()).await;
    assert_eq!(refused.status, 401);
    assert_eq!(refused.header("www-authenticate"), "Bearer");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_data_is_not_ready() {
    let node = TestNode::with(|config| config.join = true).await;
    assert_eq!(node.get("/health").await.expect(503)["status"], "starting");
    assert_eq!(node.get("/health/db").await.expect(503)["status"], "degraded");
    let read = node.get("/v1/databases").await;
    assert_eq!((read.status, read.header("retry-after")), (503, "1"));
    assert_eq!(read.error(), "this node is not ready: it is still receiving its data");
    let write = node.post("/v1/databases", &json!({ "name": "x" })).await;
    assert_eq!((write.status, write.header("retry-after")), (503, "1"));
    assert_eq!(write.error(), "this node was not told yet whom to follow");
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_count_what_happened() {
    let node = TestNode::start().await;
    let db = node.database(2).await;
    let vectors = format!("/v1/databases/{db}/vectors");
    node.post(&vectors, &json!({ "id": "a", "values": [1, 0] })).await.expect(201);
    node.post(&format!("/v1/databases/{db}/search"), &json!({ "queryVector": [1, 0] })).await.expect(200);
    node.get("/v1/databases/none").await.expect(404);
    node.get("/nowhere").await.expect(404);
    let reply = node.send("GET", "/metrics", &[("authorization", "")], Bytes::new()).await;
    assert_eq!((reply.status, reply.header("content-type")), (200, "text/plain; version=0.0.4"));
    let text = String::from_utf8(reply.body.to_vec()).unwrap();
    for line in [
        r#"jadevectordb_http_requests_total{method="POST",route="/v1/databases/{db}/vectors",status="2xx"} 1"#,
        r#"jadevectordb_http_requests_total{method="GET",route="/v1/databases/{db}",status="4xx"} 1"#,
        r#"jadevectordb_http_requests_total{method="",route="unknown",status="4xx"} 1"#,
        "similarity_search_requests_total 1",
        "similarity_search_results_total 1",
        "similarity_search_active_requests 0",
        "jadevectordb_vectors 1",
        "jadevectordb_databases 1",
        "jadevectordb_users_total 1",
        "jadevectordb_active_sessions 1",
        "jadevectordb_auth_requests_total 1",
        r#"jadevectordb_role{role="primary"} 1"#,
        r#"jadevectordb_role{role="follower"} 0"#,
        r#"jadevectordb_build_info{version="1.0.0-test"} 1"#,
        "jadevectordb_epoch 1",
        "jadevectordb_reads_total 2",
        "jadevectordb_read_errors_total 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\nis missing in\n{text}");
    }
    let names: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    let unique: std::collections::BTreeSet<_> = names.iter().collect();
    assert_eq!(names.len(), unique.len(), "a metric is described twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_an_administrator_stops_the_node() {
    let node = TestNode::start().await;
    let (_, user) = node.user("ada", &["user"]).await;
    let refused = node.as_user(&user, "POST", "/shutdown", &json!({})).await;
    assert_eq!((refused.status, refused.error().as_str()), (403, "this needs the role `admin`"));
    assert!(!node.node.shutdown_requested());
    let reply = node.post("/shutdown", &json!({})).await;
    assert_eq!(reply.header("connection"), "close");
    assert_eq!(reply.expect(200)["status"], "shutting_down");
    assert!(node.node.shutdown_requested());
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_and_methods_that_do_not_exist_are_answered_in_json() {
    let node = TestNode::start().await;
    let reply = node.get("/v1/nowhere").await;
    assert_eq!((reply.status, reply.error().as_str()), (404, "there is no route GET /v1/nowhere"));
    assert_eq!(node.get("/v1/databases/").await.status, 404);
    let reply = node.send("PATCH", "/v1/databases", &[], Bytes::new()).await;
    assert_eq!(reply.status, 405);
    assert_eq!(reply.header("allow"), "GET,HEAD,POST");
    assert_eq!(reply.error(), "/v1/databases does not understand PATCH; the header Allow names what it does");
    let reply = node.send("OPTIONS", "/v1/databases", &[], Bytes::new()).await;
    assert_eq!((reply.status, reply.header("allow"), reply.body.len()), (204, "GET,HEAD,POST", 0));
    let reply = node.send("HEAD", "/v1/databases", &[], Bytes::new()).await;
    assert_eq!((reply.status, reply.body.len()), (200, 0));
    assert!(reply.lsn() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_built_says_so() {
    let node = TestNode::start().await;
    let db = node.database(2).await;
    for (method, path) in [
        ("POST", format!("/v1/databases/{db}/search/hybrid")),
        ("POST", format!("/v1/databases/{db}/search/rerank")),
        ("GET", format!("/v1/databases/{db}/indexes")),
        ("DELETE", format!("/v1/databases/{db}/indexes/1")),
        ("GET", format!("/v1/databases/{db}/bm25-index/status")),
        ("GET", format!("/v1/databases/{db}/analytics/stats")),
        ("GET", format!("/v1/databases/{db}/reranking/config")),
        ("POST", "/v1/embeddings/generate".into()),
        ("POST", "/v1/rerank".into()),
    ] {
        let reply = node.send(method, &path, &[], Bytes::new()).await;
        assert_eq!(reply.status, 501, "{path}");
        assert!(reply.error().ends_with("is not part of this version of the node; COMPATIBILITY.md lists what is"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_says_version_and_lsn() {
    let node = TestNode::start().await;
    let before = node.get("/v1/databases").await;
    assert_eq!(before.header("jadevectordb-version"), "1.0.0-test");
    let created = node.post("/v1/databases", &json!({ "name": "x" })).await;
    assert!(created.lsn() > before.lsn());
    assert!(node.get("/v1/databases").await.lsn() >= created.lsn());
    assert!(node.get("/v1/databases/none").await.lsn() >= created.lsn());
    let late = [("jadevectordb-min-lsn", "999999")];
    let reply = node.send("GET", "/v1/databases", &late, Bytes::new()).await;
    assert_eq!((reply.status, reply.header("retry-after"), reply.header("jadevectordb-behind")), (503, "1", "primary"));
    let lsn = node.node.lsn();
    assert_eq!(reply.error(), format!("this node is the primary, at LSN {lsn}, and LSN 999999 is not in its history"));
    assert_eq!(node.node.counters().read_errors.load(Ordering::Relaxed), 0, "not the node's fault");
    let met = lsn.to_string();
    assert_eq!(node.send("GET", "/v1/databases", &[("jadevectordb-min-lsn", &met)], Bytes::new()).await.status, 200);
    let reply = node.send("GET", "/v1/databases", &[("jadevectordb-min-lsn", "x")], Bytes::new()).await;
    assert_eq!(reply.error(), "the header jadevectordb-min-lsn must be a whole number, got `x`");
}
