//! Checks of the whole: what no single crate can show of itself.
//!
//! Nothing depends on this crate.

pub mod model;
pub mod simulation;
