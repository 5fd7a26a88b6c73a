//! The one task that owns the state: look, decide, store, apply, tell; then again.
//!
//! While writes wait for a handover the order is the same with nothing in between: the answer to each call is the next
//! observation, the platform is neither asked nor told unless something changed, and there is no pause.

use crate::apply::{apply_followers, apply_roles, ask_digest, gives_the_right_to_write, prove_way_back};
use crate::evidence_source::EvidenceSource;
use crate::handle::{CommandError, StartError};
use crate::info::Info;
use crate::journal::{Journal, Trouble};
use crate::observe::Sight;
use crate::phase_time::PhaseTime;
use crate::report::{Gathered, Report, Reporter};
use crate::shed::shed;
use crate::tell::tell;
use crate::verify::Directory;
use crate::{Platform, PlatformError};
use client::Http;
use clock::Clock;
use rollout::{Command, Judgement, Observation, Phase, Stage, State, World, command, decide};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use wire::admin::{Lsn, Role};
use wire::document::BlueGreen;
use wire::{ByColour, Colour};

/// Pause of a turn that changed nothing, by how urgent the phase is.
const PAUSE_HOLDING: Duration = Duration::from_millis(2);
const PAUSE_HANDING_OVER: Duration = Duration::from_millis(10);
/// What was seen longer ago is looked at anew before a command is obeyed.
const SEEN_LATELY: Duration = Duration::from_secs(5);
/// While writes wait, the platform is looked at and told again only this often.
const PLATFORM_EVERY: Duration = Duration::from_millis(500);
/// The clock jumped when it is further than this from the time that went by.
const CLOCK_JUMP: Duration = Duration::from_secs(5);
/// Longest time that a stop waits for writes to be let go.
const STOP_GRACE: Duration = Duration::from_secs(3);

/// A command with the place for its answer.
pub(crate) struct Ask {
    pub command: Command,
    pub reply: oneshot::Sender<Result<Info, CommandError>>,
}

/// Why the engine ends by itself.
struct Fatal(String);

pub(crate) struct Engine<P> {
    platform: Arc<P>,
    document: BlueGreen,
    http: Http,
    clock: Clock,
    phase_time: PhaseTime,
    /// A jump of the clock was told, in this rollout.
    jump_told: bool,
    state: State,
    /// A state whose store failed: it may or may not be durable.
    doubtful: Option<State>,
    sight: Sight,
    evidence: EvidenceSource,
    judgement: Option<Judgement>,
    journal: Journal,
    /// What the platform was told last, and when.
    told: Option<(World, Instant)>,
    info: watch::Sender<Info>,
    directory: watch::Sender<Directory>,
    reporter: Reporter,
}

impl<P: Platform> Engine<P> {
    /// Reads the state, or stores the first one.
    pub async fn open(platform: Arc<P>, document: BlueGreen, http: Http, clock: Clock) -> Result<Self, StartError> {
        let state = match platform.load().await.map_err(StartError::Load)? {
            Some(state) => state,
            None => {
                let first = State::first(&document.spec, clock.now_ms());
                platform.store(&first).await.map_err(StartError::Store)?;
                first
            }
        };
        let (sight, mut journal) = (Sight::new(state.replicas.heads), Journal::new(clock.clone()));
        journal.why = format!("starting at generation {}", state.generation);
        let info = watch::Sender::new(Info::of(&document, &state, &sight, &journal, None, None, None));
        let (targets, followers) = (ByColour::new(None, None), Vec::new());
        let directory = watch::Sender::new(Directory { primary: state.primary, targets, followers });
        let evidence = EvidenceSource::new(http.clone(), &document.spec.evidence.sources, &clock);
        let (doubtful, judgement, told) = (None, None, None);
        Ok(Self {
            platform,
            document,
            http,
            phase_time: PhaseTime::new(clock.clone()),
            jump_told: false,
            clock,
            state,
            doubtful,
            sight,
            evidence,
            judgement,
            journal,
            told,
            info,
            directory,
            reporter: Reporter::new(),
        })
    }

    pub fn info(&self) -> watch::Receiver<Info> {
        self.info.subscribe()
    }

    pub fn report(&self) -> watch::Receiver<Option<Arc<Report>>> {
        self.reporter.subscribe()
    }

    pub fn directory(&self) -> watch::Receiver<Directory> {
        self.directory.subscribe()
    }

