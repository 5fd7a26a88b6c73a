//! The operator as it is installed: which of its pods works, how it is killed, and operators beside it. And the state that all of
//! them share.

use super::super::place::Place;
use super::super::processes;
use super::super::stage::{PATIENCE, Stage};
use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Signal, kill_process};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Where it is installed, as an argument of kubectl.
pub const HOME: &str = "--namespace=jadeshift-system";
pub const NAMESPACE: &str = "jadeshift-system";
/// Of its Deployment, its account, its lease and its role.
pub const NAME: &str = "jadeshift-operator";
pub const PODS: &str = "app.kubernetes.io/component=operator";
/// As many as are installed.
const PODS_COUNT: usize = 2;

const LOOK_EVERY: Duration = Duration::from_millis(50);
/// A lease lasts for 10 s, and is looked at every 2 s; a pod that is made anew takes a few more.
const TAKE_OVER_MAX: Duration = Duration::from_secs(30);

/// Who holds the lease: a name for each process, which begins with that of its pod. `None`: nobody does.
pub fn holder(stage: &Stage) -> Result<Option<String>> {
    let query = ["get", "lease", HOME, NAME, "--ignore-not-found", "-o", "jsonpath={.spec.holderIdentity}"];
    Ok(Some(stage.kubectl(&query)?).filter(|holder| !holder.is_empty()))
}

