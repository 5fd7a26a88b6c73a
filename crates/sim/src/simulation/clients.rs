//! Clients: each writes values that nobody else writes, to ids that nobody else uses, one request after the other.
//!
//! After a write of which nobody knows the outcome, its id is left alone: such a write may still be done at any later time.
//! Clients with idempotency keys first ask again, of either environment, until they know.

use super::books::API_KEY;
use super::machine::{DATABASE, DIMENSION};
use super::network::{Endpoint, Host, peer};
use super::report::Count;
use super::world::World;
use bytes::Bytes;
use client::{Http, HttpError, JsonResponse, Request};
use http_body_util::Full;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use wire::Colour;
use wire::admin::Lsn;

/// Longest answer.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Ids that a client remembers, to write, delete and read them again.
const REMEMBERED_MAX: usize = 20;

pub(super) struct Client {
    world: Arc<World>,
    number: u32,
    http: Http,
    /// Ids whose state is certain.
    known: Vec<String>,
    ids: u64,
    keys: u64,
    /// Newest LSN that this client was told.
    lsn: Lsn,
}

/// How often a write with a key is sent.
const KEYED_ATTEMPTS: u32 = 5;

/// What the clients did since it was last asked.
#[derive(Default)]
pub(super) struct Served {
    /// Clients that had a write acknowledged.
    pub writers: Mutex<std::collections::BTreeSet<u32>>,
}

/// What became of a request.
enum Outcome {
    Done {
        lsn: Lsn,
        body: Bytes,
    },
    /// It was not done, and will not be.
    Refused {
        status: u16,
    },
    Unknown,
}

impl Client {
    pub fn new(world: Arc<World>, number: u32) -> Client {
        let network = Endpoint { world: Arc::downgrade(&world), host: Host::Client(number), life: None };
        Client { world, number, http: Http::over(Arc::new(network)), known: Vec::new(), ids: 0, keys: 0, lsn: 0 }
    }

    /// Works until it is told to stop.
    pub async fn run(mut self, stop: watch::Receiver<bool>, served: Arc<Served>) {
        while !*stop.borrow() {
            let pause = self.world.chance.ms(0..=self.world.profile.client_pause_ms_max);
            tokio::time::sleep(pause).await;
            if self.world.platform.routing().is_none() {
                continue;
            }
            let written = match self.world.chance.below(10) {
                0..=5 => self.put().await,
                6 => self.put_again().await,
                7 => self.delete().await,
                8 => self.get().await,
                _ => self.search().await,
            };
            if written {
                served.writers.lock().insert(self.number);
            }
        }
    }

    /// A new vector, or a few of them at once.
    async fn put(&mut self) -> bool {
        let count = if self.world.chance.hits(1, 8) { 3 } else { 1 };
        let new: Vec<(String, u64)> = (0..count).map(|_| (self.new_id(), self.world.books.new_value())).collect();
        let vectors: Vec<Value> = new.iter().map(|(id, value)| vector(id, *value)).collect();
        let (path, body) = match &vectors[..] {
            [one] => ("vectors", one.clone()),
            _ => ("vectors/batch", json!({ "vectors": vectors })),
        };
        let outcome = self.write("POST", path, Some(body)).await;
        let mut done = false;
        for (id, value) in new {
            done = self.note(id, Some(value), &outcome);
        }
        done
    }

    async fn put_again(&mut self) -> bool {
        let Some(id) = self.take_known() else { return false };
        let value = self.world.books.new_value();
        let outcome = self.write("PUT", &format!("vectors/{id}"), Some(vector(&id, value))).await;
        self.note(id, Some(value), &outcome)
    }

    async fn delete(&mut self) -> bool {
        let Some(id) = self.take_known() else { return false };
        let outcome = self.write("DELETE", &format!("vectors/{id}"), None).await;
        // Nothing to delete is as good as deleted.
        if let Outcome::Refused { status: 404 } = outcome {
            if self.world.books.expected(&id).acknowledged.is_some() {
                self.world.books.add_lost(format!("`{id}` was acknowledged, and is not there to be deleted"));
            }
            self.remember(id);
            return false;
        }
        self.note(id, None, &outcome)
    }

