//! A POST with the question, signed, answered with JSON.
//!
//! Signed as the Standard Webhooks specification says (version 1.0.0, symmetric): HMAC-SHA256 over `id.timestamp.body`, so that
//! the libraries that exist for many languages can check it.

use super::reading::{Answer, read};
use super::{Question, beginning, post, read_file};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use client::Http;
use hmac::{Hmac, KeyInit, Mac};
use serde::Serialize;
use sha2::Sha256;
use std::path::Path;
use wire::document::{Source, WebhookSource};

/// The body.
#[derive(Serialize)]
struct Body<'a> {
    signal: &'a str,
    asked_at_ms: u64,
    #[serde(flatten)]
    question: &'a Question,
}

pub(super) async fn ask(
    http: &Http,
    webhook: &WebhookSource,
    source: &Source,
    question: &Question,
    now_ms: u64,
) -> Result<Answer, String> {
    let body = Body { signal: &source.name, asked_at_ms: now_ms, question };
    let body = serde_json::to_vec(&body).map_err(|error| error.to_string())?;
    let (id, timestamp) =
        (format!("{}-{}-{}-{now_ms}", question.deployment, question.run, source.name), now_ms / 1_000);
    let timestamp = timestamp.to_string();
    let signature = match &webhook.secret_file {
        Some(file) => Some(signature(&secret(file)?, &id, &timestamp, &body)),
        None => None,
    };
    let mut headers = vec![
        ("content-type", "application/json"),
        ("accept", "application/json"),
        ("webhook-id", id.as_str()),
        ("webhook-timestamp", timestamp.as_str()),
    ];
    headers.extend(signature.as_deref().map(|signature| ("webhook-signature", signature)));
    headers.extend(webhook.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    let (status, text) = post(http, source, &webhook.url, headers, body).await?;
    if !(200..300).contains(&status) {
        return Err(format!("status {status}: `{}`", beginning(&text)));
    }
    read(&text, source.rule())
}

fn secret(file: &Path) -> Result<Vec<u8>, String> {
    let text = read_file("secret", file)?;
    match text.strip_prefix("whsec_") {
        Some(encoded) => BASE64_STANDARD
            .decode(encoded)
            .map_err(|error| format!("the secret in {} is not base64 after `whsec_`: {error}", file.display())),
        None if text.is_empty() => Err(format!("the secret file {} is empty", file.display())),
        None => Ok(text.into()),
    }
}

pub(super) fn signature(secret: &[u8], id: &str, timestamp: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(body);
    format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification.
    #[test]
    fn the_signature_is_the_one_that_others_compute() {
        let folder = std::env::temp_dir().join(format!("webhook-secret-{}", std::process::id()));
        std::fs::write(&folder, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").unwrap();
        let secret = secret(&folder).unwrap();
        std::fs::remove_file(&folder).unwrap();
        let body = br#"{"test": 2432232314}"#;
        let signature = signature(&secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", body);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }
}
