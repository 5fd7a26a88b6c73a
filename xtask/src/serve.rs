//! Servers that benchmarks start as processes of their own: the gateway without the rest of the product, and a backend
//! that does nothing, to see the cost of a proxy alone. They end when their standard input does, so that none outlives the
//! benchmark.

use anyhow::{Context, Result};
use bytes::Bytes;
use gateway::{Gateway, GatewayOptions, Routing};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use wire::{ByColour, Colour};

/// About what a search for ten answers.
const ECHO_ANSWER: &str = concat!(
    r#"{"count":10,"results":[{"vectorId":"extundelete","score":0.6131},{"vectorId":"ext3grep","score":0.6052},"#,
    r#"{"vectorId":"magicrescue","score":0.5921},{"vectorId":"safecopy","score":0.5803},{"vectorId":"recoverdm","#,
    r#""score":0.5791},{"vectorId":"myrescue","score":0.5534},{"vectorId":"testdisk","score":0.5501},{"vectorId":"#,
    r#""foremost","score":0.5417},{"vectorId":"scalpel","score":0.5239},{"vectorId":"gddrescue","score":0.5177}]}"#
);

/// Reads every request to its end and answers it with the same 200.
pub struct Echo {
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Echo {
    pub async fn start(listen: SocketAddr) -> Result<Echo> {
        let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
        let address = listener.local_addr()?;
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // Without it an answer waits for the client's delayed acknowledgement.
                let _ = stream.set_nodelay(true);
                tokio::spawn(async move {
                    // A client that went away is not the server's concern.
                    let connection = hyper::server::conn::http1::Builder::new();
                    let _ = connection.serve_connection(TokioIo::new(stream), service_fn(echo)).await;
                });
            }
        });
        Ok(Echo { address, accepting })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn echo(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut body = request.into_body();
    while let Some(Ok(_)) = body.frame().await {}
    Ok(Response::new(Full::new(Bytes::from_static(ECHO_ANSWER.as_bytes()))))
}

/// `xtask serve-echo`.
pub async fn run_echo(listen: SocketAddr, ready_file: &Path) -> Result<()> {
    let echo = Echo::start(listen).await?;
    write_ready_file(ready_file, echo.address())?;
    end_of_input().await;
    Ok(())
}

/// `xtask serve-gateway`: half of the reads for each backend.
pub async fn run_gateway(listen: SocketAddr, blue: SocketAddr, green: SocketAddr, ready_file: &Path) -> Result<()> {
    let routing = Routing {
        backends: ByColour::new(Some(blue), Some(green)),
        reads: ByColour::new(50, 50),
        primary: Some(Colour::Blue),
        ..Routing::default()
    };
    let gateway = Gateway::start(GatewayOptions { routing, ..GatewayOptions::new(listen) }).await?;
    write_ready_file(ready_file, gateway.address())?;
    end_of_input().await;
    Ok(())
}

/// Says by renaming a file into place that the server accepts connections, and where.
fn write_ready_file(ready_file: &Path, address: SocketAddr) -> Result<()> {
    let unfinished = ready_file.with_extension("unfinished");
    let text = serde_json::json!({"http": address.to_string(), "pid": std::process::id()}).to_string();
    std::fs::write(&unfinished, text)
        .and_then(|()| std::fs::rename(&unfinished, ready_file))
        .with_context(|| format!("cannot write {}", ready_file.display()))
}

async fn end_of_input() {
    let reading = tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
    // However the reading ends, there is no more input.
    let _ = reading.await;
}
