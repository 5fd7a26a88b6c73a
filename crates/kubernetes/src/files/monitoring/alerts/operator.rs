//! Whether anybody looks after the deployments, and can.

use crate::files::monitoring::alert::{Alert, Fires, Seen};

pub const ALERTS: [Alert; 4] = [
    Alert {
        name: "JadeShiftNoOperator",
        severity: "critical",
        hold: "2m",
        expression: "max by (namespace) (jadeshift_operator_leads) == 0\nor absent(jadeshift_operator_leads)",
        summary: "No operator looks after the deployments",
        description: "Nothing is rolled out, and nothing goes back by itself, until one does. Nodes and gateways go on \
            as they are. `kubectl get pods --all-namespaces --selector app.kubernetes.io/name=jadeshift` shows what \
            became of its pods; `jadeshift install` puts it back.",
        fires: &[
            Fires { seen: Seen { series: &[], at: "3m" }, labels: "", value: "" },
            Fires {
                seen: Seen {
                    series: &[
                        ("jadeshift_operator_leads{namespace=\"jadeshift-system\",pod=\"a\"}", "1x8 0x20"),
                        ("jadeshift_operator_leads{namespace=\"jadeshift-system\",pod=\"b\"}", "0x30"),
                    ],
                    at: "5m",
                },
                labels: "namespace=jadeshift-system",
                value: "",
            },
        ],
        // One of two works; the other took over within a minute.
        quiet: &[Seen {
            series: &[
                ("jadeshift_operator_leads{namespace=\"jadeshift-system\",pod=\"a\"}", "1x8 0x30"),
                ("jadeshift_operator_leads{namespace=\"jadeshift-system\",pod=\"b\"}", "0x11 1x30"),
            ],
            at: "5m",
        }],
    },
    Alert {
        name: "JadeShiftOperatorErrors",
        severity: "warning",
        hold: "5m",
        expression: "sum by (namespace) (increase(jadeshift_operator_errors_total[10m])) > 5",
        summary: "The operator in {{ $labels.namespace }} fails again and again",
        description: "It could not look after a deployment or answer a request {{ $value | humanize }} times in 10 \
            minutes, and tries again. `kubectl --namespace {{ $labels.namespace }} logs --selector \
            app.kubernetes.io/name=jadeshift` says why. If rights are missing, `jadeshift install` renews them.",
        fires: &[Fires {
            seen: Seen {
                series: &[("jadeshift_operator_errors_total{namespace=\"jadeshift-system\",pod=\"a\"}", "0x40 1+1x80")],
                at: "28m",
            },
            labels: "namespace=jadeshift-system",
            value: "40",
        }],
        // A few when the API server was restarted.
        quiet: &[Seen {
            series: &[("jadeshift_operator_errors_total{namespace=\"jadeshift-system\",pod=\"a\"}", "0x40 1 2 3 4x80")],
            at: "16m",
        }],
    },
    Alert {
        name: "JadeShiftDocumentInvalid",
        severity: "warning",
        hold: "5m",
        expression: "max by (namespace, deployment) (jadeshift_valid) == 0",
        summary: "The document of {{ $labels.deployment }} in {{ $labels.namespace }} cannot be used",
        description: "What runs goes on, and nothing else is done until it is mended. The condition Valid says what is \
            wrong: `kubectl --namespace {{ $labels.namespace }} describe bluegreen {{ $labels.deployment }}`. \
            `jadeshift check --file FILE` tries a document without a cluster.",
        fires: &[Fires {
            seen: Seen { series: &[("jadeshift_valid{$it}", "1x4 0x40")], at: "8m" },
            labels: "$it",
            value: "",
        }],
        quiet: &[Seen { series: &[("jadeshift_valid{$it}", "1x4 0x8 1x40")], at: "8m" }],
    },
    Alert {
        name: "JadeShiftTrouble",
        severity: "warning",
        hold: "10m",
        expression: "max by (namespace, deployment) (jadeshift_trouble) == 1",
        summary: "Something about {{ $labels.deployment }} in {{ $labels.namespace }} fails each time it is tried",
        description: "It is tried again all the time. `jadeshift info $it` says what it is.",
        fires: &[Fires {
            seen: Seen { series: &[("jadeshift_trouble{$it}", "0x4 1x60")], at: "12m" },
            labels: "$it",
            value: "",
        }],
        quiet: &[Seen { series: &[("jadeshift_trouble{$it}", "0x4 1x20 0 1x60")], at: "12m" }],
    },
];
