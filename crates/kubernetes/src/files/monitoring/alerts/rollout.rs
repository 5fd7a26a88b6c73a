//! Whether a rollout gets on, and how it ended.

use crate::files::monitoring::alert::{Alert, Fires, Seen};

pub const ALERTS: [Alert; 5] = [
    Alert {
        name: "JadeShiftRolloutStuck",
        severity: "warning",
        hold: "0s",
        // A watch lasts as long as the document says; a pause and a handover have alerts of their own.
        expression: "time() - max by (namespace, deployment, phase) (\n  \
            jadeshift_phase_start_timestamp_seconds{phase!~\"handing_over|watching|paused\"}\n) > 3600",
        summary: "The rollout of {{ $labels.deployment }} in {{ $labels.namespace }} does not get on",
        description: "It is {{ $labels.phase }} for {{ $value | humanizeDuration }}, or waits there for a person. \
            `jadeshift info $it` says what for; then `jadeshift promote $it` goes on, or `jadeshift rollback $it` goes \
            back.",
        fires: &[Fires {
            seen: Seen {
                series: &[("jadeshift_phase_start_timestamp_seconds{$it,phase=\"shifting\"}", "60x400")],
                at: "62m",
            },
            labels: "$it,phase=shifting",
            value: "1h 1m 0s",
        }],
        quiet: &[
            Seen {
                series: &[("jadeshift_phase_start_timestamp_seconds{$it,phase=\"shifting\"}", "60x400")],
                at: "60m",
            },
            Seen {
                series: &[
                    ("jadeshift_phase_start_timestamp_seconds{$it,phase=\"shifting\"}", "60x200 stale"),
                    ("jadeshift_phase_start_timestamp_seconds{$it,phase=\"watching\"}", "_x200 3060x200"),
                ],
                at: "90m",
            },
        ],
    },
    Alert {
        name: "JadeShiftHandoverStuck",
        severity: "critical",
        hold: "0s",
        expression: "time() - max by (namespace, deployment) (\n  \
            jadeshift_phase_start_timestamp_seconds{phase=\"handing_over\"}\n) > 120",
        summary: "The right to write of {{ $labels.deployment }} in {{ $labels.namespace }} does not arrive",
        description: "The handover takes {{ $value | humanizeDuration }} so far; a second is usual, and writes may be \
            waiting. `jadeshift info $it` says for whom it waits. `jadeshift rollback $it` goes back, and says so if \
            it cannot do that without losing anything.",
        fires: &[Fires {
            seen: Seen {
                series: &[("jadeshift_phase_start_timestamp_seconds{$it,phase=\"handing_over\"}", "_x4 60x60")],
                at: "4m",
            },
            labels: "$it",
            value: "3m 0s",
        }],
        quiet: &[
            Seen {
                series: &[("jadeshift_phase_start_timestamp_seconds{$it,phase=\"handing_over\"}", "_x4 60x60")],
                at: "3m",
            },
            Seen {
                series: &[("jadeshift_phase_start_timestamp_seconds{$it,phase=\"watching\"}", "_x4 60x60")],
                at: "4m",
            },
        ],
    },
    Alert {
        name: "JadeShiftRolloutPaused",
        severity: "warning",
        hold: "0s",
        expression: "time() - max by (namespace, deployment) (\n  \
            jadeshift_phase_start_timestamp_seconds{phase=\"paused\"}\n) > 3600",
        summary: "The rollout of {{ $labels.deployment }} in {{ $labels.namespace }} is paused",
        description: "For {{ $value | humanizeDuration }}; it goes back by itself if the candidate does harm, and does \
            nothing else. `jadeshift info $it` says who or what paused it; then `jadeshift resume $it` goes on, or \
            `jadeshift rollback $it` goes back.",
        fires: &[Fires {
            seen: Seen {
                series: &[("jadeshift_phase_start_timestamp_seconds{$it,phase=\"paused\"}", "_x240 3600x300")],
                at: "121m",
            },
            labels: "$it",
            value: "1h 1m 0s",
        }],
        quiet: &[Seen {
            series: &[("jadeshift_phase_start_timestamp_seconds{$it,phase=\"paused\"}", "_x240 3600x300")],
            at: "2h",
        }],
    },
    Alert {
        name: "JadeShiftEvidenceInconclusive",
        severity: "warning",
        hold: "15m",
        // Without reads at the candidate there cannot be any evidence.
        expression: "max by (namespace, deployment) (jadeshift_verdict{outcome=\"inconclusive\"}) == 1\n\
            and on (namespace, deployment) (\n  \
            jadeshift_share_percent > 0\n  \
            and on (namespace, deployment, colour) jadeshift_candidate == 1\n)",
        summary: "It cannot be told whether the new version of {{ $labels.deployment }} in {{ $labels.namespace }} is \
            worse",
        description: "The candidate has had reads for 15 minutes, and what was seen of it is too little, or a source \
            of signals does not answer. `jadeshift info $it` says which signal it is and what is missing; `jadeshift \
            report $it` tells all of it. `jadeshift promote $it` goes on without, `jadeshift rollback $it` goes back.",
        fires: &[Fires {
            seen: Seen {
                series: &[
                    ("jadeshift_verdict{$it,signal=\"errors\",outcome=\"inconclusive\"}", "_x4 1x80"),
                    ("jadeshift_verdict{$it,signal=\"results\",outcome=\"pass\"}", "_x4 1x80"),
                    ("jadeshift_share_percent{$it,colour=\"green\"}", "10x80"),
                    ("jadeshift_candidate{$it,colour=\"blue\"}", "0x80"),
                    ("jadeshift_candidate{$it,colour=\"green\"}", "1x80"),
                ],
                at: "17m",
            },
            labels: "$it",
            value: "",
        }],
        quiet: &[
            // It is decided.
            Seen {
                series: &[
                    ("jadeshift_verdict{$it,signal=\"errors\",outcome=\"inconclusive\"}", "1x20 stale"),
                    ("jadeshift_verdict{$it,signal=\"errors\",outcome=\"pass\"}", "_x20 1x80"),
                    ("jadeshift_share_percent{$it,colour=\"green\"}", "10x80"),
                    ("jadeshift_candidate{$it,colour=\"green\"}", "1x80"),
                ],
                at: "17m",
            },
            // The candidate waits for its first reads.
            Seen {
                series: &[
                    ("jadeshift_verdict{$it,signal=\"errors\",outcome=\"inconclusive\"}", "1x80"),
                    ("jadeshift_share_percent{$it,colour=\"blue\"}", "100x80"),
                    ("jadeshift_share_percent{$it,colour=\"green\"}", "0x80"),
                    ("jadeshift_candidate{$it,colour=\"blue\"}", "0x80"),
                    ("jadeshift_candidate{$it,colour=\"green\"}", "1x80"),
                ],
                at: "17m",
            },
        ],
    },
    Alert {
        name: "JadeShiftRolledBack",
        severity: "warning",
        hold: "0s",
        expression: "time() - max by (namespace, deployment) (\n  \
            jadeshift_last_rollout_end_timestamp_seconds{outcome=\"rolled_back\"}\n) < 3600",
        summary: "A new version of {{ $labels.deployment }} in {{ $labels.namespace }} was taken back",
        description: "The version before serves again since {{ $value | humanizeDuration }}, with everything that was \
            written. `jadeshift report $it` tells what was wrong with the other. This ends by itself an hour after it.",
        fires: &[Fires {
            seen: Seen {
                series: &[(
                    "jadeshift_last_rollout_end_timestamp_seconds{$it,outcome=\"rolled_back\"}",
                    "_x40 600x400",
                )],
                at: "15m",
            },
            labels: "$it",
            value: "5m 0s",
        }],
        quiet: &[
            Seen {
                series: &[(
                    "jadeshift_last_rollout_end_timestamp_seconds{$it,outcome=\"rolled_back\"}",
                    "_x40 600x400",
                )],
                at: "71m",
            },
            Seen {
                series: &[("jadeshift_last_rollout_end_timestamp_seconds{$it,outcome=\"promoted\"}", "_x40 600x400")],
                at: "15m",
            },
        ],
    },
];
