//! Requests: what is asked for in the spec of the object, and its answer in the status.

use super::deployment::Tools;
use super::status;
use crate::capacity;
use crate::names::Names;
use crate::resource::{Answered, Status};
use crate::state::StatusKeeper;
use conductor::{CommandError, Conductor, Info};
use rollout::{Command, Phase};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use wire::document::{Action, BlueGreen, Request, RouterKind};

/// Pause before an answer that the API server did not take is shown again.
const ANSWER_AGAIN: Duration = Duration::from_secs(1);

/// Answers one request after the other.
pub(super) struct Answering {
    tools: Tools,
    names: Names,
    conductor: Arc<Conductor>,
    keeper: Arc<StatusKeeper>,
    /// Id of the request that was answered last, or is being answered.
    taken: Option<String>,
    /// What was answered and is not shown yet, and when that is tried again.
    pending: Option<(Answered, Option<Box<Info>>, Instant)>,
    /// A comparison of the data, which may take long.
    comparing: Option<JoinHandle<()>>,
}

pub(super) fn is_new(request: &Request, status: Option<&Status>) -> bool {
    let answered = status.and_then(|status| status.request.as_ref());
    answered.is_none_or(|answered| answered.id != request.id)
}

impl Answering {
    pub fn new(tools: Tools, names: Names, conductor: Arc<Conductor>, keeper: Arc<StatusKeeper>) -> Self {
        Self { tools, names, conductor, keeper, taken: None, pending: None, comparing: None }
    }

    /// Does what is asked for, unless it was done before. `document`: the one that carries the request, so the newest.
    pub async fn obey(&mut self, document: &BlueGreen, request: &Request, generation: i64) {
        if self.taken.as_ref() == Some(&request.id) {
            return self.answer(generation).await;
        }
        self.taken = Some(request.id.clone());
        let Some(command) = command_of(request) else { return self.compare(request.clone()) };
        let answer = match command {
            Ok(command) => match self.objection(document, &command).await {
                Some(why) => Err(why),
                None => match self.conductor.command(command).await {
                    // Whoever took over, this one included when it begins anew, finds the request unanswered.
                    Err(CommandError::Stopped(_)) => {
                        self.taken = None;
                        return;
                    }
                    answer => answer.map_err(|error| error.to_string()),
                },
            },
            Err(why) => Err(why),
        };
        let answered = Answered {
            id: request.id.clone(),
            accepted: answer.is_ok(),
            message: answer.as_ref().map_or_else(Clone::clone, |info: &Info| info.why.clone()),
            result: None,
        };
        self.pending = Some((answered, answer.ok().map(Box::new), Instant::now()));
        self.answer(generation).await;
    }

    /// Shows the answer, again and again until the API server takes it: somebody waits for it.
    async fn answer(&mut self, generation: i64) {
        let Some((answered, info, _)) = self.pending.as_ref().filter(|(_, _, at)| *at <= Instant::now()) else {
            return;
        };
        let change = |shown: &mut Status| {
            shown.request = Some(answered.clone());
            if let Some(info) = info {
                status::show(shown, generation, info);
            }
        };
        match self.keeper.show(change).await {
            Ok(()) => self.pending = None,
            Err(error) => {
                self.tools.figures.failed();
                tracing::warn!(%error, "the answer to a request is not shown; it is tried again");
                if let Some((.., at)) = &mut self.pending {
                    *at = Instant::now() + ANSWER_AGAIN;
                }
            }
        }
    }

    /// Why it cannot be done here, whatever the rollout's state has to say about it.
    async fn objection(&self, document: &BlueGreen, command: &Command) -> Option<String> {
        match command {
            Command::Canary { share_percent } => without_shares(document.spec.cluster.router.kind, *share_percent),
            Command::Deploy { version } => self.without_room(document, version).await,
            _ => None,
        }
    }

    async fn without_room(&self, document: &BlueGreen, version: &str) -> Option<String> {
        let info = self.conductor.info();
        // Otherwise the conductor refuses it, with a better reason.
        if info.phase != Phase::Stable || info.versions.get(info.active).as_deref() == Some(version) {
            return None;
        }
        let colour = info.active.other();
        let plan = capacity::Plan { names: &self.names, document, colour, head: *info.heads.get(colour) };
        let lacks = capacity::check(&self.tools.client, &self.tools.stores, plan).await?;
        Some(format!("there is no room for version {version} on {colour}, and nothing was changed: {lacks}"))
    }

    fn compare(&mut self, request: Request) {
        let (conductor, keeper) = (self.conductor.clone(), self.keeper.clone());
        self.end();
        self.comparing = Some(tokio::spawn(async move {
            let compared = conductor.verify(request.deep).await.map_err(|error| error.to_string());
            let result = compared.as_ref().ok().and_then(|verified| serde_json::to_string(verified).ok());
            let answered = Answered {
                id: request.id,
                accepted: compared.is_ok(),
                message: compared.map_or_else(|why| why, |verified| verified.why),
                result,
            };
            if let Err(error) = keeper.show(|shown| shown.request = Some(answered.clone())).await {
                tracing::warn!(%error, "the result of a comparison is not shown");
            }
        }));
    }

