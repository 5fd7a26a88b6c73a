//! The control protocol of a running `jadeshift up`: JSON over HTTP on a loopback port, `Authorization: Bearer <control
//! token>`; port and token stand in `control.json` in its folder (mode 0600).
//!
//! | call | body -> answer |
//! |---|---|
//! | `GET /control/v1/info` | -> `Info` (defined beside the engine that fills it) |
//! | `POST /control/v1/command` | a `rollout::Command` as JSON -> `Info`, or [`ControlError`] 409 when refused |
//! | `POST /control/v1/verify` | [`VerifyRequest`] -> [`Verified`] |
//! | `POST /control/v1/down` | -> 202; stops gateway, conductor and nodes |

use crate::{ByColour, Colour};
use serde::{Deserialize, Serialize};

/// Content of `control.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlAddress {
    pub address: String,
    pub token: String,
    pub pid: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct VerifyRequest {
    /// Recompute each digest from storage as well.
    #[serde(default)]
    pub deep: bool,
}

/// Digests of both colours at one LSN.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    pub equal: bool,
    pub lsn: u64,
    pub environments: ByColour<Option<VerifiedEnvironment>>,
    pub primary: Colour,
    pub why: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifiedEnvironment {
    pub digest: String,
    pub records: u64,
    /// Digest recomputed from disk, when asked for: at which LSN, from memory, from storage.
    pub deep: Option<crate::admin::Rehash>,
}

/// Why a control call was refused, in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{error}")]
pub struct ControlError {
    pub error: String,
}
