//! Two nodes that speak the admin protocol and keep its rules about roles and epochs; a history is only a length.

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use wire::admin::{
    AcknowledgeBy, AcknowledgeCall, AcknowledgeMode, AcknowledgeState, AdminError, AdminErrorCode, BUCKET_SUM_BYTES,
    BUCKETS, Counters, Digest, Epoch, EpochCall, FeedState, Follow, ListedRecord, ListedRecords, Lsn, Marker,
    NodeState, Peer, Promote, RecordVersion, RecordsIn, Rehash, Replay, Replayed, ResumeCall, Role, SampledReads,
    Sealed, Shed,
};
use wire::snapshot::Place;
use wire::{ByColour, Colour, Latency};

/// What a test may make of a node.
#[derive(Clone, Default)]
pub(crate) struct Manners {
    /// Never answers anything.
    pub hangs: bool,
    /// Applies nothing beyond this LSN.
    pub frozen_at: Option<Lsn>,
    pub wrong_digest: bool,
    /// Breaks off in the middle of its bucket sums, or of its list of records.
    pub breaks_sums: bool,
    pub breaks_records: bool,
    pub wrong_results: bool,
    /// Gives its results in the opposite order.
    pub reversed_results: bool,
    /// Time that a live read takes; between two looks it answers 40 of them, and by default none.
    pub read_us: Option<u64>,
    pub refuses_proof: bool,
    /// Confirms nothing to its primary.
    pub confirms_nothing: bool,
    /// Writes under way when a seal comes: they are finished, and acknowledged, before it holds.
    pub finishes_at_seal: Lsn,
    /// Calls that are refused the next time.
    pub refuses_once: Vec<&'static str>,
    /// Calls that are always refused.
    pub refuses: Vec<&'static str>,
    /// Calls that are obeyed the next time, and whose answer is lost.
    pub loses_answer_once: Vec<&'static str>,
    /// Searches that it remembers.
    pub sample: usize,
}

struct FakeNode {
    role: Role,
    epoch_seen: Epoch,
    lsn: Lsn,
    read_latency: Latency,
    manners: Manners,
    acknowledge: AcknowledgeBy,
    /// What it was told about its clients, without repetitions.
    told_to_shed: Vec<bool>,
}

/// Both nodes; cloning gives another handle.
#[derive(Clone)]
pub(crate) struct FakeNodes {
    nodes: Arc<Mutex<ByColour<FakeNode>>>,
    /// Role calls that were obeyed, in order, and broken rules.
    pub calls: Arc<Mutex<Vec<String>>>,
    /// Where each history stood when it was sealed.
    pub seals: Arc<Mutex<Vec<Lsn>>>,
    pub broken: Arc<Mutex<Vec<String>>>,
    pub peers: ByColour<Peer>,
}

/// What a node says of itself that waits to be told what it is.
pub(crate) fn node_state() -> NodeState {
    NodeState {
        cluster_id: "c".into(),
        node_id: String::new(),
        instance: "i".into(),
        version: "v".into(),
        wire_version: 1,
        records: wire::admin::RecordFormats::default(),
        role: Role::Waiting,
        epoch_seen: 0,
        lsn: 0,
        lsn_epoch: 1,
        ready: false,
        failed: None,
        held_writes: 0,
        sheds: false,
        feed: None,
        acknowledge: None,
        dormant: false,
        followers: Vec::new(),
        counters: Counters::default(),
        read_latency: None,
        databases: 1,
        vectors: 10,
        unindexed: 0,
        resident_bytes: 1,
        set_aside: Vec::new(),
    }
}

type Call = (FakeNodes, Colour);

