//! Dashboards for Grafana: one of a deployment and its rollouts, one of its nodes.

mod grafana;
mod nodes;
mod rollouts;

use super::File;
use grafana::Dashboard;

pub(super) fn files() -> Vec<File> {
    [rollouts::dashboard(), nodes::dashboard()].iter().map(file).collect()
}

fn file(dashboard: &Dashboard) -> File {
    File::new(&format!("monitoring/grafana/{}.json", dashboard.uid), format!("{:#}\n", dashboard.value()))
}

#[cfg(test)]
mod tests;
