//! The vectors themselves, in chunks that never move: growing neither copies them nor doubles their memory.
//!
//! Every chunk has a lock of its own, so that a writer waits for a scan of a few hundred vectors, never for a whole
//! search. Freed slots are used again; the generation of a slot tells its owners apart: it is odd while the slot is
//! live, and grows with every insert and every remove.

use crate::score::inverse_norm;
use parking_lot::{Mutex, RwLock};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// One stored vector. A slot that was removed stays invalid forever: its place is used again under another generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot {
    index: u32,
    generation: u32,
}

impl Slot {
    #[cfg(test)]
    pub(crate) fn made_up(index: u32) -> Slot {
        Slot { index, generation: 1 }
    }

    /// The place of the vector: small, dense, used again after a removal. Good as an index into a table of one's own,
    /// as long as the table keeps the whole `Slot` too and compares it.
    pub fn index(self) -> u32 {
        self.index
    }
}

#[derive(Debug)]
pub(crate) struct Store {
    dimensions: usize,
    with_norms: bool,
    /// Rows of a chunk, a power of two, as its exponent.
    rows_log2: u32,
    chunks: RwLock<Arc<Vec<Arc<Chunk>>>>,
    vacant: Mutex<Vacant>,
    live: AtomicUsize,
    /// How many of the live ones are in the graph.
    indexed: AtomicUsize,
    /// Chunks without a live row that keep their memory.
    spare: AtomicUsize,
}

#[derive(Debug, Default)]
struct Vacant {
    freed: Vec<u32>,
    /// Slots from here on were never used. One more than the largest slot, so it has room for 2^32.
    next: u64,
}

type Chunk = RwLock<Rows>;

#[derive(Debug)]
struct Rows {
    /// Empty while no row is live.
    values: Box<[f32]>,
    /// For cosine only, otherwise empty.
    inverse_norms: Box<[f64]>,
    generations: Box<[u32]>,
    indexed: Box<[AtomicBool]>,
    live: usize,
}

/// The chunks as they were when the view was made; newer ones are looked up when they are met.
#[derive(Debug)]
pub(crate) struct View<'a> {
    store: &'a Store,
    chunks: Arc<Vec<Arc<Chunk>>>,
}

/// Every one of the 2^32 slots is taken.
#[derive(Debug)]
pub(crate) struct Full;

/// A chunk has about this many bytes, or `ROWS_LOG2_MAX`: a scan holds its lock for some ten microseconds.
const CHUNK_BYTES: usize = 512 * 1024;
const ROWS_LOG2_MAX: u32 = 12;
/// Empty chunks whose memory is kept for the next inserts.
const SPARE_MAX: usize = 4;

impl Store {
    pub(crate) fn new(dimensions: usize, with_norms: bool) -> Store {
        let rows = (CHUNK_BYTES / (dimensions * size_of::<f32>())).max(1);
        Store {
            dimensions,
            with_norms,
            rows_log2: rows.ilog2().min(ROWS_LOG2_MAX),
            chunks: RwLock::default(),
            vacant: Mutex::default(),
            live: AtomicUsize::new(0),
            indexed: AtomicUsize::new(0),
            spare: AtomicUsize::new(0),
        }
    }

    pub(crate) fn live(&self) -> usize {
        self.live.load(Ordering::Acquire)
    }

    pub(crate) fn indexed(&self) -> usize {
        self.indexed.load(Ordering::Acquire)
    }

