//! The deployment itself, as users apply it: a document for each way to lead requests, and what stands around it.

mod guards;

use super::{File, NAME, NAMESPACE};
use crate::names::{HTTP_PORT, HTTP_PORT_NAME, Names};
use serde_json::{Value, json};
use wire::Colour;
use wire::document::{API_VERSION, KIND};

/// Shares of the reads, percent.
const STEPS: [u8; 4] = [10, 50, 90, 100];

pub(super) fn files() -> Vec<File> {
    let names = Names::new(NAME, NAMESPACE);
    let file = |name: &str, comment: &str, objects: &[Value]| {
        File::of_objects(&format!("blue-green/k8s/{name}.yaml"), comment, objects)
    };
    let mut deployment = vec![namespace(), blue_green(our_gateway(), steps())];
    deployment.extend(guards::network_policies(&names));
    deployment.extend(guards::disruption_budgets(&names));
    vec![
        file("blue-green-deployment", DEPLOYMENT, &deployment),
        file("ingress-routing", INGRESS, &[blue_green(ingress(), steps())]),
        file("traffic-routing", ISTIO, &[blue_green(istio(), steps())]),
        file("canary-deployment", CANARY, &[blue_green(our_gateway(), steps_that_wait())]),
        file("health-check-services", HEALTH, &Colour::BOTH.map(|colour| health_service(&names, colour))),
    ]
}

const DEPLOYMENT: &str = "\
A blue-green deployment of JadeVectorDB: the namespace, the deployment, and what guards it. Put the operator on the cluster
before (`jadeshift install`), then apply this, or let deploy-blue-green.sh do it. The operator makes the Deployments, Services
and claims of both environments (jadevectordb-blue, jadevectordb-green, jadevectordb-service and so on).
spec.version is the version that runs first, and no more: changing it later starts nothing. The next one is brought in by
`jadeshift deploy VERSION`, or by deploy-blue-green.sh. Applying this again, with another router too, is therefore safe; give it
another router while no rollout is under way.
spec.rollout.holdBeforeSteps: a new version is filled and checked, and gets its first reads when somebody says promote.
spec.cluster.router: our own gateway gives exact shares on every cluster. ingress-routing.yaml and traffic-routing.yaml are the
same deployment with another router, canary-deployment.yaml is the same with steps that wait for a person.
Room is needed for both environments: twice what spec.cluster says, from the first rollout on.
Network policies: the nodes' admin port is for the operator and the other nodes, the gateway's for the operator and for a
Prometheus in the namespace `monitoring`. The port for requests is open: it asks for a token itself, and the API server asks for
health there on behalf of `jadeshift health`, from an address that no policy can name. Nodes speak to each other and to the
cluster's DNS, the gateway speaks to nodes, and neither to anybody else. If the operator lives in another namespace than
jadeshift-system, say so here.
Disruption budgets: of all nodes of both environments one at a time may be evicted. An environment may have a single node, so a
budget that wants one of each available would keep its machine from ever being drained; this one only keeps two drains from
taking both environments at once.";

const INGRESS: &str = "\
The deployment of blue-green-deployment.yaml led by an Ingress. Apply it after that file, or once it runs: spec.version is only
the very first version, so changing the router starts no rollout and loses nothing.
Put your own name into spec.cluster.router.hostnames, and ingressClassName beside it where the cluster has no default class.
An Ingress leads all requests to one environment or the other: spec.rollout.steps shrinks to its last one, and before the
switch the evidence is sampled reads that are asked again of both. For shares use our own gateway, an HTTPRoute
(`router: {kind: httpRoute, parent: {name: NAME-OF-THE-GATEWAY}}`), or Istio. Where ingress-nginx is still in use,
`kind: nginxIngress` does shares by its canary annotations; that controller is no longer developed, so this is legacy.";

