//! The custom resource `BlueGreen`: the same document as on one machine, with a status.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::ObjectMeta;
use kube::core::schema::{OptionalEnum, StructuralSchemaRewriter};
use kube::{Resource, ResourceExt};
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::borrow::Cow;
use wire::document::{API_VERSION, BlueGreen, DocumentError, KIND, Metadata, Spec};
use wire::{ByColour, Colour};

pub const GROUP: &str = "jadevectordb.io";
pub const VERSION: &str = "v1alpha1";
pub const PLURAL: &str = "bluegreens";
pub const KIND_PLURAL_GROUP: &str = "bluegreens.jadevectordb.io";

/// A `BlueGreen` object of a cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BlueGreenObject {
    pub api_version: String,
    pub kind: String,
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// Read strictly only by [`BlueGreenObject::document`], so that one bad object does not hide the others.
    #[serde(default)]
    pub spec: Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
}

/// What the operator says about a deployment.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Status {
    /// Of the spec that this status is about.
    pub observed_generation: i64,
    /// Name of the phase.
    pub phase: String,
    /// Why the phase is what it is, in one sentence.
    pub reason: String,
    /// Who serves production.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active: Option<Colour>,
    /// Who admits writes, and in which epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub primary: Option<Colour>,
    pub epoch: u64,
    /// Version of each environment; nothing where none runs.
    pub versions: ByColour<Option<String>>,
    /// Share of the reads that each environment shall have, percent.
    pub shares: ByColour<u8>,
    /// Position of each environment's head in the one history.
    pub lsn: ByColour<u64>,
    /// Records behind the primary; nothing for one that does not follow.
    pub lag_records: ByColour<Option<u64>>,
    pub conditions: Vec<Condition>,
    /// The request that was answered last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<Answered>,
    /// How the last rollout ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<Ended>,
    /// Everything that `jadeshift info` shows, as JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub info: Option<String>,
    /// The operator's durable state as JSON; nobody else writes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
}

/// The answer to a request.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Answered {
    pub id: String,
    /// Whether it was obeyed.
    pub accepted: bool,
    /// Why not, or what was done.
    pub message: String,
    /// What `verify` found, as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
}

/// A rollout that is over.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Ended {
    pub run: u64,
    /// `Promoted` or `RolledBack`.
    pub outcome: String,
    pub version: String,
    pub reason: String,
}

/// One statement about the deployment, as other tools wait for it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// `Valid`, `Ready` or `Progressing`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    pub reason: String,
    pub message: String,
    pub last_transition_time: String,
    pub observed_generation: i64,
}

impl BlueGreenObject {
    /// The document that the object is.
    ///
    /// # Errors
    /// As [`BlueGreen::from_yaml`].
    pub fn document(&self) -> Result<BlueGreen, DocumentError> {
        let metadata = Metadata { name: self.name_any(), namespace: self.namespace() };
        let whole = json!({
            "apiVersion": self.api_version, "kind": self.kind, "metadata": metadata, "spec": self.spec,
        });
        BlueGreen::from_yaml(&whole.to_string())
    }
}

impl Resource for BlueGreenObject {
    type DynamicType = ();
    type Scope = kube::core::NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        KIND.into()
    }

    fn group((): &()) -> Cow<'_, str> {
        GROUP.into()
    }

    fn version((): &()) -> Cow<'_, str> {
        VERSION.into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        PLURAL.into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// The definition that makes a cluster know the resource.
