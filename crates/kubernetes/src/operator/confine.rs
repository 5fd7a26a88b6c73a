//! What a document may name of the operator's own machine: it is read, run and sent away with the operator's rights, and whoever may
//! edit one namespace must not get those.

use std::path::{Component, Path};
use wire::document::{BlueGreen, Source};

/// Below it an administrator puts what the deployments of a namespace may name, in a folder of the namespace's name.
pub const FOLDER: &str = "/etc/jadeshift/sources";

/// Why the document may not be used: the first file or program that is not the namespace's own.
pub(super) fn outside(document: &BlueGreen, namespace: &str) -> Option<String> {
    let allowed = Path::new(FOLDER).join(namespace);
    document.spec.evidence.sources.iter().find_map(|source| {
        let (field, path) = paths(source).into_iter().flatten().find(|(_, path)| !is_below(path, &allowed))?;
        Some(format!(
            "spec.evidence.sources[{}].{field}: `{}` is not allowed: on a cluster the operator reads and runs it, so it must be \
             a full path below {}, where the operator's administrator puts what this namespace may use",
            source.name,
            path.display(),
            allowed.display()
        ))
    })
}

fn paths(source: &Source) -> [Option<(&'static str, &Path)>; 5] {
    let (prometheus, webhook) = (source.prometheus.as_ref(), source.webhook.as_ref());
    [
        prometheus.and_then(|of| Some(("prometheus.tokenFile", of.token_file.as_deref()?))),
        prometheus.and_then(|of| Some(("prometheus.caFile", of.ca_file.as_deref()?))),
        webhook.and_then(|of| Some(("webhook.secretFile", of.secret_file.as_deref()?))),
        webhook.and_then(|of| Some(("webhook.caFile", of.ca_file.as_deref()?))),
        source.command.as_ref().map(|of| ("command.program", Path::new(&of.program))),
    ]
}

/// By its words alone: no `..` leads out again.
fn is_below(path: &Path, folder: &Path) -> bool {
    path.starts_with(folder) && path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outside_of(source: &str) -> Option<String> {
        let document = format!(
            "{{apiVersion: jadevectordb.io/v1alpha1, kind: BlueGreen, metadata: {{name: shop}}, spec: {{evidence: {{sources: [{source}]}}}}}}"
        );
        outside(&BlueGreen::from_yaml(&document).unwrap(), "team")
    }

    #[test]
    fn a_document_names_only_what_is_of_its_namespace() {
        let prometheus = |file: &str| {
            format!("{{name: x, prometheus: {{url: 'http://p:9090', value: up, tokenFile: '{file}'}}, min: 1}}")
        };
        assert_eq!(outside_of(&prometheus("/etc/jadeshift/sources/team/token")), None);
        for file in [
            "/var/run/secrets/kubernetes.io/serviceaccount/token",
            "/etc/jadeshift/sources/other/token",
            "/etc/jadeshift/sources/team/../other/token",
            "token",
        ] {
            let why = outside_of(&prometheus(file)).unwrap_or_default();
            assert!(why.starts_with("spec.evidence.sources[x].prometheus.tokenFile: `"), "{file}: {why}");
            assert!(why.contains(file) && why.contains("/etc/jadeshift/sources/team"), "{why}");
        }
    }

    #[test]
    fn programs_and_the_other_files_are_no_exception() {
        let command = outside_of("{name: x, command: {program: /bin/sh}}").unwrap_or_default();
        assert!(command.contains("command.program: `/bin/sh`"), "{command}");
        assert_eq!(outside_of("{name: x, command: {program: /etc/jadeshift/sources/team/smoke}}"), None);
        let webhook = |field: &str| format!("{{name: x, webhook: {{url: 'https://q', {field}: /etc/passwd}}, min: 1}}");
        for field in ["secretFile", "caFile"] {
            assert!(outside_of(&webhook(field)).is_some_and(|why| why.contains(field)), "{field}");
        }
        assert_eq!(outside_of("{name: x, webhook: {url: 'https://q'}, min: 1}"), None);
    }
}
