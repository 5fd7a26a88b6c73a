//! What makes the machine a node: containerd, the kubelet, the proxy of Services, names.

use super::place::{NODE_ADDRESS, NODE_NAME, POD_RANGE, Place};
use super::{image, must_succeed, processes, wait_for};
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// The image that holds the namespaces of a pod.
const PAUSE_IMAGE: &str = "localhost/pause:1";
/// Where Debian puts the programs that give a pod its network.
const NETWORK_PLUGINS: &str = "/usr/lib/cni";

pub fn start(place: &Place) -> Result<()> {
    start_containerd(place)?;
    image::load(place, PAUSE_IMAGE, &place.program("pause"))?;
    start_kubelet(place)?;
    write(&place.of("kubelet").join("proxy.yaml"), &proxy_settings(place))?;
    let settings = place.of("kubelet").join("proxy.yaml");
    processes::start(place, "kube-proxy", &[format!("--config={}", settings.display())])?;
    write(&place.of("kubelet").join("Corefile"), &names_settings(place))?;
    let settings = place.of("kubelet").join("Corefile");
    processes::start(place, "coredns", &["-conf".into(), settings.display().to_string()])?;
    wait_for("the node", || {
        for name in ["containerd", "kubelet", "kube-proxy", "coredns", "kube-scheduler", "kube-controller-manager"] {
            processes::must_run(place, name)?;
        }
        let query = "jsonpath={.status.conditions[?(@.type==\"Ready\")].status}";
        let answer = place.kubectl().args(["get", "node", NODE_NAME, "-o", query]).output()?;
        Ok(answer.stdout == b"True")
    })
}

/// Containers and pods leave mounts behind.
pub fn forget(place: &Place) -> Result<()> {
    let root = place.of("").display().to_string();
    // The innermost first.
    let mut points = mounted_below(&root)?;
    points.sort_unstable_by(|a, b| b.cmp(a));
    for point in points {
        let status = Command::new("umount").args(["--lazy", &point]).stderr(Stdio::null()).status();
        let status = status.context("cannot run umount")?;
        // Whoever made it may have been quicker.
        if mounted_below(&root)?.contains(&point) {
            must_succeed(&format!("umount {point}"), status)?;
        }
    }
    Ok(())
}

/// Where something is mounted, as far as the path begins with `root`.
pub fn mounted_below(root: &str) -> Result<Vec<String>> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("cannot read the mounts of this machine")?;
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(1));
    Ok(points.filter(|point| point.starts_with(root)).map(String::from).collect())
}

fn start_containerd(place: &Place) -> Result<()> {
    let settings = place.of("containerd").join("config.toml");
    write(&settings, &containerd_settings(place))?;
    write(&place.of("cni").join("10-pods.conflist"), &pod_network())?;
    processes::start(place, "containerd", &[format!("--config={}", settings.display())])?;
    wait_for("containerd", || {
        processes::must_run(place, "containerd")?;
        Ok(image::ctr(place).arg("version").output()?.status.success())
    })
}

fn start_kubelet(place: &Place) -> Result<()> {
    let folder = place.of("kubelet");
    let settings = folder.join("kubelet.yaml");
    // Names are asked of the cluster only.
    write(&folder.join("resolv.conf"), &format!("nameserver {NODE_ADDRESS}\n"))?;
    write(&settings, &kubelet_settings(place))?;
    let arguments = [
        format!("--config={}", settings.display()),
        format!("--kubeconfig={}", place.kubeconfig("kubelet").display()),
        format!("--root-dir={}", folder.display()),
        format!("--node-ip={NODE_ADDRESS}"),
        format!("--hostname-override={NODE_NAME}"),
    ];
    processes::start(place, "kubelet", &arguments)
}

fn containerd_settings(place: &Place) -> String {
    let folder = place.of("containerd");
    let (folder, socket, cni) = (folder.display(), place.containerd_socket(), place.of("cni"));
    format!(
        "version = 3
root = '{folder}/root'
state = '{folder}/state'

[grpc]
address = '{socket}'

[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = '{PAUSE_IMAGE}'

[plugins.'io.containerd.cri.v1.runtime']
# Not every machine lets a process lower its score.
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true
disable_apparmor = true

[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = ['{NETWORK_PLUGINS}']
conf_dir = '{cni}'

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
runtime_type = 'io.containerd.runc.v2'

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
SystemdCgroup = false
",
        socket = socket.display(),
        cni = cni.display(),
    )
}

/// Each pod has a cable of its own, and everything is routed: what goes to a Service comes back the way it went.
fn pod_network() -> String {
    format!(
        r#"{{
  "cniVersion": "1.0.0",
  "name": "pods",
  "plugins": [
    {{
      "type": "ptp",
      "ipMasq": false,
      "ipam": {{"type": "host-local", "ranges": [[{{"subnet": "{POD_RANGE}"}}]], "routes": [{{"dst": "0.0.0.0/0"}}]}}
    }},
    {{"type": "portmap", "capabilities": {{"portMappings": true}}}}
  ]
}}
"#
    )
}

fn kubelet_settings(place: &Place) -> String {
    format!(
        "apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
containerRuntimeEndpoint: 'unix://{socket}'
authentication: {{anonymous: {{enabled: false}}, webhook: {{enabled: true}}, x509: {{clientCAFile: '{authority}'}}}}
authorization: {{mode: Webhook}}
cgroupDriver: cgroupfs
failCgroupV1: false
failSwapOn: false
clusterDNS: [{NODE_ADDRESS}]
clusterDomain: cluster.local
resolvConf: '{folder}/resolv.conf'
podLogsDir: '{logs}'
volumePluginDir: '{folder}/plugins-exec'
serializeImagePulls: false
evictionHard: {{memory.available: 50Mi, nodefs.available: 1%, nodefs.inodesFree: 1%, imagefs.available: 1%}}
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
nodeStatusUpdateFrequency: 2s
syncFrequency: 2s
",
        socket = place.containerd_socket().display(),
        authority = place.certificate("ca").display(),
        folder = place.of("kubelet").display(),
        logs = place.of("pod-logs").display(),
    )
}

fn proxy_settings(place: &Place) -> String {
    format!(
        "apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
hostnameOverride: {NODE_NAME}
clusterCIDR: {POD_RANGE}
clientConnection: {{kubeconfig: '{kubeconfig}'}}
conntrack: {{maxPerCore: 0, min: 0}}
nftables: {{syncPeriod: 30s, minSyncPeriod: 0s}}
",
        kubeconfig = place.kubeconfig("proxy").display(),
    )
}

fn names_settings(place: &Place) -> String {
    let kubeconfig = place.kubeconfig("dns");
    format!(
        ".:53 {{
    bind {NODE_ADDRESS}
    errors
    kubernetes cluster.local {{
        kubeconfig {} test
    }}
}}
",
        kubeconfig.display()
    )
}

fn write(file: &Path, text: &str) -> Result<()> {
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}
