//! The manifests that users apply, as they are committed.

use super::super::stage::Stage;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// Without those of monitoring, whose kinds not every cluster knows.
pub const MANIFESTS: [&str; 5] =
    ["blue-green-deployment", "ingress-routing", "traffic-routing", "canary-deployment", "health-check-services"];
/// The namespace that they name.
const THEIR_NAMESPACE: &str = "jadevectordb-system";

/// The API server would take every one of them as it is.
pub async fn accepted(stage: &Stage) -> Result<String> {
    let folder = tempfile::tempdir()?;
    for name in MANIFESTS {
        let text = fs::read_to_string(manifest(name)).with_context(|| format!("cannot read {name}.yaml"))?;
        let file = folder.path().join(format!("{name}.yaml"));
        fs::write(&file, text.replace(THEIR_NAMESPACE, &stage.namespace))?;
        let file = file.display().to_string();
        stage.kubectl(&["apply", "--server-side", "--dry-run=server", "--filename", &file])?;
    }
    Ok(format!("{} manifests", MANIFESTS.len()))
}

pub fn manifest(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../deployments/blue-green/k8s/{name}.yaml"))
}