/// Whoever works now, once somebody does; another one than `before`.
pub async fn another_than(stage: &Stage, before: Option<&str>) -> Result<String> {
    let began = Instant::now();
    loop {
        match holder(stage)? {
            Some(now) if before != Some(now.as_str()) => return Ok(now),
            now if began.elapsed() >= TAKE_OVER_MAX => {
                bail!("no other operator works {} s after {before:?}: {now:?}", began.elapsed().as_secs())
            }
            _ => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}

/// Whoever works now in a pod that is there. A process that the kubelet started again while its pod was being deleted may have taken
/// the lease, and does not live to renew it.
pub async fn living_holder(stage: &Stage) -> Result<String> {
    let mut holder = another_than(stage, None).await?;
    while stage.kubectl(&["get", "pod", HOME, pod_of(&holder), "--ignore-not-found", "-o", "name"])?.is_empty() {
        holder = another_than(stage, Some(&holder)).await?;
    }
    Ok(holder)
}

/// Takes the lease from whoever holds it: the next that looks at it has it.
pub fn take_lease_away(stage: &Stage) -> Result<()> {
    let nobody = r#"{"spec":{"holderIdentity":null}}"#;
    stage.kubectl(&["patch", "lease", HOME, NAME, "--type=merge", "-p", nobody])?;
    Ok(())
}

/// Kills the process as a crash of its machine would: nothing is said, and its pod is gone with it. Another pod is made by the
/// Deployment, so that no pause after a crash grows from kill to kill.
pub fn kill(stage: &Stage, pod: &str) -> Result<()> {
    let uid = stage.kubectl(&["get", "pod", HOME, pod, "-o", "jsonpath={.metadata.uid}"])?;
    ensure!(!uid.is_empty(), "the pod {pod} has no uid");
    let processes = processes::in_pods("jadeshift", &uid);
    ensure!(!processes.is_empty(), "no process of {pod} was found");
    for process in processes {
        kill_process(process, Signal::KILL).with_context(|| format!("cannot kill the process of {pod}"))?;
    }
    stage.kubectl(&["delete", "pod", HOME, pod, "--grace-period=0", "--force", "--wait=false"])?;
    Ok(())
}

/// Name of the pod of a holder of the lease.
pub fn pod_of(holder: &str) -> &str {
    holder.split_once('_').map_or(holder, |(pod, _)| pod)
}

/// A pod of the operator that waits for its turn; `None`: it is being made.
pub fn standby(stage: &Stage, holder: &str) -> Result<Option<String>> {
    let query = ["get", "pods", HOME, "-l", PODS, "--field-selector=status.phase=Running", "-o", "json"];
    let pods: Value = serde_json::from_str(&stage.kubectl(&query)?)?;
    let mut waiting = pods["items"].as_array().into_iter().flatten().filter(|pod| {
        let started = pod["status"]["containerStatuses"][0]["started"] == true;
        started && pod["metadata"]["deletionTimestamp"].is_null() && pod["metadata"]["name"] != pod_of(holder)
    });
    Ok(waiting.next().and_then(|pod| Some(pod["metadata"]["name"].as_str()?.to_string())))
}

/// Scales it to none, and waits until no process of it is left.
pub fn none(stage: &Stage) -> Result<()> {
    scale(stage, 0)?;
    stage.kubectl(&["wait", "pod", HOME, "-l", PODS, "--for=delete", "--timeout=60s"])?;
    Ok(())
}

/// As it was installed.
pub fn as_installed(stage: &Stage) -> Result<()> {
    scale(stage, PODS_COUNT)?;
    stage.kubectl(&["rollout", "status", HOME, &format!("deployment/{NAME}"), "--timeout=60s"])?;
    Ok(())
}

fn scale(stage: &Stage, count: usize) -> Result<()> {
    stage.kubectl(&["scale", HOME, &format!("deployment/{NAME}"), &format!("--replicas={count}")])?;
    Ok(())
}

/// The durable state, whatever was shown of it last.
pub fn state(stage: &Stage) -> Result<Value> {
    state_of(&stage.get("bluegreen", "jadevectordb")?)
}

fn state_of(object: &Value) -> Result<Value> {
    let text = object["status"]["state"].as_str().context("there is no state yet")?;
    Ok(serde_json::from_str(text)?)
}

/// Waits until nothing is under way and nothing is asked for, by what is durable, and until that is what people are shown: what a
/// dead operator showed last may be older.
pub async fn settled(stage: &Stage) -> Result<Value> {
    let began = Instant::now();
    let last_run = |of: &Value| of["history"].as_array().and_then(|all| Some(all.last()?["run"]["id"].clone()));
    loop {
        let object = stage.get("bluegreen", "jadevectordb")?;
        let (state, info) = (state_of(&object)?, stage.info()?);
        let answered = object["spec"]["request"]["id"] == object["status"]["request"]["id"];
        let stable = state["phase"]["name"] == "stable" && info["phase"]["name"] == "stable";
        let shown = last_run(&state) == last_run(&info) && !info["share_in_effect"].is_null();
        if answered && stable && shown {
            return Ok(info);
        }
        ensure!(began.elapsed() < PATIENCE, "it does not come to an end: {}: {}", state["phase"], info["why"]);
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The claims of a deployment, by their names and uids: the same after everything that may happen.
pub struct Claims(Vec<(String, String)>);

impl Claims {
    pub fn of(stage: &Stage) -> Result<Claims> {
        let listed: Value = serde_json::from_str(&stage.kubectl(&["get", "persistentvolumeclaims", "-o", "json"])?)?;
        let claims = listed["items"].as_array().context("no list of claims")?.iter().map(|claim| {
            let metadata = &claim["metadata"];
            ensure!(metadata["deletionTimestamp"].is_null(), "the claim {} is being deleted", metadata["name"]);
            Ok((metadata["name"].to_string(), metadata["uid"].to_string()))
        });
        let claims = Claims(claims.collect::<Result<_>>()?);
        ensure!(!claims.0.is_empty(), "no claim is there");
        Ok(claims)
    }

    /// All of them are there still; there may be more.
    pub fn must_be_there(&self, stage: &Stage) -> Result<()> {
        let now = Claims::of(stage)?;
        for (name, uid) in &self.0 {
            ensure!(now.0.contains(&(name.clone(), uid.clone())), "the claim {name} is not what it was");
        }
        Ok(())
    }
}

/// An operator that is a process of this machine, beside those in the cluster, or instead of them. Killed when dropped.
pub struct Beside {
    child: Child,
    log: tempfile::NamedTempFile,
}

impl Beside {
    /// Without `kubeconfig` it has the rights of the cluster's administrator.
    pub fn start(stage: &Stage, kubeconfig: Option<&Path>, arguments: &[&str]) -> Result<Beside> {
        let log = tempfile::NamedTempFile::new()?;
        let mut command = Command::new(stage.program());
        command.args(arguments).arg("operator").env("JADESHIFT_LOG", "debug");
        if let Some(kubeconfig) = kubeconfig {
            command.env("KUBECONFIG", kubeconfig);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log.reopen()?);
        let child = command.spawn().context("cannot start an operator")?;
        Ok(Beside { child, log })
    }

    /// What it said.
    pub fn log(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&fs::read(self.log.path())?).into_owned())
    }

    /// Waits until it has said all of `texts`; an error with the end of its log when it does not.
    pub async fn says(&self, texts: &[String], within: Duration) -> Result<()> {
        let began = Instant::now();
        loop {
            let log = self.log()?;
            let missing: Vec<&String> = texts.iter().filter(|text| !log.contains(text.as_str())).collect();
            if missing.is_empty() {
                return Ok(());
            }
            if began.elapsed() >= within {
                let lines: Vec<&str> = log.lines().filter(|line| !line.contains("DEBUG")).collect();
                let end = lines[lines.len().saturating_sub(5)..].join("\n");
                bail!("within {} s an operator did not say {missing:?}, but:\n{end}", within.as_secs());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // One that has ended by itself is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A kubeconfig with the operator's own account, and so with its rights.
pub fn account(stage: &Stage, folder: &Path) -> Result<PathBuf> {
    let token = stage.kubectl(&["create", "token", HOME, NAME, "--duration=1h"])?;
    Place::of_this_workspace()?.write_kubeconfig(folder.join("kubeconfig"), &token, Some(NAMESPACE))
}