    /// Works until it is told to stop, nobody can tell it anything any more, or another coordinator took over.
    pub async fn run(mut self, mut asks: mpsc::Receiver<Ask>, mut stop: watch::Receiver<bool>) {
        // What is durable may be made so before anything is seen: traffic does not wait for a look at silent nodes.
        let told = self.tell_platform(&World::of(&self.state), false).await;
        let worked = match told {
            Ok(()) => self.work(&mut asks, &mut stop).await,
            fatal => fatal,
        };
        if let Err(Fatal(why)) = worked {
            tracing::error!("the conductor stops: {why}");
            self.journal.event(format!("the conductor stops: {why}"));
            self.publish(Some(why));
        }
    }

    async fn work(&mut self, asks: &mut mpsc::Receiver<Ask>, stop: &mut watch::Receiver<bool>) -> Result<(), Fatal> {
        let mut stop_by = None;
        let (mut seen, mut broken_off) = (false, false);
        loop {
            if *stop.borrow() || stop.has_changed().is_err() {
                let stop_by = *stop_by.get_or_insert_with(|| Instant::now() + STOP_GRACE);
                if !self.state.phase.holds_writes() || Instant::now() >= stop_by {
                    return Ok(());
                }
            }
            while let Ok(ask) = asks.try_recv() {
                seen |= self.answer(ask).await? && self.sight.has_looked(SEEN_LATELY);
            }
            if !seen {
                let may_break_off = !self.hurries() && !broken_off;
                // A node that stands still keeps no person waiting: what was seen last is enough to obey by.
                tokio::select! {
                    biased;
                    Some(ask) = asks.recv(), if may_break_off => {
                        broken_off = true;
                        seen = self.answer(ask).await? && self.sight.has_looked(SEEN_LATELY);
                        continue;
                    }
                    () = self.look() => (),
                }
            }
            broken_off = false;
            let progressed = self.turn().await?;
            self.publish(None);
            // Answers to calls are fresher than any look; only while writes wait nothing else is needed.
            seen = progressed && self.hurries();
            if progressed {
                continue;
            }
            tokio::select! {
                ask = asks.recv() => match ask {
                    // What was seen last is enough to begin: a look may have to wait for a node that does not answer.
                    Some(ask) => seen |= self.answer(ask).await? && self.sight.has_looked(SEEN_LATELY),
                    None => return Ok(()),
                },
                _ = stop.changed() => (),
                () = self.platform.changed() => (),
                () = tokio::time::sleep(self.pause()) => (),
            }
        }
    }

    fn pause(&self) -> Duration {
        match &self.state.phase {
            phase if phase.holds_writes() => PAUSE_HOLDING,
            _ if self.state.replicas.succession.is_some() => PAUSE_HANDING_OVER,
            Phase::HandingOver { .. } | Phase::RollingBack { .. } => PAUSE_HANDING_OVER,
            Phase::Stable => self.platform.rest(self.sight.all_answer() && self.journal.last_error().is_none()),
            _ => Duration::from_millis(self.document.spec.rollout.interval_ms),
        }
    }

    /// Only the heads matter now. Where one is being replaced, those that may take its place do, too.
    fn hurries(&self) -> bool {
        self.state.phase.holds_writes() && self.state.replicas.succession.is_none()
    }

    async fn look(&mut self) {
        match self.hurries() {
            true => self.sight.glance(&*self.platform, &self.http, &mut self.journal, PLATFORM_EVERY).await,
            false => {
                let moving = matches!(self.state.phase, Phase::HandingOver { .. } | Phase::RollingBack { .. });
                self.sight.look(&*self.platform, &self.http, &mut self.journal, moving).await;
            }
        }
    }

    /// Follows the clock while nothing is under way; says so when it jumps while something is.
    fn mind_the_clock(&mut self) {
        if self.state.phase == Phase::Stable {
            self.phase_time.follow_clock();
            self.jump_told = false;
        } else if !self.jump_told
            && let Some(moved_ms) = self.phase_time.clock_moved(CLOCK_JUMP)
        {
            self.jump_told = true;
            let (seconds, where_to) = (moved_ms.unsigned_abs() / 1_000, if moved_ms > 0 { "ahead" } else { "back" });
            let text = format!(
                "this machine's clock went {where_to} by {seconds} s; phases go on by the time that really passes"
            );
            self.journal.event(text);
        }
    }

