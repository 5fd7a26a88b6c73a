//! The database's REST interface as a client sees it: one user, one database, at whatever address.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use client::{Http, HttpError, JsonResponse};
use http_body_util::Full;
use serde_json::{Value, json};
use std::time::Duration;

/// Longest wait for one answer.
const TIMEOUT: Duration = Duration::from_secs(20);
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// A logged-in user's view of one database; cloning shares the connections.
#[derive(Clone)]
pub struct Api {
    http: Http,
    /// `host:port` of the gateway, or of a node.
    pub address: String,
    /// The name that is asked for.
    pub host: String,
    token: String,
    database: String,
    /// Of the database's vectors.
    pub dimension: usize,
}

impl Api {
    /// Registers a user, logs in and makes a database, as clients do.
    ///
    /// # Errors
    /// When one of the calls is not answered as agreed.
    pub async fn open(address: &str, dimension: usize) -> Result<Api> {
        Self::open_asking_for(address, address, dimension).await
    }

    /// The same by a name that leads to the database at `address`.
    ///
    /// # Errors
    /// As [`Api::open`].
    pub async fn open_asking_for(address: &str, host: &str, dimension: usize) -> Result<Api> {
        let mut api = Api {
            http: Http::new(),
            host: host.into(),
            address: address.into(),
            token: String::new(),
            database: String::new(),
            dimension,
        };
        let account = json!({"username": "writer", "password": "writer-secret"});
        api.json("POST", "/v1/auth/register", &account, 201).await?;
        let login = api.json("POST", "/v1/auth/login", &account, 200).await?;
        api.token = login["token"].as_str().context("login gives no token")?.to_string();
        let wanted = json!({"name": "load", "vectorDimension": dimension});
        let made = api.json("POST", "/v1/databases", &wanted, 201).await?;
        api.database = made["databaseId"].as_str().context("no databaseId")?.to_string();
        Ok(api)
    }

    /// The same user and database at another address, over connections of its own.
    pub fn at(&self, address: &str) -> Api {
        Api { http: Http::new(), host: address.into(), address: address.into(), ..self.clone() }
    }

    /// The header that says who asks.
    pub fn authorization(&self) -> String {
        format!("Bearer {}", self.token)
    }

    /// Path below the database.
    pub fn path(&self, rest: &str) -> String {
        format!("/v1/databases/{}{rest}", self.database)
    }

    /// Any answer, or why there is none. A body of `null` is no body.
    ///
    /// # Errors
    /// [`HttpError`] says whether the request can have arrived.
    pub async fn call(&self, method: &str, path: &str, body: &Value) -> Result<JsonResponse, HttpError> {
        self.call_with(method, path, body, None).await
    }

    /// As [`Api::call`]; the answer must be as new as `min_lsn`.
    ///
    /// # Errors
    /// As [`Api::call`].
    pub async fn call_with(
        &self,
        method: &str,
        path: &str,
        body: &Value,
        min_lsn: Option<u64>,
    ) -> Result<JsonResponse, HttpError> {
        let bytes = if body.is_null() { Bytes::new() } else { body.to_string().into() };
        let mut request = hyper::Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.address))
            .header("host", &self.host)
            .header("content-type", "application/json")
            .header("authorization", self.authorization());
        if let Some(lsn) = min_lsn {
            request = request.header(wire::headers::MIN_LSN, lsn);
        }
        let request = request
            .body(Full::new(bytes))
            .map_err(|error| HttpError::BadRequest { to: self.address.clone(), why: error.to_string() })?;
        self.http.whole(request, TIMEOUT, ANSWER_BYTES_MAX).await
    }

    /// The answer's JSON, which must come with `status`.
    ///
    /// # Errors
    /// Any other answer, quoted.
    pub async fn json(&self, method: &str, path: &str, body: &Value, status: u16) -> Result<Value> {
        let answer = self.call(method, path, body).await?;
        ensure!(
            answer.status == status,
            "{method} {path} at {}: status {}: {}",
            self.address,
            answer.status,
            text(&answer)
        );
        Ok(serde_json::from_slice(&answer.body)?)
    }
}

/// The position of the write that is acknowledged, or how new a read is at least.
pub fn lsn(answer: &JsonResponse) -> Option<u64> {
    answer.headers.get(wire::headers::LSN)?.to_str().ok()?.parse().ok()
}

/// The answer's body, for messages.
pub fn text(answer: &JsonResponse) -> String {
    String::from_utf8_lossy(&answer.body).into_owned()
}
