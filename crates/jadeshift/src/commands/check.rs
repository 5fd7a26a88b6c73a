//! `check`: is a document good?

use crate::document;
use crate::exit::ExitCode;
use crate::failure::Failure;
use crate::output::Printer;
use crate::text::span;
use std::path::Path;
use wire::document::BlueGreen;

pub fn run(printer: &Printer, file: &Path) -> Result<ExitCode, Failure> {
    let document = document::read(file)?.document;
    printer.result(|| summary(file, &document), &document);
    Ok(ExitCode::Ok)
}

/// What the document will do, so that a valid but unintended one is noticed.
fn summary(file: &Path, document: &BlueGreen) -> String {
    let spec = &document.spec;
    let steps: Vec<String> = spec.rollout.steps.iter().map(|step| format!("{} %", step.share_percent)).collect();
    let mut text = format!(
        "{}: good\n{} starts with version {} in {} mode; steps {}; watched for {}",
        document::shown(file),
        document.metadata.name,
        spec.version,
        spec.mode.as_str(),
        steps.join(", "),
        span(spec.rollout.watch_ms),
    );
    if !spec.versions.contains_key(&spec.version) {
        text.push_str(&format!("\nversion {} is not listed: it is the built-in node with its defaults", spec.version));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_says_what_will_happen() {
        let text = summary(Path::new("shop.yaml"), &BlueGreen::named("shop"));
        assert_eq!(
            text,
            "shop.yaml: good\nshop starts with version 1.0.0 in production mode; steps 10 %, 50 %, 90 %, 100 %; watched for \
             5 min\nversion 1.0.0 is not listed: it is the built-in node with its defaults"
        );
    }
}
