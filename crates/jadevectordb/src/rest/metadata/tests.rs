use super::*;

fn raw(json: &str) -> Field<'_> {
    Some(serde_json::from_str(json).unwrap())
}

fn stored(json: &str) -> String {
    canonical("metadata", raw(json), 1_000).unwrap()
}

fn refusal(json: &str) -> String {
    canonical("metadata", raw(json), 1_000).unwrap_err().to_string()
}

#[test]
fn everything_that_was_sent_is_kept_in_one_order() {
    let sent =
        r#" { "z" : [1.50, {"b":2,"a":null}], "a" : "\u00e4\n", "n": 123456789012345678901234567890, "t":true } "#;
    assert_eq!(stored(sent), r#"{"a":"ä\n","n":123456789012345678901234567890,"t":true,"z":[1.50,{"a":null,"b":2}]}"#);
    assert_eq!(stored(r#"{"a":1,"a":2}"#), r#"{"a":2}"#);
    assert_eq!(stored("{}"), "");
    assert_eq!(canonical("metadata", None, 9).unwrap(), "");
}

#[test]
fn what_cannot_be_metadata_is_refused_by_name() {
    assert_eq!(refusal("[1]"), "`metadata` must be an object, got an array");
    assert_eq!(refusal("\"x\""), "`metadata` must be an object, got a string");
    let long = format!("{{\"a\":\"{}\"}}", "x".repeat(1_000));
    assert_eq!(refusal(&long), "`metadata` has 1008 bytes as JSON, the limit is 1000");
    let deep = format!("{{\"a\":{}1{}}}", "[".repeat(40), "]".repeat(40));
    assert_eq!(refusal(&deep), "`metadata` is nested more than 32 deep");
    assert!(refusal(r#"{"a":"\ud800"}"#).starts_with("`metadata` cannot be read"));
    assert_eq!(
        refusal(r#"{"status":"open"}"#),
        "`metadata.status` is \"open\", it must be one of active, archived, deleted"
    );
    assert_eq!(stored(r#"{"status":"archived"}"#), r#"{"status":"archived"}"#);
    assert_eq!(stored(r#"{"a":{"status":"open"}}"#), r#"{"a":{"status":"open"}}"#);
}

#[test]
fn a_search_shows_four_keys_flat_and_the_others_under_custom() {
    let mut out = Vec::new();
    write_for_search(&mut out, r#"{"category":"x","k\"ey":[1],"year":2020}"#);
    let shown: serde_json::Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(shown["category"], "x");
    assert_eq!(shown["source"], "");
    assert_eq!(shown["custom"], serde_json::json!({"k\"ey": [1], "year": 2020}));
    out.clear();
    write_for_search(&mut out, "");
    let shown: serde_json::Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(shown["custom"], serde_json::json!({}));
}

#[test]
fn a_filter_wants_every_key_with_an_equal_value() {
    let metadata = stored(r#"{"section":"admin","year":2020,"live":true,"tags":["a","b"],"text":"2020"}"#);
    let admits = |filter: &str| Filter::parse(raw(filter)).unwrap().admits(&metadata);
    for admitted in [
        "{}",
        r#"{"section":"admin"}"#,
        r#"{"section":"admin","year":2020.0}"#,
        r#"{"year":"2020"}"#,
        r#"{"text":2020}"#,
        r#"{"live":"True"}"#,
        r#"{"tags":["a", "b"]}"#,
    ] {
        assert!(admits(admitted), "{admitted}");
    }
    for refused in
        [r#"{"section":"net"}"#, r#"{"section":"admin","year":2021}"#, r#"{"none":null}"#, r#"{"tags":["b","a"]}"#]
    {
        assert!(!admits(refused), "{refused}");
    }
    assert!(!Filter::parse(raw(r#"{"a":1}"#)).unwrap().admits(""));
}

#[test]
fn a_filter_that_asks_for_more_than_equality_is_refused() {
    let refusal = |filter: &str| Filter::parse(raw(filter)).unwrap_err().to_string();
    assert_eq!(refusal("[]"), "`filters` must be an object of key and value, got an array");
    assert_eq!(refusal(r#"{"year":{"$gt":5}}"#), "`filters` compare by equality, `year` asks for more: {\"$gt\":5}");
    assert!(refusal(r#"{"$or":[]}"#).contains("`$or`"));
}
