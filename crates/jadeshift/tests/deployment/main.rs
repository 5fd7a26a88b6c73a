//! Whole deployments from the outside: real processes, real nodes.

mod home;
mod lifecycle;
mod lost_primary;
