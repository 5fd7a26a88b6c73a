//! Claims without room: writes are refused in words until there is room again, and a candidate whose claim takes no copy goes back.

use super::super::must_succeed;
use super::super::node;
use super::super::place::{NODE_NAME, Place};
use super::super::stage::Stage;
use super::operators::{self, Claims};
use super::service::HASTY;
use crate::api::{Api, text};
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Of a volume that is memory: more than a node takes ahead, little enough to be filled at once.
const VOLUME_MIB: u64 = 64;
/// What is left on the volume of a candidate: it starts, and its copy has no room.
const LEFT_BYTES: u64 = 3 << 20;
/// Metadata of one of the vectors that use up what a node has taken ahead.
const METADATA_BYTES: usize = 60_000;
const BULK_MAX: usize = 600;
const CLASS: &str = "small";
/// Who pods run as.
const USER: u32 = 65532;

/// A volume of little room, known to the cluster by its name.
struct Volume {
    name: String,
    /// Where it is mounted: the node has a folder in it.
    folder: PathBuf,
}

pub async fn claim_full(stage: &Stage) -> Result<String> {
    let place = Place::of_this_workspace()?;
    let volumes = [Volume::make(stage, &place, 0)?, Volume::make(stage, &place, 1)?];
    let small = HASTY.replace("size: 1Gi", &format!("size: 16Mi, className: {CLASS}"));
    stage.deploy_document(&small.replace("watchMs: 8000", "watchMs: 1500, timeoutMs: 8000"))?;
    stage.stable().await?;
    let claims = Claims::of(stage)?;
    let bound = ["get", "persistentvolumeclaim", "jadevectordb-blue-data", "-o", "jsonpath={.spec.volumeName}"];
    let bound = stage.kubectl(&bound)?;
    let [first, second] = &volumes;
    let (blue, green) = if first.name == bound { (first, second) } else { (second, first) };
    ensure!(blue.name == bound, "blue has the volume {bound}");
    let writers = stage.writers().await?;

    // Who serves has no room.
    let bulk = Bulk::open(writers.api()).await?;
    bulk.write_some(LEFT_BYTES as usize * 2 / METADATA_BYTES).await?;
    blue.fill(0)?;
    let refusal = bulk.until_refused().await?;
    ensure!(refusal.contains("is full") && refusal.contains("free space"), "it does not say why: {refusal}");
    blue.free()?;
    writers.until_written_again(Duration::from_secs(20)).await?;
    let restarts = "jsonpath={.items[*].status.containerStatuses[*].restartCount}";
    let restarts = stage.kubectl(&["get", "pods", "-l", "app=jadevectordb,version=blue", "-o", restarts])?;
    ensure!(restarts == "0", "the node was started again: {restarts}");
    operators::settled(stage).await?;

    // The candidate has none.
    green.fill(LEFT_BYTES)?;
    stage.jadeshift(&["deploy", "1.1.0"])?;
    let info = stage.until("the rollout to end", |info| info["history"][0]["outcome"].is_string()).await?;
    let record = &info["history"][0];
    ensure!(record["outcome"] == "rolled_back", "a candidate without room for the data was promoted");
    let reason = record["reason"].as_str().unwrap_or_default().to_string();
    let reasons = ["No space left", "is full", "version 1.1.0 ended"];
    ensure!(reasons.iter().any(|text| reason.contains(text)), "it went back for another reason: {reason}");
    green.free()?;
    stage.jadeshift(&["deploy", "1.2.0"])?;
    let info = stage.until("the rollout with room to end", |info| info["history"][1]["outcome"].is_string()).await?;
    let record = &info["history"][1];
    ensure!(record["outcome"] == "promoted", "1.2.0 was not promoted: {}", record["reason"]);
    operators::settled(stage).await?;
    claims.must_be_there(stage)?;
    let written = writers.stop().await?;
    written.nothing_lost().await?;
    Ok(format!("refused: `{refusal}`; a candidate without room: `{reason}`; {written}, 0 lost"))
}

