//! What can be typed: every command with its arguments and examples.

use crate::exit;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum, ValueHint};
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use wire::Colour;

/// How long `deploy --wait` waits unless told otherwise.
const DEPLOY_TIMEOUT_MS: u64 = 3_600_000;
/// How long `up` waits for the first environment unless told otherwise.
const UP_TIMEOUT_MS: u64 = 180_000;
/// How long `monitor` watches unless told otherwise.
const MONITOR_TIMEOUT_MS: u64 = 300_000;
/// Under this name kubectl finds the program and runs it for `kubectl jadeshift`.
const PLUGIN: &str = "kubectl-jadeshift";

/// Blue-green deployment for a vector database, where the data follows the traffic.
///
/// Two environments, blue and green, each with a database node and storage of its own. One is active; the other is
/// filled from it, follows every write, takes a growing share of the reads while both are compared, and finally gets the
/// right to write in one fenced handover. When the new version is worse, traffic goes back by itself; nothing that was
/// acknowledged is lost in either direction.
#[derive(Debug, Parser)]
#[command(name = "jadeshift", version, after_help = START, after_long_help = long_help())]
pub struct Cli {
    #[command(flatten)]
    pub globals: Globals,
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// What was typed. Ends the process after help, and after what is not understood.
    pub fn of_this_process() -> Self {
        Self::of(std::env::args_os().collect()).unwrap_or_else(|error| error.exit())
    }

    /// `words` begin with the name of the program.
    pub fn of(words: Vec<OsString>) -> Result<Self, clap::Error> {
        let name = words.first().and_then(|word| Path::new(word).file_stem());
        let plugin = name.is_some_and(|name| name == PLUGIN);
        let mut command = if plugin { as_plugin(Self::command()) } else { Self::command() };
        let matches = command.try_get_matches_from_mut(words)?;
        let mut cli = Self::from_arg_matches(&matches).map_err(|error| error.format(&mut command))?;
        cli.globals.plugin = plugin;
        Ok(cli)
    }
}

/// Speaks of itself as it is called then, and of no folder of this machine.
fn as_plugin(command: clap::Command) -> clap::Command {
    let renamed = |command: clap::Command| match command.get_after_help().map(ToString::to_string) {
        Some(help) => command.after_help(help.replace("  jadeshift ", "  kubectl jadeshift ")),
        None => command,
    };
    command.bin_name(PLUGIN.replace('-', " ")).mut_arg("dir", |dir| dir.hide(true)).mut_subcommands(renamed)
}

