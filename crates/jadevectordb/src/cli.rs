//! The node as a program: arguments, start, and the way to its end.

mod environment;
mod settings;
mod start;

use crate::fault::Faults;
use clap::ValueHint;
use std::path::PathBuf;
use std::process::ExitCode;
use wire::document::{IndexKind, Quantization};

/// Shown below the arguments.
pub const AFTER_HELP: &str = "\
Environment:
  JADEVECTORDB_ENV                 production (also when unset) or development: open registration, every user may do
                                   everything, and faults are allowed; loopback only
  JADEVECTORDB_ADMIN_PASSWORD      password of the first administrator, or JADEVECTORDB_ADMIN_PASSWORD_FILE with a path;
                                   without either one is generated and printed once
  JADEVECTORDB_ADMIN_TOKEN         token of the admin protocol
  JADEVECTORDB_JOIN                true: as --join
  JADEVECTORDB_HOST, _PORT, _DATA_DIR, _LOG_LEVEL and the same of the original's JDB_ and JADE_DB_ names
  Arguments win over variables.

Exit codes:
  0  stopped in order (SIGTERM, SIGINT, POST /shutdown, or `stop` of the admin protocol)
  1  could not start, or was told twice to stop
  2  the arguments were not understood

Examples:
  jadevectordb --data-dir /var/lib/jadevectordb
  jadevectordb --data-dir ./green --http 127.0.0.1:9080 --admin 127.0.0.1:9081 --join --node-version 1.1.0";

/// Arguments of a node.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Args {
    /// Folder of the log and the snapshots, held exclusively [default: data]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub data_dir: Option<PathBuf>,
    /// Address of the REST interface [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    pub http: Option<String>,
    /// Address of the admin protocol and the feed [default: 127.0.0.1:8081]
    #[arg(long, value_name = "ADDR")]
    pub admin: Option<String>,
    /// Label of this version in answers, metrics and the admin state
    #[arg(long, value_name = "LABEL", default_value = "1.0.0")]
    pub node_version: String,
    /// File with the token of the admin protocol [default: JADEVECTORDB_ADMIN_TOKEN, else `admin-token` in the data folder]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub admin_token_file: Option<PathBuf>,
    /// With an empty data folder: wait to be told whom to follow
    #[arg(long)]
    pub join: bool,
    /// Kind of the vector index: hnsw or flat
    #[arg(long, value_name = "KIND", value_parser = index_kind)]
    pub index_kind: Option<IndexKind>,
    /// Links per node of the index graph
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(2..=256))]
    pub connectivity: Option<u64>,
    /// Candidates considered when a vector is added to the index
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(4..=10_000))]
    pub expansion_add: Option<u64>,
    /// Candidates considered by a search
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(4..=10_000))]
    pub expansion_search: Option<u64>,
    /// Numbers in the index graph: f32, f16 or i8
    #[arg(long, value_name = "KIND", value_parser = quantization)]
    pub quantization: Option<Quantization>,
    /// Up to this many vectors a database is searched exactly
    #[arg(long, value_name = "N")]
    pub exact_up_to: Option<usize>,
    /// Read and write the records of the log in no newer format than this: for an upgrade in steps, or to be followed by an
    /// older version. Below 2 no idempotency keys are kept [default: the newest]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=2))]
    pub record_format: Option<u64>,
    /// Faults on purpose, for tests (development only): errors=0.05,wrong-results=0.1,latency=20ms
    #[arg(long, value_name = "FAULTS", value_parser = faults)]
    pub fault: Option<Faults>,
    /// Written once both addresses are bound: {"http","admin","pid"}
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub ready_file: Option<PathBuf>,
    /// Let a development node listen on other addresses than loopback
    #[arg(long)]
    pub allow_remote_development: bool,
    /// Largest request body, bytes
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1_024..=1 << 30))]
    pub body_bytes_max: Option<u64>,
    /// How long a write waits while the right to write moves, milliseconds
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(0..=60_000))]
    pub hold_ms: Option<u64>,
    /// How many writes may wait then
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub held_writes_max: Option<u64>,
    /// How long the other environment may take to confirm a write where that is preferred, milliseconds
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(10..=60_000))]
    pub confirm_ms: Option<u64>,
    /// A snapshot is written after so many bytes of log
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1 << 10..))]
    pub snapshot_log_bytes: Option<u64>,
    /// Log kept for followers that are behind, bytes
    #[arg(long, value_name = "BYTES")]
    pub retained_log_bytes: Option<u64>,
}

fn index_kind(text: &str) -> Result<IndexKind, String> {
    match text {
        "hnsw" => Ok(IndexKind::Hnsw),
        "flat" => Ok(IndexKind::Flat),
        _ => Err("the known kinds are hnsw and flat".into()),
    }
}

fn quantization(text: &str) -> Result<Quantization, String> {
    match text {
        "f32" => Ok(Quantization::F32),
        "f16" => Ok(Quantization::F16),
        "i8" => Ok(Quantization::I8),
        _ => Err("the known kinds are f32, f16 and i8".into()),
    }
}

fn faults(text: &str) -> Result<Faults, String> {
    Faults::parse(text).map_err(|error| error.to_string())
}

/// Runs a node until it is told to stop. Errors go to stderr.
pub fn run(args: Args) -> ExitCode {
    raise_file_limit();
    match start::run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("jadevectordb: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Lets this process open as many files and connections as the system allows it; the usual first limit of 1,024 is less than
/// the connections that are admitted.
pub fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}