const ISTIO: &str = "\
The deployment of blue-green-deployment.yaml led by Istio: weights, and the header `canary: blue` or `canary: green`, in one
VirtualService. Apply it after that file, or once it runs: spec.version is only the very first version, so changing the router
starts no rollout and loses nothing. Istio has to be on the cluster before.
As it is here it is for clients of the mesh that ask jadevectordb-service. For requests from outside name an Istio Gateway and
the hosts: `router: {kind: istio, gateways: [NAMESPACE/NAME], hostnames: [vectors.example.org]}`.
The nodes need no sidecar.";

const CANARY: &str = "\
The deployment of blue-green-deployment.yaml with steps that wait for a person: at 10, 50, 90 and 100 % of the reads a step that
is done waits for `jadeshift promote` (or deploy-blue-green.sh ... promote). A version that is worse still goes back by itself.
Apply it after blue-green-deployment.yaml, or once it runs: spec.version is only the very first version, so applying this starts
no rollout. canary-deploy.sh holds any share at any time and needs no steps of its own.
With Istio or an HTTPRoute, put the router of traffic-routing.yaml or ingress-routing.yaml here: steps are the same for all that
do shares.";

const HEALTH: &str = "\
A Service for each environment that also leads to nodes which are not ready: whoever asks /health there hears why. Those that
clients and routers use (jadevectordb-blue-service, jadevectordb-green-service) lead to nodes that are ready, and are made by
the operator; do not send requests here.
  kubectl get --raw /api/v1/namespaces/jadevectordb-system/services/http:jadevectordb-green-health:http/proxy/health";

fn namespace() -> Value {
    let mode = |mode: &str| (format!("pod-security.kubernetes.io/{mode}"), Value::from("restricted"));
    let labels: serde_json::Map<String, Value> = ["enforce", "audit", "warn"].map(mode).into_iter().collect();
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}})
}

/// The fields of `cluster` are those that differ by router.
fn blue_green(cluster: Value, steps: Vec<Value>) -> Value {
    let mut whole = json!({
        "image": "jadevectordb:$version",
        "storage": {"size": "20Gi"},
        // No limit of processors: one that is held back answers late, and late is what rollouts are judged by.
        "resources": {"requests": {"cpu": "500m", "memory": "2Gi"}, "limits": {"memory": "4Gi"}},
    });
    if let (Value::Object(whole), Value::Object(cluster)) = (&mut whole, cluster) {
        whole.extend(cluster);
    }
    json!({
        "apiVersion": API_VERSION, "kind": KIND,
        "metadata": {"name": NAME, "namespace": NAMESPACE},
        "spec": {
            "version": "1.0.0",
            "mode": "production",
            "replicas": 1,
            "rollout": {"holdBeforeSteps": true, "steps": steps},
            "cluster": whole,
        },
    })
}

fn our_gateway() -> Value {
    json!({
        "router": {"kind": "gateway"},
        "gateway": {
            "replicas": 2,
            "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}},
        },
    })
}

fn ingress() -> Value {
    json!({"router": {"kind": "ingress", "hostnames": ["vectors.example.org"]}})
}

fn istio() -> Value {
    json!({"router": {"kind": "istio"}})
}

fn steps() -> Vec<Value> {
    STEPS.map(|share| json!({"sharePercent": share, "durationMinMs": 30_000})).to_vec()
}

fn steps_that_wait() -> Vec<Value> {
    STEPS.map(|share| json!({"sharePercent": share, "durationMinMs": 30_000, "pause": true})).to_vec()
}

/// Without the labels of what the operator makes: it is none of that, and nobody shall scrape an environment twice.
fn health_service(names: &Names, colour: Colour) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {
            "name": format!("{}-health", names.environment(colour)),
            "namespace": names.namespace,
            "labels": {"app.kubernetes.io/name": "jadevectordb", "app.kubernetes.io/component": "health"},
        },
        "spec": {
            "selector": names.selector(colour),
            "publishNotReadyAddresses": true,
            "ports": [
                {"name": HTTP_PORT_NAME, "port": HTTP_PORT, "targetPort": HTTP_PORT_NAME, "protocol": "TCP"},
            ],
        },
    })
}

#[cfg(test)]
mod tests;
