//! Who may do what: the operator no more than it does, and three roles for people.

use super::{Install, NAME};
use serde_json::{Value, json};

const RBAC: &str = "rbac.authorization.k8s.io";

/// One rule, and what fails without it.
pub struct Rule {
    pub groups: &'static [&'static str],
    pub resources: &'static [&'static str],
    pub verbs: &'static [&'static str],
    pub why: &'static str,
}

const READ: &[&str] = &["get", "list", "watch"];
const MAKE: &[&str] = &["get", "list", "watch", "create", "patch"];

/// What the operator does where deployments are.
pub const OPERATOR: [Rule; 14] = [
    Rule {
        groups: &["jadevectordb.io"],
        resources: &["bluegreens"],
        verbs: &["get", "list", "watch", "patch"],
        why: "finds deployments, and keeps their finalizer",
    },
    Rule {
        groups: &["jadevectordb.io"],
        resources: &["bluegreens/status"],
        verbs: &["update"],
        why: "keeps the state",
    },
    Rule {
        groups: &["jadevectordb.io"],
        resources: &["bluegreens/finalizers"],
        verbs: &["update"],
        why: "owns what it makes, where the cluster asks for this right",
    },
    Rule { groups: &["apps"], resources: &["deployments"], verbs: MAKE, why: "runs nodes" },
    Rule { groups: &[""], resources: &["services"], verbs: MAKE, why: "leads requests to nodes" },
    Rule {
        groups: &[""],
        resources: &["configmaps"],
        verbs: &["get", "list", "watch", "create", "patch", "delete"],
        why: "tells nodes how to start, and keeps reports, of which the oldest are removed",
    },
    Rule {
        groups: &[""],
        resources: &["persistentvolumeclaims"],
        verbs: MAKE,
        why: "gives nodes their storage, and never takes it away",
    },
    Rule {
        groups: &[""],
        resources: &["secrets"],
        verbs: &["get", "create"],
        why: "makes the nodes' tokens, and reads them to speak to nodes",
    },
    Rule {
        groups: &[""],
        resources: &["pods"],
        verbs: &["get", "list", "watch", "delete"],
        why: "looks at nodes, and ends those that do not answer",
    },
    Rule {
        groups: &["discovery.k8s.io"],
        resources: &["endpointslices"],
        verbs: READ,
        why: "sees whether a Service leads where it shall",
    },
    Rule { groups: &["networking.k8s.io"], resources: &["ingresses"], verbs: MAKE, why: "leads requests by Ingress" },
    Rule {
        groups: &["gateway.networking.k8s.io"],
        resources: &["httproutes"],
        verbs: MAKE,
        why: "leads requests by HTTPRoute",
    },
    Rule {
        groups: &["networking.istio.io"],
        resources: &["destinationrules", "virtualservices"],
        verbs: MAKE,
        why: "leads requests by Istio",
    },
    Rule { groups: &["events.k8s.io"], resources: &["events"], verbs: &["create", "patch"], why: "tells what happens" },
];

/// What it does in its own namespace.
pub const OPERATOR_AT_HOME: [Rule; 1] = [Rule {
    groups: &["coordination.k8s.io"],
    resources: &["leases"],
    verbs: &["get", "create", "update"],
    why: "of several operators one works",
}];

/// What it looks at of the whole cluster.
pub const OPERATOR_OF_CLUSTER: [Rule; 2] = [
    Rule { groups: &[""], resources: &["nodes", "pods", "resourcequotas"], verbs: &["list"], why: "is there room?" },
    Rule { groups: &["storage.k8s.io"], resources: &["storageclasses"], verbs: &["list"], why: "is there storage?" },
];

fn rules(of: &[Rule]) -> Vec<Value> {
    let rule = |rule: &Rule| json!({"apiGroups": rule.groups, "resources": rule.resources, "verbs": rule.verbs});
    of.iter().map(rule).collect()
}

pub(super) fn of_operator(install: &Install) -> Vec<Value> {
    let subjects = json!([{"kind": "ServiceAccount", "name": NAME, "namespace": install.namespace}]);
    let role = |name: &str, namespace: Option<&str>, of: &[Rule]| {
        let (kind, metadata) = named(name, namespace, "Role", install);
        let bound = json!({"apiGroup": RBAC, "kind": kind, "name": name});
        let (binding, _) = named(name, namespace, "RoleBinding", install);
        let version = format!("{RBAC}/v1");
        [
            json!({"apiVersion": version, "kind": kind, "metadata": metadata, "rules": rules(of)}),
            json!({
                "apiVersion": version, "kind": binding, "metadata": metadata, "roleRef": bound, "subjects": subjects,
            }),
        ]
    };
    let mut objects = Vec::new();
    objects.extend(role(NAME, install.only.as_deref(), &OPERATOR));
    objects.extend(role(
        &format!("{NAME}-lease"),
        Some(install.only.as_ref().unwrap_or(&install.namespace)),
        &OPERATOR_AT_HOME,
    ));
    objects.extend(role(&format!("{NAME}-capacity"), None, &OPERATOR_OF_CLUSTER));
    objects
}

/// Without a namespace it is of the cluster.
fn named(name: &str, namespace: Option<&str>, kind: &str, install: &Install) -> (String, Value) {
    match namespace {
        Some(namespace) => (kind.into(), json!({"name": name, "namespace": namespace, "labels": install.labels()})),
        None => (format!("Cluster{kind}"), json!({"name": name, "labels": install.labels()})),
    }
}

/// Who may look, who may promote, and who may put a deployment there and take it away. Bound in a namespace, they are for the
/// deployments of that one; who may view, edit or administer everything there may do so too.
pub(super) fn of_people() -> Vec<Value> {
    let role = |name: &str, aggregated: &str, rules: Value| {
        json!({
            "apiVersion": format!("{RBAC}/v1"), "kind": "ClusterRole",
            "metadata": {
                "name": name,
                "labels": {
                    "app.kubernetes.io/name": "jadeshift",
                    format!("{RBAC}/aggregate-to-{aggregated}"): "true",
                },
            },
            "rules": rules,
        })
    };
    let look = json!([
        {"apiGroups": ["jadevectordb.io"], "resources": ["bluegreens"], "verbs": READ},
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list"]},
        {"apiGroups": [""], "resources": ["services/proxy"], "verbs": ["get"]},
    ]);
    let mut ask = look.as_array().cloned().unwrap_or_default();
    ask[0]["verbs"] = json!(["get", "list", "watch", "patch"]);
    let mut put = ask.clone();
    put[0]["verbs"] = json!(["get", "list", "watch", "create", "patch", "update", "delete"]);
    vec![
        role("jadeshift-viewer", "view", look),
        role("jadeshift-promoter", "edit", ask.into()),
        role("jadeshift-admin", "admin", put.into()),
    ]
}
