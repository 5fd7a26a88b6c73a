//! Reads what one environment did, second by second, from a CSV file. One row is held at a time, however long the file is.

use evidence::{ByThreshold, Side, Threshold};
use std::fmt::Display;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

/// Columns that every file has.
const NEEDED: [&str; 3] = ["second", "requests", "errors"];

/// What one environment did in one second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Row {
    pub second: u64,
    pub side: Side,
}

/// Why a recording cannot be read; names the place.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {why}")]
pub struct RecordingError {
    place: String,
    why: String,
}

/// A file of rows in rising order of their seconds.
pub struct Recording<R: Read> {
    name: String,
    rows: csv::StringRecordsIntoIter<R>,
    columns: Columns,
    last: Option<u64>,
}

/// Where each column stands.
struct Columns {
    needed: [usize; NEEDED.len()],
    slow: ByThreshold<Option<usize>>,
}

impl Recording<BufReader<File>> {
    /// # Errors
    /// When the file cannot be opened or its header is not one of a recording.
    pub fn open(path: &Path) -> Result<Self, RecordingError> {
        let name = path.display().to_string();
        let file = File::open(path).map_err(|error| at(&name, error))?;
        Self::new(name, BufReader::new(file))
    }
}

impl<R: Read> Recording<R> {
    fn new(name: String, reader: R) -> Result<Self, RecordingError> {
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(reader);
        let header = reader.headers().map_err(|error| at(&name, reason(&error)))?;
        let columns = Columns::of(header).map_err(|why| at(&format!("{name}, line 1"), why))?;
        Ok(Self { name, rows: reader.into_records(), columns, last: None })
    }

    /// Which thresholds are counted.
    pub fn slow(&self) -> ByThreshold<bool> {
        self.columns.slow.map(|column| column.is_some())
    }

    fn row(&mut self, record: &csv::StringRecord) -> Result<Row, RecordingError> {
        let line = record.position().map_or(0, csv::Position::line);
        let place = format!("{}, line {line}", self.name);
        let number = |column: usize, name: &str| {
            let text = record.get(column).unwrap_or_default();
            let parsed = text.parse::<u64>();
            parsed.map_err(|_| at(&place, format!("{name} is `{text}`; a whole number from 0 is needed")))
        };
        let [second, requests, errors] = self.columns.needed;
        let second = number(second, "second")?;
        let requests = number(requests, "requests")?;
        let errors = number(errors, "errors")?;
        let events_fit = |name: &str, events: u64| match events <= requests {
            true => Ok(()),
            false => Err(at(&place, format!("{name} is {events}, more than the {requests} requests of that second"))),
        };
        events_fit("errors", errors)?;
        let mut side = Side { requests, errors, slow: [None; Threshold::ALL.len()] };
        for threshold in Threshold::ALL {
            if let Some(column) = self.columns.slow[threshold as usize] {
                let slow = number(column, threshold.name())?;
                events_fit(threshold.name(), slow)?;
                side.slow[threshold as usize] = Some(slow);
            }
        }
        if let Some(last) = self.last.filter(|last| second <= *last) {
            let why = format!("second {second} comes after {last}; seconds must rise, and none may come twice");
            return Err(at(&place, why));
        }
        self.last = Some(second);
        Ok(Row { second, side })
    }
}

impl<R: Read> Iterator for Recording<R> {
    type Item = Result<Row, RecordingError>;

    fn next(&mut self) -> Option<Self::Item> {
        let record = self.rows.next()?;
        Some(match record {
            Ok(record) => self.row(&record),
            Err(error) => Err(at(&self.name, reason(&error))),
        })
    }
}

