//! A deployment and its rollouts, as operator, nodes and gateways see them.

use super::grafana::{Dashboard, Panel, Row};

/// Gives a node's figures the version that it runs.
const BY_VERSION: &str = "* on (namespace, pod) group_left (version) jadevectordb_build_info{$it}";

pub fn dashboard() -> Dashboard {
    let rows = vec![stand(), rollout(), data(), versions(), gateway()];
    Dashboard {
        uid: "jadeshift",
        title: "JadeShift: rollouts",
        description: "Where a blue-green deployment of JadeVectorDB stands, and how its rollout goes.",
        marks: Some(("A rollout ended", "max by (outcome) (jadeshift_last_rollout_end_timestamp_seconds{$it}) * 1000")),
        rows,
    }
}

fn stand() -> Row {
    let panels = vec![
        Panel::word("Phase").query("max by (phase) (jadeshift_phase{$it})", "{{phase}}"),
        Panel::number("In this phase", "s")
            .query("time() - max(jadeshift_phase_start_timestamp_seconds{$it})", "")
            .about("Empty while nothing is under way."),
        Panel::word("Serves production").query("max by (colour) (jadeshift_active{$it}) == 1", "{{colour}}"),
        Panel::word("Versions")
            .query("max by (colour, version) (jadeshift_version_info{$it})", "{{colour}} {{version}}")
            .about("That each environment shall run."),
        Panel::number("Epoch", "none")
            .query("max(jadeshift_epoch{$it})", "")
            .about("Number of the reign: it grows with each handover."),
        Panel::number("Last handover", "s")
            .query("max(jadeshift_last_handover_seconds{$it})", "")
            .about("How long writes waited for the right to write to move, from the seal to the promotion."),
        Panel::number("Way back", "bool_yes_no")
            .query("max(jadeshift_way_back{$it})", "")
            .about("Whether the environment that served before follows. Empty where nothing was switched."),
        Panel::number("Operators at work", "none").query("sum(jadeshift_operator_leads)", ""),
    ];
    Row { title: "Where it stands", panels }
}

fn rollout() -> Row {
    let panels = vec![
        Panel::times("Phases").query("max by (phase) (jadeshift_phase{$it})", "{{phase}}"),
        Panel::times("What the signals say")
            .query("max by (signal, outcome) (jadeshift_verdict{$it})", "{{signal}}: {{outcome}}")
            .about("Of the candidate, while it is judged."),
        Panel::lines_by_colour("Shares of the reads", "percent")
            .query("max by (colour) (jadeshift_share_percent{$it})", "{{colour}}")
            .query("max by (colour) (jadeshift_share_in_effect_percent{$it})", "{{colour}}, as the router confirms it"),
        Panel::lines("Evidence against the candidate", "short")
            .query("max(jadeshift_evidence{$it})", "evidence")
            .query("max(jadeshift_evidence_needed{$it})", "at which it goes back"),
        Panel::lines("Events and troubles", "short")
            .query(
                "max(increase(jadeshift_events_total{$it}[$__rate_interval]))",
                "events, as `jadeshift info` tells them",
            )
            .query("max(jadeshift_trouble{$it})", "something fails and is tried again")
            .query("sum(increase(jadeshift_operator_errors_total[$__rate_interval]))", "errors of the operator"),
        Panel::lines("Rollouts that are remembered", "none")
            .query("max by (outcome) (jadeshift_rollouts_remembered{$it})", "{{outcome}}"),
    ];
    Row { title: "Rollout", panels }
}

