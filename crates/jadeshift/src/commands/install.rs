//! `jadeshift install`: definition, rights and operator, put on a cluster.

use crate::cli::{Globals, Install as Arguments};
use crate::deployment::{command_prefix, failure, on_cluster};
use crate::exit::ExitCode;
use crate::failure::Failure;
use crate::output::Printer;
use kubernetes::install::{Install, apply, wait};
use kubernetes::remote::connect;
use serde_json::json;
use std::time::Duration;

/// How long one answer of the API server may take.
const TIMEOUT: Duration = Duration::from_secs(30);

pub async fn run(globals: &Globals, printer: &Printer, arguments: &Arguments) -> Result<ExitCode, Failure> {
    let what = "could not install the operator";
    let failed = |error| failure(what, error, &command_prefix(globals));
    let (client, _) = connect(&on_cluster(globals).unwrap_or_default(), Some(TIMEOUT)).await.map_err(failed)?;
    let install = Install {
        namespace: arguments.operator_namespace.clone(),
        image: arguments.image.clone(),
        replicas: arguments.replicas,
        only: globals.namespace.clone(),
    };
    let objects = install.objects();
    apply(&client, &objects, |object| printer.progress(&format!("jadeshift: {object}"))).await.map_err(failed)?;
    if arguments.timeout_ms > 0 {
        printer.progress("jadeshift: waiting for the operator");
        let there = wait(&client, &install.namespace, Duration::from_millis(arguments.timeout_ms)).await;
        if !there.map_err(failed)? {
            let why = format!("its pods are not available within {} ms", arguments.timeout_ms);
            let advice = format!("`kubectl -n {} describe pods` says why", install.namespace);
            return Err(Failure::new(ExitCode::TimedOut, what, why).advise(advice));
        }
    }
    let text = format!(
        "the operator is in namespace {}\n\nNext:\n  jadeshift up --namespace NAMESPACE -f bluegreen.yaml\n  jadeshift info --namespace NAMESPACE",
        install.namespace
    );
    printer.result(|| text, &json!({"namespace": install.namespace, "image": install.image}));
    Ok(ExitCode::Ok)
}
