//! How far behind a follower is, in time, seen from outside.

use super::super::handover::latencies;
use super::super::server::Node;
use anyhow::{Result, ensure};
use hdrhistogram::Histogram;
use std::time::{Duration, Instant};

/// How often both are asked. A lag is told too large by that at most.
const SAMPLE_EVERY: Duration = Duration::from_millis(4);

/// Runs `load` and, meanwhile, asks both nodes where they are; microseconds.
pub async fn sampled_while<T>(
    load: impl Future<Output = Result<T>>,
    primary: &Node,
    follower: &Node,
) -> Result<(T, Histogram<u64>)> {
    let (mut here, mut there) = (Vec::new(), Vec::new());
    let sample = async {
        loop {
            // The primary first: what the follower is asked for then is what it has at least.
            here.push((Instant::now(), primary.state().await?.lsn));
            there.push((Instant::now(), follower.state().await?.lsn));
            tokio::time::sleep(SAMPLE_EVERY).await;
        }
    };
    let loaded = tokio::select! {
        loaded = load => loaded?,
        failed = sample => { let failed: Result<()> = failed; failed?; anyhow::bail!("nobody was asked any more") }
    };
    ensure!(there.len() > 1, "nobody was asked");
    Ok((loaded, latencies(lags_ms(&here, &there).into_iter())?))
}

/// For each position of the follower how long ago the primary was last seen no further than that.
fn lags_ms(here: &[(Instant, u64)], there: &[(Instant, u64)]) -> Vec<f64> {
    let lag_ms = |&(asked, lsn): &(Instant, u64)| {
        let before = &here[..here.partition_point(|(at, _)| *at <= asked)];
        let level = before[..before.partition_point(|(_, primary)| *primary <= lsn)].last()?;
        let is_behind = before.last().is_some_and(|(_, primary)| *primary > lsn);
        Some(if is_behind { (asked - level.0).as_secs_f64() * 1e3 } else { 0.0 })
    };
    there.iter().filter_map(lag_ms).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lag_is_the_time_since_the_primary_was_last_no_further() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let here = [(at(0), 5), (at(10), 10), (at(20), 20), (at(30), 30)];
        let there = [(at(1), 5), (at(11), 9), (at(21), 9), (at(31), 30), (at(41), 30)];
        assert_eq!(lags_ms(&here, &there), [0.0, 11.0, 21.0, 0.0, 0.0]);
    }
}
