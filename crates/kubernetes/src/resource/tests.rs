use super::*;

#[test]
fn the_definition_is_structural_and_describes_every_field() {
    let definition = serde_json::to_value(definition()).unwrap();
    let version = &definition["spec"]["versions"][0];
    let schema = &version["schema"]["openAPIV3Schema"];
    let spec = &schema["properties"]["spec"]["properties"];
    let fields = ["version", "replicas", "mode", "versions", "rollout", "handover", "evidence", "cluster", "request"];
    for field in fields {
        assert!(spec[field].is_object(), "{field}");
    }
    assert_eq!(spec["rollout"]["properties"]["steps"]["items"]["properties"]["sharePercent"]["type"], "integer");
    assert!(spec["rollout"]["properties"]["watchMs"]["description"].as_str().unwrap().contains("rolls back"));
    let actions = spec["request"]["properties"]["action"]["enum"].as_array().unwrap();
    assert!(actions.contains(&"deploy".into()), "{actions:?}");
    let text = definition.to_string();
    for unwanted in ["$ref", "$schema", "\"format\":\"uint", "definitions"] {
        assert!(!text.contains(unwanted), "{unwanted} in {text}");
    }
}

#[test]
fn an_object_is_the_document_and_the_document_an_object() {
    let mut document = BlueGreen::named("shop");
    document.metadata.namespace = Some("jadevectordb-system".into());
    document.spec.version = "2.0.0".into();
    let object = object_of(&document);
    assert_eq!(object.document().unwrap(), document);
    let json = serde_json::to_value(&object).unwrap();
    assert_eq!((&json["apiVersion"], &json["kind"]), (&"jadevectordb.io/v1alpha1".into(), &"BlueGreen".into()));
    let bad = BlueGreenObject { spec: json!({"replicas": 0}), ..object };
    assert!(bad.document().unwrap_err().to_string().contains("spec.replicas: 0 is not allowed"));
}
