//! Ending one process: asked first, told then, killed at last.

use super::Patience;
use crate::process::Process;
use client::{Admin, CallError};
use std::time::Duration;

/// How often a node that is being drained shows that it still answers.
const ALIVE_POLL: Duration = Duration::from_millis(200);

/// What a process deserves before SIGKILL.
pub(super) enum Manner<'a> {
    /// It is asked over its admin protocol, then gets SIGTERM.
    Asked(&'a Admin),
    /// It gets SIGTERM.
    Told,
    /// It does not answer: SIGTERM, but not much time.
    Silent,
}

/// `true`: the process is gone.
pub(super) async fn end(process: &mut Process, manner: Manner<'_>, patience: &Patience) -> bool {
    let short = patience.silent.min(patience.terminate);
    let terminate = match manner {
        Manner::Asked(admin) => match ask_to_stop(process, admin).await {
            Asked::Agreed if process.ended_within(patience.stop).await.is_some() => return true,
            Asked::Agreed | Asked::Refused => patience.terminate,
            Asked::NoAnswer => short,
        },
        Manner::Told => patience.terminate,
        Manner::Silent => short,
    };
    signalled(process.terminate(), "SIGTERM");
    if process.ended_within(terminate).await.is_some() {
        return true;
    }
    signalled(process.kill(), "SIGKILL");
    process.ended_within(patience.kill).await.is_some()
}

/// Returns as soon as the node leaves a question unanswered.
pub(super) async fn falls_silent(admin: &Admin, patience: &Patience) {
    while let Ok(Ok(_)) = tokio::time::timeout(patience.silent, admin.state()).await {
        tokio::time::sleep(ALIVE_POLL).await;
    }
}

enum Asked {
    /// It will end, or has ended.
    Agreed,
    Refused,
    NoAnswer,
}

async fn ask_to_stop(process: &mut Process, admin: &Admin) -> Asked {
    tokio::select! {
        _ = process.ended() => Asked::Agreed,
        asked = admin.stop() => match asked {
            Ok(_) => Asked::Agreed,
            Err(CallError::Http(error)) => {
                tracing::warn!(%error, "a node does not answer when asked to stop; it gets a signal");
                Asked::NoAnswer
            }
            Err(error) => {
                tracing::warn!(%error, "a node does not stop when asked; it gets a signal");
                Asked::Refused
            }
        },
    }
}

fn signalled(sent: std::io::Result<()>, signal: &str) {
    if let Err(error) = sent {
        tracing::error!(%error, "{signal} could not be sent");
    }
}
