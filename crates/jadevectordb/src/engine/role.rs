//! What a node is, kept in a small file next to the log, and the rules by which it changes.

use crate::record::{FORMAT_MAX, FORMAT_MIN};
use changelog::{DataDir, DurableWriteError};
use serde::{Deserialize, Serialize};
use wire::admin::{AcknowledgeBy, Epoch, Lsn, Peer, Role};

const NAME: &str = "role.json";

/// Content of `role.json`: written durably before the node acts upon it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleFile {
    /// Identity of the history; empty while waiting.
    pub cluster_id: String,
    /// Identity of this folder.
    pub node_id: String,
    #[serde(flatten)]
    pub role: Role,
    /// Highest epoch ever seen.
    pub epoch_seen: Epoch,
    /// What its writes wait for while it is primary.
    #[serde(default)]
    pub acknowledge: AcknowledgeBy,
    /// Oldest format in which what is here came: a primary leaves out of it what that format cannot say. A folder that does
    /// not tell is of a version that knew the first only.
    #[serde(default = "first_format")]
    pub held_format: u8,
}

fn first_format() -> u8 {
    FORMAT_MIN
}

/// Why a role did not change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RoleError {
    #[error("epoch {given} is over: this node has seen epoch {seen}")]
    StaleEpoch { given: Epoch, seen: Epoch },
    #[error("this node is {role}: {why}")]
    WrongState { role: String, why: String },
    #[error("this node stands at LSN {here}, not at {wanted}")]
    WrongPosition { here: Lsn, wanted: Lsn },
    #[error("a received record does not continue the history here: {0}")]
    Discontinuous(String),
    #[error("the disk failed: {0}")]
    Disk(String),
    #[error("the node is closing")]
    Closing,
}

/// What a call asks for, judged against the present role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It is so already: answer again.
    Already,
    /// Becomes this.
    To(Role),
}

/// 128 random bits in hexadecimal; the names of histories, folders and processes.
pub(crate) fn new_id() -> String {
    format!("{:032x}", rand::random::<u128>())
}

impl RoleFile {
    /// The role of a node with an empty folder.
    pub fn first(join: bool) -> RoleFile {
        if join {
            return RoleFile::of(String::new(), Role::Waiting, 0);
        }
        RoleFile::of(new_id(), Role::Primary { epoch: 1 }, 1)
    }

    fn of(cluster_id: String, role: Role, epoch_seen: Epoch) -> RoleFile {
        let (node_id, acknowledge) = (new_id(), AcknowledgeBy::default());
        RoleFile { cluster_id, node_id, role, epoch_seen, acknowledge, held_format: FORMAT_MAX }
    }

    /// `None` when there is none yet.
    ///
    /// # Errors
    /// A text that names the file.
    pub fn load(dir: &DataDir) -> Result<Option<RoleFile>, String> {
        let named = |error: String| format!("{}: {error}", dir.path().join(NAME).display());
        let text = dir.read(NAME).map_err(|error| named(error.to_string()))?;
        text.map(|text| serde_json::from_slice(&text).map_err(|error| named(error.to_string()))).transpose()
    }

    /// # Errors
    /// Names the step that failed, and whether the role that was there before still is.
    pub fn store(&self, dir: &DataDir) -> Result<(), DurableWriteError> {
        // A role is made of texts and numbers, which always have a form in JSON.
        let text = serde_json::to_vec_pretty(self).unwrap_or_default();
        dir.write_durably(NAME, &text)
    }

    fn fresh(&self, epoch: Epoch) -> Result<(), RoleError> {
        if epoch < self.epoch_seen {
            return Err(RoleError::StaleEpoch { given: epoch, seen: self.epoch_seen });
        }
        Ok(())
    }

    fn wrong(&self, why: &str) -> RoleError {
        let role = match &self.role {
            Role::Primary { epoch } => format!("primary of epoch {epoch}"),
            Role::Follower { primary, .. } => format!("a follower of {}", primary.admin),
            Role::Sealed { epoch, .. } => format!("sealed for epoch {epoch}"),
            Role::Waiting => "waiting to be told whom to follow".to_string(),
        };
        RoleError::WrongState { role, why: why.to_string() }
    }

    /// Judges `seal(epoch)`.
    pub fn judge_seal(&self, epoch: Epoch) -> Result<bool, RoleError> {
        self.fresh(epoch)?;
        match &self.role {
            Role::Sealed { epoch: sealed, .. } if *sealed == epoch => Ok(false),
            Role::Sealed { .. } => Ok(true),
            Role::Primary { epoch: reign } if epoch > *reign => Ok(true),
            Role::Primary { .. } => Err(self.wrong("a seal needs a higher epoch")),
            _ => Err(self.wrong("only a primary can be sealed")),
        }
    }

    /// Judges `resume(epoch)`.
    pub fn judge_resume(&self, epoch: Epoch) -> Result<Change, RoleError> {
        self.fresh(epoch)?;
        match &self.role {
            Role::Primary { epoch: reign } if *reign == epoch => Ok(Change::Already),
            Role::Primary { epoch: reign } if epoch > *reign => Ok(Change::To(Role::Primary { epoch })),
            Role::Sealed { epoch: sealed, .. } if epoch > *sealed => Ok(Change::To(Role::Primary { epoch })),
            Role::Sealed { .. } => Err(self.wrong("resuming needs a higher epoch than the seal's")),
            _ => Err(self.wrong("only a sealed node can resume")),
        }
    }

