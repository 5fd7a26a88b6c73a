//! `up`: a deployment on this machine, in the foreground or in the background, or on a cluster.

pub mod cluster;
mod detach;

pub use detach::detached;

use crate::cli::{Globals, Up as Args};
use crate::control::command_prefix;
use crate::document;
use crate::exit::ExitCode;
use crate::failure::Failure;
use crate::follow::News;
use crate::output::Printer;
use crate::signals::Interrupts;
use local::{Folder, FolderError, Patience, ShutdownMode, Up, UpError, UpOptions};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::Duration;
use wire::document::BlueGreen;

/// How often a change of the deployment is looked for, to be shown.
const POLL: Duration = Duration::from_millis(200);
/// In the deployment's folder, while it runs.
const ADDRESSES: &str = "addresses.json";

/// Where a running deployment is reached; printed at the start, and kept in its folder for `health` and others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    /// Name of the deployment.
    pub name: String,
    /// The version that the document begins with.
    pub version: String,
    pub dir: PathBuf,
    /// `host:port` of the gateway: the database's address.
    pub gateway: String,
    /// `host:port` of the control protocol.
    pub control: String,
    pub pid: u32,
}

impl Addresses {
    /// What the `up` of this folder wrote; `None` when there is nothing to be understood.
    pub fn load(dir: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(dir.join(ADDRESSES)).ok()?).ok()
    }

    fn store(&self) -> Result<(), Failure> {
        let path = self.dir.join(ADDRESSES);
        let failed = |error: &dyn std::fmt::Display| {
            Failure::failed(format!("could not write {}", path.display()), error.to_string())
        };
        let text = serde_json::to_vec_pretty(self).map_err(|error| failed(&error))?;
        // Renamed into place, so that no reader sees half of it.
        let new = path.with_extension("json.new");
        std::fs::write(&new, text).and_then(|()| std::fs::rename(&new, &path)).map_err(|error| failed(&error))
    }

    /// What a person sees when the deployment is up.
    fn text(&self, prefix: &str) -> String {
        let Self { name, dir, gateway, pid, .. } = self;
        let dir = dir.display();
        format!(
            "{name} is up (process {pid}, folder {dir})\n\
             \n\
             database  http://{gateway}\n\
             password  of the database's user admin: in {dir}/admin-password\n\
             \n\
             Next:\n  \
               curl http://{gateway}/health\n  \
               {prefix} info --watch\n  \
               {prefix} deploy 1.1.0 --wait\n  \
               {prefix} down"
        )
    }
}

/// Runs until Ctrl-C, SIGTERM or `jadeshift down`.
pub async fn foreground(globals: &Globals, printer: &Printer, args: &Args) -> Result<ExitCode, Failure> {
    if args.detached {
        // A session of its own: the terminal's Ctrl-C and its end are not for this process.
        rustix::process::setsid().map_err(|error| Failure::failed("could not leave the terminal", error))?;
    }
    // From here on a signal waits until the start is through: half a start would leave nodes behind.
    let mut interrupts = Interrupts::listen()?;
    let options = UpOptions {
        document: document_of(globals, args)?,
        folder: globals.dir.clone(),
        node_program: std::env::current_exe()
            .map_err(|error| Failure::failed("could not find the program of the nodes", error))?,
        patience: Patience::default(),
    };
    let (name, version) = (options.document.metadata.name.clone(), options.document.spec.version.clone());
    jadevectordb::cli::raise_file_limit();
    let up = Up::start(options).await.map_err(|error| start_failure(globals, error))?;
    let addresses = Addresses {
        name,
        version,
        dir: up.folder().root().to_path_buf(),
        gateway: up.address().to_string(),
        control: up.control_address().to_string(),
        pid: std::process::id(),
    };
    let served = match addresses.store() {
        Ok(()) => {
            printer.result(|| addresses.text(&command_prefix(&globals.dir)), &addresses);
            tokio::select! {
                () = show_changes(&up, printer) => {}
                () = interrupts.next() => printer.progress("ending (the data is kept)"),
                () = up.down_requested() => printer.progress("ending, as `jadeshift down` asked (the data is kept)"),
                () = parent_ended(args.with_parent) => {}
            }
            Ok(ExitCode::Ok)
        }
        Err(failure) => Err(failure),
    };
    end(up, &mut interrupts, !args.keep_nodes).await?;
    // What is left of it would only lead `health` to a closed port.
    let _ = std::fs::remove_file(addresses.dir.join(ADDRESSES));
    served
}

