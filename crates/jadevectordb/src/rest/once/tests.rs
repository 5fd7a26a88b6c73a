use super::*;
use crate::account::{Token, User};
use crate::auth::RateLimits;
use crate::config::{Config, Limits};
use crate::engine::Node;
use crate::fault::Faults;
use crate::rest::Routes;
use crate::rest::gate::Kind;
use crate::surroundings::Surroundings;
use wire::document::{Index, Mode};

fn read(values: &[&[u8]]) -> Result<Option<String>, String> {
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append(IDEMPOTENCY_KEY, http::HeaderValue::from_bytes(value).unwrap());
    }
    given(&headers).map(|key| key.map(str::to_owned)).map_err(|problem| problem.to_string())
}

#[test]
fn a_key_is_printable_and_short() {
    let longest = [b'~'; 255];
    assert_eq!(read(&[]), Ok(None));
    for key in [&b"a"[..], b"8e03978e-40d5-43e8-bc93-6894a57f9326", b"\"quoted \"", &longest] {
        assert_eq!(read(&[key]), Ok(Some(String::from_utf8(key.to_vec()).unwrap())));
    }
    let rule = "it must have 1 to 255 printable ASCII characters";
    for (values, what) in [
        (&[&b""[..]][..], "has 0 characters"),
        (&[&[b'a'; 256]], "has 256 characters"),
        (&[b"a\tb"], "has the byte 0x09 at position 1"),
        (&[b"\xc3\xa4"], "has the byte 0xc3 at position 0"),
        (&[b"a", b"a"], "is there more than once"),
    ] {
        assert_eq!(read(values), Err(format!("the header idempotency-key {what}: {rule}")));
    }
}

#[test]
fn where_parts_end_counts() {
    let context = "a context of the tests";
    assert_ne!(hash(context, &[b"ab", b"c"]), hash(context, &[b"a", b"bc"]));
    assert_eq!(hash(context, &[b"ab", b"c"]), hash(context, &[b"ab", b"c"]));
}

#[test]
fn a_long_answer_is_not_kept() {
    let key = RequestKey { key: [1; 32], request: [2; 32] };
    for (bytes, kept) in [(ANSWER_BYTES_MAX, true), (ANSWER_BYTES_MAX + 1, false)] {
        let answer = Answer::json(StatusCode::CREATED, vec![b' '; bytes]);
        let answered = key.answered(&answer, 7);
        assert_eq!((answered.status, answered.at_ms, answered.body == answer.body), (201, 7, kept));
        assert!(kept || serde_json::from_slice::<serde_json::Value>(&answered.body).is_ok());
    }
}

/// A node with one user, and a route of the test's own.
async fn serve<H, F>(dir: &tempfile::TempDir, handler: H) -> (Node, std::net::SocketAddr)
where
    H: Fn(Arc<Rest>, Arc<Call>, Caller) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Outcome> + Send + 'static,
{
    let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let config = Config {
        data_dir: dir.path().to_path_buf(),
        http: any,
        admin: any,
        version: "1.0.0".into(),
        admin_token: "secret".into(),
        join: false,
        index: Index::default(),
        record_format: crate::record::FORMAT_MAX,
        faults: Faults::default(),
        mode: Mode::Development,
        limits: Limits::default(),
        surroundings: Surroundings::default(),
    };
    let node = Node::open(config).unwrap();
    let user = User {
        user_id: "u".into(),
        username: "u".into(),
        email: String::new(),
        password_hash: String::new(),
        roles: Vec::new(),
        is_active: true,
        must_change_password: false,
        created_ms: 1,
    };
    node.write(Op::PutUser(user)).await.unwrap();
    let token_hash = crate::auth::secret::hash("token");
    let token = Token { token_hash, user_id: "u".into(), created_ms: 1, expires_ms: u64::MAX };
    node.write(Op::PutToken(token)).await.unwrap();
    let rest = Arc::new(Rest::new(node.clone(), RateLimits::default()));
    let routes = Routes { rest, router: axum::Router::new() };
    let router = routes.on(Kind::Write, Method::POST, "/v1/test", Access::User, handler).finish();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stopping = node.clone();
    tokio::spawn(crate::rest::serve(listener, router, node.shed(), async move { stopping.until_shutdown().await }));
    (node, address)
}

async fn post(address: std::net::SocketAddr, key: &str) -> client::JsonResponse {
    let request = hyper::Request::builder().method("POST").uri(format!("http://{address}/v1/test"));
    let request = request.header("authorization", "Bearer token").header(IDEMPOTENCY_KEY, key);
    let request = request.body(http_body_util::Full::new(Bytes::from_static(b"{}"))).unwrap();
    client::Http::new().whole(request, Duration::from_secs(10), 1 << 20).await.unwrap()
}

/// The worst moment: the first request is applied between this one's look for its key and its handler's look at the data.
#[tokio::test(flavor = "multi_thread")]
async fn who_fails_because_of_its_own_first_attempt_gets_that_ones_answer() {
    let dir = tempfile::TempDir::new().unwrap();
    let overtaken = async |rest: Arc<Rest>, call: Arc<Call>, _caller: Caller| -> Outcome {
        let first = Answer::json(StatusCode::CREATED, "{\"first\":true}");
        match call.header(IDEMPOTENCY_KEY) {
            Some("overtaken") => write(&rest, &call, Op::Marker, Condition::None, &first).await.map(|_| ())?,
            _ => rest.node.write(Op::Marker).await.map(|_| ())?,
        }
        Err(Problem::NotFound("nothing is there any more".into()))
    };
    let handler = move |rest, call, caller| Box::pin(overtaken(rest, call, caller));
    let (node, address) = serve(&dir, handler).await;
    let reply = post(address, "overtaken").await;
    assert_eq!((reply.status, &reply.body[..]), (201, &b"{\"first\":true}"[..]));
    assert_eq!(reply.headers["jadevectordb-lsn"], node.lsn().to_string());
    // Without a first attempt a failure is a failure.
    assert_eq!(post(address, "alone").await.status, 404);
    tokio::task::spawn_blocking(move || node.close()).await.unwrap();
}
