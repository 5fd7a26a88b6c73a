//! Columns that line up.

pub use evidence::thousands as grouped;

/// Rows of cells; every column is as wide as its widest cell.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<Vec<String>>,
    /// Columns whose cells stand at the right edge.
    numbers: Vec<usize>,
}

impl Table {
    /// A table whose first row names the columns.
    pub fn with_header(names: &[&str]) -> Self {
        let mut table = Self::default();
        table.row(names.iter().map(ToString::to_string));
        table
    }

    pub fn align_right(mut self, columns: &[usize]) -> Self {
        self.numbers = columns.to_vec();
        self
    }

    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Two spaces between columns, none at the end of a line.
    pub fn render(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let width = widths[column];
                if self.numbers.contains(&column) {
                    line.push_str(&format!("{cell:>width$}  "));
                } else {
                    line.push_str(&format!("{cell:<width$}  "));
                }
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// Bytes as megabytes (10^6).
pub fn megabytes(bytes: u64) -> f64 {
    (bytes as f64 / 100_000.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_lines_end_clean() {
        let mut table = Table::with_header(&["name", "n", ""]).align_right(&[1]);
        table.row(["blue".into(), "1,000".into(), "yes".into()]);
        table.row(["é".into(), "7".into(), String::new()]);
        assert_eq!(table.render(), "name      n\nblue  1,000  yes\né         7\n");
    }
}
