//! The rules of the model: the real ones, or one of them broken on purpose. That a broken one is found shows that the search
//! would find it.

use super::look::LATE_MS;
use jadevectordb::engine::RoleFile;
use rollout::{NodeObservation, Observation, Phase, RoleCall, Stage, State, decide};
use wire::Colour;
use wire::admin::{Epoch, Role};
use wire::document::Spec;

/// One rule broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// The new primary is committed before it has everything.
    CommitBeforeCatchUp,
    /// The new primary is promoted as soon as it has everything, before that is durable.
    PromoteBeforeCommit,
    /// A node obeys whatever epoch a call carries.
    NoFence,
    /// The seal reads its LSN, and a write that was under way comes after it.
    LsnBeforeSeal,
    /// Going back before the commit, the old primary reigns in the epoch that was meant for the new one.
    ResumeWithoutNewEpoch,
    /// A coordinator stores its state whatever was stored meanwhile.
    StoreWithoutGeneration,
    /// A silent primary counts as gone.
    ForcedBeforeStopped,
    /// A primary that is gone is replaced although nobody knows whether the other has everything.
    ForcedWhenNotHeld,
    /// A primary that shall wait goes on alone when nobody confirms in time.
    AloneBeforeDurable,
    /// A node takes every word about acknowledging for the newest.
    WordsWithoutNumbers,
    /// Who was primary when its process ended takes writes as soon as it is started again.
    AwakeAtOnce,
    /// A call that gives the right to write is obeyed by whichever process it reaches, and made by a coordinator that does not
    /// know whether it is still the one.
    CallsForAnyProcess,
    /// Going on alone, a primary does not forget that everything was confirmed.
    RemembersWhatHeld,
}

/// The rules that are searched with.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rules {
    pub broken: Option<Broken>,
}

impl Rules {
    fn are(&self, broken: Broken) -> bool {
        self.broken == Some(broken)
    }

    pub fn admits_after_reading_the_lsn(&self) -> bool {
        self.are(Broken::LsnBeforeSeal)
    }

    pub fn goes_alone_before_it_is_durable(&self) -> bool {
        self.are(Broken::AloneBeforeDurable)
    }

    pub fn awakes_at_once(&self) -> bool {
        self.are(Broken::AwakeAtOnce)
    }

    pub fn calls_reach_any_process(&self) -> bool {
        self.are(Broken::CallsForAnyProcess)
    }

    pub fn remembers_what_held(&self) -> bool {
        self.are(Broken::RemembersWhatHeld)
    }

    pub fn stores_anything(&self) -> bool {
        self.are(Broken::StoreWithoutGeneration)
    }

    /// The real decision, or one that was shown something that is not so.
    pub fn decide(&self, spec: &Spec, state: &State, seen: &Observation, now_ms: u64) -> State {
        match self.broken {
            Some(Broken::CommitBeforeCatchUp) => decide(spec, state, &caught_up(state, seen), now_ms).state,
            Some(Broken::ForcedBeforeStopped) => decide(spec, state, &gone(state, seen), now_ms).state,
            Some(Broken::ForcedWhenNotHeld) => forced(spec, state, seen, now_ms),
            Some(Broken::ResumeWithoutNewEpoch) => resumed(state, decide(spec, state, seen, now_ms).state),
            _ => decide(spec, state, seen, now_ms).state,
        }
    }

    /// A call that the real coordinator would not make.
    pub fn call(&self, state: &State, colour: Colour, seen: &Observation) -> Option<RoleCall> {
        if !self.are(Broken::PromoteBeforeCommit) {
            return None;
        }
        let Phase::HandingOver { to, epoch, stage: Stage::Sealing | Stage::CatchingUp { .. }, .. } = &state.phase
        else {
            return None;
        };
        let (NodeObservation::Up { state: old, .. }, NodeObservation::Up { state: new, .. }) =
            (seen.nodes.get(to.other()), seen.nodes.get(*to))
        else {
            return None;
        };
        let Role::Sealed { epoch: sealed, lsn, .. } = old.role else { return None };
        let due = colour == *to && sealed == *epoch && new.lsn == lsn && matches!(new.role, Role::Follower { .. });
        let acknowledge = wire::admin::AcknowledgeMode::Alone;
        due.then_some(RoleCall::Promote { epoch: *epoch, lsn, acknowledge, number: state.confirmation_changes })
    }

    /// What a node judges by.
    pub fn file(&self, mut file: RoleFile, call: RoleCall) -> RoleFile {
        match self.broken {
            Some(Broken::NoFence) => forget_epochs(&mut file),
            Some(Broken::WordsWithoutNumbers) => file.acknowledge.number = 0,
            Some(Broken::ResumeWithoutNewEpoch) => {
                if let (RoleCall::Resume { .. }, Role::Sealed { epoch, .. }) = (call, &mut file.role) {
                    *epoch -= 1;
                }
            }
            _ => (),
        }
        file
    }
}

fn forget_epochs(file: &mut RoleFile) {
    let none: Epoch = 0;
    file.epoch_seen = none;
    match &mut file.role {
        Role::Primary { epoch } | Role::Follower { epoch, .. } | Role::Sealed { epoch, .. } => *epoch = none,
        Role::Waiting => (),
    }
}

/// Whoever is to take over seems to have everything.
fn caught_up(state: &State, seen: &Observation) -> Observation {
    let mut seen = seen.clone();
    let Phase::HandingOver { to, .. } = &state.phase else { return seen };
    let sealed = match seen.nodes.get(to.other()) {
        NodeObservation::Up { state, .. } => match &state.role {
            Role::Sealed { lsn, digest, .. } => Some((*lsn, digest.clone())),
            _ => None,
        },
        _ => None,
    };
    if let (Some((lsn, digest)), NodeObservation::Up { state, .. }) = (sealed, seen.nodes.get_mut(*to)) {
        state.lsn = lsn;
        *seen.digest_at.get_mut(*to) = Some((lsn, digest));
    }
    seen
}

/// Who is fenced off and does not answer seems to be gone.
fn gone(state: &State, seen: &Observation) -> Observation {
    let mut seen = seen.clone();
    if let Phase::HandingOver { to, stage: Stage::Fencing, .. } = &state.phase
        && matches!(seen.nodes.get(to.other()), NodeObservation::Silent { .. })
    {
        *seen.nodes.get_mut(to.other()) = NodeObservation::Stopped;
    }
    seen
}

/// As if everything were known to be on both disks.
fn forced(spec: &Spec, state: &State, seen: &Observation, now_ms: u64) -> State {
    let silent = *seen.silent_ms.get(state.primary) >= LATE_MS;
    let shown = State { confirmation: rollout::Confirmation::Held, ..state.clone() };
    let next = decide(spec, &shown, seen, now_ms).state;
    let fences = |state: &State| matches!(state.phase, Phase::HandingOver { stage: Stage::Fencing, .. });
    match silent && fences(&next) && !fences(state) {
        true => State { confirmation: state.confirmation, ..next },
        false => decide(spec, state, seen, now_ms).state,
    }
}

/// The epoch that was taken for going back is given up again.
fn resumed(before: &State, mut next: State) -> State {
    if let Phase::HandingOver { stage: Stage::Resuming { .. }, epoch, .. } = &mut next.phase
        && next.epoch > before.epoch
    {
        next.epoch = before.epoch;
        next.primary_epoch = before.epoch;
        *epoch = before.epoch;
    }
    next
}
