//! Writes acknowledged by both nodes, and a primary that has to be told again that it is one.

use super::*;
use wire::admin::{AcknowledgeMode, AcknowledgeState, Promote, ResumeCall};

/// Blue, which wrote `write_many(0..10)`, handed over to green; `by blue` is what green waits for.
struct Switched {
    blue: Running,
    green: Running,
    dirs: (TempDir, TempDir),
}

impl Switched {
    async fn with(mode: AcknowledgeMode, hold_ms: u64) -> Switched {
        let dirs = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let blue = Running::start(dirs.0.path(), false).await;
        blue.node.write(create()).await.unwrap();
        write_many(&blue.node, 0..10).await;
        let mut config = config(dirs.1.path(), true);
        config.limits.hold_ms = hold_ms;
        let green = Running::start_with(config).await;
        green.node.follow(1, blue.peer.clone()).await.unwrap();
        let sealed = blue.node.seal(2).await.unwrap();
        assert!(green.node.applied(sealed.lsn, WAIT).await);
        green.node.promote_acknowledging(2, sealed.lsn, by(&blue, mode)).await.unwrap();
        Switched { blue, green, dirs }
    }

    async fn turn_around(&self) {
        self.blue.node.follow(2, self.green.peer.clone()).await.unwrap();
    }

    fn said(&self) -> AcknowledgeState {
        crate::admin::state(&self.green.node).acknowledge.unwrap()
    }

    async fn stop(self) {
        self.blue.stop().await;
        self.green.stop().await;
    }
}

