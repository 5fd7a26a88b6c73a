//! Clients under way while something happens to a deployment.

use crate::home::until;
use bytes::Bytes;
use client::Http;
use http_body_util::Full;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

const WRITERS: usize = 4;
const TIMEOUT: Duration = Duration::from_secs(20);

/// Clients that write through the gateway, look at once for what they wrote, search now and then, and remember what was
/// acknowledged.
pub struct Load {
    runtime: Runtime,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicUsize>,
    /// Acknowledged writes, and those that their writer did not find a moment later.
    writers: Vec<JoinHandle<(Vec<String>, Vec<String>)>>,
    api: Api,
}

#[derive(Clone)]
pub struct Api {
    http: Http,
    gateway: String,
    token: String,
    database: String,
}

impl Api {
    pub async fn call(&self, method: &str, path: &str, body: &Value) -> Option<(u16, Value)> {
        let request = hyper::Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.gateway))
            .header("authorization", format!("Bearer {}", self.token))
            .body(Full::new(Bytes::from(body.to_string())))
            .unwrap();
        let answer = self.http.whole(request, TIMEOUT, 16 << 20).await.ok()?;
        Some((answer.status, serde_json::from_slice(&answer.body).unwrap_or_default()))
    }

    fn vectors(&self) -> String {
        format!("/v1/databases/{}/vectors", self.database)
    }
}

impl Load {
    pub fn start(gateway: &str) -> Load {
        let runtime = Runtime::new().unwrap();
        let mut api = Api { http: Http::new(), gateway: gateway.into(), token: String::new(), database: String::new() };
        runtime.block_on(async {
            let account = json!({"username": "writer", "password": "writer-secret"});
            api.call("POST", "/v1/auth/register", &account).await.unwrap();
            let (_, login) = api.call("POST", "/v1/auth/login", &account).await.unwrap();
            api.token = login["token"].as_str().unwrap().into();
            let wanted = json!({"name": "load", "vectorDimension": 2});
            let (_, made) = api.call("POST", "/v1/databases", &wanted).await.unwrap();
            api.database = made["databaseId"].as_str().unwrap().into();
        });
        let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let writers = (0..WRITERS)
            .map(|writer| {
                let (api, stop, acknowledged) = (api.clone(), stop.clone(), acknowledged.clone());
                runtime.spawn(async move {
                    let (mut mine, mut unread) = (Vec::new(), Vec::new());
                    for number in 0.. {
                        if stop.load(Ordering::Relaxed) {
                            break;
                        }
                        let id = format!("w{writer}-{number}");
                        let vector = json!({"id": id, "values": [writer, number]});
                        if api.call("POST", &api.vectors(), &vector).await.is_some_and(|(status, _)| status == 201) {
                            let read = api.call("GET", &format!("{}/{id}", api.vectors()), &Value::Null).await;
                            if let Some((404, answer)) = read {
                                unread.push(format!("{id}: {answer}"));
                            }
                            if number % 16 == 0 {
                                let near = json!({"queryVector": [writer, number], "topK": 3});
                                api.call("POST", &format!("/v1/databases/{}/search", api.database), &near).await;
                            }
                            mine.push(id);
                            acknowledged.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                    (mine, unread)
                })
            })
            .collect();
        Load { runtime, stop, acknowledged, writers, api }
    }

    /// So many more were acknowledged.
    pub fn until_more(&self, more: usize) {
        let wanted = self.acknowledged.load(Ordering::Relaxed) + more;
        until("more writes are acknowledged", || self.acknowledged.load(Ordering::Relaxed) >= wanted);
    }

    /// Writes so many vectors with 60 kB of metadata each, and gives their ids. Each must be acknowledged.
    pub fn write_large(&self, count: usize) -> Vec<String> {
        let note = "much ".repeat(12_000);
        let write = async |number| {
            let id = format!("large-{number}");
            let vector = json!({"id": id, "values": [1, number], "metadata": {"note": note}});
            let answer = self.api.call("POST", &self.api.vectors(), &vector).await;
            assert!(matches!(answer, Some((201, _))), "{id}: {answer:?}");
            id
        };
        self.runtime.block_on(async {
            let mut ids = Vec::new();
            for number in 0..count {
                ids.push(write(number).await);
            }
            ids
        })
    }

    /// Those of these ids that are not there.
    pub fn missing(&self, ids: &[String]) -> Vec<String> {
        self.runtime.block_on(async {
            let mut missing = Vec::new();
            for id in ids {
                let path = format!("{}/{id}", self.api.vectors());
                match self.api.call("GET", &path, &Value::Null).await {
                    Some((200, _)) => (),
                    Some((404, _)) => missing.push(id.clone()),
                    other => panic!("{id}: {other:?}"),
                }
            }
            missing
        })
    }

    /// Ends it, and gives the number of acknowledged writes and those of them that are not there, or were not found by their
    /// writers.
    pub fn finish(self) -> (usize, Vec<String>) {
        let gateway = self.api.gateway.clone();
        self.finish_at(&[gateway])
    }

    /// Likewise, as each of these servers has it.
    pub fn finish_at(self, servers: &[String]) -> (usize, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        self.runtime.block_on(async {
            let (mut all, mut lost) = (Vec::new(), Vec::new());
            for writer in self.writers {
                let (mine, unread) = writer.await.unwrap();
                all.extend(mine);
                lost.extend(unread);
            }
            for server in servers {
                let api = Api { gateway: server.clone(), ..self.api.clone() };
                for id in &all {
                    match api.call("GET", &format!("{}/{id}", api.vectors()), &Value::Null).await {
                        Some((200, _)) => (),
                        other => lost.push(format!("{id} at {server}: {other:?}")),
                    }
                }
            }
            (all.len(), lost)
        })
    }
}
