//! Finding the process that an earlier supervisor left behind.

use super::record::Started;
use super::{SupervisorError, SupervisorOptions};
use crate::launch::READY_FLAG;
use crate::process::{self, Process};
use wire::Member;

/// What was found of one node.
pub(super) struct Found {
    pub record: Option<Started>,
    /// The process that `record` describes.
    pub process: Option<Process>,
    /// Processes of this folder and node that must end, because it is not known which of them has the data.
    pub strays: Vec<Process>,
}

/// Looks by the record first. A supervisor that died between starting a process and noting it left one that is found by its
/// arguments; the record was written before, so it tells what was started.
pub(super) fn find(options: &SupervisorOptions, member: Member) -> Result<Found, SupervisorError> {
    let mut record = Started::load(&options.folder, member)?;
    let ready_path = options.folder.ready_path(member);
    let noted = record.as_ref().and_then(|record| record.process.clone()).and_then(Process::attach);
    let mut others: Vec<Process> = process::started_with(READY_FLAG, &ready_path)
        .map_err(SupervisorError::Look)?
        .into_iter()
        .filter(|found| noted.as_ref().is_none_or(|noted| noted.identity() != found))
        .filter_map(Process::attach)
        .collect();
    let process = match (noted, &mut record) {
        (Some(noted), _) => Some(noted),
        (None, Some(record)) if others.len() == 1 => {
            let process = others.pop();
            record.process = process.as_ref().map(|process| process.identity().clone());
            record.note(&options.folder, member);
            process
        }
        (None, _) => None,
    };
    Ok(Found { record, process, strays: others })
}
