//! The admin protocol as typed calls.

use crate::{Http, HttpError, StreamingResponse};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use serde::{Serialize, de::DeserializeOwned};
use std::time::Duration;
use wire::admin::{
    AcknowledgeCall, AdminError, AdminErrorCode, BUCKET_SUM_BYTES, BUCKETS, Confirm, Confirmed, Digest, Epoch,
    EpochCall, Follow, ListedRecords, Lsn, MakeFaults, Marker, NodeState, Promote, ProveFollow, RecordsIn, Rehash,
    Replay, Replayed, ResumeCall, SampledReads, Sealed, Shed,
};
use wire::headers::RECORD_FORMAT;
use wire::snapshot::Resume;

/// Longest answer read into memory.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// One node's admin protocol; cloning shares connections.
#[derive(Clone)]
pub struct Admin {
    http: Http,
    address: String,
    token: String,
    timeout: Duration,
    record_format: u8,
}

/// Why a call has no result.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The node answered, and said no.
    #[error("{0}")]
    Refused(AdminError),
    /// It is not known whether the call had its effect; every call may be repeated.
    #[error("{0}")]
    Http(#[from] HttpError),
    #[error("{address} answered something that is not the admin protocol: {why}")]
    Protocol { address: String, why: String },
}

impl CallError {
    pub fn code(&self) -> Option<AdminErrorCode> {
        match self {
            CallError::Refused(error) => Some(error.code),
            _ => None,
        }
    }
}

impl Admin {
    /// `address` is `host:port`; every call ends after `timeout`.
    pub fn new(http: Http, address: &str, token: &str, timeout: Duration) -> Self {
        Self { http, address: address.into(), token: token.into(), timeout, record_format: RECORD_FORMAT }
    }