/// Accepted by every command.
#[derive(Debug, Clone, Args)]
pub struct Globals {
    /// Folder of the deployment
    #[arg(long, global = true, env = "JADESHIFT_DIR", default_value = local::FOLDER_DEFAULT, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub dir: PathBuf,
    /// A deployment on a cluster: namespace of its BlueGreen (kubectl's default when another of these options is given)
    #[arg(long, short, global = true, env = "JADESHIFT_NAMESPACE", value_name = "NAME")]
    pub namespace: Option<String>,
    /// Its name, when the namespace has several
    #[arg(long, global = true, env = "JADESHIFT_NAME", value_name = "NAME")]
    pub name: Option<String>,
    /// The cluster, by its name in the kubeconfig
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,
    /// File that says where the cluster is, instead of KUBECONFIG or ~/.kube/config
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub kubeconfig: Option<PathBuf>,
    /// How results are printed
    #[arg(long, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: Output,
    /// No progress, only results and errors
    #[arg(long, short, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// More of what happens on stderr; twice for everything (JADESHIFT_LOG=debug does the same)
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Run by kubectl: a cluster is always meant.
    #[arg(skip)]
    pub plugin: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Output {
    #[default]
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the deployment on this machine, or put it on a cluster: two environments and the gateway
    #[command(after_help = UP)]
    Up(Up),
    /// Bring in another version: fill the candidate, shift the reads step by step, hand over the writes
    #[command(after_help = DEPLOY)]
    Deploy(Deploy),
    /// Go on to the next step now
    #[command(after_help = PROMOTE)]
    Promote {
        /// Skip all further steps (not the checks) and hand over
        #[arg(long)]
        full: bool,
    },
    /// Hold the rollout where it is
    #[command(after_help = PAUSE)]
    Pause,
    /// Go on with a paused rollout
    #[command(after_help = RESUME)]
    Resume,
    /// Go back to the version that served before; nothing that was written is lost
    #[command(after_help = ROLLBACK)]
    Rollback {
        /// Recorded with the rollout
        #[arg(long, value_name = "TEXT", default_value = "asked for on the command line")]
        reason: String,
        /// Go back even if the primary does not answer and what it alone has is lost by that (`jadeshift info` says how much)
        #[arg(long)]
        accept_loss: bool,
    },
    /// Show where the deployment stands and what it is waiting for
    #[command(visible_alias = "status", after_help = INFO)]
    Info {
        /// Follow it until Ctrl-C
        #[arg(long)]
        watch: bool,
    },
    /// Move all traffic and the right to write to one environment
    #[command(after_help = SWITCH)]
    Switch {
        /// The environment that shall serve
        to: ColourArg,
    },
    /// Look at the health of both environments and the gateway
    #[command(after_help = HEALTH)]
    Health,
    /// Hold the candidate's share of the reads at 10, 50 or 90 %, switch fully, or go back
    #[command(after_help = CANARY)]
    Canary {
        /// The share of the candidate
        action: CanaryAction,
    },
    /// Follow a rollout until it has ended
    #[command(after_help = MONITOR)]
    Monitor {
        /// Give up after this time
        #[arg(long, value_name = "N", default_value_t = MONITOR_TIMEOUT_MS, value_parser = clap::value_parser!(u64).range(1..))]
        timeout_ms: u64,
        /// Time between two looks
        #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(10..))]
        interval_ms: u64,
    },
    /// Compare the data of both environments at one position of the log
    #[command(after_help = VERIFY)]
    Verify {
        /// Also compute each fingerprint anew from what is on disk
        #[arg(long)]
        deep: bool,
    },
    /// Check a document without starting anything
    #[command(after_help = CHECK)]
    Check {
        /// The document, - for standard input
        #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
    /// Tell what happened in a rollout: its steps, its evidence, its latencies
    #[command(after_help = REPORT)]
    Report(Report),
    /// Try a policy on what was recorded of a release
    #[command(after_help = ANALYZE)]
    Analyze(Analyze),
    /// End the deployment and keep its data
    #[command(after_help = DOWN)]
    Down,
    /// See it work: four releases of a real database under load, in about a minute
    #[command(after_help = DEMO)]
    Demo(Demo),
    /// Look after every BlueGreen object of a cluster
    #[command(after_help = OPERATOR)]
    Operator(Operator),
    /// Run the gateway alone, on a cluster: the operator tells it where requests go
    #[command(after_help = GATEWAY)]
    Gateway(Gateway),
    /// Put the operator on a cluster: definition, rights, and itself
    #[command(after_help = INSTALL)]
    Install(Install),
    /// Print what a cluster needs, as YAML
    #[command(after_help = RENDER)]
    Render {
        #[command(subcommand)]
        what: Rendered,
    },
    /// Run one database node (the same as the program `jadevectordb`)
    #[command(after_help = node_help())]
    Node(Box<jadevectordb::cli::Args>),
    /// Print a script that completes commands in a shell
    #[command(after_help = COMPLETION)]
    Completion { shell: clap_complete::Shell },
}

#[derive(Debug, Clone, Args)]
pub struct Install {
    /// Image of this program
    #[arg(long, value_name = "IMAGE", default_value_t = kubernetes::install::Install::default().image)]
    pub image: String,
    /// Namespace of the operator itself
    #[arg(long, value_name = "NAME", default_value_t = kubernetes::install::Install::default().namespace)]
    pub operator_namespace: String,
    /// Operators; one works, the others take over when it goes
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=5))]
    pub replicas: u8,
    /// Give up waiting for it after this time; 0 does not wait
    #[arg(long, value_name = "N", default_value_t = 120_000)]
    pub timeout_ms: u64,
}

#[derive(Debug, Clone, Args)]
pub struct Operator {
    /// Address of its health checks and metrics
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// Image of the gateway, where a document asks for one and names none
    #[arg(long, value_name = "IMAGE", default_value_t = kubernetes::install::Install::default().image)]
    pub gateway_image: String,
}