impl FakeNodes {
    /// Blue begins a history, green waits.
    pub async fn start() -> Self {
        let node = |role, epoch_seen| FakeNode {
            role,
            epoch_seen,
            lsn: 0,
            read_latency: Latency::default(),
            manners: Manners { sample: 3, ..Manners::default() },
            acknowledge: AcknowledgeBy::default(),
            told_to_shed: Vec::new(),
        };
        let nodes = ByColour::new(node(Role::Primary { epoch: 1 }, 1), node(Role::Waiting, 0));
        let listeners = ByColour::new(
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
        );
        let peer = |colour| {
            let listener: &TcpListener = listeners.get(colour);
            let address = listener.local_addr().unwrap().to_string();
            Peer { admin: address.clone(), http: address }
        };
        let nodes = Self {
            nodes: Arc::new(Mutex::new(nodes)),
            calls: Arc::default(),
            seals: Arc::default(),
            broken: Arc::default(),
            peers: ByColour::from_fn(peer),
        };
        for (colour, listener) in [(Colour::Blue, listeners.blue), (Colour::Green, listeners.green)] {
            let router = router((nodes.clone(), colour));
            tokio::spawn(async move { axum::serve(listener, router).await });
        }
        nodes
    }

    pub fn change(&self, colour: Colour, change: impl FnOnce(&mut Manners)) {
        change(&mut self.nodes.lock().get_mut(colour).manners);
    }

    pub fn role(&self, colour: Colour) -> Role {
        self.nodes.lock().get(colour).role.clone()
    }

    pub fn lsn(&self, colour: Colour) -> Lsn {
        self.nodes.lock().get(colour).lsn
    }

    /// What it was told about its clients, in order: whether to send them elsewhere.
    pub fn told_to_shed(&self, colour: Colour) -> Vec<bool> {
        self.nodes.lock().get(colour).told_to_shed.clone()
    }

    /// Whether this call is to be refused.
    fn refuses(&self, colour: Colour, call: &str) -> bool {
        let mut nodes = self.nodes.lock();
        let manners = &mut nodes.get_mut(colour).manners;
        manners.refuses.contains(&call) || this_once(&mut manners.refuses_once, call)
    }

    /// Whether the answer to this call is to be lost.
    fn loses_answer(&self, colour: Colour, call: &str) -> bool {
        this_once(&mut self.nodes.lock().get_mut(colour).manners.loses_answer_once, call)
    }

    fn manners(&self, colour: Colour) -> Manners {
        self.nodes.lock().get(colour).manners.clone()
    }

    /// A primary gets three writes each time it is looked at; a follower has everything its primary has.
    fn state(&self, colour: Colour) -> NodeState {
        let mut nodes = self.nodes.lock();
        let source = nodes.get(colour.other());
        let (source_lsn, feeds) = (source.lsn, !matches!(source.role, Role::Follower { .. } | Role::Waiting));
        let confirms = !nodes.get(colour.other()).manners.confirms_nothing;
        let node = nodes.get_mut(colour);
        match node.role {
            Role::Primary { .. } => node.lsn += 3,
            Role::Follower { .. } if feeds => {
                node.lsn = node.lsn.max(source_lsn.min(node.manners.frozen_at.unwrap_or(Lsn::MAX)));
            }
            _ => (),
        }
        let feed = matches!(node.role, Role::Follower { .. }).then_some(FeedState {
            connected: true,
            primary_lsn: source_lsn,
            lag_ms: 0,
            seeding: None,
            error: None,
        });
        if let Some(read_us) = node.manners.read_us {
            (0..40).for_each(|_| node.read_latency.record(read_us));
        }
        NodeState {
            node_id: colour.to_string(),
            counters: Counters { reads: node.read_latency.count(), ..Counters::default() },
            read_latency: Some(node.read_latency.clone()),
            role: node.role.clone(),
            epoch_seen: node.epoch_seen,
            lsn: node.lsn,
            ready: node.role != Role::Waiting,
            sheds: node.told_to_shed.last() == Some(&true),
            feed,
            acknowledge: Some(AcknowledgeState {
                by: node.acknowledge.clone(),
                confirmed_lsn: if confirms { node.lsn } else { 0 },
                holds: confirms && node.acknowledge.mode != AcknowledgeMode::Alone,
                waiting_ms: if confirms { 0 } else { 60_000 },
            }),
            ..node_state()
        }
    }

