//! `bench gateway`: our gateway and HAProxy in front of the same two backends, half of the requests each, in turns.

mod haproxy;

use super::dataset::{Dataset, JsonNumbers};
use super::load::{Outcome, Plan, Until, run, write_request};
use super::process::{self, CpuMeter, Process};
use super::report::{Goal, Report, median};
use super::server::{NodeProgram, TOP_K};
use super::{Common, environment};
use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

/// How long a proxy or a backend may take until it is ready.
const READY_LIMIT: Duration = Duration::from_secs(20);
/// Limit of loading the vectors, and of indexing them.
const LOAD_LIMIT: Duration = Duration::from_secs(300);
/// Load before each measurement, not counted: connections are made and pools are filled.
const WARM_UP: Duration = Duration::from_millis(300);

/// Compares the gateway with HAProxy.
#[derive(clap::Args)]
#[command(after_help = "\
Needs the program haproxy (Debian: apt-get install haproxy).

Examples:
  cargo xtask bench gateway
  cargo xtask bench gateway --rounds 6 --seconds 5 --clients 16
  cargo xtask bench gateway --echo      # backends that do nothing: the cost of the proxies alone")]
pub struct Arguments {
    #[command(flatten)]
    pub common: Common,
    /// Duration of each measurement; there are six in a round.
    #[arg(long, default_value_t = 3.0, value_name = "S", value_parser = super::positive_seconds)]
    seconds: f64,
    /// Keep-alive connections of the load.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(2..=512))]
    clients: u16,
    /// Rounds; in each every proxy gets every load.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=50))]
    rounds: u8,
    /// Vectors in each node.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
    vectors: u32,
    /// HAProxy's program.
    #[arg(long, default_value = "haproxy", value_name = "PROGRAM")]
    haproxy: PathBuf,
    /// Use backends that answer at once and do nothing.
    #[arg(long)]
    echo: bool,
    /// Further arguments for the nodes.
    #[arg(last = true)]
    node_arguments: Vec<String>,
}

/// The way by which requests reach the backends.
struct Way {
    name: &'static str,
    addresses: Vec<SocketAddr>,
    /// None for the direct way.
    proxy: Option<Process>,
}

/// A kind of request.
struct Load {
    name: &'static str,
    requests: Arc<Vec<Vec<u8>>>,
}

/// Two backends with the same content, and the load for them.
struct Backends {
    processes: Vec<Process>,
    addresses: [SocketAddr; 2],
    loads: Vec<Load>,
}

/// What one way did with one load, over all rounds.
#[derive(Default)]
struct Measured {
    rates: Vec<f64>,
    total: Option<Outcome>,
    proxy_s: f64,
    backends_s: f64,
    others_s: f64,
    wall_s: f64,
}

#[derive(Deserialize)]
struct Ready {
    http: SocketAddr,
}

pub async fn bench(arguments: Arguments) -> Result<Report> {
    let program = haproxy::find(&arguments.haproxy)?;
    let folder = process::work_folder(arguments.common.work_dir.as_deref())?;
    let mut report = Report::new("gateway");
    environment(&mut report, folder.path())?;
    report.text("haproxy", haproxy::version_of(&program)?);
    let data = Arc::new(Dataset::read(&arguments.common.data)?.resized(arguments.vectors as usize, 1));
    let mut backends = match arguments.echo {
        true => echo_backends(&data, folder.path()).await?,
        false => node_backends(&arguments, &data, folder.path()).await?,
    };
    report.text("backends", if arguments.echo { "do nothing" } else { "nodes" });
    let mut ways = vec![
        Way { name: "direct", addresses: backends.addresses.to_vec(), proxy: None },
        haproxy::start(&program, backends.addresses, folder.path()).await?,
        start_gateway(backends.addresses, folder.path()).await?,
    ];
    report.section(&format!(
        "{} rounds of {} s for each way and load, {} clients",
        arguments.rounds, arguments.seconds, arguments.clients
    ));
    let measured = measure(&arguments, &mut backends, &mut ways).await?;
    for (load, by_way) in backends.loads.iter().zip(&measured) {
        for (way, measured) in ways.iter().zip(by_way) {
            measured.report(&mut report, load.name, way);
        }
        compare(&mut report, load.name, &by_way[1], &by_way[2]);
    }
    for way in &ways {
        let Some(proxy) = &way.proxy else { continue };
        report.figure(&format!("{}_resident_peak_mb", way.name), proxy.memory()?.peak as f64 / 1e6, "MB");
    }
    Ok(report)
}

