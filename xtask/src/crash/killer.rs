//! Who is killed, and when: seeded choices; the moments themselves depend on the machine.

use super::clients::Shared;
use super::outages::Why;
use super::tally::{Kills, Victim};
use crate::api::Api;
use crate::deployment::{CommandLine, Deployment, NodeProcess};
use anyhow::{Context, Result};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rollout::{Phase, Stage, State};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wire::{ByColour, Colour};

/// Pauses between two attacks, ms.
const GAP_MS_MAX: u64 = 600;
/// Longest wait for a step of a handover to come.
const HUNT_LIMIT: Duration = Duration::from_secs(5);
/// How often the state is looked at on a hunt: a step takes a millisecond or two.
const HUNT_EVERY: Duration = Duration::from_micros(200);
/// Longest time after the step was seen, us.
const HUNT_LATE_US_MAX: u64 = 4_000;
/// Longest time that a supervisor takes to start `up` again, ms.
const UP_AWAY_MS_MAX: u64 = 400;
/// Longest time between two kills that are meant to meet one recovery, ms.
const AGAIN_MS_MAX: u64 = 120;
/// How often nodes and gateway are asked whether they serve.
const WATCH_EVERY: Duration = Duration::from_millis(25);

/// Kills processes of one deployment, and starts `jadeshift up` again.
pub struct Killer {
    pub deployment: Deployment,
    line: CommandLine,
    shared: Arc<Shared>,
    serving: Arc<Mutex<ByColour<Serving>>>,
    random: StdRng,
    pub kills: Kills,
    /// The last process of each colour that was killed: it is not there any more, even while it still seems so.
    killed: ByColour<Option<u32>>,
}

/// Whether a node answers, as of the last look, and when it was killed last.
#[derive(Debug, Clone, Copy)]
struct Serving {
    answers: bool,
    killed: Instant,
}

/// One plan.
#[derive(Debug, Clone, Copy)]
enum Attack {
    Primary,
    Other,
    Up,
    /// Both nodes at the same time.
    BothNodes,
    /// A node that is just recovering, again.
    NodeAgain,
    /// `up` while it is starting.
    UpAgain,
    /// Nodes while there is no `up`.
    NodesWithoutUp,
    Everything,
    /// Somebody at this step of a handover, whenever it comes.
    Hunt(usize),
}

const ATTACKS: [(Attack, u32); 8] = [
    (Attack::Primary, 14),
    (Attack::Other, 14),
    (Attack::Up, 14),
    (Attack::BothNodes, 4),
    (Attack::NodeAgain, 5),
    (Attack::UpAgain, 5),
    (Attack::NodesWithoutUp, 6),
    (Attack::Everything, 3),
];
/// Hunts, by the number of the stage below, out of 100 attacks.
const HUNTS: u32 = 35;

/// A stage of a handover that can be waited for.
type Prey = fn(&Stage) -> bool;
const PREY: [Prey; 6] = [
    |stage| matches!(stage, Stage::ProvingWayBack),
    |stage| matches!(stage, Stage::Sealing),
    |stage| matches!(stage, Stage::Sealing | Stage::CatchingUp { .. }),
    |stage| matches!(stage, Stage::Promoting { .. }),
    |stage| matches!(stage, Stage::Promoting { .. } | Stage::TurningAround { .. }),
    |stage| matches!(stage, Stage::MovingTraffic { .. } | Stage::Resuming { .. }),
];

impl Killer {
    pub fn new(deployment: Deployment, shared: Arc<Shared>, seed: u64) -> Killer {
        Killer {
            line: deployment.line().clone(),
            deployment,
            shared,
            serving: Arc::new(Mutex::new(ByColour::from_fn(|_| Serving { answers: false, killed: Instant::now() }))),
            random: StdRng::seed_from_u64(seed),
            kills: Kills::default(),
            killed: ByColour::new(None, None),
        }
    }

