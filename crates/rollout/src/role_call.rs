//! Which call, if any, makes a node what it shall be. The order of a handover lives in the desired world; this only
//! compares. The model check and the conductor use the same function.

use crate::RoleWanted;
use crate::text;
use wire::admin::{AcknowledgeMode, Epoch, Lsn, NodeState, Peer, Role};

/// A call that changes a node's role; each may be repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RoleCall {
    Seal {
        epoch: Epoch,
    },
    Resume {
        epoch: Epoch,
    },
    /// `acknowledge`: what its writes wait for from the first one on.
    Promote {
        epoch: Epoch,
        lsn: Lsn,
        acknowledge: AcknowledgeMode,
        number: u64,
    },
    /// What the writes of the primary wait for from now on.
    Acknowledge {
        epoch: Epoch,
        mode: AcknowledgeMode,
        number: u64,
    },
    Follow {
        epoch: Epoch,
    },
}

/// No call can make the node what it shall be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RoleCallError {
    #[error("it shall reign in epoch {epoch} without having been promoted, but it is {is}; bring back its data folder")]
    CannotReign { epoch: Epoch, is: String },
    #[error("it shall be sealed in epoch {epoch}, but it is {is}, so it admits no writes to be stopped")]
    CannotSeal { epoch: Epoch, is: String },
}

/// The call that brings `node` closer to `wanted`; `None` when it is there, or when it has to wait: nobody is told to
/// follow a node that does not reign in the wanted epoch yet. `other` is the opposite environment, if it answers.
///
/// # Errors
/// When no call can help.
pub fn role_call(
    wanted: &RoleWanted,
    node: &NodeState,
    other: Option<(&NodeState, &Peer)>,
) -> Result<Option<RoleCall>, RoleCallError> {
    match (wanted, &node.role) {
        // Its own epoch again is the word that it waits for.
        (RoleWanted::Primary { epoch, .. }, Role::Primary { epoch: reign }) if reign == epoch && node.dormant => {
            Ok(Some(RoleCall::Resume { epoch: *epoch }))
        }
        (RoleWanted::Primary { epoch, acknowledge, number, .. }, Role::Primary { epoch: reign }) if reign >= epoch => {
            Ok(acknowledge_call(*epoch, (*acknowledge, *number), node, other).filter(|_| reign == epoch))
        }
        (RoleWanted::Primary { epoch, promote_at: Some(lsn), acknowledge, number }, Role::Follower { .. }) => {
            let (acknowledge, number) = (*acknowledge, *number);
            Ok(Some(RoleCall::Promote { epoch: *epoch, lsn: *lsn, acknowledge, number }))
        }
        (RoleWanted::Primary { epoch, .. }, Role::Primary { .. } | Role::Sealed { .. }) => {
            Ok(Some(RoleCall::Resume { epoch: *epoch }))
        }
        (RoleWanted::Primary { epoch, .. }, role @ (Role::Follower { .. } | Role::Waiting)) => {
            Err(RoleCallError::CannotReign { epoch: *epoch, is: text::role(role) })
        }

        (RoleWanted::Sealed { epoch }, Role::Sealed { epoch: sealed, .. }) if sealed >= epoch => Ok(None),
        (RoleWanted::Sealed { epoch }, Role::Primary { .. } | Role::Sealed { .. }) => {
            Ok(Some(RoleCall::Seal { epoch: *epoch }))
        }
        (RoleWanted::Sealed { epoch }, role @ (Role::Follower { .. } | Role::Waiting)) => {
            Err(RoleCallError::CannotSeal { epoch: *epoch, is: text::role(role) })
        }

        (RoleWanted::Follower { epoch }, role) => {
            let Some((other, peer)) = other else { return Ok(None) };
            let reigns = matches!(other.role, Role::Primary { epoch: reign } if reign == *epoch);
            let follows = matches!(role, Role::Follower { epoch: of, primary } if of >= epoch && primary == peer);
            Ok((reigns && !follows).then_some(RoleCall::Follow { epoch: *epoch }))
        }
    }
}