    pub fn end(&mut self) {
        if let Some(comparing) = self.comparing.take() {
            comparing.abort();
        }
    }
}

/// A router that knows all or nothing has no canary to hold, so nobody shall believe that there is one.
fn without_shares(router: RouterKind, share_percent: u8) -> Option<String> {
    if router.does_shares() {
        return None;
    }
    let router = router.as_str();
    Some(format!(
        "a router of kind `{router}` (spec.cluster.router.kind) leads all reads to one side, and cannot give the candidate \
         {share_percent} % of them: a rollout goes from 0 to 100 % at once, with replayed reads as the evidence before; \
         `jadeshift promote` goes on and `jadeshift rollback` goes back, or choose a router that does shares: gateway, \
         httpRoute, istio or nginxIngress"
    ))
}

/// What a request asks of the conductor; `None`: it asks for a comparison. An error says what it lacks.
fn command_of(request: &Request) -> Option<Result<Command, String>> {
    let missing =
        |field: &str| format!("spec.request.{field} is missing: the action `{}` needs it", request.action.as_str());
    Some(Ok(match request.action {
        Action::Verify => return None,
        Action::Deploy => match request.version.clone() {
            Some(version) => Command::Deploy { version },
            None => return Some(Err(missing("version"))),
        },
        Action::Promote => Command::Promote { full: request.full },
        Action::Pause => Command::Pause,
        Action::Resume => Command::Resume,
        Action::Rollback => Command::Rollback {
            reason: request.reason.clone().unwrap_or_else(|| "asked for".into()),
            accept_loss: request.accept_loss,
        },
        Action::Canary => match request.share_percent {
            Some(share_percent) => Command::Canary { share_percent },
            None => return Some(Err(missing("sharePercent"))),
        },
        Action::Switch => match request.to {
            Some(to) => Command::Switch { to },
            None => return Some(Err(missing("to"))),
        },
    }))
}

/// The request that asks for `command`.
pub(crate) fn request_of(id: String, command: &Command) -> Request {
    let plain = |action| Request {
        id: id.clone(),
        action,
        version: None,
        full: false,
        reason: None,
        accept_loss: false,
        share_percent: None,
        deep: false,
        to: None,
    };
    match command {
        Command::Deploy { version } => Request { version: Some(version.clone()), ..plain(Action::Deploy) },
        Command::Promote { full } => Request { full: *full, ..plain(Action::Promote) },
        Command::Pause => plain(Action::Pause),
        Command::Resume => plain(Action::Resume),
        Command::Rollback { reason, accept_loss } => {
            Request { reason: Some(reason.clone()), accept_loss: *accept_loss, ..plain(Action::Rollback) }
        }
        Command::Canary { share_percent } => Request { share_percent: Some(*share_percent), ..plain(Action::Canary) },
        Command::Switch { to } => Request { to: Some(*to), ..plain(Action::Switch) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::Colour;

    #[test]
    fn a_request_carries_each_command_there_and_back() {
        for command in [
            Command::Deploy { version: "1.1.0".into() },
            Command::Promote { full: true },
            Command::Pause,
            Command::Resume,
            Command::Rollback { reason: "slow".into(), accept_loss: true },
            Command::Canary { share_percent: 50 },
            Command::Switch { to: Colour::Green },
        ] {
            let request = request_of("a".into(), &command);
            assert_eq!(command_of(&request), Some(Ok(command)));
        }
    }

    #[test]
    fn a_router_that_knows_all_or_nothing_has_no_canary() {
        for (router, name) in [(RouterKind::Service, "service"), (RouterKind::Ingress, "ingress")] {
            for share_percent in [0, 30, 100] {
                let why = without_shares(router, share_percent).unwrap_or_default();
                let said = format!("a router of kind `{name}` (spec.cluster.router.kind) leads all reads to one side");
                assert!(why.starts_with(&said), "{why}");
                assert!(why.contains(&format!(" {share_percent} % of them: a rollout goes from 0 to 100 %")), "{why}");
                assert!(why.contains("replayed reads") && why.contains("`jadeshift promote`"), "{why}");
            }
        }
        for router in [RouterKind::NginxIngress, RouterKind::HttpRoute, RouterKind::Istio, RouterKind::Gateway] {
            assert_eq!(without_shares(router, 30), None);
        }
    }

    #[test]
    fn what_a_request_lacks_is_named() {
        let mut request = request_of("a".into(), &Command::Canary { share_percent: 5 });
        request.share_percent = None;
        let why = command_of(&request).and_then(Result::err).unwrap_or_default();
        assert!(why.starts_with("spec.request.sharePercent is missing"), "{why}");
    }
}
