//! What can go wrong between here and the API server, each named by what failed.

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot find a cluster: {0}")]
    Config(String),
    #[error("cannot list {what}: {source}")]
    List { what: String, source: kube::Error },
    #[error("cannot get {what}: {source}")]
    Get { what: String, source: kube::Error },
    #[error("cannot apply {what}: {source}")]
    Apply { what: String, source: kube::Error },
    #[error("cannot write the status of {what}: {source}")]
    Status { what: String, source: kube::Error },
    #[error("{what} cannot be read: {why}")]
    Shape { what: String, why: String },
}
