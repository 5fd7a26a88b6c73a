//! The command line on a cluster: a deployment is put there, taken away, and put there again with its data and its password. Who may
//! do what. What cannot be done is refused with what mends it and its exit code, and nothing is changed.

use super::super::place::Place;
use super::super::stage::Stage;
use super::operators::Claims;
use super::service::HASTY;
use anyhow::{Context, Result, ensure};
use base64::Engine;
use serde_json::{Value, json};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

const USAGE: i32 = 2;
const REFUSED: i32 = 3;
const NOT_RUNNING: i32 = 4;
/// The API server takes up a changed definition by a watch of its own.
const TAKEN_UP_WITHIN: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(100);
const DEFINITION: &str = "bluegreens.jadevectordb.io";

/// The people of this story, each with an account that has one role.
struct People {
    admin: PathBuf,
    promoter: PathBuf,
    viewer: PathBuf,
    nobody: PathBuf,
}

pub async fn there_gone_and_there(stage: &Stage) -> Result<String> {
    let folder = tempfile::tempdir()?;
    let people = People::make(stage, folder.path())?;
    let document = document(stage, "jadevectordb");
    before_there_is_any(stage, &people, folder.path(), &document)?;

    let began = Instant::now();
    let reached = put(stage, &people, &document)?;
    let first = began.elapsed();
    let service = format!("jadevectordb-service.{}:8080", stage.namespace);
    ensure!(reached["service"] == *service && reached["version"] == "1.0.0", "{reached}");
    let claims = Claims::of(stage)?;
    let writers = stage.writers().await?;
    let password = password(stage)?;
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

fn document(stage: &Stage, name: &str) -> String {
    format!(
        "apiVersion: jadevectordb.io/v1alpha1\nkind: BlueGreen\nmetadata: {{name: {name}, namespace: {}}}\nspec:\n  \
         mode: development\n  version: 1.0.0\n{HASTY}",
        stage.namespace
    )
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

/// Nothing is made by what is refused.
fn before_there_is_any(stage: &Stage, people: &People, folder: &Path, document: &str) -> Result<()> {
    let file = |name: &str, text: String| -> Result<String> {
        let file = folder.join(name);
        fs::write(&file, text)?;
        Ok(file.display().to_string())
    };
    let good = file("good.yaml", document.into())?;
    let of_another_version = file("another.yaml", document.replace("v1alpha1", "v9"))?;
    let unknown_field = file("unknown.yaml", document.replace("version: 1.0.0", "versoin: 1.0.0"))?;
    let long = "a".repeat(41);
    let too_long = file("long.yaml", document.replace("name: jadevectordb", &format!("name: {long}")))?;
    let elsewhere = file("elsewhere.yaml", document.replace(&stage.namespace, "elsewhere"))?;
    let (admin, nobody) = (&people.admin, &people.nobody);
    let missing = folder.join("missing");
    let refused: [(&Path, &str, i32, &str); 15] = [
        (admin, "info", NOT_RUNNING, "there is no BlueGreen in namespace"),
        (admin, "info --name shop", NOT_RUNNING, "there is no BlueGreen shop in namespace"),
        (admin, "down", NOT_RUNNING, "there is no BlueGreen in namespace"),
        (admin, "up --gateway 127.0.0.1:0", USAGE, "--gateway is about this machine"),
        (admin, "up --keep-nodes", USAGE, "--keep-nodes is about this machine"),
        (admin, &format!("up --file {of_another_version}"), USAGE, "apiVersion"),
        (admin, &format!("up --file {unknown_field}"), USAGE, "versoin"),
        (admin, &format!("up --file {too_long}"), USAGE, "at most 40 characters"),
        (admin, &format!("up --file {elsewhere}"), USAGE, "metadata.namespace is elsewhere"),
        (admin, &format!("up --name shop --file {good}"), USAGE, "metadata.name is jadevectordb, and --name shop"),
        (&people.promoter, &format!("up --file {good}"), REFUSED, "jadeshift-admin"),
        (nobody, &format!("up --file {good}"), REFUSED, "forbidden"),
        (nobody, "info", REFUSED, "jadeshift-viewer"),
        (&missing, "info", NOT_RUNNING, "name a cluster as for kubectl"),
        (&missing, &format!("up --file {good}"), NOT_RUNNING, "name a cluster as for kubectl"),
    ];
    for (who, line, code, why) in refused {
        must(&people.jadeshift(stage, who, line)?.output()?, code, why).with_context(|| line.to_string())?;
    }
    // Of an administrator of the cluster: nobody else may know which namespaces there are.
    for line in ["info", "up", "down", "deploy 1.1.0", "report"] {
        let mut command = Command::new(stage.program());
        command.args(line.split(' ')).args(["--namespace", "no-such-place"]);
        must(&command.output()?, USAGE, "there is no namespace no-such-place").with_context(|| line.to_string())?;
    }
    let made = stage.kubectl(&["get", "bluegreens,deployments,services,secrets,pvc", "--output", "name"])?;
    ensure!(made.trim().is_empty(), "made in spite of refusals: {made}");
    Ok(())
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
    must(&said, 5, "not within 2000 ms; last seen: ")?;
    must(&people.jadeshift(stage, &people.admin, "down --name other")?.output()?, 0, "other in namespace")
}

/// A definition that knows less than this program is named, and nothing is asked of it by half.
async fn old_definition(stage: &Stage) -> Result<()> {
    let whole = stage.get("crd", DEFINITION)?;
    let path = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/request/properties/acceptLoss";
    ensure!(whole.pointer(path).is_some(), "the definition has another shape than expected");
    let patch = json!([{"op": "remove", "path": path}]).to_string();
    stage.kubectl(&["patch", "crd", DEFINITION, "--type=json", "--patch", &patch])?;
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

fn password(stage: &Stage) -> Result<String> {
    let encoded =
        stage.kubectl(&["get", "secret", "jadevectordb-credentials", "-o", "jsonpath={.data.admin-password}"])?;
    Ok(String::from_utf8(base64::prelude::BASE64_STANDARD.decode(encoded)?)?)
}

/// It ended with `code`, and said `why`.
fn must(output: &Output, code: i32, why: &str) -> Result<()> {
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let right = output.status.code() == Some(code) && said.contains(why);
    ensure!(right, "ended with {}, wanted was {code} and `{why}`: {said}", output.status);
    Ok(())
}

impl People {
    fn make(stage: &Stage, folder: &Path) -> Result<People> {
        let place = Place::of_this_workspace()?;
        let one = |name: &str| -> Result<PathBuf> {
            stage.kubectl(&["create", "serviceaccount", name])?;
            if name != "nobody" {
                let (role, who) = (format!("--clusterrole=jadeshift-{name}"), format!("{}:{name}", stage.namespace));
                stage.kubectl(&["create", "rolebinding", name, &role, &format!("--serviceaccount={who}")])?;
            }
            let token = stage.kubectl(&["create", "token", name])?;
            place.write_kubeconfig(folder.join(name), &token, None)
        };
        Ok(People { admin: one("admin")?, promoter: one("promoter")?, viewer: one("viewer")?, nobody: one("nobody")? })
    }

    /// One of our commands, as one of them types it.
    fn jadeshift(&self, stage: &Stage, who: &Path, line: &str) -> Result<Command> {
        let mut command = Command::new(stage.program());
        command.args(["--namespace", &stage.namespace, "--kubeconfig"]).arg(who).args(line.split(' '));
        Ok(command)
    }
}
