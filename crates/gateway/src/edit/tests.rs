use super::*;
use http::Request;

fn head(version: Version, uri: &str, headers: &[(&str, &str)]) -> request::Parts {
    let mut builder = Request::builder().version(version).uri(uri);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(()).unwrap().into_parts().0
}

fn edited(mut parts: request::Parts) -> Result<request::Parts, Refusal> {
    request_head(&mut parts, &HeaderValue::from_static("9.9.9.9"), &HeaderValue::from_static("gateway:80"))?;
    Ok(parts)
}

#[test]
fn fields_of_one_connection_are_removed() {
    let headers = [
        ("host", "h"),
        ("connection", "keep-alive, X-Secret"),
        ("connection", "host, content-length"),
        ("x-secret", "1"),
        ("keep-alive", "timeout=5"),
        ("te", "trailers"),
        ("upgrade", "websocket"),
        ("proxy-authorization", "Basic x"),
        ("expect", "100-continue"),
        ("content-length", "3"),
        ("accept", "*/*"),
    ];
    let parts = edited(head(Version::HTTP_11, "/a%2Fb?q=%20", &headers)).unwrap();
    let mut left: Vec<&str> = parts.headers.keys().map(HeaderName::as_str).collect();
    left.sort_unstable();
    assert_eq!(left, ["accept", "content-length", "host", "x-forwarded-for"]);
    assert_eq!(parts.uri, "/a%2Fb?q=%20");
}

#[test]
fn the_peer_is_appended_to_what_came() {
    let headers = [("host", "h"), ("x-forwarded-for", "1.1.1.1, 2.2.2.2"), ("x-forwarded-for", "3.3.3.3")];
    let parts = edited(head(Version::HTTP_11, "/", &headers)).unwrap();
    let values: Vec<_> = parts.headers.get_all("x-forwarded-for").iter().collect();
    assert_eq!(values, ["1.1.1.1, 2.2.2.2, 3.3.3.3, 9.9.9.9"]);
}

#[test]
fn absolute_form_becomes_origin_form_and_names_the_host() {
    let parts = edited(head(Version::HTTP_11, "http://db.example:8080/x?y=1", &[("host", "other")])).unwrap();
    assert_eq!(
        (parts.uri.to_string().as_str(), &parts.headers["host"]),
        ("/x?y=1", &HeaderValue::from_static("db.example:8080"))
    );
}

#[test]
fn host_is_required_once_except_from_old_clients() {
    assert!(edited(head(Version::HTTP_11, "/", &[])).unwrap_err().error.contains("host"));
    assert!(edited(head(Version::HTTP_11, "/", &[("host", "a"), ("host", "b")])).is_err());
    let parts = edited(head(Version::HTTP_10, "/", &[])).unwrap();
    assert_eq!((parts.version, &parts.headers["host"]), (Version::HTTP_11, &HeaderValue::from_static("gateway:80")));
}

#[test]
fn the_canary_header_is_exact() {
    let wanted = |values: &[&str]| {
        let mut headers = HeaderMap::new();
        values.iter().for_each(|value| {
            headers.append("canary", value.parse().unwrap());
        });
        wanted_colour(&headers).map_err(|refusal| refusal.error)
    };
    assert_eq!(wanted(&[]), Ok(None));
    assert_eq!(wanted(&["green"]), Ok(Some(Colour::Green)));
    assert_eq!(wanted(&["blue", "blue"]), Ok(Some(Colour::Blue)));
    assert!(wanted(&["Green"]).unwrap_err().starts_with("header canary: `Green` is not an environment"));
    assert!(wanted(&["blue", "green"]).unwrap_err().contains("both"));
    assert!(wanted(&[&"x".repeat(5_000)]).unwrap_err().len() < 200);
}

#[test]
fn an_answer_keeps_its_fields_and_says_its_colour() {
    let response = http::Response::builder()
        .version(Version::HTTP_10)
        .header("connection", "close")
        .header("jadeshift-colour", "forged")
        .header("etag", "\"1\"")
        .body(())
        .unwrap();
    let mut parts = response.into_parts().0;
    response_head(&mut parts, Colour::Green);
    assert_eq!(parts.version, Version::HTTP_11);
    assert_eq!(parts.headers.len(), 2);
    assert_eq!(
        (&parts.headers["jadeshift-colour"], &parts.headers["etag"]),
        (&HeaderValue::from_static("green"), &HeaderValue::from_static("\"1\""))
    );
}