impl Volume {
    /// An empty one; what an earlier play has left is removed.
    fn make(stage: &Stage, place: &Place, number: usize) -> Result<Volume> {
        let name = format!("{CLASS}-{number}");
        let folder = place.of("volumes").join(&name);
        stage.kubectl(&["delete", "persistentvolume", &name, "--ignore-not-found", "--timeout=30s"])?;
        let mounted = folder.display().to_string();
        if node::mounted_below(&mounted)?.contains(&mounted) {
            must_succeed("umount", Command::new("umount").arg("--lazy").arg(&folder).status()?)?;
        }
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {mounted}"))?;
        let options = format!("size={VOLUME_MIB}m,mode=0755");
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&folder).status();
        must_succeed(&format!("mount {mounted}"), mount.context("cannot run mount")?)?;
        let data = folder.join("data");
        fs::create_dir(&data)?;
        std::os::unix::fs::chown(&data, Some(USER), Some(USER)).context("cannot give a volume away")?;
        stage.apply(&document(&name, &data))?;
        Ok(Volume { name, folder })
    }

    fn filler(&self) -> PathBuf {
        self.folder.join("filler")
    }

    /// Leaves so many bytes free.
    fn fill(&self, left_bytes: u64) -> Result<()> {
        let mut file = File::create(self.filler())?;
        let zeros = [0; 4_096];
        let mut written = 0;
        loop {
            match file.write_all(&zeros) {
                Ok(()) => written += zeros.len() as u64,
                Err(error) if error.kind() == std::io::ErrorKind::StorageFull => break,
                Err(error) => return Err(error).context("cannot fill a volume"),
            }
            ensure!(written <= VOLUME_MIB << 20, "a volume of {VOLUME_MIB} MiB took {written} bytes");
        }
        ensure!(written > left_bytes, "only {written} bytes were free");
        OpenOptions::new().write(true).open(self.filler())?.set_len(written - left_bytes)?;
        Ok(())
    }

    fn free(&self) -> Result<()> {
        fs::remove_file(self.filler()).context("cannot free a volume")
    }
}

fn document(name: &str, data: &Path) -> String {
    json!({"apiVersion": "v1", "kind": "List", "items": [
        {
            "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": CLASS},
            "provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "WaitForFirstConsumer",
        },
        {
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name},
            "spec": {
                "capacity": {"storage": format!("{VOLUME_MIB}Mi")}, "accessModes": ["ReadWriteOnce"],
                "persistentVolumeReclaimPolicy": "Retain", "storageClassName": CLASS,
                "local": {"path": data},
                "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
                    {"key": "kubernetes.io/hostname", "operator": "In", "values": [NODE_NAME]},
                ]}]}},
            },
        },
    ]})
    .to_string()
}

/// Large vectors in a database of their own: a node takes space ahead, which small ones would not use up.
struct Bulk<'a> {
    api: &'a Api,
    path: String,
}

impl Bulk<'_> {
    async fn open(api: &Api) -> Result<Bulk<'_>> {
        let wanted = json!({"name": "bulk", "vectorDimension": 2});
        let made = api.json("POST", "/v1/databases", &wanted, 201).await?;
        let id = made["databaseId"].as_str().context("no databaseId")?;
        Ok(Bulk { api, path: format!("/v1/databases/{id}/vectors") })
    }

    /// What was answered instead of success.
    async fn write(&self, id: &str) -> Result<Option<String>> {
        let vector = json!({"id": id, "values": [1.0, 2.0], "metadata": {"text": "x".repeat(METADATA_BYTES)}});
        let answer = self.api.call("POST", &self.path, &vector).await?;
        Ok((answer.status != 201).then(|| format!("status {}: {}", answer.status, text(&answer))))
    }

    async fn write_some(&self, count: usize) -> Result<()> {
        for number in 0..count {
            if let Some(refusal) = self.write(&format!("some-{number}")).await? {
                bail!("a write was refused too early: {refusal}");
            }
        }
        Ok(())
    }

    async fn until_refused(&self) -> Result<String> {
        for number in 0..BULK_MAX {
            if let Some(refusal) = self.write(&format!("more-{number}")).await? {
                let body: Option<Value> =
                    refusal.split_once(": ").and_then(|(_, body)| serde_json::from_str(body).ok());
                return Ok(body.map_or(refusal, |body| body.to_string()));
            }
        }
        bail!("{BULK_MAX} large vectors were taken by a volume that is full")
    }
}
