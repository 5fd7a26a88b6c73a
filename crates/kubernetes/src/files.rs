//! The files that users apply, below `deployments/`: written from the same values that the operator applies, so that they
//! cannot say something else. `jadeshift render deployments --to deployments` writes them; a test says when they drift.

mod chart;
mod dashboards;
#[cfg(test)]
mod dockerfiles;
#[cfg(test)]
mod exported;
mod manifests;
mod monitoring;

use crate::names::Names;
use serde::Serialize;
use serde_json::{Value, json};

/// Of the deployment that the files are about; the scripts name it so, too.
const NAME: &str = "jadevectordb";
const NAMESPACE: &str = "jadevectordb-system";

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Below `deployments/`.
    pub path: String,
    pub text: String,
}

impl File {
    fn new(path: &str, text: String) -> Self {
        Self { path: path.into(), text }
    }

    /// YAML documents one after the other, below `comment`, whose lines are without `#`.
    fn of_objects(path: &str, comment: &str, objects: &[Value]) -> Self {
        let comment: String = comment.lines().map(|line| format!("# {line}\n")).collect();
        Self::new(path, format!("{comment}{}", yaml(objects)))
    }
}

/// Every file.
pub fn all() -> Vec<File> {
    [manifests::files(), monitoring::files(), dashboards::files(), chart::files()].concat()
}

/// Metadata of what stands around the deployment.
fn metadata(names: &Names, part: &str) -> Value {
    json!({
        "name": format!("{}-{part}", names.deployment),
        "namespace": names.namespace,
        "labels": {"app.kubernetes.io/name": "jadevectordb", "app.kubernetes.io/instance": names.deployment},
    })
}

/// Documents one after the other.
pub fn yaml(objects: &[impl Serialize]) -> String {
    let written = objects.iter().map(|object| serde_norway::to_string(object).expect("a value can be written"));
    written.collect::<Vec<String>>().join("---\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn what_is_committed_is_what_would_be_written() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deployments");
        for file in all() {
            let committed = std::fs::read_to_string(folder.join(&file.path)).unwrap_or_default();
            assert!(
                committed == file.text,
                "{} drifted: cargo run -p jadeshift -- render deployments --to deployments",
                file.path
            );
        }
    }
}
