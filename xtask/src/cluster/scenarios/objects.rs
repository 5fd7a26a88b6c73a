//! Routers of whose controllers none is here: the real API server checks their objects by the real definitions, and they say what
//! was decided. And the objects of monitoring.

use super::super::place::Place;
use super::super::stage::{PATIENCE, Stage};
use super::operators;
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// Rendered from our values, for those who apply files.
const MONITORING: &str = "deployments/blue-green/k8s/monitoring.yaml";
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// A share that no step has.
const CANARY: u64 = 50;

pub async fn accepted(stage: &Stage) -> Result<String> {
    let place = Place::of_this_workspace()?;
    let legacy = Stage::open(&place, "objects-legacy")?;
    let plain = Stage::open(&place, "objects-plain")?;
    refuses_nonsense(stage)?;
    stage.deploy_document(&settings("kind: istio, hostnames: [vectors.example.org], gateways: [mesh, edge/public]"))?;
    legacy
        .deploy_document(&settings("kind: nginxIngress, hostnames: [vectors.example.org], ingressClassName: nginx"))?;
    plain.deploy_document(&settings("kind: ingress, hostnames: [a.example.org, b.example.org]"))?;
    shares(stage, istio).await.context("istio")?;
    shares(&legacy, nginx).await.context("nginxIngress")?;
    all_or_nothing(&plain).await.context("ingress")?;
    for other in [&legacy, &plain] {
        other.close()?;
    }
    let monitoring = monitoring(stage)?;
    Ok(format!("VirtualService, DestinationRules and Ingresses do what was decided; accepted as well: {monitoring}"))
}

fn settings(router: &str) -> String {
    format!(
        "  rollout: {{holdBeforeSteps: true, steps: [{{sharePercent: 10, pause: true}}, {{sharePercent: 100}}]}}\n  \
         evidence: {{evidenceMin: 0, replaysMin: 0}}\n  \
         cluster: {{router: {{{router}}}, storage: {{size: 1Gi}}, resources: {{requests: {{cpu: 10m, memory: 64Mi}}}}}}\n"
    )
}

/// The definitions that are here are the real ones: they know types and bounds.
fn refuses_nonsense(stage: &Stage) -> Result<()> {
    let virtual_service = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "nonsense"},
        "spec": {"hosts": ["x"], "http": [{"route": [{"destination": {"host": "x"}, "weight": "half"}]}]},
    });
    let ingress = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "nonsense"},
        "spec": {"rules": [{"http": {"paths": [{"path": "/"}]}}]},
    });
    let monitor = json!({
        "apiVersion": "monitoring.coreos.com/v1", "kind": "ServiceMonitor", "metadata": {"name": "nonsense"},
        "spec": {"selector": {}, "endpoints": "all"},
    });
    let rule = json!({
        "apiVersion": "monitoring.coreos.com/v1", "kind": "PrometheusRule", "metadata": {"name": "nonsense"},
        "spec": {"groups": [{"name": "x", "rules": [{"alert": "X", "for": "a while"}]}]},
    });
    for object in [virtual_service, ingress, monitor, rule] {
        match dry_run(stage, &object.to_string()) {
            Err(error) if format!("{error:#}").contains("nvalid") => (),
            Err(error) => return Err(error.context(format!("{} was refused for another reason", object["kind"]))),
            Ok(said) => bail!("nonsense was accepted: {said}"),
        }
    }
    Ok(())
}

/// What the API server says to objects that are not made.
fn dry_run(stage: &Stage, yaml: &str) -> Result<String> {
    let file = tempfile::NamedTempFile::new()?;
    fs::write(file.path(), yaml)?;
    stage.kubectl(&["apply", "--dry-run=server", "-f", &file.path().display().to_string()])
}

type Shares = fn(&Stage) -> Result<[u64; 2]>;

/// A rollout to a share that a person asks for, and back; `of`: what the objects say.
async fn shares(stage: &Stage, of: Shares) -> Result<()> {
    stage.stable().await?;
    say(stage, of, [100, 0]).await?;
    stage.jadeshift(&["deploy", "1.1.0"])?;
    let waits = |info: &Value| info["phase"]["name"] == "shifting" && info["share_percent"]["green"] == 0;
    stage.until("the candidate to be ready", waits).await?;
    stage.jadeshift(&["promote"])?;
    stage.until("the first step", |info| info["share_percent"]["green"] == 10).await?;
    say(stage, of, [90, 10]).await?;
    stage.jadeshift(&["canary", "half"])?;
    say(stage, of, [100 - CANARY, CANARY]).await?;
    let in_effect = |info: &Value| info["share_in_effect"]["green"] == CANARY;
    stage.until("the share to be in effect", in_effect).await?;
    stage.jadeshift(&["rollback", "--reason", "as the test wants it"])?;
    stage.until("the end of the rollout", |info| info["history"][0]["outcome"] == "rolled_back").await?;
    say(stage, of, [100, 0]).await
}

/// Waits until the objects give blue and green these shares.
async fn say(stage: &Stage, of: Shares, wanted: [u64; 2]) -> Result<()> {
    let began = Instant::now();
    loop {
        let shares = of(stage);
        match shares {
            Ok(shares) if shares == wanted => return Ok(()),
            _ if began.elapsed() < PATIENCE => tokio::time::sleep(LOOK_EVERY).await,
            other => bail!("the objects do not come to {wanted:?}: {other:?}"),
        }
    }
}

