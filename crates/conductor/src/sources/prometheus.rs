//! Prometheus, and whatever else speaks its HTTP API: instant queries, one value each.
//!
//! All queries of one question are evaluated at the same time of the server's own clock. Old samples are kept out by the
//! server: a series that is no longer scraped ends at once, and with `lookback_delta` (from version 2.44 on; before, five
//! minutes) it takes no sample that is older than the source allows. Counters that stand still are old as well.

use super::reading::{Answer, Reading, count};
use super::{Environment, Question, beginning, post, read_file};
use crate::judged::Sides;
use client::Http;
use evidence::Counts;
use serde::Deserialize;
use wire::document::{PrometheusSource, Source, SourceRule};

pub(super) async fn ask(
    http: &Http,
    prometheus: &PrometheusSource,
    source: &Source,
    question: &Question,
) -> Result<Answer, String> {
    let server = Server { http, prometheus, source };
    let time = server.value("time()", None).await?;
    let of = |name, query: &Option<String>, environment: &Environment| {
        let query = query.as_deref().map(|query| written_out(query, environment));
        let colour = environment.colour;
        let server = &server;
        async move {
            let query = query.ok_or_else(|| format!("`{name}` is missing"))?;
            server.value(&query, Some(time)).await.map_err(|why| format!("`{name}` of {colour}: {why}"))
        }
    };
    let counts = async |environment: &Environment| -> Result<Counts, String> {
        let requests = of("requests", &prometheus.requests, environment);
        let events = of("events", &prometheus.events, environment);
        let (requests, events) = tokio::try_join!(requests, events)?;
        Ok(Counts { requests: count(requests)?, events: count(events)? })
    };
    let reading = match source.rule() {
        SourceRule::Ratio { .. } => {
            let (candidate, active) = tokio::try_join!(counts(&question.candidate), counts(&question.active))?;
            Reading::Counts(Sides { candidate, active })
        }
        SourceRule::Rate { .. } => {
            Reading::Counts(Sides { candidate: counts(&question.candidate).await?, active: Counts::default() })
        }
        SourceRule::Value { .. } | SourceRule::Verdict => {
            Reading::Value(of("value", &prometheus.value, &question.candidate).await?)
        }
    };
    Ok(reading.into())
}

struct Server<'a> {
    http: &'a Http,
    prometheus: &'a PrometheusSource,
    source: &'a Source,
}

impl Server<'_> {
    fn form(&self, query: &str, time: Option<f64>) -> String {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("query", query);
        form.append_pair("timeout", &format!("{}ms", self.source.timeout_ms));
        form.append_pair("lookback_delta", &format!("{}ms", self.source.age_ms_max));
        if let Some(time) = time {
            form.append_pair("time", &time.to_string());
        }
        form.finish()
    }

    /// The single value of an instant query.
    async fn value(&self, query: &str, time: Option<f64>) -> Result<f64, String> {
        let Server { http, prometheus, source } = self;
        let token = prometheus.token_file.as_ref().map(|file| read_file("token", file)).transpose()?;
        let authorization = token.map(|token| format!("Bearer {token}"));
        let mut headers = vec![("content-type", "application/x-www-form-urlencoded")];
        headers.extend(authorization.as_deref().map(|value| ("authorization", value)));
        headers.extend(prometheus.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let url = format!("{}/api/v1/query", prometheus.url.trim_end_matches('/'));
        let (status, text) = post(http, source, &url, headers, self.form(query, time)).await?;
        single_value(status, &text).map_err(|why| format!("`{}`: {why}", beginning(query)))
    }
}

/// `query` for one environment.
fn written_out(query: &str, environment: &Environment) -> String {
    query.replace("$colour", environment.colour.as_str()).replace("$version", &environment.version)
}

#[derive(Deserialize)]
struct Envelope {
    status: String,
    data: Option<Data>,
    #[serde(default)]
    error: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    result_type: String,
    result: serde_json::Value,
}

