//! Faults on purpose, for tests and demonstrations; refused in production.

use rand::RngExt;
use std::time::Duration;

/// Shares are from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Faults {
    /// Share of reads answered with 500.
    pub errors: f64,
    /// Share of searches answered with wrong results.
    pub wrong_results: f64,
    /// Added to every read.
    pub latency: Duration,
    /// Says that it accepts no requests.
    pub unready: bool,
}

/// A fault switch that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("--fault `{given}`: {rule}")]
pub struct FaultError {
    given: String,
    rule: &'static str,
}

impl Faults {
    /// Reads `errors=0.05,wrong-results=0.1,latency=20ms,unready`.
    ///
    /// # Errors
    /// Names the part that is not understood.
    pub fn parse(text: &str) -> Result<Faults, FaultError> {
        let mut faults = Faults::default();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            if part == "unready" {
                faults.unready = true;
                continue;
            }
            let refuse = |rule| FaultError { given: part.to_string(), rule };
            let (name, value) = part.split_once('=').ok_or(refuse("write NAME=VALUE"))?;
            let share = || match value.parse::<f64>() {
                Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
                _ => Err(refuse("the share must be a number from 0 to 1")),
            };
            match name {
                "errors" => faults.errors = share()?,
                "wrong-results" => faults.wrong_results = share()?,
                "latency" => {
                    let ms = value.strip_suffix("ms").and_then(|ms| ms.parse().ok());
                    faults.latency = Duration::from_millis(ms.ok_or(refuse("write latency=20ms"))?);
                }
                _ => return Err(refuse("known faults are errors, wrong-results, latency and unready")),
            }
        }
        Ok(faults)
    }

    pub fn any(&self) -> bool {
        *self != Faults::default()
    }

    pub fn hits_errors(&self) -> bool {
        self.errors > 0.0 && rand::rng().random_bool(self.errors)
    }

    pub fn hits_wrong_results(&self) -> bool {
        self.wrong_results > 0.0 && rand::rng().random_bool(self.wrong_results)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_all_three() {
        let faults = Faults::parse("errors=0.05,wrong-results=1,latency=20ms").unwrap();
        assert_eq!(faults.errors, 0.05);
        assert!(faults.hits_wrong_results());
        assert_eq!(faults.latency, Duration::from_millis(20));
    }

    #[test]
    fn names_what_it_cannot_read() {
        for text in ["errors=2", "errors", "speed=1", "latency=20"] {
            assert!(Faults::parse(text).unwrap_err().to_string().contains(text));
        }
    }
}