fn istio(stage: &Stage) -> Result<[u64; 2]> {
    let service = stage.get("virtualservices.networking.istio.io", "jadevectordb")?;
    is_ours(&service)?;
    let spec = &service["spec"];
    ensure!(spec["hosts"] == json!(["vectors.example.org"]), "hosts {}", spec["hosts"]);
    ensure!(spec["gateways"] == json!(["mesh", "edge/public"]), "gateways {}", spec["gateways"]);
    for colour in ["blue", "green"] {
        let rule = stage.get("destinationrules.networking.istio.io", &format!("jadevectordb-{colour}"))?;
        is_ours(&rule)?;
        ensure!(rule["spec"]["host"] == format!("jadevectordb-{colour}-service").as_str(), "{}", rule["spec"]);
    }
    let routes = spec["http"].as_array().and_then(|rules| rules.last()).context("no rules")?["route"].clone();
    let weight = |colour: &str| {
        let name = format!("jadevectordb-{colour}-service");
        let mut of_colour =
            routes.as_array().into_iter().flatten().filter(|route| route["destination"]["host"] == name.as_str());
        // The API server may leave out a weight of 0.
        of_colour
            .next()
            .map(|route| route["weight"].as_u64().unwrap_or(0))
            .with_context(|| format!("no route to {colour}"))
    };
    Ok([weight("blue")?, weight("green")?])
}

fn nginx(stage: &Stage) -> Result<[u64; 2]> {
    let (main, canary) = (stage.get("ingress", "jadevectordb")?, stage.get("ingress", "jadevectordb-canary")?);
    for (ingress, leads_to) in [(&main, "jadevectordb-blue-service"), (&canary, "jadevectordb-green-service")] {
        is_ours(ingress)?;
        ensure!(led(ingress) == [leads_to], "{} leads to {:?}", ingress["metadata"]["name"], led(ingress));
        ensure!(ingress["spec"]["ingressClassName"] == "nginx", "{}", ingress["spec"]);
    }
    let annotation =
        |name: &str| canary["metadata"]["annotations"][format!("nginx.ingress.kubernetes.io/{name}")].clone();
    ensure!(annotation("canary") == "true", "no canary: {}", canary["metadata"]["annotations"]);
    let green =
        annotation("canary-weight").as_str().context("no weight")?.parse().context("a weight that is no number")?;
    ensure!(green <= 100, "a weight of {green}");
    Ok([100 - green, green])
}

/// Services that an Ingress leads to, one for each host.
fn led(ingress: &Value) -> Vec<&str> {
    let rules = ingress["spec"]["rules"].as_array().into_iter().flatten();
    rules.filter_map(|rule| rule["http"]["paths"][0]["backend"]["service"]["name"].as_str()).collect()
}

/// A plain Ingress: both hosts lead to one environment, and to the other after the switch.
async fn all_or_nothing(stage: &Stage) -> Result<()> {
    stage.stable().await?;
    let shares = |stage: &Stage| {
        let ingress = stage.get("ingress", "jadevectordb")?;
        is_ours(&ingress)?;
        match led(&ingress)[..] {
            ["jadevectordb-blue-service", "jadevectordb-blue-service"] => Ok([100, 0]),
            ["jadevectordb-green-service", "jadevectordb-green-service"] => Ok([0, 100]),
            ref other => bail!("it leads to {other:?}"),
        }
    };
    say(stage, shares, [100, 0]).await?;
    stage.jadeshift(&["deploy", "1.1.0"])?;
    stage.until("the candidate to be ready", |info| info["phase"]["name"] == "shifting").await?;
    stage.jadeshift(&["promote", "--full"])?;
    say(stage, shares, [0, 100]).await?;
    stage.until("the candidate to be watched", |info| info["phase"]["name"] == "watching").await?;
    stage.jadeshift(&["rollback", "--reason", "as the test wants it"])?;
    stage.until("the end of the rollout", |info| info["history"][0]["outcome"] == "rolled_back").await?;
    say(stage, shares, [100, 0]).await?;
    operators::settled(stage).await?;
    Ok(())
}

/// Applied by the operator, and gone with its deployment.
fn is_ours(object: &Value) -> Result<()> {
    let metadata = &object["metadata"];
    let name = &metadata["name"];
    ensure!(metadata["ownerReferences"][0]["kind"] == "BlueGreen", "{name} belongs to {}", metadata["ownerReferences"]);
    ensure!(metadata["labels"]["app.kubernetes.io/managed-by"] == "jadeshift", "{name} has {}", metadata["labels"]);
    Ok(())
}

/// The file as it is applied, in the namespace of this scenario instead of its own, which need not be there.
fn monitoring(stage: &Stage) -> Result<String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(MONITORING);
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {MONITORING}"))?;
    let here = |line: &str| match line.split_once("namespace:") {
        Some((before, _)) if before.trim().is_empty() => format!("{before}namespace: {}", stage.namespace),
        _ => line.to_string(),
    };
    let text: Vec<String> = text.lines().map(here).collect();
    let said = dry_run(stage, &text.join("\n"))?;
    let count = |kind: &str| said.lines().filter(|line| line.starts_with(kind)).count();
    let (monitors, rules) =
        (count("servicemonitor.monitoring.coreos.com/"), count("prometheusrule.monitoring.coreos.com/"));
    ensure!(monitors > 0 && rules > 0, "{monitors} ServiceMonitors and {rules} PrometheusRules in {MONITORING}");
    Ok(format!("{monitors} ServiceMonitors and {rules} PrometheusRules"))
}
