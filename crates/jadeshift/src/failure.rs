//! Why a command has no result, said in one line.

use crate::exit::ExitCode;
use std::fmt;

/// Prints as `what: why; what to do`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub code: ExitCode,
    what: String,
    why: String,
    /// What the reader can do; empty when there is nothing.
    advice: String,
}

impl Failure {
    pub fn new(code: ExitCode, what: impl Into<String>, why: impl fmt::Display) -> Self {
        Self { code, what: what.into(), why: why.to_string(), advice: String::new() }
    }

    pub fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = advice.into();
        self
    }

    pub fn failed(what: impl Into<String>, why: impl fmt::Display) -> Self {
        Self::new(ExitCode::Failed, what, why)
    }

    pub fn usage(what: impl Into<String>, why: impl fmt::Display) -> Self {
        Self::new(ExitCode::Usage, what, why)
    }

    pub fn interrupted(what: impl Into<String>) -> Self {
        Self::new(ExitCode::Interrupted, what, "interrupted")
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self.advice.as_str() {
            "" => format!("{}: {}", self.what, self.why),
            advice => format!("{}: {}; {advice}", self.what, self.why),
        };
        // One line whatever the cause looks like: scripts and logs read errors by line.
        f.write_str(&text.split_whitespace().collect::<Vec<_>>().join(" "))
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_one_line_even_when_the_cause_has_several() {
        let failure = Failure::usage("shop.yaml", "line 3:\n  bad").advise("correct it");
        assert_eq!(failure.to_string(), "shop.yaml: line 3: bad; correct it");
    }
}
