//! The nodes of both environments, as they tell of themselves.

use super::grafana::{Dashboard, Panel, Row};

pub fn dashboard() -> Dashboard {
    Dashboard {
        uid: "jadevectordb",
        title: "JadeVectorDB: nodes",
        description: "The database nodes of both environments: requests, searches, position in the history, memory.",
        marks: None,
        rows: vec![stand(), requests(), searches(), history(), accounts()],
    }
}

fn rate(name: &str) -> String {
    format!("rate({name}{{$it}}[$__rate_interval])")
}

fn sum(name: &str, by: &str) -> String {
    format!("sum by ({by}) ({})", rate(name))
}

/// Of a histogram in seconds.
fn quantile(quantile: f64, name: &str, by: &str) -> String {
    format!("histogram_quantile({quantile}, {})", sum(&format!("{name}_bucket"), &format!("{by}, le")))
}

fn stand() -> Row {
    let panels = vec![
        Panel::number("Nodes", "none").query("count(jadevectordb_ready{$it})", ""),
        Panel::number("Ready", "none").query("sum(jadevectordb_ready{$it})", ""),
        Panel::word("Versions").query("count by (version) (jadevectordb_build_info{$it})", "{{version}}"),
        Panel::word("Primary").query("jadevectordb_role{$it,role=\"primary\"} == 1", "{{pod}}"),
        Panel::number("Disks that failed", "none")
            .query("sum(jadevectordb_disk_failed{$it})", "")
            .about("Such a node refuses writes until it is started anew."),
        Panel::number("Databases", "none").query("max(jadevectordb_databases{$it})", ""),
        Panel::number("Vectors", "short").query("max(jadevectordb_vectors{$it})", ""),
        Panel::number("Writes held", "none").query("sum(jadevectordb_held_writes{$it})", ""),
        Panel::times("Roles").query("jadevectordb_role{$it} == 1", "{{pod}} {{role}}"),
        Panel::times("Ready nodes").query("jadevectordb_ready{$it} == 1", "{{pod}}"),
    ];
    Row { title: "Where they stand", panels }
}

fn requests() -> Row {
    let errors = |of: &str, all: &str| {
        let (of, all) = (format!("jadevectordb_{of}_total"), format!("jadevectordb_{all}_total"));
        format!("{} / {}", sum(&of, "colour"), sum(&all, "colour"))
    };
    let seconds = "jadevectordb_http_request_duration_seconds";
    let panels = vec![
        Panel::lines("Reads and writes", "reqps")
            .query(&sum("jadevectordb_reads_total", "colour"), "{{colour}} reads")
            .query(&sum("jadevectordb_writes_total", "colour"), "{{colour}} writes"),
        Panel::lines("Reads and writes answered with 5xx", "percentunit")
            .query(&errors("read_errors", "reads"), "{{colour}} reads")
            .query(&errors("write_errors", "writes"), "{{colour}} writes"),
        Panel::lines("Reads replayed, writes passed on", "reqps")
            .query(&sum("jadevectordb_replays_total", "colour"), "{{colour}} reads, to compare")
            .query(&sum("jadevectordb_forwarded_writes_total", "colour"), "{{colour}} writes, to the primary"),
        Panel::lines("Requests by route", "reqps")
            .query(&sum("jadevectordb_http_requests_total", "method, route"), "{{method}} {{route}}"),
        Panel::lines("Requests by status", "reqps")
            .query(&sum("jadevectordb_http_requests_total", "colour, status"), "{{colour}} {{status}}"),
        Panel::lines("Latency by route, p99", "s").query(&quantile(0.99, seconds, "route"), "{{route}}"),
    ];
    Row { title: "Requests", panels }
}