    /// Changes the role by a rule, unless the epoch is over.
    fn obey(
        &self,
        colour: Colour,
        call: &str,
        epoch: Epoch,
        rule: impl FnOnce(&Role, Lsn) -> Option<Role>,
    ) -> Result<NodeState, AdminError> {
        if self.refuses(colour, call) {
            return Err(refused("not this time"));
        }
        {
            let mut nodes = self.nodes.lock();
            let node = nodes.get_mut(colour);
            let epoch_seen = node.epoch_seen;
            let error = |code, message: String| AdminError { code, message, epoch_seen };
            if epoch < node.epoch_seen {
                return Err(error(AdminErrorCode::StaleEpoch, format!("{call} {epoch} is over")));
            }
            if call == "seal" && matches!(node.role, Role::Primary { .. }) {
                node.lsn += node.manners.finishes_at_seal;
            }
            let Some(role) = rule(&node.role, node.lsn) else {
                return Err(error(AdminErrorCode::WrongState, format!("{call} does not fit {:?}", node.role)));
            };
            if role != node.role {
                self.calls.lock().push(format!("{colour} {call} {epoch}"));
                if let Role::Sealed { lsn, .. } = &role {
                    self.seals.lock().push(*lsn);
                }
            }
            (node.role, node.epoch_seen) = (role, epoch);
            if nodes.iter().all(|(_, node)| matches!(node.role, Role::Primary { .. })) {
                self.broken.lock().push(format!("both are primary after {colour} {call} {epoch}"));
            }
        }
        match self.loses_answer(colour, call) {
            true => Err(refused("this answer is lost")),
            false => Ok(self.state(colour)),
        }
    }

    /// What its writes wait for is changed by a call, and begins with a reign.
    fn acknowledge(&self, colour: Colour, by: AcknowledgeBy) {
        let mut nodes = self.nodes.lock();
        let node = nodes.get_mut(colour);
        if node.acknowledge.mode != by.mode {
            self.calls.lock().push(format!("{colour} acknowledges {:?}", by.mode));
        }
        node.acknowledge = by;
    }

    /// An answer that came too late is asked for again.
    fn shed(&self, colour: Colour, shed: bool) {
        let mut nodes = self.nodes.lock();
        let told = &mut nodes.get_mut(colour).told_to_shed;
        if told.last() != Some(&shed) {
            told.push(shed);
        }
    }

    fn digest(&self, colour: Colour, lsn: Lsn) -> Option<Digest> {
        // A look lets a follower catch up.
        self.state(colour);
        let nodes = self.nodes.lock();
        let node = nodes.get(colour);
        let wrong = if node.manners.wrong_digest { "wrong-" } else { "" };
        (node.lsn >= lsn).then(|| Digest { lsn, digest: format!("{wrong}digest-{lsn}"), records: lsn })
    }
}

fn this_once(calls: &mut Vec<&'static str>, call: &str) -> bool {
    let position = calls.iter().position(|listed| *listed == call);
    position.map(|position| calls.remove(position)).is_some()
}

fn router(call: Call) -> Router {
    Router::new()
        .route("/admin/v1/state", get(async |State((nodes, colour)): State<Call>| json(nodes.state(colour))))
        .route("/admin/v1/prove-follow", post(prove))
        .route("/admin/v1/seal", post(seal))
        .route("/admin/v1/resume", post(resume))
        .route("/admin/v1/promote", post(promote))
        .route("/admin/v1/follow", post(follow))
        .route("/admin/v1/acknowledge", post(acknowledge))
        .route("/admin/v1/shed", post(shed))
        .route("/admin/v1/marker", post(marker))
        .route("/admin/v1/digest", get(digest))
        .route("/admin/v1/bucket-sums", get(bucket_sums))
        .route("/admin/v1/records", post(records))
        .route("/admin/v1/rehash", post(rehash))
        .route("/admin/v1/reads", get(reads))
        .route("/admin/v1/replay", post(replay))
        .layer(axum::middleware::from_fn_with_state(call.clone(), hang))
        .with_state(call)
}

