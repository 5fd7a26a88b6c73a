//! What is durable: one value owned by the coordinator, stored before the world changes because of it.

use serde::{Deserialize, Serialize};
use wire::admin::{Epoch, Lsn};
use wire::document::Spec;
use wire::{ByColour, Colour, Member};

/// Finished rollouts remembered in [`State::history`].
pub const HISTORY_LENGTH_MAX: usize = 50;

/// The whole durable state of one deployment.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct State {
    /// Grows by one with every stored change; a store of an older one is refused.
    pub generation: u64,
    /// Highest epoch ever given out.
    pub epoch: Epoch,
    /// Who may admit writes (the committed answer, `C` of the handover).
    pub primary: Colour,
    /// Epoch in which `primary` reigns.
    pub primary_epoch: Epoch,
    /// LSN at which `primary` began its reign by a promotion; `None` for the very first reign and after a resume.
    pub promoted_at: Option<Lsn>,
    /// What may be relied on about the writes that `primary` acknowledged.
    #[serde(default)]
    pub confirmation: Confirmation,
    /// How often `confirmation` has changed: the number of the word that the primary is told about it.
    #[serde(default)]
    pub confirmation_changes: u64,
    #[serde(default)]
    pub replicas: Replicas,
    /// The environment that serves production; changes at the commit of a handover.
    pub active: Colour,
    /// Version each environment shall run; `None`: it shall not run.
    pub versions: ByColour<Option<String>>,
    pub phase: Phase,
    /// The rollout under way.
    pub run: Option<Run>,
    /// Finished rollouts, oldest first, at most [`HISTORY_LENGTH_MAX`].
    pub history: Vec<Record>,
}

/// One attempt to move production to a candidate.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Run {
    pub id: u64,
    pub from_version: String,
    pub to_version: String,
    pub candidate: Colour,
    pub started_ms: u64,
    /// Set by `promote --full` and `switch`: steps are skipped, checks are not.
    pub full: bool,
    /// Set by `rollback --accept-loss`: going back without a primary that does not answer may lose what it alone has.
    #[serde(default)]
    pub accept_loss: bool,
    /// When the right to write was committed to the candidate, ms since 1970.
    pub committed_ms: Option<u64>,
}

/// Whether what the primary acknowledged is on the other environment's disk too. Each step is durable before the primary is
/// told of it where it takes something away, and seen at the primary before it is durable where it adds something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(tag = "level", rename_all = "snake_case")]
pub enum Confirmation {
    /// It need not be.
    #[default]
    Off,
    /// It is from the moment the other environment has everything, unless that falls behind again: nothing may be relied on.
    /// Before `confirmed_lsn` nothing is at stake.
    Joining { confirmed_lsn: Lsn, since_ms: u64 },
    /// The primary was told to acknowledge nothing without it, and has not been seen to obey.
    Locking,
    /// It is, all of it.
    Held,
}

/// What is known of environments of several nodes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Replicas {
    /// The number of the node that is the head of each environment: the one that decisions are about. The others follow it.
    pub heads: ByColour<u8>,
    /// The follower of the primary whose word [`State::confirmation`] is about; `None`: the other environment's head.
    pub successor: Option<Successor>,
    /// The head of the primary's environment is being replaced.
    pub succession: Option<Succession>,
    /// A person accepted that replacing it may lose what it alone has.
    pub loss_accepted: bool,
}

/// A node of the primary's own environment that is to take its place if need be.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Successor {
    pub number: u8,
    /// Identity of its data folder: another one with the same number has confirmed nothing.
    pub node_id: String,
}

/// One head on its way to being replaced by the node `to` of the same environment.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Succession {
    pub to: u8,
    pub stage: SuccessionStage,
    pub since_ms: u64,
    pub reason: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SuccessionStage {
    /// No process of the old head may be left.
    Fencing,
    /// Committed: the new head becomes primary.
    Promoting,
}

