use super::*;
use serde::Deserialize;
use std::collections::BTreeSet;

fn text(path: &str) -> String {
    let path = format!("{FOLDER}/{path}");
    files().into_iter().find(|file| file.path == path).unwrap_or_else(|| panic!("{path} is missing")).text
}

fn parsed(yaml: &str) -> Vec<Value> {
    serde_norway::Deserializer::from_str(yaml).map(|document| Value::deserialize(document).unwrap()).collect()
}

/// What the templates are with the default settings, as Helm would have them.
struct Rendering {
    values: Value,
}

impl Rendering {
    fn watching(namespace: &str) -> Self {
        let mut values = parsed(&text("values.yaml")).remove(0);
        values["watchNamespace"] = namespace.into();
        Self { values }
    }

    fn objects(&self) -> Vec<Value> {
        let folder = format!("{FOLDER}/templates/");
        let is_object = |file: &File| file.path.starts_with(&folder) && file.path.ends_with(".yaml");
        let rendered = files().into_iter().filter(is_object).map(|file| self.render(&file.text));
        rendered.flat_map(|text| parsed(&text)).filter(|object| !object.is_null()).collect()
    }

    fn render(&self, template: &str) -> String {
        let mut shown = vec![true];
        let mut rendered = String::new();
        for line in template.lines() {
            let control = line.trim().strip_prefix("{{- ").and_then(|line| line.strip_suffix(" }}"));
            match control.map(|control| control.split_once(' ').unwrap_or((control, ""))) {
                Some(("if" | "with" | "range", setting)) => shown.push(shown[shown.len() - 1] && self.says(setting)),
                Some(("end", _)) => drop(shown.pop()),
                Some(("toYaml", _)) | None if shown[shown.len() - 1] => rendered += &format!("{}\n", self.line(line)),
                Some(("toYaml", _)) | None => (),
                Some(other) => panic!("{other:?} in {template}"),
            }
        }
        assert_eq!(shown, [true], "{template}");
        rendered
    }

    fn line(&self, line: &str) -> String {
        if let Some((before, rest)) = line.split_once("{{- toYaml ") {
            return format!("{before}{}", self.value(rest.split_once(" | nindent ").unwrap().0));
        }
        let mut line = line.to_string();
        while let Some((before, rest)) = line.split_once("{{ if ") {
            let (setting, rest) = rest.split_once(" }}").unwrap();
            let (yes, rest) = rest.split_once("{{ else }}").unwrap();
            let (no, after) = rest.split_once("{{ end }}").unwrap();
            line = format!("{before}{}{after}", if self.says(setting) { yes } else { no });
        }
        while let Some((before, rest)) = line.split_once("{{ ") {
            let (expression, after) = rest.split_once(" }}").unwrap();
            let words = expression.split(" | default ").map(|word| self.value(word));
            let word =
                words.filter(|word| word != "").map(|word| word.as_str().map_or(word.to_string(), String::from)).next();
            line = format!("{before}{}{after}", word.unwrap_or_default());
        }
        line
    }

    fn value(&self, of: &str) -> Value {
        match of {
            ".Release.Namespace" => Install::default().namespace.into(),
            ".Chart.AppVersion" => VERSION.into(),
            _ => {
                let path = of.strip_prefix(".Values").unwrap_or_else(|| panic!("{of} is no setting")).replace('.', "/");
                self.values.pointer(&path).unwrap_or_else(|| panic!("{of} is not among the values")).clone()
            }
        }
    }

    fn says(&self, setting: &str) -> bool {
        !matches!(self.value(setting), Value::Bool(false) | Value::Null)
            && ![Value::from(""), Value::Array(Vec::new()), Value::Object(serde_json::Map::new())]
                .contains(&self.value(setting))
    }
}

fn same(mut found: Vec<Value>, mut wanted: Vec<Value>) {
    let key = |object: &Value| format!("{} {}", object["kind"], object["metadata"]["name"]);
    found.sort_by_key(key);
    wanted.sort_by_key(key);
    assert_eq!(found.iter().map(key).collect::<Vec<_>>(), wanted.iter().map(key).collect::<Vec<_>>());
    for (found, wanted) in found.iter().zip(&wanted) {
        assert_eq!(found, wanted);
    }
}