fn by(confirmer: &Running, mode: AcknowledgeMode) -> AcknowledgeBy {
    let confirmer = crate::admin::state(&confirmer.node).node_id;
    AcknowledgeBy { mode, confirmer, number: 1 }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_acknowledged_is_on_the_follower_before() {
    let pair = Switched::with(AcknowledgeMode::Required, 20_000).await;
    assert!(pair.said().holds, "everything up to the seal is on both disks");
    pair.turn_around().await;
    for number in 10..60 {
        let applied = pair.green.node.write(put(number)).await.unwrap();
        assert!(pair.blue.node.lsn() >= applied.lsn, "acknowledged before the follower had it");
    }
    assert!(pair.said().confirmed_lsn >= pair.green.node.lsn());
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_follower_a_write_is_unknown_until_the_primary_may_go_on_alone() {
    let pair = Switched::with(AcknowledgeMode::Required, 300).await;
    // Blue never turns around, so nobody confirms.
    let Err(WriteError::Unconfirmed { lsn, waited_ms: 300 }) = pair.green.node.write(put(10)).await else {
        panic!("acknowledged without the follower")
    };
    assert_eq!(lsn, pair.green.node.lsn(), "it is in the log all the same");
    let waiting = pair.green.node.clone();
    let waiting = tokio::spawn(async move { waiting.write(put(11)).await });
    eventually("a write waits", || pair.said().waiting_ms > 0).await;
    let stale = pair.green.node.acknowledge(1, by(&pair.blue, AcknowledgeMode::Preferred)).await;
    assert!(matches!(stale, Err(RoleError::StaleEpoch { .. })));
    pair.green.node.acknowledge(2, by(&pair.blue, AcknowledgeMode::Preferred)).await.unwrap();
    waiting.await.unwrap().unwrap();
    assert!(!pair.said().holds);
    // It joins again as soon as it has everything.
    pair.turn_around().await;
    eventually("confirmed again", || pair.said().holds).await;
    let applied = pair.green.node.write(put(12)).await.unwrap();
    assert!(pair.blue.node.lsn() >= applied.lsn);
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_starts_again_waits_for_the_same() {
    let pair = Switched::with(AcknowledgeMode::Required, 20_000).await;
    pair.turn_around().await;
    pair.green.node.write(put(10)).await.unwrap();
    let confirmer = pair.said().by.confirmer;
    let Switched { blue, green, dirs } = pair;
    green.stop().await;
    let mut config = config(dirs.1.path(), false);
    config.limits.hold_ms = 100;
    let green = Running::start_with(config).await;
    // Its address is another now, so blue does not find it.
    assert!(matches!(green.node.write(put(11)).await, Err(WriteError::Unconfirmed { .. })));
    let said = crate::admin::state(&green.node).acknowledge.unwrap();
    assert_eq!((said.by.mode, said.by.confirmer), (AcknowledgeMode::Required, confirmer));
    blue.stop().await;
    green.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_under_way_at_a_seal_are_acknowledged_once_the_new_primary_has_them() {
    let pair = Switched::with(AcknowledgeMode::Required, 20_000).await;
    // Green's write is in its log and not confirmed when green is sealed; blue comes to have it, and reigns.
    let (node, blue) = (pair.green.node.clone(), &pair.blue);
    let waiting = tokio::spawn(async move { node.write(put(10)).await });
    eventually("a write waits", || pair.said().waiting_ms > 0).await;
    let sealed = pair.green.node.seal(3).await.unwrap();
    assert!(!waiting.is_finished());
    pair.turn_around_late(sealed.lsn).await;
    blue.node.promote(4, sealed.lsn).await.unwrap();
    pair.green.node.follow(4, blue.peer.clone()).await.unwrap();
    waiting.await.unwrap().unwrap();
    pair.stop().await;
}

impl Switched {
    /// Blue follows while green is sealed already, and gets everything.
    async fn turn_around_late(&self, lsn: Lsn) {
        self.blue.node.follow(3, self.green.peer.clone()).await.unwrap();
        assert!(self.blue.node.applied(lsn, WAIT).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_word_about_another_history_confirms_nothing() {
    let pair = Switched::with(AcknowledgeMode::Required, 20_000).await;
    let admin = client::Admin::new(client::Http::new(), &pair.green.peer.admin, "secret", WAIT);
    let position = pair.green.node.position();
    let word = |lsn, lsn_epoch| wire::admin::Confirm { node_id: pair.said().by.confirmer, lsn, lsn_epoch };
    let before = pair.said().confirmed_lsn;
    for wrong in [word(position.lsn, 1), word(position.lsn + 5, 2)] {
        assert!(admin.confirm(&wrong).await.unwrap_err().to_string().contains("nothing is confirmed by that"));
    }
    assert_eq!(pair.said().confirmed_lsn, before);
    admin.confirm(&word(position.lsn, 2)).await.unwrap();
    assert_eq!(pair.said().confirmed_lsn, position.lsn);
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_was_started_as_a_follower_admits_nothing_until_it_is_told() {
    let dir = TempDir::new().unwrap();
    let running = Running::start(dir.path(), false).await;
    running.node.write(create()).await.unwrap();
    running.stop().await;
    // Whoever starts it does not count on it as the primary: another may have taken its place.
    let running = Running::start(dir.path(), true).await;
    assert!(crate::admin::state(&running.node).dormant);
    assert_eq!(running.node.standing(), Standing::Sealed);
    assert_eq!(running.node.write(put(1)).await, Err(WriteError::NotPrimary));
    running.node.resume(1).await.unwrap();
    assert!(!crate::admin::state(&running.node).dormant);
    running.node.write(put(1)).await.unwrap();
    running.stop().await;
}

/// Found by the model of the handover: a primary that is gone is replaced, its folder does not hear of that epoch, and a call
/// that a coordinator had for the process before reaches the next one.
#[tokio::test(flavor = "multi_thread")]
async fn the_right_to_write_is_given_to_the_process_that_was_meant() {
    let dir = TempDir::new().unwrap();
    let running = Running::start(dir.path(), false).await;
    running.node.write(create()).await.unwrap();
    let (gone, lsn) = (crate::admin::state(&running.node).instance, running.node.lsn());
    running.stop().await;
    let running = Running::start(dir.path(), true).await;
    let admin = client::Admin::new(client::Http::new(), &running.peer.admin, "secret", WAIT);
    let refused = admin.resume(&ResumeCall { epoch: 1, instance: gone.clone() }).await.unwrap_err();
    assert!(refused.to_string().contains("was meant for process"), "{refused}");
    let promote = Promote { epoch: 2, lsn, acknowledge: AcknowledgeBy::default(), instance: gone };
    let refused = admin.promote(&promote).await.unwrap_err();
    assert!(refused.to_string().contains("was meant for process"), "{refused}");
    assert_eq!(running.node.standing(), Standing::Sealed);
    let instance = crate::admin::state(&running.node).instance;
    admin.resume(&ResumeCall { epoch: 1, instance }).await.unwrap();
    assert_eq!(running.node.standing(), Standing::Primary);
    // A coordinator of the version before names none.
    admin.resume(&ResumeCall { epoch: 1, instance: String::new() }).await.unwrap();
    running.stop().await;
}