/// How a rollout ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Record {
    pub run: Run,
    pub outcome: Outcome,
    pub reason: String,
    pub ended_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Promoted,
    RolledBack,
}

/// Where the deployment stands. `since_ms` is when the phase began, ms since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum Phase {
    /// The first environment is being brought up.
    Starting {
        since_ms: u64,
    },
    Stable,
    Preparing {
        since_ms: u64,
    },
    Seeding {
        since_ms: u64,
    },
    Following {
        since_ms: u64,
    },
    Checking {
        since_ms: u64,
    },
    /// `share_percent` of the reads go to the candidate. `promoted`: a person said `promote` in this step.
    Shifting {
        step: usize,
        share_percent: u8,
        since_ms: u64,
        promoted: bool,
    },
    /// `epoch` is the one `to` will reign in (after going back: the old primary's next). `since_ms`: from the seal on, when
    /// its intent was stored. `share_percent`: share of reads that `to` has until its traffic is moved.
    HandingOver {
        to: Colour,
        epoch: Epoch,
        stage: Stage,
        since_ms: u64,
        reason: String,
        #[serde(default)]
        share_percent: u8,
        /// The environment that is left must not run again until this is over: `to` becomes primary without its consent.
        #[serde(default)]
        fenced: bool,
    },
    Watching {
        since_ms: u64,
    },
    /// Traffic is with the active environment; the candidate is being let go.
    RollingBack {
        since_ms: u64,
        reason: String,
    },
    /// Nothing moves until a person says so; `resume` continues at `before`.
    Paused {
        since_ms: u64,
        before: Box<Phase>,
        why: String,
    },
}

impl Phase {
    /// When the phase began, ms since 1970; `None`: it is the one without a beginning.
    pub fn since_ms(&self) -> Option<u64> {
        self.clone().times_ms().first().map(|began_ms| **began_ms)
    }

    /// The times that others are measured from, ms since 1970; first of all when the phase began.
    pub(crate) fn times_ms(&mut self) -> Vec<&mut u64> {
        match self {
            Phase::Stable => Vec::new(),
            Phase::HandingOver { stage: Stage::CatchingUp { sealed_ms, .. }, since_ms, .. } => {
                vec![since_ms, sealed_ms]
            }
            Phase::Starting { since_ms }
            | Phase::Preparing { since_ms }
            | Phase::Seeding { since_ms }
            | Phase::Following { since_ms }
            | Phase::Checking { since_ms }
            | Phase::Shifting { since_ms, .. }
            | Phase::HandingOver { since_ms, .. }
            | Phase::Watching { since_ms }
            | Phase::RollingBack { since_ms, .. }
            | Phase::Paused { since_ms, .. } => vec![since_ms],
        }
    }
}

/// The steps of a handover; `Promoting` is the first one after the commit. A forced one begins with `Fencing` instead.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "stage", rename_all = "snake_case")]
pub enum Stage {
    /// Step 1: the old primary shows that it could follow the new one.
    ProvingWayBack,
    /// In the place of steps 1 to 4 when the old primary does not answer: none of its processes is left.
    Fencing,
    /// Steps 2 and 3, and 4 as well when the new primary has caught up at once.
    Sealing,
    /// Step 4: the new primary reaches `lsn` with the same `digest`.
    CatchingUp { lsn: Lsn, digest: String, sealed_ms: u64 },
    /// Steps 5 and 6: committed. The old primary may turn around as soon as the new one reigns.
    Promoting { lsn: Lsn, digest: String },
    /// Step 7.
    TurningAround { lsn: Lsn },
    /// Step 8.
    MovingTraffic { lsn: Lsn },
    /// Going back before the commit: the old primary reigns again in a higher epoch. `roll_back`: the rollout ends with
    /// it, instead of pausing.
    Resuming {
        why: String,
        #[serde(default)]
        roll_back: bool,
    },
}

impl State {
    /// What may be relied on from now on.
    pub(crate) fn confirm(&mut self, confirmation: Confirmation) {
        if self.confirmation != confirmation {
            self.confirmation_changes += 1;
        }
        if confirmation == Confirmation::Off {
            self.replicas.successor = None;
        }
        self.confirmation = confirmation;
    }

