//! `bench index`: the search library alone, in this process, on one thread: how fast it builds and searches, and what it
//! finds, for several settings. Rates are per second of processor time, so that neighbours on the machine matter little.

#[cfg(feature = "compare")]
mod compare;

use super::dataset::{Dataset, ExactAnswer};
use super::process::thread_cpu;
use super::report::{Goal, Report};
use super::server::TOP_K;
use anyhow::{Context, Result, ensure};
use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::{Duration, Instant};
use vectorindex::{Kind, Metric, Options, Quantization, SearchMode, VectorIndex};

/// Vectors moved into the graph between two looks at the signals.
const PORTION: usize = 256;
const SEED: u64 = 0x6a61_6465;

/// Measures the search library in process.
#[derive(clap::Args)]
#[command(after_help = "\
A setting is a list of: hnsw or flat; f32, f16, bf16 or i8; connectivity=N; add=N; search=N. What it does not name has
the library's default.

Examples:
  cargo xtask bench index
  cargo xtask bench index --setting f32,search=64 --setting i8,connectivity=32,search=64
  cargo xtask bench index --vectors 100000 --setting bf16")]
pub struct Arguments {
    /// Vectors; more than the data set has are made of noisy copies.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(100..=10_000_000))]
    vectors: u32,
    /// Duration of the searches of each setting.
    #[arg(long, default_value_t = 1.0, value_name = "S", value_parser = super::positive_seconds)]
    seconds: f64,
    /// Queries whose recall is computed.
    #[arg(long, default_value_t = 1_010, value_parser = clap::value_parser!(u32).range(1..=1_010))]
    queries: u32,
    /// A setting to measure (repeatable) [default: a table of ten].
    #[arg(long = "setting", value_name = "SETTING")]
    settings: Vec<Setting>,
    /// Folder of the data set.
    #[arg(long, value_name = "DIR", default_value_os_t = super::dataset::default_folder(), hide_default_value = true)]
    data: PathBuf,
    /// Exit with an error when a figure misses its goal.
    #[arg(long)]
    pub strict: bool,
}

/// What differs from the default options.
#[derive(Debug, Clone, Default, PartialEq)]
struct Setting {
    kind: Option<Kind>,
    quantization: Option<Quantization>,
    connectivity: Option<usize>,
    expansion_add: Option<usize>,
    expansion_search: Option<usize>,
}

/// What one setting did.
struct Measured {
    inserted_per_cpu_s: f64,
    built_per_cpu_s: f64,
    searched_per_cpu_s: f64,
    recall: f64,
    graph_mb: f64,
    vectors_mb: f64,
}

/// Measured when no setting is named.
const SETTINGS: [&str; 10] = [
    "",
    "search=48",
    "search=64",
    "add=64,search=64",
    "connectivity=24,add=96,search=64",
    "f32,search=64",
    "f16,search=64",
    "i8,search=64",
    "i8,add=64,search=64",
    "flat",
];

pub async fn bench(arguments: Arguments) -> Result<Report> {
    let data = Dataset::read(&arguments.data)?.resized(arguments.vectors as usize, SEED);
    let mut report = Report::new("index");
    report.section(&format!("{} vectors of {} dimensions", data.vectors.rows(), data.vectors.dimension()));
    let settings = match arguments.settings.is_empty() {
        true => SETTINGS.iter().map(|text| text.parse().map_err(anyhow::Error::msg)).collect::<Result<_>>()?,
        false => arguments.settings.clone(),
    };
    let exact = data.exact(arguments.queries as usize, TOP_K);
    #[cfg(feature = "compare")]
    compare::measure(&data, &exact, &mut report)?;
    for setting in settings {
        let options = setting.options(data.vectors.dimension());
        let name = describe(&options);
        report.section(&name);
        let measured = measure(options.clone(), &data, &exact, Duration::from_secs_f64(arguments.seconds)).await?;
        let is_default = options == Options::new(data.vectors.dimension(), Metric::Cosine);
        let mut figure = |what: &str, value, unit, goal: Option<Goal>| match goal.filter(|_| is_default) {
            Some(goal) => report.goal(&format!("{name}: {what}"), value, unit, goal),
            None => report.figure(&format!("{name}: {what}"), value, unit),
        };
        if options.kind == Kind::Hnsw {
            figure("built_per_cpu_s", measured.built_per_cpu_s, "1/s", Some(Goal::AtLeast(4_640.0)));
        }
        figure("recall_at_10", measured.recall, "", Some(Goal::AtLeast(0.97)));
        figure("searched_per_cpu_s", measured.searched_per_cpu_s, "1/s", None);
        figure("inserted_per_cpu_s", measured.inserted_per_cpu_s, "1/s", None);
        figure("graph_mb", measured.graph_mb, "MB", None);
        figure("vectors_mb", measured.vectors_mb, "MB", None);
    }
    Ok(report)
}

