//! Figures of a benchmark: a table for people on stderr, and one JSON object as the last line of stdout.

use serde_json::{Map, Value, json};

/// What was measured, in the order in which it was.
pub struct Report {
    bench: &'static str,
    entries: Vec<Entry>,
}

/// What a figure has to reach.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Goal {
    AtLeast(f64),
    AtMost(f64),
}

enum Entry {
    Section(String),
    Figure { name: String, value: f64, unit: &'static str, goal: Option<Goal> },
    Text { name: String, value: String },
}

impl Goal {
    fn met(self, value: f64) -> bool {
        match self {
            Goal::AtLeast(limit) => value >= limit,
            Goal::AtMost(limit) => value <= limit,
        }
    }
}

impl Report {
    pub fn new(bench: &'static str) -> Report {
        Report { bench, entries: Vec::new() }
    }

    pub fn section(&mut self, title: &str) {
        self.entries.push(Entry::Section(title.to_string()));
        eprintln!("{title} ...");
    }

    /// `name` is the key in the JSON: it says what, and the unit last.
    pub fn figure(&mut self, name: &str, value: f64, unit: &'static str) {
        self.entries.push(Entry::Figure { name: name.into(), value, unit, goal: None });
    }

    pub fn goal(&mut self, name: &str, value: f64, unit: &'static str, goal: Goal) {
        self.entries.push(Entry::Figure { name: name.into(), value, unit, goal: Some(goal) });
    }

    pub fn text(&mut self, name: &str, value: impl ToString) {
        self.entries.push(Entry::Text { name: name.into(), value: value.to_string() });
    }

    /// Prints both forms; returns the names of the figures that missed their goal.
    pub fn print(&self) -> Vec<String> {
        eprintln!("\n{}", self.table());
        println!("{}", self.json());
        self.missed()
    }

    fn missed(&self) -> Vec<String> {
        let missed = |entry: &Entry| match entry {
            Entry::Figure { name, value, goal: Some(goal), .. } if !goal.met(*value) => Some(name.clone()),
            _ => None,
        };
        self.entries.iter().filter_map(missed).collect()
    }

    fn table(&self) -> String {
        let mut table = String::new();
        let mut section = "";
        // A name that repeats the title of its section is shown without it.
        let short =
            |name: &str, section: &str| match name.strip_prefix(section).and_then(|rest| rest.strip_prefix(": ")) {
                Some(rest) => rest.to_string(),
                None => name.to_string(),
            };
        for entry in &self.entries {
            let line = match entry {
                Entry::Section(title) => {
                    section = title;
                    format!("\n{title}")
                }
                Entry::Text { name, value } => format!("  {:<44} {value}", short(name, section)),
                Entry::Figure { name, value, unit, goal } => {
                    let name = short(name, section);
                    let goal = match goal {
                        None => String::new(),
                        Some(goal) => {
                            let (word, limit) = match goal {
                                Goal::AtLeast(limit) => ("at least", limit),
                                Goal::AtMost(limit) => ("at most", limit),
                            };
                            let verdict = if goal.met(*value) { "reached" } else { "MISSED" };
                            format!("{word} {}: {verdict}", readable(*limit))
                        }
                    };
                    format!("  {name:<44} {:>12} {unit:<10} {goal}", readable(*value))
                }
            };
            table.push_str(line.trim_end());
            table.push('\n');
        }
        table
    }

    fn json(&self) -> Value {
        let mut figures = Map::new();
        let mut goals = Vec::new();
        for entry in &self.entries {
            match entry {
                Entry::Section(_) => {}
                Entry::Text { name, value } => {
                    figures.insert(name.clone(), json!(value));
                }
                Entry::Figure { name, value, goal, .. } => {
                    figures.insert(name.clone(), json!(value));
                    let Some(goal) = goal else { continue };
                    let mut entry = json!({"figure": name, "value": value, "met": goal.met(*value)});
                    match goal {
                        Goal::AtLeast(limit) => entry["at_least"] = json!(limit),
                        Goal::AtMost(limit) => entry["at_most"] = json!(limit),
                    }
                    goals.push(entry);
                }
            }
        }
        json!({"bench": self.bench, "figures": figures, "goals": goals, "missed": self.missed()})
    }
}

/// The middle value; of an even number of values the mean of the two in the middle. Not a number when there are none.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match (sorted.len(), sorted.len() / 2) {
        (0, _) => f64::NAN,
        (length, middle) if length % 2 == 1 => sorted[middle],
        (_, middle) => (sorted[middle - 1] + sorted[middle]) / 2.0,
    }
}

/// With as many decimals as a person wants to see.
fn readable(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_are_judged_in_both_directions() {
        let mut report = Report::new("test");
        report.goal("fast_per_s", 5_000.0, "1/s", Goal::AtLeast(5_000.0));
        report.goal("slow_per_s", 4_999.9, "1/s", Goal::AtLeast(5_000.0));
        report.goal("short_s", 0.9, "s", Goal::AtMost(1.0));
        report.goal("never_s", f64::NAN, "s", Goal::AtMost(1.0));
        report.figure("other", 1.5, "");
        let json = report.json();
        assert_eq!(json["missed"], json!(["slow_per_s", "never_s"]));
        assert_eq!(json["figures"]["other"], json!(1.5));
        assert_eq!(
            json["goals"][1],
            json!({"figure": "slow_per_s", "value": 4999.9, "met": false, "at_least": 5000.0})
        );
        assert!(report.table().contains("slow_per_s") && report.table().contains("MISSED"));
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&[]).is_nan());
    }
}
