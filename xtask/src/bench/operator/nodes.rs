//! Nodes, as far as an operator at rest speaks to them: each of many addresses answers as a primary that nobody writes to.

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use kubernetes::names::ADMIN_PORT;
use serde_json::json;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::net::TcpListener;
use wire::headers::WIRE_VERSION;

pub struct Nodes {
    asked: Arc<AtomicU64>,
}

/// Of the node with this number; all of them lead here.
pub fn address(number: u32) -> Ipv4Addr {
    let [_, high, middle, low] = (number + 1).to_be_bytes();
    Ipv4Addr::new(127, high + 1, middle, low)
}

impl Nodes {
    pub async fn start() -> Result<Nodes> {
        let listener =
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, ADMIN_PORT)).await.context("cannot listen for all nodes")?;
        let asked = Arc::new(AtomicU64::new(0));
        let counter = asked.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(address) = stream.local_addr() else { continue };
                let counter = counter.clone();
                tokio::spawn(async move {
                    let answer = service_fn(move |request| answer(request, address.ip(), counter.clone()));
                    let connection = hyper::server::conn::http1::Builder::new();
                    // A client that went away is not the server's concern.
                    let _ = connection.serve_connection(TokioIo::new(stream), answer).await;
                });
            }
        });
        Ok(Nodes { asked })
    }

    /// How often any of them was asked.
    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }
}

async fn answer(
    request: Request<Incoming>,
    address: IpAddr,
    asked: Arc<AtomicU64>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    asked.fetch_add(1, Ordering::Relaxed);
    let mut body = request.into_body();
    while let Some(Ok(_)) = body.frame().await {}
    let state = json!({
        "cluster_id": format!("history of {address}"), "node_id": address, "instance": address, "version": "1.0.0",
        "wire_version": WIRE_VERSION, "role": "primary", "epoch": 1, "epoch_seen": 1, "lsn": 7, "lsn_epoch": 1,
        "ready": true, "failed": null, "held_writes": 0, "feed": null, "databases": 1, "vectors": 5, "unindexed": 0,
        "resident_bytes": 50_000_000,
    });
    let mut response = Response::new(Full::new(Bytes::from(state.to_string())));
    let json = hyper::header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(hyper::header::CONTENT_TYPE, json);
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_has_an_address_of_its_own() {
        assert_eq!(address(0), Ipv4Addr::new(127, 1, 0, 1));
        assert_eq!(address(255), Ipv4Addr::new(127, 1, 1, 0));
        assert_eq!(address(65_535), Ipv4Addr::new(127, 2, 0, 0));
    }
}
