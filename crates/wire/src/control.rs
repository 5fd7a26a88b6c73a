//! The control protocol of a running `jadeshift up`: JSON over HTTP on a loopback port, `Authorization: Bearer <control
//! token>`; port and token stand in `control.json` in its folder (mode 0600).
//!
//! | call | body -> answer |
//! |---|---|
//! | `GET /control/v1/info` | -> `Info` (defined beside the engine that fills it) |
//! | `POST /control/v1/command` | a `rollout::Command` as JSON -> `Info`, or [`ControlError`] 409 when refused |
//! | `POST /control/v1/verify` | [`VerifyRequest`] -> [`Verified`] |
//! | `GET /control/v1/report` | [`ReportRequest`] in the query -> `Report` (defined beside the engine), or [`ControlError`] 404 |
//! | `POST /control/v1/down` | -> 202; stops gateway, conductor and nodes |

use crate::admin::RecordVersion;
use crate::snapshot::Place;
use crate::{ByColour, Colour};
use serde::{Deserialize, Serialize};
use std::fmt;

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

/// Whose report is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ReportRequest {
    /// Number of a rollout; without it the one under way, or else the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<u64>,
}

impl ReportRequest {
    /// What is said when there is no such report.
    pub fn missing(&self) -> String {
        match self.run {
            Some(run) => format!("there is no report of rollout {run}; `jadeshift info` lists the last ones"),
            None => "there was no rollout yet; `jadeshift deploy` begins one".into(),
        }
    }
}

/// Digests of both colours at one LSN.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    pub equal: bool,
    pub lsn: u64,
    pub environments: ByColour<Option<VerifiedEnvironment>>,
    pub primary: Colour,
    pub why: String,
    /// Which records differ, when the digests do.
    #[serde(default)]
    pub differences: Option<Differences>,
}

/// Differing records that are named at most.
pub const DIFFERENCES_NAMED_MAX: usize = 20;

/// Which records differ, as far as they were looked for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Differences {
    /// Buckets of the digest with another sum, and how many of them were searched.
    pub buckets_differing: u64,
    pub buckets_searched: u64,
    /// Differing records in those.
    pub count: u64,
    /// The first [`DIFFERENCES_NAMED_MAX`] of them.
    pub records: Vec<Difference>,
    /// Why they could not be found out. That the environments differ is certain all the same.
    pub error: Option<String>,
}

/// One record that is not the same everywhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    #[serde(flatten)]
    pub record: Place,
    /// `None`: it is missing there.
    pub versions: ByColour<Option<RecordVersion>>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Difference { record, versions } = self;
        match (&versions.blue, &versions.green) {
            (Some(blue), Some(green)) if blue.lsn == green.lsn => {
                write!(f, "{record}, written at LSN {}, has another content on blue than on green", blue.lsn)
            }
            (Some(blue), Some(green)) => {
                write!(f, "{record} is of LSN {} on blue and of LSN {} on green", blue.lsn, green.lsn)
            }
            (Some(blue), None) => write!(f, "{record}, written at LSN {} on blue, is missing on green", blue.lsn),
            (None, Some(green)) => write!(f, "{record}, written at LSN {} on green, is missing on blue", green.lsn),
            (None, None) => write!(f, "{record} is missing on both"),
        }
    }
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
