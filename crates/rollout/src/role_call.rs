//! Which call, if any, makes a node what it shall be. The order of a handover lives in the desired world; this only
//! compares. The model check and the conductor use the same function.

use crate::RoleWanted;
use crate::text;
use wire::admin::{Epoch, Lsn, NodeState, Peer, Role};

/// A call that changes a node's role; each may be repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoleCall {
    Seal { epoch: Epoch },
    Resume { epoch: Epoch },
    Promote { epoch: Epoch, lsn: Lsn },
    Follow { epoch: Epoch },
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
        (RoleWanted::Primary { epoch, .. }, Role::Primary { epoch: reign }) if reign >= epoch => Ok(None),
        (RoleWanted::Primary { epoch, promote_at: Some(lsn) }, Role::Follower { .. }) => {
            Ok(Some(RoleCall::Promote { epoch: *epoch, lsn: *lsn }))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::tests::scene::{follower, node, peer, primary, sealed};
    use wire::Colour;

    const REIGN: RoleWanted = RoleWanted::Primary { epoch: 3, promote_at: None };

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
        let promoted = RoleWanted::Primary { epoch: 3, promote_at: Some(9) };
        let follows = follower(Colour::Blue, 1);
        assert_eq!(call(&promoted, follows.clone(), None), Some(RoleCall::Promote { epoch: 3, lsn: 9 }));
        for role in [follows, Role::Waiting] {
            let stranger = node(Colour::Blue, role, 9);
            assert!(matches!(role_call(&REIGN, &stranger, None), Err(RoleCallError::CannotReign { epoch: 3, .. })));
        }
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