    /// Reads an id that this client wrote, at least as new as it knows.
    async fn get(&mut self) -> bool {
        let Some(id) = self.world.chance.pick(&self.known).cloned() else { return false };
        let expected = self.world.books.expected(&id).acknowledged;
        match self.read("GET", &format!("vectors/{id}"), None).await {
            Outcome::Done { body, .. } => {
                let found: Value = serde_json::from_slice(&body).unwrap_or_default();
                let value = found["metadata"]["n"].as_u64();
                if value != expected {
                    self.world.books.add_lost(format!("`{id}` was written as {expected:?} and read as {value:?}"));
                }
            }
            Outcome::Refused { status: 404 } if expected.is_some() => {
                self.world.books.add_lost(format!("`{id}` was written as {expected:?} and not found"));
            }
            Outcome::Refused { .. } | Outcome::Unknown => {}
        }
        false
    }

    async fn search(&mut self) -> bool {
        let Some(id) = self.world.chance.pick(&self.known).cloned() else { return false };
        let Some(value) = self.world.books.expected(&id).acknowledged else { return false };
        for exact in [false, true] {
            let body = json!({ "queryVector": values(value), "topK": 3, "exact": exact });
            let Outcome::Done { body, .. } = self.read("POST", "search", Some(body)).await else { return false };
            let found: Value = serde_json::from_slice(&body).unwrap_or_default();
            let mut ids = found["results"].as_array().into_iter().flatten().map(|result| &result["vectorId"]);
            match (ids.any(|found| *found == json!(id)), exact) {
                (true, _) => return false,
                (false, false) => self.world.count(Count::MissedByGraph),
                (false, true) => {
                    self.world.books.add_lost(format!("`{id}` was written as {value} and is not found by search"));
                }
            }
        }
        false
    }

    fn new_id(&mut self) -> String {
        self.ids += 1;
        format!("c{}-{}", self.number, self.ids)
    }

    fn take_known(&mut self) -> Option<String> {
        if self.known.is_empty() {
            return None;
        }
        let place = self.world.chance.below(self.known.len() as u64) as usize;
        Some(self.known.swap_remove(place))
    }

    fn remember(&mut self, id: String) {
        if self.known.len() >= REMEMBERED_MAX {
            let place = self.world.chance.below(self.known.len() as u64) as usize;
            self.known.swap_remove(place);
        }
        self.known.push(id);
    }

    /// Enters the outcome of a write; true when it was acknowledged.
    fn note(&mut self, id: String, value: Option<u64>, outcome: &Outcome) -> bool {
        let world = self.world.clone();
        match outcome {
            Outcome::Done { lsn, .. } => {
                world.count(Count::WriteAcknowledged);
                world.books.acknowledged(&id, value, *lsn);
                self.remember(id);
                true
            }
            Outcome::Refused { .. } => {
                world.count(Count::WriteRefused);
                if world.books.expected(&id) != Default::default() {
                    self.remember(id);
                }
                false
            }
            Outcome::Unknown => {
                world.count(Count::WriteUnknown);
                world.books.unknown(&id, value);
                false
            }
        }
    }

    /// To where the router sends writes, or to either environment.
    async fn write(&mut self, method: &str, path: &str, body: Option<Value>) -> Outcome {
        self.keys += 1;
        let key = self
            .world
            .profile
            .keyed
            .then(|| (wire::headers::IDEMPOTENCY_KEY, format!("{}-{}", self.number, self.keys)));
        let mut unknown = false;
        for attempt in 0..if key.is_some() { KEYED_ATTEMPTS } else { 1 } {
            if attempt > 0 {
                tokio::time::sleep(self.world.chance.ms(0..=500)).await;
            }
            let routed = self.world.platform.routing().map_or(Colour::Blue, |routing| routing.writes);
            let to = if self.world.chance.hits(1, 5) { self.any() } else { routed };
            match self.ask(to, method, path, body.clone(), key.clone()).await {
                Outcome::Done { lsn, body } => {
                    self.lsn = self.lsn.max(lsn);
                    return Outcome::Done { lsn, body };
                }
                Outcome::Unknown => unknown = true,
                // What was refused now may have been done before.
                Outcome::Refused { status } if !unknown || status == 404 => return Outcome::Refused { status },
                Outcome::Refused { .. } => {}
            }
        }
        Outcome::Unknown
    }

