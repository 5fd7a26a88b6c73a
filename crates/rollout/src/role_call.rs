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
