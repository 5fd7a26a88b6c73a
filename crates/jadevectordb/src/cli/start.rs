//! The life of the process: bind, recover, serve, drain, close.

use super::Args;
use super::environment::{ADMIN_PASSWORD, ADMIN_PASSWORD_FILE, Environment};
use super::settings::{Settings, SettingsError};
use crate::auth::{FirstAdmin, FirstAdminError, RateLimits, ensure_first_admin};
use crate::engine::{Node, OpenError};
use crate::record::FORMAT_MAX;
use crate::{admin, rest};
use serde_json::json;
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use wire::document::Mode;

/// How long streams of the admin protocol may take to end, after everything else has.
const ADMIN_TIMEOUT: Duration = Duration::from_millis(500);

/// Why the node does not run.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("{0}")]
    Settings(#[from] SettingsError),
    #[error("{0}")]
    Environment(#[from] super::environment::EnvironmentError),
    #[error("the runtime cannot be started: {0}")]
    Runtime(std::io::Error),
    #[error("{flag} {address} cannot be listened on: {error}{hint}")]
    Bind { flag: &'static str, address: SocketAddr, error: std::io::Error, hint: &'static str },
    #[error("--ready-file {} cannot be written: {error}", path.display())]
    ReadyFile { path: PathBuf, error: std::io::Error },
    #[error("{0}")]
    Open(#[from] OpenError),
    #[error("{0}")]
    FirstAdmin(#[from] FirstAdminError),
    #[error("signals cannot be received: {0}")]
    Signals(std::io::Error),
    #[error("a task of the node ended badly: {0}")]
    Task(#[from] tokio::task::JoinError),
}

pub fn run(args: Args) -> Result<(), StartError> {
    // Values that are no text cannot be meant for this program.
    let variables =
        std::env::vars_os().filter_map(|(name, value)| name.into_string().ok().zip(value.into_string().ok()));
    let settings = Settings::new(args, Environment::read(variables)?)?;
    let colours = std::io::stderr().is_terminal();
    let logging = tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(colours);
    // Whoever calls may have a subscriber already.
    let _ = logging.with_max_level(settings.log_level).try_init();
    warn_of(&settings);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(StartError::Runtime)?;
    let outcome = runtime.block_on(serve(settings));
    // Everything that matters has ended; a computation that nobody waits for must not hold the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    outcome
}

fn warn_of(settings: &Settings) {
    for warning in &settings.warnings {
        tracing::warn!("{warning}");
    }
    if settings.config.mode == Mode::Development {
        let line = "*".repeat(100);
        eprintln!(
            "{line}\n* DEVELOPMENT MODE: everybody who reaches {} may register, and every user may do everything.\n\
             * Set JADEVECTORDB_ENV=production (or unset it) wherever the data matters.\n{line}",
            settings.config.http
        );
    }
    if settings.config.record_format < FORMAT_MAX {
        tracing::warn!(
            format = settings.config.record_format,
            newest = FORMAT_MAX,
            "held back: records are read and written up to an older format, and no idempotency keys are kept"
        );
    }
    if settings.config.faults.any() {
        tracing::warn!(faults = ?settings.config.faults, "this node makes faults on purpose");
    }
}

async fn serve(settings: Settings) -> Result<(), StartError> {
    let Settings { mut config, ready_file, first_admin_password, .. } = settings;
    let http = bind("--http", config.http).await?;
    let admin = bind("--admin", config.admin).await?;
    config.http = local_address(&http, config.http);
    config.admin = local_address(&admin, config.admin);
    let (http_address, admin_address) = (config.http, config.admin);
    let ready_file = ReadyFile::write(ready_file, http_address, admin_address)?;
    let mut stop = Stop::new()?;
    let opening = tokio::task::spawn_blocking(move || Node::open(config));
    let node = tokio::select! {
        node = opening => node??,
        () = stop.asked() => return Ok(()),
    };
    let outcome = serve_node(&node, (http, admin), first_admin_password, stop).await;
    drop(ready_file);
    let closing = node.clone();
    tokio::task::spawn_blocking(move || closing.close()).await?;
    tracing::info!("stopped");
    outcome
}

async fn serve_node(
    node: &Node,
    (http, admin): (TcpListener, TcpListener),
    first_admin_password: Option<String>,
    mut stop: Stop,
) -> Result<(), StartError> {
    if let Some(first) = ensure_first_admin(node, first_admin_password).await? {
        show(&first);
    }
    let config = node.config();
    tracing::info!(
        version = %config.version, http = %config.http, admin = %config.admin,
        data = %config.data_dir.display(), mode = config.mode.as_str(), "serving"
    );
    let (end_admin, mut admin_ended) = watch::channel(false);
    let until_ended = async move {
        // A dropped sender is as good as a word.
        let _ = admin_ended.wait_for(|ended| *ended).await;
    };
    let keeps_all = watch::channel(false).1;
    let admin_task = tokio::spawn(rest::serve(admin, admin::router(node.clone()), keeps_all, until_ended));
    let stopping = node.clone();
    let signals = tokio::spawn(async move {
        stop.asked().await;
        stopping.request_shutdown();
        stop.asked().await;
        eprintln!("jadevectordb: told twice to stop: stopping at once");
        std::process::exit(1);
    });
    let stopping = node.clone();
    let until_shutdown = async move { stopping.until_shutdown().await };
    let router = rest::router(node.clone(), RateLimits::default());
    let rest_task = tokio::spawn(rest::serve(http, router, node.shed(), until_shutdown));
    let ended = rest_task.await;
    // Followers received what the last requests wrote for as long as those took.
    end_admin.send_replace(true);
    let abort = admin_task.abort_handle();
    if tokio::time::timeout(ADMIN_TIMEOUT, admin_task).await.is_err() {
        abort.abort();
    }
    signals.abort();
    Ok(ended?)
}

async fn bind(flag: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|error| {
        let in_use = error.kind() == std::io::ErrorKind::AddrInUse;
        let hint = if in_use { "; another process has it: stop that, or choose another port (0: any)" } else { "" };
        StartError::Bind { flag, address, error, hint }
    })
}

fn local_address(listener: &TcpListener, asked: SocketAddr) -> SocketAddr {
    listener.local_addr().unwrap_or(asked)
}

fn show(first: &FirstAdmin) {
    match &first.generated_password {
        Some(password) => eprintln!(
            "\nThe first administrator of this database was created. This is shown once and kept nowhere:\n\
             \n    username  {}\n    password  {password}\n\n\
             Log in with POST /v1/auth/login, and change it. ({ADMIN_PASSWORD} or {ADMIN_PASSWORD_FILE} would choose it.)\n",
            first.username
        ),
        None => {
            tracing::info!(username = first.username, "the first administrator was created with the given password")
        }
    }
}

/// Tells a supervisor the addresses; removed at the end.
struct ReadyFile(Option<PathBuf>);

impl ReadyFile {
    fn write(path: Option<PathBuf>, http: SocketAddr, admin: SocketAddr) -> Result<Self, StartError> {
        let Some(path) = path else { return Ok(Self(None)) };
        let body = json!({ "http": http.to_string(), "admin": admin.to_string(), "pid": std::process::id() });
        let mut draft = path.clone().into_os_string();
        draft.push(format!(".{}", std::process::id()));
        let draft = Path::new(&draft);
        let written = std::fs::write(draft, format!("{body}\n")).and_then(|()| std::fs::rename(draft, &path));
        match written {
            Ok(()) => Ok(Self(Some(path))),
            Err(error) => Err(StartError::ReadyFile { path, error }),
        }
    }
}

impl Drop for ReadyFile {
    fn drop(&mut self) {
        if let Some(path) = self.0.take()
            && let Err(error) = std::fs::remove_file(&path)
        {
            tracing::debug!(%error, path = %path.display(), "the ready file could not be removed");
        }
    }
}

/// SIGTERM and SIGINT.
struct Stop {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Stop {
    fn new() -> Result<Self, StartError> {
        let listen = |kind| signal(kind).map_err(StartError::Signals);
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