/// Whether a node that is not the head of its environment is to be told to follow `head` in `epoch`. That is a tree: the head
/// may follow another environment's head itself.
pub fn follows_head_of(epoch: Epoch, node: &NodeState, (head, peer): (&NodeState, &Peer)) -> bool {
    let told = matches!(&node.role, Role::Follower { epoch: of, primary } if *of >= epoch && primary == peer);
    let behind = match &head.role {
        Role::Primary { epoch: reign } => *reign != epoch || head.dormant,
        // Ahead of what it is to follow, a node would be taken for one of another history: the head catches up first.
        Role::Follower { epoch: of, .. } => {
            let caught_up = head.feed.as_ref().is_some_and(|feed| feed.connected && feed.primary_lsn <= head.lsn);
            *of < epoch || head.lsn < node.lsn && !caught_up
        }
        Role::Sealed { .. } | Role::Waiting => true,
    };
    !told && !behind && node.epoch_seen <= epoch
}

/// A node that does not say what it waits for is of a version that cannot wait.
fn acknowledge_call(
    epoch: Epoch,
    (mode, number): (AcknowledgeMode, u64),
    node: &NodeState,
    other: Option<(&NodeState, &Peer)>,
) -> Option<RoleCall> {
    let now = &node.acknowledge.as_ref()?.by;
    let stranger = other.is_some_and(|(other, _)| other.node_id != now.confirmer);
    // The number as well: what is said later must not be undone by what was said before.
    let told = (now.mode, now.number) == (mode, number) && (mode == AcknowledgeMode::Alone || !stranger);
    (!told).then_some(RoleCall::Acknowledge { epoch, mode, number })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::tests::scene::{follower, node, peer, primary, sealed};
    use wire::Colour;
    use wire::admin::{AcknowledgeBy, AcknowledgeState};

    const REIGN: RoleWanted =
        RoleWanted::Primary { epoch: 3, promote_at: None, acknowledge: AcknowledgeMode::Alone, number: 0 };

    /// The call for blue as `role`, beside a green as `other`.
    fn call(wanted: &RoleWanted, role: Role, other: Option<Role>) -> Option<RoleCall> {
        let blue = node(Colour::Blue, role, 9);
        let green = other.map(|role| node(Colour::Green, role, 9));
        let address = peer(Colour::Green);
        role_call(wanted, &blue, green.as_ref().map(|green| (green, &address))).unwrap()
    }

    #[test]
    fn whoever_shall_reign_is_promoted_resumed_or_left_alone() {
        assert_eq!(call(&REIGN, primary(3), None), None);
        assert_eq!(call(&REIGN, primary(4), None), None);
        // A seal that never arrived leaves a primary of the epoch before.
        assert_eq!(call(&REIGN, primary(1), None), Some(RoleCall::Resume { epoch: 3 }));
        assert_eq!(call(&REIGN, sealed(2, 9), None), Some(RoleCall::Resume { epoch: 3 }));
        let acknowledge = AcknowledgeMode::Required;
        let promoted = RoleWanted::Primary { epoch: 3, promote_at: Some(9), acknowledge, number: 5 };
        let follows = follower(Colour::Blue, 1);
        let promote = RoleCall::Promote { epoch: 3, lsn: 9, acknowledge, number: 5 };
        assert_eq!(call(&promoted, follows.clone(), None), Some(promote));
        // The mode is promoted with the first call, and told to one that reigns without it.
        assert_eq!(
            call(&promoted, primary(3), None),
            Some(RoleCall::Acknowledge { epoch: 3, mode: acknowledge, number: 5 })
        );
        assert_eq!(call(&promoted, primary(4), None), None);
        // Sealed at just that place, it never stopped being whole.
        assert_eq!(call(&promoted, sealed(2, 9), None), Some(RoleCall::Resume { epoch: 3 }));
        for role in [follows, Role::Waiting] {
            let stranger = node(Colour::Blue, role, 9);
            assert!(matches!(role_call(&REIGN, &stranger, None), Err(RoleCallError::CannotReign { epoch: 3, .. })));
        }
    }

    #[test]
    fn a_primary_is_told_whose_word_counts() {
        let mut blue = node(Colour::Blue, primary(3), 9);
        let green = node(Colour::Green, follower(Colour::Green, 3), 9);
        let address = peer(Colour::Green);
        let wanted = |acknowledge| RoleWanted::Primary { epoch: 3, promote_at: None, acknowledge, number: 5 };
        let mut check = |now: Option<(AcknowledgeMode, &str, u64)>, mode, expected| {
            blue.acknowledge = now.map(|(mode, confirmer, number)| AcknowledgeState {
                by: AcknowledgeBy { mode, confirmer: confirmer.into(), number },
                ..AcknowledgeState::default()
            });
            assert_eq!(role_call(&wanted(mode), &blue, Some((&green, &address))), Ok(expected), "{now:?} {mode:?}");
        };
        let call = |mode| Some(RoleCall::Acknowledge { epoch: 3, mode, number: 5 });
        let (alone, required) = (AcknowledgeMode::Alone, AcknowledgeMode::Required);
        check(Some((alone, "", 4)), required, call(required));
        check(Some((required, "green", 5)), required, None);
        check(Some((required, "green", 3)), required, call(required));
        check(Some((required, "an emptied folder", 5)), required, call(required));
        check(Some((required, "green", 4)), alone, call(alone));
        check(Some((alone, "", 5)), alone, None);
        // An older version cannot wait for anybody.
        check(None, required, None);
    }

    #[test]
    fn a_primary_that_waits_for_the_word_gets_it_only_in_its_own_reign() {
        let mut blue = node(Colour::Blue, primary(3), 9);
        blue.dormant = true;
        assert_eq!(role_call(&REIGN, &blue, None), Ok(Some(RoleCall::Resume { epoch: 3 })));
        let later = RoleWanted::Follower { epoch: 4 };
        assert_eq!(role_call(&later, &blue, None), Ok(None), "it is no primary any more and waits to follow");
    }

    #[test]
    fn a_seal_is_made_once_for_each_epoch() {
        let wanted = RoleWanted::Sealed { epoch: 3 };
        assert_eq!(call(&wanted, primary(2), None), Some(RoleCall::Seal { epoch: 3 }));
        assert_eq!(call(&wanted, sealed(2, 9), None), Some(RoleCall::Seal { epoch: 3 }));
        assert_eq!(call(&wanted, sealed(3, 9), None), None);
        let follows = node(Colour::Blue, follower(Colour::Blue, 1), 9);
        assert!(matches!(role_call(&wanted, &follows, None), Err(RoleCallError::CannotSeal { epoch: 3, .. })));
    }

    #[test]
    fn nobody_follows_a_node_that_does_not_reign_in_that_epoch() {
        let (wanted, follow) = (RoleWanted::Follower { epoch: 3 }, Some(RoleCall::Follow { epoch: 3 }));
        for (other, expected) in
            [(None, None), (Some(sealed(3, 9)), None), (Some(primary(2)), None), (Some(primary(3)), follow)]
        {
            assert_eq!(call(&wanted, Role::Waiting, other.clone()), expected, "beside {other:?}");
        }
        let reigning = || Some(primary(3));
        assert_eq!(call(&wanted, sealed(3, 9), reigning()), follow);
        assert_eq!(call(&wanted, follower(Colour::Blue, 2), reigning()), follow);
        assert_eq!(call(&wanted, follower(Colour::Blue, 3), reigning()), None);
        // It moved to another address.
        assert_eq!(call(&wanted, follower(Colour::Green, 3), reigning()), follow);
    }
}
