//! Objects as templates of Helm.
//!
//! Text of an object may hold template expressions as it is: YAML writes it in quotes. What is not text is marked by `@`, so that
//! it can be told from text when the object has been written:
//!
//! | in the object | in the template |
//! |---|---|
//! | `replicas: "@{{ .Values.replicas }}"` | `replicas: {{ .Values.replicas }}` |
//! | the field or item `"@@a@b@c"` | the lines `a`, `b` and `c` in its place |
//! | `$indent` in one of them | the indentation of what is one level below |

use crate::files::yaml;
use crate::install::NAME;
use serde_json::{Map, Value, json};
use wire::document::{API_VERSION, KIND};

const ONE: &str = ".Values.watchNamespace";
const MARK: char = '@';
const INDENT: &str = "$indent";

/// One file below `templates/`.
pub struct Template {
    /// Without its ending.
    pub name: String,
    /// The setting that must be true for it.
    pub condition: Option<&'static str>,
    pub objects: Vec<Value>,
}

impl Template {
    pub fn text(&self) -> String {
        let objects: String = yaml(&self.objects).lines().map(unmarked).collect();
        match self.condition {
            Some(condition) => format!("{{{{- if .Values.{condition} }}}}\n{objects}{{{{- end }}}}\n"),
            None => objects,
        }
    }
}

/// A line of YAML as one or several of a template.
fn unmarked(line: &str) -> String {
    let Some((before, marked)) = line.split_once("'@") else { return format!("{line}\n") };
    let marked = marked.trim_end_matches(": null").trim_end_matches('\'');
    let indent = before.len() - before.trim_start().len();
    let marked = marked.replace(INDENT, &(indent + 2).to_string());
    match marked.strip_prefix(MARK) {
        Some(lines) => lines.split(MARK).map(|line| format!("{:indent$}{line}\n", "")).collect(),
        None => format!("{before}{marked}\n"),
    }
}

/// One template of what is said for all namespaces and what is said for one.
pub fn either(all: &Value, one: &Value) -> Value {
    match (all, one) {
        _ if all == one => all.clone(),
        (Value::Object(all), Value::Object(one)) => {
            let common = all.iter().map(|(key, value)| (key.clone(), either(value, one.get(key).unwrap_or(value))));
            let mut fields: Map<String, Value> = common.collect();
            for (key, value) in one.iter().filter(|(key, _)| !all.contains_key(*key)) {
                fields.insert(lines("if", ONE, &format!("{key}: {value}")), Value::Null);
            }
            Value::Object(fields)
        }
        (Value::Array(all), Value::Array(one)) => {
            let common = all.iter().zip(one).map(|(all, one)| either(all, one));
            let added: Vec<String> = one.iter().skip(all.len()).map(|item| format!("- {item}")).collect();
            let added = (!added.is_empty()).then(|| lines("if", ONE, &added.join("@")).into());
            Value::Array(common.chain(added).collect())
        }
        _ => {
            let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), String::from);
            format!("{{{{ if {ONE} }}}}{}{{{{ else }}}}{}{{{{ end }}}}", text(one), text(all)).into()
        }
    }
}

/// The operator's name is a setting wherever it stands.
pub fn named(object: &Value) -> Value {
    match object {
        Value::String(text) => text.replace(NAME, "{{ .Values.name }}").into(),
        Value::Array(items) => items.iter().map(named).collect(),
        Value::Object(fields) => Value::Object(fields.iter().map(|(key, value)| (key.clone(), named(value))).collect()),
        _ => object.clone(),
    }
}

/// The operator's Deployment with everything that can be set of it.
pub fn operator(mut deployment: Value) -> Value {
    let spec = &mut deployment["spec"];
    spec["replicas"] = "@{{ .Values.replicas }}".into();
    spec["template"]["metadata"]["annotations"] = block("podAnnotations");
    let pod = &mut spec["template"]["spec"];
    for field in ["affinity", "imagePullSecrets", "nodeSelector", "tolerations"] {
        let line = format!("{field}: {{{{- toYaml . | nindent {INDENT} }}}}");
        pod[lines("with", &format!(".Values.{field}"), &line)] = Value::Null;
    }
    let container = &mut pod["containers"][0];
    container["imagePullPolicy"] = "{{ .Values.image.pullPolicy }}".into();
    container["resources"] = block("resources");
    if let Some(args) = container["args"].as_array_mut() {
        args.push(lines("range", ".Values.extraArgs", "- {{ . | quote }}").into());
    }
    deployment
}

pub fn service_monitor(mut monitor: Value) -> Value {
    let further = lines("with", ".Values.serviceMonitor.labels", "{{- toYaml . | nindent 4 }}");
    monitor["metadata"]["labels"][further] = Value::Null;
    monitor["spec"]["endpoints"][0]["interval"] = "{{ .Values.serviceMonitor.interval }}".into();
    monitor
}

/// A deployment of the user's. It holds a database, so it does not go with the operator.
pub fn blue_green() -> Value {
    json!({
        "apiVersion": API_VERSION, "kind": KIND,
        "metadata": {
            "name": "{{ .Values.deployment.name }}",
            "namespace": "{{ .Values.watchNamespace | default .Release.Namespace }}",
            "annotations": {"helm.sh/resource-policy": "keep"},
        },
        "spec": block("deployment.spec"),
    })
}

/// What a setting holds, below its field.
fn block(setting: &str) -> Value {
    format!("@{{{{- toYaml .Values.{setting} | nindent {INDENT} }}}}").into()
}

/// Lines, with `@` between them, that are there for what `control` makes of `value`.
fn lines(control: &str, value: &str, lines: &str) -> String {
    format!("@@{{{{- {control} {value} }}}}@{lines}@{{{{- end }}}}")
}