    /// Decides, stores, applies. True when something changed, so that the next turn should come at once.
    async fn turn(&mut self) -> Result<bool, Fatal> {
        if !self.settle_doubt().await? {
            return Ok(false);
        }
        let observation = self.observation().await;
        self.mind_the_clock();
        let decision = decide(&self.document.spec, &self.state, &observation, self.phase_time.now_ms());
        self.judgement = Some(observation.judgement);
        let changed = decision.state != self.state;
        let proven = match changed {
            true => self.advance(decision.state).await?,
            false => !gives_the_right_to_write(&decision.world, &self.sight) || self.is_current().await?,
        };
        if !proven {
            return Ok(false);
        }
        self.journal.decided(&decision.why, changed);
        self.evidence.set_subject(&self.document, &self.state, &decision.world, &self.sight);
        self.tell_platform(&decision.world, self.state.phase.holds_writes()).await?;
        let called = apply_roles(&decision.world, &mut self.sight, &self.http, &mut self.journal).await;
        // Writes that wait do not wait for those who only follow.
        let led = match self.hurries() {
            true => false,
            false => {
                let (world, sight, journal) = (&decision.world, &mut self.sight, &mut self.journal);
                let led = apply_followers(world, sight, &self.http, journal).await;
                led | shed(&*self.platform, world, sight, &self.http, journal).await
            }
        };
        let proven = prove_way_back(&decision.world, &mut self.sight, &self.http, &mut self.journal).await;
        let compared = self.compare_at_seal().await;
        Ok(changed || called || led || proven || compared)
    }

    async fn observation(&mut self) -> Observation {
        let directory = self.directory.borrow().clone();
        let judgement = self.evidence.judge(&self.document.spec, &self.state, &self.sight, &directory).await;
        Observation {
            nodes: self.sight.nodes(),
            followers: self.sight.followers(),
            silent_ms: self.sight.silent_ms(),
            lsn_heard: self.sight.lsn_heard(),
            digest_at: self.sight.digest_at.clone(),
            reads_in_effect: self.sight.reads_in_effect,
            way_back: self.sight.way_back.clone(),
            judgement,
        }
    }

    /// Makes `next` durable, and it is the state from then on. False when that failed and has to be tried again.
    async fn advance(&mut self, next: State) -> Result<bool, Fatal> {
        let stored = self.platform.store(&next).await;
        match stored {
            Ok(()) => {
                self.journal.forget(Trouble::Store);
                self.sight.heads = next.replicas.heads;
                self.state = next;
                Ok(true)
            }
            Err(error @ PlatformError::Conflict { .. }) => Err(Fatal(error.to_string())),
            Err(error) => {
                self.journal.note::<(), _>(Trouble::Store, Err(error));
                self.doubtful = Some(next);
                Ok(false)
            }
        }
    }

    /// Nobody else has stored anything. False while that cannot be read.
    async fn is_current(&mut self) -> Result<bool, Fatal> {
        let loaded = self.platform.load().await;
        let Some(loaded) = self.journal.note(Trouble::Load, loaded) else { return Ok(false) };
        let stored = loaded.map_or(0, |state| state.generation);
        match stored == self.state.generation {
            true => Ok(true),
            false => {
                let conflict = PlatformError::Conflict { stored, offered: self.state.generation };
                Err(Fatal(conflict.to_string()))
            }
        }
    }

    /// After a failed store: what is durable decides whether it took effect. False while that cannot be read.
    async fn settle_doubt(&mut self) -> Result<bool, Fatal> {
        let Some(doubtful) = &self.doubtful else { return Ok(true) };
        let loaded = self.platform.load().await;
        let Some(loaded) = self.journal.note(Trouble::Load, loaded) else { return Ok(false) };
        match loaded {
            Some(stored) if stored == *doubtful => {
                self.sight.heads = stored.replicas.heads;
                self.state = stored;
            }
            Some(stored) if stored == self.state => (),
            other => {
                let stored = other.map_or(0, |state| state.generation);
                let conflict = PlatformError::Conflict { stored, offered: doubtful.generation };
                return Err(Fatal(conflict.to_string()));
            }
        }
        self.doubtful = None;
        Ok(true)
    }

    /// Tells the platform what shall be so. `sparing`: only what is new, and everything now and then.
    /// A platform that knows of a newer state ends this coordinator: it may wait for what another has decided against.
    async fn tell_platform(&mut self, world: &World, sparing: bool) -> Result<(), Fatal> {
        if sparing
            && let Some((told, at)) = &self.told
            && same_for_platform(told, world)
            && at.elapsed() < PLATFORM_EVERY
        {
            return Ok(());
        }
        let applied = self.platform.apply(world).await;
        if let Err(error @ PlatformError::Conflict { .. }) = applied {
            return Err(Fatal(error.to_string()));
        }
        if self.journal.note(Trouble::Apply, applied).is_some() {
            self.told = Some((world.clone(), Instant::now()));
        }
        Ok(())
    }