#[derive(Deserialize)]
struct Series {
    metric: serde_json::Value,
    /// Time, and the value as text.
    value: (f64, String),
}

/// The value of an answer that has exactly one.
fn single_value(status: u16, body: &str) -> Result<f64, String> {
    let envelope: Envelope = serde_json::from_str(body)
        .map_err(|_| format!("status {status}, and no answer of the Prometheus API: `{}`", beginning(body)))?;
    if envelope.status != "success" {
        return Err(format!("the server refused it: {}", beginning(&envelope.error)));
    }
    let Some(Data { result_type, result }) = envelope.data else { return Err("an answer without data".into()) };
    let odd = |error: serde_json::Error| format!("an answer that cannot be read: {error}");
    let text = match result_type.as_str() {
        "scalar" => serde_json::from_value::<(f64, String)>(result).map_err(odd)?.1,
        "vector" => {
            let mut series: Vec<Series> = serde_json::from_value(result).map_err(odd)?;
            match (series.pop(), series.len()) {
                (Some(only), 0) => only.value.1,
                (None, _) => {
                    return Err(
                        "no series has a recent sample; where there may be none yet, write `… or vector(0)`".into()
                    );
                }
                (Some(last), others) => {
                    let (count, metric) = (others + 1, beginning(&last.metric.to_string()));
                    return Err(format!(
                        "{count} series, and one is needed, as with `sum(…)`; one of them is {metric}"
                    ));
                }
            }
        }
        other => return Err(format!("it is a {other}, and an instant vector or a scalar is needed")),
    };
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(value),
        _ => Err(format!("{text} is not a number that can be judged")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::Colour;

    fn answer(kind: &str, result: &str) -> Result<f64, String> {
        let body = format!(r#"{{"status":"success","data":{{"resultType":"{kind}","result":{result}}}}}"#);
        single_value(200, &body)
    }

    #[test]
    fn one_value_is_needed_and_everything_else_is_told_apart() {
        let series = |name: &str, value: &str| format!(r#"{{"metric":{{"job":"{name}"}},"value":[1.5,"{value}"]}}"#);
        assert_eq!(answer("vector", &format!("[{}]", series("a", "2.5"))), Ok(2.5));
        assert_eq!(answer("scalar", r#"[1, "7"]"#), Ok(7.0));
        let why = |kind, result: &str| answer(kind, result).unwrap_err();
        assert!(why("vector", "[]").starts_with("no series has a recent sample"));
        let many = why("vector", &format!("[{},{}]", series("a", "1"), series("b", "2")));
        assert!(many.starts_with("2 series, and one is needed") && many.contains(r#"{"job":"b"}"#), "{many}");
        for text in ["NaN", "+Inf", "-Inf", "x"] {
            let why = why("vector", &format!("[{}]", series("a", text)));
            assert_eq!(why, format!("{text} is not a number that can be judged"));
        }
        assert!(why("string", r#"[1, "a"]"#).starts_with("it is a string"));
        assert!(why("matrix", "[]").starts_with("it is a matrix"));
        let refused = r#"{"status":"error","errorType":"bad_data","error":"parse error: unexpected end"}"#;
        assert_eq!(single_value(400, refused).unwrap_err(), "the server refused it: parse error: unexpected end");
        let page = single_value(502, "<html>Bad Gateway</html>").unwrap_err();
        assert_eq!(page, "status 502, and no answer of the Prometheus API: `<html>Bad Gateway</html>`");
    }

    #[test]
    fn a_query_is_written_out_for_each_environment() {
        let green = Environment { colour: Colour::Green, version: "1.2.0".into(), http: None };
        let query = r#"sum(x{c="$colour",v="$version"}) / 2"#;
        assert_eq!(written_out(query, &green), r#"sum(x{c="green",v="1.2.0"}) / 2"#);
    }
}
