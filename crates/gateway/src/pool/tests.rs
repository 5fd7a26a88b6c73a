use super::*;
use std::net::TcpListener;
use std::sync::atomic::AtomicUsize;
use std::task::Wake;

struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn backend(listener: &TcpListener) -> Arc<Backend> {
    Arc::new(Backend::new(Colour::Blue, listener.local_addr().unwrap(), Arc::new(Limits::default())))
}

/// A connection that rests in the pool, and its other end.
async fn pooled(backend: &Arc<Backend>, listener: &TcpListener) -> std::net::TcpStream {
    let mut upstream = backend.connect().await.unwrap();
    assert!(upstream.link.rests(false));
    upstream.release();
    listener.accept().unwrap().0
}

/// One thread, and no await between the close and the look: the runtime cannot have heard of the close.
#[tokio::test]
async fn a_probe_sees_a_close_that_the_runtime_has_not_seen() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let backend = backend(&listener);
    let peer = pooled(&backend, &listener).await;
    let upstream = backend.take_idle(true).expect("an open connection passes the probe");
    upstream.release();
    drop(peer);
    assert!(backend.take_idle(true).is_none());

    let mut peer = pooled(&backend, &listener).await;
    std::io::Write::write_all(&mut peer, b"nobody asked").unwrap();
    assert!(backend.take_idle(true).is_none());
}

#[tokio::test]
async fn ending_all_wakes_who_waits_for_an_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let backend = backend(&listener);
    let mut upstream = backend.connect().await.unwrap();
    let count = Arc::new(Count(AtomicUsize::new(0)));
    let waker = Waker::from(count.clone());
    upstream.drive(&mut Context::from_waker(&waker));
    backend.end_all();
    assert_eq!(count.0.load(Ordering::SeqCst), 1);
    upstream.drive(&mut Context::from_waker(&waker));
    assert!(upstream.link.connection.is_none());
}

#[tokio::test]
async fn idle_connections_are_bounded_and_not_taken_back_after_a_drain() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let limits = Limits { idle_upstream_max: 2, ..Limits::default() };
    let backend = Arc::new(Backend::new(Colour::Green, listener.local_addr().unwrap(), Arc::new(limits)));
    let _peers = [pooled(&backend, &listener).await, pooled(&backend, &listener).await];
    let _over = pooled(&backend, &listener).await;
    assert_eq!(backend.links.len(), 2);
    let in_use = backend.take_idle(false).unwrap();
    backend.drain();
    assert_eq!(backend.links.len(), 1);
    in_use.release();
    assert_eq!(backend.links.len(), 0);
}
