//! The data that benchmarks load: `data/debian-packages`, larger sets made from it, exact answers, and JSON of all this.

use anyhow::{Context, Result, bail, ensure};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// What a component of a stored vector is divided by to give the real number.
const SCALE: f32 = 127.0;
/// Strength of the noise of copied vectors, as a share of the root mean square of the original's components. Two copies
/// of one vector have a cosine of about 0.7, which is what near neighbours in the real data have.
const NOISE: f32 = 0.6;
/// Scores that differ by less count as equal: an answer in 32-bit arithmetic may order them either way.
const SCORE_TOLERANCE: f32 = 2e-6;

/// Named vectors and the queries that are asked of them.
pub struct Dataset {
    pub names: Vec<String>,
    pub sections: Vec<String>,
    pub vectors: Matrix,
    pub queries: Matrix,
}

/// Rows of small integers; the real vectors are these divided by 127.
pub struct Matrix {
    dimension: usize,
    components: Vec<i8>,
}

/// The exact nearest rows to a query, by cosine.
pub struct ExactAnswer {
    /// Row numbers, nearest first.
    pub rows: Vec<usize>,
    /// Score of the last of them: whatever reaches it is a correct answer too.
    pub worst_score: f32,
}

/// Writes vectors as JSON arrays; each of the 256 possible numbers was formatted once, so that this costs the load client
/// little more than copying.
pub struct JsonNumbers {
    texts: Vec<String>,
}

/// Where the repository carries the data set.
pub fn default_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/debian-packages")
}

impl Dataset {
    pub fn read(folder: &Path) -> Result<Dataset> {
        let vectors = Matrix::read(&folder.join("vectors.npy"))?;
        let queries = Matrix::read(&folder.join("queries.npy"))?;
        let path = folder.join("packages.tsv");
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let (mut names, mut sections) = (Vec::new(), Vec::new());
        for (number, line) in text.lines().enumerate().skip(1) {
            let Some((name, section)) = line.split_once('\t') else {
                bail!("{}, line {}: `{line}` must be `package<TAB>section`", path.display(), number + 1);
            };
            names.push(name.to_string());
            sections.push(section.to_string());
        }
        ensure!(
            names.len() == vectors.rows() && vectors.dimension == queries.dimension,
            "{}: {} packages, {} vectors of {} dimensions and queries of {} dimensions do not fit together",
            folder.display(),
            names.len(),
            vectors.rows(),
            vectors.dimension,
            queries.dimension
        );
        Ok(Dataset { names, sections, vectors, queries })
    }

    /// The same data with the first components of every vector only.
    pub fn narrowed(mut self, dimension: usize) -> Dataset {
        self.vectors = self.vectors.narrowed(dimension);
        self.queries = self.queries.narrowed(dimension);
        self
    }

    /// The same data with exactly `rows` vectors: cut off, or enlarged by noisy copies (see [`Dataset::with_copies`]).
    pub fn resized(&self, rows: usize, seed: u64) -> Dataset {
        let kept = rows.min(self.vectors.rows());
        let first = Dataset {
            names: self.names[..kept].to_vec(),
            sections: self.sections[..kept].to_vec(),
            vectors: self.vectors.first(kept),
            queries: self.queries.first(self.queries.rows()),
        };
        first.with_copies(rows - kept, seed)
    }

    /// The same data followed by `copies` noisy copies of its vectors, in turn; they depend on `seed` only.
    pub fn with_copies(&self, copies: usize, seed: u64) -> Dataset {
        let mut random = SmallRng::seed_from_u64(seed);
        let originals = self.vectors.rows();
        let mut larger = Dataset {
            names: self.names.clone(),
            sections: self.sections.clone(),
            vectors: self.vectors.first(originals),
            queries: self.queries.first(self.queries.rows()),
        };
        for row in originals..originals + copies {
            let (copy, original) = (row / originals, row % originals);
            larger.names.push(format!("{}~{copy}", self.names[original]));
            larger.sections.push(self.sections[original].clone());
            larger.vectors.push_noisy(self.vectors.row(original), &mut random);
        }
        larger
    }

    /// Bytes of the vectors as 32-bit floats.
    pub fn raw_bytes(&self) -> u64 {
        (self.vectors.rows() * self.vectors.dimension * size_of::<f32>()) as u64
    }

