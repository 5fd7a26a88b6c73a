//! `report`: what happened in a rollout, as text, JSON, or a page.

use crate::cli::{Globals, Report as Arguments};
use crate::control::Control;
use crate::exit::ExitCode;
use crate::failure::Failure;
use crate::output::Printer;
use crate::text;
use conductor::Report;
use local::Folder;
use wire::control::ReportRequest;

pub async fn run(globals: &Globals, printer: &Printer, arguments: &Arguments) -> Result<ExitCode, Failure> {
    let report = find(globals, arguments.run).await?;
    if let Some(file) = &arguments.html {
        let what = format!("could not write {}", file.display());
        std::fs::write(file, text::page::page(&report)).map_err(|error| Failure::failed(what, error))?;
        printer.progress(&format!("jadeshift: the report of rollout {} is in {}", report.run.id, file.display()));
    }
    printer.result(|| text::report(&report), &report);
    Ok(ExitCode::Ok)
}

/// From whoever runs the deployment, or else from what was kept in its folder.
async fn find(globals: &Globals, run: Option<u64>) -> Result<Report, Failure> {
    let not_running = match Control::find(&globals.dir) {
        Ok(control) => match control.report(run).await {
            Err(failure) if failure.code == ExitCode::NotRunning => failure,
            answer => return answer,
        },
        Err(failure) => failure,
    };
    let unreadable = |error| Failure::failed("could not read the report", error);
    let Some(folder) = Folder::open_existing(&globals.dir).map_err(unreadable)? else { return Err(not_running) };
    let kept = folder.load_report(run).map_err(unreadable)?;
    kept.ok_or_else(|| Failure::new(ExitCode::Refused, "could not get the report", ReportRequest { run }.missing()))
}
