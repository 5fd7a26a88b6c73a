//! Environment variables that the original's manifests set: honoured where they mean something here, named where not.

use std::collections::BTreeMap;
use wire::document::Mode;

/// Names that begin so are the original's.
const PREFIXES: [&str; 3] = ["JADEVECTORDB_", "JDB_", "JADE_DB_"];
const MODE: &str = "JADEVECTORDB_ENV";
pub const ADMIN_TOKEN: &str = "JADEVECTORDB_ADMIN_TOKEN";
pub const ADMIN_PASSWORD: &str = "JADEVECTORDB_ADMIN_PASSWORD";
pub const ADMIN_PASSWORD_FILE: &str = "JADEVECTORDB_ADMIN_PASSWORD_FILE";
/// For each setting its variables, the first that is set wins.
const PORT: [&str; 3] = ["JADEVECTORDB_PORT", "JDB_PORT", "JADE_DB_PORT"];
const HOST: [&str; 2] = ["JADEVECTORDB_HOST", "JDB_HOST"];
const DATA_DIR: [&str; 3] = ["JADEVECTORDB_DATA_DIR", "JDB_DATA_DIR", "JADE_DB_DATA_DIR"];
const LOG_LEVEL: [&str; 2] = ["JADEVECTORDB_LOG_LEVEL", "JADE_DB_LOG_LEVEL"];
const JOIN: &str = "JADEVECTORDB_JOIN";
const ADMIN_PORT: [&str; 1] = ["JADE_DB_RPC_PORT"];

/// What the environment says.
#[derive(Debug, PartialEq)]
pub struct Environment {
    pub mode: Mode,
    pub host: Option<String>,
    pub port: Option<u16>,
    pub admin_port: Option<u16>,
    pub data_dir: Option<String>,
    pub log_level: Option<tracing::Level>,
    pub admin_token: Option<String>,
    pub admin_password: Option<String>,
    pub admin_password_file: Option<String>,
    /// As `--join`.
    pub join: bool,
    /// To be shown to whoever starts the node.
    pub warnings: Vec<String>,
}

/// A variable that cannot mean what it should.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("environment variable {name}=`{value}`: {rule}")]
pub struct EnvironmentError {
    name: String,
    value: String,
    rule: &'static str,
}

impl Environment {
    /// # Errors
    /// [`EnvironmentError`] when an honoured variable has an impossible value.
    pub fn read(variables: impl IntoIterator<Item = (String, String)>) -> Result<Self, EnvironmentError> {
        let mut set: BTreeMap<String, String> = variables
            .into_iter()
            .filter(|(name, value)| PREFIXES.iter().any(|prefix| name.starts_with(prefix)) && !value.is_empty())
            .collect();
        let mut warnings = Vec::new();
        let mode = mode(set.remove(MODE), &mut warnings);
        let port = number(first(&mut set, &PORT))?;
        let admin_port = number(first(&mut set, &ADMIN_PORT))?;
        let log_level = first(&mut set, &LOG_LEVEL).map(level).transpose()?;
        let join = first(&mut set, &[JOIN]).map(switch).transpose()?.unwrap_or(false);
        let mut text = |names: &[&str]| first(&mut set, names).map(|(_, value)| value);
        let environment = Self {
            mode,
            host: text(&HOST),
            port,
            admin_port,
            data_dir: text(&DATA_DIR),
            log_level,
            admin_token: text(&[ADMIN_TOKEN]),
            admin_password: text(&[ADMIN_PASSWORD]),
            admin_password_file: text(&[ADMIN_PASSWORD_FILE]),
            join,
            warnings: Vec::new(),
        };
        if !set.is_empty() {
            let names: Vec<&str> = set.keys().map(String::as_str).collect();
            warnings.push(format!("these environment variables have no effect here: {}", names.join(", ")));
        }
        Ok(Self { warnings, ..environment })
    }
}