    pub fn rows_by_name(&self) -> HashMap<&str, usize> {
        self.names.iter().enumerate().map(|(row, name)| (name.as_str(), row)).collect()
    }

    /// The exact answers to the first `queries` queries.
    pub fn exact(&self, queries: usize, top_k: usize) -> Vec<ExactAnswer> {
        let norms: Vec<f32> = (0..self.vectors.rows()).map(|row| norm(self.vectors.row(row))).collect();
        (0..queries.min(self.queries.rows()))
            .map(|query| {
                let query = self.queries.row(query);
                let length = norm(query);
                let mut scores: Vec<(f32, usize)> = norms
                    .iter()
                    .enumerate()
                    .map(|(row, norm)| (dot(query, self.vectors.row(row)) as f32 / (norm * length), row))
                    .collect();
                scores.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
                scores.truncate(top_k);
                ExactAnswer {
                    worst_score: scores.last().map_or(0.0, |(score, _)| *score),
                    rows: scores.into_iter().map(|(_, row)| row).collect(),
                }
            })
            .collect()
    }

    /// Share of `exact` that `answer` (row numbers without repetition) found, 0 to 1. A row that scores as high as the
    /// last exact one counts: which of equals is returned is nobody's mistake.
    pub fn recall(&self, query: usize, exact: &ExactAnswer, answer: &[usize]) -> f64 {
        let query = self.queries.row(query);
        let length = norm(query);
        let mut distinct = answer.to_vec();
        distinct.sort_unstable();
        distinct.dedup();
        let found = distinct
            .iter()
            .filter(|row| {
                let candidate = self.vectors.row(**row);
                dot(query, candidate) as f32 / (norm(candidate) * length) >= exact.worst_score - SCORE_TOLERANCE
            })
            .count();
        found.min(exact.rows.len()) as f64 / exact.rows.len().max(1) as f64
    }
}

impl Matrix {
    /// Reads a two-dimensional `int8` array in C order from a NumPy file (format version 1).
    fn read(path: &Path) -> Result<Matrix> {
        let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        Matrix::parse(&bytes).with_context(|| format!("{} is not a data set's NumPy file", path.display()))
    }

    fn parse(bytes: &[u8]) -> Result<Matrix> {
        ensure!(bytes.len() >= 10 && &bytes[..8] == b"\x93NUMPY\x01\x00", "it must begin as NumPy format version 1.0");
        let start = 10 + u16::from_le_bytes([bytes[8], bytes[9]]) as usize;
        ensure!(bytes.len() >= start, "its header is cut off");
        let header = std::str::from_utf8(&bytes[10..start]).context("its header is not text")?;
        ensure!(
            header.contains("'descr': '|i1'") && header.contains("'fortran_order': False"),
            "its header is `{}`: int8 in C order is needed",
            header.trim()
        );
        let shape = header.split_once("'shape': (").and_then(|(_, rest)| rest.split_once(')')).map(|(shape, _)| shape);
        let numbers: Vec<usize> =
            shape.unwrap_or("").split(',').filter_map(|number| number.trim().parse().ok()).collect();
        let [rows, dimension] = numbers[..] else { bail!("its shape must be two numbers: `{}`", header.trim()) };
        ensure!(
            dimension > 0 && bytes.len() - start == rows * dimension,
            "it holds {} numbers, {rows} x {dimension} are announced",
            bytes.len() - start
        );
        Ok(Matrix { dimension, components: bytes[start..].iter().map(|byte| *byte as i8).collect() })
    }

    pub fn rows(&self) -> usize {
        self.components.len() / self.dimension
    }

    pub fn dimension(&self) -> usize {
        self.dimension
    }

    pub fn row(&self, row: usize) -> &[i8] {
        &self.components[row * self.dimension..(row + 1) * self.dimension]
    }

    /// The real vector of a row.
    pub fn floats(&self, row: usize) -> Vec<f32> {
        self.row(row).iter().map(|component| f32::from(*component) / SCALE).collect()
    }

    fn narrowed(&self, dimension: usize) -> Matrix {
        let dimension = dimension.min(self.dimension);
        let rows = self.components.chunks(self.dimension);
        Matrix { dimension, components: rows.flat_map(|row| &row[..dimension]).copied().collect() }
    }

