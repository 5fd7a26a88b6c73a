//! One network namespace for every process of the cluster: nothing reaches or leaves the machine, ports never clash with the
//! machine's own, and with the namespace every rule in it goes.

use super::must_succeed;
use super::place::{NODE_ADDRESS, Place};
use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::Command;

pub fn must_be_root() -> Result<()> {
    match rustix::process::geteuid().is_root() {
        true => Ok(()),
        false => bail!("the cluster runs containers in a network of its own, which only root may: use `sudo -E`"),
    }
}

pub fn up(place: &Place) -> Result<()> {
    let name = &place.network;
    if exists(name) {
        return Ok(());
    }
    ip(&["netns", "add", name])?;
    // A bridge stands for the network card of the node.
    let script = format!(
        "set -e; ip link set lo up; ip link add node0 type bridge; ip addr add {NODE_ADDRESS}/24 dev node0; \
         ip link set node0 up; ip route add default dev node0; echo 1 > /proc/sys/net/ipv4/ip_forward"
    );
    let status = place.command("sh").args(["-c", &script]).status().context("cannot run nsenter")?;
    must_succeed("setting up the network of the cluster", status)
}

pub fn down(place: &Place) -> Result<()> {
    match exists(&place.network) {
        true => ip(&["netns", "delete", &place.network]),
        false => Ok(()),
    }
}

fn exists(name: &str) -> bool {
    Path::new("/var/run/netns").join(name).exists()
}

fn ip(arguments: &[&str]) -> Result<()> {
    let status = Command::new("ip").args(arguments).status().context("cannot run ip; Debian has it in iproute2")?;
    must_succeed(&format!("ip {}", arguments.join(" ")), status)
}
