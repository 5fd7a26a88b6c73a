//! `up --detach`: the same program again, in the background.

use super::{Addresses, document_of};
use crate::cli::{Globals, Up as Args};
use crate::control::{Control, command_prefix};
use crate::document;
use crate::exit::ExitCode;
use crate::failure::Failure;
use crate::output::Printer;
use crate::signals::Interrupts;
use local::Folder;
use rollout::Phase;
use std::fs::{DirBuilder, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

const POLL: Duration = Duration::from_millis(50);

/// Returns when the active environment serves; the process in the background runs on.
pub async fn detached(globals: &Globals, printer: &Printer, args: &Args) -> Result<ExitCode, Failure> {
    // Said here rather than in the log of a process that ends at once.
    let text = match args.file.as_deref().filter(|file| document::is_stdin(file)) {
        Some(file) => Some(document::read(file)?.text),
        None => document_of(globals, args).map(|_| None)?,
    };
    let log = log_path(&globals.dir)?;
    let mut interrupts = Interrupts::listen()?;
    let mut child = spawn(globals, args, text, &log).await?;
    let started = tokio::select! {
        started = wait_until_serving(globals, args, &mut child, &log) => started,
        () = interrupts.next() => Err(Failure::interrupted("waiting for the deployment").advise(format!(
            "process {} runs on; end it with `{} down`",
            child.id().unwrap_or_default(),
            command_prefix(&globals.dir)
        ))),
    };
    let addresses = started?;
    printer.result(|| addresses.text(&command_prefix(&globals.dir)), &addresses);
    Ok(ExitCode::Ok)
}

fn log_path(dir: &Path) -> Result<PathBuf, Failure> {
    let failed = |error: String| Failure::failed(format!("could not use the folder {}", dir.display()), error);
    let folder = Folder::open(dir).map_err(|error| failed(error.to_string()))?;
    let logs = folder.root().join("logs");
    DirBuilder::new().recursive(true).mode(0o700).create(&logs).map_err(|error| failed(error.to_string()))?;
    Ok(logs.join("up.log"))
}

/// `text`: the document, if it was read from standard input.
async fn spawn(globals: &Globals, args: &Args, text: Option<String>, log: &Path) -> Result<Child, Failure> {
    let failed = |error: std::io::Error| Failure::failed("could not start in the background", error);
    let output = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(log).map_err(failed)?;
    let mut command = Command::new(std::env::current_exe().map_err(failed)?);
    command.arg("--dir").arg(&globals.dir).arg(if globals.verbose > 1 { "-vv" } else { "-v" });
    command.args(["up", "--detached"]);
    if let Some(file) = &args.file {
        command.arg("--file").arg(file);
    }
    if let Some(gateway) = args.gateway {
        command.args(["--gateway", &gateway.to_string()]);
    }
    if args.keep_nodes {
        command.arg("--keep-nodes");
    }
    let input = if text.is_some() { Stdio::piped() } else { Stdio::null() };
    let mut child = command.stdin(input).stdout(Stdio::null()).stderr(output).spawn().map_err(failed)?;
    if let (Some(text), Some(mut input)) = (text, child.stdin.take()) {
        input.write_all(text.as_bytes()).await.map_err(failed)?;
    }
    Ok(child)
}

async fn wait_until_serving(
    globals: &Globals,
    args: &Args,
    child: &mut Child,
    log: &Path,
) -> Result<Addresses, Failure> {
    let started = Instant::now();
    let what = "the deployment did not start";
    loop {
        if let Ok(Some(status)) = child.try_wait() {
            return Err(ended_at_once(what, status.code(), log));
        }
        let why = match look(globals, child.id()).await {
            Ok(addresses) => return Ok(addresses),
            Err(why) => why,
        };
        if started.elapsed() > Duration::from_millis(args.timeout_ms) {
            return Err(Failure::new(ExitCode::TimedOut, what, format!("{why} after {} ms", args.timeout_ms))
                .advise(format!("see {}", log.display())));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// The addresses, once the process started here serves; otherwise why not.
async fn look(globals: &Globals, pid: Option<u32>) -> Result<Addresses, String> {
    let addresses = Addresses::load(&globals.dir).filter(|addresses| Some(addresses.pid) == pid);
    let addresses = addresses.ok_or("it does not say its addresses")?;
    let control = Control::find(&globals.dir).map_err(|failure| failure.to_string())?;
    let info = control.info().await.map_err(|failure| failure.to_string())?;
    let active = info.nodes.get(info.active);
    match info.phase {
        Phase::Starting { .. } => Err(info.why),
        _ if !active.ready => Err(format!("{} is not ready", info.active)),
        _ => Ok(addresses),
    }
}

/// The process has said in its log what was wrong; it is said here again, with its exit code.
fn ended_at_once(what: &str, code: Option<i32>, log: &Path) -> Failure {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let said = text.lines().rev().find_map(|line| line.strip_prefix("jadeshift: "));
    let code = match code {
        Some(2) => ExitCode::Usage,
        Some(3) => ExitCode::Refused,
        _ => ExitCode::Failed,
    };
    match said.map(|said| said.split_once(": ").unwrap_or((what, said))) {
        Some((what, why)) => Failure::new(code, what, why),
        None => Failure::new(code, what, "its process ended").advise(format!("see {}", log.display())),
    }
}