async fn hang(
    State((nodes, colour)): State<Call>,
    request: axum::extract::Request,
    next: axum::middleware::Next,
) -> Response {
    if nodes.manners(colour).hangs {
        std::future::pending::<()>().await;
    }
    next.run(request).await
}

fn json(value: impl Serialize) -> Response {
    serde_json::to_vec(&value).unwrap().into_response()
}

fn answer<T: Serialize>(result: Result<T, AdminError>) -> Response {
    match result {
        Ok(value) => json(value),
        Err(error) => (StatusCode::CONFLICT, json(error)).into_response(),
    }
}

fn refused(message: &str) -> AdminError {
    AdminError { code: AdminErrorCode::WrongState, message: message.into(), epoch_seen: 0 }
}

fn body<T: DeserializeOwned>(bytes: &Bytes) -> T {
    serde_json::from_slice(bytes).unwrap()
}

async fn prove(State((nodes, colour)): State<Call>) -> Response {
    match nodes.manners(colour).refuses_proof {
        true => answer::<NodeState>(Err(refused("no route"))),
        false => json(nodes.state(colour)),
    }
}

async fn seal(State((nodes, colour)): State<Call>, bytes: Bytes) -> Response {
    let EpochCall { epoch } = body(&bytes);
    let sealed = nodes.obey(colour, "seal", epoch, |role, lsn| match role {
        Role::Primary { epoch: reign } if epoch > *reign => {
            Some(Role::Sealed { epoch, lsn, digest: format!("digest-{lsn}") })
        }
        Role::Sealed { .. } => Some(role.clone()),
        _ => None,
    });
    answer(sealed.map(|state| match state.role {
        Role::Sealed { epoch, lsn, digest } => Sealed { epoch, lsn, digest },
        other => panic!("{other:?}"),
    }))
}

async fn resume(State((nodes, colour)): State<Call>, bytes: Bytes) -> Response {
    let ResumeCall { epoch, .. } = body(&bytes);
    answer(nodes.obey(colour, "resume", epoch, |role, _| match role {
        Role::Primary { .. } | Role::Sealed { .. } => Some(Role::Primary { epoch }),
        _ => None,
    }))
}

async fn promote(State((nodes, colour)): State<Call>, bytes: Bytes) -> Response {
    let Promote { epoch, lsn, acknowledge, .. } = body(&bytes);
    let promoted = nodes.obey(colour, "promote", epoch, |role, here| match role {
        Role::Follower { .. } if here == lsn => Some(Role::Primary { epoch }),
        Role::Primary { epoch: reign } if *reign == epoch => Some(role.clone()),
        _ => None,
    });
    if promoted.is_ok() {
        nodes.acknowledge(colour, acknowledge);
    }
    answer(promoted.map(|_| nodes.state(colour)))
}

async fn acknowledge(State((nodes, colour)): State<Call>, bytes: Bytes) -> Response {
    let AcknowledgeCall { epoch, by } = body(&bytes);
    let reigns = nodes.role(colour) == Role::Primary { epoch };
    if !reigns {
        return answer::<NodeState>(Err(refused("not the primary of that epoch")));
    }
    nodes.acknowledge(colour, by);
    json(nodes.state(colour))
}

async fn follow(State((nodes, colour)): State<Call>, bytes: Bytes) -> Response {
    let Follow { epoch, primary } = body(&bytes);
    answer(nodes.obey(colour, "follow", epoch, |_, _| Some(Role::Follower { epoch, primary })))
}

async fn shed(State((nodes, colour)): State<Call>, bytes: Bytes) -> Response {
    let Shed { shed } = body(&bytes);
    if nodes.refuses(colour, "shed") {
        return answer::<NodeState>(Err(refused("not this time")));
    }
    nodes.shed(colour, shed);
    json(nodes.state(colour))
}

async fn marker(State((nodes, colour)): State<Call>) -> Response {
    let state = nodes.state(colour);
    answer(match state.role {
        Role::Primary { .. } => Ok(Marker { lsn: state.lsn }),
        _ => Err(refused("no primary")),
    })
}

