//! Reports of rollouts, kept as ConfigMaps beside the deployment, so that `jadeshift report` needs nobody but the API server.

use crate::names::{FIELD_MANAGER, Names, REPORT_LABEL};
use crate::resource::BlueGreenObject;
use conductor::Report;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Reports that are kept.
const REPORTS_MAX: usize = 10;
/// The one under way is kept this often.
const KEEP_EVERY: Duration = Duration::from_secs(10);
/// A ConfigMap takes a megabyte.
const BYTES_MAX: usize = 900 << 10;
/// What holds the report.
pub(crate) const KEY: &str = "report.json";

/// Keeps what is told until nobody tells any more. A rollout never waits for it.
pub(super) async fn keep(client: Client, object: BlueGreenObject, mut told: watch::Receiver<Option<Arc<Report>>>) {
    let names = Names::new(&object.name_any(), &object.namespace().unwrap_or_default());
    let maps: Api<ConfigMap> = Api::namespaced(client, &names.namespace);
    let mut kept: Option<(u64, bool, Instant)> = None;
    while told.changed().await.is_ok() {
        let Some(report) = told.borrow_and_update().clone() else { continue };
        let (run, over) = (report.run.id, report.record.is_some());
        if kept.is_some_and(|(of, was_over, at)| of == run && was_over == over && (over || at.elapsed() < KEEP_EVERY)) {
            continue;
        }
        kept = Some((run, over, Instant::now()));
        if let Err(error) = write(&maps, &names, &object, &report).await {
            tracing::warn!(%error, run, "the report of a rollout is not kept");
        }
        if over && let Err(error) = forget(&maps, &names).await {
            tracing::warn!(%error, "old reports are not removed");
        }
    }
}

async fn write(maps: &Api<ConfigMap>, names: &Names, of: &BlueGreenObject, report: &Report) -> Result<(), kube::Error> {
    let mut labels = names.labels();
    labels[REPORT_LABEL] = report.run.id.to_string().into();
    let map = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": names.report(report.run.id), "namespace": names.namespace, "labels": labels,
            "ownerReferences": [{
                "apiVersion": of.api_version, "kind": of.kind, "name": names.deployment, "uid": of.uid(),
            }],
        },
        "data": {KEY: text(report)},
    });
    maps.patch(&names.report(report.run.id), &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(&map)).await?;
    Ok(())
}

/// As JSON, with every second moment left out until it fits.
fn text(report: &Report) -> String {
    let mut report = report.clone();
    loop {
        let text = serde_json::to_string(&report).unwrap_or_default();
        if text.len() <= BYTES_MAX || report.moments.len() < 2 {
            return text;
        }
        let mut position = 0;
        report.moments.retain(|_| {
            position += 1;
            position % 2 == 1
        });
    }
}

async fn forget(maps: &Api<ConfigMap>, names: &Names) -> Result<(), kube::Error> {
    for (_, name) in list(maps, names).await?.into_iter().skip(REPORTS_MAX) {
        maps.delete(&name, &DeleteParams::default()).await?;
    }
    Ok(())
}

/// Numbers of the rollouts whose reports are kept, with the names of their ConfigMaps, newest first.
pub(crate) async fn list(maps: &Api<ConfigMap>, names: &Names) -> Result<Vec<(u64, String)>, kube::Error> {
    let selector = format!("{}={},{REPORT_LABEL}", crate::names::DEPLOYMENT_LABEL, names.deployment);
    let found = maps.list_metadata(&ListParams::default().labels(&selector)).await?;
    let numbered = found.items.into_iter().filter_map(|map| {
        let number = map.labels().get(REPORT_LABEL)?.parse().ok()?;
        Some((number, map.name_any()))
    });
    let mut numbered: Vec<(u64, String)> = numbered.collect();
    numbered.sort_by(|one, other| other.cmp(one));
    Ok(numbered)
}
