//! What may break in this run and how often: drawn once, so that runs differ in kind and not only in detail. Most things
//! that can break do not in any one run, because faults that come all at once hide each other.

use super::chance::Chance;
use jadevectordb::config::Limits;
use std::time::Duration;
use wire::document::{Acknowledge, BlueGreen, Index, IndexKind, Step};

/// How much longer a node holds writes than a handover may take, as on one machine.
const HOLD_MARGIN_MS: u64 = 1_000;

#[derive(Debug)]
pub(super) struct Profile {
    pub document: BlueGreen,
    pub index: Index,
    pub limits: Limits,
    pub network: NetworkRates,
    pub faults: Vec<FaultKind>,
    /// Pause between two faults, ms at most.
    pub fault_pause_ms_max: u64,
    /// Pause between two looks of whoever gives commands, ms at most.
    pub command_pause_ms_max: u64,
    /// How long commands are given and things break.
    pub troubled: Duration,
    pub clients: u32,
    /// Writes carry idempotency keys, and are sent again until their outcome is known.
    pub keyed: bool,
    /// Pause of a client between two requests, ms at most.
    pub client_pause_ms_max: u64,
    /// A group of writes takes at most so long to reach the disk, ms.
    disk_ms_max: u64,
    pub boot_ms_max: u64,
}

/// Of 10,000 messages or pieces, unless said otherwise.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct NetworkRates {
    /// What a message takes at most, ms.
    pub usual_ms: u64,
    pub lost: u32,
    /// Of 1,000 calls of the admin protocol.
    pub twice: u32,
    /// How late a repeated call is at most, ms.
    pub again_ms_max: u64,
    pub stream_cut: u32,
    pub flipped: u32,
}

/// Something that the director does now and then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FaultKind {
    NodeKilled,
    PowerLost,
    /// In the middle of a call of the disk.
    StoppedInDiskCall,
    /// Killed, and not to be started for a while.
    NodeGone,
    /// Alive, and cut off from everybody.
    NodeIsolated,
    ConductorKilled,
    SecondConductor,
    Partition,
    /// One way only.
    HalfPartition,
    SlowLink,
    DiskFull,
    WriteFails,
    SyncFails,
    ClockJumps,
    PlatformTrouble,
}

impl FaultKind {
    const ALL: [FaultKind; 15] = [
        FaultKind::NodeKilled,
        FaultKind::PowerLost,
        FaultKind::StoppedInDiskCall,
        FaultKind::NodeGone,
        FaultKind::NodeIsolated,
        FaultKind::ConductorKilled,
        FaultKind::SecondConductor,
        FaultKind::Partition,
        FaultKind::HalfPartition,
        FaultKind::SlowLink,
        FaultKind::DiskFull,
        FaultKind::WriteFails,
        FaultKind::SyncFails,
        FaultKind::ClockJumps,
        FaultKind::PlatformTrouble,
    ];
}

impl Profile {
    pub fn draw(chance: &Chance) -> Profile {
        let now_and_then = |parts, value| if chance.hits(parts, 3) { value } else { 0 };
        let network = NetworkRates {
            usual_ms: *chance.pick(&[1, 1, 2, 3, 10]).unwrap_or(&1),
            lost: now_and_then(1, chance.between(1..=100) as u32),
            twice: now_and_then(1, chance.between(1..=200) as u32),
            again_ms_max: *chance.pick(&[10, 100, 3_000, 15_000]).unwrap_or(&10),
            stream_cut: now_and_then(1, chance.between(1..=100) as u32),
            flipped: now_and_then(1, chance.between(1..=100) as u32),
        };
        let document = document(chance);
        Profile {
            index: index(chance),
            limits: limits(chance, &document),
            document,
            network,
            faults: FaultKind::ALL.into_iter().filter(|_| chance.hits(1, 3)).collect(),
            fault_pause_ms_max: *chance.pick(&[300, 1_000, 3_000, 3_000, 10_000, 10_000]).unwrap_or(&1_000),
            command_pause_ms_max: *chance.pick(&[30, 30, 100, 500]).unwrap_or(&100),
            troubled: chance.ms(5_000..=30_000),
            clients: chance.between(1..=4) as u32,
            keyed: chance.coin(),
            client_pause_ms_max: *chance.pick(&[20, 100, 300, 300, 1_000]).unwrap_or(&100),
            disk_ms_max: *chance.pick(&[0, 1, 2, 20]).unwrap_or(&1),
            boot_ms_max: *chance.pick(&[10, 100, 1_000]).unwrap_or(&100),
        }
    }

