//! The operator's rights: an operator with the installed account does its work, and without any one of its rules it says what it
//! may not do. No rule is there for nothing, and none is missing.

use super::super::place::Place;
use super::super::stage::Stage;
use super::operators::{self, Beside, Claims};
use super::service::HASTY;
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long an operator may take to miss a right.
const MISSED_WITHIN: Duration = Duration::from_secs(10);
/// The API server learns of a changed role by a watch.
const KNOWN_WITHIN: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Makes the API server ask for the right to own what is made.
const OWNING_PLUGIN: &str = "OwnerReferencesPermissionEnforcement";
/// The roles of the operator, with the namespace of each.
const ROLES: [(&str, &str, Option<&str>); 3] = [
    ("clusterrole", "jadeshift-operator", None),
    ("role", "jadeshift-operator-lease", Some(operators::NAMESPACE)),
    ("clusterrole", "jadeshift-operator-capacity", None),
];

/// A role of the operator, as it was installed.
struct Role {
    kind: &'static str,
    name: &'static str,
    namespace: Option<&'static str>,
    rules: Vec<Value>,
}

/// What has to be done so that a right is missed.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Occasion {
    /// An operator begins to work.
    Start,
    /// There is a deployment that is new.
    NewDeployment,
    /// A rollout begins.
    Rollout,
}

pub async fn every_rule(stage: &Stage) -> Result<String> {
    operators::as_installed(stage)?;
    // A namespace with two deployments would want every command to name one.
    let new = Stage::open(&Place::of_this_workspace()?, "rights-new")?;
    stage.deploy_document(&HASTY.replace("watchMs: 8000", "watchMs: 60000"))?;
    stage.stable().await?;
    let claims = Claims::of(stage)?;
    let writers = stage.writers().await?;

    let roles = ROLES.map(|(kind, name, namespace)| Role::read(stage, kind, name, namespace));
    let roles = roles.into_iter().collect::<Result<Vec<Role>>>()?;
    operators::none(stage)?;
    let played = each(stage, &new, &roles).await;
    // Whatever became of it, the other scenarios want their operator back.
    let given_back = roles.iter().try_for_each(|role| role.give(stage, &role.rules));
    operators::as_installed(stage)?;
    let said = played?;
    given_back?;

    operators::settled(stage).await?;
    new.close()?;
    claims.must_be_there(stage)?;
    let written = writers.stop().await?;
    written.nothing_lost().await?;
    written.none_failed().context("requests need no operator")?;
    Ok(format!("{said}; {} writes meanwhile, 0 failed, 0 lost", written.acknowledged()))
}

/// First all rights, then all but one.
async fn each(stage: &Stage, new: &Stage, roles: &[Role]) -> Result<String> {
    let folder = tempfile::tempdir()?;
    let account = operators::account(stage, folder.path())?;
    with_all(stage, new, &account).await.context("with all rights")?;
    let owning_is_asked_for = api_server_asks_for_owning()?;
    let (mut missed, mut slowest) = (0, Duration::ZERO);
    let mut skipped = "";
    for role in roles {
        for position in 0..role.rules.len() {
            let rule = &role.rules[position];
            if names(&rule["resources"]).contains(&"bluegreens/finalizers") && !owning_is_asked_for {
                skipped = ", one is of no use here: the API server does not ask for it";
                continue;
            }
            let began = Instant::now();
            let without = one(stage, new, &account, role, position).await;
            without.with_context(|| format!("without {} {} of {}", rule["verbs"], rule["resources"], role.name))?;
            missed += 1;
            slowest = slowest.max(began.elapsed());
        }
    }
    Ok(format!("each of {missed} rules was missed, the last after {:.1} s{skipped}", slowest.as_secs_f64()))
}

