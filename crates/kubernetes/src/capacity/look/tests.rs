//! Against an API server of a few answers: what is asked of it, and what is made of them.

use super::*;
use axum::Router;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::sync::Arc;

type Asked = Arc<Mutex<Vec<String>>>;

/// Answers by the path and the question behind it; what is not there is forbidden, or for a single object not found.
fn server(answers: &[(&str, Value)]) -> (Client, Asked) {
    let answers: BTreeMap<String, Value> =
        answers.iter().map(|(path, answer)| ((*path).to_string(), answer.clone())).collect();
    let asked = Asked::default();
    let kept = asked.clone();
    let refusal = |code: StatusCode, reason: &str| {
        let status = json!({
            "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "no", "reason": reason,
            "code": code.as_u16(),
        });
        (code, status.to_string()).into_response()
    };
    let answer = move |uri: Uri| -> Response {
        kept.lock().push(uri.to_string());
        let page = uri.query().and_then(|query| query.split('&').find(|part| part.starts_with("continue=")));
        let key = page.map_or_else(|| uri.path().to_string(), |page| format!("{}?{page}", uri.path()));
        match answers.get(&key) {
            Some(answer) => answer.to_string().into_response(),
            None if uri.path().contains("claims/") => refusal(StatusCode::NOT_FOUND, "NotFound"),
            None => refusal(StatusCode::FORBIDDEN, "Forbidden"),
        }
    };
    let router = Router::new().fallback(move |uri: Uri| std::future::ready(answer(uri)));
    (Client::new(router, "default"), asked)
}

fn list(items: Value, more: Option<&str>) -> Value {
    json!({"apiVersion": "v1", "kind": "List", "metadata": {"continue": more}, "items": items})
}

fn pod(uid: &str, node: &str, cpu: &str) -> Value {
    let containers = json!([{"name": "a", "resources": {"requests": {"cpu": cpu}}}]);
    json!({"metadata": {"name": uid, "uid": uid}, "spec": {"nodeName": node, "containers": containers}})
}

#[tokio::test]
async fn what_runs_on_a_node_is_summed_page_by_page_without_what_will_end() {
    let node = json!({
        "metadata": {"name": "node-a"},
        "status": {"allocatable": {"cpu": "2", "pods": "110"}},
    });
    let (client, asked) = server(&[
        ("/api/v1/pods", list(json!([pod("one", "node-a", "100m"), pod("old", "node-a", "1")]), Some("second"))),
        ("/api/v1/pods?continue=second", list(json!([pod("two", "node-a", "200m"), pod("far", "gone", "1")]), None)),
        ("/api/v1/nodes", list(json!([node]), None)),
    ]);
    let found = nodes(&client, &BTreeSet::from(["old".to_string()])).await.unwrap();
    let amounts = |cpu: &str, pods| {
        Amounts::from([("cpu".into(), Quantity::parse(cpu).unwrap()), ("pods".into(), Quantity::whole(pods))])
    };
    let (allocatable, used) = (amounts("2", 110), amounts("300m", 2));
    assert_eq!(found, [NodeRoom { name: "node-a".into(), takes_pods: true, allocatable, used }]);
    // Pods that have ended, or that no node has taken yet, need not be sent.
    let first = asked.lock()[0].clone();
    assert!(first.contains("limit=500") && first.contains("status.phase"), "{first}");
}

#[tokio::test]
async fn what_may_not_be_looked_at_is_not_known() {
    let (client, _) = server(&[("/apis/storage.k8s.io/v1/storageclasses", list(json!([]), None))]);
    assert_eq!(known("the nodes", nodes(&client, &BTreeSet::new())).await, None);
    assert_eq!(known("the quotas", quotas(&client, "shop", &PodAmounts::default())).await, None);
    assert_eq!(known("the classes", classes(&client)).await, Some(vec![]));
}

#[tokio::test]
async fn quotas_are_those_of_the_namespace() {
    let quota = json!({
        "metadata": {"name": "tight"}, "spec": {"hard": {"pods": "2"}}, "status": {"used": {"pods": "1"}},
    });
    let (client, _) = server(&[("/api/v1/namespaces/shop/resourcequotas", list(json!([quota]), None))]);
    let found = quotas(&client, "shop", &PodAmounts::default()).await.unwrap();
    let pods = |number| Amounts::from([("pods".into(), Quantity::whole(number))]);
    assert_eq!(found, [Quota { name: "tight".into(), hard: pods(2), used: pods(1) }]);
}

#[tokio::test]
async fn a_claim_that_is_there_is_not_made_again() {
    let claims = "/api/v1/namespaces/default/persistentvolumeclaims/shop-green-data";
    let there = json!({
        "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": {"name": "shop-green-data"},
    });
    let (client, _) = server(&[(claims, there)]);
    let names = Names::new("shop", "default");
    let one = BlueGreen::named("shop");
    let mut two = one.clone();
    two.spec.replicas = 2;
    let plan = |document, colour, head| Plan { names: &names, document, colour, head };
    assert_eq!(claims_missing(&client, plan(&one, Colour::Green, 0)).await.unwrap(), 0);
    assert_eq!(claims_missing(&client, plan(&one, Colour::Blue, 0)).await.unwrap(), 1);
    assert_eq!(claims_missing(&client, plan(&two, Colour::Green, 0)).await.unwrap(), 1);
    // A head whose number is beyond runs as well.
    let members: Vec<u8> = members(plan(&two, Colour::Green, 3)).map(|member| member.number).collect();
    assert_eq!(members, [0, 1, 3]);
    assert_eq!(claims_missing(&client, plan(&two, Colour::Green, 3)).await.unwrap(), 2);
}