async fn measure(options: Options, data: &Dataset, exact: &[ExactAnswer], duration: Duration) -> Result<Measured> {
    let index = VectorIndex::new(options)?;
    let vectors: Vec<Vec<f32>> = (0..data.vectors.rows()).map(|row| data.vectors.floats(row)).collect();
    let queries: Vec<Vec<f32>> = (0..exact.len()).map(|query| data.queries.floats(query)).collect();

    let started = thread_cpu();
    let mut rows = HashMap::with_capacity(vectors.len());
    for portion in vectors.chunks(PORTION) {
        for slot in index.insert_batch(portion)? {
            rows.insert(slot, rows.len());
        }
        tokio::task::yield_now().await;
    }
    let inserted_per_cpu_s = vectors.len() as f64 / (thread_cpu() - started).as_secs_f64();

    let started = thread_cpu();
    let mut built = 0;
    loop {
        let progress = index.index_some(PORTION)?;
        built += progress.done;
        if progress.remaining == 0 {
            break;
        }
        ensure!(progress.done > 0, "{} vectors remain outside of the graph", progress.remaining);
        tokio::task::yield_now().await;
    }
    let built_per_cpu_s = built as f64 / (thread_cpu() - started).as_secs_f64();

    let mut recall = 0.0;
    for (number, (query, exact)) in queries.iter().zip(exact).enumerate() {
        let hits = index.search(query, TOP_K, SearchMode::Auto)?;
        let found: Option<Vec<usize>> = hits.iter().map(|hit| rows.get(&hit.slot).copied()).collect();
        let found = found.context("a search found a slot that no insert returned")?;
        recall += data.recall(number, exact, &found);
        tokio::task::yield_now().await;
    }

    let (started, cpu_before, mut searched) = (Instant::now(), thread_cpu(), 0u64);
    while started.elapsed() < duration {
        for query in &queries[..queries.len().min(64)] {
            index.search(query, TOP_K, SearchMode::Auto)?;
            searched += 1;
        }
        tokio::task::yield_now().await;
    }
    let searched_per_cpu_s = searched as f64 / (thread_cpu() - cpu_before).as_secs_f64();
    let stats = index.stats();
    Ok(Measured {
        inserted_per_cpu_s,
        built_per_cpu_s,
        searched_per_cpu_s,
        recall: recall / queries.len().max(1) as f64,
        graph_mb: stats.graph_bytes as f64 / 1e6,
        vectors_mb: stats.vector_bytes as f64 / 1e6,
    })
}

fn describe(options: &Options) -> String {
    if options.kind == Kind::Flat {
        return "flat".to_string();
    }
    let Options { quantization, connectivity, expansion_add, expansion_search, .. } = options;
    let quantization = format!("{quantization:?}").to_lowercase();
    format!("{quantization} connectivity={connectivity} add={expansion_add} search={expansion_search}")
}

impl Setting {
    fn options(&self, dimensions: usize) -> Options {
        let mut options = Options::new(dimensions, Metric::Cosine);
        options.kind = self.kind.unwrap_or(options.kind);
        options.quantization = self.quantization.unwrap_or(options.quantization);
        options.connectivity = self.connectivity.unwrap_or(options.connectivity);
        options.expansion_add = self.expansion_add.unwrap_or(options.expansion_add);
        options.expansion_search = self.expansion_search.unwrap_or(options.expansion_search);
        options
    }
}

/// The part of a setting that is not understood.
#[derive(Debug, PartialEq)]
struct NotASetting(String);

impl std::error::Error for NotASetting {}

impl fmt::Display for NotASetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` must be hnsw, flat, f32, f16, bf16, i8, connectivity=N, add=N or search=N", self.0)
    }
}

impl FromStr for Setting {
    type Err = NotASetting;

    fn from_str(text: &str) -> Result<Setting, NotASetting> {
        let mut setting = Setting::default();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let not_a_setting = || NotASetting(part.to_string());
            match part.split_once('=') {
                Some((name, number)) => {
                    let number = Some(number.parse().map_err(|_| not_a_setting())?);
                    match name {
                        "connectivity" => setting.connectivity = number,
                        "add" => setting.expansion_add = number,
                        "search" => setting.expansion_search = number,
                        _ => return Err(not_a_setting()),
                    }
                }
                None => match part {
                    "hnsw" => setting.kind = Some(Kind::Hnsw),
                    "flat" => setting.kind = Some(Kind::Flat),
                    "f32" => setting.quantization = Some(Quantization::F32),
                    "f16" => setting.quantization = Some(Quantization::F16),
                    "bf16" => setting.quantization = Some(Quantization::Bf16),
                    "i8" => setting.quantization = Some(Quantization::I8),
                    _ => return Err(not_a_setting()),
                },
            }
        }
        Ok(setting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_and_described() {
        let setting: Setting = "f32,connectivity=8,add=40,search=30".parse().unwrap();
        assert_eq!(describe(&setting.options(4)), "f32 connectivity=8 add=40 search=30");
        assert_eq!("".parse::<Setting>().unwrap().options(4), Options::new(4, Metric::Cosine));
        assert!("f32,links=3".parse::<Setting>().unwrap_err().to_string().contains("links=3"));
        for text in SETTINGS {
            text.parse::<Setting>().unwrap();
        }
    }

    #[tokio::test]
    async fn a_small_index_is_measured() {
        let data = Dataset::read(&super::super::dataset::default_folder()).unwrap().resized(1_200, 1);
        let mut options = Setting::default().options(data.vectors.dimension());
        options.exact_up_to = 100;
        let exact = data.exact(20, TOP_K);
        let measured = measure(options, &data, &exact, Duration::from_millis(10)).await.unwrap();
        assert!(measured.recall > 0.9 && measured.recall <= 1.0 + 1e-9, "{}", measured.recall);
        assert!(measured.built_per_cpu_s > 0.0 && measured.searched_per_cpu_s > 0.0 && measured.graph_mb > 0.0);
    }
}
