//! The Helm chart on the real API server: it is what `jadeshift install` applies, its operator works with rights in one namespace
//! only, and its end leaves definition, deployment and data. Beside it `kubectl jadeshift`, which finds what the chart made.

use super::super::stage::Stage;
use super::{OPERATOR_IMAGE, operators};
use crate::writers::Writers;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deployments/helm/jadeshift");
const RELEASE: &str = "chart";
/// Of the operator's objects: those of `jadeshift install` are there too.
const NAME: &str = "jadeshift-chart";

pub async fn there_and_gone(stage: &Stage) -> Result<String> {
    let folder = tempfile::tempdir()?;
    let values = folder.path().join("values.json").display().to_string();
    fs::write(&values, values_of(stage)?.to_string())?;
    helm(&["lint", "--strict", CHART, "--values", &values])?;
    is_what_is_installed(stage)?;
    is_accepted(stage)?;
    unknown_values_are_refused()?;

    let played = by_the_chart(stage, &values).await;
    // Whatever became of it, the other scenarios want their operator back.
    let survived = uninstall(stage).and_then(|()| survivors(stage));
    operators::as_installed(stage)?;
    let writers = played?;
    let claims = survived?;

    writers.until_written_again(Duration::from_secs(20)).await?;
    // It changes hands: the other operator goes on with what the first one left.
    stage.jadeshift(&["deploy", "1.1.0"])?;
    stage.until("1.1.0 to be promoted", |info| info["history"][0]["outcome"] == "promoted").await?;
    let written = writers.stop().await?;
    written.none_failed()?;
    written.nothing_lost().await?;
    Ok(format!(
        "{} writes, 0 failed, 0 lost while one operator went and another came; {claims} claims kept",
        written.acknowledged()
    ))
}