    /// To either environment by its share of the reads.
    async fn read(&mut self, method: &str, path: &str, body: Option<Value>) -> Outcome {
        let blue_percent = self.world.platform.routing().map_or(100, |routing| routing.reads.blue);
        let to = if self.world.chance.hits(blue_percent.into(), 100) { Colour::Blue } else { Colour::Green };
        let outcome = self.ask(to, method, path, body, Some((wire::headers::MIN_LSN, self.lsn.to_string()))).await;
        self.world.count(Count::Read);
        self.world.platform.read(to, matches!(outcome, Outcome::Unknown));
        outcome
    }

    fn any(&self) -> Colour {
        if self.world.chance.coin() { Colour::Blue } else { Colour::Green }
    }

    async fn ask(
        &self,
        to: Colour,
        method: &str,
        path: &str,
        body: Option<Value>,
        header: Option<(&str, String)>,
    ) -> Outcome {
        let text = body.map_or_else(Bytes::new, |body| body.to_string().into());
        let mut request = Request::new(Full::new(text));
        let address = format!("http://{}/v1/databases/{DATABASE}/{path}", peer(to).http);
        let (Ok(uri), Ok(method)) = (address.parse(), method.parse()) else { return Outcome::Unknown };
        (*request.uri_mut(), *request.method_mut()) = (uri, method);
        if let Ok(key) = format!("Bearer {API_KEY}").parse() {
            request.headers_mut().insert(http::header::AUTHORIZATION, key);
        }
        if let Some((name, value)) = header
            && let (Ok(name), Ok(value)) = (http::HeaderName::try_from(name), value.parse())
        {
            request.headers_mut().insert(name, value);
        }
        let patience = *self.world.chance.pick(&[300, 2_000, 10_000]).unwrap_or(&2_000);
        let answer = self.http.whole(request, Duration::from_millis(patience), ANSWER_BYTES_MAX).await;
        self.world.trace.line(|| format!("client {} {path} -> {to}: {}", self.number, in_words(&answer)));
        match answer {
            Ok(answer) if (200..300).contains(&answer.status) => {
                let lsn = answer.headers.get(wire::headers::LSN).and_then(|lsn| lsn.to_str().ok()?.parse().ok());
                match lsn {
                    Some(lsn) => Outcome::Done { lsn, body: answer.body },
                    None => {
                        self.world.books.violation(format!("an answer to {path} has no LSN"));
                        Outcome::Unknown
                    }
                }
            }
            Ok(answer) if (400..500).contains(&answer.status) => Outcome::Refused { status: answer.status },
            Err(error) if error.never_sent() => Outcome::Refused { status: 0 },
            // A server error may say that nothing was done; that is not what counts as certain here.
            Ok(_) | Err(_) => Outcome::Unknown,
        }
    }
}

fn in_words(answer: &Result<JsonResponse, HttpError>) -> String {
    match answer {
        Ok(answer) => {
            let lsn = answer.headers.get(wire::headers::LSN).and_then(|lsn| lsn.to_str().ok()).unwrap_or("-");
            let text = String::from_utf8_lossy(&answer.body[..answer.body.len().min(120)]).into_owned();
            format!("{} at {lsn} {text}", answer.status)
        }
        Err(error) => error.to_string(),
    }
}

/// A vector that no other value has.
pub(super) fn values(value: u64) -> [f32; DIMENSION] {
    [value as f32, (value % 7) as f32, (value % 11) as f32, 1.0]
}

fn vector(id: &str, value: u64) -> Value {
    json!({ "id": id, "values": values(value), "metadata": { "n": value } })
}