    pub(crate) fn view(&self) -> View<'_> {
        View { store: self, chunks: Arc::clone(&self.chunks.read()) }
    }

    /// All or none. The vectors must have the right dimension.
    pub(crate) fn insert<V: AsRef<[f32]>>(&self, vectors: &[V]) -> Result<Vec<Slot>, Full> {
        let indexes = self.take(vectors.len())?;
        let mut slots = Vec::with_capacity(vectors.len());
        let mut view = self.view();
        let mut rest = vectors;
        for run in indexes.chunk_by(|a, b| self.chunk_of(*a) == self.chunk_of(*b)) {
            let (written, unwritten) = rest.split_at(run.len());
            rest = unwritten;
            let mut rows = view.chunk(run[0]).write();
            self.allocate(&mut rows);
            for (&index, values) in run.iter().zip(written) {
                slots.push(self.write(&mut rows, index, values.as_ref()));
            }
        }
        self.live.fetch_add(slots.len(), Ordering::AcqRel);
        Ok(slots)
    }

    /// False if it was removed before.
    pub(crate) fn remove(&self, slot: Slot) -> bool {
        let mut view = self.view();
        let Some(chunk) = view.chunk_if_any(slot.index) else { return false };
        let row = self.row_of(slot.index);
        let mut rows = chunk.write();
        if rows.generations[row] != slot.generation {
            return false;
        }
        rows.generations[row] = slot.generation.wrapping_add(1);
        rows.live -= 1;
        self.live.fetch_sub(1, Ordering::AcqRel);
        if std::mem::take(rows.indexed[row].get_mut()) {
            self.indexed.fetch_sub(1, Ordering::AcqRel);
        }
        if rows.live == 0 && self.spare.fetch_add(1, Ordering::AcqRel) >= SPARE_MAX {
            self.spare.fetch_sub(1, Ordering::AcqRel);
            rows.values = Box::default();
        }
        // After 2^31 owners the generations of a slot are used up; it is given up, so that none is ever used twice.
        let retired = rows.generations[row] == 0;
        drop(rows);
        if !retired {
            self.vacant.lock().freed.push(slot.index);
        }
        true
    }

    /// Appends the vector to `into`; false if it was removed.
    pub(crate) fn read(&self, slot: Slot, into: &mut Vec<f32>) -> bool {
        self.view().with(slot, |values, _| into.extend_from_slice(values)).is_some()
    }

    /// Reads a vector that the graph does not have, and false if there is none such.
    pub(crate) fn read_waiting(&self, slot: Slot, into: &mut Vec<f32>) -> bool {
        into.clear();
        let mut view = self.view();
        let row = self.row_of(slot.index);
        let Some(chunk) = view.chunk_if_any(slot.index) else { return false };
        let rows = chunk.read();
        if rows.generations[row] != slot.generation || rows.indexed[row].load(Ordering::Relaxed) {
            return false;
        }
        into.extend_from_slice(self.values(&rows, row));
        true
    }

    /// Notes that the graph has the vector, unless it was removed meanwhile.
    pub(crate) fn mark_indexed(&self, slot: Slot) {
        let mut view = self.view();
        let Some(chunk) = view.chunk_if_any(slot.index) else { return };
        let row = self.row_of(slot.index);
        let rows = chunk.read();
        if rows.generations[row] == slot.generation && !rows.indexed[row].swap(true, Ordering::Relaxed) {
            self.indexed.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Reads the first vector at or after `cursor` that the graph has, and moves the cursor behind it.
    pub(crate) fn read_next_indexed(&self, cursor: &mut u64, into: &mut Vec<f32>) -> Option<Slot> {
        into.clear();
        let view = self.view();
        loop {
            let (number, first) = ((*cursor >> self.rows_log2) as usize, *cursor as usize & (self.rows() - 1));
            let rows = view.chunks.get(number)?.read();
            let found = match rows.live {
                0 => None,
                _ => (first..self.rows()).find(|&row| rows.is_live(row) && rows.indexed[row].load(Ordering::Relaxed)),
            };
            let Some(row) = found else {
                *cursor += (self.rows() - first) as u64;
                continue;
            };
            into.extend_from_slice(self.values(&rows, row));
            *cursor += (row - first + 1) as u64;
            let index = ((number << self.rows_log2) + row) as u32;
            return Some(Slot { index, generation: rows.generations[row] });
        }
    }

    /// Bytes of the vectors and of what is kept beside them.
    pub(crate) fn memory_bytes(&self) -> usize {
        let view = self.view();
        let norm = if self.with_norms { size_of::<f64>() } else { 0 };
        let beside = self.rows() * (norm + size_of::<u32>() + size_of::<bool>());
        let values: usize = view.chunks.iter().map(|chunk| size_of_val(&*chunk.read().values)).sum();
        values + view.chunks.len() * beside + self.vacant.lock().freed.capacity() * size_of::<u32>()
    }

    fn rows(&self) -> usize {
        1 << self.rows_log2
    }

    fn chunk_of(&self, index: u32) -> usize {
        (index >> self.rows_log2) as usize
    }

    fn row_of(&self, index: u32) -> usize {
        index as usize & (self.rows() - 1)
    }

    fn values<'a>(&self, rows: &'a Rows, row: usize) -> &'a [f32] {
        &rows.values[row * self.dimensions..(row + 1) * self.dimensions]
    }

    /// Takes `count` vacant places, and makes the chunks for those that were never used.
    fn take(&self, count: usize) -> Result<Vec<u32>, Full> {
        let mut vacant = self.vacant.lock();
        let reused = vacant.freed.len().min(count);
        let fresh = (count - reused) as u64;
        let end = vacant.next + fresh;
        if end > u64::from(u32::MAX) + 1 {
            return Err(Full);
        }
        let keep = vacant.freed.len() - reused;
        let mut indexes = vacant.freed.split_off(keep);
        // In order of their places: fewer chunks to lock, and scans that go forward.
        indexes.sort_unstable();
        indexes.extend((vacant.next..end).map(|index| index as u32));
        vacant.next = end;
        let needed = end.div_ceil(self.rows() as u64) as usize;
        if needed > self.chunks.read().len() {
            let mut chunks = self.chunks.write();
            // Copies the list of the chunks (not the chunks) if a search is just reading it.
            let list = Arc::make_mut(&mut *chunks);
            while list.len() < needed {
                list.push(Arc::new(RwLock::new(self.empty_rows())));
            }
        }
        Ok(indexes)
    }

    fn empty_rows(&self) -> Rows {
        let norms = if self.with_norms { self.rows() } else { 0 };
        Rows {
            values: Box::default(),
            inverse_norms: vec![0.0; norms].into(),
            generations: vec![0; self.rows()].into(),
            indexed: (0..self.rows()).map(|_| AtomicBool::new(false)).collect(),
            live: 0,
        }
    }

    fn allocate(&self, rows: &mut Rows) {
        if rows.values.is_empty() {
            rows.values = vec![0.0; self.rows() * self.dimensions].into();
        } else if rows.live == 0 {
            self.spare.fetch_sub(1, Ordering::AcqRel);
        }
    }

    fn write(&self, rows: &mut Rows, index: u32, values: &[f32]) -> Slot {
        let row = self.row_of(index);
        rows.values[row * self.dimensions..(row + 1) * self.dimensions].copy_from_slice(values);
        if self.with_norms {
            rows.inverse_norms[row] = inverse_norm(values);
        }
        rows.generations[row] += 1;
        rows.live += 1;
        Slot { index, generation: rows.generations[row] }
    }
}

