//! Our own gateway in the cluster.

use super::{Kind, Object, Wanted, object};
use crate::names::{ADMIN_PORT, HTTP_PORT};
use serde_json::json;

const CREDENTIALS_DIR: &str = "/credentials";
const USER: u32 = 65532;

pub(super) fn deployment(wanted: &Wanted) -> Object {
    let (names, gateway) = (wanted.names, &wanted.document.spec.cluster.gateway);
    let image = gateway.image.as_deref().unwrap_or(wanted.gateway_image);
    let mut labels = names.labels();
    labels["component"] = "gateway".into();
    let args = [
        "gateway".to_string(),
        "--listen".into(),
        format!("0.0.0.0:{HTTP_PORT}"),
        "--control".into(),
        format!("0.0.0.0:{ADMIN_PORT}"),
        "--token-file".into(),
        format!("{CREDENTIALS_DIR}/admin-token"),
    ];
    let spec = json!({
        "replicas": gateway.replicas,
        "selector": {"matchLabels": names.gateway_selector()},
        "template": {
            "metadata": {
                "labels": labels,
                "annotations": {"prometheus.io/scrape": "true", "prometheus.io/port": ADMIN_PORT.to_string()},
            },
            "spec": {
                "automountServiceAccountToken": false,
                "enableServiceLinks": false,
                "terminationGracePeriodSeconds": 30,
                "securityContext": {
                    "runAsNonRoot": true, "runAsUser": USER, "runAsGroup": USER, "fsGroup": USER,
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                "containers": [{
                    "name": "gateway",
                    "image": image,
                    "imagePullPolicy": wanted.document.spec.cluster.image_pull_policy.as_str(),
                    "args": args,
                    "ports": [
                        {"name": "http", "containerPort": HTTP_PORT, "protocol": "TCP"},
                        {"name": "admin", "containerPort": ADMIN_PORT, "protocol": "TCP"},
                    ],
                    "resources": {"requests": gateway.resources.requests, "limits": gateway.resources.limits},
                    "readinessProbe": {
                        "httpGet": {"path": "/readyz", "port": "admin"}, "periodSeconds": 1, "timeoutSeconds": 1,
                    },
                    "livenessProbe": {
                        "httpGet": {"path": "/healthz", "port": "admin"}, "periodSeconds": 10, "timeoutSeconds": 5,
                    },
                    "securityContext": {
                        "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    "volumeMounts": [{"name": "credentials", "mountPath": CREDENTIALS_DIR, "readOnly": true}],
                }],
                "volumes": [{
                    "name": "credentials", "secret": {"secretName": names.secret(), "defaultMode": 0o440},
                }],
            },
        },
    });
    object(wanted, Kind::Deployment, names.gateway(), labels, json!({"spec": spec}))
}
