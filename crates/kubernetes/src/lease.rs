//! Who of several operators works: the holder of a Lease. It saves them from getting in each other's way; that no two of them ever
//! decide the same thing is not its matter, but that of the state's version.

use k8s_openapi::api::coordination::v1::{Lease as Object, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::{Api, PostParams};
use serde_json::json;
use std::time::Duration;
use tokio::time::Instant;

/// A holder that has not renewed for so long is taken for gone.
const DURATION: Duration = Duration::from_secs(10);
const RENEW_EVERY: Duration = Duration::from_secs(2);
/// A holder that could not renew for so long stops before others may begin.
const GIVE_UP_AFTER: Duration = Duration::from_secs(7);
const CALL_TIMEOUT: Duration = Duration::from_secs(2);

pub struct Lease {
    api: Api<Object>,
    name: String,
    /// Of this process.
    identity: String,
    /// What another holder wrote last.
    seen: Option<Written>,
    renewed: Instant,
}

impl Lease {
    pub fn new(client: Client, namespace: &str, name: &str, identity: String) -> Self {
        let api = Api::namespaced(client, namespace);
        Self { api, name: name.into(), identity, seen: None, renewed: Instant::now() }
    }

    /// Returns when this process holds it.
    pub async fn acquire(&mut self) {
        loop {
            match tokio::time::timeout(CALL_TIMEOUT, self.attempt()).await {
                Ok(Ok(true)) => {
                    self.renewed = Instant::now();
                    return;
                }
                Ok(Ok(false)) => (),
                Ok(Err(error)) => tracing::warn!(%error, "the lease {} cannot be taken", self.name),
                Err(_) => tracing::warn!("the API server does not answer about the lease {}", self.name),
            }
            tokio::time::sleep(RENEW_EVERY).await;
        }
    }

    /// Renews it until that is no longer possible.
    pub async fn keep(&mut self) {
        loop {
            let over = self.renewed + GIVE_UP_AFTER;
            tokio::time::sleep_until(over.min(Instant::now() + RENEW_EVERY)).await;
            // A renewal that went through may have been answered too late; no call goes on after the end.
            match tokio::time::timeout_at(over.min(Instant::now() + CALL_TIMEOUT), self.attempt()).await {
                Ok(Ok(true)) => self.renewed = Instant::now(),
                Ok(Ok(false)) => {
                    tracing::warn!("another operator holds the lease {}", self.name);
                    return;
                }
                Ok(Err(error)) => tracing::warn!(%error, "the lease {} was not renewed", self.name),
                Err(_) => tracing::warn!("the API server does not answer about the lease {}", self.name),
            }
            if is_given_up(self.renewed, Instant::now()) {
                tracing::warn!("the lease {} was not renewed for {} s", self.name, GIVE_UP_AFTER.as_secs());
                return;
            }
        }
    }

    /// Lets another operator begin at once.
    pub async fn release(self) {
        let released = async {
            let mut object = self.api.get(&self.name).await?;
            let spec = object.spec.get_or_insert_default();
            if free(spec, &self.identity) {
                self.api.replace(&self.name, &PostParams::default(), &object).await?;
            }
            Ok::<_, kube::Error>(())
        };
        if let Ok(Err(error)) = tokio::time::timeout(CALL_TIMEOUT, released).await {
            tracing::warn!(%error, "the lease {} was not released; it expires in {} s", self.name, DURATION.as_secs());
        }
    }

    /// Takes or renews it if nobody else holds it. True when it is held now.
    async fn attempt(&mut self) -> Result<bool, kube::Error> {
        let Some(mut object) = self.api.get_opt(&self.name).await? else {
            let fresh = json!({
                "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": self.name},
                "spec": {"holderIdentity": self.identity, "leaseDurationSeconds": DURATION.as_secs()},
            });
            let mut fresh: Object = serde_json::from_value(fresh).map_err(kube::Error::SerdeError)?;
            fresh.spec.get_or_insert_default().renew_time = Some(MicroTime(Timestamp::now()));
            return settled(self.api.create(&PostParams::default(), &fresh).await);
        };
        let mark = object.metadata.resource_version.clone().unwrap_or_default();
        let spec = object.spec.get_or_insert_default();
        let (holder, now) = (Holder::of(spec, &self.identity), Instant::now());
        if holder == Holder::Another {
            self.seen = Some(Written::last(self.seen.take(), mark, now));
        }
        if !may_take(holder, self.seen.as_ref(), now) {
            return Ok(false);
        }
        take(spec, holder, &self.identity, MicroTime(Timestamp::now()));
        settled(self.api.replace(&self.name, &PostParams::default(), &object).await)
    }
}