impl Columns {
    fn of(header: &csv::StringRecord) -> Result<Self, String> {
        // Spreadsheets like to begin a file with a byte order mark.
        let names: Vec<&str> = header.iter().map(|name| name.trim_start_matches('\u{feff}').trim()).collect();
        let known = || NEEDED.into_iter().chain(Threshold::ALL.map(Threshold::name));
        if let Some(unknown) = names.iter().find(|name| !known().any(|known| known == **name)) {
            return Err(format!(
                "there is no column `{unknown}`; the header is made of {}",
                known().collect::<Vec<_>>().join(", ")
            ));
        }
        let place = |wanted: &str| {
            let mut places = names.iter().enumerate().filter(|(_, name)| **name == wanted).map(|(place, _)| place);
            match (places.next(), places.next()) {
                (place, None) => Ok(place),
                (_, Some(_)) => Err(format!("the column `{wanted}` is there twice")),
            }
        };
        let mut needed = [0; NEEDED.len()];
        for (at, name) in needed.iter_mut().zip(NEEDED) {
            *at = place(name)?.ok_or_else(|| {
                format!("the column `{name}` is missing; the header begins with second,requests,errors")
            })?;
        }
        let mut slow = [None; Threshold::ALL.len()];
        for threshold in Threshold::ALL {
            slow[threshold as usize] = place(threshold.name())?;
        }
        Ok(Self { needed, slow })
    }
}

fn at(place: &str, why: impl Display) -> RecordingError {
    RecordingError { place: place.into(), why: why.to_string() }
}

/// What the reader of the format complains about, with the line.
fn reason(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::UnequalLengths { pos, expected_len, len } => {
            let line = pos.as_ref().map_or(0, csv::Position::line);
            format!("line {line} has {len} fields; the header has {expected_len}")
        }
        csv::ErrorKind::Utf8 { pos, .. } => {
            format!("line {} is not text", pos.as_ref().map_or(0, csv::Position::line))
        }
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Row>, String> {
        let recording = Recording::new("blue.csv".into(), text.as_bytes()).map_err(|error| error.to_string())?;
        recording.collect::<Result<_, _>>().map_err(|error| error.to_string())
    }

    #[test]
    fn columns_may_stand_in_any_order_and_lines_may_end_as_on_any_system() {
        let rows = read("\u{feff}second,errors,requests,over_p99\r\n10, 1 ,20,3\r\n12,0,0,0\r\n").unwrap();
        let side = |requests, errors, slow| Side { requests, errors, slow: [None, None, Some(slow), None] };
        assert_eq!(rows, [Row { second: 10, side: side(20, 1, 3) }, Row { second: 12, side: side(0, 0, 0) }]);
        assert_eq!(read("second,requests,errors\n"), Ok(vec![]));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line_its_value_and_the_rule() {
        let head = "second,requests,errors\n";
        for (text, message) in [
            ("", "blue.csv, line 1: the column `second` is missing; the header begins with second,requests,errors"),
            (
                "second,requests\n1,2\n",
                "blue.csv, line 1: the column `errors` is missing; the header begins with second,requests,errors",
            ),
            ("second,requests,errors,errors\n", "blue.csv, line 1: the column `errors` is there twice"),
            (&format!("{head}1,2,x\n"), "blue.csv, line 2: errors is `x`; a whole number from 0 is needed"),
            (&format!("{head}1,2,-1\n"), "blue.csv, line 2: errors is `-1`; a whole number from 0 is needed"),
            (&format!("{head}1,2,NaN\n"), "blue.csv, line 2: errors is `NaN`; a whole number from 0 is needed"),
            (&format!("{head}1,2,\n"), "blue.csv, line 2: errors is ``; a whole number from 0 is needed"),
            (&format!("{head}1,2,3\n"), "blue.csv, line 2: errors is 3, more than the 2 requests of that second"),
            (
                &format!("{head}5,2,0\n5,2,0\n"),
                "blue.csv, line 3: second 5 comes after 5; seconds must rise, and none may come twice",
            ),
            (&format!("{head}1,2\n"), "blue.csv: line 2 has 2 fields; the header has 3"),
        ] {
            assert_eq!(read(text), Err(message.to_string()), "{text:?}");
        }
        let unknown = read("second,requests,errors,over_p95\n").unwrap_err();
        assert!(unknown.contains("there is no column `over_p95`") && unknown.contains("over_p99"), "{unknown}");
    }
}
