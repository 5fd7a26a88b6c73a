//! What others do to a deployment: they edit its Service, take its pods away, delete a namespace in the middle of a rollout, and ask
//! for images that are not there or that never work.

use super::super::place::Place;
use super::super::stage::{PATIENCE, Stage};
use super::operators::{self, Claims};
use super::service::HASTY;
use crate::writers::Writers;
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::fs;
use std::time::{Duration, Instant};

/// From an edit of the Service until it is as it shall be.
const PUT_RIGHT_MAX: Duration = Duration::from_secs(5);
/// From an edit, or from the loss of a pod, until writes are acknowledged again.
const WRITTEN_AGAIN_WITHIN: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Nobody listens there, so that an image is refused at once.
const MISSING_IMAGE: &str = "127.0.0.1:1/jadevectordb:1.9.0";

/// Somebody edits the Service; pods are evicted and deleted, of who serves and of who is watched.
pub async fn by_hand(stage: &Stage) -> Result<String> {
    stage.deploy_document(HASTY)?;
    stage.stable().await?;
    let claims = Claims::of(stage)?;
    let writers = stage.writers().await?;

    let stable = service_edited(stage, "green", "blue").await?;
    writers.until_written_again(WRITTEN_AGAIN_WITHIN).await?;
    stage.jadeshift(&["deploy", "1.1.0"])?;
    stage.until("1.1.0 to be watched", |info| info["phase"]["name"] == "watching").await?;
    let watched = service_edited(stage, "blue", "green").await?;
    writers.until_written_again(WRITTEN_AGAIN_WITHIN).await?;
    // The edit may have looked like a failure of the new side: both ends are good ones.
    let info = stage.until("the first rollout to end", |info| info["history"][0]["outcome"].is_string()).await?;
    let first = info["history"][0]["outcome"].to_string();

    let info = operators::settled(stage).await?;
    let (active, version) = serving(&info)?;
    let evicted = taken_away(stage, &writers, &active, evict).await?;
    let info = operators::settled(stage).await?;
    ensure!(serving(&info)? == (active.clone(), version.clone()), "an eviction changed who serves: {}", info["why"]);
    ensure!(info["history"].as_array().map(Vec::len) == Some(1), "an eviction began a rollout");

    // The same to who has just taken over.
    stage.jadeshift(&["deploy", if version == "1.2.0" { "1.3.0" } else { "1.2.0" }])?;
    let info = stage.until("the new version to be watched", |info| info["phase"]["name"] == "watching").await?;
    let (active, _) = serving(&info)?;
    let deleted = taken_away(stage, &writers, &active, |stage, pod| {
        stage.kubectl(&["delete", "pod", pod, "--wait=false"]).map(|_| ())
    });
    let deleted = deleted.await?;
    let info = stage.until("the second rollout to end", |info| info["history"][1]["outcome"].is_string()).await?;
    let second = info["history"][1]["outcome"].to_string();
    operators::settled(stage).await?;
    claims.must_be_there(stage)?;
    let written = writers.stop().await?;
    written.nothing_lost().await?;
    Ok(format!(
        "a Service put right after {} ms and {} ms, {first}; writes {} ms after an eviction, {} ms after a deletion, {second}; \
         {written}, 0 lost",
        stable.as_millis(),
        watched.as_millis(),
        evicted.as_millis(),
        deleted.as_millis()
    ))
}

