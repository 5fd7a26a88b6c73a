//! What can be set of the chart: names, defaults, meanings and rules in one place, from which `values.yaml` and its schema are made.

use crate::files::yaml;
use crate::install::{Install, NAME};
use serde_json::{Map, Value, json};

/// One setting, or several under one name.
pub struct Setting {
    name: &'static str,
    about: &'static str,
    holds: Holds,
}

enum Holds {
    Value { default: Value, schema: Value },
    Settings(Vec<Setting>),
}

const NAMESPACE: &str = "^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)?$";

/// Every setting; `install` has the defaults.
pub fn all(install: &Install) -> Vec<Setting> {
    let objects = install.objects();
    let operator = objects.iter().find(|object| object["kind"] == "Deployment").cloned().unwrap_or_default();
    let template = &operator["spec"]["template"];
    let container = &template["spec"]["containers"][0];
    vec![
        value(
            "name",
            "Name of the operator's objects. A second operator of a cluster needs another one, and another namespace.",
            json!(NAME),
            json!({"type": "string", "pattern": "^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$"}),
        ),
        image(&container["image"], &container["imagePullPolicy"]),
        value(
            "imagePullSecrets",
            "Secrets of the operator's namespace that open the registry, such as [{name: registry}].",
            json!([]),
            json!({"type": "array", "items": object(json!({"name": {"type": "string", "minLength": 1}}), &["name"])}),
        ),
        value(
            "replicas",
            "Operators; one works, the others take over when it goes.",
            operator["spec"]["replicas"].clone(),
            json!({"type": "integer", "minimum": 1, "maximum": 5}),
        ),
        value(
            "watchNamespace",
            "Look after this namespace only, with rights there only. It must exist; empty: every namespace.",
            json!(""),
            json!({"type": "string", "pattern": NAMESPACE}),
        ),
        group(
            "roles",
            "The ClusterRoles jadeshift-viewer, jadeshift-promoter and jadeshift-admin for people.",
            vec![value("create", "A cluster has them once.", json!(true), json!({"type": "boolean"}))],
        ),
        value("resources", "Of each operator.", container["resources"].clone(), resources()),
        value("nodeSelector", "Labels of the nodes that may run it.", json!({}), texts()),
        value("tolerations", "Taints of nodes that may run it all the same.", json!([]), tolerations()),
        value("affinity", "Where it shall run rather.", json!({}), affinity()),
        value("podAnnotations", "Annotations of its pods.", template["metadata"]["annotations"].clone(), texts()),
        value(
            "extraArgs",
            "Further arguments of `jadeshift operator`.",
            json!([]),
            json!({"type": "array", "items": {"type": "string", "minLength": 1}}),
        ),
        group(
            "networkPolicy",
            "Only the port of health checks and metrics is reached.",
            vec![value("enabled", "", json!(true), json!({"type": "boolean"}))],
        ),
        service_monitor(),
        deployment(),
    ]
}

fn image(image: &Value, pull_policy: &Value) -> Setting {
    let repository = image.as_str().and_then(|image| image.rsplit_once(':')).map(|(repository, _)| repository);
    group(
        "image",
        "Image of the program `jadeshift`: of the operator, and of gateways that name none.",
        vec![
            value(
                "repository",
                "",
                json!(repository),
                json!({"type": "string", "pattern": "^[a-zA-Z0-9][a-zA-Z0-9._:/-]*$"}),
            ),
            value(
                "tag",
                "Empty: the version of the chart.",
                json!(""),
                json!({"type": "string", "pattern": "^([a-zA-Z0-9_][a-zA-Z0-9._-]{0,127})?$"}),
            ),
            value("pullPolicy", "", pull_policy.clone(), json!({"enum": ["Always", "IfNotPresent", "Never"]})),
        ],
    )
}

fn service_monitor() -> Setting {
    group(
        "serviceMonitor",
        "Tells the Prometheus operator to collect the operator's figures; its definitions must be on the cluster.",
        vec![
            value("enabled", "", json!(false), json!({"type": "boolean"})),
            value("interval", "", json!("15s"), json!({"type": "string", "pattern": "^[0-9]+(ms|s|m|h)$"})),
            value("labels", "By which a Prometheus chooses its ServiceMonitors.", json!({}), texts()),
        ],
    )
}

