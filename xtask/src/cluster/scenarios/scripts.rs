//! The walk-through of the description, by the scripts that users have: there, back, every canary, a second cycle with the colours
//! exchanged, a switch, what its troubleshooting commands show, and what is refused.

use super::super::place::Place;
use super::super::stage::Stage;
use super::super::traffic::Readers;
use super::manifests::{MANIFESTS, manifest};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// In the place of the document of the main manifest. There is no image of its version: the script has to put its own.
const HASTY: &str = "apiVersion: jadevectordb.io/v1alpha1
kind: BlueGreen
metadata: {name: jadevectordb, namespace: jadevectordb-system}
spec:
  mode: development
  version: 0.0.0
  rollout:
    holdBeforeSteps: true
    watchMs: 8000
    steps:
    - {sharePercent: 10, durationMinMs: 1000, requestsMin: 20}
    - {sharePercent: 50, durationMinMs: 1000, requestsMin: 20}
    - {sharePercent: 90, durationMinMs: 1000, requestsMin: 20}
    - {sharePercent: 100, durationMinMs: 1000, requestsMin: 20}
  evidence:
    evidenceMin: 0
    replaysMin: 5
    replaysPerSecond: 200
    latencyRatioMax: {p50: 9, p90: 9, p99: 9, limit: 9}
  cluster:
    router: {kind: gateway}
    gateway: {resources: {requests: {cpu: 10m}}}
    storage: {size: 1Gi}
    resources: {requests: {cpu: 10m, memory: 64Mi}}
";

pub async fn walk_through(stage: &Stage) -> Result<String> {
    let folder = tempfile::tempdir()?;
    let scripts = Scripts { stage, document: folder.path().join("hasty.yaml") };
    fs::write(&scripts.document, hasty()?)?;
    without_a_deployment(&scripts, folder.path())?;

    scripts.run("deploy-blue-green.sh 1.0.0 1.1.0 1 deploy")?;
    filled_and_waiting(&scripts)?;
    let writers = stage.writers().await?;
    let readers = Readers::start(writers.api());

    both_are_well(&scripts)?;
    troubleshooting(stage)?;
    there_and_back(&scripts)?;
    canaries(&scripts)?;
    second_cycle(&scripts)?;
    switches(&scripts)?;

    let shots = readers.stop().await?;
    let written = writers.stop().await?;
    shots.must_not_fail()?;
    written.none_failed()?;
    written.nothing_lost().await?;
    without_shares(&scripts)?;
    Ok(format!("{shots}, {} writes, 0 failed, 0 lost", written.acknowledged()))
}

/// The main manifest with a document that is quick.
fn hasty() -> Result<String> {
    let text = fs::read_to_string(manifest(MANIFESTS[0]))?;
    let (documents, others): (Vec<&str>, Vec<&str>) =
        text.split("---\n").partition(|part| part.lines().any(|line| line == "kind: BlueGreen"));
    ensure!(documents.len() == 1 && others.len() > 3, "the main manifest has other parts than expected");
    Ok([others, vec![HASTY]].concat().join("---\n"))
}