impl View<'_> {
    /// Calls with every live vector and its inverse norm.
    pub(crate) fn each(&self, mut call: impl FnMut(Slot, &[f32], f64)) {
        for (number, chunk) in self.chunks.iter().enumerate() {
            let rows = chunk.read();
            if rows.live == 0 {
                continue;
            }
            let first = (number << self.store.rows_log2) as u32;
            for row in (0..self.store.rows()).filter(|&row| rows.is_live(row)) {
                let slot = Slot { index: first + row as u32, generation: rows.generations[row] };
                call(slot, self.store.values(&rows, row), rows.norm(row));
            }
        }
    }

    /// Calls with those of the listed vectors that are live; neighbours in the list share a lock.
    pub(crate) fn each_of(&mut self, slots: &[Slot], mut call: impl FnMut(Slot, &[f32], f64)) {
        let store = self.store;
        for run in slots.chunk_by(|a, b| store.chunk_of(a.index) == store.chunk_of(b.index)) {
            let rows = self.chunk(run[0].index).read();
            for &slot in run {
                let row = store.row_of(slot.index);
                if rows.generations[row] == slot.generation {
                    call(slot, store.values(&rows, row), rows.norm(row));
                }
            }
        }
    }

    /// Calls with the vector and its inverse norm, and answers `None` if it was removed.
    pub(crate) fn with<T>(&mut self, slot: Slot, call: impl FnOnce(&[f32], f64) -> T) -> Option<T> {
        let row = self.store.row_of(slot.index);
        let store = self.store;
        let rows = self.chunk_if_any(slot.index)?.read();
        (rows.generations[row] == slot.generation).then(|| call(store.values(&rows, row), rows.norm(row)))
    }

    pub(crate) fn is_live(&mut self, slot: Slot) -> bool {
        self.with(slot, |_, _| ()).is_some()
    }

    /// The chunk of a slot that the store has given out.
    fn chunk(&mut self, index: u32) -> &Chunk {
        self.refresh(index);
        &self.chunks[self.store.chunk_of(index)]
    }

    /// As `chunk`, for slots of unknown origin.
    fn chunk_if_any(&mut self, index: u32) -> Option<&Chunk> {
        self.refresh(index);
        self.chunks.get(self.store.chunk_of(index)).map(|chunk| &**chunk)
    }

    fn refresh(&mut self, index: u32) {
        if self.store.chunk_of(index) >= self.chunks.len() {
            self.chunks = Arc::clone(&self.store.chunks.read());
        }
    }
}

impl Rows {
    fn is_live(&self, row: usize) -> bool {
        self.generations[row] % 2 == 1
    }

    fn norm(&self, row: usize) -> f64 {
        self.inverse_norms.get(row).copied().unwrap_or_default()
    }
}
