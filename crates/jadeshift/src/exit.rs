//! Exit codes: an interface for scripts, so a number never changes its meaning.

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitCode {
    Ok = 0,
    /// Something was lost, unequal or unhealthy, or a release was rolled back.
    Failed = 1,
    /// The command line or a document cannot be used.
    Usage = 2,
    /// The command does not fit the state of the deployment.
    Refused = 3,
    /// No `jadeshift up` answers in this folder.
    NotRunning = 4,
    /// What was waited for did not happen in time.
    TimedOut = 5,
    /// Ended by Ctrl-C or SIGTERM.
    Interrupted = 130,
}

/// The same list for `jadeshift --help`.
pub const HELP: &str = "\
Exit codes:
    0  done
    1  failed: something was lost, unequal or unhealthy, or the release was rolled back
    2  the command line or a document cannot be used
    3  refused: the command does not fit the state of the deployment
    4  not running, or not reachable
    5  timed out waiting
  130  interrupted by Ctrl-C or SIGTERM";

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_in_the_help() {
        for code in [
            ExitCode::Ok,
            ExitCode::Failed,
            ExitCode::Usage,
            ExitCode::Refused,
            ExitCode::NotRunning,
            ExitCode::TimedOut,
            ExitCode::Interrupted,
        ] {
            let number = (code as u8).to_string();
            assert!(HELP.lines().any(|line| line.split_whitespace().next() == Some(&number)), "{number} is missing");
        }
    }
}
