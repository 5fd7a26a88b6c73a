//! Whole deployments from the outside: real processes, real nodes.

mod home;
mod lifecycle;
mod load;
mod lost_primary;
mod replicas;