/// Whom a Lease names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holder {
    Me,
    Nobody,
    Another,
}

impl Holder {
    fn of(spec: &LeaseSpec, identity: &str) -> Self {
        match spec.holder_identity.as_deref().unwrap_or_default() {
            holder if holder == identity => Holder::Me,
            "" => Holder::Nobody,
            _ => Holder::Another,
        }
    }
}

/// What another holder wrote, and when that was seen here first: the clocks of two machines are not compared.
#[derive(Debug, PartialEq)]
struct Written {
    mark: String,
    since: Instant,
}

impl Written {
    /// With the mark of before, nothing was written since.
    fn last(before: Option<Written>, mark: String, now: Instant) -> Self {
        before.filter(|before| before.mark == mark).unwrap_or(Written { mark, since: now })
    }

    /// Whoever wrote it is taken for gone.
    fn is_over(&self, now: Instant) -> bool {
        now.duration_since(self.since) >= DURATION
    }
}

fn may_take(holder: Holder, seen: Option<&Written>, now: Instant) -> bool {
    match holder {
        Holder::Me | Holder::Nobody => true,
        Holder::Another => seen.is_some_and(|seen| seen.is_over(now)),
    }
}

/// Who renewed it last at `renewed` holds it no more: others may soon begin.
fn is_given_up(renewed: Instant, now: Instant) -> bool {
    now.duration_since(renewed) >= GIVE_UP_AFTER
}

/// Makes it ours, or ours for longer.
fn take(spec: &mut LeaseSpec, holder: Holder, identity: &str, now: MicroTime) {
    if holder != Holder::Me {
        spec.acquire_time = Some(now.clone());
        spec.lease_transitions = Some(spec.lease_transitions.unwrap_or(0) + 1);
    }
    spec.holder_identity = Some(identity.into());
    spec.lease_duration_seconds = i32::try_from(DURATION.as_secs()).ok();
    spec.renew_time = Some(now);
}

/// Makes it nobody's if it is ours; false when it is not.
fn free(spec: &mut LeaseSpec, identity: &str) -> bool {
    let mine = spec.holder_identity.as_deref() == Some(identity);
    if mine {
        spec.holder_identity = None;
    }
    mine
}