    fn first(&self, rows: usize) -> Matrix {
        Matrix { dimension: self.dimension, components: self.components[..rows * self.dimension].to_vec() }
    }

    fn push_noisy(&mut self, original: &[i8], random: &mut SmallRng) {
        let deviation = NOISE * norm(original) / (original.len() as f32).sqrt();
        for component in original {
            // The sum of four uniform numbers is close enough to a normal one; its variance is 4/12.
            let sum: f32 = (0..4).map(|_| random.random::<f32>()).sum();
            let noise = (sum - 2.0) * 3f32.sqrt() * deviation;
            self.components.push((f32::from(*component) + noise).round().clamp(-127.0, 127.0) as i8);
        }
    }
}

impl Default for JsonNumbers {
    fn default() -> Self {
        Self { texts: (i8::MIN..=i8::MAX).map(|number| (f32::from(number) / SCALE).to_string()).collect() }
    }
}

impl JsonNumbers {
    /// Appends `row` as a JSON array.
    pub fn write(&self, row: &[i8], out: &mut Vec<u8>) {
        out.push(b'[');
        for (index, component) in row.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            out.extend_from_slice(self.texts[(i16::from(*component) - i16::from(i8::MIN)) as usize].as_bytes());
        }
        out.push(b']');
    }
}

fn dot(a: &[i8], b: &[i8]) -> i32 {
    a.iter().zip(b).map(|(a, b)| i32::from(*a) * i32::from(*b)).sum()
}

fn norm(row: &[i8]) -> f32 {
    (dot(row, row) as f32).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn npy(header: &str, numbers: &[i8]) -> Vec<u8> {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(numbers.iter().map(|number| *number as u8));
        bytes
    }

    #[test]
    fn reads_numpy_and_names_what_is_wrong() {
        let good = npy("{'descr': '|i1', 'fortran_order': False, 'shape': (2, 3), }\n", &[1, -2, 3, 4, 5, -127]);
        let matrix = Matrix::parse(&good).unwrap();
        assert_eq!((matrix.rows(), matrix.row(1)), (2, &[4i8, 5, -127][..]));

        let short = npy("{'descr': '|i1', 'fortran_order': False, 'shape': (2, 3), }\n", &[1]);
        assert!(Matrix::parse(&short).err().unwrap().to_string().contains("2 x 3"));
        let floats = npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1), }\n", &[0; 4]);
        assert!(Matrix::parse(&floats).err().unwrap().to_string().contains("int8"));
    }

    #[test]
    fn the_carried_data_set_is_enlarged_the_same_way_each_time() {
        let data = Dataset::read(&default_folder()).unwrap();
        let (a, b) = (data.resized(10_050, 7), data.resized(10_050, 7));
        assert_eq!(a.vectors.components, b.vectors.components);
        assert_eq!(a.names[10_003], format!("{}~1", data.names[3]));
        assert_ne!(a.vectors.row(10_003), data.vectors.row(3));
        assert_eq!(data.resized(20, 7).vectors.rows(), 20);
        assert_eq!(a.raw_bytes(), 10_050 * 384 * 4);
    }

    #[test]
    fn recall_counts_equals_and_ignores_repetitions() {
        let data = Dataset {
            names: ["a", "b", "c", "d"].map(String::from).to_vec(),
            sections: vec!["s".into(); 4],
            vectors: Matrix { dimension: 2, components: vec![100, 0, 50, 0, 50, 50, -100, 0] },
            queries: Matrix { dimension: 2, components: vec![127, 0] },
        };
        let exact = data.exact(5, 1);
        assert_eq!(exact.len(), 1);
        assert_eq!(data.recall(0, &exact[0], &[0]), 1.0);
        assert_eq!(data.recall(0, &exact[0], &[1]), 1.0);
        assert_eq!(data.recall(0, &exact[0], &[2]), 0.0);
        let exact = data.exact(1, 2);
        assert_eq!(data.recall(0, &exact[0], &[0, 0]), 0.5);
    }

    #[test]
    fn numbers_survive_json() {
        let mut json = Vec::new();
        JsonNumbers::default().write(&[-127, 0, 67, 127], &mut json);
        let numbers: Vec<f32> = serde_json::from_slice(&json).unwrap();
        assert_eq!(numbers, [-1.0, 0.0, 67.0 / 127.0, 1.0]);
    }
}
