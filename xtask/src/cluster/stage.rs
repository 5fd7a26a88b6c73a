//! One scenario's namespace, and the words it is spoken to with: kubectl and the command line, as a user would.

use super::place::{Extent, Place};
use super::processes;
use crate::writers::{WRITERS, Writers};
use anyhow::{Context, Result, bail, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustix::process::Pid;
use serde_json::Value;
use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use wire::Colour;

const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Longest wait for an end that no scenario times itself.
pub const PATIENCE: Duration = Duration::from_secs(90);

pub struct Stage {
    pub namespace: String,
    program: PathBuf,
    kubectl: PathBuf,
}

impl Stage {
    /// An empty namespace that admits only pods without rights.
    pub fn open(place: &Place, scenario: &str) -> Result<Stage> {
        let namespace = match place.extent() {
            // One that was there before would not go.
            Extent::Api => format!("test-{scenario}-{}", std::process::id()),
            _ => format!("test-{scenario}"),
        };
        let stage =
            Stage { namespace, program: place.programs_of_ours().join("jadeshift"), kubectl: place.program("kubectl") };
        stage.close()?;
        stage.apply(&format!(
            "{{apiVersion: v1, kind: Namespace, metadata: {{name: {}, labels: {{pod-security.kubernetes.io/enforce: restricted}}}}}}",
            stage.namespace
        ))?;
        Ok(stage)
    }

    /// Removes the namespace with everything in it. The volumes that it had are not used again.
    pub fn close(&self) -> Result<()> {
        self.kubectl(&["delete", "namespace", &self.namespace, "--ignore-not-found", "--timeout=60s"])?;
        Ok(())
    }

    /// A `BlueGreen` named `jadevectordb` for development: `spec` is further YAML of its spec, two spaces in.
    pub fn deploy_document(&self, spec: &str) -> Result<()> {
        let document = format!(
            "apiVersion: jadevectordb.io/v1alpha1\nkind: BlueGreen\nmetadata: {{name: jadevectordb, namespace: {}}}\nspec:\n  \
             mode: development\n  version: 1.0.0\n{spec}",
            self.namespace
        );
        self.apply(&document)
    }

    /// Our command line.
    pub fn program(&self) -> &Path {
        &self.program
    }

    pub fn apply(&self, yaml: &str) -> Result<()> {
        let mut apply = Command::new(&self.kubectl);
        apply.args(["apply", "--server-side", "--force-conflicts", "-f", "-"]).stdin(Stdio::piped());
        let mut apply = apply.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().context("cannot run kubectl")?;
        apply.stdin.take().context("no way to kubectl")?.write_all(yaml.as_bytes())?;
        let output = apply.wait_with_output()?;
        ensure!(output.status.success(), "kubectl apply: {}\n{yaml}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let output = Command::new(&self.kubectl).args(["--namespace", &self.namespace]).args(arguments).output()?;
        ensure!(output.status.success(), "kubectl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// One of our commands, whatever its end.
    pub fn try_jadeshift(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = Command::new(&self.program);
        command.args(["--namespace", &self.namespace]).args(arguments);
        command.output().context("cannot run jadeshift")
    }

    /// One of our commands, which must succeed.
    pub fn jadeshift(&self, arguments: &[&str]) -> Result<String> {
        let output = self.try_jadeshift(arguments)?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "jadeshift {arguments:?}: {}: {said}", output.status);
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    pub fn info(&self) -> Result<Value> {
        Ok(serde_json::from_str(&self.jadeshift(&["info", "--output", "json"])?)?)
    }

    /// One of the scripts that users have, with our program first in the PATH.
    pub fn script(&self, name: &str) -> Command {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deployments/blue-green");
        let mut command = Command::new(folder.join(name));
        command.envs(self.path().ok().map(|path| ("PATH", path)));
        command
    }

    /// The PATH of a person who has our program and kubectl.
    pub fn path(&self) -> Result<OsString> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let parents = [&self.program, &self.kubectl].into_iter().filter_map(|program| program.parent());
        let folders = parents.filter(|folder| !folder.as_os_str().is_empty());
        let folders = folders.map(Path::to_path_buf).chain(std::env::split_paths(&path));
        Ok(std::env::join_paths(folders)?)
    }

    /// Waits until `info` is as wanted; says what it was like when it does not come to that.
    pub async fn until(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let began = Instant::now();
        loop {
            let info = self.info();
            match &info {
                Ok(info) if wanted(info) => return Ok(info.clone()),
                _ if began.elapsed() < PATIENCE => tokio::time::sleep(LOOK_EVERY).await,
                Ok(info) => bail!("waited for {what}; it is {}: {}", info["phase"], info["why"]),
                Err(error) => bail!("waited for {what}; {error:#}"),
            }
        }
    }

    /// Nothing is under way, and the router leads to somebody.
    pub async fn stable(&self) -> Result<Value> {
        let serves = |info: &Value| info["phase"]["name"] == "stable" && !info["share_in_effect"].is_null();
        self.until("a stable deployment", serves).await
    }

    /// `host:port` of a Service.
    pub fn service(&self, name: &str) -> Result<String> {
        let ip = self.kubectl(&["get", "service", name, "-o", "jsonpath={.spec.clusterIP}"])?;
        ensure!(!ip.is_empty(), "Service {name} has no address");
        Ok(format!("{ip}:8080"))
    }

    /// The address of the main Service, once somebody answers there: the cluster's proxies learn last.
    pub async fn main_service(&self) -> Result<String> {
        let address = self.service("jadevectordb-service")?;
        let began = Instant::now();
        while tokio::net::TcpStream::connect(&address).await.is_err() {
            ensure!(began.elapsed() < PATIENCE, "nobody answers at {address}");
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(address)
    }

    /// Writers by the main Service, once some of what they wrote is acknowledged.
    pub async fn writers(&self) -> Result<Writers> {
        let address = self.main_service().await?;
        Writers::at_work(&address, &address, WRITERS).await
    }

    /// What an object is.
    pub fn get(&self, kind: &str, name: &str) -> Result<Value> {
        Ok(serde_json::from_str(&self.kubectl(&["get", kind, name, "-o", "json"])?)?)
    }

    /// Processes of the nodes of an environment, as this machine has them.
    pub fn processes(&self, colour: Colour) -> Result<Vec<Pid>> {
        self.processes_of(&format!("version={colour}"))
    }

    /// Processes of the nodes whose pods have these labels.
    pub fn processes_of(&self, labels: &str) -> Result<Vec<Pid>> {
        let selector = format!("app=jadevectordb,{labels}");
        let pods = self.kubectl(&["get", "pods", "-l", &selector, "-o", "jsonpath={.items[*].metadata.uid}"])?;
        Ok(processes::in_pods("jadevectordb", &pods))
    }

    /// One of what the deployment's Secret holds.
    pub fn credential(&self, key: &str) -> Result<String> {
        let path = format!("jsonpath={{.data.{key}}}");
        let encoded = self.kubectl(&["get", "secret", "jadevectordb-credentials", "-o", &path])?;
        Ok(String::from_utf8(BASE64_STANDARD.decode(encoded)?)?)
    }

    /// A node's admin protocol, spoken to its pod.
    pub fn admin(&self, colour: Colour) -> Result<client::Admin> {
        let token = self.credential("admin-token")?;
        let selector = format!("app=jadevectordb,version={colour}");
        let ip = self.kubectl(&["get", "pods", "-l", &selector, "-o", "jsonpath={.items[0].status.podIP}"])?;
        Ok(client::Admin::new(client::Http::new(), &format!("{ip}:8081"), &token, Duration::from_secs(2)))
    }
}
