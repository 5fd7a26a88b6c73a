//! A conductor on a stage of fakes, and waiting for what it says.

use super::fake_nodes::FakeNodes;
use super::fake_platform::FakePlatform;
use crate::{Conductor, Info};
use rollout::{Command, Phase, Run};
use std::sync::Arc;
use std::time::Duration;
use wire::Colour;
use wire::document::{BlueGreen, Step};

/// No wait in a test is longer.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Stage {
    pub nodes: FakeNodes,
    pub platform: Arc<FakePlatform>,
    pub document: BlueGreen,
    pub conductor: Conductor,
}

/// 50 % and 100 %, with 20 reads each and no waiting.
pub(crate) fn document() -> BlueGreen {
    let mut document = BlueGreen::named("test");
    let step = |share_percent| Step { duration_min_ms: 0, requests_min: 20, ..Step::of_share(share_percent) };
    document.spec.rollout.steps = [50, 100].map(step).to_vec();
    document.spec.rollout.watch_ms = 50;
    document.spec.evidence.evidence_min = 0.0;
    document.spec.evidence.replays_min = 5;
    document.spec.evidence.replays_per_second = 500;
    document.spec.handover.hold_ms_max = 30_000;
    document
}

/// A rollout of version 2 on green.
pub(crate) fn run(id: u64) -> Run {
    Run {
        id,
        from_version: "1".into(),
        to_version: "2".into(),
        candidate: Colour::Green,
        started_ms: 0,
        full: false,
        accept_loss: false,
        committed_ms: None,
    }
}

impl Stage {
    /// Blue serves 1.0.0.
    pub async fn stable(document: BlueGreen) -> Self {
        let nodes = FakeNodes::start().await;
        let platform = Arc::new(FakePlatform::new(nodes.clone()));
        let conductor = Conductor::start(platform.clone(), document.clone()).await.unwrap();
        let stage = Self { nodes, platform, document, conductor };
        stage.until(|info| info.phase == Phase::Stable).await;
        stage
    }

    pub async fn deploy(&self, version: &str) {
        let info = self.conductor.command(Command::Deploy { version: version.into() }).await.unwrap();
        assert!(matches!(info.phase, Phase::Preparing { .. }), "{:?}", info.phase);
    }

    pub async fn until(&self, wanted: impl Fn(&Info) -> bool) -> Info {
        until(&self.conductor, wanted).await
    }

    /// The end of the `number`th rollout.
    pub async fn finished(&self, number: usize) -> Info {
        self.until(|info| info.history.len() == number && info.phase == Phase::Stable).await
    }

    pub fn assert_sound(&self) {
        assert_eq!(*self.nodes.broken.lock(), Vec::<String>::new());
    }
}

/// Waits for a snapshot; shows the last one when it does not come.
pub(crate) async fn until(conductor: &Conductor, wanted: impl Fn(&Info) -> bool) -> Info {
    let mut snapshots = conductor.subscribe();
    let found = tokio::time::timeout(PATIENCE, snapshots.wait_for(|info| wanted(info))).await;
    match found {
        Ok(Ok(info)) => return info.clone(),
        Ok(Err(_)) => (),
        Err(_) => (),
    }
    panic!("the last snapshot is {:#?}", conductor.info())
}