/// For each load and, below it, each way.
async fn measure(arguments: &Arguments, backends: &mut Backends, ways: &mut [Way]) -> Result<Vec<Vec<Measured>>> {
    let mut all: Vec<Vec<Measured>> =
        backends.loads.iter().map(|_| ways.iter().map(|_| Measured::default()).collect()).collect();
    for round in 0..usize::from(arguments.rounds) {
        for (load, by_way) in backends.loads.iter().zip(&mut all) {
            for turn in 0..ways.len() {
                // Another one begins in each round, so that no way always follows the same other.
                let chosen = (round + turn) % ways.len();
                measure_once(arguments, load, &backends.processes, &ways[chosen], &mut by_way[chosen])
                    .await
                    .with_context(|| format!("{} through {}", load.name, ways[chosen].name))?;
            }
        }
        for process in backends.processes.iter_mut().chain(ways.iter_mut().filter_map(|way| way.proxy.as_mut())) {
            process.must_run()?;
        }
        eprintln!("round {} of {}", round + 1, arguments.rounds);
    }
    Ok(all)
}

async fn measure_once(
    arguments: &Arguments,
    load: &Load,
    backends: &[Process],
    way: &Way,
    measured: &mut Measured,
) -> Result<()> {
    let requests = load.requests.clone();
    let write = move |number: u64, out: &mut Vec<u8>| {
        out.extend_from_slice(&requests[number as usize % requests.len()]);
    };
    let mut plan = Plan {
        addresses: way.addresses.clone(),
        clients: arguments.clients.into(),
        until: Until::Elapsed(WARM_UP),
        expected_status: 200,
    };
    run(&plan, write.clone()).await?.all_answered("warming up")?;
    plan.until = Until::Elapsed(Duration::from_secs_f64(arguments.seconds));
    let processes: Vec<&Process> = backends.iter().chain(&way.proxy).collect();
    let meter = CpuMeter::start(&processes)?;
    let outcome = run(&plan, write).await?.all_answered("requests")?;
    let cpu = meter.stop()?;
    measured.backends_s += cpu.servers_s[..backends.len()].iter().sum::<f64>();
    measured.proxy_s += cpu.servers_s[backends.len()..].iter().sum::<f64>();
    measured.others_s += cpu.others_s;
    measured.wall_s += cpu.wall_s;
    measured.rates.push(outcome.per_second());
    match &mut measured.total {
        Some(total) => total.add(&outcome),
        None => measured.total = Some(outcome),
    }
    Ok(())
}

impl Measured {
    fn report(&self, report: &mut Report, load: &str, way: &Way) {
        let Some(total) = &self.total else { return };
        let name = format!("{load}_{}", way.name);
        let per_request_us = |seconds: f64| seconds / total.answered.max(1) as f64 * 1e6;
        report.figure(&format!("{name}_per_s"), median(&self.rates), "1/s");
        let rounds: Vec<String> = self.rates.iter().map(|rate| format!("{rate:.0}")).collect();
        report.text(&format!("{name}_rounds_per_s"), rounds.join(" "));
        report.figure(&format!("{name}_p50_ms"), total.latency_ms(0.5), "ms");
        report.figure(&format!("{name}_p99_ms"), total.latency_ms(0.99), "ms");
        if way.proxy.is_some() {
            report.figure(&format!("{name}_proxy_cpu_us_per_request"), per_request_us(self.proxy_s), "us");
        }
        report.figure(&format!("{name}_backends_cpu_us_per_request"), per_request_us(self.backends_s), "us");
        report.figure(&format!("{name}_cores_used_by_others"), self.others_s / self.wall_s.max(1e-9), "");
    }
}

fn compare(report: &mut Report, load: &str, haproxy: &Measured, gateway: &Measured) {
    let (Some(theirs), Some(ours)) = (&haproxy.total, &gateway.total) else { return };
    let rate = median(&gateway.rates) / median(&haproxy.rates);
    report.goal(&format!("{load}_rate_against_haproxy"), rate, "x", Goal::AtLeast(0.6));
    let p99 = ours.latency_ms(0.99) / theirs.latency_ms(0.99).max(1e-6);
    report.goal(&format!("{load}_p99_against_haproxy"), p99, "x", Goal::AtMost(2.0));
    let cpu = (gateway.proxy_s / ours.answered.max(1) as f64) / (haproxy.proxy_s / theirs.answered.max(1) as f64);
    report.figure(&format!("{load}_proxy_cpu_against_haproxy"), cpu, "x");
}

