//! Which epoch every LSN belongs to, and where a log starts.

use thiserror::Error;

use crate::{Epoch, Lsn};

/// Where a log starts: what a snapshot says about the records that it stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// Last LSN that the snapshot stands for; 0 without a snapshot.
    pub lsn: Lsn,
    /// Counts how often the history of this folder was replaced by that of another node; the first is 1. Segments of
    /// an older generation are leftovers of a replacement that did not finish, and are removed by `Log::open`.
    pub generation: u64,
    /// Each epoch that has records up to `lsn`, with its first LSN, ascending.
    pub epochs: Vec<(Epoch, Lsn)>,
}

/// A [`Start`] that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StartError {
    #[error("a log cannot start at generation 0: the first is 1")]
    Generation,
    #[error("a log that starts after LSN {lsn} needs the epochs up to there, and none is given")]
    NoEpochs { lsn: Lsn },
    #[error("epochs must ascend and start at LSN 1 to {lsn}: epoch {epoch} from LSN {first_lsn} does not fit")]
    Epochs { lsn: Lsn, epoch: Epoch, first_lsn: Lsn },
}

impl Start {
    /// The start of a new history: nothing before LSN 1.
    pub fn beginning() -> Start {
        Start { lsn: 0, generation: 1, epochs: Vec::new() }
    }

    /// Epoch of the record at `lsn`; 0 at the beginning.
    pub fn epoch(&self) -> Epoch {
        self.epochs.last().map_or(0, |&(epoch, _)| epoch)
    }

    pub(crate) fn validate(&self) -> Result<(), StartError> {
        if self.generation == 0 {
            return Err(StartError::Generation);
        }
        if self.lsn > 0 && self.epochs.is_empty() {
            return Err(StartError::NoEpochs { lsn: self.lsn });
        }
        let mut before = (0, 0);
        for &(epoch, first_lsn) in &self.epochs {
            if epoch <= before.0 || first_lsn <= before.1 || first_lsn > self.lsn {
                return Err(StartError::Epochs { lsn: self.lsn, epoch, first_lsn });
            }
            before = (epoch, first_lsn);
        }
        Ok(())
    }
}

/// The epochs of a history, ascending: (epoch, its first LSN).
#[derive(Debug, Clone, Default)]
pub(crate) struct EpochList(Vec<(Epoch, Lsn)>);

impl EpochList {
    pub(crate) fn new(epochs: Vec<(Epoch, Lsn)>) -> EpochList {
        EpochList(epochs)
    }

    /// Takes note of the record at `lsn`, the next one.
    pub(crate) fn note(&mut self, epoch: Epoch, lsn: Lsn) {
        if self.0.last().is_none_or(|&(last, _)| epoch > last) {
            self.0.push((epoch, lsn));
        }
    }

    /// Epoch of the record at `lsn`; `None` before the first known. The caller knows where the history ends.
    pub(crate) fn at(&self, lsn: Lsn) -> Option<Epoch> {
        if lsn == 0 {
            return Some(0);
        }
        let after = self.0.partition_point(|&(_, first_lsn)| first_lsn <= lsn);
        after.checked_sub(1).map(|index| self.0[index].0)
    }

    /// The epochs that have records up to `lsn`.
    pub(crate) fn up_to(&self, lsn: Lsn) -> Vec<(Epoch, Lsn)> {
        self.0.iter().copied().take_while(|&(_, first_lsn)| first_lsn <= lsn).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_are_found_by_lsn() {
        let mut list = EpochList::new(vec![(2, 5)]);
        list.note(2, 9);
        list.note(4, 10);
        let found: Vec<_> = [0, 4, 5, 9, 10, 99].map(|lsn| list.at(lsn)).to_vec();
        assert_eq!(found, [Some(0), None, Some(2), Some(2), Some(4), Some(4)]);
        assert_eq!(list.up_to(9), [(2, 5)]);
        assert_eq!(list.up_to(10), [(2, 5), (4, 10)]);
    }

    #[test]
    fn impossible_starts_are_refused() {
        let start = |lsn, epochs: &[(Epoch, Lsn)]| Start { lsn, generation: 1, epochs: epochs.to_vec() };
        assert_eq!(Start::beginning().validate(), Ok(()));
        assert_eq!(start(9, &[(1, 1), (3, 9)]).validate(), Ok(()));
        assert_eq!(Start { generation: 0, ..Start::beginning() }.validate(), Err(StartError::Generation));
        assert_eq!(start(9, &[]).validate(), Err(StartError::NoEpochs { lsn: 9 }));
        for epochs in [&[(1, 1), (1, 2)][..], &[(1, 2), (2, 2)], &[(1, 10)], &[(0, 1)], &[(1, 0)]] {
            assert!(matches!(start(9, epochs).validate(), Err(StartError::Epochs { lsn: 9, .. })), "{epochs:?}");
        }
    }
}
