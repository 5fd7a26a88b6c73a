//! The data of the demonstration: 10,000 Debian packages with embeddings, and queries; carried inside the program.

/// Numbers of a vector.
pub const DIMENSION: usize = 384;

const PACKAGES: &str = include_str!("../../../../data/debian-packages/packages.tsv");
const QUERIES: &str = include_str!("../../../../data/debian-packages/queries.tsv");
const PACKAGE_VECTORS: &[u8] = include_bytes!("../../../../data/debian-packages/vectors.npy");
const QUERY_VECTORS: &[u8] = include_bytes!("../../../../data/debian-packages/queries.npy");

/// Packages and queries with their vectors.
pub struct DataSet {
    pub packages: Vec<Package>,
    pub queries: Vec<&'static str>,
    package_vectors: Matrix<'static>,
    query_vectors: Matrix<'static>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Package {
    pub name: &'static str,
    pub section: &'static str,
}

/// Why the carried data cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum DataError {
    #[error("{file} is not an array of int8 in the npy format: {why}")]
    Npy { file: &'static str, why: String },
    #[error("{file} has {rows} rows, but its vectors have {vectors}")]
    Rows { file: &'static str, rows: usize, vectors: usize },
    #[error("{file}: line {line} has no tab")]
    Line { file: &'static str, line: usize },
}

impl DataSet {
    /// Reads what the program carries.
    ///
    /// # Errors
    /// [`DataError`] when the files do not fit each other: the program was built from damaged data.
    pub fn carried() -> Result<Self, DataError> {
        let package_vectors = Matrix::from_npy("vectors.npy", PACKAGE_VECTORS)?;
        let query_vectors = Matrix::from_npy("queries.npy", QUERY_VECTORS)?;
        let packages = PACKAGES
            .lines()
            .enumerate()
            .skip(1)
            .map(|(position, line)| match line.split_once('\t') {
                Some((name, section)) => Ok(Package { name, section }),
                None => Err(DataError::Line { file: "packages.tsv", line: position + 1 }),
            })
            .collect::<Result<Vec<_>, _>>()?;
        let queries: Vec<_> = QUERIES.lines().skip(1).collect();
        same_length("packages.tsv", packages.len(), package_vectors.rows)?;
        same_length("queries.tsv", queries.len(), query_vectors.rows)?;
        Ok(Self { packages, queries, package_vectors, query_vectors })
    }

    /// Embedding of package `row`; whole numbers, because cosine does not mind a vector's length.
    pub fn package_vector(&self, row: usize) -> Vec<f32> {
        self.package_vectors.row(row)
    }

    pub fn query_vector(&self, row: usize) -> Vec<f32> {
        self.query_vectors.row(row)
    }

    /// Row of the query with exactly this text.
    pub fn query_row(&self, text: &str) -> Option<usize> {
        self.queries.iter().position(|query| *query == text)
    }
}

fn same_length(file: &'static str, rows: usize, vectors: usize) -> Result<(), DataError> {
    if rows == vectors { Ok(()) } else { Err(DataError::Rows { file, rows, vectors }) }
}

/// Rows of [`DIMENSION`] signed bytes.
#[derive(Debug)]
struct Matrix<'a> {
    rows: usize,
    cells: &'a [u8],
}

impl<'a> Matrix<'a> {
    /// Reads the npy format (versions 1 to 3): magic, version, length of the header, a header that is a Python
    /// dictionary, then the cells row by row.
    fn from_npy(file: &'static str, bytes: &'a [u8]) -> Result<Self, DataError> {
        let wrong = |why: String| DataError::Npy { file, why };
        let after_magic = bytes.strip_prefix(b"\x93NUMPY").ok_or_else(|| wrong("no magic at the beginning".into()))?;
        let (header, cells) = match after_magic {
            [1, _, a, b, rest @ ..] => rest.split_at_checked(usize::from(u16::from_le_bytes([*a, *b]))),
            [2 | 3, _, a, b, c, d, rest @ ..] => rest.split_at_checked(u32::from_le_bytes([*a, *b, *c, *d]) as usize),
            _ => return Err(wrong("unknown version".into())),
        }
        .ok_or_else(|| wrong("cut off in the header".into()))?;
        let header = String::from_utf8_lossy(header);
        if !header.contains("'descr': '|i1'") || !header.contains("'fortran_order': False") {
            return Err(wrong(format!("the header is {}", header.trim())));
        }
        let shape = shape_of(&header).ok_or_else(|| wrong(format!("no shape in {}", header.trim())))?;
        match shape {
            (rows, DIMENSION) if rows.checked_mul(DIMENSION) == Some(cells.len()) => Ok(Self { rows, cells }),
            (rows, columns) => Err(wrong(format!("a shape of ({rows}, {columns}) with {} cells", cells.len()))),
        }
    }

    fn row(&self, row: usize) -> Vec<f32> {
        self.cells[row * DIMENSION..][..DIMENSION].iter().map(|cell| f32::from(*cell as i8)).collect()
    }
}

/// `(rows, columns)` of a header with `'shape': (10000, 384)`.
fn shape_of(header: &str) -> Option<(usize, usize)> {
    let (_, after) = header.split_once("'shape': (")?;
    let (inside, _) = after.split_once(')')?;
    let (rows, columns) = inside.split_once(',')?;
    Some((rows.trim().parse().ok()?, columns.trim().parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn npy(header: &str, cells: &[u8]) -> Vec<u8> {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(cells);
        bytes
    }

    #[test]
    fn the_carried_data_fits_together() {
        let data = DataSet::carried().unwrap();
        assert_eq!((data.packages.len(), data.queries.len()), (10_000, 1_010));
        assert_eq!(data.packages[1], Package { name: "2048", section: "games" });
        assert!(data.package_vector(0).iter().any(|cell| cell.abs() == 127.0));
    }

    #[test]
    fn the_query_shown_on_screen_is_nearest_to_packages_that_recover_files() {
        let data = DataSet::carried().unwrap();
        let query = data.query_vector(data.query_row("recover deleted files").unwrap());
        let cosine = |vector: &[f32]| {
            let dot: f32 = vector.iter().zip(&query).map(|(a, b)| a * b).sum();
            dot / vector.iter().map(|a| a * a).sum::<f32>().sqrt()
        };
        let mut rows: Vec<usize> = (0..data.packages.len()).collect();
        rows.sort_by(|a, b| cosine(&data.package_vector(*b)).total_cmp(&cosine(&data.package_vector(*a))));
        let names: Vec<_> = rows[..3].iter().map(|row| data.packages[*row].name).collect();
        assert_eq!(names, ["ext3grep", "extundelete", "magicrescue"]);
    }

    #[test]
    fn cells_are_signed_and_rows_are_separate() {
        let mut cells = vec![0; 2 * DIMENSION];
        cells[0] = 0xff;
        cells[DIMENSION] = 0x7f;
        let bytes = npy("{'descr': '|i1', 'fortran_order': False, 'shape': (2, 384), }", &cells);
        let matrix = Matrix::from_npy("x.npy", &bytes).unwrap();
        assert_eq!((matrix.row(0)[0], matrix.row(1)[0], matrix.row(1)[1]), (-1.0, 127.0, 0.0));
    }

    #[test]
    fn an_array_of_another_kind_is_refused_with_its_header() {
        for (bytes, words) in [
            (b"PK\x03\x04".to_vec(), "no magic"),
            (b"\x93NUMPY\x01\x00\xff\xff{".to_vec(), "cut off"),
            (npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1, 384), }", &[0; DIMENSION]), "'<f4'"),
            (npy("{'descr': '|i1', 'fortran_order': False, 'shape': (2, 384), }", &[0; 384]), "with 384 cells"),
        ] {
            let error = Matrix::from_npy("x.npy", &bytes).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
