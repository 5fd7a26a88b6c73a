//! A real Kubernetes of one node for tests, without Docker: `cargo xtask cluster up`.
//!
//! Its programs are built from the modules in `tests/cluster/`; everything that it writes is in `target/cluster/`, and every
//! process of it lives in one network namespace, so that nothing of it reaches or leaves the machine. Needs root, and
//! `tests/cluster/install-debian.sh` once. With `KUBEBUILDER_ASSETS` only API server and etcd from there are started, and with
//! `JADESHIFT_TEST_KUBECONFIG` a cluster that is there is used; scenarios that need more than that are left out.

mod build;
mod certificates;
mod control_plane;
mod edge;
mod image;
mod network;
mod node;
pub mod objects;
mod place;
mod processes;
mod scenarios;
mod stage;
mod traffic;

use anyhow::{Context, Result, bail};
use place::Extent;
pub use place::Place;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

/// Longest time that a part may take until it is ready.
const READY_TIMEOUT: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(100);

/// A real Kubernetes of one node, for tests.
#[derive(clap::Subcommand)]
pub enum Cluster {
    /// Builds what is missing and starts everything; does nothing when it runs already.
    Up {
        /// API server and etcd only, without a node.
        #[arg(long)]
        api_only: bool,
    },
    /// Ends every process and forgets everything that the cluster kept.
    Down,
    /// Adds Contour and Envoy for the Gateway API, and the definitions of Istio and of Prometheus.
    Edge,
    /// Builds the programs of the cluster, and starts nothing.
    Build,
    /// Runs kubectl as the cluster's administrator.
    Kubectl {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Runs a command in the cluster's network, with KUBECONFIG set.
    Run {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        command: Vec<String>,
    },
    /// Starts the cluster if it is not there, installs the operator, and plays every scenario: real pods, real load.
    Test(scenarios::Test),
    /// Plays scenarios from inside of the cluster's network (started by `cluster test`).
    #[command(hide = true)]
    Play(scenarios::Test),
    /// Makes an image of a program and the libraries that it needs, for the pods of the cluster.
    Image {
        /// Such as `jadevectordb:1.0.0`.
        name: String,
        program: PathBuf,
    },
}

pub fn run(command: Cluster) -> Result<()> {
    let place = Place::of_this_workspace()?;
    match command {
        Cluster::Up { api_only } => up(&place, api_only),
        Cluster::Down => down(&place),
        Cluster::Edge => place.must_be_ours().and_then(|()| edge::start(&place)),
        Cluster::Build => {
            build::everything(&place).and_then(|()| build::contour(&place)).and_then(|()| build::helm(&place))
        }
        Cluster::Kubectl { arguments } => become_program(&place, "kubectl", &arguments),
        Cluster::Run { command } => become_program(&place, &command[0], &command[1..]),
        Cluster::Test(test) => scenarios::test(&place, &test),
        Cluster::Play(test) => scenarios::play(&place, &test),
        Cluster::Image { name, program } => place.must_be_ours().and_then(|()| image::load(&place, &name, &program)),
    }
}

pub fn up(place: &Place, api_only: bool) -> Result<()> {
    place.must_be_ours()?;
    network::must_be_root()?;
    let began = Instant::now();
    let api_only = api_only || place.extent() == Extent::Api;
    if place.extent() == Extent::Machine {
        build::everything(place)?;
    }
    if began.elapsed() > Duration::from_secs(5) {
        eprintln!("built in {:.0} s", began.elapsed().as_secs_f64());
    }
    let began = Instant::now();
    place.make_folders()?;
    network::up(place)?;
    certificates::make(place)?;
    control_plane::start(place, api_only)?;
    if !api_only {
        node::start(place)?;
        objects::apply(place)?;
    }
    eprintln!("ready after {:.1} s; KUBECONFIG={}", began.elapsed().as_secs_f64(), place.kubeconfig("admin").display());
    Ok(())
}

pub fn down(place: &Place) -> Result<()> {
    place.must_be_ours()?;
    network::must_be_root()?;
    processes::end_all(place)?;
    node::forget(place)?;
    network::down(place)?;
    place.remove_state()
}

/// Replaces this process, so that signals, streams and exit code are those of `program`.
fn become_program(place: &Place, program: &str, arguments: &[String]) -> Result<()> {
    let error = place.command(program).args(arguments).exec();
    Err(error).with_context(|| format!("cannot run {program} in the network of the cluster"))
}

/// Waits until `ready` says so; `what` is named when it does not in time, or cannot any more.
fn wait_for(what: &str, mut ready: impl FnMut() -> Result<bool>) -> Result<()> {
    let until = Instant::now() + READY_TIMEOUT;
    while !ready().with_context(|| format!("{what} is not ready"))? {
        if Instant::now() >= until {
            bail!("{what} was not ready within {} s", READY_TIMEOUT.as_secs());
        }
        std::thread::sleep(POLL);
    }
    Ok(())
}

fn must_succeed(what: &str, status: ExitStatus) -> Result<()> {
    match status.success() {
        true => Ok(()),
        false => bail!("{what}: {status}"),
    }
}
