use super::*;
use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use evidence::Outcome;
use tokio::net::TcpListener;

/// Answers every POST with this; gives its address and what it was sent.
async fn receiver(status: u16, answer: &'static str, pause: Duration) -> (String, Arc<Mutex<Vec<(HeaderMap, Bytes)>>>) {
    let received = Arc::new(Mutex::new(Vec::new()));
    let kept = received.clone();
    let handler = move |headers: HeaderMap, body: Bytes| {
        kept.lock().push((headers, body));
        async move {
            tokio::time::sleep(pause).await;
            (StatusCode::from_u16(status).unwrap(), answer)
        }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/check", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/check", post(handler))).await });
    (address, received)
}

#[tokio::test]
async fn the_question_is_posted_and_signed() {
    let (url, received) = receiver(200, r#"{"outcome": "fail", "reason": "baskets are empty"}"#, Duration::ZERO).await;
    let secret = std::env::temp_dir().join(format!("source-secret-{}", std::process::id()));
    std::fs::write(&secret, "a plain secret\n").unwrap();
    let secret_file = secret.display();
    let source = source(&format!("webhook: {{url: '{url}', secretFile: '{secret_file}', headers: {{x-team: shop}}}}"));
    let answer = asked(&source).await.unwrap();
    assert_eq!(answer.reading, Reading::Verdict(Outcome::Fail, "baskets are empty".into()));
    let (headers, body) = received.lock()[0].clone();
    let header = |name: &str| headers[name].to_str().unwrap().to_string();
    assert_eq!((header("x-team"), header("content-type")), ("shop".into(), "application/json".into()));
    let (id, timestamp) = (header("webhook-id"), header("webhook-timestamp"));
    assert_eq!((id.as_str(), timestamp.as_str()), ("shop-7-mine-1700000000000", "1700000000"));
    let expected = webhook::signature(b"a plain secret", &id, &timestamp, &body);
    assert_eq!(header("webhook-signature"), expected);
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(
        (&body["signal"], &body["candidate"]["version"], &body["run"]),
        (&"mine".into(), &"1.1.0".into(), &7.into())
    );
    std::fs::write(&secret, "whsec_!").unwrap();
    assert!(refused(&source).await.contains("is not base64 after `whsec_`"));
    std::fs::remove_file(&secret).unwrap();
    assert!(refused(&source).await.contains("cannot be read: No such file"), "no request without its signature");
    assert_eq!(received.lock().len(), 1);
}

#[tokio::test]
async fn a_receiver_that_is_broken_slow_or_gone_says_nothing() {
    let ask = async |status, answer, pause, rest: &str| {
        let (url, _) = receiver(status, answer, pause).await;
        refused(&source(&format!("webhook: {{url: '{url}'}}, timeoutMs: 300{rest}"))).await
    };
    assert_eq!(ask(503, "try later", Duration::ZERO, "").await, "status 503: `try later`");
    assert!(ask(200, "ok", Duration::ZERO, "").await.starts_with("answered `ok`, which is not the JSON"));
    assert!(ask(200, r#"{"outcome": "maybe"}"#, Duration::ZERO, "").await.contains("unknown variant `maybe`"));
    assert!(ask(200, r#"{"value": NaN}"#, Duration::ZERO, ", max: 1").await.contains("answered `{\"value\": NaN}`"));
    assert!(ask(200, "{}", Duration::from_secs(60), "").await.contains("within 300 ms"));
    let gone = refused(&source("webhook: {url: 'http://127.0.0.1:1/'}")).await;
    assert!(gone.contains("Connection refused"), "{gone}");
}