/// What cannot be done is said with what mends it, and nothing is made.
fn without_a_deployment(scripts: &Scripts, folder: &Path) -> Result<()> {
    let purple = "colour (argument 1): `purple` is not allowed: blue or green";
    scripts.refuses(&mut scripts.command("switch-traffic.sh purple NAMESPACE"), 2, purple)?;
    scripts.refuses(
        &mut scripts.command("switch-traffic.sh green NAMESPACE"),
        4,
        "there is no BlueGreen jadevectordb in",
    )?;
    let unknown = "there is no namespace no-such-place";
    for line in [
        "switch-traffic.sh green no-such-place",
        "health-check.sh no-such-place",
        "canary-deploy.sh no-such-place half",
        "rollback-monitor.sh no-such-place",
        "deploy-blue-green.sh no-such-place info",
    ] {
        scripts.refuses(&mut scripts.command(line), 2, unknown)?;
    }
    let deploy = || scripts.command("deploy-blue-green.sh 1.0.0 1.1.0 0 deploy");
    let mut elsewhere = deploy();
    elsewhere.env("NAMESPACE", "no-such-place");
    scripts.refuses(&mut elsewhere, 2, "NAMESPACE: `no-such-place` is not allowed: there is no such namespace")?;
    let mut another = deploy();
    let of_another_version = folder.join("another.yaml");
    fs::write(&of_another_version, HASTY.replace("v1alpha1", "v9"))?;
    another.env("DOCUMENT", &of_another_version);
    scripts.refuses(&mut another, 2, "DOCUMENT: ")?;
    let mut hasty = deploy();
    let holds_nothing = folder.join("holds-nothing.yaml");
    fs::write(&holds_nothing, HASTY.replace("holdBeforeSteps: true", "holdBeforeSteps: false"))?;
    hasty.env("DOCUMENT", &holds_nothing);
    scripts.refuses(&mut hasty, 2, "spec.rollout.holdBeforeSteps: true")?;
    let nobody = kubeconfig_of_nobody(scripts.stage, folder)?;
    let (mut may_not_deploy, mut may_not_look) = (deploy(), scripts.command("deploy-blue-green.sh NAMESPACE info"));
    scripts.refuses(may_not_deploy.env("KUBECONFIG", &nobody), 3, "forbidden")?;
    scripts.refuses(may_not_look.env("KUBECONFIG", &nobody), 3, "jadeshift-viewer")?;
    for mut command in [deploy(), scripts.command("health-check.sh NAMESPACE")] {
        scripts.refuses(command.env("KUBECONFIG", folder.join("missing")), 4, "name a cluster as for kubectl")?;
    }
    let made = scripts.stage.kubectl(&["get", "bluegreens,networkpolicies,deployments", "--output", "name"])?;
    ensure!(made.trim().is_empty(), "made in spite of refusals: {made}");
    Ok(())
}

/// An account that may nothing.
fn kubeconfig_of_nobody(stage: &Stage, folder: &Path) -> Result<PathBuf> {
    stage.kubectl(&["create", "serviceaccount", "nobody"])?;
    let token = stage.kubectl(&["create", "token", "nobody"])?;
    Place::of_this_workspace()?.write_kubeconfig(folder.join("nobody"), &token, None)
}

/// The new version has everything, and no reader.
fn filled_and_waiting(scripts: &Scripts) -> Result<()> {
    let stage = scripts.stage;
    let info = stage.info()?;
    ensure!(info["phase"]["name"] == "shifting" && info["share_percent"]["green"] == 0, "it does not wait: {info}");
    ensure!(info["versions"] == json!({"blue": "1.0.0", "green": "1.1.0"}), "{}", info["versions"]);
    let policies = stage.kubectl(&["get", "networkpolicies,poddisruptionbudgets", "--output", "name"])?;
    ensure!(policies.lines().count() == 4, "two policies and two budgets: {policies}");
    scripts.refuses_now("deploy-blue-green.sh 1.0.0 1.1.0 0 deploy", 3, "is under way")?;
    scripts.refuses_now("deploy-blue-green.sh 1.0.0 1.3.0 0 promote", 3, "green runs 1.1.0")
}

fn both_are_well(scripts: &Scripts) -> Result<()> {
    for line in ["health-check.sh NAMESPACE", "health-check.sh NAMESPACE /health/db 30"] {
        let said = scripts.run(line)?;
        for wanted in ["healthy: blue is active", "blue, version 1.0.0: /health", "green, version 1.1.0: /health"] {
            ensure!(said.contains(wanted), "{line} does not say `{wanted}`: {said}");
        }
    }
    let mut odd = scripts.command("health-check.sh NAMESPACE /no-such-path 1");
    scripts.refuses(&mut odd, 1, "green, version 1.1.0: /no-such-path is NOT answered")
}

