//! What cannot be done before there is a deployment: each is refused with its exit code and with what mends it, and nothing is made.

use super::super::stage::Stage;
use super::people::{NOT_RUNNING, People, REFUSED, USAGE, document, must};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::Path;
use std::process::Command;

pub async fn before_there_is_any(stage: &Stage) -> Result<String> {
    let folder = tempfile::tempdir()?;
    let (people, document) = (People::make(stage, folder.path())?, document(stage, "jadevectordb"));
    let (people, folder) = (&people, folder.path());
    let file = |name: &str, text: String| -> Result<String> {
        let file = folder.join(name);
        fs::write(&file, text)?;
        Ok(file.display().to_string())
    };
    let good = file("good.yaml", document.clone())?;
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
    for (who, line, code, why) in &refused {
        must(&people.jadeshift(stage, who, line)?.output()?, *code, why).with_context(|| line.to_string())?;
    }
    // Of an administrator of the cluster: nobody else may know which namespaces there are.
    let of_no_namespace = ["info", "up", "down", "deploy 1.1.0", "report"];
    for line in of_no_namespace {
        let mut command = Command::new(stage.program());
        command.args(line.split(' ')).args(["--namespace", "no-such-place"]);
        must(&command.output()?, USAGE, "there is no namespace no-such-place").with_context(|| line.to_string())?;
    }
    let made = stage.kubectl(&["get", "bluegreens,deployments,services,secrets,pvc", "--output", "name"])?;
    ensure!(made.trim().is_empty(), "made in spite of refusals: {made}");
    Ok(format!("{} refusals", refused.len() + of_no_namespace.len()))
}