/// Leads the Service to `wrong` by hand, and waits until it leads to `right` again. How long that took.
pub async fn service_edited(stage: &Stage, wrong: &str, right: &str) -> Result<Duration> {
    let service = "jadevectordb-service";
    let selected = "jsonpath={.spec.selector.version}";
    let patch = json!({"spec": {"selector": {"version": wrong}}}).to_string();
    let edited = stage.kubectl(&["patch", "service", service, "--type=merge", "-p", &patch, "-o", selected])?;
    ensure!(edited == wrong, "the Service was not edited: it leads to {edited}");
    let began = Instant::now();
    while stage.kubectl(&["get", "service", service, "-o", selected])? != right {
        ensure!(began.elapsed() < PUT_RIGHT_MAX, "the Service still leads to {wrong}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(began.elapsed())
}

/// Who serves, and which version.
fn serving(info: &Value) -> Result<(String, String)> {
    let active = info["active"].as_str().context("nobody is active")?;
    let version = info["versions"][active].as_str().context("the active environment has no version")?;
    Ok((active.into(), version.into()))
}

/// Takes the pod of an environment away, and waits until another one is ready and writes are acknowledged. How long that took.
async fn taken_away(
    stage: &Stage,
    writers: &Writers,
    colour: &str,
    take: impl Fn(&Stage, &str) -> Result<()>,
) -> Result<Duration> {
    let before = ready_pod(stage, colour)?.with_context(|| format!("{colour} has no pod that is ready"))?;
    let began = Instant::now();
    take(stage, &before)?;
    loop {
        match ready_pod(stage, colour)? {
            Some(now) if now != before => break,
            // A rollout that goes back lets this side go.
            None if operators::state(stage)?["versions"][colour].is_null() => break,
            _ if began.elapsed() >= PATIENCE => bail!("no other pod of {colour} came in the place of {before}"),
            _ => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
    writers.until_written_again(WRITTEN_AGAIN_WITHIN).await?;
    Ok(began.elapsed())
}

/// The pod that is ready and shall stay.
fn ready_pod(stage: &Stage, colour: &str) -> Result<Option<String>> {
    let selector = format!("app=jadevectordb,version={colour}");
    let pods: Value = serde_json::from_str(&stage.kubectl(&["get", "pods", "-l", &selector, "-o", "json"])?)?;
    let mut ready = pods["items"].as_array().into_iter().flatten().filter(|pod| {
        let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
        let mut conditions = conditions.filter(|one| one["type"] == "Ready" && one["status"] == "True");
        pod["metadata"]["deletionTimestamp"].is_null() && conditions.next().is_some()
    });
    Ok(ready.next().and_then(|pod| Some(pod["metadata"]["name"].as_str()?.to_string())))
}

/// As `kubectl drain` does.
fn evict(stage: &Stage, pod: &str) -> Result<()> {
    let namespace = &stage.namespace;
    let eviction = json!({
        "apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": namespace},
    });
    let file = tempfile::NamedTempFile::new()?;
    fs::write(file.path(), eviction.to_string())?;
    let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}/eviction");
    stage.kubectl(&["create", "--raw", &path, "-f", &file.path().display().to_string()])?;
    Ok(())
}

/// A namespace is deleted while its rollout is under way. It goes, others do not notice, and what was on its volumes stays.
pub async fn namespace_gone(stage: &Stage) -> Result<String> {
    let place = Place::of_this_workspace()?;
    let other = Stage::open(&place, "namespace-gone-other")?;
    for one in [stage, &other] {
        one.deploy_document(&HASTY.replace("watchMs: 8000", "watchMs: 2000"))?;
    }
    stage.stable().await?;
    other.stable().await?;
    let writers = stage.writers().await?;
    let address = other.main_service().await?;
    let others = Writers::at_work(&address, &address, 2).await?;
    let volume = ["get", "persistentvolumeclaim", "jadevectordb-blue-data", "-o", "jsonpath={.spec.volumeName}"];
    let volume = other.kubectl(&volume)?;

    other.jadeshift(&["deploy", "1.1.0"])?;
    other.until("a rollout under way", |info| !info["run"].is_null()).await?;
    let began = Instant::now();
    other.kubectl(&["delete", "namespace", &other.namespace, "--wait=false"])?;
    stage.jadeshift(&["deploy", "1.1.0"])?;
    stage.until("1.1.0 to be promoted", |info| info["history"][0]["outcome"] == "promoted").await?;
    let gone = ["wait", "--for=delete", &format!("namespace/{}", other.namespace), "--timeout=60s"];
    stage.kubectl(&gone).context("something keeps the namespace from going")?;
    let gone = began.elapsed();
    // Nobody is left to ask for what they wrote.
    others.stop().await?;

    let kept = stage.get("persistentvolume", &volume)?;
    ensure!(kept["status"]["phase"] == "Released", "the volume is {}", kept["status"]["phase"]);
    let folder = kept["spec"]["local"]["path"].as_str().context("a volume that is no folder")?;
    let files = fs::read_dir(folder).with_context(|| format!("cannot read {folder}"))?.count();
    ensure!(files > 0, "the volume is empty");
    let written = writers.stop().await?;
    written.nothing_lost().await?;
    written.none_failed().context("in another namespace")?;
    Ok(format!(
        "the namespace was gone after {:.1} s, its volume is kept; {} writes elsewhere, 0 failed, 0 lost",
        gone.as_secs_f64(),
        written.acknowledged()
    ))
}

/// One image is nowhere, one never becomes ready: both say so, and go back.
pub async fn no_image(stage: &Stage) -> Result<String> {
    let versions = format!(
        "  versions:\n    \"1.8.0\": {{image: 'jadevectordb:1.0.0', args: ['--no-such-argument']}}\n    \
         \"1.9.0\": {{image: '{MISSING_IMAGE}'}}\n"
    );
    let settings = HASTY.replace("watchMs: 8000", "watchMs: 1500, timeoutMs: 10000");
    stage.deploy_document(&format!("{versions}{settings}"))?;
    stage.stable().await?;
    let claims = Claims::of(stage)?;
    let writers = stage.writers().await?;

    stage.jadeshift(&["deploy", "1.9.0"])?;
    let says_why = |info: &Value| {
        let why = info["why"].as_str().unwrap_or_default();
        why.contains("version 1.9.0") && ["ErrImagePull", "ImagePullBackOff"].iter().any(|reason| why.contains(reason))
    };
    let info = stage.until("a reason that names the image", says_why).await?;
    let said = info["why"].as_str().unwrap_or_default().to_string();
    let asked = Instant::now();
    stage.jadeshift(&["rollback", "--reason", "the image is missing"])?;
    stage.until("the first rollback", |info| info["history"][0]["outcome"] == "rolled_back").await?;
    let back = asked.elapsed();

    stage.jadeshift(&["deploy", "1.8.0"])?;
    let info = stage.until("the second rollout to end", |info| info["history"][1]["outcome"].is_string()).await?;
    let record = &info["history"][1];
    ensure!(record["outcome"] == "rolled_back", "a version that never starts was promoted");
    let reason = record["reason"].as_str().unwrap_or_default();
    let expected = ["green is to come up with version 1.8.0", "for longer than 10 s"];
    ensure!(expected.iter().all(|text| reason.contains(text)), "it went back for another reason: {reason}");

    // The environment is none the worse for it.
    stage.jadeshift(&["deploy", "1.1.0"])?;
    stage.until("1.1.0 to be promoted", |info| info["history"][2]["outcome"] == "promoted").await?;
    operators::settled(stage).await?;
    claims.must_be_there(stage)?;
    let written = writers.stop().await?;
    written.nothing_lost().await?;
    written.none_failed()?;
    Ok(format!(
        "`{said}`; back within {} ms when asked, and by itself: {reason}; {} writes, 0 failed, 0 lost",
        back.as_millis(),
        written.acknowledged()
    ))
}
