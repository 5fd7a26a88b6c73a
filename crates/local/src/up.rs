//! `jadeshift up`: everything of one deployment, composed; and `down`, its end.

use crate::control::ControlServer;
use crate::folder::{Folder, FolderError, FolderLock, random_secret};
use crate::launch::configured;
use crate::platform::LocalPlatform;
use crate::supervisor::{Adopted, Patience, Running, Status, SupervisorError, SupervisorOptions, check_addresses};
use conductor::{Conductor, Info, Report};
use gateway::{Gateway, GatewayOptions};
use rollout::Phase;
use std::future::Future;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use wire::admin::Lsn;
use wire::control::ControlAddress;
use wire::document::{BlueGreen, DocumentError};

/// Time for requests under way at the gateway when it ends.
const GATEWAY_GRACE: Duration = Duration::from_secs(5);
/// Time for a report that is being written.
const REPORTS_GRACE: Duration = Duration::from_secs(2);
/// How often a wait looks again.
const POLL: Duration = Duration::from_millis(20);

/// What a deployment on this machine is started with.
#[derive(Debug, Clone)]
pub struct UpOptions {
    pub document: BlueGreen,
    /// The deployment's folder; created when it is not there.
    pub folder: PathBuf,
    /// Program that is a node when it is started with the word `node` first.
    pub node_program: PathBuf,
    pub patience: Patience,
}

/// A running deployment.
pub struct Up {
    folder: Folder,
    platform: LocalPlatform,
    gateway: Arc<Gateway>,
    conductor: Arc<Conductor>,
    control: ControlServer,
    control_address: SocketAddr,
    /// Keeps the reports of rollouts that end.
    reports: JoinHandle<()>,
    lock: FolderLock,
}

/// How a deployment ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShutdownMode {
    /// End the nodes too; otherwise they run on, and the next `up` takes them over.
    pub stop_nodes: bool,
}

/// Why a deployment did not start. What this attempt had started is ended; what ran before runs on.
#[derive(Debug, thiserror::Error)]
pub enum UpError {
    #[error(transparent)]
    Document(#[from] DocumentError),
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error("{address} ({field}) is in use by another program: end that one, or change {field}")]
    PortInUse { address: SocketAddr, field: String },
    #[error("cannot listen on {address} ({field}): {why}")]
    Address { address: SocketAddr, field: String, why: String },
    #[error(transparent)]
    Supervisor(#[from] SupervisorError),
    #[error("could not open the control port on loopback: {0}")]
    Control(std::io::Error),
    #[error("could not start the gateway: {0}")]
    Gateway(gateway::StartError),
    #[error("could not start the rollout engine: {0}")]
    Conductor(conductor::StartError),
}

/// Why a deployment is not stable in time.
#[derive(Debug, thiserror::Error)]
#[error("not stable after {waited_ms} ms: {why}")]
pub struct NotStable {
    pub waited_ms: u64,
    pub why: String,
}

impl Up {
    /// Takes the folder, takes over the nodes that run, and starts gateway, rollout engine and control server.
    ///
    /// # Errors
    /// [`UpError`] says which step failed and what to do.
    pub async fn start(options: UpOptions) -> Result<Self, UpError> {
        let UpOptions { document, folder, node_program, patience } = options;
        document.validate()?;
        refuse_request(&document)?;
        check_addresses(&document.spec.local)?;
        let folder = Folder::open(&folder)?;
        let lock = folder.lock_after_death().await?;
        folder.check_history()?;
        folder.admin_password()?;

        let (local, replicas) = (document.spec.local.clone(), document.spec.replicas);
        let options = SupervisorOptions { folder: folder.clone(), local, replicas, node_program, patience };
        let adopted = Adopted::find(options).await?;
        check_ports(&document, &adopted)?;
        let gateway = Arc::new(start_gateway(&document, adopted.last_lsn()).await?);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(UpError::Control)?;
        let control_address = listener.local_addr().map_err(UpError::Control)?;
        let control =
            ControlAddress { address: control_address.to_string(), token: random_secret()?, pid: std::process::id() };
        folder.store_document(&document)?;

        let platform = LocalPlatform::start(folder.clone(), document.clone(), adopted, gateway.clone())?;
        let conductor = match start_conductor(&platform, document).await {
            Ok(conductor) => Arc::new(conductor),
            Err(error) => return Err(undo(&platform, &gateway, error).await),
        };
        if let Err(error) = folder.store_control(&control) {
            conductor.stop().await;
            return Err(undo(&platform, &gateway, error.into()).await);
        }
        let control = ControlServer::start(listener, control.token, conductor.clone(), folder.clone());
        let reports = tokio::spawn(keep_reports(folder.clone(), conductor.subscribe_report()));
        tracing::info!(folder = %folder.root().display(), gateway = %gateway.address(), "the deployment is up");
        Ok(Self { folder, platform, gateway, conductor, control, control_address, reports, lock })
    }

    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    pub fn gateway(&self) -> &Arc<Gateway> {
        &self.gateway
    }