/// What the description tells people to look at.
fn troubleshooting(stage: &Stage) -> Result<()> {
    let says = |what: &[&str], wanted: &[&[&str]]| -> Result<()> {
        let said = stage.kubectl(what)?;
        for words in wanted {
            let found =
                said.lines().any(|line| words.iter().all(|word| line.split_whitespace().any(|one| one == *word)));
            ensure!(found, "kubectl {what:?} has no line with {words:?}: {said}");
        }
        Ok(())
    };
    says(&["get", "deployments"], &[&["jadevectordb-blue", "1/1"], &["jadevectordb-green", "1/1"]])?;
    let services = [["jadevectordb-service"], ["jadevectordb-blue-service"], ["jadevectordb-green-service"]];
    says(&["get", "services"], &services.each_ref().map(|service| service.as_slice()))?;
    says(&["describe", "service", "jadevectordb-service"], &[&["Selector:", "app=jadevectordb,component=gateway"]])?;
    for colour in ["blue", "green"] {
        let labels = format!("app=jadevectordb,version={colour}");
        says(&["get", "pods", "--selector", &labels], &[&["1/1", "Running"]])?;
        let logs = stage.kubectl(&["logs", "--selector", &labels])?;
        ensure!(!logs.trim().is_empty(), "{colour} has logged nothing");
        let slices = format!("kubernetes.io/service-name=jadevectordb-{colour}-service");
        let addresses = "jsonpath={.items[*].endpoints[*].addresses[*]}";
        let addresses = stage.kubectl(&["get", "endpointslices", "--selector", &slices, "--output", addresses])?;
        ensure!(addresses.split_whitespace().count() == 1, "{colour} has the endpoints `{addresses}`");
    }
    Ok(())
}

fn there_and_back(scripts: &Scripts) -> Result<()> {
    scripts.run_saying("deploy-blue-green.sh 1.0.0 1.1.0 1 promote", "promoted: green serves version 1.1.0")?;
    let info = scripts.run("deploy-blue-green.sh NAMESPACE info")?;
    ensure!(info.contains("green (active)") && info.contains("1.1.0"), "{info}");
    scripts.run_saying("rollback-monitor.sh NAMESPACE 10", "no rollout is under way")?;
    scripts.refuses_now("switch-traffic.sh green NAMESPACE", 3, "green is active already")?;
    scripts.refuses_now("deploy-blue-green.sh 1.0.0 1.1.0 1 promote", 3, "no rollout is under way")?;
    scripts.run_saying("deploy-blue-green.sh 1.0.0 1.1.0 1 rollback", "rolled back: blue serves version 1.0.0")
}

fn canaries(scripts: &Scripts) -> Result<()> {
    scripts.refuses_now("canary-deploy.sh NAMESPACE half", 3, "no rollout is under way")?;
    scripts.run("deploy-blue-green.sh 1.0.0 1.2.0")?;
    for (kind, share) in [("partial", 10), ("half", 50), ("mostly-green", 90), ("partial", 10)] {
        let said = format!("green has {share} % of the reads with version 1.2.0");
        scripts.run_saying(&format!("canary-deploy.sh NAMESPACE {kind}"), &said)?;
        let info = scripts.stage.info()?;
        ensure!(info["share_in_effect"] == json!({"blue": 100 - share, "green": share}), "{kind}: {info}");
    }
    scripts.run_saying("canary-deploy.sh NAMESPACE rollback", "rolled back: blue serves version 1.0.0")?;
    scripts.run("deploy-blue-green.sh 1.0.0 1.2.0")?;
    scripts.run("canary-deploy.sh NAMESPACE half")?;
    scripts.run_saying("canary-deploy.sh NAMESPACE full-switch", "green serves version 1.2.0")?;
    scripts.run_saying("rollback-monitor.sh NAMESPACE 60", "promoted: green serves version 1.2.0")
}

