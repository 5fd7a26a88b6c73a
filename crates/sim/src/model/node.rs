//! A node of the model: the real rules judge each call; the deeds that follow from a judgement are those of the node's
//! writer thread, done upon a history of a few records.

use super::broken::Rules;
use jadevectordb::engine::{Change, RoleFile};
use rollout::RoleCall;
use wire::Colour;
use wire::admin::{AcknowledgeBy, AcknowledgeMode, Epoch, Lsn, Peer, Role};

/// One record: the write of that number, or (0) the one that opens an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Record {
    pub epoch: Epoch,
    pub write: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Process {
    Running,
    /// It ended by itself; the platform starts it again.
    Down,
    /// The platform ended it because nothing shall run, and confirms that it is gone.
    Stopped,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Is {
    Primary(Epoch),
    Follower(Epoch),
    Sealed { epoch: Epoch, lsn: Lsn },
}

/// What a primary waits for; `knows`: it was told whose word counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct By {
    pub mode: AcknowledgeMode,
    pub knows: bool,
    pub number: u64,
}

/// The first five survive the end of the process.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Node {
    pub is: Is,
    pub epoch_seen: Epoch,
    pub by: By,
    pub log: Vec<Record>,
    pub process: Process,
    pub dormant: bool,
    pub confirmed_lsn: Lsn,
    pub holds: bool,
    /// In what a coordinator saw: this process has ended since.
    pub gone_since: bool,
}

/// What a call has done to a node besides changing it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obeyed {
    Refused,
    /// The record that opens this epoch is to be written now.
    Reigns(Epoch),
    Done,
}

pub fn peer(colour: Colour) -> Peer {
    Peer { admin: format!("{colour}:8081"), http: format!("{colour}:8080") }
}

/// Stands for the fingerprint of everything up to `lsn`.
pub fn digest(log: &[Record], lsn: Lsn) -> String {
    log.iter().take(lsn as usize).map(|record| format!("{}.{} ", record.epoch, record.write)).collect()
}

impl Node {
    pub fn new(is: Is) -> Self {
        let log = vec![Record { epoch: 1, write: 0 }];
        let (by, process) = (By::default(), Process::Running);
        Self { is, epoch_seen: 1, by, log, process, dormant: false, confirmed_lsn: 0, holds: false, gone_since: false }
    }

    pub fn lsn(&self) -> Lsn {
        self.log.len() as Lsn
    }

    pub fn lsn_epoch(&self) -> Epoch {
        self.log.last().map_or(0, |record| record.epoch)
    }

    pub fn runs(&self) -> bool {
        self.process == Process::Running
    }

    pub fn reigns(&self) -> bool {
        matches!(self.is, Is::Primary(_))
    }

    pub fn follows(&self) -> bool {
        matches!(self.is, Is::Follower(_))
    }

    /// It takes writes now.
    pub fn admits(&self, rules: &Rules) -> bool {
        let late = match self.is {
            Is::Sealed { lsn, .. } => rules.admits_after_reading_the_lsn() && self.lsn() == lsn,
            _ => false,
        };
        self.runs() && !self.dormant && (self.reigns() || late)
    }

    pub fn has(&self, write: u8) -> bool {
        self.log.iter().any(|record| record.write == write)
    }

    pub fn role(&self, colour: Colour) -> Role {
        match self.is {
            Is::Primary(epoch) => Role::Primary { epoch },
            Is::Follower(epoch) => Role::Follower { epoch, primary: peer(colour.other()) },
            Is::Sealed { epoch, lsn } => Role::Sealed { epoch, lsn, digest: digest(&self.log, lsn) },
        }
    }

    pub fn acknowledge_by(&self, colour: Colour) -> AcknowledgeBy {
        let confirmer = if self.by.knows { colour.other().to_string() } else { String::new() };
        AcknowledgeBy { mode: self.by.mode, confirmer, number: self.by.number }
    }

    /// The durable file by which the real rules judge.
    fn file(&self, colour: Colour) -> RoleFile {
        RoleFile {
            cluster_id: "c".into(),
            node_id: colour.to_string(),
            role: self.role(colour),
            epoch_seen: self.epoch_seen,
            acknowledge: self.acknowledge_by(colour),
            held_format: jadevectordb::record::FORMAT_MAX,
        }
    }