/// All but what Helm makes itself, and the definition, which is no template.
fn installed(only: Option<&str>) -> Vec<Value> {
    let install = Install { only: only.map(String::from), ..Install::default() };
    let left_out = |object: &Value| object["kind"] == "Namespace" || object["kind"] == "CustomResourceDefinition";
    install.objects().into_iter().filter(|object| !left_out(object)).collect()
}

#[test]
fn with_its_defaults_the_chart_is_what_is_installed() {
    same(Rendering::watching("").objects(), installed(None));
    same(parsed(&text("crds/bluegreen.yaml")), vec![serde_json::to_value(crate::resource::definition()).unwrap()]);
}

#[test]
fn for_one_namespace_it_is_what_is_installed_for_one() {
    same(Rendering::watching("shop").objects(), installed(Some("shop")));
}

#[test]
fn each_setting_changes_something() {
    let before = Rendering::watching("").objects();
    for (setting, value) in [
        ("/name", "other"),
        ("/image/repository", "example.org/jadeshift"),
        ("/image/tag", "2.0.0"),
        ("/image/pullPolicy", "Always"),
        ("/replicas", "3"),
        ("/watchNamespace", "shop"),
        ("/roles/create", "false"),
        ("/resources", "{limits: {memory: 1Gi}}"),
        ("/podAnnotations", "{a: b}"),
        ("/networkPolicy/enabled", "false"),
        ("/serviceMonitor/enabled", "true"),
        ("/deployment/create", "true"),
    ] {
        let mut rendering = Rendering::watching("");
        *rendering.values.pointer_mut(setting).unwrap() = serde_norway::from_str(value).unwrap();
        assert_ne!(rendering.objects(), before, "{setting}");
    }
    // What Helm's own functions make of these is seen on the real cluster only.
    let deployment = text("templates/deployment.yaml");
    for setting in ["imagePullSecrets", "nodeSelector", "tolerations", "affinity", "extraArgs"] {
        assert!(deployment.contains(&format!(".Values.{setting} ")), "{setting}");
    }
}

/// Every path of `values.yaml` down to what the schema leaves open.
fn compare(values: &Value, schema: &Value, path: &str) {
    let (Some(values), Some(properties)) = (values.as_object(), schema["properties"].as_object()) else { return };
    if schema["additionalProperties"] == true {
        return;
    }
    assert_eq!(schema["additionalProperties"], false, "{path}");
    let allowed: BTreeSet<&String> = properties.keys().filter(|name| *name != "global").collect();
    let there: BTreeSet<&String> = values.keys().collect();
    assert!(there.is_subset(&allowed), "{path}: {there:?} are not all of {allowed:?}");
    // Within a value of Kubernetes the rest may be left out.
    if path != "/resources" && path != "/affinity" {
        assert_eq!(there, allowed, "{path}");
    }
    for (name, value) in values {
        compare(value, &properties[name], &format!("{path}/{name}"));
    }
}

#[test]
fn the_schema_knows_each_value_and_no_other() {
    let values = parsed(&text("values.yaml")).remove(0);
    let schema: Value = serde_json::from_str(&text("values.schema.json")).unwrap();
    assert!(values.as_object().unwrap().len() > 10);
    compare(&values, &schema, "");
}

#[test]
fn a_deployment_of_the_chart_outlives_it() {
    let mut rendering = Rendering::watching("shop");
    rendering.values["deployment"]["create"] = true.into();
    let objects = rendering.objects();
    let made = objects.iter().find(|object| object["kind"] == "BlueGreen").unwrap();
    assert_eq!(made["metadata"]["annotations"]["helm.sh/resource-policy"], "keep");
    assert_eq!(made["metadata"]["namespace"], "shop");
    wire::document::BlueGreen::from_yaml(
        &made.to_string().replace(r#""annotations":{"helm.sh/resource-policy":"keep"},"#, ""),
    )
    .unwrap();
}
