//! etcd, the API server, the controller manager and the scheduler.

use super::place::{API_PORT, NODE_ADDRESS, POD_RANGE, Place, SERVICE_RANGE};
use super::{processes, wait_for};
use anyhow::Result;

/// `api_only`: nobody acts on what is there.
pub fn start(place: &Place, api_only: bool) -> Result<()> {
    processes::start(place, "etcd", &etcd(place))?;
    start_api_server(place)?;
    if api_only {
        return Ok(());
    }
    for (name, arguments) in
        [("kube-controller-manager", controller_manager(place)), ("kube-scheduler", scheduler(place))]
    {
        processes::start(place, name, &arguments)?;
    }
    Ok(())
}

/// Kills the API server as a crash would, and starts it again: what it remembers is what etcd has.
pub fn crash_api_server(place: &Place) -> Result<()> {
    processes::kill(place, "kube-apiserver")?;
    start_api_server(place)
}

fn start_api_server(place: &Place) -> Result<()> {
    processes::start(place, "kube-apiserver", &api_server(place))?;
    wait_for("the API server", || {
        processes::must_run(place, "etcd")?;
        processes::must_run(place, "kube-apiserver")?;
        let answer = place.kubectl().args(["get", "--raw", "/readyz"]).output()?;
        Ok(answer.status.success())
    })
}

fn etcd(place: &Place) -> Vec<String> {
    let peers = "http://127.0.0.1:2380";
    vec![
        format!("--data-dir={}", place.of("etcd").display()),
        "--listen-client-urls=http://127.0.0.1:2379".into(),
        "--advertise-client-urls=http://127.0.0.1:2379".into(),
        format!("--listen-peer-urls={peers}"),
        format!("--initial-advertise-peer-urls={peers}"),
        format!("--initial-cluster=default={peers}"),
        // What it keeps is not meant to outlive the machine.
        "--unsafe-no-fsync".into(),
    ]
}

fn api_server(place: &Place) -> Vec<String> {
    let file = |option: &str, path: std::path::PathBuf| format!("--{option}={}", path.display());
    vec![
        "--etcd-servers=http://127.0.0.1:2379".into(),
        format!("--advertise-address={NODE_ADDRESS}"),
        format!("--secure-port={API_PORT}"),
        "--authorization-mode=Node,RBAC".into(),
        "--allow-privileged=true".into(),
        // The second asks for a right that clusters of some kinds ask for: to own what is made.
        "--enable-admission-plugins=NodeRestriction,OwnerReferencesPermissionEnforcement".into(),
        "--kubelet-preferred-address-types=InternalIP".into(),
        format!("--service-cluster-ip-range={SERVICE_RANGE}"),
        "--service-account-issuer=https://kubernetes.default.svc".into(),
        file("service-account-key-file", place.certificate("service-accounts")),
        file("service-account-signing-key-file", place.key("service-accounts")),
        file("client-ca-file", place.certificate("ca")),
        file("tls-cert-file", place.certificate("apiserver")),
        file("tls-private-key-file", place.key("apiserver")),
        file("kubelet-client-certificate", place.certificate("apiserver-kubelet")),
        file("kubelet-client-key", place.key("apiserver-kubelet")),
    ]
}

fn controller_manager(place: &Place) -> Vec<String> {
    vec![
        format!("--kubeconfig={}", place.kubeconfig("controller-manager").display()),
        format!("--service-account-private-key-file={}", place.key("service-accounts").display()),
        format!("--root-ca-file={}", place.certificate("ca").display()),
        format!("--cluster-cidr={POD_RANGE}"),
        "--use-service-account-credentials=true".into(),
        "--leader-elect=false".into(),
    ]
}

fn scheduler(place: &Place) -> Vec<String> {
    vec![format!("--kubeconfig={}", place.kubeconfig("scheduler").display()), "--leader-elect=false".into()]
}