fn searches() -> Row {
    let searches = |rest: &str| format!("similarity_search_{rest}");
    let filtered = |rest: &str| format!("filtered_similarity_search_{rest}");
    let mean =
        |of: &str| format!("{} / {}", sum(&format!("{of}_sum"), "colour"), sum(&format!("{of}_count"), "colour"));
    let panels = vec![
        Panel::lines("Searches", "reqps")
            .query(&sum(&searches("requests_total"), "colour"), "{{colour}}")
            .query(&sum(&filtered("requests_total"), "colour"), "{{colour}}, filtered"),
        Panel::lines("Time of a search, p50 and p99", "s")
            .query(&quantile(0.5, &searches("duration_seconds"), "colour"), "{{colour}} p50")
            .query(&quantile(0.99, &searches("duration_seconds"), "colour"), "{{colour}} p99"),
        Panel::lines("Time of a filtered search, p50 and p99", "s")
            .query(&quantile(0.5, &filtered("duration_seconds"), "colour"), "{{colour}} p50")
            .query(&quantile(0.99, &filtered("duration_seconds"), "colour"), "{{colour}} p99")
            .query(&mean("filter_application_duration_seconds"), "{{colour}} mean of the filter alone"),
        Panel::lines("Searches under way", "short")
            .query(&format!("sum by (colour) ({}{{$it}})", searches("active_requests")), "{{colour}}")
            .query(&format!("sum by (colour) ({}{{$it}})", filtered("active_requests")), "{{colour}}, filtered"),
        Panel::lines("Results", "ops")
            .query(&sum(&searches("results_total"), "colour"), "{{colour}}")
            .query(&sum(&filtered("results_total"), "colour"), "{{colour}}, filtered"),
        Panel::lines("Vectors not in the index yet", "short")
            .query("jadevectordb_vectors_unindexed{$it}", "{{pod}}")
            .about("They are found by scan, which takes longer."),
    ];
    Row { title: "Searches", panels }
}

fn history() -> Row {
    let panels = vec![
        Panel::lines("Position (LSN)", "none").query("jadevectordb_lsn{$it}", "{{pod}}"),
        Panel::lines("Behind the primary, records", "short").query("jadevectordb_feed_behind{$it}", "{{pod}}"),
        Panel::lines("Behind the primary, time", "s").query("jadevectordb_feed_lag_seconds{$it}", "{{pod}}"),
        Panel::lines("Feeds", "none")
            .query("jadevectordb_feed_connected{$it}", "{{pod}} hears the primary")
            .query("jadevectordb_followers{$it}", "{{pod}} is followed by"),
        Panel::lines("Epoch", "none").query("jadevectordb_epoch{$it}", "{{pod}}"),
        Panel::lines("Resident memory", "bytes").query("jadevectordb_resident_bytes{$it}", "{{pod}}"),
    ];
    Row { title: "History and memory", panels }
}

fn accounts() -> Row {
    let panels = vec![
        Panel::lines("Logins", "reqps")
            .query(&sum("jadevectordb_auth_requests_total", "colour"), "{{colour}} tried")
            .query(&sum("jadevectordb_auth_errors_total", "colour"), "{{colour}} refused")
            .query(&sum("jadevectordb_failed_logins_total", "colour"), "{{colour}} wrong name or password"),
        Panel::lines("Time of a login, p99", "s")
            .query(&quantile(0.99, "jadevectordb_auth_duration_seconds", "colour"), "{{colour}}"),
        Panel::lines("Requests refused", "reqps")
            .query(&sum("jadevectordb_rate_limit_exceeded_total", "colour"), "{{colour}} over a limit")
            .query(&sum("jadevectordb_ip_blocks_total", "colour"), "{{colour}} from blocked addresses"),
        Panel::lines("Users and sessions", "short")
            .query("max by (colour) (jadevectordb_users_total{$it})", "{{colour}} users")
            .query("sum by (colour) (jadevectordb_active_sessions{$it})", "{{colour}} sessions")
            .query("sum by (colour) (jadevectordb_locked_accounts_total{$it})", "{{colour}} locked accounts"),
        Panel::lines("Writes to the accounts", "ops")
            .query(&sum("jadevectordb_db_operations_total", "colour"), "{{colour}}"),
        Panel::lines("Time of a write to the accounts, p99", "s")
            .query(&quantile(0.99, "jadevectordb_db_operation_duration_seconds", "colour"), "{{colour}}"),
        Panel::lines("Writes that came twice", "reqps")
            .query(&sum("jadevectordb_idempotent_replays_total", "colour"), "{{colour}}")
            .about("They were done before, by their idempotency key, and were answered again."),
        Panel::lines("Idempotency keys remembered", "short")
            .query("max by (colour) (jadevectordb_idempotency_keys{$it})", "{{colour}}"),
    ];
    Row { title: "Accounts", panels }
}
