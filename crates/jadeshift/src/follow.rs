//! Watching a deployment until something happens, also across a restart of its `up`.

use crate::control::Control;
use crate::exit::ExitCode;
use crate::failure::Failure;
use crate::text::{phase_name, shape};
use conductor::Info;
use rollout::Record;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long an `up` may be away, to be started again, before watching it ends.
const AWAY_MAX: Duration = Duration::from_secs(15);

/// Looks at a deployment again and again.
pub struct Looks {
    dir: PathBuf,
    control: Option<Control>,
    away_since: Option<Instant>,
}

impl Looks {
    pub fn at(dir: &Path) -> Self {
        Self { dir: dir.into(), control: None, away_since: None }
    }

    /// The state now; `None`: it does not answer at the moment.
    ///
    /// # Errors
    /// When it has not answered for [`AWAY_MAX`], or never did.
    pub async fn next(&mut self) -> Result<Option<Info>, Failure> {
        let seen_before = self.control.is_some() || self.away_since.is_some();
        let failure = match self.ask().await {
            Ok(info) => {
                self.away_since = None;
                return Ok(Some(info));
            }
            Err(failure) => failure,
        };
        // Another `up` of this folder has another address.
        self.control = None;
        let away_since = *self.away_since.get_or_insert_with(Instant::now);
        match seen_before && away_since.elapsed() < AWAY_MAX {
            true => Ok(None),
            false => Err(failure),
        }
    }

    async fn ask(&mut self) -> Result<Info, Failure> {
        let control = match self.control.take() {
            Some(control) => control,
            None => Control::find(&self.dir)?,
        };
        let info = control.info().await?;
        self.control = Some(control);
        Ok(info)
    }
}

/// Says only what is new.
#[derive(Default)]
pub struct News {
    shown: String,
}

impl News {
    /// Phase and reason in a line, if they are others than before; numbers that moved are no news.
    pub fn line(&mut self, info: &Info) -> Option<String> {
        let line = line(info);
        let shape = shape(&line);
        if shape == self.shown {
            return None;
        }
        self.shown = shape;
        Some(line)
    }
}

/// Phase and reason in a line.
pub fn line(info: &Info) -> String {
    format!("{}: {}", phase_name(&info.phase), info.why)
}

/// How rollout `run` ended, if it has.
pub fn ended(info: &Info, run: u64) -> Option<&Record> {
    info.history.iter().rev().find(|record| record.run.id == run)
}

/// A wait that is over without a result.
pub fn timed_out(what: &str, timeout_ms: u64, last: Option<&str>) -> Failure {
    let why = format!("not within {timeout_ms} ms; last seen: {}", last.unwrap_or("nothing"));
    Failure::new(ExitCode::TimedOut, what, why).advise("the deployment goes on; see `jadeshift info`")
}
