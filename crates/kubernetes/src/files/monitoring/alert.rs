//! One alert with the cases that show when it fires and when it does not.
//!
//! In texts, `$it` stands for the options that name the deployment to `jadeshift`; in the series and labels of a case, for
//! the labels that name it, and so do the other words of [`SERIES`].

use super::{INTERVAL, NAME, NAMESPACE};
use serde_json::{Map, Value, json};

/// Labels of a deployment, of a node of each environment, and of what a gateway counts of its requests.
const SERIES: [(&str, &str); 5] = [
    ("$blue", "$it,colour=\"blue\",pod=\"jadevectordb-blue-0\""),
    ("$green", "$it,colour=\"green\",pod=\"jadevectordb-green-0\""),
    ("$gateway", "$it,pod=\"jadevectordb-gateway-0\",colour=\"green\",kind=\"read\""),
    ("$other_gateway", "$it,pod=\"jadevectordb-gateway-1\",colour=\"green\",kind=\"read\""),
    ("$it", "namespace=\"jadevectordb-system\",deployment=\"jadevectordb\""),
];

pub struct Alert {
    pub name: &'static str,
    pub severity: &'static str,
    /// How long the expression must hold.
    pub hold: &'static str,
    pub expression: &'static str,
    pub summary: &'static str,
    /// What it means, and what to do.
    pub description: &'static str,
    pub fires: &'static [Fires],
    pub quiet: &'static [Seen],
}

/// What Prometheus has seen at a time: series in promtool's notation, one sample each 15 seconds.
pub struct Seen {
    pub series: &'static [(&'static str, &'static str)],
    pub at: &'static str,
}

/// What fires, and how it is told.
pub struct Fires {
    pub seen: Seen,
    /// `name=value`, by comma.
    pub labels: &'static str,
    /// The value as the description writes it.
    pub value: &'static str,
}

impl Alert {
    pub fn rule(&self) -> Value {
        json!({
            "alert": self.name,
            "expr": self.expression,
            "for": self.hold,
            "labels": {"severity": self.severity},
            "annotations": {"summary": self.text(self.summary), "description": self.text(self.description)},
        })
    }

    /// For `promtool test rules`.
    pub fn tests(&self) -> Vec<Value> {
        let fires = self.fires.iter().map(|fires| self.test("fires", &fires.seen, &json!([self.alert(fires)])));
        let quiet = self.quiet.iter().map(|seen| self.test("does not fire", seen, &json!([])));
        fires.chain(quiet).collect()
    }

    fn test(&self, what: &str, seen: &Seen, alerts: &Value) -> Value {
        let whole =
            |series: &str| SERIES.iter().fold(series.to_string(), |whole, (word, labels)| whole.replace(word, labels));
        let series = seen.series.iter().map(|(series, values)| json!({"series": whole(series), "values": values}));
        json!({
            "name": format!("{} {what}", self.name),
            "interval": INTERVAL,
            "input_series": series.collect::<Vec<Value>>(),
            "alert_rule_test": [{"eval_time": seen.at, "alertname": self.name, "exp_alerts": alerts}],
        })
    }

    fn alert(&self, fires: &Fires) -> Value {
        let it = format!("namespace={NAMESPACE},deployment={NAME}");
        let labels = fires.labels.replace("$it", &it);
        let labels = labels.split(',').filter_map(|label| label.split_once('='));
        let mut labels: Map<String, Value> = labels.map(|(name, value)| (name.into(), value.into())).collect();
        let told = |text: &str| expanded(&self.text(text), &labels, fires.value);
        let annotations = json!({"summary": told(self.summary), "description": told(self.description)});
        labels.insert("severity".into(), self.severity.into());
        json!({"exp_labels": labels, "exp_annotations": annotations})
    }

    fn text(&self, text: &str) -> String {
        text.replace("$it", "--namespace {{ $labels.namespace }} --name {{ $labels.deployment }}")
    }
}

/// As Prometheus writes a text: expressions in braces are labels, or else the value.
fn expanded(text: &str, labels: &Map<String, Value>, value: &str) -> String {
    let mut parts = text.split("{{ ");
    let mut whole = parts.next().unwrap_or_default().to_string();
    for part in parts {
        let (expression, rest) = part.split_once(" }}").unwrap_or((part, ""));
        let label = expression.strip_prefix("$labels.").map(|name| labels.get(name).and_then(Value::as_str));
        whole += label.map_or(value, Option::unwrap_or_default);
        whole += rest;
    }
    whole
}