async fn digest(State((nodes, colour)): State<Call>, Query(query): Query<BTreeMap<String, Lsn>>) -> Response {
    // A marker's digest is asked for in the checks as well; only the one at a seal is refused.
    let at_seal = matches!(nodes.role(colour.other()), Role::Sealed { .. });
    let refused_at_seal = at_seal && nodes.refuses(colour, "digest");
    // A feed that is broken brings nothing that could be waited for.
    let broken = nodes.manners(colour).frozen_at.is_some_and(|at| at < query["lsn"]);
    let attempts = if refused_at_seal || broken { 0 } else { 500 };
    for _ in 0..attempts {
        if let Some(digest) = nodes.digest(colour, query["lsn"]) {
            return json(digest);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    answer::<Digest>(Err(refused("not there")))
}

/// Of a wrong copy one bucket differs.
async fn bucket_sums(State((nodes, colour)): State<Call>) -> Response {
    let mut sums = vec![0; BUCKETS * BUCKET_SUM_BYTES];
    sums[7 * BUCKET_SUM_BYTES] = u8::from(nodes.manners(colour).wrong_digest);
    match nodes.manners(colour).breaks_sums {
        true => broken_off(&sums),
        false => sums.into_response(),
    }
}

/// Of a wrong copy one record has another content, and two are missing.
async fn records(State((nodes, colour)): State<Call>, bytes: Bytes) -> Response {
    let RecordsIn { buckets, .. } = body(&bytes);
    assert_eq!(buckets, [7]);
    let (lsn, manners) = (nodes.state(colour).lsn, nodes.manners(colour));
    let listed = |id: &str| {
        let hash = if manners.wrong_digest { "wrong".into() } else { "right".into() };
        let record = Place::Vector { database: "db".into(), id: id.into() };
        ListedRecord { record, version: RecordVersion { lsn: 1, hash } }
    };
    let ids = if manners.wrong_digest { &["a"][..] } else { &["a", "b", "c"] };
    let records = ids.iter().map(|id| listed(id)).collect();
    let listed = ListedRecords { from_lsn: lsn, to_lsn: lsn, records };
    match manners.breaks_records {
        true => broken_off(&serde_json::to_vec(&listed).unwrap()),
        false => json(listed),
    }
}

/// Half of an answer, and then the end of the connection.
fn broken_off(whole: &[u8]) -> Response {
    let length = [(axum::http::header::CONTENT_LENGTH, whole.len())];
    (length.map(|(name, length)| (name, length.to_string())), whole[..whole.len() / 2].to_vec()).into_response()
}

async fn rehash(State((nodes, colour)): State<Call>) -> Response {
    let lsn = nodes.lsn(colour);
    let wrong = if nodes.manners(colour).wrong_digest { "wrong-" } else { "" };
    let (from_memory, from_storage) = (format!("digest-{lsn}"), format!("{wrong}digest-{lsn}"));
    json(Rehash { lsn, from_memory, from_storage, records: lsn })
}

async fn reads(State((nodes, colour)): State<Call>) -> Response {
    let read = |number| Replay { database: "d".into(), query: vec![number as f32], top_k: 2, exact: false };
    json(SampledReads { reads: (0..nodes.manners(colour).sample).map(read).collect() })
}

async fn replay(State((nodes, colour)): State<Call>, bytes: Bytes) -> Response {
    let read: Replay = body(&bytes);
    let wrong = if nodes.manners(colour).wrong_results { "x" } else { "" };
    let mut ids: Vec<String> = (0..read.top_k).map(|rank| format!("{wrong}{}-{rank}", read.query[0])).collect();
    if nodes.manners(colour).reversed_results {
        ids.reverse();
    }
    json(Replayed {
        status: 200,
        latency_us: 1,
        ids,
        scores: (0..read.top_k).map(|rank| 1.0 / (rank + 1) as f32).collect(),
    })
}