async fn end(up: Up, interrupts: &mut Interrupts, stop_nodes: bool) -> Result<(), Failure> {
    tokio::select! {
        ended = up.shutdown(ShutdownMode { stop_nodes }) => {
            ended.map_err(|error| Failure::failed("could not end everything", error))
        }
        () = interrupts.next() => {
            Err(Failure::interrupted("ending in order").advise("`jadeshift down` ends what is left"))
        }
    }
}

/// Says each change on stderr; does not end.
async fn show_changes(up: &Up, printer: &Printer) {
    let mut news = News::default();
    loop {
        let info = up.info();
        if let Some(line) = news.line(&info) {
            printer.progress(&line);
        }
        if let Some(why) = &info.stopped {
            printer.progress(&format!("the engine has stopped ({why}); requests are still passed on"));
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Ends when standard input is closed; never, if that is not `watched`.
async fn parent_ended(watched: bool) {
    if !watched {
        std::future::pending::<()>().await;
    }
    let (closed, end) = tokio::sync::oneshot::channel();
    // A thread of its own: a blocked read would keep the runtime from ending.
    std::thread::spawn(move || {
        // An error means the same as the end: nobody is at the other side.
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        let _ = closed.send(());
    });
    let _ = end.await;
}

/// The document asked for, with the overrides of the command line.
fn document_of(globals: &Globals, args: &Args) -> Result<BlueGreen, Failure> {
    let mut document = match &args.file {
        Some(file) => document::read(file)?.document,
        None => {
            let unreadable =
                |error| Failure::usage(format!("could not use the folder {}", globals.dir.display()), error);
            let folder = Folder::open_existing(&globals.dir).map_err(unreadable)?;
            match folder.map(|folder| folder.load_document()).transpose().map_err(unreadable)?.flatten() {
                Some(document) => document,
                None => BlueGreen::named(&default_name(&globals.dir)),
            }
        }
    };
    if let Some(gateway) = args.gateway {
        document.spec.local.gateway = gateway.to_string();
    }
    Ok(document)
}

/// The name of the folder around the deployment's (`/srv/shop/.jadeshift` is `shop`), as far as it can be a name.
fn default_name(dir: &Path) -> String {
    let absolute = std::path::absolute(dir).unwrap_or_else(|_| dir.into());
    let named = match absolute.file_name() {
        Some(name) if !name.to_string_lossy().starts_with('.') => Some(name),
        _ => absolute.parent().and_then(Path::file_name),
    };
    let name: String = named
        .map(|name| {
            name.to_string_lossy().chars().filter(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c)).collect()
        })
        .unwrap_or_default();
    let name: String = name.trim_start_matches(|c: char| !c.is_ascii_alphanumeric()).chars().take(63).collect();
    if name.is_empty() { "jadeshift".into() } else { name }
}

fn start_failure(globals: &Globals, error: UpError) -> Failure {
    let code = match &error {
        UpError::Document(_) => ExitCode::Usage,
        UpError::Folder(FolderError::Locked { .. }) => ExitCode::Refused,
        _ => ExitCode::Failed,
    };
    Failure::new(code, format!("could not start the deployment in {}", globals.dir.display()), error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_name_is_the_folders() {
        for (dir, name) in [
            ("/srv/shop/.jadeshift", "shop"),
            ("/srv/shop", "shop"),
            ("/srv/My Shop (2)/.jadeshift", "MyShop2"),
            ("/.jadeshift", "jadeshift"),
            ("/srv/--/.jadeshift", "jadeshift"),
        ] {
            assert_eq!(default_name(Path::new(dir)), name);
            assert_eq!(BlueGreen::named(&default_name(Path::new(dir))).validate(), Ok(()));
        }
    }

    #[test]
    fn what_a_person_sees_first() {
        let addresses = Addresses {
            name: "shop".into(),
            version: "1.0.0".into(),
            dir: "/srv/shop/.jadeshift".into(),
            gateway: "127.0.0.1:8080".into(),
            control: "127.0.0.1:40003".into(),
            pid: 77,
        };
        assert_eq!(
            addresses.text("jadeshift"),
            "\
shop is up (process 77, folder /srv/shop/.jadeshift)

database  http://127.0.0.1:8080
password  of the database's user admin: in /srv/shop/.jadeshift/admin-password

Next:
  curl http://127.0.0.1:8080/health
  jadeshift info --watch
  jadeshift deploy 1.1.0 --wait
  jadeshift down"
        );
    }
}
