//! The [`conductor::Platform`] of a Kubernetes cluster, and the operator that runs a conductor for each `BlueGreen` object.
//!
//! | module | what it is |
//! |---|---|
//! | `resource` | the custom resource: its type, its definition, its status |
//! | `names` | what the objects of a deployment are called and labelled |
//! | `build` | every object that shall be there, as values: no client, cannot fail |
//! | `in_effect` | what a router does, by what the cluster says of it |
//! | `store` | what is there, kept up to date by watches |
//! | `apply` | makes the one like the other, by Server-Side Apply (client required) |
//! | `capacity` | whether there is room for a version, said before its rollout (client required) |
//! | `state` | the durable state in the object's status (client required) |
//! | `platform` | all of this as a `Platform` |
//! | `lease`, `figures`, `serve` | which of several operators works; what it tells Prometheus and the kubelet |
//! | `install` | the definition, the rights and the operator itself, for a cluster |
//! | `files` | the files that users apply: manifests, monitoring, dashboards, the chart |
//! | `remote` | the caller's side: info, commands and reports through the API server |
//! | `operator` | a conductor for each object, requests and their answers |
//!
//! **Invariant.** Nothing here deletes a claim or a volume.

pub mod apply;
pub mod build;
pub mod capacity;
pub mod error;
pub mod figures;
pub mod files;
pub mod in_effect;
pub mod install;
pub mod lease;
pub mod names;
pub mod operator;
pub mod platform;
pub mod remote;
pub mod resource;
pub mod serve;
pub mod state;
pub mod store;

pub use error::Error;
pub use resource::BlueGreenObject;