    /// Where clients reach the database.
    pub fn address(&self) -> SocketAddr {
        self.gateway.address()
    }

    pub fn control_address(&self) -> SocketAddr {
        self.control_address
    }

    pub fn conductor(&self) -> &Arc<Conductor> {
        &self.conductor
    }

    pub fn platform(&self) -> &LocalPlatform {
        &self.platform
    }

    pub fn info(&self) -> Info {
        self.conductor.info()
    }

    /// Ends when somebody said `down` over the control protocol; the caller then calls [`Up::shutdown`].
    pub fn down_requested(&self) -> impl Future<Output = ()> + Send + 'static {
        self.control.down_requested()
    }

    /// Waits until no rollout is under way and requests are answered.
    ///
    /// # Errors
    /// [`NotStable`] says what is missing when `timeout` is over.
    pub async fn wait_until_stable(&self, timeout: Duration) -> Result<(), NotStable> {
        let began = Instant::now();
        loop {
            let stable = self.platform.state().borrow().as_ref().is_some_and(|state| state.phase == Phase::Stable);
            if stable && self.platform.is_serving() {
                return Ok(());
            }
            if began.elapsed() >= timeout {
                return Err(NotStable { waited_ms: began.elapsed().as_millis() as u64, why: self.why_not_stable() });
            }
            tokio::time::sleep(POLL).await;
        }
    }

    fn why_not_stable(&self) -> String {
        let crashed = self.platform.members().find_map(|member| match self.platform.status(member) {
            Status::Crashed { why, .. } => Some(format!("the {member} node does not run: {why}")),
            _ => None,
        });
        crashed.unwrap_or_else(|| {
            let info = self.conductor.info();
            info.stopped.unwrap_or(info.why)
        })
    }

    /// Ends everything in the order in which nobody notices more than the end. The folder is free afterwards.
    ///
    /// # Errors
    /// When a node outlives SIGKILL; everything else has ended then all the same.
    pub async fn shutdown(self, mode: ShutdownMode) -> Result<(), SupervisorError> {
        self.conductor.stop().await;
        self.gateway.shutdown(GATEWAY_GRACE).await;
        let stopped = self.platform.stop(|_| mode.stop_nodes).await;
        self.control.stop().await;
        // The conductor is gone, and with it whoever could tell of another report.
        if tokio::time::timeout(REPORTS_GRACE, self.reports).await.is_err() {
            tracing::warn!("the report of the last rollout may be missing");
        }
        if let Err(error) = self.folder.remove_control() {
            tracing::warn!(%error, "the control address is left behind");
        }
        drop(self.lock);
        stopped
    }
}

