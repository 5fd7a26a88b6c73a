//! The candidate's copy compared with the active one, once for each time it is checked, beside the engine's turns.

use crate::verify::{Directory, VerifyError, verify};
use client::Http;
use evidence::Verdict;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use wire::control::Verified;

const SIGNAL: &str = "data";
/// Pause before a comparison that could not be made is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Runs at most one comparison at a time.
#[derive(Default)]
pub(crate) struct DataCheck {
    running: Option<JoinHandle<Result<Verified, VerifyError>>>,
    verdict: Option<Verdict>,
    /// Why the last attempt compared nothing, and when.
    missed: Option<(String, Instant)>,
}

impl DataCheck {
    /// The verdict so far; begins a comparison when there is none and the candidate `follows`.
    pub async fn judge(&mut self, http: &Http, directory: &Directory, follows: bool) -> Verdict {
        if let Some(verdict) = &self.verdict {
            return verdict.clone();
        }
        if let Some(running) = self.running.take_if(|running| running.is_finished()) {
            let result = match running.await {
                Ok(result) => result.map_err(|error| error.to_string()),
                Err(error) => Err(format!("the comparison broke off: {error}")),
            };
            return self.finished(result);
        }
        let pausing = self.missed.as_ref().is_some_and(|(_, at)| at.elapsed() < RETRY_PAUSE);
        if self.running.is_none() && follows && !pausing {
            let (http, directory) = (http.clone(), directory.clone());
            self.running = Some(tokio::spawn(async move { verify(&http, &directory, false).await }));
        }
        let why = match &self.missed {
            Some((why, _)) => format!("the copies could not be compared yet: {why}"),
            None => "the copies are being compared".into(),
        };
        Verdict::inconclusive(SIGNAL, why)
    }

    fn finished(&mut self, result: Result<Verified, String>) -> Verdict {
        let verdict = match result {
            Ok(verified) if verified.equal => Verdict::pass(SIGNAL, verified.why),
            Ok(Verified { environments, why, .. }) if environments.iter().all(|(_, seen)| seen.is_some()) => {
                Verdict::fail(SIGNAL, why)
            }
            Ok(Verified { why, .. }) | Err(why) => {
                self.missed = Some((why.clone(), Instant::now()));
                return Verdict::inconclusive(SIGNAL, why);
            }
        };
        self.verdict = Some(verdict.clone());
        verdict
    }

    /// The next check starts from nothing.
    pub fn reset(&mut self) {
        if let Some(running) = self.running.take() {
            running.abort();
        }
        (self.verdict, self.missed) = (None, None);
    }
}

impl Drop for DataCheck {
    fn drop(&mut self) {
        if let Some(running) = &self.running {
            running.abort();
        }
    }
}