/// A rollout there and back, and a new deployment: nothing is forbidden.
async fn with_all(stage: &Stage, new: &Stage, account: &Path) -> Result<()> {
    let operator = started(stage, account)?;
    make_new_deployment(new, "all")?;
    rollout(stage).await?;
    let began = Instant::now();
    while new.kubectl(&["get", "deployment", "all-blue", "--ignore-not-found", "-o", "name"])?.is_empty() {
        ensure!(began.elapsed() < MISSED_WITHIN, "a new deployment is not begun");
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let log = operator.log()?;
    let forbidden = log.lines().find(|line| line.contains("forbidden"));
    ensure!(forbidden.is_none(), "{}", forbidden.unwrap_or_default());
    Ok(())
}

/// An operator without one rule says what it may not do.
async fn one(stage: &Stage, new: &Stage, account: &Path, role: &Role, position: usize) -> Result<()> {
    let mut rules = role.rules.clone();
    let rule = rules.remove(position);
    role.give(stage, &rules)?;
    let missing = role.missing(&rule).await?;
    ensure!(!missing.is_empty(), "another rule gives the same");
    let texts: Vec<String> = missing
        .iter()
        .map(|resource| match *resource {
            "bluegreens/finalizers" => "cannot set blockOwnerDeletion".to_string(),
            resource => format!("resource \"{resource}\""),
        })
        .collect();
    let occasion = match missing[0] {
        "bluegreens/finalizers" => Occasion::NewDeployment,
        "events" | "nodes" | "storageclasses" => Occasion::Rollout,
        _ => Occasion::Start,
    };
    let operator = started(stage, account)?;
    match occasion {
        Occasion::Start => (),
        Occasion::NewDeployment => make_new_deployment(new, "owned")?,
        Occasion::Rollout => rollout(stage).await?,
    }
    operator.says(&texts, MISSED_WITHIN).await?;
    drop(operator);
    role.give(stage, &role.rules)?;
    role.until(&rule, true).await
}

/// An operator that need not wait until the lease of the one before it ends.
fn started(stage: &Stage, account: &Path) -> Result<Beside> {
    stage.kubectl(&["delete", "lease", operators::HOME, operators::NAME, "--ignore-not-found"])?;
    Beside::start(stage, Some(account), &[])
}

/// There and back.
async fn rollout(stage: &Stage) -> Result<()> {
    let length = |info: &Value| info["history"].as_array().map_or(0, Vec::len);
    let before = length(&stage.info()?);
    // Who has just begun answers when it has looked around.
    stage.jadeshift(&["deploy", "1.1.0"])?;
    stage.jadeshift(&["rollback", "--reason", "as the test wants it"])?;
    stage.until("the end of a rollout", |info| length(info) > before).await?;
    operators::settled(stage).await?;
    Ok(())
}

/// One whose pods no node will ever take, so that it needs no volume.
fn make_new_deployment(new: &Stage, name: &str) -> Result<()> {
    let document = json!({
        "apiVersion": "jadevectordb.io/v1alpha1", "kind": "BlueGreen",
        "metadata": {"name": name, "namespace": new.namespace},
        "spec": {"mode": "development", "cluster": {"storage": {"size": "1Mi", "className": "nowhere"}}},
    });
    new.apply(&document.to_string())
}

/// Whether this machine's API server has the plugin; of another one that is not known.
fn api_server_asks_for_owning() -> Result<bool> {
    let place = Place::of_this_workspace()?;
    let noted = fs::read_to_string(place.of("pids").join("kube-apiserver")).unwrap_or_default();
    let pid = noted.split(' ').next().unwrap_or_default();
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    Ok(String::from_utf8_lossy(&line).contains(OWNING_PLUGIN))
}

fn names(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

impl Role {
    fn read(stage: &Stage, kind: &'static str, name: &'static str, namespace: Option<&'static str>) -> Result<Role> {
        let mut arguments = vec!["get", kind, name, "-o", "json"];
        arguments.extend(namespace.map(|_| operators::HOME));
        let role: Value = serde_json::from_str(&stage.kubectl(&arguments)?)?;
        let rules = role["rules"].as_array().with_context(|| format!("{kind} {name} has no rules"))?.clone();
        ensure!(!rules.is_empty(), "{kind} {name} has no rules");
        Ok(Role { kind, name, namespace, rules })
    }

    fn give(&self, stage: &Stage, rules: &[Value]) -> Result<()> {
        let patch = json!({"rules": rules}).to_string();
        let mut arguments = vec!["patch", self.kind, self.name, "--type=merge", "-p", &patch];
        arguments.extend(self.namespace.map(|_| operators::HOME));
        stage.kubectl(&arguments)?;
        Ok(())
    }

    /// Resources of a removed rule that the operator has no right to any more: another rule may give some.
    async fn missing<'a>(&self, rule: &'a Value) -> Result<Vec<&'a str>> {
        self.until(rule, false).await?;
        let mut missing = Vec::new();
        for resource in names(&rule["resources"]) {
            if !self.allowed(rule, resource)? {
                missing.push(resource);
            }
        }
        Ok(missing)
    }

    /// Waits until the API server knows of what was given or taken, by the first resource of the rule.
    async fn until(&self, rule: &Value, wanted: bool) -> Result<()> {
        let first = *names(&rule["resources"]).first().context("a rule without resources")?;
        let began = Instant::now();
        while self.allowed(rule, first)? != wanted {
            ensure!(began.elapsed() < KNOWN_WITHIN, "the API server does not take up a changed role");
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Whether the operator may do the first thing that the rule is about.
    fn allowed(&self, rule: &Value, resource: &str) -> Result<bool> {
        let verb = *names(&rule["verbs"]).first().context("a rule without verbs")?;
        let group = names(&rule["apiGroups"]).first().copied().unwrap_or_default();
        let (plain, part) = resource.split_once('/').unwrap_or((resource, ""));
        let plain = if group.is_empty() { plain.to_string() } else { format!("{plain}.{group}") };
        let who = format!("--as=system:serviceaccount:{}:{}", operators::NAMESPACE, operators::NAME);
        let mut ask = Place::of_this_workspace()?.kubectl();
        ask.args(["auth", "can-i", verb, &plain, &who]);
        if !part.is_empty() {
            ask.arg(format!("--subresource={part}"));
        }
        match self.namespace {
            Some(_) => ask.arg(operators::HOME),
            None => ask.arg("--all-namespaces"),
        };
        let output = ask.output().context("cannot run kubectl")?;
        match String::from_utf8_lossy(&output.stdout).trim() {
            "yes" => Ok(true),
            answer if answer.starts_with("no") => Ok(false),
            answer => bail!("kubectl auth can-i {verb} {plain}: {answer} {}", String::from_utf8_lossy(&output.stderr)),
        }
    }
}
