//! Arguments and environment become settings, checked once.

use super::Args;
use super::environment::{Environment, EnvironmentError};
use crate::auth::secret;
use crate::config::{Config, Limits};
use crate::record::FORMAT_MAX;
use crate::surroundings::Surroundings;
use std::io::Write;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use wire::document::{Index, Mode};

const DATA_DIR: &str = "data";
const HOST: &str = "127.0.0.1";
const HTTP_PORT: u16 = 8080;
const ADMIN_PORT: u16 = 8081;
/// File in the data folder that holds the admin token when none was given.
const ADMIN_TOKEN_FILE: &str = "admin-token";

/// Everything that a start needs.
#[derive(Debug)]
pub struct Settings {
    pub config: Config,
    pub log_level: tracing::Level,
    pub first_admin_password: Option<String>,
    pub ready_file: Option<PathBuf>,
    pub warnings: Vec<String>,
}

/// Settings that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    #[error("{0}")]
    Environment(#[from] EnvironmentError),
    #[error("{flag} `{given}` is no address: {why}; write HOST:PORT")]
    Address { flag: &'static str, given: String, why: String },
    #[error(
        "a development node lets everybody register, so it listens on loopback only, and --http is {http}: \
         set JADEVECTORDB_ENV=production, or add --allow-remote-development"
    )]
    RemoteDevelopment { http: SocketAddr },
    #[error("--fault is refused in production: set JADEVECTORDB_ENV=development")]
    FaultInProduction,
    #[error("the data folder {} cannot be made: {error}", path.display())]
    DataDir { path: PathBuf, error: std::io::Error },
    #[error("{what} {} cannot be used: {why}", path.display())]
    File { what: &'static str, path: PathBuf, why: String },
}

impl Settings {
    /// # Errors
    /// [`SettingsError`] names the argument or variable.
    pub fn new(args: Args, environment: Environment) -> Result<Self, SettingsError> {
        let mode = environment.mode;
        let host = environment.host.as_deref().unwrap_or(HOST);
        let port = environment.port.unwrap_or(HTTP_PORT);
        let http = address("--http", args.http.as_deref(), host, port)?;
        let admin_port = environment.admin_port.unwrap_or(ADMIN_PORT);
        let admin = address("--admin", args.admin.as_deref(), HOST, admin_port)?;
        let faults = args.fault.unwrap_or_default();
        if mode == Mode::Development && !http.ip().is_loopback() && !args.allow_remote_development {
            return Err(SettingsError::RemoteDevelopment { http });
        }
        if mode == Mode::Production && faults.any() {
            return Err(SettingsError::FaultInProduction);
        }
        let data_dir = args.data_dir.clone().or(environment.data_dir.map(PathBuf::from));
        let data_dir = data_dir.unwrap_or_else(|| DATA_DIR.into());
        let first_admin_password = match environment.admin_password_file {
            Some(path) => Some(read_secret("the administrator's password file", Path::new(&path))?),
            None => environment.admin_password,
        };
        let admin_token = match (&args.admin_token_file, environment.admin_token) {
            (Some(path), _) => read_secret("the admin token file", path)?,
            (None, Some(token)) => token,
            (None, None) => own_admin_token(&data_dir)?,
        };
        let config = Config {
            index: index(&args),
            limits: limits(&args),
            data_dir,
            http,
            admin,
            version: args.node_version,
            admin_token,
            join: args.join || environment.join,
            record_format: args.record_format.map_or(FORMAT_MAX, |format| format as u8),
            faults,
            mode,
            surroundings: Surroundings::default(),
        };
        Ok(Self {
            config,
            log_level: environment.log_level.unwrap_or(tracing::Level::INFO),
            first_admin_password,
            ready_file: args.ready_file,
            warnings: environment.warnings,
        })
    }
}

fn address(flag: &'static str, given: Option<&str>, host: &str, port: u16) -> Result<SocketAddr, SettingsError> {
    let text = given.map_or_else(
        || if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") },
        str::to_owned,
    );
    let wrong = |why: String| SettingsError::Address { flag, given: text.clone(), why };
    let mut found = text.to_socket_addrs().map_err(|error| wrong(error.to_string()))?;
    found.next().ok_or_else(|| wrong("the name has no address".into()))
}

fn index(args: &Args) -> Index {
    let default = Index::default();
    let or = |given: Option<u64>, otherwise: usize| given.map_or(otherwise, |given| given as usize);
    Index {
        kind: args.index_kind.unwrap_or(default.kind),
        connectivity: or(args.connectivity, default.connectivity),
        expansion_add: or(args.expansion_add, default.expansion_add),
        expansion_search: or(args.expansion_search, default.expansion_search),
        quantization: args.quantization.unwrap_or(default.quantization),
        exact_up_to: args.exact_up_to.unwrap_or(default.exact_up_to),
    }
}

fn limits(args: &Args) -> Limits {
    let default = Limits::default();
    Limits {
        body_bytes: args.body_bytes_max.map_or(default.body_bytes, |bytes| bytes as usize),
        hold_ms: args.hold_ms.unwrap_or(default.hold_ms),
        confirm_ms: args.confirm_ms.unwrap_or(default.confirm_ms),
        held_writes: args.held_writes_max.unwrap_or(default.held_writes),
        snapshot_log_bytes: args.snapshot_log_bytes.unwrap_or(default.snapshot_log_bytes),
        retained_log_bytes: args.retained_log_bytes.unwrap_or(default.retained_log_bytes),
        ..default
    }
}

