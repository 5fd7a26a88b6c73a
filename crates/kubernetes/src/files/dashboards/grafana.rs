//! Dashboards as Grafana stores them. Panels are placed one after the other, row by row.
//!
//! In queries, `$it` stands for the labels of the deployment that was chosen.

use serde_json::{Value, json};
use wire::Colour;

/// Columns of Grafana's grid.
const COLUMNS: u64 = 24;
const SCHEMA_VERSION: u64 = 39;

pub struct Dashboard {
    pub uid: &'static str,
    pub title: &'static str,
    pub description: &'static str,
    /// Marks in every panel, by its title and query, whose values are times in milliseconds.
    pub marks: Option<(&'static str, &'static str)>,
    pub rows: Vec<Row>,
}

pub struct Row {
    pub title: &'static str,
    pub panels: Vec<Panel>,
}

pub struct Panel {
    title: &'static str,
    description: &'static str,
    kind: Kind,
    unit: &'static str,
    width: u64,
    height: u64,
    queries: Vec<(String, &'static str)>,
}

enum Kind {
    Lines,
    /// Lines of the environments, in their colours.
    LinesByColour,
    /// The newest value, large.
    Number,
    /// The label of the newest value, large.
    Word,
    /// What was the case when.
    Times,
}

impl Panel {
    pub fn lines(title: &'static str, unit: &'static str) -> Self {
        Self::new(Kind::Lines, title, unit, COLUMNS / 3, 8)
    }

    pub fn lines_by_colour(title: &'static str, unit: &'static str) -> Self {
        Self { kind: Kind::LinesByColour, ..Self::lines(title, unit) }
    }

    pub fn number(title: &'static str, unit: &'static str) -> Self {
        Self::new(Kind::Number, title, unit, COLUMNS / 8, 4)
    }

    pub fn word(title: &'static str) -> Self {
        Self { kind: Kind::Word, ..Self::number(title, "none") }
    }

    pub fn times(title: &'static str) -> Self {
        Self::new(Kind::Times, title, "none", COLUMNS / 2, 8)
    }

    fn new(kind: Kind, title: &'static str, unit: &'static str, width: u64, height: u64) -> Self {
        Self { title, description: "", kind, unit, width, height, queries: Vec::new() }
    }

    /// `legend`: with labels in double braces.
    pub fn query(mut self, expression: &str, legend: &'static str) -> Self {
        self.queries.push((whole(expression), legend));
        self
    }

    pub fn about(self, description: &'static str) -> Self {
        Self { description, ..self }
    }

    fn value(&self, id: u64, x: u64, y: u64) -> Value {
        let instant = matches!(self.kind, Kind::Number | Kind::Word);
        let targets = self.queries.iter().zip('A'..).map(|((expression, legend), letter)| {
            json!({
                "refId": letter.to_string(), "datasource": source(), "editorMode": "code",
                "expr": expression, "legendFormat": legend, "instant": instant, "range": !instant,
            })
        });
        json!({
            "id": id,
            "type": self.kind.name(),
            "title": self.title,
            "description": self.description,
            "datasource": source(),
            "gridPos": {"x": x, "y": y, "w": self.width, "h": self.height},
            "targets": targets.collect::<Vec<Value>>(),
            "fieldConfig": {
                "defaults": {"unit": self.unit, "custom": self.kind.style()},
                "overrides": self.kind.overrides(),
            },
            "options": self.kind.options(),
        })
    }
}

impl Kind {
    fn name(&self) -> &'static str {
        match self {
            Kind::Lines | Kind::LinesByColour => "timeseries",
            Kind::Number | Kind::Word => "stat",
            Kind::Times => "state-timeline",
        }
    }

    fn style(&self) -> Value {
        match self {
            Kind::Lines | Kind::LinesByColour => {
                json!({"drawStyle": "line", "fillOpacity": 10, "lineWidth": 1, "showPoints": "never", "spanNulls": false})
            }
            Kind::Number | Kind::Word => json!({}),
            Kind::Times => json!({"fillOpacity": 80, "lineWidth": 0}),
        }
    }

    fn overrides(&self) -> Value {
        let painted = |colour: Colour| {
            json!({
                "matcher": {"id": "byRegexp", "options": format!("/{colour}/")},
                "properties": [{"id": "color", "value": {"mode": "fixed", "fixedColor": colour.as_str()}}],
            })
        };
        match self {
            Kind::LinesByColour => Value::from(Colour::BOTH.map(painted).to_vec()),
            _ => json!([]),
        }
    }

    fn options(&self) -> Value {
        let legend = json!({"displayMode": "list", "placement": "bottom", "showLegend": true});
        let newest = json!({"calcs": ["lastNotNull"], "fields": "", "values": false});
        match self {
            Kind::Lines | Kind::LinesByColour => {
                json!({"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}})
            }
            Kind::Number => json!({"reduceOptions": newest, "graphMode": "none", "textMode": "auto"}),
            Kind::Word => json!({"reduceOptions": newest, "graphMode": "none", "textMode": "name"}),
            Kind::Times => json!({"legend": legend, "mergeValues": true, "showValue": "never", "rowHeight": 0.9}),
        }
    }
}

impl Dashboard {
    pub fn value(&self) -> Value {
        let marks = self.marks.iter().map(|(title, expression)| mark(title, &whole(expression)));
        json!({
            "uid": self.uid,
            "title": self.title,
            "description": self.description,
            "tags": ["jadeshift", "jadevectordb"],
            "schemaVersion": SCHEMA_VERSION,
            "version": 1,
            "editable": true,
            "graphTooltip": 1,
            "refresh": "10s",
            "time": {"from": "now-1h", "to": "now"},
            "timezone": "browser",
            "annotations": {"list": marks.collect::<Vec<Value>>()},
            "templating": {"list": [
                {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
                variable("namespace", "Namespace", "label_values(jadeshift_valid, namespace)"),
                variable(
                    "deployment",
                    "Deployment",
                    "label_values(jadeshift_valid{namespace=\"$namespace\"}, deployment)",
                ),
            ]},
            "panels": self.panels(),
        })
    }

    fn panels(&self) -> Vec<Value> {
        let (mut panels, mut y) = (Vec::new(), 0);
        for row in &self.rows {
            panels.push(json!({
                "id": panels.len() + 1, "type": "row", "title": row.title, "collapsed": false, "panels": [],
                "gridPos": {"x": 0, "y": y, "w": COLUMNS, "h": 1},
            }));
            y += 1;
            let (mut x, mut height) = (0, 0);
            for panel in &row.panels {
                if x + panel.width > COLUMNS {
                    (x, y, height) = (0, y + height, 0);
                }
                panels.push(panel.value(panels.len() as u64 + 1, x, y));
                (x, height) = (x + panel.width, height.max(panel.height));
            }
            y += height;
        }
        panels
    }
}

/// The data source that was chosen.
fn source() -> Value {
    json!({"type": "prometheus", "uid": "${datasource}"})
}

fn whole(expression: &str) -> String {
    expression.replace("$it", "namespace=\"$namespace\",deployment=\"$deployment\"")
}

fn variable(name: &str, label: &str, query: &str) -> Value {
    json!({
        "name": name, "label": label, "type": "query", "datasource": source(), "definition": query,
        "query": {"query": query, "refId": name}, "refresh": 2, "sort": 1, "includeAll": false, "multi": false,
    })
}

fn mark(title: &str, expression: &str) -> Value {
    json!({
        "name": title, "datasource": source(), "enable": true, "iconColor": "orange", "expr": expression,
        "step": "15s", "titleFormat": title, "textFormat": "{{outcome}}", "useValueForTime": "on",
    })
}
