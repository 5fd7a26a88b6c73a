use super::*;

fn find<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let found = objects.iter().find(|object| object["kind"] == kind && object["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("{kind} {name} is missing"))
}

#[test]
fn the_definition_comes_first_and_the_operator_last() {
    let objects = Install::default().objects();
    assert_eq!(objects[0]["kind"], "CustomResourceDefinition");
    assert_eq!(objects[objects.len() - 1]["kind"], "Deployment");
}

#[test]
fn nobody_may_delete_data_or_read_more_than_is_needed() {
    let objects = Install::default().objects();
    let role = find(&objects, "ClusterRole", "jadeshift-operator");
    for rule in role["rules"].as_array().unwrap() {
        let of = |name: &str| rule["resources"].as_array().unwrap().iter().any(|resource| resource == name);
        let may = |verb: &str| rule["verbs"].as_array().unwrap().iter().any(|allowed| allowed == verb);
        assert!(!may("*") && !of("*"), "{rule}");
        assert!(!(of("persistentvolumeclaims") && (may("delete") || may("deletecollection"))), "{rule}");
        assert!(!(of("secrets") && (may("list") || may("watch"))), "{rule}");
    }
}

#[test]
fn for_one_namespace_its_rights_are_there_only() {
    let install = Install { only: Some("shop".into()), ..Install::default() };
    let objects = install.objects();
    assert_eq!(find(&objects, "Role", "jadeshift-operator")["metadata"]["namespace"], "shop");
    assert_eq!(find(&objects, "RoleBinding", "jadeshift-operator")["roleRef"]["kind"], "Role");
    let args = &find(&objects, "Deployment", "jadeshift-operator")["spec"]["template"]["spec"]["containers"][0]["args"];
    assert!(args.as_array().unwrap().contains(&"shop".into()), "{args}");
}
