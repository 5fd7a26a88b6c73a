//! What a node process is started with: the program, its flags and its environment.

use conductor::node_flags;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use wire::Member;
use wire::document::{BlueGreen, Handover, Local, Mode, Version};

/// Flag by which a process of this folder is recognised.
pub(crate) const READY_FLAG: &str = "--ready-file";

/// What an environment shall run. Two processes with an equal launch (apart from `join` and `handover`) are interchangeable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Launch {
    /// Version label.
    pub version: String,
    pub settings: Version,
    pub mode: Mode,
    /// An empty data folder waits to be told whom to follow, instead of starting a history of its own. It means nothing
    /// to a process that runs already.
    #[serde(skip, default)]
    pub join: bool,
    /// How long and how many writes may wait. A change is no reason to restart a node; it takes it at its next start.
    #[serde(default)]
    pub handover: Handover,
}

/// Where a node listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    pub http: SocketAddr,
    pub admin: SocketAddr,
}

/// Files a node is pointed at.
#[derive(Debug, Clone)]
pub(crate) struct NodeFiles {
    pub data: PathBuf,
    pub admin_token: PathBuf,
    pub admin_password: PathBuf,
    pub ready: PathBuf,
}

/// What a node writes once its sockets are bound.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Ready {
    pub http: SocketAddr,
    pub admin: SocketAddr,
    pub pid: u32,
}

impl Launch {
    pub fn of(document: &BlueGreen, version: &str, join: bool) -> Self {
        Self {
            version: version.into(),
            settings: document.version(version),
            mode: document.spec.mode,
            join,
            handover: document.spec.handover.clone(),
        }
    }

    /// A process started with `self` is what `wanted` asks for.
    pub fn serves_as(&self, wanted: &Launch) -> bool {
        self.version == wanted.version && self.settings == wanted.settings && self.mode == wanted.mode
    }

    /// `built_in` is the program to start with the word `node` when the version names none of its own.
    pub(crate) fn command(&self, built_in: &Path, addresses: Addresses, files: &NodeFiles) -> Command {
        let mut command = match &self.settings.program {
            Some(program) => Command::new(program),
            None => {
                let mut command = Command::new(built_in);
                command.arg("node");
                command
            }
        };
        command.arg("--data-dir").arg(&files.data);
        command.args(["--http", &addresses.http.to_string(), "--admin", &addresses.admin.to_string()]);
        command.args(["--node-version", &self.version]).arg("--admin-token-file").arg(&files.admin_token);
        if self.join {
            command.arg("--join");
        }
        command.args(node_flags(&self.settings, &self.handover));
        command.arg(READY_FLAG).arg(&files.ready).args(&self.settings.args);
        // The mode comes last: a version cannot talk itself out of production.
        command.envs(&self.settings.env).env("JADEVECTORDB_ENV", self.mode.as_str());
        command.env("JADEVECTORDB_ADMIN_PASSWORD_FILE", &files.admin_password);
        command
    }
}

/// The addresses of a node as the document has them, each with the field it comes from. A fixed port is the first node's; the
/// further ones of the environment pick free ones.
pub(crate) fn configured(member: Member, local: &Local) -> Result<[(SocketAddr, String); 2], String> {
    let node = local.node(member.colour);
    let own_port = |address: SocketAddr| match member.number {
        0 => address,
        _ => SocketAddr::new(address.ip(), 0),
    };
    let parse = |value: &str, field: &str| {
        let field = format!("spec.local.{}.{field}", member.colour);
        value
            .parse()
            .map(|address| (own_port(address), field.clone()))
            .map_err(|_| format!("{field}: `{value}` is not an address with a port, such as 127.0.0.1:8080"))
    };
    Ok([parse(&node.http, "http")?, parse(&node.admin, "admin")?])
}