/// An operator for this namespace, and a deployment.
fn values_of(stage: &Stage) -> Result<Value> {
    let (repository, tag) = OPERATOR_IMAGE.rsplit_once(':').context("an image without a tag")?;
    let step = json!({"sharePercent": 100, "durationMinMs": 500, "requestsMin": 20});
    let ratios = json!({"p50": 9, "p90": 9, "p99": 9, "limit": 9});
    Ok(json!({
        "name": NAME,
        "watchNamespace": stage.namespace,
        "roles": {"create": false},
        "image": {"repository": repository, "tag": tag, "pullPolicy": "Never"},
        "replicas": 1,
        "extraArgs": ["--verbose"],
        "deployment": {"create": true, "spec": {
            "mode": "development",
            "version": "1.0.0",
            "rollout": {"watchMs": 1000, "steps": [step]},
            "evidence": {"evidenceMin": 0, "replaysMin": 5, "replaysPerSecond": 500, "latencyRatioMax": ratios},
            "cluster": {"storage": {"size": "1Gi"}, "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}}},
        }},
    }))
}

/// Object for object, as kubectl reads both.
fn is_what_is_installed(stage: &Stage) -> Result<()> {
    let watched = format!("watchNamespace={}", stage.namespace);
    let template = ["template", RELEASE, CHART, operators::HOME, "--include-crds", "--set", &watched];
    let chart = objects(&helm(&template)?)?;
    let mut installed = objects(&stage.jadeshift(&["render", "install"])?)?;
    // Helm makes namespaces itself.
    installed.retain(|_, object| object["kind"] != "Namespace");
    ensure!(installed.len() > 10, "only {} objects", installed.len());
    for (name, object) in &installed {
        let found = chart.get(name);
        ensure!(found == Some(object), "{name} of the chart is {found:?}, and of the installation {object}");
    }
    ensure!(chart.len() == installed.len(), "the chart has more: {:?}", chart.keys());
    Ok(())
}

fn objects(yaml: &str) -> Result<BTreeMap<String, Value>> {
    let mut kubectl = Command::new("kubectl");
    let output = fed(kubectl.args(["create", "--dry-run=client", "-o", "json", "-f", "-"]), yaml)?;
    let listed = serde_json::Deserializer::from_slice(&output.stdout).into_iter::<Value>();
    let key = |object: &Value| format!("{} {}", object["kind"], object["metadata"]["name"]);
    listed.map(|object| object.map(|object| (key(&object), object)).context("kubectl prints no JSON")).collect()
}

/// With everything that can be set, and without a warning of what is deprecated.
fn is_accepted(stage: &Stage) -> Result<()> {
    let expression = json!({"key": "disk", "operator": "Exists"});
    let preferred = json!([{"weight": 1, "preference": {"matchExpressions": [expression]}}]);
    let mut values = values_of(stage)?;
    for (name, value) in [
        ("imagePullSecrets", json!([{"name": "registry"}])),
        ("roles", json!({"create": true})),
        ("resources", json!({"limits": {"cpu": 1}})),
        ("nodeSelector", json!({"disk": "ssd"})),
        ("tolerations", json!([{"key": "database", "operator": "Exists", "effect": "NoSchedule"}])),
        ("affinity", json!({"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}})),
        ("podAnnotations", json!({"example.org/team": "search"})),
        ("serviceMonitor", json!({"enabled": true, "labels": {"release": "prometheus"}})),
    ] {
        values[name] = value;
    }
    let mut template = Command::new("helm");
    template.args(["template", RELEASE, CHART, "--namespace", &stage.namespace, "--values", "-"]);
    let rendered = String::from_utf8(fed(&mut template, &values.to_string())?.stdout)?;
    for kind in ["ServiceMonitor", "BlueGreen", "NetworkPolicy", "PodDisruptionBudget"] {
        ensure!(rendered.contains(&format!("kind: {kind}\n")), "no {kind}");
    }
    let mut apply = Command::new("kubectl");
    apply.args(["apply", "--server-side", "--force-conflicts", "--dry-run=server", "-f", "-"]);
    let applied = fed(&mut apply, &rendered)?;
    let said = String::from_utf8_lossy(&applied.stderr);
    ensure!(!said.contains("Warning"), "{said}");
    Ok(())
}

fn unknown_values_are_refused() -> Result<()> {
    for (value, named) in
        [("replica=3", "replica"), ("replicas=9", "replicas"), ("deployment.spec.request.id=1", "request")]
    {
        let output = Command::new("helm").args(["template", RELEASE, CHART, "--set", value]).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(!output.status.success() && said.contains(named), "{value}: {}: {said}", output.status);
    }
    Ok(())
}

/// Installed, with a deployment that serves.
async fn by_the_chart(stage: &Stage, values: &str) -> Result<Writers> {
    // Two operators may not look after one namespace.
    operators::none(stage)?;
    let place = ["--namespace", &stage.namespace, "--values", values];
    helm(&[&["install", RELEASE, CHART, "--skip-crds", "--wait", "--timeout", "90s"], &place[..]].concat())?;
    stage.stable().await?;
    plugin_finds_it(stage)?;
    stage.writers().await
}

/// In the namespace that the kubeconfig names, without any option.
fn plugin_finds_it(stage: &Stage) -> Result<()> {
    let folder = tempfile::tempdir()?;
    std::os::unix::fs::symlink(stage.program(), folder.path().join("kubectl-jadeshift"))?;
    let kubeconfig = folder.path().join("kubeconfig");
    fs::write(&kubeconfig, stage.kubectl(&["config", "view", "--raw", "--flatten"])?)?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(folder.path().to_path_buf()).chain(std::env::split_paths(&path));
    let path = std::env::join_paths(folders)?;
    let kubectl = |arguments: &[&str]| {
        let mut command = Command::new("kubectl");
        command.env("KUBECONFIG", &kubeconfig).env("PATH", &path).current_dir(folder.path());
        succeeded(command.args(arguments).output()?, &format!("kubectl {arguments:?}"))
    };
    kubectl(&["config", "set-context", "--current", "--namespace", &stage.namespace])?;
    let info: Value = serde_json::from_slice(&kubectl(&["jadeshift", "info", "--output", "json"])?.stdout)?;
    ensure!(info["phase"]["name"] == "stable", "`kubectl jadeshift info` shows {info}");
    Ok(())
}

fn uninstall(stage: &Stage) -> Result<()> {
    helm(&["uninstall", RELEASE, "--namespace", &stage.namespace, "--ignore-not-found", "--wait", "--timeout", "60s"])?;
    // Its pods too: they may still be at work when their Deployment is no more.
    stage.kubectl(&["wait", "pod", "-l", operators::PODS, "--for=delete", "--timeout=60s"])?;
    Ok(())
}

/// What is there without the chart and without any operator: how many claims.
fn survivors(stage: &Stage) -> Result<usize> {
    stage.kubectl(&["get", "crd", "bluegreens.jadevectordb.io"])?;
    let document = stage.get("bluegreen", "jadevectordb")?;
    ensure!(document["metadata"]["deletionTimestamp"].is_null(), "the deployment is being deleted");
    for kind in ["deployment", "serviceaccount", "role", "rolebinding", "networkpolicy", "service", "pdb"] {
        let left = stage.kubectl(&["get", kind, "-o", "name"])?;
        ensure!(!left.contains(NAME), "left behind: {left}");
    }
    let roles = stage.kubectl(&["get", "clusterroles,clusterrolebindings", "-o", "name"])?;
    ensure!(!roles.contains(NAME), "left behind: {roles}");
    let claims = stage.kubectl(&["get", "persistentvolumeclaims", "-o", "name"])?.lines().count();
    ensure!(claims > 0, "no claim is there any more");
    Ok(claims)
}

fn helm(arguments: &[&str]) -> Result<String> {
    let output = Command::new("helm").args(arguments).output().context("cannot run helm")?;
    Ok(String::from_utf8(succeeded(output, &format!("helm {arguments:?}"))?.stdout)?)
}

/// What a program says to `text`.
fn fed(command: &mut Command, text: &str) -> Result<Output> {
    let mut input = tempfile::tempfile()?;
    input.write_all(text.as_bytes())?;
    std::io::Seek::rewind(&mut input)?;
    let output = command.stdin(Stdio::from(input)).output().context("cannot run it")?;
    succeeded(output, &format!("{command:?}"))
}

fn succeeded(output: Output, what: &str) -> Result<Output> {
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{what}: {}: {said}", output.status);
    Ok(output)
}
