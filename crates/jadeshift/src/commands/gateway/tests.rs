use super::*;
use axum::body::Body;
use axum::http::Request;
use std::net::{Ipv4Addr, SocketAddr};
use tower::ServiceExt;

const TOKEN: &str = "secret";

async fn started() -> Arc<Control> {
    let options = GatewayOptions::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let gateway = Gateway::start(options).await.unwrap();
    Arc::new(Control { gateway, token: TOKEN.into(), has_begun: AtomicBool::new(false) })
}

/// Status of an answer, and its text.
async fn ask(control: &Arc<Control>, request: Request<Body>) -> (u16, String) {
    let answer = router(control.clone()).oneshot(request).await.unwrap();
    let status = answer.status().as_u16();
    let body = axum::body::to_bytes(answer.into_body(), BODY_BYTES_MAX).await.unwrap();
    (status, String::from_utf8_lossy(&body).into_owned())
}

async fn get_from(control: &Arc<Control>, path: &str) -> (u16, String) {
    ask(control, Request::get(path).body(Body::empty()).unwrap()).await
}

async fn tell(control: &Arc<Control>, token: &str, body: impl Into<Body>) -> (u16, String) {
    let request = Request::put("/gateway/v1/routing").header("authorization", format!("Bearer {token}"));
    ask(control, request.body(body.into()).unwrap()).await
}

/// Blue at a port, or nobody at all.
fn routing(generation: u64, port: Option<u16>) -> Routing {
    let nobody = Routing { generation, ..Routing::default() };
    let at = |port| Routing::only(Colour::Blue, SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    port.map_or(nobody, |port| Routing { generation, ..at(port) })
}

fn written(routing: &Routing) -> String {
    serde_json::to_string(routing).unwrap()
}

#[tokio::test]
async fn it_is_ready_from_the_first_backend_on_and_stays_so_when_nobody_is_left() {
    let control = started().await;
    assert_eq!(get_from(&control, "/healthz").await.0, 200);
    assert_eq!(get_from(&control, "/readyz").await.0, 503);
    assert_eq!(tell(&control, TOKEN, written(&routing(1, None))).await.0, 204);
    assert_eq!(get_from(&control, "/readyz").await.0, 503, "it was told that nobody is there yet");
    assert_eq!(tell(&control, TOKEN, written(&routing(2, Some(9)))).await.0, 204);
    assert_eq!(get_from(&control, "/readyz").await.0, 200);
    assert_eq!(tell(&control, TOKEN, written(&routing(3, None))).await.0, 204);
    assert_eq!(get_from(&control, "/readyz").await.0, 200, "requests wait here, and are not refused at the door");
    assert_eq!(control.gateway.routing(), routing(3, None));
}

#[tokio::test]
async fn only_who_knows_the_token_may_say_or_see_where_requests_go() {
    let control = started().await;
    for token in ["", "wrong", "secre", "secret1"] {
        assert_eq!(tell(&control, token, written(&routing(1, Some(9)))).await.0, 401, "{token}");
    }
    assert_eq!(get_from(&control, "/gateway/v1/routing").await.0, 401);
    assert_eq!(control.gateway.routing().generation, 0, "nothing was changed");
}

#[tokio::test]
async fn what_an_operator_says_whose_time_is_over_changes_nothing() {
    let control = started().await;
    assert_eq!(tell(&control, TOKEN, written(&routing(5, Some(9)))).await.0, 204);
    let (status, why) = tell(&control, TOKEN, written(&routing(4, Some(8)))).await;
    assert_eq!((status, why.trim()), (409, "generation 4 is over, 5 is in force"));
    let (status, why) = tell(&control, TOKEN, "{").await;
    assert_eq!(status, 400, "{why}");
    assert!(why.starts_with("the routing cannot be read: "), "{why}");
    assert_eq!(control.gateway.routing(), routing(5, Some(9)));
}