fn deployment() -> Setting {
    let spec = json!({
        "type": "object",
        "required": ["version"],
        "properties": {
            "version": {"type": "string", "minLength": 1},
            // A command is given once, by who may promote; a release of the chart would repeat it.
            "request": false,
        },
        "additionalProperties": true,
    });
    group(
        "deployment",
        "A BlueGreen object beside the operator. It stays, with its nodes and its data, when the release is uninstalled.",
        vec![
            value("create", "", json!(false), json!({"type": "boolean"})),
            value(
                "name",
                "",
                json!("jadevectordb"),
                json!({"type": "string", "pattern": "^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$"}),
            ),
            value(
                "spec",
                "As in a document. A later version comes by `jadeshift deploy`, not by a change here.",
                json!({"version": "1.0.0"}),
                spec,
            ),
        ],
    )
}

fn resources() -> Value {
    let quantity = json!({"type": ["string", "number"], "pattern": "^[0-9]+(\\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?$"});
    let quantities = json!({"type": "object", "additionalProperties": quantity});
    object(json!({"requests": quantities, "limits": quantities}), &[])
}

fn tolerations() -> Value {
    let toleration = json!({
        "key": {"type": "string"},
        "operator": {"enum": ["Exists", "Equal", "Lt", "Gt"]},
        "value": {"type": "string"},
        "effect": {"enum": ["NoSchedule", "PreferNoSchedule", "NoExecute"]},
        "tolerationSeconds": {"type": "integer"},
    });
    json!({"type": "array", "items": object(toleration, &[])})
}

/// Looked into by the API server.
fn affinity() -> Value {
    let any = json!({"type": "object", "additionalProperties": true});
    object(json!({"nodeAffinity": any, "podAffinity": any, "podAntiAffinity": any}), &[])
}

fn texts() -> Value {
    json!({"type": "object", "additionalProperties": {"type": "string"}})
}

fn object(properties: Value, required: &[&str]) -> Value {
    let mut object = json!({"type": "object", "additionalProperties": false, "properties": properties});
    if !required.is_empty() {
        object["required"] = json!(required);
    }
    object
}

fn value(name: &'static str, about: &'static str, default: Value, schema: Value) -> Setting {
    Setting { name, about, holds: Holds::Value { default, schema } }
}

fn group(name: &'static str, about: &'static str, settings: Vec<Setting>) -> Setting {
    Setting { name, about, holds: Holds::Settings(settings) }
}

/// `values.yaml`, with each setting below what it means.
pub fn values(settings: &[Setting]) -> String {
    settings.iter().flat_map(Setting::lines).map(|line| format!("{line}\n")).collect()
}

/// What `values.yaml` may hold.
pub fn schema(settings: &[Setting]) -> Value {
    let mut schema = of_settings(settings);
    schema["$schema"] = "http://json-schema.org/draft-07/schema#".into();
    // Helm puts it there when another chart contains this one.
    schema["properties"]["global"] = json!({"type": "object", "additionalProperties": true});
    schema
}

fn of_settings(settings: &[Setting]) -> Value {
    let properties: Map<String, Value> =
        settings.iter().map(|setting| (setting.name.to_string(), setting.schema())).collect();
    object(properties.into(), &[])
}

impl Setting {
    fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if !self.about.is_empty() {
            lines.push(format!("# {}", self.about));
        }
        match &self.holds {
            Holds::Value { default, .. } => {
                lines.extend(yaml(&[json!({self.name: default})]).lines().map(String::from));
            }
            Holds::Settings(settings) => {
                lines.push(format!("{}:", self.name));
                lines.extend(settings.iter().flat_map(Setting::lines).map(|line| format!("  {line}")));
            }
        }
        lines
    }

    fn schema(&self) -> Value {
        let mut schema = match &self.holds {
            Holds::Value { schema, .. } => schema.clone(),
            Holds::Settings(settings) => of_settings(settings),
        };
        if !self.about.is_empty() {
            schema["description"] = self.about.into();
        }
        schema
    }
}