#[derive(Debug, Clone, Args)]
pub struct Gateway {
    /// Address for clients
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// Address for the operator, for health checks and metrics
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8081")]
    pub control: SocketAddr,
    /// File with the token that the operator shows
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub token_file: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum Rendered {
    /// The definition of the BlueGreen resource
    Crd,
    /// Everything that `jadeshift install` applies
    Install,
    /// Manifests, rules, dashboards and the chart, as files
    Deployments {
        /// Folder that they are written to
        #[arg(long, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
        to: PathBuf,
    },
}

#[derive(Debug, Clone, Args)]
pub struct Up {
    /// The document, - for standard input; without it the one that is there already, or else one with every default
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: Option<PathBuf>,
    /// Run in the background, and return when the first environment serves, as it does on a cluster anyway
    #[arg(long)]
    pub detach: bool,
    /// Give up waiting until it serves after this time; the deployment goes on
    #[arg(long, value_name = "N", default_value_t = UP_TIMEOUT_MS, value_parser = clap::value_parser!(u64).range(1..))]
    pub timeout_ms: u64,
    /// Address of the gateway instead of the document's; port 0 picks a free one
    #[arg(long, value_name = "ADDR")]
    pub gateway: Option<SocketAddr>,
    /// Leave the nodes running at the end; the next `up` finds them
    #[arg(long)]
    pub keep_nodes: bool,
    /// This process was started by `--detach`.
    #[arg(long, hide = true)]
    pub detached: bool,
    /// End when standard input is closed: with the process that started this one.
    #[arg(long, hide = true)]
    pub with_parent: bool,
}

#[derive(Debug, Clone, Args)]
pub struct Deploy {
    /// Label of the version: one of the document's `versions`, or any other for the built-in node with its defaults
    pub version: String,
    /// Return only when it is promoted or rolled back (then with exit code 1)
    #[arg(long)]
    pub wait: bool,
    /// With --wait: give up waiting after this time; the rollout goes on
    #[arg(long, value_name = "N", default_value_t = DEPLOY_TIMEOUT_MS, requires = "wait", value_parser = clap::value_parser!(u64).range(1..))]
    pub timeout_ms: u64,
}

#[derive(Debug, Clone, Args)]
pub struct Report {
    /// Number of the rollout; without it the one under way, or else the last one
    pub run: Option<u64>,
    /// Write a page with plots that needs no other file
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub html: Option<PathBuf>,
}

#[derive(Debug, Clone, Args)]
pub struct Analyze {
    /// What the active environment did: CSV with the header `second,requests,errors`
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub blue: PathBuf,
    /// What the candidate did in the same time
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub green: PathBuf,
    /// The share of the requests that the candidate was to have, above 0 and below 1: picks the step, and is compared with what was counted
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub share: Option<f64>,
    /// The document whose evidence and steps are used; without it every default
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub policy: Option<PathBuf>,
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if share > 0.0 && share < 1.0 => Ok(share),
        _ => Err("a share is a number above 0 and below 1, such as 0.1".into()),
    }
}

#[derive(Debug, Clone, Args)]
pub struct Demo {
    /// Address of the demonstration's gateway
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub gateway: SocketAddr,
    /// Keep the folder, with data and logs, for a look afterwards
    #[arg(long)]
    pub keep: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ColourArg {
    Blue,
    Green,
}

impl From<ColourArg> for Colour {
    fn from(colour: ColourArg) -> Self {
        match colour {
            ColourArg::Blue => Colour::Blue,
            ColourArg::Green => Colour::Green,
        }
    }
}

/// The names that the scripts of the original description use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CanaryAction {
    /// 10 % of the reads
    Partial,
    /// 50 % of the reads
    Half,
    /// 90 % of the reads
    MostlyGreen,
    /// All traffic and the right to write
    FullSwitch,
    /// Back to the active environment
    Rollback,
}

const START: &str = "\
Begin with:
  jadeshift demo
  jadeshift up";

fn long_help() -> String {
    format!("{START}\n\n{}", exit::HELP)
}

const UP: &str = "\
Examples:
  jadeshift up
  jadeshift up -f bluegreen.yaml
  jadeshift up -f bluegreen.yaml --detach --gateway 127.0.0.1:9000
  jadeshift up -f bluegreen.yaml --namespace shop";

const DEPLOY: &str = "\
Examples:
  jadeshift deploy 1.1.0 --namespace jadevectordb-system --wait
  jadeshift deploy 1.1.0
  jadeshift deploy 1.1.0 --wait --timeout-ms 900000";

