//! One machine: a node's process on its disk, switched on and off.

use super::books::API_KEY;
use super::disk::{Ailments, SimDisk, Stop};
use super::network::{Endpoint, Host, Life, Service, peer};
use super::world::World;
use client::Http;
use jadevectordb::account::{ApiKey, User};
use jadevectordb::auth::{RateLimits, secret};
use jadevectordb::config::Config;
use jadevectordb::engine::{Condition, Node, Standing};
use jadevectordb::fault::Faults;
use jadevectordb::record::{DatabaseRecord, Metric, Op};
use jadevectordb::surroundings::{Execution, Surroundings};
use jadevectordb::{admin, rest};
use parking_lot::Mutex;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::watch;
use wire::Colour;
use wire::document::Mode;

/// Where the node's folder is on its disk.
pub(super) const DATA_DIR: &str = "/data";
pub(super) const ADMIN_TOKEN: &str = "simulated";
pub(super) const DATABASE: &str = "db_simulated";
pub(super) const DIMENSION: usize = 4;
/// Pause between attempts to write what a new history begins with.
const PREPARE_PAUSE: Duration = Duration::from_millis(20);

pub(super) struct Machine {
    colour: Colour,
    world: Weak<World>,
    disk: Arc<SimDisk>,
    process: Mutex<Option<Process>>,
    /// It cannot be started.
    kept_off: AtomicBool,
    /// Changes with every start and stop.
    changes: watch::Sender<u64>,
}

struct Process {
    node: Node,
    life: Life,
    version: String,
}

impl Machine {
    pub fn new(colour: Colour, world: Weak<World>) -> Machine {
        let disk = SimDisk::new(colour, world.clone());
        Machine {
            colour,
            world,
            disk,
            process: Mutex::new(None),
            kept_off: AtomicBool::new(false),
            changes: watch::Sender::new(0),
        }
    }

    pub fn disk(&self) -> &Arc<SimDisk> {
        &self.disk
    }

    pub fn node(&self) -> Option<Node> {
        self.process.lock().as_ref().map(|process| process.node.clone())
    }

    /// Version of the process, if one runs.
    pub fn version(&self) -> Option<String> {
        self.process.lock().as_ref().map(|process| process.version.clone())
    }

    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Starts a node on what the disk holds.
    ///
    /// # Errors
    /// Why it does not start, in words.
    pub fn start(&self, version: &str, join: bool) -> Result<(), String> {
        let world = self.world.upgrade().ok_or("the run is over")?;
        if self.kept_off.load(Ordering::Relaxed) {
            return Err("the machine is off".into());
        }
        let life = Life::new();
        let config = self.config(&world, &life, version, join);
        let node = Node::open(config).map_err(|error| {
            // What was opened and then given up leaves nothing behind.
            self.disk.stop(Stop::Killed);
            error.to_string()
        })?;
        let rest = rest::router(node.clone(), RateLimits::default());
        let admin = admin::router(node.clone());
        world.network.open(self.colour, Service { life: life.clone(), rest, admin });
        tokio::spawn(begin_history(node.clone(), life.clone()));
        *self.process.lock() = Some(Process { node, life, version: version.into() });
        self.changes.send_modify(|changes| *changes += 1);
        Ok(())
    }

    fn config(&self, world: &Arc<World>, life: &Life, version: &str, join: bool) -> Config {
        let host = Host::Node(self.colour);
        let network = Endpoint { world: self.world.clone(), host, life: Some(life.clone()) };
        let pace = {
            let world = self.world.clone();
            Arc::new(move || world.upgrade().map_or(Duration::ZERO, |world| world.profile.disk_pace(&world.chance)))
        };
        let address = |text: &str| text.parse().unwrap_or(SocketAddr::from(([10, 0, 0, 9], 9)));
        let peer = peer(self.colour);
        Config {
            data_dir: DATA_DIR.into(),
            http: address(&peer.http),
            admin: address(&peer.admin),
            version: version.into(),
            admin_token: ADMIN_TOKEN.into(),
            join,
            index: world.profile.index.clone(),
            record_format: jadevectordb::record::FORMAT_MAX,
            faults: Faults::default(),
            mode: Mode::Production,
            limits: world.profile.limits.clone(),
            surroundings: Surroundings {
                http: Http::over(Arc::new(network)),
                clock: world.clock(host),
                disk: self.disk.mount(),
                execution: Execution::Tasks { pace },
            },
        }
    }

    /// The process is gone from one moment to the next; whatever it still tries fails.
    pub fn stop(&self, world: &World, stop: Stop) {
        self.disk.stop(stop);
        world.network.close(self.colour);
        let Some(process) = self.process.lock().take() else { return };
        process.life.end();
        // Its tasks end; the disk and the network do not know them any more.
        process.node.close();
        self.changes.send_modify(|changes| *changes += 1);
    }

    /// The process is told to end, and finishes what it has.
    pub async fn stop_in_order(&self, world: &World) {
        let Some(process) = self.process.lock().take() else { return };
        process.node.close();
        // Answers that are under way still go out.
        tokio::time::sleep(world.chance.ms(5..=50)).await;
        world.network.close(self.colour);
        process.life.end();
        self.disk.stop(Stop::Killed);
        self.changes.send_modify(|changes| *changes += 1);
    }

    /// While it is kept off, nothing can be started on it.
    pub fn keep_off(&self, off: bool) {
        self.kept_off.store(off, Ordering::Relaxed);
    }

    /// Everything that was wrong with the disk is right again.
    pub fn repair(&self) {
        self.disk.ail(|ailments| *ailments = Ailments::default());
    }
}

/// Writes what every client relies on, when this node is the primary of a history that has nothing yet.
async fn begin_history(node: Node, life: Life) {
    while !life.is_over() {
        let store = node.store();
        if node.standing() == Standing::Primary {
            if store.api_keys().is_empty() {
                // What fails is tried again.
                let _ = node.write_if(Op::PutUser(user()), Condition::UsernameFree("simulated".into())).await;
                let _ = node.write(Op::PutApiKey(api_key())).await;
            } else if store.database(DATABASE).is_none() {
                let _ = node.write(Op::PutDatabase(database())).await;
            } else {
                return;
            }
        } else if store.database(DATABASE).is_some() {
            return;
        }
        tokio::time::sleep(PREPARE_PAUSE).await;
    }
}

fn user() -> User {
    User {
        user_id: "simulated".into(),
        username: "simulated".into(),
        email: String::new(),
        password_hash: "none".into(),
        roles: vec!["user".into()],
        is_active: true,
        must_change_password: false,
        created_ms: 1,
    }
}

fn api_key() -> ApiKey {
    ApiKey {
        key_id: "simulated".into(),
        key_hash: secret::hash(API_KEY),
        key_prefix: secret::shown_part(API_KEY).into(),
        user_id: "simulated".into(),
        description: String::new(),
        permissions: Vec::new(),
        is_active: true,
        created_ms: 1,
        expires_ms: 0,
    }
}

fn database() -> DatabaseRecord {
    DatabaseRecord {
        database_id: DATABASE.into(),
        name: "simulated".into(),
        description: String::new(),
        dimension: DIMENSION,
        index_type: "HNSW".into(),
        metric: Metric::Euclidean,
        created_ms: 1,
        updated_ms: 1,
    }
}