fn read_secret(what: &'static str, path: &Path) -> Result<String, SettingsError> {
    let wrong = |why: String| SettingsError::File { what, path: path.to_owned(), why };
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    let secret = text.trim();
    if secret.is_empty() {
        return Err(wrong("it is empty".into()));
    }
    Ok(secret.to_owned())
}

/// The token in the data folder, made at the first start, for the owner's eyes only.
fn own_admin_token(data_dir: &Path) -> Result<String, SettingsError> {
    const WHAT: &str = "the admin token file";
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(data_dir)
        .map_err(|error| SettingsError::DataDir { path: data_dir.to_owned(), error })?;
    let path = data_dir.join(ADMIN_TOKEN_FILE);
    if path.exists() {
        return read_secret(WHAT, &path);
    }
    let wrong = |why: String| SettingsError::File { what: WHAT, path: path.clone(), why };
    let token = secret::random_hex(32).map_err(|error| wrong(error.to_string()))?;
    // By rename, so that a crash leaves either no token or a whole one.
    let draft = data_dir.join(format!("{ADMIN_TOKEN_FILE}.{}", std::process::id()));
    let written = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft);
    written
        .and_then(|mut file| writeln!(file, "{token}").and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::rename(&draft, &path))
        .map_err(|error| wrong(error.to_string()))?;
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use std::os::unix::fs::PermissionsExt;

    #[derive(clap::Parser)]
    struct Program {
        #[command(flatten)]
        args: Args,
    }

    fn settings(arguments: &[&str], variables: &[(&str, &str)]) -> Result<Settings, SettingsError> {
        let args = Program::parse_from(std::iter::once(&"node").chain(arguments)).args;
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Settings::new(args, Environment::read(variables)?)
    }

    #[test]
    fn arguments_win_over_variables_and_those_over_defaults() {
        let token = ("JADEVECTORDB_ADMIN_TOKEN", "secret");
        let plain = settings(&[], &[token]).unwrap().config;
        assert_eq!(plain.http.to_string(), "127.0.0.1:8080");
        assert_eq!(plain.admin.to_string(), "127.0.0.1:8081");
        assert_eq!(plain.data_dir, Path::new("data"));
        let variables = [token, ("JDB_PORT", "9000"), ("JDB_HOST", "0.0.0.0"), ("JADE_DB_RPC_PORT", "9001")];
        let told = settings(&[], &variables).unwrap().config;
        assert_eq!((told.http.to_string(), told.admin.to_string()), ("0.0.0.0:9000".into(), "127.0.0.1:9001".into()));
        let arguments = ["--http", "localhost:7000", "--data-dir", "d", "--hold-ms", "5", "--index-kind", "flat"];
        let given = settings(&arguments, &variables).unwrap().config;
        assert_eq!(given.http.port(), 7000);
        assert!(given.http.ip().is_loopback());
        assert_eq!((given.limits.hold_ms, given.index.kind), (5, wire::document::IndexKind::Flat));
        assert_eq!(given.admin_token, "secret");
    }

    #[test]
    fn what_would_be_unsafe_is_refused() {
        let token = ("JADEVECTORDB_ADMIN_TOKEN", "secret");
        let development = ("JADEVECTORDB_ENV", "development");
        let refusal =
            |arguments: &[&str], variables: &[(&str, &str)]| settings(arguments, variables).unwrap_err().to_string();
        assert!(refusal(&["--fault", "errors=0.5"], &[token]).contains("--fault is refused in production"));
        assert!(settings(&["--fault", "errors=0.5"], &[token, development]).is_ok());
        let remote = ["--http", "0.0.0.0:1"];
        assert!(refusal(&remote, &[token, development]).contains("--http is 0.0.0.0:1"));
        assert!(settings(&["--http", "0.0.0.0:1", "--allow-remote-development"], &[token, development]).is_ok());
        assert!(refusal(&["--http", "8080"], &[token]).starts_with("--http `8080` is no address"));
        let missing = ("JADEVECTORDB_ADMIN_PASSWORD_FILE", "/nowhere/at/all");
        assert!(refusal(&[], &[token, missing]).contains("/nowhere/at/all"));
    }

    #[test]
    fn the_admin_token_is_made_once_and_for_the_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let data_dir = dir.path().join("a/b");
        let arguments = ["--data-dir", data_dir.to_str().unwrap()];
        let first = settings(&arguments, &[]).unwrap().config.admin_token;
        assert_eq!(first.len(), 64);
        assert_eq!(settings(&arguments, &[]).unwrap().config.admin_token, first);
        let mode = std::fs::metadata(data_dir.join(ADMIN_TOKEN_FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let file = dir.path().join("token");
        std::fs::write(&file, " given \n").unwrap();
        let arguments = ["--admin-token-file", file.to_str().unwrap()];
        assert_eq!(settings(&arguments, &[]).unwrap().config.admin_token, "given");
        std::fs::write(&file, "\n").unwrap();
        assert!(settings(&arguments, &[]).unwrap_err().to_string().ends_with("it is empty"));
    }
}
