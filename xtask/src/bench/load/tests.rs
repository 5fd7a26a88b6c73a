use super::*;
use crate::serve::Echo;

fn plan(address: SocketAddr, until: Until) -> Plan {
    Plan { addresses: vec![address], clients: 4, until, expected_status: 200 }
}

fn get(path: &'static str) -> impl Fn(u64, &mut Vec<u8>) + Send + Sync + 'static {
    move |_, out| write_request("GET", path, "test", Some("secret"), &[], out)
}

#[tokio::test]
async fn counts_every_request_once() {
    let echo = Echo::start("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let numbers = Arc::new(AtomicU64::new(0));
    let seen = numbers.clone();
    let request = move |number: u64, out: &mut Vec<u8>| {
        seen.fetch_add(number, Ordering::Relaxed);
        write_request("POST", "/v1/any", "test", None, number.to_string().as_bytes(), out);
    };
    let plan = plan(echo.address(), Until::Requests(500, Duration::from_secs(30)));
    let outcome = run(&plan, request).await.unwrap().all_answered("test").unwrap();
    assert_eq!((outcome.answered, outcome.failed, outcome.latency_us.len()), (500, 0, 500));
    assert_eq!(numbers.load(Ordering::Relaxed), 499 * 500 / 2);
}

#[tokio::test]
async fn ends_by_time() {
    let echo = Echo::start("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let outcome = run(&plan(echo.address(), Until::Elapsed(Duration::from_millis(100))), get("/health")).await.unwrap();
    assert!(outcome.answered > 0);
    assert!(outcome.elapsed >= Duration::from_millis(100));
}

#[tokio::test]
async fn failures_are_counted_named_and_bounded() {
    let echo = Echo::start("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let mut other_status = plan(echo.address(), Until::Requests(1_000, Duration::from_secs(30)));
    other_status.expected_status = 201;
    let outcome = run(&other_status, get("/health")).await.unwrap();
    assert_eq!((outcome.answered, outcome.failed), (0, 4 * u64::from(FAILURES_IN_A_ROW_MAX)));
    assert!(outcome.all_answered("health").err().unwrap().to_string().contains("status 200"));
}

#[tokio::test]
async fn connects_again_after_the_server_closed() {
    let echo = Echo::start("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let mut connection = Connection::open(echo.address()).await.unwrap();
    let closing = b"GET /close HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n";
    assert_eq!(connection.exchange(closing).await.unwrap().0, 200);
    assert!(connection.stream.is_none());
    assert_eq!(connection.exchange(closing).await.unwrap().0, 200);
}

#[test]
fn heads_are_parsed_when_complete() {
    assert_eq!(parse_head(b"HTTP/1.1 200 OK\r\ncontent-le").unwrap(), None);
    let head =
        parse_head(b"HTTP/1.1 201 Created\r\nContent-Length: 12\r\nConnection: Close\r\n\r\n{").unwrap().unwrap();
    assert_eq!((head.status, head.body_bytes, head.closes), (201, 12, true));
    assert_eq!(parse_head(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap().unwrap().body_bytes, 0);
    let chunked = parse_head(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
    assert!(chunked.unwrap_err().to_string().contains("content-length"));
    assert!(parse_head(b"SSH-2.0\r\n\r\n").is_err());
}
