//! The cluster's programs, built from the Go modules in `tests/cluster/`: each with a `go.mod` of its own, since they need
//! different versions of the same modules. What is built stays until its `go.mod` changes.

use super::{Place, must_succeed};
use anyhow::{Context, Result};
use std::path::Path;
use std::process::Command;

struct Module {
    folder: &'static str,
    /// Each program's name, and its package.
    programs: &'static [(&'static str, &'static str)],
}

const KUBERNETES: &str = "k8s.io/kubernetes";

const CONTOUR: Module =
    Module { folder: "contour", programs: &[("contour", "github.com/projectcontour/contour/cmd/contour")] };

const HELM: Module = Module { folder: "helm", programs: &[("helm", "helm.sh/helm/v4/cmd/helm")] };

const MODULES: [Module; 5] = [
    Module { folder: "pause", programs: &[("pause", ".")] },
    Module { folder: "etcd", programs: &[("etcd", "go.etcd.io/etcd/server/v3")] },
    Module {
        folder: "containerd",
        programs: &[
            ("containerd", "github.com/containerd/containerd/v2/cmd/containerd"),
            ("containerd-shim-runc-v2", "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2"),
            ("ctr", "github.com/containerd/containerd/v2/cmd/ctr"),
        ],
    },
    Module { folder: "coredns", programs: &[("coredns", "github.com/coredns/coredns")] },
    Module {
        folder: "kubernetes",
        programs: &[
            ("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
            ("kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager"),
            ("kube-proxy", "k8s.io/kubernetes/cmd/kube-proxy"),
            ("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler"),
            ("kubectl", "k8s.io/kubernetes/cmd/kubectl"),
            ("kubelet", "k8s.io/kubernetes/cmd/kubelet"),
        ],
    },
];

pub fn everything(place: &Place) -> Result<()> {
    std::fs::create_dir_all(place.programs()).context("cannot make the folder of the programs")?;
    MODULES.iter().try_for_each(|module| module.build(place))
}

/// Only for the tests of the Gateway API.
pub fn contour(place: &Place) -> Result<()> {
    CONTOUR.build(place)
}

/// Only for the test of the chart.
pub fn helm(place: &Place) -> Result<()> {
    HELM.build(place)
}

impl Module {
    fn build(&self, place: &Place) -> Result<()> {
        let sources = place.sources().join(self.folder);
        let wanted = std::fs::read_to_string(sources.join("go.mod"))
            .with_context(|| format!("cannot read {}/go.mod", sources.display()))?;
        let stamp = place.programs().join(format!("{}.go.mod", self.folder));
        let flags = version_flags(&wanted);
        let wanted = format!("{wanted}\n// Built with:{flags}\n");
        let there = self.programs.iter().all(|(name, _)| place.program(name).exists());
        if there && std::fs::read_to_string(&stamp).is_ok_and(|built| built == wanted) {
            return Ok(());
        }
        for (name, package) in self.programs {
            eprintln!("building {name}");
            let mut command = Command::new("go");
            command.current_dir(&sources).env("CGO_ENABLED", "0").args(["build", "-trimpath", "-mod=readonly"]);
            command.arg(format!("-ldflags=-s -w{flags}"));
            command.arg("-o").arg(place.program(name)).arg(package);
            let status = command.status().context("cannot run go; Go 1.26 or newer is needed")?;
            must_succeed(&format!("go build {package}"), status)?;
        }
        write(&stamp, &wanted)
    }
}

/// Kubelet and API server compare their versions, which a release has from its linker.
fn version_flags(go_mod: &str) -> String {
    let version = go_mod.lines().find_map(|line| {
        let line = line.trim();
        line.strip_prefix("require ").unwrap_or(line).strip_prefix(KUBERNETES)?.strip_prefix(' ')?.split(' ').next()
    });
    let Some(version) = version else { return String::new() };
    let mut numbers = version.trim_start_matches('v').split('.');
    let (major, minor) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    let set = |name: &str, value: &str| {
        ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"]
            .map(|package| format!(" -X {package}.{name}={value}"))
            .concat()
    };
    [set("gitVersion", version), set("gitMajor", major), set("gitMinor", minor)].concat()
}

fn write(file: &Path, text: &str) -> Result<()> {
    std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubernetes_is_told_its_version_and_nobody_else() {
        let flags =
            version_flags("module x\n\nrequire (\n\tk8s.io/kube v1.0.0\n\tk8s.io/kubernetes v1.37.2 // indirect\n)\n");
        assert_eq!(version_flags("require k8s.io/kubernetes v1.37.2"), flags, "on a line of its own");
        assert!(flags.contains(" -X k8s.io/component-base/version.gitVersion=v1.37.2"), "{flags}");
        assert!(flags.contains("client-go/pkg/version.gitMinor=37"), "{flags}");
        assert_eq!(version_flags("require go.etcd.io/etcd/server/v3 v3.7.3\n"), "");
    }
}