    /// Judges `promote(epoch, lsn)` of a node that stands at `here`.
    pub fn judge_promote(&self, epoch: Epoch, lsn: Lsn, here: Lsn) -> Result<Change, RoleError> {
        self.fresh(epoch)?;
        match &self.role {
            Role::Primary { epoch: reign } if *reign == epoch => Ok(Change::Already),
            Role::Follower { epoch: followed, .. } if epoch > *followed => {
                if here != lsn {
                    return Err(RoleError::WrongPosition { here, wanted: lsn });
                }
                Ok(Change::To(Role::Primary { epoch }))
            }
            Role::Follower { .. } => Err(self.wrong("a promotion needs a higher epoch than the one it follows")),
            _ => Err(self.wrong("only a follower can be promoted")),
        }
    }

    /// Judges `acknowledge(epoch, by)`: only the reign that the call means is told, and no word undoes a later one.
    pub fn judge_acknowledge(&self, epoch: Epoch, by: &AcknowledgeBy) -> Result<(), RoleError> {
        self.fresh(epoch)?;
        match &self.role {
            Role::Primary { epoch: reign } if *reign == epoch && by.number < self.acknowledge.number => Err(self
                .wrong(&format!(
                    "it was told number {} of how to acknowledge, {} is over",
                    self.acknowledge.number, by.number
                ))),
            Role::Primary { epoch: reign } if *reign == epoch => Ok(()),
            _ => Err(self.wrong("only the primary of that epoch acknowledges writes")),
        }
    }

    /// Judges `follow(epoch, primary)`.
    pub fn judge_follow(&self, epoch: Epoch, primary: &Peer) -> Result<Change, RoleError> {
        self.fresh(epoch)?;
        let wanted = Role::Follower { epoch, primary: primary.clone() };
        match &self.role {
            role if *role == wanted => Ok(Change::Already),
            Role::Primary { epoch: reign } if epoch <= *reign => {
                Err(self.wrong("a primary follows only in a higher epoch"))
            }
            _ => Ok(Change::To(wanted)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(role: Role, epoch_seen: Epoch) -> RoleFile {
        RoleFile::of("c".into(), role, epoch_seen)
    }

    fn peer() -> Peer {
        Peer { admin: "127.0.0.1:1".into(), http: "127.0.0.1:2".into() }
    }

    #[test]
    fn no_call_of_an_epoch_that_is_over_is_obeyed() {
        for role in [
            Role::Primary { epoch: 5 },
            Role::Follower { epoch: 5, primary: peer() },
            Role::Sealed { epoch: 5, lsn: 9, digest: String::new() },
            Role::Waiting,
        ] {
            let node = node(role, 5);
            let stale = RoleError::StaleEpoch { given: 4, seen: 5 };
            assert_eq!(node.judge_seal(4).unwrap_err(), stale);
            assert_eq!(node.judge_resume(4).unwrap_err(), stale);
            assert_eq!(node.judge_promote(4, 9, 9).unwrap_err(), stale);
            assert_eq!(node.judge_follow(4, &peer()).unwrap_err(), stale);
            assert_eq!(node.judge_acknowledge(4, &AcknowledgeBy::default()).unwrap_err(), stale);
        }
    }

    #[test]
    fn a_late_permission_to_go_on_alone_does_not_undo_a_later_word() {
        let mut node = node(Role::Primary { epoch: 2 }, 2);
        let word = |number| AcknowledgeBy { number, ..AcknowledgeBy::default() };
        node.acknowledge = word(7);
        assert!(node.judge_acknowledge(2, &word(6)).unwrap_err().to_string().contains("6 is over"));
        assert_eq!(node.judge_acknowledge(2, &word(7)), Ok(()));
        assert_eq!(node.judge_acknowledge(2, &word(8)), Ok(()));
    }

    #[test]
    fn repeated_calls_change_nothing() {
        let sealed = node(Role::Sealed { epoch: 2, lsn: 9, digest: String::new() }, 2);
        assert!(!sealed.judge_seal(2).unwrap());
        let primary = node(Role::Primary { epoch: 2 }, 2);
        assert_eq!(primary.judge_promote(2, 9, 12), Ok(Change::Already));
        assert_eq!(primary.judge_resume(2), Ok(Change::Already));
        let follower = node(Role::Follower { epoch: 2, primary: peer() }, 2);
        assert_eq!(follower.judge_follow(2, &peer()), Ok(Change::Already));
    }

    #[test]
    fn a_follower_is_promoted_only_at_the_very_position() {
        let follower = node(Role::Follower { epoch: 1, primary: peer() }, 1);
        assert_eq!(follower.judge_promote(2, 10, 9), Err(RoleError::WrongPosition { here: 9, wanted: 10 }));
        assert_eq!(follower.judge_promote(2, 9, 9), Ok(Change::To(Role::Primary { epoch: 2 })));
        assert!(follower.judge_promote(1, 9, 9).is_err(), "the epoch it follows belongs to another");
    }

    #[test]
    fn a_seal_is_broken_only_by_a_higher_epoch() {
        let sealed = node(Role::Sealed { epoch: 2, lsn: 9, digest: String::new() }, 2);
        assert!(sealed.judge_resume(2).is_err());
        assert_eq!(sealed.judge_resume(3), Ok(Change::To(Role::Primary { epoch: 3 })));
    }

    #[test]
    fn a_primary_does_not_follow_in_its_own_epoch() {
        assert!(node(Role::Primary { epoch: 2 }, 2).judge_follow(2, &peer()).is_err());
    }
}