    /// Obeys a call, or refuses it. `knows`: the caller could name whose word counts.
    pub fn obey(&mut self, colour: Colour, call: RoleCall, knows: bool, rules: &Rules) -> Obeyed {
        let file = rules.file(self.file(colour), call);
        match call {
            RoleCall::Seal { epoch } => match file.judge_seal(epoch) {
                Ok(true) => self.become_role(Is::Sealed { epoch, lsn: self.lsn() }, epoch),
                Ok(false) => Obeyed::Done,
                Err(_) => Obeyed::Refused,
            },
            RoleCall::Follow { epoch } => match file.judge_follow(epoch, &peer(colour.other())) {
                Ok(Change::To(_)) => self.become_role(Is::Follower(epoch), epoch),
                Ok(Change::Already) => Obeyed::Done,
                Err(_) => Obeyed::Refused,
            },
            RoleCall::Resume { epoch } => match file.judge_resume(epoch) {
                Ok(change) => self.reign(&change, epoch),
                Err(_) => Obeyed::Refused,
            },
            RoleCall::Promote { epoch, lsn, acknowledge, number } => match file.judge_promote(epoch, lsn, self.lsn()) {
                Ok(change) => {
                    if change != Change::Already {
                        self.by = By { mode: acknowledge, knows, number };
                        (self.confirmed_lsn, self.holds) = (lsn, acknowledge == AcknowledgeMode::Required);
                    }
                    self.reign(&change, epoch)
                }
                Err(_) => Obeyed::Refused,
            },
            RoleCall::Acknowledge { epoch, mode, number } => {
                let by = By { mode, knows, number };
                let said = Node { by, ..self.clone() }.acknowledge_by(colour);
                match file.judge_acknowledge(epoch, &said) {
                    Ok(()) => {
                        self.acknowledge(by, rules);
                        Obeyed::Done
                    }
                    Err(_) => Obeyed::Refused,
                }
            }
        }
    }

    fn become_role(&mut self, is: Is, epoch: Epoch) -> Obeyed {
        (self.is, self.epoch_seen, self.dormant) = (is, epoch, false);
        Obeyed::Done
    }

    fn reign(&mut self, change: &Change, epoch: Epoch) -> Obeyed {
        self.dormant = false;
        if *change != Change::Already {
            (self.is, self.epoch_seen) = (Is::Primary(epoch), epoch);
        }
        match self.lsn_epoch() < epoch {
            true => Obeyed::Reigns(epoch),
            false => Obeyed::Done,
        }
    }

    /// As `Confirmations::set`.
    fn acknowledge(&mut self, by: By, rules: &Rules) {
        if self.by.knows != by.knows {
            (self.confirmed_lsn, self.holds) = (0, false);
        }
        let released = self.by.mode == AcknowledgeMode::Required && by.mode != AcknowledgeMode::Required;
        if released || (by.mode == AcknowledgeMode::Alone && !rules.remembers_what_held()) {
            self.holds = false;
        }
        self.by = by;
    }

    /// As `Confirmations::confirm`, behind the check of `hear`: the word must be about this node's own history.
    pub fn hear(&mut self, lsn: Lsn, lsn_epoch: Epoch) {
        let here = (lsn as usize).checked_sub(1).and_then(|position| self.log.get(position));
        let about_this = here.is_some_and(|record| record.epoch == lsn_epoch);
        if self.follows() || !about_this || !self.by.knows || self.by.mode == AcknowledgeMode::Alone {
            return;
        }
        self.confirmed_lsn = self.confirmed_lsn.max(lsn);
        self.holds |= self.confirmed_lsn >= self.lsn();
    }

    /// A write at `lsn` may be acknowledged; as `Confirmations::settled`.
    pub fn settled(&self, lsn: Lsn) -> bool {
        match self.by.mode {
            AcknowledgeMode::Alone => true,
            AcknowledgeMode::Preferred => !self.holds || self.confirmed_lsn >= lsn,
            AcknowledgeMode::Required => self.confirmed_lsn >= lsn,
        }
    }

    /// A write ran out of patience: the primary goes on alone where it may.
    pub fn impatient(&mut self, rules: &Rules) {
        match self.by.mode {
            AcknowledgeMode::Preferred => self.holds = false,
            AcknowledgeMode::Required if rules.goes_alone_before_it_is_durable() => {
                self.by.mode = AcknowledgeMode::Alone
            }
            _ => (),
        }
    }

    /// The process is gone, and with it what is not on disk.
    pub fn end(&mut self, process: Process) {
        (self.process, self.dormant, self.confirmed_lsn, self.holds) = (process, false, 0, false);
    }

    /// Every process but the very first is started with `--join`.
    pub fn start(&mut self, rules: &Rules) {
        self.process = Process::Running;
        self.dormant = self.reigns() && !rules.awakes_at_once();
    }

    /// Receives from `source`, whatever that is: true when it changed. A history that is not the source's is set aside.
    pub fn receive(&mut self, source: &Node) -> bool {
        let before = self.clone();
        let here = self.log.len().checked_sub(1).and_then(|last| source.log.get(last));
        if here.is_none_or(|record| record.epoch != self.lsn_epoch()) {
            self.log = source.log.clone();
            return *self != before;
        }
        // The source serves on from here, so everything before is in its history too.
        self.confirmed_lsn = self.confirmed_lsn.max(self.lsn());
        if let Some(next) = source.log.get(self.log.len())
            && next.epoch >= self.lsn_epoch()
        {
            self.log.push(*next);
        }
        *self != before
    }
}
