//! `jadeshift health`.

use super::table::Table;
use serde::Serialize;
use wire::{ByColour, Colour};

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Health {
    /// The active environment answers, is ready and admits writes, and the gateway passes requests to it.
    pub healthy: bool,
    pub active: Colour,
    pub environments: ByColour<EnvironmentHealth>,
    pub gateway: Endpoint,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EnvironmentHealth {
    /// It shall run.
    pub wanted: bool,
    pub version: Option<String>,
    /// Its `/health`.
    pub rest: Endpoint,
    /// Role and readiness, as the node itself says on its admin port.
    pub role: String,
    pub ready: bool,
    /// What is wrong, if something is.
    pub why: Option<String>,
}

/// How `/health` was answered.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Endpoint {
    /// `host:port`, if it is known.
    pub address: Option<String>,
    pub ok: bool,
    /// Status, or why there is none.
    pub answer: String,
    pub latency_ms: Option<f64>,
}

pub fn health(health: &Health) -> String {
    let mut table = Table::with_header(&["", "version", "role", "ready", "/health", "address", ""]);
    for colour in Colour::BOTH {
        let environment = health.environments.get(colour);
        let active = if health.active == colour { " (active)" } else { "" };
        table.row([
            format!("{colour}{active}"),
            environment.version.clone().unwrap_or_else(|| "-".into()),
            environment.role.clone(),
            if environment.ready { "yes".into() } else { "no".into() },
            answer(&environment.rest),
            address(&environment.rest),
            environment.why.clone().unwrap_or_default(),
        ]);
    }
    table.row([
        "gateway".into(),
        "-".into(),
        "-".into(),
        "-".into(),
        answer(&health.gateway),
        address(&health.gateway),
        String::new(),
    ]);
    let head = if health.healthy { "healthy" } else { "NOT healthy" };
    format!("{head}: {} is active\n\n{}", health.active, table.render())
}

fn answer(endpoint: &Endpoint) -> String {
    match endpoint.latency_ms {
        Some(ms) => format!("{} in {ms:.1} ms", endpoint.answer),
        None => endpoint.answer.clone(),
    }
}

fn address(endpoint: &Endpoint) -> String {
    endpoint.address.clone().unwrap_or_else(|| "-".into())
}