/// Where a client on this machine reaches a server bound to `address`.
pub(crate) fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(launch: &Launch) -> Vec<String> {
        let files = NodeFiles {
            data: "/f/blue".into(),
            admin_token: "/f/admin-token".into(),
            admin_password: "/f/admin-password".into(),
            ready: "/f/blue.ready".into(),
        };
        let addresses = Addresses { http: "127.0.0.1:0".parse().unwrap(), admin: "127.0.0.1:9".parse().unwrap() };
        let command = launch.command(Path::new("/bin/jadeshift"), addresses, &files);
        let mut words = vec![command.get_program().to_string_lossy().into_owned()];
        words.extend(command.get_args().map(|word| word.to_string_lossy().into_owned()));
        words.extend(command.get_envs().map(|(name, value)| {
            format!("{}={}", name.to_string_lossy(), value.unwrap_or_default().to_string_lossy())
        }));
        words
    }

    fn document(spec: &str) -> BlueGreen {
        let head = "apiVersion: jadevectordb.io/v1alpha1\nkind: BlueGreen\nmetadata: {name: shop}\nspec:\n";
        BlueGreen::from_yaml(&format!("{head}{spec}")).unwrap()
    }

    #[test]
    fn an_unlisted_version_is_the_built_in_node() {
        let document = document("  mode: production\n");
        assert_eq!(
            words(&Launch::of(&document, "1.0.0", false)).join(" "),
            "/bin/jadeshift node --data-dir /f/blue --http 127.0.0.1:0 --admin 127.0.0.1:9 --node-version 1.0.0 \
             --admin-token-file /f/admin-token --hold-ms 2000 --held-writes-max 10000 --index-kind hnsw \
             --connectivity 16 --expansion-add 128 --expansion-search 96 --quantization f16 --exact-up-to 1000 \
             --ready-file /f/blue.ready \
             JADEVECTORDB_ADMIN_PASSWORD_FILE=/f/admin-password JADEVECTORDB_ENV=production"
        );
    }

    #[test]
    fn settings_become_flags_and_the_mode_wins_over_the_versions_environment() {
        let document = document(
            "  mode: development\n  versions:\n    \"2\":\n      program: /opt/node\n      args: [--verbose]\n      \
             env: {JADEVECTORDB_ENV: testing, A: b}\n      index: {kind: flat, quantization: i8}\n      recordFormat: 1\n      \
             fault: {errors: 0.05, wrongResults: 0.1, latencyMs: 20}\n",
        );
        let words = words(&Launch::of(&document, "2", true));
        assert_eq!(words[0], "/opt/node");
        assert!(!words.contains(&"node".to_string()));
        let line = words.join(" ");
        for part in [
            " --join ",
            "--index-kind flat",
            "--quantization i8",
            "--record-format 1 ",
            "--fault errors=0.05,wrong-results=0.1,latency=20ms",
            "--ready-file /f/blue.ready --verbose",
            "A=b",
            "JADEVECTORDB_ENV=development",
        ] {
            assert!(line.contains(part), "{part} is missing in {line}");
        }
        assert!(!line.contains("testing"));
    }

    #[test]
    fn a_change_of_settings_or_mode_is_a_change_but_joining_is_not() {
        let first = Launch::of(&document("  mode: development\n"), "1.0.0", false);
        assert!(first.serves_as(&Launch { join: true, ..first.clone() }));
        let handover = Handover { hold_ms_max: 5_000, ..Handover::default() };
        assert!(first.serves_as(&Launch { handover, ..first.clone() }));
        assert!(!first.serves_as(&Launch { mode: Mode::Production, ..first.clone() }));
        assert!(!first.serves_as(&Launch { version: "1.1.0".into(), ..first.clone() }));
        let mut other = first.clone();
        other.settings.index.connectivity = 32;
        assert!(!first.serves_as(&other));
        let stored: Launch = serde_json::from_str(&serde_json::to_string(&first).unwrap()).unwrap();
        assert!(stored.serves_as(&first));
    }
}
