//! What came of a snapshot: in memory, where it will be the node's store, and on disk, where it outlives a cut of the
//! stream and the end of the process.

use crate::engine::{Node, Seed, SnapshotHead, SnapshotTail};
use crate::record::DecodeError;
use crate::store::{Store, place_of};
use bytes::Bytes;
use changelog::{
    ReceivedSnapshot, SnapshotDecoder, SnapshotError, SnapshotFormatError, SnapshotHeader, SnapshotItem,
    SnapshotRecord, SnapshotWriter,
};
use parking_lot::Mutex;
use wire::snapshot::Resume;

/// Shared by one attempt after the other. All calls block: on the disk, or on one that still works for the attempt
/// before.
#[derive(Default)]
pub(crate) struct Incoming {
    state: Mutex<State>,
}

/// Why a stream is given up; what came before stays.
#[derive(Debug, thiserror::Error)]
pub(in crate::feed) enum IncomingError {
    #[error("holds the history `{found}`, not `{wanted}`")]
    OtherHistory { found: String, wanted: String },
    #[error("the head of the snapshot cannot be read: {0}")]
    Head(String),
    #[error("{0}")]
    Format(#[from] SnapshotFormatError),
    #[error("its parts are out of order")]
    OutOfOrder,
    #[error("{0}")]
    Record(#[from] DecodeError),
    #[error("{0}")]
    Disk(#[from] SnapshotError),
    #[error("another attempt began")]
    Superseded,
    #[error("the node is closing")]
    Closing,
}

/// How far the snapshot has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::feed) struct Came {
    pub records: u64,
    pub records_total: u64,
    pub bytes: u64,
    /// Records that had come in earlier streams.
    pub resumed_behind: u64,
}

#[derive(Default)]
struct State {
    attempt: u64,
    decoder: SnapshotDecoder,
    /// Whether the head of the present stream came.
    headed: bool,
    part: Option<Part>,
    /// What the whole was, once it came.
    whole: Came,
}

struct Part {
    /// Its start is that of this node's next generation; the sender's is in the meta data.
    head: SnapshotHead,
    store: Store,
    writer: SnapshotWriter,
    /// The last item.
    last: Vec<u8>,
    bytes: u64,
}

impl Incoming {
    /// Gives back what is held of the data folder, of which the node lets go. What came stays on disk.
    pub fn close(&self) {
        let mut state = self.state.lock();
        *state = State { attempt: state.attempt + 1, ..State::default() };
    }

    /// Begins an attempt: its number, and where a stream can go on, from memory or from disk.
    pub(in crate::feed) fn begin(&self, node: &Node) -> Result<(u64, Option<Resume>), IncomingError> {
        let mut state = self.state.lock();
        let part = match state.part.take() {
            Some(part) => Some(part),
            None => Part::of_disk(node)?,
        };
        *state = State { attempt: state.attempt + 1, part, ..State::default() };
        let resume = state.part.as_ref().map(Part::resume).transpose()?.flatten();
        if resume.is_none() {
            state.part = None;
        }
        Ok((state.attempt, resume))
    }

    /// Drops what came, on disk too: it is of no use any more.
    pub(in crate::feed) fn discard(&self, node: &Node) -> Result<(), SnapshotError> {
        let mut state = self.state.lock();
        *state = State { attempt: state.attempt + 1, ..State::default() };
        node.dir().map_or(Ok(()), |dir| ReceivedSnapshot::remove(&dir))
    }

    /// Takes in what came on the stream of an attempt; the whole, once it is.
    pub(in crate::feed) fn take_in(
        &self,
        node: &Node,
        attempt: u64,
        pieces: &[Bytes],
    ) -> Result<(Came, Option<Box<Seed>>), IncomingError> {
        let mut state = self.state.lock();
        if state.attempt != attempt {
            return Err(IncomingError::Superseded);
        }
        let taken = pieces.iter().try_fold(None, |seed, piece| {
            state.decoder.push(piece);
            Ok(state.take_in(node)?.or(seed))
        });
        if let Err(IncomingError::Disk(_)) = taken {
            // What reached the disk is not known: it is read again.
            state.part = None;
        }
        let seed = taken?;
        Ok((state.came(), seed.map(Box::new)))
    }

    pub(in crate::feed) fn came(&self) -> Came {
        self.state.lock().came()
    }
}

impl State {
    fn came(&self) -> Came {
        self.part.as_ref().map_or(self.whole, Part::came)
    }

    fn take_in(&mut self, node: &Node) -> Result<Option<Seed>, IncomingError> {
        let mut last = None;
        while let Some(record) = self.decoder.next()? {
            match (record, self.headed, self.part.as_mut()) {
                (SnapshotRecord::Header(header), false, _) => self.begin_stream(node, &header)?,
                (SnapshotRecord::Item(item), true, Some(part)) => {
                    part.take_in(&item)?;
                    last = Some(item);
                }
                (SnapshotRecord::Trailer(trailer), true, Some(part)) => {
                    let tail = SnapshotTail::from_bytes(&trailer.meta).map_err(IncomingError::Head)?;
                    self.whole = part.came();
                    return Ok(self.part.take().map(|part| part.into_seed(tail)));
                }
                _ => return Err(IncomingError::OutOfOrder),
            }
        }
        if let (Some(item), Some(part)) = (last, self.part.as_mut()) {
            // A copy: the item shares the memory of the piece that it came in.
            part.last.clear();
            part.last.extend_from_slice(&item.payload());
        }
        Ok(None)
    }

    fn begin_stream(&mut self, node: &Node, header: &SnapshotHeader) -> Result<(), IncomingError> {
        let mut head = SnapshotHead::from_header(header).map_err(IncomingError::Head)?;
        let wanted = node.shared().status.borrow().file.cluster_id.clone();
        if !wanted.is_empty() && head.meta.cluster_id != wanted {
            return Err(IncomingError::OtherHistory { found: head.meta.cluster_id, wanted });
        }
        // What this folder has is replaced: a generation of its own.
        head.start.generation = next_generation(node);
        self.headed = true;
        let resumed_behind = head.meta.resumed_behind;
        if resumed_behind > 0 {
            let Some(part) = self.part.as_mut() else { return Err(IncomingError::OutOfOrder) };
            let same = (&part.head.start, &part.head.meta.cluster_id) == (&head.start, &head.meta.cluster_id);
            if !same || resumed_behind != part.writer.items() {
                return Err(IncomingError::OutOfOrder);
            }
            self.decoder.resume(resumed_behind);
            part.head = head;
            return Ok(());
        }
        // A sender that does not know how to go on begins anew.
        self.part = None;
        let dir = node.dir().ok_or(IncomingError::Closing)?;
        let writer = SnapshotWriter::receive(&dir, &head.to_header().map_err(IncomingError::Head)?)?;
        let store = new_store(node);
        self.part = Some(Part { head, store, writer, last: Vec::new(), bytes: 0 });
        Ok(())
    }
}

impl Part {
    /// What an earlier process received, if it still fits.
    fn of_disk(node: &Node) -> Result<Option<Part>, IncomingError> {
        let dir = node.dir().ok_or(IncomingError::Closing)?;
        let Some(mut received) = ReceivedSnapshot::open(&dir)? else { return Ok(None) };
        let wanted = node.shared().status.borrow().file.cluster_id.clone();
        let head = SnapshotHead::from_header(received.header()).ok().filter(|head| {
            head.start.generation == next_generation(node) && (wanted.is_empty() || head.meta.cluster_id == wanted)
        });
        let Some(head) = head else {
            ReceivedSnapshot::remove(&dir)?;
            return Ok(None);
        };
        let (store, mut last, mut bytes) = (new_store(node), Vec::new(), 0);
        while let Some(item) = received.next_item()? {
            let payload = item.payload();
            if let Err(error) = store.restore(&payload) {
                tracing::warn!(%error, "a part of a snapshot that came before cannot be read; it is dropped");
                ReceivedSnapshot::remove(&dir)?;
                return Ok(None);
            }
            bytes += item.encoded().len() as u64;
            last.clear();
            last.extend_from_slice(&payload);
        }
        let writer = received.go_on()?;
        tracing::info!(records = writer.items(), bytes, "a part of a snapshot came before this process began");
        Ok(Some(Part { head, store, writer, last, bytes }))
    }

    fn came(&self) -> Came {
        Came {
            records: self.writer.items(),
            records_total: self.head.meta.items.max(self.writer.items()),
            bytes: self.bytes,
            resumed_behind: self.head.meta.resumed_behind,
        }
    }

    /// First into memory: what this program cannot read is not kept.
    fn take_in(&mut self, item: &SnapshotItem) -> Result<(), IncomingError> {
        self.store.restore(&item.payload())?;
        self.writer.item_encoded(item)?;
        self.bytes += item.encoded().len() as u64;
        Ok(())
    }

    /// Where another stream can go on; `None` when nothing came, or from a node that cannot.
    fn resume(&self) -> Result<Option<Resume>, IncomingError> {
        let (start, meta) = (&self.head.start, &self.head.meta);
        if self.writer.items() == 0 || meta.node_id.is_empty() {
            return Ok(None);
        }
        let Some(after) = place_of(&self.last)? else { return Ok(None) };
        Ok(Some(Resume {
            cluster_id: meta.cluster_id.clone(),
            node_id: meta.node_id.clone(),
            generation: meta.generation,
            record_format: meta.record_format,
            lsn: start.lsn,
            epoch: start.epoch(),
            items: self.writer.items(),
            after,
        }))
    }

    fn into_seed(self, tail: SnapshotTail) -> Seed {
        Seed {
            store: self.store,
            cluster_id: self.head.meta.cluster_id,
            start: self.head.start,
            complete_at: tail.complete_at,
            snapshot: self.writer,
        }
    }
}

fn new_store(node: &Node) -> Store {
    Store::of(node.config())
}

fn next_generation(node: &Node) -> u64 {
    node.shared().log.renewed().generation() + 1
}
