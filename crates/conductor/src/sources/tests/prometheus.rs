//! Against the real server; what is sent to one that wants a token, against an attentive one.

use super::counters::{Prometheus, until};
use super::*;
use axum::Router;
use axum::http::HeaderMap;
use axum::routing::post;
use tokio::net::TcpListener;

fn ratio(url: &str, requests: &str, events: &str) -> Source {
    source(&format!("prometheus: {{url: '{url}', requests: '{requests}', events: '{events}'}}"))
}

fn value(url: &str, query: &str, rest: &str) -> Source {
    source(&format!("max: 1, prometheus: {{url: '{url}', value: '{query}'}}{rest}"))
}

#[tokio::test]
async fn counters_of_both_environments_are_fetched_and_everything_that_is_not_one_is_told_apart() {
    let page = Arc::new(Mutex::new(String::new()));
    let shown = page.clone();
    let server = Prometheus::scraping(Arc::new(move || shown.lock().clone())).await;
    let url = server.url.as_str();
    let set = |green: u64| {
        *page.lock() = format!(
            "requests_total{{colour=\"green\",node=\"1\"}} {green}\nrequests_total{{colour=\"green\",node=\"2\"}} 5\n\
             requests_total{{colour=\"blue\"}} 900\nerrors_total{{colour=\"green\"}} 3\nerrors_total{{colour=\"blue\"}} 9\n\
             ratio{{version=\"1.1.0\"}} 0.25\nnothing NaN\n"
        );
    };
    let summed = ratio(url, r#"sum(requests_total{colour="$colour"})"#, r#"errors_total{colour="$colour"}"#);
    for (green, sum) in [(100, 105), (200, 205)] {
        set(green);
        let wanted = Ok(Answer::from(Reading::Counts(counts((sum, 3), (900, 9)))));
        until(async || asked(&summed).await, |answer| *answer == wanted).await.unwrap();
    }

    let many = refused(&ratio(url, r#"requests_total{colour="$colour"}"#, r#"errors_total{colour="$colour"}"#)).await;
    assert!(many.starts_with("`requests` of green: ") && many.contains("2 series, and one is needed"), "{many}");
    let none = refused(&ratio(url, r#"sum(requests_total{colour="$colour"})"#, r#"sum(faults{v="$version"})"#)).await;
    assert!(none.contains("`events` of ") && none.contains("no series has a recent sample"), "{none}");
    let told = asked(&value(url, r#"ratio{version="$version"}"#, "")).await.unwrap();
    assert_eq!(told.reading, Reading::Value(0.25));
    assert_eq!(asked(&value(url, "scalar(ratio) * 2", "")).await.unwrap().reading, Reading::Value(0.5));
    assert!(refused(&value(url, "nothing", "")).await.ends_with("NaN is not a number that can be judged"));
    assert!(refused(&value(url, "\"text\"", "")).await.contains("it is a string"));
    assert!(refused(&value(url, "ratio[1m]", "")).await.contains("it is a matrix"));
    assert!(refused(&value(url, "ratio{", "")).await.contains("the server refused it: "));

    // What is no longer shown has no recent sample.
    page.lock().clear();
    let because =
        |why: &'static str| move |answer: &Result<Answer, String>| answer.as_ref().is_err_and(|all| all.contains(why));
    let _ = until(async || asked(&summed).await, because("no series has a recent sample")).await;
    drop(server);
    let _ = until(async || asked(&summed).await, because("could not connect to 127.0.0.1:")).await;
}

#[tokio::test]
async fn the_server_is_told_how_old_a_sample_may_be_and_who_asks() {
    let received = Arc::new(Mutex::new(Vec::new()));
    let kept = received.clone();
    let handler = move |headers: HeaderMap, body: String| {
        kept.lock().push((headers, body));
        async { r#"{"status":"success","data":{"resultType":"scalar","result":[1.5,"0.5"]}}"# }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/x/api/v1/query", post(handler))).await });
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "abc\n").unwrap();
    let rest = format!("tokenFile: '{}', headers: {{x-scope-orgid: shop}}", token.display());
    let source =
        source(&format!("max: 1, ageMsMax: 7000, prometheus: {{url: 'http://{address}/x/', value: 'a+b', {rest}}}"));
    assert_eq!(asked(&source).await.unwrap().reading, Reading::Value(0.5));
    let (headers, body) = received.lock()[1].clone();
    assert_eq!(body, "query=a%2Bb&timeout=2000ms&lookback_delta=7000ms&time=0.5", "at the server's own time");
    assert_eq!(
        (&headers["authorization"], &headers["x-scope-orgid"]),
        (&"Bearer abc".parse().unwrap(), &"shop".parse().unwrap())
    );
    std::fs::remove_file(&token).unwrap();
    assert!(refused(&source).await.contains("the token file") && received.lock().len() == 2);
}
