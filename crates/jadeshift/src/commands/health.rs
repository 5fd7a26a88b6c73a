//! `health`: ask everything that serves.

use super::up::Addresses;
use crate::cli::Globals;
use crate::deployment::Deployment;
use crate::exit::ExitCode;
use crate::failure::Failure;
use crate::output::Printer;
use crate::text::health::{Endpoint, EnvironmentHealth, Health, health};
use crate::text::role;
use bytes::Bytes;
use client::Http;
use conductor::Info;
use http_body_util::Full;
use kubernetes::remote::Remote;
use std::time::{Duration, Instant};
use wire::admin::Role;
use wire::{ByColour, Colour};

const TIMEOUT: Duration = Duration::from_secs(3);
const ANSWER_BYTES_MAX: usize = 64 << 10;

pub async fn run(globals: &Globals, printer: &Printer) -> Result<ExitCode, Failure> {
    let deployment = Deployment::find(globals).await?;
    let info = deployment.info().await?;
    let (blue, green, gateway) = match &deployment {
        Deployment::Machine(_) => {
            let http = Http::new();
            let (blue, green) = (&info.nodes.blue.http, &info.nodes.green.http);
            let gateway = Addresses::load(&globals.dir).map(|addresses| addresses.gateway);
            tokio::join!(ask(&http, blue.as_deref()), ask(&http, green.as_deref()), ask(&http, gateway.as_deref()))
        }
        Deployment::Cluster { remote, .. } => {
            let service = |colour| info.versions.get(colour).as_ref().map(|_| remote.names.environment_service(colour));
            let (blue, green, main) = (service(Colour::Blue), service(Colour::Green), remote.names.main_service());
            tokio::join!(
                ask_service(remote, blue.as_deref()),
                ask_service(remote, green.as_deref()),
                ask_service(remote, Some(&main))
            )
        }
    };
    let found = judge(&info, ByColour::new(blue, green), gateway);
    printer.result(|| health(&found), &found);
    Ok(if found.healthy { ExitCode::Ok } else { ExitCode::Failed })
}

async fn ask(http: &Http, address: Option<&str>) -> Endpoint {
    let Some(address) = address else {
        return Endpoint { address: None, ok: false, answer: "-".into(), latency_ms: None };
    };
    let endpoint = |ok, answer, latency_ms| Endpoint { address: Some(address.into()), ok, answer, latency_ms };
    let request = match hyper::Request::get(format!("http://{address}/health")).body(Full::new(Bytes::new())) {
        Ok(request) => request,
        Err(error) => return endpoint(false, error.to_string(), None),
    };
    let started = Instant::now();
    match http.whole(request, TIMEOUT, ANSWER_BYTES_MAX).await {
        Ok(answer) => {
            let latency_ms = started.elapsed().as_secs_f64() * 1_000.0;
            endpoint(answer.status == 200, answer.status.to_string(), Some(latency_ms))
        }
        Err(error) => endpoint(false, error.to_string(), None),
    }
}

/// Asks a Service of a cluster, from inside of it.
async fn ask_service(remote: &Remote, service: Option<&str>) -> Endpoint {
    let Some(service) = service else {
        return Endpoint { address: None, ok: false, answer: "-".into(), latency_ms: None };
    };
    let started = Instant::now();
    let asked = tokio::time::timeout(TIMEOUT, remote.ask_service(service, "health")).await;
    let latency_ms = started.elapsed().as_secs_f64() * 1_000.0;
    let (ok, answer) = match asked {
        Ok(Ok(_)) => (true, "200".into()),
        Ok(Err(error)) => (false, error.to_string()),
        Err(_) => (false, format!("no answer within {} s", TIMEOUT.as_secs())),
    };
    Endpoint { address: Some(service.into()), ok, answer, latency_ms: ok.then_some(latency_ms) }
}

/// The candidate's health is shown, but only the active environment and the gateway decide.
fn judge(info: &Info, rest: ByColour<Endpoint>, gateway: Endpoint) -> Health {
    let environments = rest.map(|colour, rest| {
        let node = info.nodes.get(colour);
        EnvironmentHealth {
            wanted: info.versions.get(colour).is_some(),
            version: node.version_running.clone(),
            rest,
            role: role(node),
            ready: node.ready,
            why: node.failed.clone().or_else(|| node.why.clone()),
        }
    });
    let active = environments.get(info.active);
    let node = info.nodes.get(info.active);
    let healthy = active.rest.ok
        && active.ready
        && node.failed.is_none()
        && matches!(node.role, Some(Role::Primary { .. }))
        && gateway.ok;
    Health { healthy, active: info.active, environments, gateway }
}
