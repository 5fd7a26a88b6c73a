//! Tests of the engine: a script with golden output, one test for each rule, every state with every observation. With nodes
//! that obey calls it is searched in `sim`.

mod confirmed;
mod explore;
mod rules;
pub(crate) mod scene;
mod script;
mod succession;