fn data() -> Row {
    let panels = vec![
        Panel::lines_by_colour("Lag, records", "short")
            .query("max by (colour) (jadeshift_lag_records{$it})", "{{colour}}"),
        Panel::lines_by_colour("Lag, time", "s").query("max by (colour) (jadeshift_lag_seconds{$it})", "{{colour}}"),
        Panel::lines_by_colour("Position (LSN)", "none").query("max by (colour) (jadeshift_lsn{$it})", "{{colour}}"),
        Panel::lines("Writes that are held", "short")
            .query("max by (colour) (jadeshift_held_writes{$it})", "{{colour}}, seen by the operator")
            .query("sum by (colour) (jadevectordb_held_writes{$it})", "{{colour}}, said by its nodes")
            .query("sum(jadeshift_gateway_held_writes{$it})", "gateways"),
        Panel::lines("Writes on two disks", "bool_yes_no")
            .query("max(jadeshift_confirmation_wanted{$it})", "wanted before they are acknowledged")
            .query("max(jadeshift_confirmed{$it})", "all of them are"),
        Panel::lines_by_colour("Ready", "bool_yes_no").query("max by (colour) (jadeshift_ready{$it})", "{{colour}}"),
    ];
    Row { title: "Data", panels }
}

/// By version, so that the old and the new one are compared whatever their colours are.
fn versions() -> Row {
    let rate = |name: &str| format!("rate(jadevectordb_{name}_total{{$it}}[$__rate_interval])");
    let sum = |of: &str| format!("sum by (version) (({of}) {BY_VERSION})");
    let (all, errors) = (
        sum(&format!("{} + {}", rate("reads"), rate("writes"))),
        sum(&format!("{} + {}", rate("read_errors"), rate("write_errors"))),
    );
    let late = |quantile: f64| {
        let buckets = "jadevectordb_http_request_duration_seconds_bucket{$it,route=~\"/v1/databases/.+\"}";
        format!("histogram_quantile({quantile}, sum by (version, le) (rate({buckets}[$__rate_interval]) {BY_VERSION}))")
    };
    let panels = vec![
        Panel::lines("Requests", "reqps").query(&all, "{{version}}"),
        Panel::lines("Errors", "percentunit").query(&format!("{errors} / {all}"), "{{version}}"),
        Panel::lines("Latency", "s").query(&late(0.5), "{{version}} p50").query(&late(0.99), "{{version}} p99"),
    ];
    Row { title: "Requests of each version", panels }
}

fn gateway() -> Row {
    let rate = |name: &str| format!("rate(jadeshift_gateway_{name}{{$it}}[$__rate_interval])");
    let sum = |name: &str, by: &str| format!("sum by ({by}) ({})", rate(name));
    let late = format!("histogram_quantile(0.99, {})", sum("latency_seconds_bucket", "colour, kind, le"));
    let errors = format!("{} / {}", sum("request_errors_total", "colour, kind"), sum("requests_total", "colour, kind"));
    let panels = vec![
        Panel::lines("Requests", "reqps").query(&sum("requests_total", "colour, kind"), "{{colour}} {{kind}}s"),
        Panel::lines("Errors", "percentunit")
            .query(&errors, "{{colour}} {{kind}}s")
            .about("A 5xx, or no answer. A read of them may have been answered by the other environment."),
        Panel::lines("Latency, p99", "s").query(&late, "{{colour}} {{kind}}s"),
        Panel::lines("Requests under way", "short")
            .query("sum by (colour) (jadeshift_gateway_in_flight{$it})", "{{colour}}")
            .query("sum(jadeshift_gateway_connections{$it})", "connections of clients"),
        Panel::lines("Reads sent again", "reqps")
            .query(&format!("sum({})", rate("reads_repeated_total")), "a second time")
            .query(&sum("reads_behind_total", "colour"), "{{colour}} lacked a write of the same client")
            .query(&format!("sum({})", rate("connections_refused_total")), "connections refused"),
        Panel::lines("Routing in effect", "none")
            .query("jadeshift_gateway_routing_generation{$it}", "generation at {{pod}}")
            .query("jadeshift_gateway_lsn_min{$it}", "position that reads demand at {{pod}}"),
    ];
    Row { title: "Our own gateway", panels }
}