/// Green is the old one now.
fn second_cycle(scripts: &Scripts) -> Result<()> {
    scripts.refuses_now("deploy-blue-green.sh 1.0.0 1.3.0 0 deploy", 3, "green serves version 1.2.0")?;
    scripts.run_saying("deploy-blue-green.sh 1.2.0 1.3.0 0 deploy", "version 1.3.0 waits at 0 % on blue")?;
    scripts.run_saying("canary-deploy.sh NAMESPACE partial", "blue has 10 % of the reads with version 1.3.0")?;
    scripts.run_saying("deploy-blue-green.sh 1.2.0 1.3.0 0 promote", "promoted: blue serves version 1.3.0")
}

/// There by hand, and back while it is watched: whoever follows hears of it.
fn switches(scripts: &Scripts) -> Result<()> {
    scripts.run_saying("switch-traffic.sh green NAMESPACE", "green serves version 1.2.0")?;
    let mut monitor = scripts.command("rollback-monitor.sh NAMESPACE 60");
    let mut monitor = monitor.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().context("cannot run a script")?;
    let mut lines = BufReader::new(monitor.stdout.take().context("the monitor has no output")?).lines();
    lines.next().context("the monitor says nothing")??;
    scripts.run_saying("switch-traffic.sh blue NAMESPACE", "blue serves version 1.3.0")?;
    let rest = lines.collect::<Result<Vec<String>, _>>()?;
    let ended = monitor.wait()?;
    ensure!(ended.code() == Some(1), "the monitor ended with {ended} after a rollback: {rest:?}");
    Ok(())
}

/// A share is nothing for a router that leads to one side or the other.
fn without_shares(scripts: &Scripts) -> Result<()> {
    let router = json!({"spec": {"cluster": {"router": {"kind": "service"}}}}).to_string();
    scripts.stage.kubectl(&["patch", "bluegreen", "jadevectordb", "--type=merge", "--patch", &router])?;
    scripts.refuses_now("canary-deploy.sh NAMESPACE partial", 3, "spec.cluster.router.kind")
}

/// The scripts, as somebody starts them who has this program and kubectl on the PATH.
struct Scripts<'a> {
    stage: &'a Stage,
    document: PathBuf,
}

impl Scripts<'_> {
    /// A script with its arguments; the word `NAMESPACE` stands for the namespace of this scenario.
    fn command(&self, line: &str) -> Command {
        let mut words =
            line.split(' ').map(|word| if word == "NAMESPACE" { self.stage.namespace.as_str() } else { word });
        let mut command = self.stage.script(words.next().unwrap_or_default());
        command
            .args(words)
            .env("NAMESPACE", &self.stage.namespace)
            .env("DOCUMENT", &self.document)
            .env("TIMEOUT", "90");
        command
    }

    /// What it said, on both streams; it must succeed.
    fn run(&self, line: &str) -> Result<String> {
        let output = self.command(line).output().with_context(|| format!("cannot run {line}"))?;
        let said = said(&output);
        ensure!(output.status.success(), "{line}: {}: {said}", output.status);
        Ok(said)
    }

    fn run_saying(&self, line: &str, wanted: &str) -> Result<()> {
        let said = self.run(line)?;
        ensure!(said.contains(wanted), "{line} does not say `{wanted}`: {said}");
        Ok(())
    }

    /// It must end with `code` and say why.
    fn refuses(&self, command: &mut Command, code: i32, why: &str) -> Result<()> {
        let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
        let said = said(&output);
        let right = output.status.code() == Some(code) && said.contains(why);
        ensure!(right, "{command:?} ended with {}, wanted was {code} and `{why}`: {said}", output.status);
        Ok(())
    }

    /// The same, while there is a deployment: it stays as it is.
    fn refuses_now(&self, line: &str, code: i32, why: &str) -> Result<()> {
        let stands = || -> Result<Value> {
            let info = self.stage.info()?;
            Ok(json!([info["phase"]["name"], info["active"], info["versions"], info["share_percent"]]))
        };
        let before = stands()?;
        self.refuses(&mut self.command(line), code, why)?;
        let after = stands()?;
        ensure!(before == after, "{line} was refused, and changed {before} to {after}");
        Ok(())
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}