/// Unset is production: nobody is let in because a variable was forgotten.
fn mode(value: Option<String>, warnings: &mut Vec<String>) -> Mode {
    match value.as_deref() {
        None | Some("production" | "prod") => Mode::Production,
        Some("development" | "dev" | "test" | "testing" | "local") => Mode::Development,
        Some(other) => {
            warnings.push(format!(
                "{MODE}=`{other}` is taken as production; the known values are production and development"
            ));
            Mode::Production
        }
    }
}

/// Takes all of `names` out of the set; the first that was there counts.
fn first(set: &mut BTreeMap<String, String>, names: &[&str]) -> Option<(String, String)> {
    let found: Vec<(String, String)> = names.iter().filter_map(|name| set.remove_entry(*name)).collect();
    found.into_iter().next()
}

fn number(found: Option<(String, String)>) -> Result<Option<u16>, EnvironmentError> {
    let Some((name, value)) = found else { return Ok(None) };
    match value.parse() {
        Ok(port) => Ok(Some(port)),
        Err(_) => Err(EnvironmentError { name, value, rule: "must be a port, 0 to 65535" }),
    }
}

fn switch((name, value): (String, String)) -> Result<bool, EnvironmentError> {
    match value.as_str() {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(EnvironmentError { name, value, rule: "must be true or false" }),
    }
}

fn level((name, value): (String, String)) -> Result<tracing::Level, EnvironmentError> {
    match value.to_ascii_lowercase().as_str() {
        "trace" => Ok(tracing::Level::TRACE),
        "debug" => Ok(tracing::Level::DEBUG),
        "info" => Ok(tracing::Level::INFO),
        "warn" | "warning" => Ok(tracing::Level::WARN),
        "error" => Ok(tracing::Level::ERROR),
        _ => Err(EnvironmentError { name, value, rule: "must be one of debug, info, warn, error, trace" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Environment, EnvironmentError> {
        Environment::read(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn an_empty_environment_is_production() {
        let environment = read(&[("PATH", "/bin"), ("JADEVECTORDB_HOST", "")]).unwrap();
        assert_eq!(environment.mode, Mode::Production);
        assert_eq!((environment.port, environment.host, environment.warnings), (None, None, vec![]));
    }

    #[test]
    fn what_has_a_meaning_is_honoured_and_what_has_none_is_named() {
        let environment = read(&[
            ("JADE_DB_PORT", "1"),
            ("JDB_PORT", "2"),
            ("JADE_DB_RPC_PORT", "3"),
            ("JDB_HOST", "0.0.0.0"),
            ("JADE_DB_DATA_DIR", "/data"),
            ("JADE_DB_LOG_LEVEL", "WARN"),
            ("JADEVECTORDB_ENV", "testing"),
            ("JADE_DB_CLUSTER_SIZE", "3"),
            ("JDB_ENABLE_SSL", "true"),
        ])
        .unwrap();
        assert_eq!(environment.mode, Mode::Development);
        assert_eq!((environment.port, environment.admin_port), (Some(2), Some(3)));
        assert_eq!(environment.host.as_deref(), Some("0.0.0.0"));
        assert_eq!(environment.data_dir.as_deref(), Some("/data"));
        assert_eq!(environment.log_level, Some(tracing::Level::WARN));
        let warning = "these environment variables have no effect here: JADE_DB_CLUSTER_SIZE, JDB_ENABLE_SSL";
        assert_eq!(environment.warnings, [warning]);
    }

    #[test]
    fn an_unknown_environment_is_production_and_says_so() {
        let environment = read(&[("JADEVECTORDB_ENV", "staging")]).unwrap();
        assert_eq!(environment.mode, Mode::Production);
        assert!(environment.warnings[0].contains("`staging` is taken as production"));
    }

    #[test]
    fn an_impossible_value_is_named() {
        let error = read(&[("JDB_PORT", "80a")]).unwrap_err();
        assert_eq!(error.to_string(), "environment variable JDB_PORT=`80a`: must be a port, 0 to 65535");
        assert!(read(&[("JADEVECTORDB_LOG_LEVEL", "loud")]).is_err());
    }
}
