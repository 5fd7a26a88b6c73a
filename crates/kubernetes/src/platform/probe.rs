//! Asking through the router.

use bytes::Bytes;
use client::Http;
use http_body_util::Full;
use serde_json::Value;
use std::time::Duration;
use wire::Colour;
use wire::document::Router;

/// Requests that have to be answered by the same version.
const REQUESTS: usize = 5;
const TIMEOUT: Duration = Duration::from_millis(300);
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// Each request arrives at a node of `version`; those that pick an environment by header do, if `picks` names one.
///
/// # Errors
/// What the first that does not was answered.
pub(super) async fn all_answered_by(
    http: &Http,
    url: &str,
    router: &Router,
    picks: Option<Colour>,
    version: &str,
) -> Result<(), String> {
    let host = router.hostnames.iter().find(|name| !name.contains('*'));
    for _ in 0..REQUESTS {
        let mut request = hyper::Request::get(format!("{}/health", url.trim_end_matches('/')));
        if let Some(host) = host {
            request = request.header("host", host);
        }
        if let Some(colour) = picks {
            request = request.header(wire::headers::CANARY, colour.as_str());
        }
        let request = request.body(Full::new(Bytes::new())).map_err(|error| format!("{url}: {error}"))?;
        let answer = http.whole(request, TIMEOUT, ANSWER_BYTES_MAX).await.map_err(|error| format!("{url}: {error}"))?;
        let answered_by = serde_json::from_slice::<Value>(&answer.body).ok();
        let answered_by = answered_by.as_ref().and_then(|body| body["version"].as_str());
        if answered_by != Some(version) {
            let by = answered_by.map_or_else(|| "somebody without a version".into(), |by| format!("version {by}"));
            return Err(format!("{url} was answered by {by} with status {}, not by version {version}", answer.status));
        }
    }
    Ok(())
}
