//! A bad network: passes bytes on to a node, and cuts or damages what the node answers.

use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use wire::admin::Peer;

pub struct Cutter {
    pub peer: Peer,
    line: Arc<Line>,
    accepting: tokio::task::JoinHandle<()>,
}

struct Line {
    target: Mutex<String>,
    /// Bytes of answers that a connection passes on before it is cut; 0 refuses every connection.
    cut_after: AtomicU64,
    /// Distance into a connection's answers at which one bit is turned, once.
    damage_at: AtomicU64,
    passed: AtomicU64,
    cuts: AtomicU64,
}

impl Cutter {
    pub async fn start(target: &Peer, cut_after: u64) -> Cutter {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let admin = listener.local_addr().unwrap().to_string();
        let line = Arc::new(Line {
            target: Mutex::new(target.admin.clone()),
            cut_after: cut_after.into(),
            damage_at: u64::MAX.into(),
            passed: 0.into(),
            cuts: 0.into(),
        });
        let accepted = line.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(pass(near, accepted.clone()));
            }
        });
        Cutter { peer: Peer { admin, http: target.http.clone() }, line, accepting }
    }

    pub fn set_target(&self, target: &Peer) {
        *self.line.target.lock() = target.admin.clone();
    }

    pub fn cut_after(&self, bytes: u64) {
        self.line.cut_after.store(bytes, Ordering::SeqCst);
    }

    pub fn damage_at(&self, bytes: u64) {
        self.line.damage_at.store(bytes, Ordering::SeqCst);
    }

    pub fn damaged(&self) -> bool {
        self.line.damage_at.load(Ordering::SeqCst) == u64::MAX
    }

    pub fn passed(&self) -> u64 {
        self.line.passed.load(Ordering::SeqCst)
    }

    pub fn cuts(&self) -> u64 {
        self.line.cuts.load(Ordering::SeqCst)
    }
}

impl Drop for Cutter {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn pass(mut near: TcpStream, line: Arc<Line>) {
    let target = line.target.lock().clone();
    if line.cut_after.load(Ordering::SeqCst) == 0 {
        return;
    }
    let Ok(mut far) = TcpStream::connect(&target).await else { return };
    let (mut asked, mut answered) = (vec![0; 16 << 10], vec![0; 64 << 10]);
    let mut passed = 0;
    loop {
        tokio::select! {
            count = near.read(&mut asked) => match count {
                Ok(count) if count > 0 && far.write_all(&asked[..count]).await.is_ok() => {}
                _ => return,
            },
            count = far.read(&mut answered) => {
                let Ok(count @ 1..) = count else { return };
                let answer = &mut answered[..count];
                let (from, damage_at) = (passed, line.damage_at.load(Ordering::SeqCst));
                passed += count as u64;
                if (from..passed).contains(&damage_at) {
                    answer[(damage_at - from) as usize] ^= 0x10;
                    line.damage_at.store(u64::MAX, Ordering::SeqCst);
                }
                line.passed.fetch_add(count as u64, Ordering::SeqCst);
                if near.write_all(answer).await.is_err() {
                    return;
                }
                if passed >= line.cut_after.load(Ordering::SeqCst) {
                    line.cuts.fetch_add(1, Ordering::SeqCst);
                    return;
                }
            }
        }
    }
}