/// A conflict says that another was quicker.
fn settled(written: Result<Object, kube::Error>) -> Result<bool, kube::Error> {
    match written {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::Status;

    const ME: &str = "operator-1";

    fn held_by(holder: Option<&str>) -> LeaseSpec {
        LeaseSpec { holder_identity: holder.map(Into::into), ..LeaseSpec::default() }
    }

    fn at(second: i64) -> MicroTime {
        MicroTime(Timestamp::from_second(second).unwrap())
    }

    #[test]
    fn a_lease_is_mine_nobodys_or_anothers() {
        let holder = |holder| Holder::of(&held_by(holder), ME);
        assert_eq!(holder(Some(ME)), Holder::Me);
        assert_eq!(holder(Some("operator-10")), Holder::Another);
        assert_eq!([holder(None), holder(Some(""))], [Holder::Nobody; 2], "it was released");
    }

    #[test]
    fn what_is_mine_or_nobodys_is_taken_at_once_and_what_is_anothers_when_it_is_over() {
        let began = Instant::now();
        let written = Written { mark: "7".into(), since: began };
        for now in [began, began + DURATION] {
            assert!(may_take(Holder::Me, Some(&written), now) && may_take(Holder::Nobody, Some(&written), now));
            assert!(may_take(Holder::Me, None, now) && may_take(Holder::Nobody, None, now));
            assert!(!may_take(Holder::Another, None, now), "what it wrote was not seen for any time");
        }
        assert!(!may_take(Holder::Another, Some(&written), began));
        assert!(!may_take(Holder::Another, Some(&written), began + DURATION - Duration::from_millis(1)));
        assert!(may_take(Holder::Another, Some(&written), began + DURATION));
    }

    #[test]
    fn each_writing_of_another_is_waited_for_anew() {
        let began = Instant::now();
        let first = Written::last(None, "7".into(), began);
        assert_eq!(first, Written { mark: "7".into(), since: began });
        let same = Written::last(Some(first), "7".into(), began + RENEW_EVERY);
        assert_eq!(same, Written { mark: "7".into(), since: began }, "nothing was written since");
        let renewed_at = began + DURATION - RENEW_EVERY;
        let renewed = Written::last(Some(same), "8".into(), renewed_at);
        assert!(!renewed.is_over(began + DURATION), "it was renewed in time");
        assert!(renewed.is_over(renewed_at + DURATION));
    }

    #[test]
    fn a_holder_stops_before_others_may_begin() {
        let renewed = Instant::now();
        assert!(!is_given_up(renewed, renewed + GIVE_UP_AFTER - Duration::from_millis(1)));
        assert!(is_given_up(renewed, renewed + GIVE_UP_AFTER));
        let theirs = Written { mark: "7".into(), since: renewed };
        assert!(!theirs.is_over(renewed + GIVE_UP_AFTER));
    }

    #[test]
    fn taking_it_says_since_when_and_renewing_it_only_that_it_is_alive() {
        let mut spec = held_by(Some("operator-2"));
        take(&mut spec, Holder::Another, ME, at(100));
        assert_eq!(Holder::of(&spec, ME), Holder::Me);
        assert_eq!((spec.acquire_time.clone(), spec.renew_time.clone()), (Some(at(100)), Some(at(100))));
        assert_eq!((spec.lease_transitions, spec.lease_duration_seconds), (Some(1), Some(10)));
        take(&mut spec, Holder::Me, ME, at(102));
        assert_eq!((spec.acquire_time.clone(), spec.renew_time.clone()), (Some(at(100)), Some(at(102))));
        assert_eq!((spec.lease_transitions, Holder::of(&spec, ME)), (Some(1), Holder::Me));
        take(&mut spec, Holder::Nobody, "operator-3", at(104));
        assert_eq!((spec.lease_transitions, Holder::of(&spec, ME)), (Some(2), Holder::Another));
    }

    #[test]
    fn only_the_holder_frees_it() {
        let mut spec = held_by(Some("operator-2"));
        assert!(!free(&mut spec, ME));
        assert_eq!(spec, held_by(Some("operator-2")));
        let mut spec = held_by(Some(ME));
        assert!(free(&mut spec, ME));
        assert_eq!(Holder::of(&spec, "operator-2"), Holder::Nobody);
        assert!(!free(&mut spec, ME), "nobody's is not mine");
    }

    #[test]
    fn who_was_overtaken_holds_nothing_and_any_other_error_says_nothing() {
        let refused = |code| Err(kube::Error::Api(Status::failure("no", "x").with_code(code).boxed()));
        assert!(settled(Ok(Object::default())).unwrap());
        assert!(!settled(refused(409)).unwrap());
        assert!(settled(refused(403)).is_err() && settled(refused(500)).is_err());
    }
}
