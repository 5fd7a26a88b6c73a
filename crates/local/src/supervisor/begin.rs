//! Starting one process: its addresses, its log, its record.

use super::record::Started;
use super::{SupervisorError, SupervisorOptions};
use crate::capacity::{self, Shortage};
use crate::folder::{Folder, FolderError};
use crate::launch::{Addresses, Launch, NodeFiles, configured};
use crate::process::{self, Identity};
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::process::Child;
use wire::{Colour, Member};

/// Why a process was not started.
#[derive(Debug, thiserror::Error)]
pub(super) enum BeginError {
    #[error(transparent)]
    Shortage(#[from] Shortage),
    #[error("{address} ({field}) is in use by another program: end that one, or change {field}")]
    AddressTaken { address: SocketAddr, field: String },
    #[error("cannot listen on {address} ({field}): {why}")]
    AddressUnusable { address: SocketAddr, field: String, why: String },
    #[error("{0}")]
    Address(String),
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error("could not start `{program}`: {source}")]
    Spawn { program: String, source: std::io::Error },
    #[error("the start was broken off")]
    BrokenOff,
}

impl BeginError {
    /// The same attempt fails again until a person changes something.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Shortage(_) | Self::AddressTaken { .. } | Self::AddressUnusable { .. })
    }
}

/// A node that runs, and how many more of its size are about to.
pub(super) struct Beside {
    pub member: Member,
    pub process: Identity,
    pub more: u64,
}

/// Starts `launch`. Blocks for the disk. `beside`: what runs already, if something does.
pub(super) fn begin(
    options: &SupervisorOptions,
    member: Member,
    launch: &Launch,
    before: Option<Started>,
    beside: Option<Beside>,
) -> Result<(Child, Identity, Started), BeginError> {
    let folder = &options.folder;
    folder.create_data(member)?;
    let again = before.as_ref().is_some_and(|before| before.launch.serves_as(launch));
    // What ran before had its room; above all, an environment that serves must not stay down for a reserve.
    if let Some(Beside { member: first, process, more }) = beside
        && (!again || folder.data_is_empty(member)?)
    {
        capacity::check(&process, &folder.data(first), &folder.data(member), more)?;
    }
    let addresses = addresses(options, member, before.map(|before| before.addresses))?;
    folder.remove_ready(member)?;
    let mut started = Started { launch: launch.clone(), process: None, addresses, served: false };
    if !again {
        started.store(folder, member)?;
    }
    let log = folder.open_log(member)?;
    let mut command = launch.command(&options.node_program, addresses, &node_files(folder, member));
    let program = command.get_program().to_string_lossy().into_owned();
    let failed = |source| BeginError::Spawn { program: program.clone(), source };
    command.stdout(log.try_clone().map_err(failed)?).stderr(log);
    let (child, identity) = process::spawn(&mut command).map_err(failed)?;
    tracing::info!(%member, version = launch.version, pid = identity.pid, "started the node");
    started.process = Some(identity.clone());
    started.note(folder, member);
    Ok((child, identity, started))
}

/// Fixed ports as the document says; picked ones as they were the last time, unless something else has them now.
fn addresses(options: &SupervisorOptions, member: Member, before: Option<Addresses>) -> Result<Addresses, BeginError> {
    let [http, admin] = configured(member, &options.local).map_err(BeginError::Address)?;
    Ok(Addresses {
        http: address(http, before.map(|before| before.http))?,
        admin: address(admin, before.map(|before| before.admin))?,
    })
}

fn address((configured, field): (SocketAddr, String), before: Option<SocketAddr>) -> Result<SocketAddr, BeginError> {
    if configured.port() != 0 {
        return match TcpListener::bind(configured) {
            Ok(_) => Ok(configured),
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                Err(BeginError::AddressTaken { address: configured, field })
            }
            Err(error) => Err(BeginError::AddressUnusable { address: configured, field, why: error.to_string() }),
        };
    }
    match before {
        Some(before) if before.ip() == configured.ip() && TcpListener::bind(before).is_ok() => Ok(before),
        _ => Ok(configured),
    }
}

fn node_files(folder: &Folder, member: Member) -> NodeFiles {
    NodeFiles {
        data: folder.data(member),
        admin_token: folder.admin_token_path(),
        admin_password: folder.admin_password_path(),
        ready: folder.ready_path(member),
    }
}

/// Checks, before anything is started, that the document's fixed addresses make sense together.
pub(crate) fn check_addresses(local: &wire::document::Local) -> Result<(), SupervisorError> {
    let gateway = local.gateway.parse().map_err(|_| {
        SupervisorError::Address(format!("spec.local.gateway: `{}` is not an address with a port", local.gateway))
    })?;
    let mut all: Vec<(SocketAddr, String)> = vec![(gateway, "spec.local.gateway".into())];
    for colour in Colour::BOTH {
        all.extend(configured(colour.into(), local).map_err(SupervisorError::Address)?);
    }
    for (position, (address, field)) in all.iter().enumerate() {
        if let Some((_, other)) = all[..position].iter().find(|(other, _)| address.port() != 0 && other == address) {
            return Err(SupervisorError::Address(format!(
                "{other} and {field} are both {address}: give each its own port"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::document::{Local, LocalNode};

    #[test]
    fn two_fields_with_one_address_are_both_named() {
        check_addresses(&Local::default()).unwrap();
        let node = LocalNode { http: "127.0.0.1:8081".into(), admin: "127.0.0.1:0".into() };
        let local = Local { blue: node.clone(), green: node, ..Local::default() };
        let message = check_addresses(&local).unwrap_err().to_string();
        assert_eq!(
            message,
            "spec.local.blue.http and spec.local.green.http are both 127.0.0.1:8081: give each its own port"
        );
    }

    #[test]
    fn a_picked_port_is_kept_unless_another_program_has_it() {
        let picked = TcpListener::bind("127.0.0.1:0").unwrap();
        let before = picked.local_addr().unwrap();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        assert_eq!(address((any, "f".into()), Some(before)).unwrap(), any);
        let fixed = address((before, "spec.local.blue.http".into()), None).unwrap_err();
        assert!(fixed.is_refusal());
        assert!(fixed.to_string().contains(&format!("{before} (spec.local.blue.http) is in use")), "{fixed}");
        drop(picked);
        assert_eq!(address((any, "f".into()), Some(before)).unwrap(), before);
    }
}
