//! Whether requests are answered, rightly and in time.

use crate::files::monitoring::alert::{Alert, Fires, Seen};

pub const ALERTS: [Alert; 6] = [
    Alert {
        name: "JadeShiftActiveNotReady",
        severity: "critical",
        hold: "1m",
        expression: "max by (namespace, deployment, colour) (jadeshift_active) == 1\n\
            unless on (namespace, deployment, colour) jadeshift_ready == 1",
        summary: "{{ $labels.colour }}, which serves {{ $labels.deployment }} in {{ $labels.namespace }}, is not ready",
        description: "Production is not answered, or only by other nodes of the environment. `jadeshift health $it` \
            says what is wrong. While the version before still runs, `jadeshift rollback $it` goes back to it, and \
            says so if that would lose anything.",
        fires: &[Fires {
            seen: Seen {
                series: &[
                    ("jadeshift_active{$it,colour=\"blue\"}", "1x40"),
                    ("jadeshift_active{$it,colour=\"green\"}", "0x40"),
                    ("jadeshift_ready{$it,colour=\"blue\"}", "1x4 0x40"),
                    ("jadeshift_ready{$it,colour=\"green\"}", "1x40"),
                ],
                at: "3m",
            },
            labels: "$it,colour=blue",
            value: "",
        }],
        // It is the other one that is not.
        quiet: &[Seen {
            series: &[
                ("jadeshift_active{$it,colour=\"blue\"}", "1x40"),
                ("jadeshift_active{$it,colour=\"green\"}", "0x40"),
                ("jadeshift_ready{$it,colour=\"blue\"}", "1x40"),
                ("jadeshift_ready{$it,colour=\"green\"}", "0x40"),
            ],
            at: "3m",
        }],
    },
    Alert {
        name: "JadeShiftEnvironmentNotReady",
        severity: "warning",
        hold: "15m",
        expression: "max by (namespace, deployment, colour) (jadeshift_wanted) == 1\n\
            unless on (namespace, deployment, colour) jadeshift_ready == 1\n\
            unless on (namespace, deployment, colour) jadeshift_active == 1\n\
            unless on (namespace, deployment) jadeshift_filling == 1",
        summary: "{{ $labels.colour }} of {{ $labels.deployment }} in {{ $labels.namespace }} is not ready",
        description: "It serves nobody now, but it shall run: as the next version, or as the way back. `jadeshift \
            health $it` says what is wrong; `kubectl --namespace {{ $labels.namespace }} get pods --selector \
            version={{ $labels.colour }}` shows its pods.",
        fires: &[Fires {
            seen: Seen {
                series: &[
                    ("jadeshift_wanted{$it,colour=\"green\"}", "1x80"),
                    ("jadeshift_active{$it,colour=\"green\"}", "0x80"),
                    ("jadeshift_ready{$it,colour=\"green\"}", "1x4 0x80"),
                    ("jadeshift_filling{$it}", "0x80"),
                ],
                at: "17m",
            },
            labels: "$it,colour=green",
            value: "",
        }],
        quiet: &[
            Seen {
                series: &[
                    ("jadeshift_wanted{$it,colour=\"green\"}", "1x80"),
                    ("jadeshift_active{$it,colour=\"green\"}", "0x80"),
                    ("jadeshift_ready{$it,colour=\"green\"}", "0x80"),
                    ("jadeshift_filling{$it}", "1x80"),
                ],
                at: "17m",
            },
            // It serves, which is the matter of another alert.
            Seen {
                series: &[
                    ("jadeshift_wanted{$it,colour=\"green\"}", "1x80"),
                    ("jadeshift_active{$it,colour=\"green\"}", "1x80"),
                    ("jadeshift_ready{$it,colour=\"green\"}", "0x80"),
                    ("jadeshift_filling{$it}", "0x80"),
                ],
                at: "17m",
            },
            // Nothing shall run there.
            Seen {
                series: &[
                    ("jadeshift_wanted{$it,colour=\"green\"}", "0x80"),
                    ("jadeshift_active{$it,colour=\"green\"}", "0x80"),
                    ("jadeshift_ready{$it,colour=\"green\"}", "0x80"),
                    ("jadeshift_filling{$it}", "0x80"),
                ],
                at: "17m",
            },
        ],
    },
    Alert {
        name: "JadeVectorDBNodeNotReady",
        severity: "warning",
        hold: "15m",
        expression: "max by (namespace, deployment, colour, pod) (jadevectordb_ready) == 0\n\
            unless on (namespace, deployment) jadeshift_filling == 1",
        summary: "The node {{ $labels.pod }} in {{ $labels.namespace }} is not ready",
        description: "It answers, but no reads. `jadeshift info $it` says how far it is behind; `kubectl --namespace \
            {{ $labels.namespace }} logs {{ $labels.pod }}` says what it does.",
        fires: &[Fires {
            seen: Seen {
                series: &[
                    ("jadevectordb_ready{$blue}", "1x80"),
                    ("jadevectordb_ready{$it,colour=\"blue\",pod=\"jadevectordb-blue-1\"}", "1x4 0x80"),
                    ("jadeshift_filling{$it}", "0x80"),
                ],
                at: "17m",
            },
            labels: "$it,colour=blue,pod=jadevectordb-blue-1",
            value: "",
        }],
        quiet: &[
            Seen {
                series: &[
                    ("jadevectordb_ready{$it,colour=\"blue\",pod=\"jadevectordb-blue-1\"}", "1x4 0x20 1x80"),
                    ("jadeshift_filling{$it}", "0x80"),
                ],
                at: "17m",
            },
            Seen { series: &[("jadevectordb_ready{$green}", "0x80"), ("jadeshift_filling{$it}", "1x80")], at: "17m" },
        ],
    },
    Alert {
        name: "JadeVectorDBErrorRateHigh",
        severity: "critical",
        hold: "5m",
        // Of a handful of requests nothing can be said.
        expression: "sum by (namespace, deployment, colour) (\n  \
            rate(jadevectordb_read_errors_total[5m]) + rate(jadevectordb_write_errors_total[5m])\n)\n\
            / sum by (namespace, deployment, colour) (\n  \
            rate(jadevectordb_reads_total[5m]) + rate(jadevectordb_writes_total[5m])\n) > 0.05\n\
            and sum by (namespace, deployment, colour) (\n  \
            rate(jadevectordb_reads_total[5m]) + rate(jadevectordb_writes_total[5m])\n) > 0.2",
        summary: "{{ $labels.colour }} of {{ $labels.deployment }} in {{ $labels.namespace }} answers with errors",
        description: "{{ $value | humanizePercentage }} of its answers are 5xx. `jadeshift info $it` says which \
            version that is, and whether a rollout is under way; `jadeshift rollback $it` goes back to the version \
            before.",
        fires: &[Fires {
            seen: Seen {
                series: &[
                    ("jadevectordb_reads_total{$green}", "0+90x80"),
                    ("jadevectordb_writes_total{$green}", "0+10x80"),
                    ("jadevectordb_read_errors_total{$green}", "0+5x80"),
                    ("jadevectordb_write_errors_total{$green}", "0+5x80"),
                    ("jadevectordb_reads_total{$blue}", "0+900x80"),
                    ("jadevectordb_writes_total{$blue}", "0+10x80"),
                    ("jadevectordb_read_errors_total{$blue}", "0x80"),
                    ("jadevectordb_write_errors_total{$blue}", "0x80"),
                ],
                at: "15m",
            },
            labels: "$it,colour=green",
            value: "10%",
        }],
        quiet: &[
            // Two of a hundred.
            Seen {
                series: &[
                    ("jadevectordb_reads_total{$green}", "0+90x80"),
                    ("jadevectordb_writes_total{$green}", "0+10x80"),
                    ("jadevectordb_read_errors_total{$green}", "0+1x80"),
                    ("jadevectordb_write_errors_total{$green}", "0+1x80"),
                ],
                at: "15m",
            },
            // All, of one in 15 seconds.
            Seen {
                series: &[
                    ("jadevectordb_reads_total{$green}", "0+1x80"),
                    ("jadevectordb_writes_total{$green}", "0x80"),
                    ("jadevectordb_read_errors_total{$green}", "0+1x80"),
                    ("jadevectordb_write_errors_total{$green}", "0x80"),
                ],
                at: "15m",
            },
        ],
    },
    Alert {
        name: "JadeShiftGatewayErrorRateHigh",
        severity: "critical",
        hold: "5m",
        expression: "sum by (namespace, deployment, colour) (rate(jadeshift_gateway_request_errors_total[5m]))\n\
            / sum by (namespace, deployment, colour) (rate(jadeshift_gateway_requests_total[5m])) > 0.05\n\
            and sum by (namespace, deployment, colour) (rate(jadeshift_gateway_requests_total[5m])) > 0.2",
        summary: "Requests that the gateway sends to {{ $labels.colour }} of {{ $labels.deployment }} in {{ \
            $labels.namespace }} fail",
        description: "{{ $value | humanizePercentage }} of them get a 5xx or no answer at all; reads are then asked of \
            the other environment where there is one. `jadeshift health $it` says what is wrong there; `jadeshift \
            rollback $it` goes back to the version before.",
        fires: &[Fires {
            seen: Seen {
                series: &[
                    ("jadeshift_gateway_requests_total{$gateway}", "0+50x80"),
                    ("jadeshift_gateway_request_errors_total{$gateway}", "0+10x80"),
                    ("jadeshift_gateway_requests_total{$other_gateway}", "0+50x80"),
                    ("jadeshift_gateway_request_errors_total{$other_gateway}", "0+10x80"),
                ],
                at: "15m",
            },
            labels: "$it,colour=green",
            value: "20%",
        }],
        quiet: &[
            Seen {
                series: &[
                    ("jadeshift_gateway_requests_total{$gateway}", "0+100x80"),
                    ("jadeshift_gateway_request_errors_total{$gateway}", "0+4x80"),
                ],
                at: "15m",
            },
            Seen {
                series: &[
                    ("jadeshift_gateway_requests_total{$gateway}", "0+1x80"),
                    ("jadeshift_gateway_request_errors_total{$gateway}", "0+1x80"),
                ],
                at: "15m",
            },
        ],
    },
    Alert {
        name: "JadeVectorDBLatencyHigh",
        severity: "warning",
        hold: "10m",
        // Logins are slow by intent, and health checks are nobody's wait.
        expression: "histogram_quantile(0.99, sum by (namespace, deployment, colour, le) (\n  \
            rate(jadevectordb_http_request_duration_seconds_bucket{route=~\"/v1/databases/.+\"}[5m])\n)) > 1",
        summary: "{{ $labels.colour }} of {{ $labels.deployment }} in {{ $labels.namespace }} answers late",
        description: "One in a hundred answers takes {{ $value | humanizeDuration }} or longer. `jadeshift info $it` \
            shows vectors that are not in the index yet, memory, and whether a rollout is under way; `jadeshift \
            rollback $it` goes back to the version before.",
        fires: &[Fires {
            seen: Seen {
                series: &[
                    (
                        "jadevectordb_http_request_duration_seconds_bucket{$green,route=\"/v1/databases/{db}/search\",le=\"1\"}",
                        "0+90x120",
                    ),
                    (
                        "jadevectordb_http_request_duration_seconds_bucket{$green,route=\"/v1/databases/{db}/search\",le=\"2.5\"}",
                        "0+98x120",
                    ),
                    (
                        "jadevectordb_http_request_duration_seconds_bucket{$green,route=\"/v1/databases/{db}/search\",le=\"5\"}",
                        "0+100x120",
                    ),
                    (
                        "jadevectordb_http_request_duration_seconds_bucket{$green,route=\"/v1/databases/{db}/search\",le=\"+Inf\"}",
                        "0+100x120",
                    ),
                ],
                at: "20m",
            },
            labels: "$it,colour=green",
            value: "3.75s",
        }],
        quiet: &[
            Seen {
                series: &[
                    (
                        "jadevectordb_http_request_duration_seconds_bucket{$green,route=\"/v1/databases/{db}/search\",le=\"1\"}",
                        "0+100x120",
                    ),
                    (
                        "jadevectordb_http_request_duration_seconds_bucket{$green,route=\"/v1/databases/{db}/search\",le=\"+Inf\"}",
                        "0+100x120",
                    ),
                ],
                at: "20m",
            },
            // Only logins are slow.
            Seen {
                series: &[
                    (
                        "jadevectordb_http_request_duration_seconds_bucket{$green,route=\"/v1/auth/login\",le=\"1\"}",
                        "0x120",
                    ),
                    (
                        "jadevectordb_http_request_duration_seconds_bucket{$green,route=\"/v1/auth/login\",le=\"2.5\"}",
                        "0+100x120",
                    ),
                    (
                        "jadevectordb_http_request_duration_seconds_bucket{$green,route=\"/v1/auth/login\",le=\"+Inf\"}",
                        "0+100x120",
                    ),
                ],
                at: "20m",
            },
        ],
    },
];
