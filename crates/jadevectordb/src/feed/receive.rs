//! Taking a feed in. While one group of records is on its way to the disk the next one gathers, as on the primary: a
//! follower that has fallen behind takes more with each group, and so catches up.

use super::Announcement;
use super::follow::{FollowError, Stuck};
use crate::engine::{Node, RoleError};
use crate::record::{self, Op};
use bytes::Bytes;
use changelog::{Frame, FrameDecoder};
use http_body_util::BodyExt;
use std::pin::Pin;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use wire::admin::Peer;
use wire::headers::{WIRE_VERSION, WIRE_VERSION_MIN};

/// Thirty announcements missed.
const SILENCE_MAX: Duration = Duration::from_secs(3);
/// Bytes of the feed that gather while a group is on its way; what comes then stays with the sender.
const GATHERED_BYTES_MAX: usize = 1 << 20;

/// Applies what comes, until it ends.
pub(super) async fn receive(
    node: &Node,
    primary: &Peer,
    cluster_id: &str,
    stuck: &Stuck,
    stream: client::StreamingResponse,
    confirm_wanted: &watch::Sender<bool>,
) -> Result<String, FollowError> {
    let mut body = stream.into_body();
    let mut receiver =
        Receiver { node, primary, cluster_id, stuck, confirm_wanted, gathered: Gathered::default(), under_way: None };
    let mut decoder = FrameDecoder::new();
    let mut heard = Instant::now();
    let mut caught_up = heard;
    let end = loop {
        receiver.hand_over();
        let has_room = receiver.gathered.bytes < GATHERED_BYTES_MAX;
        tokio::select! {
            biased;
            applied = receiver.applied(), if receiver.under_way.is_some() => {
                applied?;
                if !has_room {
                    // The silence was on this side.
                    heard = Instant::now();
                }
            }
            piece = tokio::time::timeout_at(heard + SILENCE_MAX, body.frame()), if has_room => {
                let piece = match piece {
                    Err(_) => break Ok(format!("{} was silent for {} ms", primary.admin, SILENCE_MAX.as_millis())),
                    Ok(None) => break Ok(format!("{} ended the feed", primary.admin)),
                    Ok(Some(Err(error))) => break Ok(format!("{} broke off: {error}", primary.admin)),
                    Ok(Some(Ok(frame))) => frame,
                };
                heard = Instant::now();
                if let Ok(piece) = piece.into_data()
                    && let Err(error) = receiver.gather(&mut decoder, &piece)
                {
                    break Err(error);
                }
            }
        }
        receiver.tell(&mut caught_up);
    };
    // What came before the end, or before something that cannot be read, is applied all the same.
    while receiver.hand_over() {
        receiver.applied().await?;
    }
    end
}

/// Records that were received and are not yet with the writer.
#[derive(Default)]
struct Gathered {
    records: Vec<(Frame, Op)>,
    bytes: usize,
}

type UnderWay<'a> = dyn Future<Output = Result<(), RoleError>> + Send + 'a;

struct Receiver<'a> {
    node: &'a Node,
    primary: &'a Peer,
    cluster_id: &'a str,
    stuck: &'a Stuck,
    confirm_wanted: &'a watch::Sender<bool>,
    gathered: Gathered,
    /// The group that the writer has now.
    under_way: Option<Pin<Box<UnderWay<'a>>>>,
}

impl Receiver<'_> {
    /// Gives the writer what has gathered, unless it has a group already; false when it has nothing.
    fn hand_over(&mut self) -> bool {
        if self.under_way.is_none() && !self.gathered.records.is_empty() {
            let Gathered { records, .. } = std::mem::take(&mut self.gathered);
            self.under_way = Some(Box::pin(self.node.replicate(self.stuck.session, records)));
        }
        self.under_way.is_some()
    }

    /// Returns when the group under way is applied; at once when there is none.
    async fn applied(&mut self) -> Result<(), FollowError> {
        let Some(under_way) = &mut self.under_way else { return Ok(()) };
        let result = under_way.await;
        self.under_way = None;
        result.map_err(|error| FollowError::Apply { peer: self.primary.admin.clone(), why: error.to_string() })
    }

    fn gather(&mut self, decoder: &mut FrameDecoder, piece: &Bytes) -> Result<(), FollowError> {
        decoder.push(piece);
        self.gathered.bytes += piece.len();
        while let Some(next) = next(self.node, self.primary, decoder)? {
            match next {
                Next::Record(frame, op) => {
                    let mut feed = self.node.shared().feed.lock();
                    feed.primary_lsn = feed.primary_lsn.max(frame.lsn);
                    self.gathered.records.push((frame, op));
                }
                Next::Said(said) => {
                    hear(self.node, self.primary, self.cluster_id, &said)?;
                    let confirm = said.confirm;
                    self.confirm_wanted.send_if_modified(|wanted| std::mem::replace(wanted, confirm) != confirm);
                }
            }
        }
        if self.gathered.records.is_empty() {
            self.gathered.bytes = 0;
        }
        Ok(())
    }

    /// Tells how far behind this node is.
    fn tell(&self, caught_up: &mut Instant) {
        let mut feed = self.node.shared().feed.lock();
        if self.stuck.passed(self.node.lsn(), feed.primary_lsn) {
            feed.connected = true;
            feed.error = None;
        }
        if self.node.lsn() >= feed.primary_lsn {
            *caught_up = Instant::now();
        }
        feed.lag_ms = caught_up.elapsed().as_millis() as u64;
    }
}

/// What stands next in a feed.
enum Next {
    Record(Frame, Op),
    Said(Announcement),
}

fn next(node: &Node, primary: &Peer, decoder: &mut FrameDecoder) -> Result<Option<Next>, FollowError> {
    let unusable = |why: String| FollowError::Unusable { peer: primary.admin.clone(), why };
    let Some(frame) = decoder.next().map_err(|error| unusable(error.to_string()))? else { return Ok(None) };
    if frame.lsn == 0 {
        let said = serde_json::from_slice(&frame.payload).map_err(|error| unusable(error.to_string()))?;
        return Ok(Some(Next::Said(said)));
    }
    match Op::decode_up_to(&frame.payload, node.config().record_format) {
        Ok(op) => Ok(Some(Next::Record(frame, op))),
        Err(error) => {
            let (peer, lsn) = (primary.admin.clone(), frame.lsn);
            Err(FollowError::Unreadable { peer, lsn, why: error.to_string() })
        }
    }
}

/// Takes in an announcement.
fn hear(node: &Node, primary: &Peer, cluster_id: &str, said: &Announcement) -> Result<(), FollowError> {
    let wrong = |why: String| Err(FollowError::Peer { peer: primary.admin.clone(), why });
    if said.cluster_id != cluster_id {
        return wrong(format!("holds another history (`{}`, not `{cluster_id}`)", said.cluster_id));
    }
    if !(WIRE_VERSION_MIN..=WIRE_VERSION).contains(&said.wire_version) {
        return wrong(format!(
            "speaks wire version {}, this node reads {WIRE_VERSION_MIN} to {WIRE_VERSION}",
            said.wire_version
        ));
    }
    if let Err(why) = said.records.for_follower(&record::formats(node.config().record_format)) {
        return wrong(why);
    }
    node.shared().feed.lock().primary_lsn = said.lsn;
    match &said.ends {
        Some(why) => Err(FollowError::Ends { peer: primary.admin.clone(), lsn: node.lsn(), why: why.clone() }),
        None => Ok(()),
    }
}
