//! `report`: what happened in a rollout, as text, JSON, or a page.

use crate::cli::{Globals, Report as Arguments};
use crate::deployment;
use crate::exit::ExitCode;
use crate::failure::Failure;
use crate::output::Printer;
use crate::text;

pub async fn run(globals: &Globals, printer: &Printer, arguments: &Arguments) -> Result<ExitCode, Failure> {
    let report = deployment::report(globals, arguments.run).await?;
    if let Some(file) = &arguments.html {
        let what = format!("could not write {}", file.display());
        std::fs::write(file, text::page::page(&report)).map_err(|error| Failure::failed(what, error))?;
        printer.progress(&format!("jadeshift: the report of rollout {} is in {}", report.run.id, file.display()));
    }
    printer.result(|| text::report(&report), &report);
    Ok(ExitCode::Ok)
}