    /// The state before anything ever ran: blue is to be the first primary. Its generation is 1.
    pub fn first(spec: &Spec, now_ms: u64) -> Self {
        Self {
            generation: 1,
            epoch: 1,
            primary: Colour::Blue,
            primary_epoch: 1,
            promoted_at: None,
            confirmation: Confirmation::Off,
            confirmation_changes: 0,
            replicas: Replicas::default(),
            active: Colour::Blue,
            versions: ByColour::new(Some(spec.version.clone()), None),
            phase: Phase::Starting { since_ms: now_ms },
            run: None,
            history: Vec::new(),
        }
    }

    /// The environment that the rollout under way brings in; without one, the environment that does not serve.
    pub fn candidate(&self) -> Colour {
        self.run.as_ref().map_or(self.active.other(), |run| run.candidate)
    }

    /// The node of `colour` that decisions are about.
    pub fn head(&self, colour: Colour) -> Member {
        Member::new(colour, *self.replicas.heads.get(colour))
    }

    /// Whose word `confirmation` is about, by name.
    pub fn confirmer(&self) -> Member {
        match &self.replicas.successor {
            Some(successor) => Member::new(self.primary, successor.number),
            None => self.head(self.primary.other()),
        }
    }

    /// The node that must not run, because another one is to become primary without its consent.
    pub fn fenced_head(&self) -> Option<Member> {
        let succession = self.replicas.succession.as_ref()?;
        (succession.stage == SuccessionStage::Fencing).then(|| self.head(self.primary))
    }

    /// The version that serves production.
    pub fn version_active(&self) -> &str {
        self.versions.get(self.active).as_deref().unwrap_or("no version")
    }

    /// The rollout that can still be taken back while nothing is under way: the last one, if it was promoted and the
    /// environment before it is still kept warm.
    pub fn reversible(&self) -> Option<&Record> {
        let last = self.history.last()?;
        let warm = self.versions.get(self.active.other()).as_deref() == Some(last.run.from_version.as_str());
        (last.outcome == Outcome::Promoted && last.run.candidate == self.active && warm).then_some(last)
    }
}

impl Phase {
    /// The phase's name as people read it.
    pub fn name(&self) -> &'static str {
        match self {
            Phase::Starting { .. } => "starting",
            Phase::Stable => "stable",
            Phase::Preparing { .. } => "preparing",
            Phase::Seeding { .. } => "seeding",
            Phase::Following { .. } => "following",
            Phase::Checking { .. } => "checking",
            Phase::Shifting { .. } => "shifting",
            Phase::HandingOver { .. } => "handing over",
            Phase::Watching { .. } => "watching",
            Phase::RollingBack { .. } => "rolling back",
            Phase::Paused { .. } => "paused",
        }
    }

    /// The phase itself, or the one that a pause interrupts.
    pub fn unpaused(&self) -> &Phase {
        match self {
            Phase::Paused { before, .. } => before.unpaused(),
            phase => phase,
        }
    }

    /// Writes wait: every millisecond counts until this is over.
    pub fn holds_writes(&self) -> bool {
        match self {
            Phase::HandingOver { stage, .. } => match stage {
                Stage::Sealing
                | Stage::CatchingUp { .. }
                | Stage::Promoting { .. }
                | Stage::TurningAround { .. }
                | Stage::Resuming { .. } => true,
                // They wait while a dead side is fenced off too, but that is the platform's work and takes its time.
                Stage::Fencing | Stage::ProvingWayBack | Stage::MovingTraffic { .. } => false,
            },
            _ => false,
        }
    }
}

impl Stage {
    /// The right to write is committed to the new primary.
    pub fn is_committed(&self) -> bool {
        matches!(self, Stage::Promoting { .. } | Stage::TurningAround { .. } | Stage::MovingTraffic { .. })
    }
}
