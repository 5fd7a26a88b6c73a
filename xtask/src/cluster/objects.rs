//! What a cluster is expected to have besides its programs: storage that pods without rights may write.

use super::place::{NODE_NAME, Place};
use super::{must_succeed, wait_for};
use anyhow::{Context, Result};
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::process::Stdio;

/// Claims that can be bound before the cluster is made anew.
const VOLUMES: usize = 96;
const VOLUME_SIZE: &str = "2Gi";
/// Who pods run as.
const USER: u32 = 65532;

pub fn apply(place: &Place) -> Result<()> {
    wait_for("the default service account", || {
        let answer = place.kubectl().args(["get", "serviceaccount", "default", "--namespace=default"]).output()?;
        Ok(answer.status.success())
    })?;
    make(place, &storage(place)?)
}

/// Makes objects, or makes them what they shall be.
pub fn make(place: &Place, yaml: &str) -> Result<()> {
    let mut apply = place.kubectl();
    apply.args(["apply", "--server-side", "-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut apply = apply.spawn().context("cannot run kubectl")?;
    apply.stdin.take().context("no way to kubectl")?.write_all(yaml.as_bytes())?;
    must_succeed("kubectl apply", apply.wait()?)
}

/// A storage class whose volumes are folders that were made beforehand, owned by those who will use them.
fn storage(place: &Place) -> Result<String> {
    let mut text = String::from(
        "apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata:
  name: folders
  annotations: {storageclass.kubernetes.io/is-default-class: \"true\"}
provisioner: kubernetes.io/no-provisioner
volumeBindingMode: WaitForFirstConsumer
",
    );
    for number in 0..VOLUMES {
        let folder = place.of("volumes").join(number.to_string());
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        std::os::unix::fs::chown(&folder, Some(USER), Some(USER)).context("cannot give a volume away")?;
        let path = folder.display();
        write!(
            text,
            "---
apiVersion: v1
kind: PersistentVolume
metadata: {{name: folder-{number}}}
spec:
  capacity: {{storage: {VOLUME_SIZE}}}
  accessModes: [ReadWriteOnce]
  persistentVolumeReclaimPolicy: Retain
  storageClassName: folders
  local: {{path: '{path}'}}
  nodeAffinity:
    required: {{nodeSelectorTerms: [{{matchExpressions: [{{key: kubernetes.io/hostname, operator: In, values: [{NODE_NAME}]}}]}}]}}
"
        )?;
    }
    Ok(text)
}
