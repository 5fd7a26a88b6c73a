//! The rules of what only a cluster has.

use super::validate::{label, rule_broken, within};
use super::{Action, Cluster, DocumentError, Request, Router, RouterKind};

/// Longest id of a request.
const ID_LENGTH_MAX: usize = 63;

impl Cluster {
    pub(super) fn validate(&self) -> Result<(), DocumentError> {
        if self.image.is_empty() {
            return Err(rule_broken("spec.cluster.image", "``", "the name of an image, such as jadevectordb:$version"));
        }
        quantity("spec.cluster.storage.size", &self.storage.size)?;
        for (of, amounts) in [("requests", &self.resources.requests), ("limits", &self.resources.limits)] {
            for (name, amount) in amounts {
                quantity(&format!("spec.cluster.resources.{of}.{name}"), amount)?;
            }
        }
        within("spec.cluster.gateway.replicas", u64::from(self.gateway.replicas), 1, 20)?;
        self.router.validate()
    }
}

impl Router {
    fn validate(&self) -> Result<(), DocumentError> {
        let path = |name: &str| format!("spec.cluster.router.{name}");
        if self.kind == RouterKind::HttpRoute && self.parent.is_none() {
            return Err(rule_broken(path("parent"), "nothing", "`kind: httpRoute` needs the name of its Gateway"));
        }
        let only_of = |name: &str, given: bool, kinds: &[RouterKind]| match given && !kinds.contains(&self.kind) {
            true => {
                let kinds: Vec<&str> = kinds.iter().map(|kind| kind.as_str()).collect();
                let rule = format!("only with `kind: {}`; here it is `{}`", kinds.join("` or `"), self.kind.as_str());
                Err(rule_broken(path(name), "a value", rule))
            }
            false => Ok(()),
        };
        only_of("parent", self.parent.is_some(), &[RouterKind::HttpRoute])?;
        only_of("gateways", !self.gateways.is_empty(), &[RouterKind::Istio])?;
        let ingresses = [RouterKind::Ingress, RouterKind::NginxIngress];
        only_of("ingressClassName", self.ingress_class_name.is_some(), &ingresses)?;
        for name in &self.hostnames {
            let good = !name.is_empty()
                && name.len() <= 253
                && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-' | '*'));
            if !good {
                let rule = "a name of a host in small letters, such as vectors.example.org";
                return Err(rule_broken(path("hostnames"), format!("`{name}`"), rule));
            }
        }
        match &self.probe_url {
            Some(url) if !url.starts_with("http://") => {
                Err(rule_broken(path("probeUrl"), format!("`{url}`"), "an address such as http://10.0.0.7:8080"))
            }
            _ => Ok(()),
        }
    }
}

impl Request {
    fn missing(&self, field: &str, rule: &str) -> DocumentError {
        let action = self.action.as_str();
        rule_broken(format!("spec.request.{field}"), "nothing", format!("the action `{action}` needs {rule}"))
    }

    pub(super) fn validate(&self) -> Result<(), DocumentError> {
        if self.id.is_empty() || self.id.len() > ID_LENGTH_MAX {
            let rule = format!("1 to {ID_LENGTH_MAX} characters that no earlier request had");
            return Err(rule_broken("spec.request.id", format!("`{}`", self.id), rule));
        }
        match (self.action, &self.version, self.share_percent, self.to) {
            (Action::Deploy, None, _, _) => Err(self.missing("version", "the version to bring in")),
            (Action::Deploy, Some(version), _, _) => label("spec.request.version", version),
            (Action::Canary, _, None, _) => Err(self.missing("sharePercent", "a share of the reads")),
            (Action::Canary, _, Some(share), _) => within("spec.request.sharePercent", u64::from(share), 0, 100),
            (Action::Switch, _, _, None) => Err(self.missing("to", "`blue` or `green`")),
            _ => Ok(()),
        }
    }
}

/// As the cluster writes amounts: a number, and a letter or two.
fn quantity(path: &str, value: &str) -> Result<(), DocumentError> {
    let number = value.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = &value[number.len()..];
    let units = ["", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    if number.parse::<f64>().is_ok_and(|number| number >= 0.0 && number.is_finite()) && units.contains(&unit) {
        return Ok(());
    }
    Err(rule_broken(path, format!("`{value}`"), "an amount such as 500m, 2, 512Mi or 10Gi"))
}

#[cfg(test)]
mod tests {
    use super::super::{BlueGreen, DocumentError};

    fn error(lines: &str) -> String {
        let yaml = format!(
            "apiVersion: jadevectordb.io/v1alpha1\nkind: BlueGreen\nmetadata: {{name: shop}}\nspec: {{{lines}}}\n"
        );
        match BlueGreen::from_yaml(&yaml) {
            Err(DocumentError::Rule { path, value, rule }) => format!("{path}: {value}: {rule}"),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn what_a_cluster_would_refuse_later_is_refused_here() {
        for (lines, wanted) in [
            ("cluster: {image: ''}", "spec.cluster.image: ``"),
            ("cluster: {storage: {size: 10 GB}}", "spec.cluster.storage.size: `10 GB`: an amount such as"),
            ("cluster: {resources: {limits: {cpu: -1}}}", "spec.cluster.resources.limits.cpu: `-1`"),
            ("cluster: {router: {kind: httpRoute}}", "spec.cluster.router.parent: nothing: `kind: httpRoute` needs"),
            (
                "cluster: {router: {parent: {name: x}}}",
                "spec.cluster.router.parent: a value: only with `kind: httpRoute`",
            ),
            ("cluster: {router: {kind: ingress, hostnames: [Shop]}}", "spec.cluster.router.hostnames: `Shop`"),
            ("cluster: {router: {kind: ingress, probeUrl: x}}", "spec.cluster.router.probeUrl: `x`"),
            ("request: {id: '', action: pause}", "spec.request.id: ``"),
            ("request: {id: a, action: deploy}", "spec.request.version: nothing: the action `deploy` needs"),
            ("request: {id: a, action: canary, sharePercent: 101}", "spec.request.sharePercent: 101"),
            ("request: {id: a, action: switch}", "spec.request.to: nothing: the action `switch` needs"),
        ] {
            let found = error(lines);
            assert!(found.starts_with(wanted), "{lines}: {found}");
        }
        assert!(error("cluster: {router: {kind: istio, gateways: [mesh]}}").starts_with("Ok"));
    }
}
