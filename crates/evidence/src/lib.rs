//! Verdicts over what was measured of both colours. Pure: counts in, verdict out.
//!
//! Every test here may be looked at as often as one likes: its answer stays valid (anytime-valid). [`Judge`] puts them together.

mod assessment;
mod band;
mod dry_run;
mod judge;
mod likeness;
mod mean;
mod mixture;
mod policy;
mod rate;
mod ratio;
mod results;
mod signal;
mod text;
mod verdict;

pub use assessment::{Assessment, ByThreshold, Measures, SLOW_GROWTH_MAX, Side, SourceSignal, Threshold, group};
pub use band::band_half_width;
pub use dry_run::{Conclusion, DryRun, StepRule};
pub use judge::{Judge, SignalId, SignalState};
pub use likeness::{Likeness, ResultRules, RunningMean, rank_correlation, score_drift};
pub use mean::MeanTest;
pub use policy::Policy;
pub use rate::RateTest;
pub use ratio::RatioTest;
pub use results::{Answer, ReplayTally, agreement, overlap_at_k, recall_lost};
pub use signal::{Counts, SignalRule};
pub use text::{e_value, finite_e, percent, thousands};
pub use verdict::{Outcome, Verdict};