    /// Feeds and snapshots are asked for in this format of records at the newest.
    pub fn reading_records(self, record_format: u8) -> Self {
        Self { record_format, ..self }
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    pub async fn state(&self) -> Result<NodeState, CallError> {
        self.get("state").await
    }

    pub async fn prove_follow(&self, call: &ProveFollow) -> Result<NodeState, CallError> {
        self.post("prove-follow", call).await
    }

    pub async fn seal(&self, epoch: Epoch) -> Result<Sealed, CallError> {
        self.post("seal", &EpochCall { epoch }).await
    }

    pub async fn resume(&self, call: &ResumeCall) -> Result<NodeState, CallError> {
        self.post("resume", call).await
    }

    pub async fn promote(&self, call: &Promote) -> Result<NodeState, CallError> {
        self.post("promote", call).await
    }

    pub async fn follow(&self, call: &Follow) -> Result<NodeState, CallError> {
        self.post("follow", call).await
    }

    pub async fn acknowledge(&self, call: &AcknowledgeCall) -> Result<NodeState, CallError> {
        self.post("acknowledge", call).await
    }

    pub async fn confirm(&self, call: &Confirm) -> Result<Confirmed, CallError> {
        self.post("confirm", call).await
    }

    pub async fn shed(&self, shed: bool) -> Result<NodeState, CallError> {
        self.post("shed", &Shed { shed }).await
    }

    pub async fn fault(&self, faults: &str) -> Result<NodeState, CallError> {
        self.post("fault", &MakeFaults { faults: faults.into() }).await
    }

    pub async fn marker(&self) -> Result<Marker, CallError> {
        self.post("marker", &()).await
    }

    pub async fn digest(&self, lsn: Lsn) -> Result<Digest, CallError> {
        self.get(&format!("digest?lsn={lsn}")).await
    }

    /// The sums of all buckets of the digest at the marker at `lsn`. An answer that broke off is an error.
    pub async fn bucket_sums(&self, lsn: Lsn) -> Result<Bytes, CallError> {
        let request = self.request("GET", &format!("bucket-sums?lsn={lsn}"), Bytes::new())?;
        let answer = self.http.whole(request, self.timeout, ANSWER_BYTES_MAX).await?;
        if !(200..300).contains(&answer.status) {
            return Err(self.refusal(answer.status, &answer.body));
        }
        let (length, wanted) = (answer.body.len(), BUCKETS * BUCKET_SUM_BYTES);
        if length != wanted {
            let why = format!("{length} bytes of sums, and {wanted} were expected");
            return Err(CallError::Protocol { address: self.address.clone(), why });
        }
        Ok(answer.body)
    }

    pub async fn records(&self, call: &RecordsIn) -> Result<ListedRecords, CallError> {
        self.post("records", call).await
    }

    pub async fn rehash(&self) -> Result<Rehash, CallError> {
        self.post("rehash", &()).await
    }

    pub async fn reads(&self, max: usize) -> Result<SampledReads, CallError> {
        self.get(&format!("reads?max={max}")).await
    }

    pub async fn replay(&self, call: &Replay) -> Result<Replayed, CallError> {
        self.post("replay", call).await
    }

    pub async fn stop(&self) -> Result<NodeState, CallError> {
        self.post("stop", &()).await
    }

    /// The log after an LSN and its epoch, as a stream of frames that does not end by itself. What `follower` has came in
    /// records of `held_format` or newer ones.
    pub async fn feed(
        &self,
        (after, epoch): (Lsn, Epoch),
        cluster: &str,
        follower: &str,
        held_format: u8,
    ) -> Result<StreamingResponse, CallError> {
        let (history, format) = (format!("cluster={cluster}&follower={follower}"), self.record_format);
        let formats = format!("record_format={format}&held_format={held_format}");
        self.open(&format!("feed?after={after}&epoch={epoch}&{history}&{formats}")).await
    }

    /// All records, as a stream of snapshot items; or those behind `resume`, when the node can go on there.
    pub async fn snapshot(&self, follower: &str, resume: Option<&Resume>) -> Result<StreamingResponse, CallError> {
        let resume = resume.map(|resume| format!("&resume={}", resume.to_token())).unwrap_or_default();
        self.open(&format!("snapshot?follower={follower}&record_format={}{resume}", self.record_format)).await
    }

    async fn open(&self, path: &str) -> Result<StreamingResponse, CallError> {
        let request = self.request("GET", path, Bytes::new())?;
        let response = self.http.stream(request, self.timeout).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        Err(self.refusal(status, &body))
    }

    async fn get<A: DeserializeOwned>(&self, path: &str) -> Result<A, CallError> {
        self.call(self.request("GET", path, Bytes::new())?).await
    }

    async fn post<A: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<A, CallError> {
        let body = serde_json::to_vec(body)
            .map_err(|error| CallError::Protocol { address: self.address.clone(), why: error.to_string() })?;
        self.call(self.request("POST", path, body.into())?).await
    }

    fn request(&self, method: &str, path: &str, body: Bytes) -> Result<crate::Request, CallError> {
        hyper::Request::builder()
            .method(method)
            .uri(format!("http://{}/admin/v1/{path}", self.address))
            .header("authorization", format!("Bearer {}", self.token))
            .header("content-type", "application/json")
            .body(Full::new(body))
            .map_err(|error| HttpError::BadRequest { to: self.address.clone(), why: error.to_string() }.into())
    }

    async fn call<A: DeserializeOwned>(&self, request: crate::Request) -> Result<A, CallError> {
        let answer = self.http.whole(request, self.timeout, ANSWER_BYTES_MAX).await?;
        if !(200..300).contains(&answer.status) {
            return Err(self.refusal(answer.status, &answer.body));
        }
        serde_json::from_slice(&answer.body)
            .map_err(|error| CallError::Protocol { address: self.address.clone(), why: error.to_string() })
    }

    fn refusal(&self, status: u16, body: &[u8]) -> CallError {
        match serde_json::from_slice::<AdminError>(body) {
            Ok(error) => CallError::Refused(error),
            Err(_) => CallError::Protocol {
                address: self.address.clone(),
                why: format!("status {status}: {}", String::from_utf8_lossy(&body[..body.len().min(200)])),
            },
        }
    }
}