    /// Leaves what breaks as it is, and asks for handovers all the time.
    pub fn hurry(&mut self) {
        let rollout = &mut self.document.spec.rollout;
        rollout.steps = vec![Step { duration_min_ms: 0, requests_min: 0, ..Step::of_share(100) }];
        rollout.watch_ms = 0;
        rollout.timeout_ms = 3_000;
        self.command_pause_ms_max = 10;
        self.boot_ms_max = 10;
        self.client_pause_ms_max = self.client_pause_ms_max.max(100);
        self.fault_pause_ms_max = self.fault_pause_ms_max.max(1_000);
        self.troubled = Duration::from_secs(60);
    }

    /// Every other call arrives a second time, some of them late.
    pub fn repeat_calls(&mut self) {
        self.network.twice = 500;
        self.network.again_ms_max = self.network.again_ms_max.max(3_000);
    }

    /// How long the next group of writes takes.
    pub fn disk_pace(&self, chance: &Chance) -> Duration {
        chance.ms(0..=self.disk_ms_max)
    }
}

/// Steps and watch are short, and no reads are asked for: what is to be seen here is the handover.
fn document(chance: &Chance) -> BlueGreen {
    let mut document = BlueGreen::named("simulated");
    let spec = &mut document.spec;
    let shares: &[u8] = chance.pick(&[&[100][..], &[50, 100], &[10, 50, 90, 100]]).unwrap_or(&&[100][..]);
    let step = |&share_percent| Step { duration_min_ms: 0, requests_min: 0, ..Step::of_share(share_percent) };
    spec.rollout.steps = shares.iter().map(step).collect();
    spec.rollout.watch_ms = *chance.pick(&[0, 10, 100, 1_000, 5_000]).unwrap_or(&0);
    spec.rollout.timeout_ms = *chance.pick(&[3_000, 10_000, 60_000]).unwrap_or(&10_000);
    spec.evidence.evidence_min = 0.0;
    spec.evidence.replays_min = 0;
    spec.evidence.replays_per_second = 1;
    // Requests fail here for many reasons; that they decide is seen in some runs only.
    if chance.hits(3, 4) {
        spec.evidence.error_ratio_max = 1e9;
        spec.evidence.error_rate_max = 1.0 - f64::EPSILON;
    }
    spec.handover.hold_ms_max = *chance.pick(&[100, 300, 1_000, 3_000]).unwrap_or(&1_000);
    spec.handover.acknowledge = *chance
        .pick(&[Acknowledge::Auto, Acknowledge::Auto, Acknowledge::Primary, Acknowledge::Both])
        .unwrap_or(&Acknowledge::Auto);
    spec.handover.confirm_ms_max = *chance.pick(&[50, 250, 1_000]).unwrap_or(&250);
    spec.handover.strict = chance.hits(1, 8);
    document
}

fn index(chance: &Chance) -> Index {
    match chance.below(6) {
        0 | 1 => Index { kind: IndexKind::Flat, ..Index::default() },
        // Everything is in a graph, a small one.
        2 => Index { exact_up_to: 0, connectivity: 8, expansion_add: 32, expansion_search: 64, ..Index::default() },
        _ => Index::default(),
    }
}

fn limits(chance: &Chance, document: &BlueGreen) -> Limits {
    let handover = &document.spec.handover;
    let (hold_ms, confirm_ms) = (handover.hold_ms_max + HOLD_MARGIN_MS, handover.confirm_ms_max);
    let mut limits = Limits { hold_ms, confirm_ms, ..Limits::default() };
    if chance.coin() {
        // Snapshots now and then, short files, and followers that are left behind.
        limits.snapshot_log_bytes = chance.between(2_000..=20_000);
        limits.segment_bytes = chance.between(1_000..=8_000);
        limits.retained_log_bytes = chance.between(1_000..=40_000);
    }
    limits
}
