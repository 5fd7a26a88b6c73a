//! Runs the tests one after the other, each with a runtime and a time limit of its own. (The usual harness owns `main`, and
//! this program needs it.)

use std::future::Future;
use std::pin::Pin;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// A test that takes longer hangs.
const TEST_MAX: Duration = Duration::from_secs(60);

pub type Test = (&'static str, fn() -> Pin<Box<dyn Future<Output = ()>>>);

/// Lists `async fn`s as tests.
macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        pub const TESTS: &[crate::runner::Test] = &[$((stringify!($name), || Box::pin($name()))),*];
    };
}
pub(crate) use tests;

pub fn run(tests: &[Test]) -> ExitCode {
    let filters: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    if std::env::args().any(|word| word == "--list") {
        tests.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let chosen = |name: &str| filters.is_empty() || filters.iter().any(|filter| name.contains(filter));
    let mut failed = 0;
    for &(name, test) in tests.iter().filter(|(name, _)| chosen(name)) {
        let began = Instant::now();
        let passed = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            let ended = runtime.block_on(async { tokio::time::timeout(TEST_MAX, test()).await });
            assert!(ended.is_ok(), "{name} did not end within {TEST_MAX:?}");
        })
        .join()
        .is_ok();
        println!("test {name} ... {} ({} ms)", if passed { "ok" } else { "FAILED" }, began.elapsed().as_millis());
        failed += usize::from(!passed);
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
