//! Health, status, metrics, and the end.

use super::Rest;
use super::answer::{Answer, Outcome, PROMETHEUS};
use super::call::Call;
use crate::auth::Caller;
use http::StatusCode;
use parking_lot::Mutex;
use serde_json::json;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// 503 until the node can answer reads. A node whose disk failed still can, and says so.
pub async fn health(rest: Arc<Rest>, _call: Arc<Call>, _caller: Caller) -> Outcome {
    let (ready, failed) = (rest.node.ready(), rest.node.failed());
    let status = match (ready, &failed) {
        (false, _) => "starting",
        (true, Some(_)) => "degraded",
        (true, None) => "healthy",
    };
    let code = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = json!({
        "status": status,
        "timestamp": rest.now_ms(),
        "version": rest.node.config().version,
        "checks": {
            "database": if ready { "ok" } else { "not ready: still receiving its data" },
            "storage": failed.as_deref().unwrap_or("ok"),
            "network": "ok",
        },
    });
    Ok(Answer::json(code, body.to_string()))
}

/// As the original's: 503 when degraded.
pub async fn health_db(rest: Arc<Rest>, _call: Arc<Call>, _caller: Caller) -> Outcome {
    let (ready, failed) = (rest.node.ready(), rest.node.failed());
    let healthy = ready && failed.is_none();
    let status = if healthy { "healthy" } else { "degraded" };
    let note = match (failed, ready) {
        (Some(failed), _) => failed,
        (None, false) => "still receiving its data".into(),
        (None, true) => format!("{} users, {} databases", rest.node.store().users().len(), databases(&rest)),
    };
    let check = json!({ "status": status, "healthy": healthy });
    let body = json!({
        "status": status,
        "healthy": healthy,
        "timestamp": rest.now_ms(),
        "checks": { "authentication_db": check, "vector_db": check },
        "note": note,
    });
    let code = if healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Ok(Answer::json(code, body.to_string()))
}

pub async fn status(rest: Arc<Rest>, call: Arc<Call>, _caller: Caller) -> Outcome {
    let uptime_s = rest.started.elapsed().as_secs();
    let (hours, minutes, seconds) = (uptime_s / 3600, uptime_s / 60 % 60, uptime_s % 60);
    let body = json!({
        "status": "operational",
        "timestamp": rest.now_ms(),
        "version": rest.node.config().version,
        "uptime": format!("{hours}h {minutes}m {seconds}s"),
        "uptime_seconds": uptime_s,
        "system": {
            "cpu_usage_percent": rest.processor.usage_percent(),
            "memory_usage_percent": memory_usage_percent(),
            "disk_usage_percent": disk_usage_percent(&rest.node.config().data_dir),
        },
        "performance": {
            "database_count": databases(&rest),
            "total_vectors": rest.node.store().vector_count(),
            "avg_query_time_ms": rest.metrics.search.mean_ms(),
            "active_connections": call.connection.as_ref().map_or(1, |connection| connection.open()),
        },
    });
    Ok(Answer::ok(&body))
}

fn databases(rest: &Rest) -> usize {
    rest.node.store().databases().len()
}

pub async fn metrics(rest: Arc<Rest>, _call: Arc<Call>, _caller: Caller) -> Outcome {
    let locked = rest.auth.limiter.locked_accounts(rest.auth.limits_ms());
    let text = rest.metrics.render(&rest.node, locked, rest.now_ms());
    Ok(Answer { content_type: PROMETHEUS, ..Answer::json(StatusCode::OK, text) })
}

pub async fn shutdown(rest: Arc<Rest>, call: Arc<Call>, caller: Caller) -> Outcome {
    tracing::info!(user = caller.user_id(), address = %call.address, "shutdown asked for over HTTP");
    rest.node.request_shutdown();
    Ok(Answer::ok(&json!({
        "status": "shutting_down",
        "message": "Requests under way are finished, then the node stops",
        "timestamp": rest.now_ms(),
    })))
}

/// Busy and all ticks of this machine's processors at one moment.
#[derive(Debug, Clone, Copy, Default)]
struct Ticks {
    busy: u64,
    all: u64,
}

/// How busy the machine is, between two questions.
#[derive(Default)]
pub struct Processor {
    /// When it was last asked, what the counters said, and what followed.
    last: Mutex<Option<(Instant, Ticks, f64)>>,
}

/// Answers closer together than this give the same figure: too few ticks lie between them.
const PROCESSOR_PERIOD: Duration = Duration::from_millis(500);

impl Processor {
    fn usage_percent(&self) -> f64 {
        let mut last = self.last.lock();
        if let Some((at, _, percent)) = *last
            && at.elapsed() < PROCESSOR_PERIOD
        {
            return percent;
        }
        let now = ticks().unwrap_or_default();
        // The first answer is the mean since the machine started.
        let before = last.map_or(Ticks::default(), |(_, ticks, _)| ticks);
        let percent = share(now.busy.saturating_sub(before.busy), now.all.saturating_sub(before.all));
        *last = Some((Instant::now(), now, percent));
        percent
    }
}

fn ticks() -> Option<Ticks> {
    let text = std::fs::read_to_string("/proc/stat").ok()?;
    let numbers: Vec<u64> = text.lines().next()?.split_whitespace().skip(1).filter_map(|n| n.parse().ok()).collect();
    let all: u64 = numbers.iter().take(8).sum();
    let idle: u64 = numbers.iter().skip(3).take(2).sum();
    Some(Ticks { busy: all.saturating_sub(idle), all })
}

fn memory_usage_percent() -> f64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let field = |name: &str| -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    match (field("MemTotal:"), field("MemAvailable:")) {
        (Some(total), Some(available)) => share(total.saturating_sub(available), total),
        _ => 0.0,
    }
}

fn disk_usage_percent(data_dir: &Path) -> f64 {
    let Ok(disk) = rustix::fs::statvfs(data_dir) else { return 0.0 };
    share(disk.f_blocks.saturating_sub(disk.f_bfree), disk.f_blocks)
}

/// In percent, with one decimal.
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    (part as f64 / whole as f64 * 1000.0).round() / 10.0
}
