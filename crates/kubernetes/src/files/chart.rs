//! The Helm chart: what `jadeshift install` applies, with settings. Helm knows namespaces of its own, so the namespace object is
//! left to it.

mod settings;
mod templates;

use super::File;
use crate::install::{Install, NAME};
use serde_json::Value;
use settings::Setting;
use templates::Template;

const FOLDER: &str = "helm/jadeshift";
/// Of chart and program: each release has both.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Where the definition's rules are stable.
const KUBERNETES_MIN: &str = "1.29.0";

pub(super) fn files() -> Vec<File> {
    let settings = settings::all(&Install::default());
    let mut files = vec![
        file("Chart.yaml", chart()),
        file(".helmignore", IGNORED.into()),
        file("README.md", README.into()),
        file("values.yaml", settings::values(&settings)),
        file("values.schema.json", schema(&settings)),
        file("templates/NOTES.txt", NOTES.into()),
    ];
    files.extend(definitions());
    files
        .extend(templates().iter().map(|template| file(&format!("templates/{}.yaml", template.name), template.text())));
    files
}

fn file(path: &str, text: String) -> File {
    File::new(&format!("{FOLDER}/{path}"), text)
}

/// Helm makes what is in this folder before anything else, and never changes or removes it.
fn definitions() -> Option<File> {
    let objects = Install::default().objects();
    let definition = objects.iter().find(|object| object["kind"] == "CustomResourceDefinition")?;
    Some(File::of_objects(
        &format!("{FOLDER}/crds/bluegreen.yaml"),
        "The same as `jadeshift render crd`.",
        std::slice::from_ref(definition),
    ))
}

/// The objects by files, and what only a chart has.
fn templates() -> Vec<Template> {
    let [of_all, of_one] = [None, Some("{{ .Values.watchNamespace }}".to_string())].map(|only| {
        let image = "{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}".to_string();
        Install { namespace: "{{ .Release.Namespace }}".into(), image, only, ..Install::default() }
    });
    let mut templates: Vec<Template> = Vec::new();
    for (all, one) in of_all.objects().iter().zip(of_one.objects()) {
        let Some((name, condition)) = place(all) else { continue };
        let object = templates::named(&templates::either(all, &one));
        let object = if object["kind"] == "Deployment" { templates::operator(object) } else { object };
        match templates.iter_mut().find(|template| template.name == name) {
            Some(template) => template.objects.push(object),
            None => templates.push(Template { name, condition, objects: vec![object] }),
        }
    }
    let monitor = templates::service_monitor(templates::named(&of_all.service_monitor()));
    templates.push(Template {
        name: "servicemonitor".into(),
        condition: Some("serviceMonitor.enabled"),
        objects: vec![monitor],
    });
    templates.push(Template {
        name: "bluegreen".into(),
        condition: Some("deployment.create"),
        objects: vec![templates::blue_green()],
    });
    templates
}

/// The file of an object, and the setting that it depends on.
fn place(object: &Value) -> Option<(String, Option<&'static str>)> {
    let kind = object["kind"].as_str().unwrap_or_default();
    let of_operator = object["metadata"]["name"].as_str().is_some_and(|name| name.starts_with(NAME));
    match kind {
        "Namespace" | "CustomResourceDefinition" => None,
        "ClusterRole" if !of_operator => Some(("roles".into(), Some("roles.create"))),
        "Role" | "RoleBinding" | "ClusterRole" | "ClusterRoleBinding" => Some(("rbac".into(), None)),
        "NetworkPolicy" => Some(("networkpolicy".into(), Some("networkPolicy.enabled"))),
        _ => Some((kind.to_lowercase(), None)),
    }
}

fn schema(settings: &[Setting]) -> String {
    format!("{:#}\n", settings::schema(settings))
}

fn chart() -> String {
    format!(
        "# This folder is written by `jadeshift render deployments --to deployments`.
apiVersion: v2
name: jadeshift
description: Operator for blue-green deployments of JadeVectorDB, where the data follows the traffic.
type: application
version: {VERSION}
appVersion: \"{VERSION}\"
kubeVersion: \">={KUBERNETES_MIN}-0\"
keywords: [blue-green, canary, operator, vector-database]
home: https://github.com/jadeshift/jadeshift
sources: [https://github.com/jadeshift/jadeshift]
"
    )
}

const IGNORED: &str = "\
.git/
.gitignore
*.orig
*.swp
*.tgz
*.tmp
";

const NOTES: &str = "\
JadeShift {{ .Chart.AppVersion }} looks after {{ with .Values.watchNamespace }}namespace {{ . }}{{ else }}every namespace{{ end }}.

  kubectl --namespace {{ .Release.Namespace }} rollout status deployment/{{ .Values.name }}
{{- if .Values.deployment.create }}
  jadeshift info --namespace {{ .Values.watchNamespace | default .Release.Namespace }} --name {{ .Values.deployment.name }}
{{- else }}

Next:
  jadeshift up --namespace NAMESPACE -f bluegreen.yaml
  jadeshift info --namespace NAMESPACE
{{- end }}

`helm uninstall` leaves every BlueGreen object, its nodes and its data as they are. While no operator is there, nothing is
rolled out or back.
";

const README: &str = "\
# JadeShift's operator

The same objects as `jadeshift install` makes; `values.yaml` says what can be set, `values.schema.json` refuses the rest.

```sh
helm install jadeshift deployments/helm/jadeshift --namespace jadeshift-system --create-namespace
kubectl label namespace jadeshift-system pod-security.kubernetes.io/enforce=restricted

# In one namespace, with rights there only (and to see whether the cluster has room); a second operator of a cluster:
helm install jadeshift deployments/helm/jadeshift --namespace shop \\
  --set watchNamespace=shop --set name=jadeshift-shop --set roles.create=false
```

With `roles.create` there are the ClusterRoles `jadeshift-viewer`, `jadeshift-promoter` and `jadeshift-admin`; a cluster has them
once. An operator of every namespace and one of a single namespace may not look after the same one.

**Upgrade.** Helm does not change what is in `crds/`. Before `helm upgrade`:
`kubectl apply --server-side --force-conflicts -f deployments/helm/jadeshift/crds`.

**Uninstall.** The definition, every BlueGreen, its nodes and its data stay, also one that the chart made. Whoever wants them gone
deletes the BlueGreen first (`kubectl delete bluegreen NAME`; claims stay even then), while an operator is there to end its nodes.

**From `jadeshift install`.** `helm install` refuses objects that are not its own. Let go of the first operator and of its roles, which
leaves every BlueGreen and its nodes as they are, then install the chart without its definition:
`jadeshift render install | kubectl delete --ignore-not-found --selector app.kubernetes.io/name=jadeshift --filename -`, and `helm install ... --skip-crds`.
";

#[cfg(test)]
mod tests;