pub fn definition() -> CustomResourceDefinition {
    let columns = [
        ("Phase", "string", ".status.phase", 0),
        ("Active", "string", ".status.active", 0),
        ("Blue", "string", ".status.versions.blue", 0),
        ("Green", "string", ".status.versions.green", 0),
        ("Blue %", "integer", ".status.shares.blue", 0),
        ("Green %", "integer", ".status.shares.green", 0),
        ("Lag", "integer", ".status.lagRecords.green", 1),
        ("Reason", "string", ".status.reason", 1),
        ("Age", "date", ".metadata.creationTimestamp", 0),
    ];
    let columns = columns.map(
        |(name, kind, path, priority)| json!({"name": name, "type": kind, "jsonPath": path, "priority": priority}),
    );
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{PLURAL}.{GROUP}")},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": KIND, "plural": PLURAL, "singular": "bluegreen", "shortNames": ["bg"], "categories": ["all"],
            },
            "versions": [{
                "name": VERSION, "served": true, "storage": true,
                "schema": {"openAPIV3Schema": schema()},
                "subresources": {"status": {}},
                "additionalPrinterColumns": columns,
            }],
        },
    });
    serde_json::from_value(definition).expect("the definition is one")
}

/// Structural, so that the API server checks types and names of fields; with rules for what can be said in CEL.
fn schema() -> Value {
    let generate = |of: fn(&mut schemars::SchemaGenerator) -> schemars::Schema| {
        let settings = SchemaSettings::openapi3().with(|settings| {
            settings.inline_subschemas = true;
            settings.meta_schema = None;
        });
        let settings = settings.with_transform(StructuralSchemaRewriter).with_transform(OptionalEnum);
        let mut schema = of(&mut settings.into_generator()).to_value();
        for unwanted in ["$schema", "title"] {
            schema.as_object_mut().map(|schema| schema.remove(unwanted));
        }
        plain(&mut schema);
        schema
    };
    let mut spec = generate(|generator| generator.root_schema_for::<Spec>());
    spec["x-kubernetes-validations"] = json!(rules());
    json!({
        "type": "object",
        "description": "A blue-green deployment of one JadeVectorDB.",
        "required": ["spec"],
        "properties": {
            "spec": spec,
            "status": generate(|generator| generator.root_schema_for::<Status>()),
        },
        "x-kubernetes-validations": [{
            "rule": "self.metadata.name.size() <= 40",
            "message": "the name must have at most 40 characters: names of other objects are made of it",
        }],
    })
}

/// What the rules of the document can say to the API server already.
fn rules() -> Vec<Value> {
    let rule = |rule: &str, message: &str| json!({"rule": rule, "message": message});
    vec![
        rule(
            "!has(self.rollout) || !has(self.rollout.steps) || self.rollout.steps.size() == 0 || \
             self.rollout.steps[self.rollout.steps.size() - 1].sharePercent == 100",
            "spec.rollout.steps: the last step must have sharePercent: 100",
        ),
        rule(
            "!has(self.evidence) || !has(self.evidence.falseAlarmBudget) || \
             (self.evidence.falseAlarmBudget > 0.0 && self.evidence.falseAlarmBudget < 1.0)",
            "spec.evidence.falseAlarmBudget: a number above 0 and below 1",
        ),
        rule(
            "!has(self.request) || self.request.action != 'deploy' || has(self.request.version)",
            "spec.request: the action `deploy` needs a version",
        ),
    ]
}

/// Drops what a structural schema may not have, or what says nothing to the API server.
fn plain(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            // Whole numbers have no negative format there; their bounds say the same.
            if fields.get("format").and_then(Value::as_str).is_some_and(|format| format.starts_with("uint")) {
                fields.remove("format");
            }
            // What is left out of the document has its default from the operator, which knows it better.
            fields.remove("default");
            fields.values_mut().for_each(plain);
        }
        Value::Array(values) => values.iter_mut().for_each(plain),
        _ => (),
    }
}

/// A fresh object with this document.
pub fn object_of(document: &BlueGreen) -> BlueGreenObject {
    BlueGreenObject {
        api_version: API_VERSION.into(),
        kind: KIND.into(),
        metadata: ObjectMeta {
            name: Some(document.metadata.name.clone()),
            namespace: document.metadata.namespace.clone(),
            ..ObjectMeta::default()
        },
        spec: serde_json::to_value(&document.spec).expect("a document is always representable"),
        status: None,
    }
}

#[cfg(test)]
mod tests;
