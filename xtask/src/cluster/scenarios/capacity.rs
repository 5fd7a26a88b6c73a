//! A cluster without room: a rollout that could not come up is refused in words before anything changes, and begins once
//! there is room.

use super::super::place::NODE_NAME;
use super::super::stage::{PATIENCE, Stage};
use super::service::HASTY;
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The command does not fit.
const REFUSED: i32 = 3;

pub async fn without_room(stage: &Stage) -> Result<String> {
    stage.deploy_document(HASTY)?;
    stage.stable().await?;

    // The active side has its volume; the other side would get none.
    stage.deploy_document(&HASTY.replace("size: 1Gi", "size: 1Gi, className: nowhere"))?;
    refused(stage, &["there is no storage class `nowhere` (spec.cluster.storage.className)", "folders"])?;
    stage.deploy_document(HASTY)?;

    // More than half of the machine: one such pod fits, and no second one.
    let memory = part_of_node(stage, 55)?;
    replaced(stage, &HASTY.replace("memory: 64Mi", &format!("memory: {memory}"))).await?;
    let asks = format!("most is left on {NODE_NAME}, memory ");
    refused(stage, &["no node has room for its pod, which asks for cpu 10m and memory ", &asks, "or add a node"])?;
    replaced(stage, HASTY).await?;

    give(stage, "100Mi").await?;
    let said = "the quota tight leaves 36Mi of 100Mi for requests.memory, and 64Mi is needed: raise it";
    refused(stage, &[said])?;

    give(stage, "200Mi").await?;
    stage.jadeshift(&["deploy", "1.1.0"])?;
    let comes_up = |info: &Value| info["nodes"]["green"]["status"] == "up" && info["versions"]["green"] == "1.1.0";
    stage.until("green to come up", comes_up).await?;
    stage.jadeshift(&["rollback", "--reason", "it came up"])?;
    stage.until("the end of the rollout", |info| info["history"][0]["outcome"] == "rolled_back").await?;
    Ok("refused for its storage class, for its memory and for a quota; begun when there was room".into())
}

/// The deployment refuses a version, says all of this, and stays as it is.
fn refused(stage: &Stage, sayings: &[&str]) -> Result<()> {
    let before = standing(stage)?;
    let output = stage.try_jadeshift(&["deploy", "1.1.0"])?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(REFUSED), "jadeshift deploy: {}: {said}", output.status);
    for saying in sayings.iter().chain(&["there is no room for version 1.1.0 on green, and nothing was changed: "]) {
        ensure!(said.contains(saying), "it does not say `{saying}`: {said}");
    }
    let after = standing(stage)?;
    ensure!(before == after, "it was refused, and is another one than before: {before} and {after}");
    Ok(())
}

/// What a rollout would change first.
fn standing(stage: &Stage) -> Result<Value> {
    let info = stage.info()?;
    let objects = stage.kubectl(&["get", "deployments,persistentvolumeclaims,pods", "--output", "name"])?;
    let of_green = "jsonpath={.spec.replicas}";
    let green = stage.kubectl(&["get", "deployment", "jadevectordb-green", "--output", of_green])?;
    ensure!(green == "0" && info["versions"]["green"].is_null(), "green runs {}", info["versions"]["green"]);
    let phase = &info["phase"]["name"];
    Ok(json!([phase, info["versions"], info["generation"], info["history"], objects]))
}

/// So many hundredths of what the machine gives to pods.
fn part_of_node(stage: &Stage, percent: u64) -> Result<String> {
    let memory = stage.kubectl(&["get", "node", NODE_NAME, "--output", "jsonpath={.status.allocatable.memory}"])?;
    let kibibytes = memory.strip_suffix("Ki").and_then(|number| number.parse::<u64>().ok());
    let kibibytes = kibibytes.with_context(|| format!("the node's memory is `{memory}`"))?;
    Ok(format!("{}Ki", kibibytes * percent / 100))
}

/// A document that asks for other resources has the active pod replaced; waits until the next one serves.
async fn replaced(stage: &Stage, settings: &str) -> Result<()> {
    let before = sole_pod(stage)?.context("the active side has no pod that is ready")?;
    stage.deploy_document(settings)?;
    until("another pod to be ready", || Ok(sole_pod(stage)?.is_some_and(|pod| pod != before))).await?;
    stage.until("the active side to serve again", |info| info["nodes"]["blue"]["ready"] == true).await?;
    stage.stable().await?;
    Ok(())
}

/// The uid of the active side's pod, if it has one and that is ready: one that no node has taken yet takes no room.
fn sole_pod(stage: &Stage) -> Result<Option<String>> {
    let selector = "app=jadevectordb,version=blue";
    let listed = stage.kubectl(&["get", "pods", "--selector", selector, "--output", "json"])?;
    let listed: Value = serde_json::from_str(&listed)?;
    let pods = listed["items"].as_array().context("no list of pods")?;
    let [pod] = pods.as_slice() else { return Ok(None) };
    let mut conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    let is_ready = conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
    let stays = is_ready && pod["metadata"]["deletionTimestamp"].is_null();
    Ok(pod["metadata"]["uid"].as_str().filter(|_| stays).map(String::from))
}

/// The namespace may ask for so much memory; waits until that is in force, and only the active pod is counted.
async fn give(stage: &Stage, memory: &str) -> Result<()> {
    stage.apply(&format!(
        "apiVersion: v1\nkind: ResourceQuota\nmetadata: {{name: tight, namespace: {}}}\n\
         spec: {{hard: {{requests.memory: {memory}}}}}\n",
        stage.namespace
    ))?;
    let counted = || {
        let quota = stage.get("resourcequota", "tight")?;
        let of = |part: &str| quota["status"][part]["requests.memory"].clone();
        Ok(of("hard") == memory && of("used") == "64Mi")
    };
    until("the quota to be counted", counted).await
}

async fn until(what: &str, is_so: impl Fn() -> Result<bool>) -> Result<()> {
    let began = Instant::now();
    while !is_so()? {
        if began.elapsed() > PATIENCE {
            bail!("waited for {what}");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}
