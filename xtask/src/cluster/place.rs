//! Where the cluster keeps its files, and what its addresses are.

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::ffi::OsStr;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Address of the node, and of the API server.
pub const NODE_ADDRESS: &str = "10.200.0.1";
pub const NODE_NAME: &str = "node";
pub const API_PORT: u16 = 6443;
pub const POD_RANGE: &str = "10.244.0.0/24";
pub const SERVICE_RANGE: &str = "10.96.0.0/16";
/// Address of the API server's own Service, the first of the range.
pub const API_SERVICE: &str = "10.96.0.1";

/// A cluster of the developer's own is used instead of ours.
const GIVEN_CLUSTER: &str = "JADESHIFT_TEST_KUBECONFIG";
/// A folder with `etcd`, `kube-apiserver` and `kubectl`, which are used instead of building anything.
const GIVEN_PROGRAMS: &str = "KUBEBUILDER_ASSETS";

/// How much of a cluster there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Extent {
    /// API server and etcd.
    Api,
    /// Pods run too, somewhere else.
    Pods,
    /// And they run on this machine, whose processes can be looked at and ended.
    Machine,
}

pub struct Place {
    /// Kubeconfig of a cluster that is there already.
    given_cluster: Option<PathBuf>,
    given_programs: Option<PathBuf>,
    workspace: PathBuf,
    folder: PathBuf,
    /// Name of the network namespace: each clone of the repository has its own.
    pub network: String,
}

impl Place {
    pub fn of_this_workspace() -> Result<Self> {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask has no parent folder")?;
        let workspace = workspace.canonicalize().context("the workspace is gone")?;
        let mut hasher = DefaultHasher::new();
        workspace.hash(&mut hasher);
        let network = format!("jadeshift-{:08x}", hasher.finish() as u32);
        let given_cluster = path_of(GIVEN_CLUSTER)?;
        let given_programs = path_of(GIVEN_PROGRAMS)?.filter(|_| given_cluster.is_none());
        Ok(Self { given_cluster, given_programs, folder: workspace.join("target/cluster"), workspace, network })
    }

    pub fn extent(&self) -> Extent {
        match (&self.given_cluster, &self.given_programs) {
            (Some(_), _) => Extent::Pods,
            (None, Some(_)) => Extent::Api,
            (None, None) => Extent::Machine,
        }
    }

    /// For what only makes sense with a cluster of ours.
    ///
    /// # Errors
    /// When one is given.
    pub fn must_be_ours(&self) -> Result<()> {
        match self.given_cluster {
            Some(_) => bail!("{GIVEN_CLUSTER} names a cluster that is there already, and is left as it is"),
            None => Ok(()),
        }
    }

    /// Sources of the programs, and files of the node.
    pub fn sources(&self) -> PathBuf {
        self.workspace.join("tests/cluster")
    }

    /// Built programs; they outlive the cluster.
    pub fn programs(&self) -> PathBuf {
        self.folder.join("bin")
    }

    /// Release builds of this workspace.
    pub fn programs_of_ours(&self) -> PathBuf {
        self.workspace.join("target/release")
    }

    /// What is given comes before what is built, and what is in the PATH after it.
    pub fn program(&self, name: &str) -> PathBuf {
        let folders = self.given_programs.iter().cloned().chain([self.programs()]);
        let found = folders.map(|folder| folder.join(name)).find(|program| program.exists());
        found.unwrap_or_else(|| match self.given_cluster {
            Some(_) => name.into(),
            None => self.programs().join(name),
        })
    }

    /// Everything that goes with the cluster.
    fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// A folder of one part.
    pub fn of(&self, part: &str) -> PathBuf {
        self.state().join(part)
    }

    pub fn certificate(&self, name: &str) -> PathBuf {
        self.of("pki").join(format!("{name}.crt"))
    }

    pub fn key(&self, name: &str) -> PathBuf {
        self.of("pki").join(format!("{name}.key"))
    }

    pub fn kubeconfig(&self, who: &str) -> PathBuf {
        self.given_cluster.clone().unwrap_or_else(|| self.of("kubeconfig").join(who))
    }

    /// Writes one for whoever has `token`, in `namespace` unless another one is asked for.
    pub fn write_kubeconfig(&self, file: PathBuf, token: &str, namespace: Option<&str>) -> Result<PathBuf> {
        let mut context = json!({"cluster": "test", "user": "test"});
        if let Some(namespace) = namespace {
            context["namespace"] = namespace.into();
        }
        let view = ["config", "view", "--raw", "--minify", "--flatten", "--output", "json"];
        let view = self.kubectl().args(view).output().context("cannot run kubectl")?;
        ensure!(view.status.success(), "kubectl config view: {}", String::from_utf8_lossy(&view.stderr));
        let of_administrator: Value = serde_json::from_slice(&view.stdout)?;
        let text = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": of_administrator["clusters"][0]["cluster"]}],
            "users": [{"name": "test", "user": {"token": token.trim()}}],
            "contexts": [{"name": "test", "context": context}],
        });
        std::fs::write(&file, text.to_string()).context("cannot write a kubeconfig")?;
        Ok(file)
    }

    pub fn containerd_socket(&self) -> PathBuf {
        self.of("containerd").join("containerd.sock")
    }

    pub fn api_url(&self) -> String {
        format!("https://{NODE_ADDRESS}:{API_PORT}")
    }

    pub fn make_folders(&self) -> Result<()> {
        for part in ["pki", "kubeconfig", "etcd", "containerd", "cni", "kubelet", "pod-logs", "logs", "pids", "volumes"]
        {
            let folder = self.of(part);
            std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        Ok(())
    }

    pub fn remove_state(&self) -> Result<()> {
        match std::fs::remove_dir_all(self.state()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", self.state().display()))
            }
            _ => Ok(()),
        }
    }

    /// A command in the network of the cluster, with its programs first in the PATH. Not by `ip netns exec`: that hides the
    /// control groups from the kubelet.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = self.given_programs.iter().cloned().chain([self.programs()]).chain(std::env::split_paths(&path));
        let mut command = match self.given_cluster {
            Some(_) => Command::new(program),
            None => {
                let mut command = Command::new("nsenter");
                command.arg(format!("--net=/var/run/netns/{}", self.network)).arg("--").arg(program);
                command
            }
        };
        command.env("KUBECONFIG", self.kubeconfig("admin"));
        command.env("PATH", std::env::join_paths(folders).unwrap_or(path));
        command
    }

    pub fn kubectl(&self) -> Command {
        self.command("kubectl")
    }
}

/// The absolute path that a variable names.
fn path_of(variable: &str) -> Result<Option<PathBuf>> {
    let Some(value) = std::env::var_os(variable).filter(|value| !value.is_empty()) else { return Ok(None) };
    let path = PathBuf::from(value);
    let absolute = path.canonicalize().with_context(|| format!("{variable}: {} cannot be used", path.display()))?;
    Ok(Some(absolute))
}