    /// Asks the new primary for its digest at the seal, if the handover waits for it. Reading it changes nothing, so it is
    /// known before the next decision, which can then be the commit.
    async fn compare_at_seal(&mut self) -> bool {
        let Some((to, lsn)) = self.digest_wanted() else {
            self.sight.digest_at = ByColour::new(None, None);
            self.journal.forget(Trouble::Digest);
            return false;
        };
        if self.sight.digest_at.get(to).as_ref().is_some_and(|(at, _)| *at == lsn) {
            return false;
        }
        let digest = ask_digest(self.sight.target(to), &self.http, lsn, self.hold_ends()).await;
        let digest = self.journal.note(Trouble::Digest, digest.map_err(|why| format!("{to}: {why}")));
        let known = digest.is_some();
        if let Some(digest) = digest {
            self.sight.saw_digest(to, lsn, digest);
        }
        known
    }

    /// The handover waits for this environment's digest at this LSN.
    fn digest_wanted(&self) -> Option<(Colour, Lsn)> {
        let Phase::HandingOver { to, epoch, stage, .. } = &self.state.phase else { return None };
        match stage {
            Stage::CatchingUp { lsn, .. } => Some((*to, *lsn)),
            Stage::Sealing => match self.sight.node(to.other())?.role {
                Role::Sealed { epoch: sealed, lsn, .. } if sealed == *epoch => Some((*to, lsn)),
                _ => None,
            },
            _ => None,
        }
    }

    /// When the writes have waited as long as they may.
    fn hold_ends(&self) -> Instant {
        let hold_ms_max = self.document.spec.handover.hold_ms_max;
        let held_ms = match &self.state.phase {
            Phase::HandingOver { since_ms, .. } => self.phase_time.now_ms().saturating_sub(*since_ms),
            _ => 0,
        };
        Instant::now() + Duration::from_millis(hold_ms_max.saturating_sub(held_ms))
    }

    /// True when it was obeyed.
    async fn answer(&mut self, ask: Ask) -> Result<bool, Fatal> {
        let Ask { command: wish, reply } = ask;
        let (answer, end) = match self.try_to_obey(&wish).await {
            Ok(answer) => {
                let obeyed = answer.is_ok();
                (answer, Ok(obeyed))
            }
            Err(Fatal(why)) => (Err(CommandError::Stopped(why.clone())), Err(Fatal(why))),
        };
        // Who asked may have gone away meanwhile.
        let _ = reply.send(answer);
        end
    }

    async fn try_to_obey(&mut self, wish: &Command) -> Result<Result<Info, CommandError>, Fatal> {
        let not_stored = |journal: &Journal| CommandError::NotStored(journal.last_error().unwrap_or_default());
        if !self.settle_doubt().await? {
            return Ok(Err(not_stored(&self.journal)));
        }
        let next = match command(&self.document.spec, &self.state, wish, self.phase_time.now_ms()) {
            Ok(next) => next,
            Err(refused) => return Ok(Err(refused.into())),
        };
        if !self.advance(next).await? {
            return Ok(Err(not_stored(&self.journal)));
        }
        let why = format!("a person asked: {}", in_words(wish));
        self.journal.decided(&why, true);
        self.publish(None);
        Ok(Ok(self.info.borrow().clone()))
    }

    fn publish(&mut self, stopped: Option<String>) {
        let (targets, followers) = (self.sight.targets(), self.sight.follower_targets());
        let directory = Directory { primary: self.state.primary, targets, followers };
        tell(&self.directory, directory);
        let (judgement, evidence) = (self.judgement.as_ref(), self.evidence.info());
        let info = Info::of(&self.document, &self.state, &self.sight, &self.journal, judgement, evidence, stopped);
        // While writes wait, nothing is done that can be done later.
        if !self.state.phase.holds_writes() {
            let gathered = || Gathered { evidence: self.evidence.info(), latency: self.evidence.latency() };
            self.reporter.note(&self.state, &info, gathered, self.clock.now_ms());
        }
        self.info.send_replace(info);
    }
}

/// Roles are not the platform's business.
fn same_for_platform(one: &World, other: &World) -> bool {
    let versions = |world: &World| ByColour::from_fn(|colour| world.environments.get(colour).version.clone());
    let nodes = |world: &World| (versions(world), world.heads, world.fenced);
    one.reads == other.reads && one.writes == other.writes && nodes(one) == nodes(other)
}

fn in_words(wish: &Command) -> String {
    match wish {
        Command::Deploy { version } => format!("deploy {version}"),
        Command::Promote { full: false } => "promote".into(),
        Command::Promote { full: true } => "promote --full".into(),
        Command::Pause => "pause".into(),
        Command::Resume => "resume".into(),
        Command::Rollback { reason, accept_loss: false } => format!("rollback ({reason})"),
        Command::Rollback { reason, accept_loss: true } => format!("rollback --accept-loss ({reason})"),
        Command::Canary { share_percent } => format!("canary of {share_percent} %"),
        Command::Switch { to } => format!("switch {to}"),
    }
}
