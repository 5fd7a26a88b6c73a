//! Tests of the engine: a script with golden output, one test for each rule, every state with every observation, and a
//! model of two nodes that obey calls.

mod confirmed;
mod explore;
mod model;
mod rules;
pub(crate) mod scene;
mod script;
