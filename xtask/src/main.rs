//! The developers' commands: `cargo xtask help`.

mod api;
mod bench;
mod cluster;
mod crash;
mod deployment;
mod model;
mod serve;
mod sim;
mod writers;

use anyhow::{Context, Result, bail};
use clap::Parser;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

/// The developers' commands.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Command {
    #[command(subcommand)]
    Bench(bench::Bench),
    #[command(subcommand)]
    Cluster(cluster::Cluster),
    Crash(crash::Crash),
    Model(model::Model),
    Sim(sim::Sim),
    /// The gateway alone, half of the reads to each backend (started by `bench gateway`).
    #[command(hide = true)]
    ServeGateway {
        #[arg(long)]
        listen: SocketAddr,
        #[arg(long)]
        blue: SocketAddr,
        #[arg(long)]
        green: SocketAddr,
        #[arg(long)]
        ready_file: PathBuf,
    },
    /// A backend that does nothing (started by `bench gateway`).
    #[command(hide = true)]
    ServeEcho {
        #[arg(long)]
        listen: SocketAddr,
        #[arg(long)]
        ready_file: PathBuf,
    },
}

fn main() -> ExitCode {
    match run(Command::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The chain of causes in one line; a backtrace would bury it.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        // One thread is enough for the load and leaves the rest of the machine to what is measured.
        Command::Bench(bench) => tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?
            .block_on(unless_interrupted(bench::run(bench))),
        Command::Cluster(command) => cluster::run(command),
        Command::Sim(options) => tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?
            .block_on(unless_interrupted(sim::run(options))),
        Command::Crash(options) => servers()?.block_on(unless_interrupted(crash::run(options))),
        Command::Model(options) => model::run(&options),
        Command::ServeGateway { listen, blue, green, ready_file } => {
            servers()?.block_on(serve::run_gateway(listen, blue, green, &ready_file))
        }
        Command::ServeEcho { listen, ready_file } => servers()?.block_on(serve::run_echo(listen, &ready_file)),
    }
}

/// Ends `work` when a signal asks for it; what it started is ended because it is dropped.
async fn unless_interrupted(work: impl Future<Output = Result<()>>) -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot handle SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot handle SIGTERM")?;
    let mut hangup = signal(SignalKind::hangup()).context("cannot handle SIGHUP")?;
    tokio::select! {
        result = work => result,
        _ = interrupt.recv() => bail!("interrupted"),
        _ = terminate.recv() => bail!("terminated"),
        _ = hangup.recv() => bail!("the terminal is gone"),
    }
}

fn servers() -> Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(bench::PROXY_THREADS).enable_all();
    builder.build().context("cannot start threads")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Command::command().debug_assert();
        let parsed = Command::try_parse_from(["xtask", "bench", "node", "--seconds", "0"]);
        assert!(parsed.err().unwrap().to_string().contains("above 0"));
        assert!(Command::try_parse_from(["xtask", "bench", "node", "--quick", "--", "--quantization", "f16"]).is_ok());
    }
}