/// A command in the document is for the operator of a cluster. Nobody would obey it here, and it would seem to have been.
fn refuse_request(document: &BlueGreen) -> Result<(), DocumentError> {
    let Some(request) = &document.spec.request else { return Ok(()) };
    let action = request.action.as_str();
    Err(DocumentError::Rule {
        path: "spec.request".into(),
        value: format!("`{action}`"),
        rule: format!("a request is for a cluster; on one machine remove it, and ask by `jadeshift {action}`"),
    })
}

/// A report that cannot be kept is missed by nobody until somebody asks; the rollout is not held up by it.
async fn keep_reports(folder: Folder, mut report: watch::Receiver<Option<Arc<Report>>>) {
    let mut kept = None;
    while report.changed().await.is_ok() {
        let ended = report.borrow_and_update().clone().filter(|report| report.record.is_some());
        let Some(ended) = ended.filter(|ended| kept.as_ref() != Some(ended)) else { continue };
        let (folder, writing) = (folder.clone(), ended.clone());
        let written = tokio::task::spawn_blocking(move || folder.store_report(&writing)).await;
        if let Ok(Err(error)) = written {
            tracing::warn!(%error, "the report of rollout {} is not kept", ended.run.id);
        }
        kept = Some(ended);
    }
}

async fn start_gateway(document: &BlueGreen, acknowledged_lsn: Lsn) -> Result<Gateway, UpError> {
    let field = "spec.local.gateway";
    let listen = document.spec.local.gateway.parse().map_err(|_| {
        UpError::Document(DocumentError::Rule {
            path: field.into(),
            value: format!("`{}`", document.spec.local.gateway),
            rule: "an address with a port, such as 127.0.0.1:8080".into(),
        })
    })?;
    let options = GatewayOptions { acknowledged_lsn, ..GatewayOptions::new(listen) };
    Gateway::start(options).await.map_err(|error| match error {
        gateway::StartError::AddressInUse { address } => UpError::PortInUse { address, field: field.into() },
        gateway::StartError::Listen { address, source } => {
            UpError::Address { address, field: field.into(), why: source.to_string() }
        }
        error => UpError::Gateway(error),
    })
}

/// Fixed ports of nodes that do not run yet must be free: better said now than by a node that does not come up.
fn check_ports(document: &BlueGreen, adopted: &Adopted) -> Result<(), UpError> {
    for member in adopted.members() {
        if matches!(adopted.status(member), Status::Running(_)) {
            continue;
        }
        for (address, field) in configured(member, &document.spec.local).map_err(SupervisorError::Address)? {
            match std::net::TcpListener::bind(address) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::AddrInUse => {
                    return Err(UpError::PortInUse { address, field });
                }
                Err(error) => return Err(UpError::Address { address, field, why: error.to_string() }),
            }
        }
    }
    Ok(())
}

async fn start_conductor(platform: &LocalPlatform, document: BlueGreen) -> Result<Conductor, UpError> {
    Conductor::start(Arc::new(platform.clone()), document).await.map_err(UpError::Conductor)
}

/// Ends what a failed start had started, and gives back why it failed.
async fn undo(platform: &LocalPlatform, gateway: &Gateway, error: UpError) -> UpError {
    gateway.shutdown(Duration::ZERO).await;
    if let Err(left) = platform.stop(|running: &Running| !running.adopted).await {
        tracing::error!(%left, "a node of the failed start is left");
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_request_is_refused_before_anything_is_touched() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("shop");
        let document = "apiVersion: jadevectordb.io/v1alpha1\nkind: BlueGreen\nmetadata: {name: shop}\n\
                        spec: {request: {id: a, action: promote}}\n";
        let options = UpOptions {
            document: BlueGreen::from_yaml(document).unwrap(),
            folder: folder.clone(),
            node_program: "/nowhere".into(),
            patience: Patience::default(),
        };
        let error = Up::start(options).await.err().unwrap();
        assert_eq!(
            error.to_string(),
            "spec.request: `promote` is not allowed: a request is for a cluster; on one machine remove it, and ask by \
             `jadeshift promote`"
        );
        assert!(matches!(error, UpError::Document(_)) && !folder.exists());
    }
}
