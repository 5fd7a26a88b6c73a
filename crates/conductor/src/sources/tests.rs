//! Sources that are asked for real: programs, servers, and Prometheus itself.

mod commands;
mod counters;
mod prometheus;
mod rollouts;
mod standings;
mod tls;
mod webhooks;

use super::*;
use crate::judged::Sides;
use reading::Reading;

/// As the document says it, `rest` being its fields beside the name.
fn source(rest: &str) -> Source {
    let text = format!(
        "{{apiVersion: jadevectordb.io/v1alpha1, kind: BlueGreen, metadata: {{name: shop}}, spec: {{evidence: {{sources: \
         [{{name: mine, {rest}}}]}}}}}}"
    );
    let document = wire::document::BlueGreen::from_yaml(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
    document.spec.evidence.sources[0].clone()
}

fn question() -> Question {
    let environment = |colour: Colour, version: &str| Environment {
        colour,
        version: version.into(),
        http: Some(format!("{colour}:8080")),
    };
    Question {
        deployment: "shop".into(),
        run: 7,
        phase: "shifting",
        share_percent: 10,
        candidate: environment(Colour::Green, "1.1.0"),
        active: environment(Colour::Blue, "1.0.0"),
    }
}

const NOW_MS: u64 = 1_700_000_000_000;

/// One answer, within the source's own time limit.
async fn asked(source: &Source) -> Result<Answer, String> {
    ask(&connections(source)?, source, &question(), NOW_MS).await
}

async fn refused(source: &Source) -> String {
    match asked(source).await {
        Ok(answer) => panic!("{answer:?}"),
        Err(why) => why,
    }
}

fn counts(candidate: (u64, u64), active: (u64, u64)) -> Sides<Counts> {
    let counts = |(requests, events)| Counts { requests, events };
    Sides { candidate: counts(candidate), active: counts(active) }
}
