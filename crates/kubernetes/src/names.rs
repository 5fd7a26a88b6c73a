//! What the objects of a deployment are called, and how they are labelled. Users type these names: they stay.

use serde_json::{Value, json};
use wire::{Colour, Member};

/// Who owns the fields that are applied.
pub const FIELD_MANAGER: &str = "jadeshift";
/// Label of every object that is ours: the name of its `BlueGreen`.
pub const DEPLOYMENT_LABEL: &str = "jadevectordb.io/deployment";
/// Label of a report: the number of its rollout.
pub const REPORT_LABEL: &str = "jadevectordb.io/report";
/// Annotation of a pod: the version label that its node runs.
pub const VERSION_ANNOTATION: &str = "jadevectordb.io/version";
/// Label of a pod: which node of its environment it is, from 0.
pub const NODE_LABEL: &str = "jadevectordb.io/node";
/// Ports of a node, and the name of the first.
pub const HTTP_PORT_NAME: &str = "http";
pub const HTTP_PORT: u16 = 8080;
pub const ADMIN_PORT: u16 = 8081;

/// The names of one deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    pub deployment: String,
    pub namespace: String,
}

impl Names {
    pub fn new(deployment: &str, namespace: &str) -> Self {
        Self { deployment: deployment.into(), namespace: namespace.into() }
    }

    /// The workload of a node: the first is called like its environment.
    pub fn node(&self, member: Member) -> String {
        format!("{}-{member}", self.deployment)
    }

    /// What is there once for each environment, and is no Service.
    pub fn environment(&self, colour: Colour) -> String {
        self.node(colour.into())
    }

    /// The Service of an environment.
    pub fn environment_service(&self, colour: Colour) -> String {
        format!("{}-{colour}-service", self.deployment)
    }

    /// The Service that clients use.
    pub fn main_service(&self) -> String {
        format!("{}-service", self.deployment)
    }

    /// What leads requests to the environments, beside the Services.
    pub fn router(&self) -> String {
        self.deployment.clone()
    }

    /// The second Ingress, whose annotations hold the share of green.
    pub fn canary_ingress(&self) -> String {
        format!("{}-canary", self.deployment)
    }

    /// Where a deployment stood when its object was deleted.
    pub fn state(&self) -> String {
        format!("{}-state", self.deployment)
    }

    /// What is told of a rollout.
    pub fn report(&self, run: u64) -> String {
        format!("{}-report-{run}", self.deployment)
    }

    /// Our own gateway.
    pub fn gateway(&self) -> String {
        format!("{}-gateway", self.deployment)
    }

    /// What its pods are found by.
    pub fn gateway_selector(&self) -> Value {
        json!({"app": self.deployment, "component": "gateway"})
    }

    /// Tokens and the first administrator's password.
    pub fn secret(&self) -> String {
        format!("{}-credentials", self.deployment)
    }

    /// What a node looks up when it starts.
    pub fn settings(&self) -> String {
        format!("{}-nodes", self.deployment)
    }

    /// The storage of a node.
    pub fn claim(&self, member: Member) -> String {
        match member.number {
            0 => format!("{}-{}-data", self.deployment, member.colour),
            number => format!("{}-{}-data-{number}", self.deployment, member.colour),
        }
    }

    /// Labels of every object.
    pub fn labels(&self) -> Value {
        json!({
            "app": self.deployment,
            "app.kubernetes.io/name": "jadevectordb",
            "app.kubernetes.io/instance": self.deployment,
            "app.kubernetes.io/managed-by": "jadeshift",
            DEPLOYMENT_LABEL: self.deployment,
        })
    }

    /// Labels of the objects of an environment.
    pub fn environment_labels(&self, colour: Colour) -> Value {
        let mut labels = self.labels();
        labels["version"] = colour.as_str().into();
        labels
    }

    /// Labels of the pod of a node.
    pub fn node_labels(&self, member: Member) -> Value {
        let mut labels = self.environment_labels(member.colour);
        labels[NODE_LABEL] = member.number.to_string().into();
        labels
    }

    /// What the pod of a node is found by.
    pub fn node_selector(&self, member: Member) -> Value {
        let mut selector = self.selector(member.colour);
        selector[NODE_LABEL] = member.number.to_string().into();
        selector
    }

    /// What the pods of an environment are found by.
    pub fn selector(&self, colour: Colour) -> Value {
        json!({"app": self.deployment, "version": colour.as_str()})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_those_that_users_type() {
        let names = Names::new("jadevectordb", "jadevectordb-system");
        assert_eq!(names.environment(Colour::Blue), "jadevectordb-blue");
        assert_eq!(names.environment_service(Colour::Green), "jadevectordb-green-service");
        assert_eq!(names.main_service(), "jadevectordb-service");
        assert_eq!(names.selector(Colour::Green), json!({"app": "jadevectordb", "version": "green"}));
        assert_eq!(names.claim(Colour::Blue.into()), "jadevectordb-blue-data");
        let second = Member::new(Colour::Green, 1);
        assert_eq!(
            (names.node(second), names.claim(second)),
            ("jadevectordb-green-1".into(), "jadevectordb-green-data-1".into())
        );
    }
}
