use super::*;

#[derive(Debug, Deserialize)]
struct Sample<'a> {
    #[serde(borrow, default)]
    name: Field<'a>,
    #[serde(borrow, default)]
    values: Field<'a>,
}

fn refusal(body: &str) -> String {
    parse::<Sample<'_>>(body.as_bytes()).unwrap_err().to_string()
}

#[test]
fn fields_are_read_as_they_were_sent() {
    let sample: Sample<'_> = parse(br#" {"values":[1, 2.50],"other":{},"name":null} "#).unwrap();
    assert_eq!(sample.values.unwrap().get(), "[1, 2.50]");
    assert!(sample.name.is_none());
}

#[test]
fn malformed_json_is_named_with_line_and_column() {
    assert_eq!(refusal(""), "the body is empty, it must be a JSON object");
    assert_eq!(
        refusal("{\"name\": \"x\",\n  oops}"),
        "the body is not valid JSON: key must be a string at line 2 column 3"
    );
    assert!(refusal("{\"name\"").contains("EOF while parsing an object at line 1 column 7"));
    assert!(refusal("[1]").starts_with("the body has the wrong shape: invalid type: sequence, expected a JSON object"));
    assert!(refusal("{\"name\":1,\"name\":2}").contains("duplicate field `name`"));
    let not_utf8 = parse::<Sample<'_>>(b"{\"name\":\"\xff\"}").unwrap_err().to_string();
    assert_eq!(not_utf8, "the body is not UTF-8: the byte at 9 does not belong there");
}

#[test]
fn numbers_that_are_none_are_named_with_their_place() {
    for (literal, name) in [("NaN", "NaN"), ("Infinity", "Infinity"), ("-Infinity", "-Infinity"), ("nan", "NaN")] {
        let refusal = refusal(&format!("{{\"name\":\"a,[b\",\"values\":[0.5, 1e3, {literal}, 4]}}"));
        assert!(refusal.starts_with(&format!("JSON has no {name} (values[2], line 1 column ")), "{refusal}");
    }
    assert!(refusal("{\"values\":\nNaN}").starts_with("JSON has no NaN (line 2 column "));
}

#[test]
fn fields_say_what_they_must_be() {
    let raw = |json: &'static str| Some(serde_json::from_str::<&RawValue>(json).unwrap());
    let says = |problem: Problem| problem.to_string();
    assert_eq!(text("a", raw("\"b\"")).unwrap().unwrap(), "b");
    assert_eq!(text("a", raw("\"\\u00e4\\n\"")).unwrap().unwrap(), "ä\n");
    assert_eq!(says(text("a", raw("5")).unwrap_err()), "`a` must be a string, got 5");
    assert!(says(text("a", raw("\"\\ud800\"")).unwrap_err()).starts_with("`a` is not a valid string"));
    assert_eq!(says(required_text("a", None, 9).unwrap_err()), "`a` is required: a non-empty string");
    assert_eq!(says(required_text("a", raw("\"\""), 9).unwrap_err()), "`a` is empty, it must have 1 to 9 bytes");
    assert_eq!(says(required_text("a", raw("\"1234\""), 3).unwrap_err()), "`a` has 4 bytes, the limit is 3");
    assert_eq!(whole("k", raw("7.9"), 1..=10).unwrap(), Some(7));
    for bad in ["0.5", "11", "\"5\"", "-1", "null1e999"] {
        let Ok(bad) = serde_json::from_str::<&RawValue>(bad) else { continue };
        let refused = says(whole("k", Some(bad), 1..=10).unwrap_err());
        assert_eq!(refused, format!("`k` must be a whole number from 1 to 10, got {}", bad.get()));
    }
    assert_eq!(flag("f", raw("true")).unwrap(), Some(true));
    assert_eq!(says(flag("f", raw("1")).unwrap_err()), "`f` must be true or false, got 1");
    assert_eq!(says(number("n", raw("[]")).unwrap_err()), "`n` must be a number, got []");
    assert_eq!(texts("l", raw("[\"a\",\"b\"]")).unwrap().unwrap(), ["a", "b"]);
    assert_eq!(says(texts("l", raw("[\"a\",2]")).unwrap_err()), "`l[1]` must be a string, got 2");
    assert_eq!(says(floats("v", None, 0).unwrap_err()), "`v` is required: an array of numbers");
    assert_eq!(says(floats("v", raw("{}"), 0).unwrap_err()), "`v` must be an array of numbers, got an object");
    assert_eq!(says(floats("v", raw("[1,{}]"), 0).unwrap_err()), "v[1] must be a number, got an object");
}
