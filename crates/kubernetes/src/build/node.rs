//! The workload of an environment and its storage.

use super::{Kind, Object, Wanted, object};
use crate::names::{ADMIN_PORT, HTTP_PORT, VERSION_ANNOTATION};
use conductor::node_flags;
use serde_json::{Value, json};
use wire::Member;
use wire::document::{Mode, Resources};

/// Who a node runs as.
const USER: u32 = 65532;
/// How long a node may take to end in order.
const GRACE_S: u32 = 30;
const DATA_DIR: &str = "/data";
const CREDENTIALS_DIR: &str = "/etc/jadevectordb";

/// The storage of one node. It belongs to nobody: no deployment takes it along.
pub(super) fn claim(wanted: &Wanted, member: Member) -> Object {
    let (names, storage) = (wanted.names, &wanted.document.spec.cluster.storage);
    let mut spec = json!({
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": storage.size}},
    });
    if let Some(class) = &storage.class_name {
        spec["storageClassName"] = class.as_str().into();
    }
    let labels = names.node_labels(member);
    object(wanted, Kind::Claim, names.claim(member), labels, json!({"spec": spec}))
}

/// One node. The old process has ended before the new one starts: they would share a folder. Each has a Deployment of its own,
/// also among several: a set of them could not keep a certain one from running while its successor takes its place.
pub(super) fn deployment(wanted: &Wanted, member: Member) -> Object {
    let names = wanted.names;
    // A node that is fenced off, or has no version yet, keeps a template: with no replicas it starts nothing.
    let version =
        wanted.world.environments.get(member.colour).version.as_ref().unwrap_or(&wanted.document.spec.version);
    let spec = json!({
        "replicas": u8::from(wanted.version_of(member).is_some()),
        "strategy": {"type": "Recreate"},
        "selector": {"matchLabels": names.node_selector(member)},
        "revisionHistoryLimit": 3,
        "progressDeadlineSeconds": 600,
        "template": template(wanted, member, version),
    });
    object(wanted, Kind::Deployment, names.node(member), names.node_labels(member), json!({"spec": spec}))
}

/// Key of the setting that a node looks up when it starts.
pub(super) fn join_key(member: Member) -> String {
    format!("join-{member}")
}

fn template(wanted: &Wanted, member: Member, version: &str) -> Value {
    let (names, cluster) = (wanted.names, &wanted.document.spec.cluster);
    let settings = wanted.document.version(version);
    let image = settings.image.as_ref().unwrap_or(&cluster.image).replace("$version", version);
    let mode = wanted.document.spec.mode;
    let mut args = vec![
        "--data-dir".to_string(),
        DATA_DIR.into(),
        "--http".into(),
        format!("0.0.0.0:{HTTP_PORT}"),
        "--admin".into(),
        format!("0.0.0.0:{ADMIN_PORT}"),
        "--node-version".into(),
        version.into(),
        "--admin-token-file".into(),
        format!("{CREDENTIALS_DIR}/admin-token"),
    ];
    args.extend(node_flags(&settings, &wanted.document.spec.handover));
    if mode == Mode::Development {
        args.push("--allow-remote-development".into());
    }
    args.extend(settings.args.iter().cloned());
    let mut env: Vec<Value> = settings.env.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
    // The mode comes last: a version cannot talk itself out of production.
    env.push(json!({"name": "JADEVECTORDB_ENV", "value": mode.as_str()}));
    env.push(json!({"name": "JADEVECTORDB_ADMIN_PASSWORD_FILE", "value": format!("{CREDENTIALS_DIR}/admin-password")}));
    env.push(json!({
        "name": "JADEVECTORDB_JOIN",
        "valueFrom": {"configMapKeyRef": {"name": names.settings(), "key": join_key(member)}},
    }));
    let mut annotations = json!({VERSION_ANNOTATION: version});
    annotations["prometheus.io/scrape"] = "true".into();
    annotations["prometheus.io/port"] = HTTP_PORT.to_string().into();
    json!({
        "metadata": {"labels": names.node_labels(member), "annotations": annotations},
        "spec": {
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "terminationGracePeriodSeconds": GRACE_S,
            // One that is lost with its machine shall not take the others along.
            "topologySpreadConstraints": [{
                "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": names.selector(member.colour)},
            }],
            "securityContext": {
                "runAsNonRoot": true, "runAsUser": USER, "runAsGroup": USER, "fsGroup": USER,
                "fsGroupChangePolicy": "OnRootMismatch",
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [{
                "name": "jadevectordb",
                "image": image,
                "imagePullPolicy": cluster.image_pull_policy.as_str(),
                "args": args,
                "env": env,
                "ports": [
                    {"name": "http", "containerPort": HTTP_PORT, "protocol": "TCP"},
                    {"name": "admin", "containerPort": ADMIN_PORT, "protocol": "TCP"},
                ],
                "resources": resources(&cluster.resources),
                // Why it ended is its last words.
                "terminationMessagePolicy": "FallbackToLogsOnError",
                "securityContext": {
                    "allowPrivilegeEscalation": false,
                    "readOnlyRootFilesystem": true,
                    "capabilities": {"drop": ["ALL"]},
                },
                // A node that recovers a large folder is alive and not ready.
                "readinessProbe": {
                    "httpGet": {"path": "/health", "port": "http"}, "periodSeconds": 1, "timeoutSeconds": 1,
                    "failureThreshold": 2,
                },
                "livenessProbe": {
                    "tcpSocket": {"port": "http"}, "periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 6,
                    "initialDelaySeconds": 10,
                },
                "volumeMounts": [
                    {"name": "data", "mountPath": DATA_DIR},
                    {"name": "credentials", "mountPath": CREDENTIALS_DIR, "readOnly": true},
                ],
            }],
            "volumes": [
                {"name": "data", "persistentVolumeClaim": {"claimName": names.claim(member)}},
                {"name": "credentials", "secret": {"secretName": names.secret(), "defaultMode": 0o440}},
            ],
        },
    })
}

fn resources(resources: &Resources) -> Value {
    json!({"requests": resources.requests, "limits": resources.limits})
}