    /// Looks, until it is dropped, at who serves, so that it is known whether a failed read had anybody to answer it.
    pub fn watch(&self, api: &Api) -> impl Future<Output = ()> + Send + 'static {
        watch(self.line.clone(), api.clone(), self.shared.clone(), self.serving.clone())
    }

    /// Attacks until `number` processes were killed or the time is over.
    ///
    /// # Errors
    /// When something ended that nobody killed.
    pub async fn kill(&mut self, number: u64, until: Instant) -> Result<()> {
        let goal = self.kills.total() + number;
        while self.kills.total() < goal && Instant::now() < until {
            let gap = self.random.random_range(0..GAP_MS_MAX);
            tokio::time::sleep(Duration::from_millis(gap)).await;
            self.deployment.must_run()?;
            let attack = self.choose();
            self.attack(attack).await.with_context(|| format!("{attack:?}"))?;
        }
        Ok(())
    }

    fn choose(&mut self) -> Attack {
        if self.random.random_range(0..100) < HUNTS {
            return Attack::Hunt(self.random.random_range(0..PREY.len()));
        }
        let mut dice = self.random.random_range(0..ATTACKS.iter().map(|(_, weight)| weight).sum());
        for (attack, weight) in ATTACKS {
            match dice < weight {
                true => return attack,
                false => dice -= weight,
            }
        }
        Attack::Up
    }

    async fn attack(&mut self, attack: Attack) -> Result<()> {
        let primary = self.line.state()?.primary;
        let victim = Colour::BOTH[self.random.random_range(0..2)];
        match attack {
            Attack::Primary => {
                self.kill_node(primary)?;
            }
            Attack::Other => {
                // It does not always run.
                if !self.kill_node(primary.other())? {
                    self.kill_node(primary)?;
                }
            }
            Attack::Up => {
                self.kill_up()?;
                self.deployment.begin_up()?;
            }
            Attack::BothNodes => {
                self.kill_node(victim)?;
                self.kill_node(victim.other())?;
            }
            Attack::NodeAgain => {
                for _ in 0..self.random.random_range(2..4) {
                    self.kill_node(victim)?;
                    self.wait(AGAIN_MS_MAX).await;
                }
            }
            Attack::UpAgain => {
                for _ in 0..self.random.random_range(2..4) {
                    self.kill_up()?;
                    self.deployment.begin_up()?;
                    self.wait(AGAIN_MS_MAX).await;
                }
            }
            Attack::NodesWithoutUp => {
                self.kill_up()?;
                self.wait(UP_AWAY_MS_MAX).await;
                self.kill_node(victim)?;
                if self.random.random_range(0..2) == 0 {
                    self.kill_node(victim.other())?;
                }
                self.wait(UP_AWAY_MS_MAX).await;
                self.deployment.begin_up()?;
            }
            Attack::Everything => {
                self.kill_up()?;
                self.kill_node(victim)?;
                self.kill_node(victim.other())?;
                self.deployment.begin_up()?;
            }
            Attack::Hunt(prey) => self.hunt(prey).await?,
        }
        Ok(())
    }

    /// Waits for a step of a handover, and kills somebody a moment later.
    async fn hunt(&mut self, prey: usize) -> Result<()> {
        let late = Duration::from_micros(self.random.random_range(0..HUNT_LATE_US_MAX));
        let kills_up = self.random.random_range(0..100) < 45;
        let victim = Colour::BOTH[self.random.random_range(0..2)];
        let line = self.line.clone();
        let hunting = move || {
            let began = Instant::now();
            while began.elapsed() < HUNT_LIMIT {
                if let Ok(Phase::HandingOver { stage, .. }) = line.state().map(|state| state.phase)
                    && PREY[prey](&stage)
                {
                    std::thread::sleep(late);
                    return true;
                }
                std::thread::sleep(HUNT_EVERY);
            }
            false
        };
        // The processes are found beforehand: looking for them takes longer than the step.
        let nodes = self.find(victim)?;
        if !tokio::task::spawn_blocking(hunting).await.context("a hunt broke off")? {
            return Ok(());
        }
        if kills_up {
            self.kill_up()?;
            if self.random.random_range(0..4) == 0 {
                self.wait(UP_AWAY_MS_MAX).await;
            }
            return self.deployment.begin_up();
        }
        self.kill_these(victim, nodes)?;
        Ok(())
    }

    fn kill_up(&mut self) -> Result<()> {
        let state = self.line.state()?;
        self.shared.outages.begin(Why::NoGateway);
        self.deployment.kill()?;
        self.kills.note(Victim::Up, &state);
        Ok(())
    }

    /// False when there was nobody to kill.
    fn kill_node(&mut self, colour: Colour) -> Result<bool> {
        let nodes = self.find(colour)?;
        self.kill_these(colour, nodes)
    }

    fn find(&self, colour: Colour) -> Result<Vec<NodeProcess>> {
        let mut nodes = self.line.nodes(colour)?;
        nodes.retain(|node| *self.killed.get(colour) != Some(node.pid));
        Ok(nodes)
    }

    fn kill_these(&mut self, colour: Colour, nodes: Vec<NodeProcess>) -> Result<bool> {
        let state = self.line.state()?;
        self.note_outage(colour, &state);
        let mut any = false;
        for node in nodes.into_iter().filter(NodeProcess::kill) {
            any = true;
            *self.killed.get_mut(colour) = Some(node.pid);
            self.kills.note(Victim::Node(colour), &state);
        }
        Ok(any)
    }

    /// Before the node of `colour` is killed: is the other one there to answer, and does the rollout leave it alone?
    fn note_outage(&self, colour: Colour, state: &State) {
        let other = {
            let mut serving = self.serving.lock();
            *serving.get_mut(colour) = Serving { answers: false, killed: Instant::now() };
            serving.get(colour.other()).answers
        };
        let leaving = matches!(
            state.phase,
            Phase::Preparing { .. } | Phase::Seeding { .. } | Phase::RollingBack { .. } | Phase::Starting { .. }
        );
        if leaving || !other || state.versions.get(colour.other()).is_none() {
            self.shared.outages.begin(Why::NoNode);
        }
    }

    async fn wait(&mut self, ms_max: u64) {
        let ms = self.random.random_range(0..ms_max);
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
}

/// Notes who serves, and ends outages.
async fn watch(line: CommandLine, api: Api, shared: Arc<Shared>, serving: Arc<Mutex<ByColour<Serving>>>) {
    let mut nodes: BTreeMap<String, Api> = BTreeMap::new();
    loop {
        for colour in Colour::BOTH {
            let asked = Instant::now();
            let answers = match line.ready(colour) {
                Some(ready) => {
                    let node = nodes.entry(ready.http.clone()).or_insert_with(|| api.at(&ready.http));
                    node.call("GET", "/health", &Value::Null).await.is_ok_and(|answer| answer.status == 200)
                }
                None => false,
            };
            let mut serving = serving.lock();
            let one = serving.get_mut(colour);
            one.answers = answers && asked > one.killed;
        }
        let asked = Instant::now();
        match serving.lock().iter().any(|(_, one)| one.answers) {
            true => shared.outages.end(Why::NoNode, asked),
            false => shared.outages.begin(Why::NoNode),
        }
        let through = api.call("GET", &api.path(""), &Value::Null).await;
        if through.is_ok_and(|answer| answer.status == 200) {
            shared.outages.end(Why::NoGateway, asked);
        }
        tokio::time::sleep(WATCH_EVERY).await;
    }
}
