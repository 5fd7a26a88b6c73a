//! HAProxy, set up to do the same as our gateway.

use super::{READY_LIMIT, Way};
use crate::bench::PROXY_THREADS;
use crate::bench::process::Process;
use anyhow::{Result, bail, ensure};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Attempts to find a port for HAProxy, which cannot be told to choose one.
const PORT_ATTEMPTS: u32 = 5;

pub(super) fn find(program: &Path) -> Result<PathBuf> {
    // Debian puts it where only root's search path looks.
    for candidate in [program, &Path::new("/usr/sbin").join(program)] {
        if Command::new(candidate).arg("-v").output().is_ok_and(|output| output.status.success()) {
            return Ok(candidate.to_path_buf());
        }
    }
    bail!(
        "{} cannot be run: install HAProxy (Debian: apt-get install haproxy) or name its program with --haproxy",
        program.display()
    )
}

pub(super) fn version_of(haproxy: &Path) -> Result<String> {
    let output = Command::new(haproxy).arg("-v").output()?;
    Ok(String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_string())
}

pub(super) async fn start(program: &Path, backends: [SocketAddr; 2], folder: &Path) -> Result<Way> {
    let mut last = String::new();
    for _ in 0..PORT_ATTEMPTS {
        let listen = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let file = folder.join("haproxy.cfg");
        fs::write(&file, configuration(listen, backends))?;
        let mut command = Command::new(program);
        command.arg("-db").arg("-f").arg(&file);
        let mut process = Process::start("haproxy", &mut command, &folder.join("haproxy.output"))?;
        match wait_for_port(listen, &mut process).await {
            Ok(()) => return Ok(Way { name: "haproxy", addresses: vec![listen], proxy: Some(process) }),
            // Somebody else may have taken the port in between.
            Err(error) => last = error.to_string(),
        }
    }
    bail!("HAProxy did not start in {PORT_ATTEMPTS} attempts: {last}")
}

async fn wait_for_port(address: SocketAddr, process: &mut Process) -> Result<()> {
    let started = Instant::now();
    loop {
        process.must_run()?;
        match tokio::net::TcpStream::connect(address).await {
            Ok(_) => return process.must_run(),
            Err(error) => ensure!(started.elapsed() < READY_LIMIT, "nothing listens on {address}: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn configuration(listen: SocketAddr, [blue, green]: [SocketAddr; 2]) -> String {
    format!(
        "global
    nbthread {PROXY_THREADS}
    maxconn 4096
defaults
    mode http
    timeout connect 2s
    timeout client 30s
    timeout server 30s
    option http-keep-alive
    http-reuse always
frontend clients
    bind {listen}
    default_backend nodes
backend nodes
    balance roundrobin
    server blue {blue} weight 50
    server green {green} weight 50
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_haproxy_is_explained() {
        let error = find(Path::new("no-such-program")).unwrap_err().to_string();
        assert!(error.contains("no-such-program") && error.contains("apt-get install haproxy"), "{error}");
    }
}
