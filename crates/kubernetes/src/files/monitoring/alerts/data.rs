//! Whether writes are admitted, are safe, and reach the other environment.

use crate::files::monitoring::alert::{Alert, Fires, Seen};

pub const ALERTS: [Alert; 6] = [
    Alert {
        name: "JadeShiftWritesHeld",
        severity: "critical",
        hold: "1m",
        // Whoever holds them may be the only one that still says so.
        expression: "max by (namespace, deployment) (jadevectordb_held_writes) > 0\n\
            or max by (namespace, deployment) (jadeshift_gateway_held_writes) > 0\n\
            or max by (namespace, deployment) (jadeshift_held_writes) > 0",
        summary: "Writes to {{ $labels.deployment }} in {{ $labels.namespace }} wait",
        description: "{{ $value }} of them wait for the right to write to move, for over a minute now; a few \
            milliseconds are usual. `jadeshift info $it` says what the handover waits for; `jadeshift rollback $it` \
            goes back. If no operator is at work, nothing moves: `jadeshift install`.",
        fires: &[
            Fires {
                seen: Seen { series: &[("jadevectordb_held_writes{$blue}", "0x4 3x40")], at: "3m" },
                labels: "$it",
                value: "3",
            },
            Fires {
                seen: Seen {
                    series: &[
                        ("jadevectordb_held_writes{$blue}", "0x40"),
                        ("jadeshift_gateway_held_writes{$it,pod=\"jadevectordb-gateway-0\"}", "0x4 7x40"),
                    ],
                    at: "3m",
                },
                labels: "$it",
                value: "7",
            },
            Fires {
                seen: Seen { series: &[("jadeshift_held_writes{$it,colour=\"blue\"}", "0x4 2x40")], at: "3m" },
                labels: "$it",
                value: "2",
            },
        ],
        // Caught by the scrape in three handovers, one after the other.
        quiet: &[Seen {
            series: &[
                ("jadevectordb_held_writes{$blue}", "0x4 3 0 0 5 0 0 2 0x40"),
                ("jadeshift_gateway_held_writes{$it,pod=\"jadevectordb-gateway-0\"}", "0x40"),
                ("jadeshift_held_writes{$it,colour=\"blue\"}", "0x40"),
            ],
            at: "3m",
        }],
    },
    Alert {
        name: "JadeShiftNoWayBack",
        severity: "critical",
        hold: "2m",
        expression: "max by (namespace, deployment) (jadeshift_way_back) == 0",
        summary: "{{ $labels.deployment }} in {{ $labels.namespace }} cannot go back without losing writes",
        description: "The environment that served before the switch no longer follows the one that serves now. If the \
            new version turns out to be worse, there is nothing to go back to that has every write. `jadeshift info \
            $it` says what is wrong with the old environment; `jadeshift verify $it` compares the data of both.",
        fires: &[Fires {
            seen: Seen { series: &[("jadeshift_way_back{$it}", "1x4 0x40")], at: "4m" },
            labels: "$it",
            value: "",
        }],
        quiet: &[
            Seen { series: &[("jadeshift_way_back{$it}", "1x4 0x4 1x40")], at: "4m" },
            // Nothing was switched.
            Seen { series: &[("jadeshift_phase{$it,phase=\"shifting\"}", "1x40")], at: "4m" },
        ],
    },
    Alert {
        name: "JadeShiftWritesOnOneDisk",
        severity: "warning",
        hold: "5m",
        // While an environment is filled it has nothing to confirm by.
        expression: "max by (namespace, deployment) (jadeshift_confirmation_wanted) == 1\n\
            unless on (namespace, deployment) jadeshift_confirmed == 1\n\
            unless on (namespace, deployment) jadeshift_filling == 1",
        summary: "Acknowledged writes to {{ $labels.deployment }} in {{ $labels.namespace }} are on one disk only",
        description: "The document wants each on two disks before it is acknowledged, and the second one does not keep \
            up. If the primary is lost now, what it alone has is lost. `jadeshift info $it` shows which node lags or \
            does not answer.",
        fires: &[Fires {
            seen: Seen {
                series: &[
                    ("jadeshift_confirmation_wanted{$it}", "1x40"),
                    ("jadeshift_confirmed{$it}", "1x4 0x40"),
                    ("jadeshift_filling{$it}", "0x40"),
                ],
                at: "7m",
            },
            labels: "$it",
            value: "",
        }],
        quiet: &[
            // It is there again soon.
            Seen {
                series: &[
                    ("jadeshift_confirmation_wanted{$it}", "1x40"),
                    ("jadeshift_confirmed{$it}", "1x4 0x12 1x40"),
                    ("jadeshift_filling{$it}", "0x40"),
                ],
                at: "7m",
            },
            Seen {
                series: &[
                    ("jadeshift_confirmation_wanted{$it}", "1x40"),
                    ("jadeshift_confirmed{$it}", "0x40"),
                    ("jadeshift_filling{$it}", "1x40"),
                ],
                at: "7m",
            },
            Seen {
                series: &[
                    ("jadeshift_confirmation_wanted{$it}", "0x40"),
                    ("jadeshift_confirmed{$it}", "0x40"),
                    ("jadeshift_filling{$it}", "0x40"),
                ],
                at: "7m",
            },
        ],
    },
    Alert {
        name: "JadeShiftLagHigh",
        severity: "warning",
        hold: "5m",
        expression: "max by (namespace, deployment, colour) (jadeshift_lag_seconds) > 60\n\
            unless on (namespace, deployment) jadeshift_filling == 1",
        summary: "{{ $labels.colour }} of {{ $labels.deployment }} in {{ $labels.namespace }} lags behind the primary",
        description: "By {{ $value | humanizeDuration }}. A rollout does not get on so, and after a switch there is no \
            quick way back. `jadeshift info $it` shows both positions, `jadeshift health $it` what is wrong with its \
            node; often it is its disk, or its memory.",
        fires: &[Fires {
            seen: Seen {
                series: &[
                    ("jadeshift_lag_seconds{$it,colour=\"green\"}", "0x4 90x60"),
                    ("jadeshift_filling{$it}", "0x60"),
                ],
                at: "7m",
            },
            labels: "$it,colour=green",
            value: "1m 30s",
        }],
        quiet: &[
            Seen {
                series: &[
                    ("jadeshift_lag_seconds{$it,colour=\"green\"}", "0x4 90x12 0x60"),
                    ("jadeshift_filling{$it}", "0x60"),
                ],
                at: "7m",
            },
            // It is filled, which takes its time.
            Seen {
                series: &[
                    ("jadeshift_lag_seconds{$it,colour=\"green\"}", "0+15x60"),
                    ("jadeshift_filling{$it}", "1x60"),
                ],
                at: "12m",
            },
        ],
    },
    Alert {
        name: "JadeShiftLagGrows",
        severity: "warning",
        hold: "10m",
        expression: "(\n  \
            max by (namespace, deployment, colour) (deriv(jadeshift_lag_records[10m])) > 1\n  \
            and max by (namespace, deployment, colour) (jadeshift_lag_records) > 10000\n)\n\
            unless on (namespace, deployment) jadeshift_filling == 1",
        summary: "{{ $labels.colour }} of {{ $labels.deployment }} in {{ $labels.namespace }} falls ever further \
            behind",
        description: "Each second it lacks {{ $value | humanize }} records more, so it will never catch up at this \
            rate of writes. Give it more processors or a faster disk (spec.cluster.resources, spec.cluster.storage), \
            or bring the version in when there are fewer writes: `jadeshift rollback $it`, and `jadeshift deploy \
            VERSION $it` later.",
        fires: &[Fires {
            seen: Seen {
                series: &[
                    ("jadeshift_lag_records{$it,colour=\"green\"}", "20000+150x120"),
                    ("jadeshift_filling{$it}", "0x120"),
                ],
                at: "20m",
            },
            labels: "$it,colour=green",
            value: "10",
        }],
        quiet: &[
            // It catches up.
            Seen {
                series: &[
                    ("jadeshift_lag_records{$it,colour=\"green\"}", "90000-150x120"),
                    ("jadeshift_filling{$it}", "0x120"),
                ],
                at: "20m",
            },
            // As many as always come between two looks.
            Seen {
                series: &[
                    ("jadeshift_lag_records{$it,colour=\"green\"}", "0+60x120"),
                    ("jadeshift_filling{$it}", "0x120"),
                ],
                at: "20m",
            },
            Seen {
                series: &[
                    ("jadeshift_lag_records{$it,colour=\"green\"}", "20000+150x120"),
                    ("jadeshift_filling{$it}", "1x120"),
                ],
                at: "20m",
            },
        ],
    },
    Alert {
        name: "JadeVectorDBDiskFailed",
        severity: "critical",
        hold: "0s",
        expression: "max by (namespace, deployment, colour, pod) (jadevectordb_disk_failed) == 1",
        summary: "The disk of {{ $labels.pod }} in {{ $labels.namespace }} failed",
        description: "The node refuses writes until it is started anew; often its claim is full. `jadeshift info $it` \
            says what the disk said. Make room or mend the disk, then end the pod. If it is the primary during a \
            rollout or its watch, `jadeshift rollback $it` moves the writes to the other environment.",
        fires: &[Fires {
            seen: Seen { series: &[("jadevectordb_disk_failed{$blue}", "0x4 1x20")], at: "2m" },
            labels: "$it,colour=blue,pod=jadevectordb-blue-0",
            value: "",
        }],
        quiet: &[Seen { series: &[("jadevectordb_disk_failed{$blue}", "0x20")], at: "2m" }],
    },
];