const PROMOTE: &str = "\
Examples:
  jadeshift promote
  jadeshift promote --full";

const PAUSE: &str = "\
Examples:
  jadeshift pause";

const RESUME: &str = "\
Examples:
  jadeshift resume";

const ROLLBACK: &str = "\
Examples:
  jadeshift rollback
  jadeshift rollback --reason 'searches miss new documents'
  jadeshift rollback --accept-loss --reason 'the disk of green is gone'";

const INFO: &str = "\
Examples:
  jadeshift info
  jadeshift info --namespace jadevectordb-system
  jadeshift status --watch
  jadeshift info --output json";

const SWITCH: &str = "\
Examples:
  jadeshift switch green";

const HEALTH: &str = "\
Examples:
  jadeshift health
  jadeshift health --output json";

const CANARY: &str = "\
Examples:
  jadeshift canary partial
  jadeshift canary mostly-green
  jadeshift canary full-switch
  jadeshift canary rollback";

const MONITOR: &str = "\
Ends with exit code 0 when the rollout was promoted or none is under way, 1 when it was rolled back, 5 at the timeout.

Examples:
  jadeshift monitor
  jadeshift monitor --timeout-ms 600000 --interval-ms 500";

const VERIFY: &str = "\
Ends with exit code 1 when the environments differ, and 3 when only one of them has data to compare.

Examples:
  jadeshift verify
  jadeshift verify --deep --output json";

const CHECK: &str = "\
Examples:
  jadeshift check -f bluegreen.yaml
  jadeshift check -f -";

const REPORT: &str = "\
Reports are kept in the deployment's folder; they can be read when nothing runs.

Examples:
  jadeshift report
  jadeshift report 7 --html rollout-7.html
  jadeshift report --output json";

const ANALYZE: &str = "\
The files may also have the columns over_p50, over_p90, over_p99 and over_limit: how many answers of that second were
slower than fixed thresholds. A second that only one file has is missing data. Ends with exit code 0 when the candidate
passes, 1 when it would have been rolled back, 3 when the recording is not enough to tell.

Examples:
  jadeshift analyze --blue blue.csv --green green.csv
  jadeshift analyze --blue blue.csv --green green.csv --share 0.1 --policy bluegreen.yaml --output json";

const DOWN: &str = "\
Examples:
  jadeshift down
  jadeshift --dir /srv/shop down
  jadeshift down --namespace shop";

const GATEWAY: &str = "\
Examples:
  jadeshift gateway --listen 0.0.0.0:8080 --control 0.0.0.0:8081 --token-file /credentials/admin-token";

const INSTALL: &str = "\
With --namespace the operator looks after that namespace only, and has rights there only. It may be repeated: what is there
already is renewed.

Under the name kubectl-jadeshift in a folder of PATH, `kubectl jadeshift` is this program, for clusters only:
  ln -s $(command -v jadeshift) /usr/local/bin/kubectl-jadeshift

Examples:
  jadeshift install
  jadeshift install --context production --image registry.example.org/jadeshift:0.1.0
  jadeshift render install | kubectl apply --server-side -f -";

const OPERATOR: &str = "\
It finds its cluster as kubectl does (KUBECONFIG, or ~/.kube/config), and inside of a pod by the pod's account. With
--namespace it looks after the objects of that one only.

Examples:
  jadeshift operator
  jadeshift operator --namespace jadevectordb-system";

const RENDER: &str = "\
Examples:
  jadeshift render crd | kubectl apply --server-side -f -";

const DEMO: &str = "\
Real processes in a folder of their own, 10,000 Debian packages, and clients that read and write through the gateway for
the whole time. Ends with exit code 1 when a request failed, a write was lost, or a release ended otherwise than expected.

Examples:
  jadeshift demo
  jadeshift demo --output json";

/// The node's own help speaks of the program `jadevectordb`.
fn node_help() -> String {
    let own = "Example of this command:\n  jadeshift node --data-dir data --http 127.0.0.1:8080 --admin 127.0.0.1:8081";
    format!("{}\n\n{own}", jadevectordb::cli::AFTER_HELP)
}

const COMPLETION: &str = "\
Examples:
  jadeshift completion bash
  jadeshift completion zsh";

#[cfg(test)]
mod tests;
