//! The command line on a cluster: a deployment is put there, taken away, and put there again with its data and its password. Who may
//! do what, which of several deployments is meant, and what an old definition does not understand.

use super::super::stage::Stage;
use super::operators::Claims;
use super::people::{NOT_RUNNING, People, REFUSED, TIMED_OUT, USAGE, document, must};
use anyhow::{Context, Result, ensure};
use kubernetes::resource::KIND_PLURAL_GROUP;
use serde_json::{Value, json};
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The API server takes up a changed definition by a watch of its own.
const TAKEN_UP_WITHIN: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(100);

pub async fn there_gone_and_there(stage: &Stage) -> Result<String> {
    let folder = tempfile::tempdir()?;
    let people = People::make(stage, folder.path())?;
    let document = document(stage, "jadevectordb");

    let began = Instant::now();
    let reached = put(stage, &people, &document)?;
    let first = began.elapsed();
    let service = format!("jadevectordb-service.{}:8080", stage.namespace);
    ensure!(reached["service"] == *service && reached["version"] == "1.0.0", "{reached}");
    let claims = Claims::of(stage)?;
    let writers = stage.writers().await?;
    let password = stage.credential("admin-password")?;
    let login = json!({"username": "admin", "password": password});
    writers.api().json("POST", "/v1/auth/login", &login, 200).await?;

    who_may_do_what(stage, &people).await?;
    several(stage, &people)?;
    old_definition(stage).await?;

    let mut written = writers.stop().await?;
    written.none_failed()?;
    let pods = || stage.kubectl(&["get", "pods,deployments,services", "--output", "name"]);
    ensure!(!pods()?.trim().is_empty(), "nothing runs");
    let said = people.jadeshift(stage, &people.admin, "down")?.output()?;
    must(&said, 0, "its claims, its password and its state are kept")?;
    ensure!(pods()?.trim().is_empty(), "`down` has ended, and these are there: {}", pods()?);
    claims.must_be_there(stage)?;
    must(&people.jadeshift(stage, &people.admin, "down")?.output()?, NOT_RUNNING, "there is no BlueGreen")?;

    let began = Instant::now();
    put(stage, &people, &document)?;
    let again = began.elapsed();
    let api = written.look_at(&stage.main_service().await?)?.clone();
    written.nothing_lost().await?;
    api.json("POST", "/v1/auth/login", &login, 200).await.context("the password before")?;
    // Without a document, what is there stays.
    must(&people.jadeshift(stage, &people.promoter, "up")?.output()?, 0, "jadevectordb serves version 1.0.0")?;
    Ok(format!(
        "up after {:.1} s, up again after {:.1} s, {} writes kept in between",
        first.as_secs_f64(),
        again.as_secs_f64(),
        written.acknowledged()
    ))
}

/// By standard input; the answer is where it is reached.
fn put(stage: &Stage, people: &People, document: &str) -> Result<Value> {
    let mut up = people.jadeshift(stage, &people.admin, "up --output json --file -")?;
    let mut up = up.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    up.stdin.take().context("no way to jadeshift")?.write_all(document.as_bytes())?;
    let output = up.wait_with_output()?;
    must(&output, 0, "")?;
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Who looks does not promote, who promotes takes nothing away, and a refusal leaves the object as it was.
async fn who_may_do_what(stage: &Stage, people: &People) -> Result<()> {
    must(&people.jadeshift(stage, &people.viewer, "info")?.output()?, 0, "1.0.0")?;
    must(&people.jadeshift(stage, &people.viewer, "health")?.output()?, 0, "healthy")?;
    let generation =
        || Ok::<_, anyhow::Error>(stage.get("bluegreen", "jadevectordb")?["metadata"]["generation"].clone());
    let before = generation()?;
    for (who, line) in [
        (&people.viewer, "deploy 1.1.0"),
        (&people.viewer, "rollback"),
        (&people.viewer, "down"),
        (&people.promoter, "down"),
    ] {
        must(&people.jadeshift(stage, who, line)?.output()?, REFUSED, "forbidden").with_context(|| line.to_string())?;
    }
    ensure!(generation()? == before, "what was forbidden changed the object");
    must(&people.jadeshift(stage, &people.promoter, "deploy 1.1.0")?.output()?, 0, "")?;
    must(&people.jadeshift(stage, &people.promoter, "rollback --reason no")?.output()?, 0, "")?;
    let back = |info: &Value| info["history"][0]["outcome"] == "rolled_back" && info["phase"]["name"] == "stable";
    stage.until("the rollout to be taken back", back).await?;
    let said = people.jadeshift(stage, &people.promoter, "promote")?.output()?;
    must(&said, REFUSED, "no rollout is under way")
}

/// Of several deployments, a command is for the one that it names.
fn several(stage: &Stage, people: &People) -> Result<()> {
    // Its pods find no volume.
    stage.apply(&document(stage, "other").replace("size: 1Gi", "size: 1Mi, className: nowhere"))?;
    for line in ["info", "deploy 1.1.0", "down", "up"] {
        let said = people.jadeshift(stage, &people.admin, line)?.output()?;
        must(&said, USAGE, "choose one with --name").with_context(|| line.to_string())?;
    }
    must(&people.jadeshift(stage, &people.admin, "info --name jadevectordb")?.output()?, 0, "1.0.0")?;
    let said = people.jadeshift(stage, &people.admin, "up --name other --timeout-ms 2000")?.output()?;
    must(&said, TIMED_OUT, "not within 2000 ms; last seen: ")?;
    must(&people.jadeshift(stage, &people.admin, "down --name other")?.output()?, 0, "other in namespace")
}

/// A definition that knows less than this program is named, and nothing is asked of it by half.
async fn old_definition(stage: &Stage) -> Result<()> {
    let whole = stage.get("crd", KIND_PLURAL_GROUP)?;
    let path = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/request/properties/acceptLoss";
    ensure!(whole.pointer(path).is_some(), "the definition has another shape than expected");
    let patch = json!([{"op": "remove", "path": path}]).to_string();
    stage.kubectl(&["patch", "crd", KIND_PLURAL_GROUP, "--type=json", "--patch", &patch])?;
    let found = refused_by_definition(stage).await;
    // Whatever came of it, the others want theirs.
    let rendered = Command::new(stage.program()).args(["render", "crd"]).output()?;
    stage.apply(&String::from_utf8(rendered.stdout)?)?;
    found?;
    let began = Instant::now();
    while stage.try_jadeshift(&["pause"])?.status.code() != Some(REFUSED) {
        ensure!(began.elapsed() < TAKEN_UP_WITHIN, "the definition is whole, and a command does not work again");
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

/// Until the API server has taken it up, the state of the deployment is what refuses.
async fn refused_by_definition(stage: &Stage) -> Result<()> {
    let began = Instant::now();
    loop {
        let said = stage.try_jadeshift(&["pause"])?;
        if said.status.code() != Some(REFUSED) {
            return must(&said, USAGE, "`jadeshift install` renews it");
        }
        ensure!(began.elapsed() < TAKEN_UP_WITHIN, "an old definition is not noticed");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
