use super::*;

#[test]
fn a_difference_counts_only_what_came_between() {
    let metrics = Metrics::new();
    metrics.of(Colour::Green).record(true, true, Duration::from_micros(100));
    let before = metrics.snapshot();
    metrics.of(Colour::Green).record(true, false, Duration::from_micros(200));
    metrics.of(Colour::Green).record(false, true, Duration::from_micros(300));
    let step = metrics.snapshot().green.since(&before.green);
    assert_eq!((step.reads, step.read_errors, step.writes, step.write_errors), (1, 0, 1, 1));
    assert_eq!((step.read_latency.count(), step.read_latency.sum_us), (1, 200));
}

#[test]
fn prometheus_buckets_are_cumulative_and_end_with_the_count() {
    let metrics = Metrics::new();
    for micros in [10, 1_000, 2_000_000, 100_000_000] {
        metrics.of(Colour::Blue).record(true, false, Duration::from_micros(micros));
    }
    let text = metrics.prometheus_text(&[("connections", "Open client connections.", 7)]);
    let line = |start: &str| {
        let found = text.lines().find(|line| line.starts_with(start));
        found.unwrap_or_else(|| panic!("no line {start} in\n{text}")).rsplit(' ').next().unwrap().to_string()
    };
    let bucket = "jadeshift_gateway_latency_seconds_bucket{colour=\"blue\",kind=\"read\",le=";
    assert_eq!(line(&format!("{bucket}\"0.000016\"")), "1");
    assert_eq!(line(&format!("{bucket}\"0.001024\"")), "2");
    assert_eq!(line(&format!("{bucket}\"2.097152\"")), "3");
    assert_eq!(line(&format!("{bucket}\"+Inf\"")), "4");
    assert_eq!(line("jadeshift_gateway_requests_total{colour=\"blue\",kind=\"read\"}"), "4");
    assert_eq!(line("jadeshift_gateway_connections "), "7");
}

#[test]
fn a_snapshot_survives_json() {
    let metrics = Metrics::new();
    metrics.of(Colour::Blue).record(true, false, Duration::from_micros(5));
    let snapshot = metrics.snapshot();
    let text = serde_json::to_string(&snapshot).unwrap();
    assert_eq!(serde_json::from_str::<ByColour<ColourMetrics>>(&text).unwrap(), snapshot);
}