/// Two nodes: one is loaded and stopped, the other gets a copy of its folder, so that both know the same user and vectors.
async fn node_backends(arguments: &Arguments, data: &Arc<Dataset>, folder: &Path) -> Result<Backends> {
    let programs = process::programs(&["jadevectordb"], arguments.common.bin_dir.as_deref())?;
    let program = NodeProgram { program: programs.join("jadevectordb"), arguments: arguments.node_arguments.clone() };
    let (blue, green) = (folder.join("blue"), folder.join("green"));
    let mut node = program.start(&blue).await?;
    node.sign_in().await?;
    let requests = node.create_database("bench", data).await?;
    node.load_batches(&requests, 8, LOAD_LIMIT).await?;
    node.wait_indexed(LOAD_LIMIT).await?;
    let status = node.process.terminate().await?;
    ensure!(status.success(), "the node ended with {status} after SIGTERM");
    drop(node);
    copy_folder(&blue.join("data"), &green.join("data"))?;

    let (mut blue, mut green) = (program.start(&blue).await?, program.start(&green).await?);
    let exact = data.exact(20, TOP_K);
    for node in [&mut blue, &mut green] {
        node.wait_indexed(LOAD_LIMIT).await?;
        let recall = node.recall(&requests.moved_to(node.http), &exact).await?;
        ensure!(recall > 0.8, "a node that was started on a copied folder finds only {recall:.2} of the nearest");
    }
    let addresses = [blue.http, green.http];
    let loads = vec![Load { name: "search", requests: Arc::new(requests.searches()) }, health_load()];
    Ok(Backends { processes: vec![blue.process, green.process], addresses, loads })
}

async fn echo_backends(data: &Dataset, folder: &Path) -> Result<Backends> {
    let (mut processes, mut addresses) = (Vec::new(), Vec::new());
    for colour in ["blue", "green"] {
        let mut command = own_command("serve-echo")?;
        command.args(["--listen", "127.0.0.1:0"]);
        let (process, address) = start_own(colour, command, folder).await?;
        processes.push(process);
        addresses.push(address);
    }
    let numbers = JsonNumbers::default();
    let search = |query: usize| {
        let mut body = b"{\"queryVector\":".to_vec();
        numbers.write(data.queries.row(query), &mut body);
        body.extend_from_slice(format!(",\"topK\":{TOP_K}}}").as_bytes());
        let mut request = Vec::new();
        let token = "0123456789abcdef0123456789abcdef";
        write_request("POST", "/v1/databases/db_1/search", "localhost", Some(token), &body, &mut request);
        request
    };
    let searches = (0..data.queries.rows()).map(search).collect();
    let loads = vec![Load { name: "search", requests: Arc::new(searches) }, health_load()];
    Ok(Backends { processes, addresses: [addresses[0], addresses[1]], loads })
}

/// A request that costs the backend as little as possible.
fn health_load() -> Load {
    let mut request = Vec::new();
    write_request("GET", "/health", "localhost", None, &[], &mut request);
    Load { name: "health", requests: Arc::new(vec![request]) }
}

async fn start_gateway(backends: [SocketAddr; 2], folder: &Path) -> Result<Way> {
    let mut command = own_command("serve-gateway")?;
    command.args(["--listen", "127.0.0.1:0"]);
    command.args(["--blue", &backends[0].to_string(), "--green", &backends[1].to_string()]);
    let (process, address) = start_own("gateway", command, folder).await?;
    Ok(Way { name: "gateway", addresses: vec![address], proxy: Some(process) })
}

/// This program again, as one of the servers of `serve.rs`.
fn own_command(subcommand: &str) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe().context("cannot find this program's own file")?);
    command.arg(subcommand);
    Ok(command)
}

async fn start_own(name: &str, mut command: Command, folder: &Path) -> Result<(Process, SocketAddr)> {
    let ready_file = folder.join(format!("{name}.ready"));
    command.arg("--ready-file").arg(&ready_file);
    let mut process = Process::start(name, &mut command, &folder.join(format!("{name}.output")))?;
    let ready: Ready = process::wait_for_json(&ready_file, &mut process, READY_LIMIT).await?;
    Ok((process, ready.http))
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target).with_context(|| format!("cannot copy to {}", target.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_copied_whole() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        fs::create_dir_all(from.join("log")).unwrap();
        fs::write(from.join("log/segment"), "records").unwrap();
        copy_folder(&from, &to).unwrap();
        assert_eq!(fs::read_to_string(to.join("log/segment")).unwrap(), "records");
    }
}
