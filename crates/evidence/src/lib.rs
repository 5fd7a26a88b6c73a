//! Verdicts over what was measured of both colours. Pure: counts in, verdict out.

mod counts;
mod results;
mod verdict;

pub use counts::{Counts, ErrorRule, judge_errors};
pub use results::{Answer, ReplayTally, ResultRule, agreement, judge_results, overlap_at_k};
pub use verdict::{Outcome, Verdict};
