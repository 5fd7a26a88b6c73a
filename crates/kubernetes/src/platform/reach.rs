//! Whether requests that are led to an environment would arrive: a router is told of a side only when somebody is there, or else
//! the first requests fail for what it has not heard of yet.

use super::probe;
use crate::names::Names;
use crate::store::Stores;
use client::Http;
use kube::ResourceExt;
use parking_lot::Mutex;
use std::time::Duration;
use tokio::time::Instant;
use wire::document::{Router, RouterKind};
use wire::{ByColour, Colour};

/// Where the router cannot be asked, this long after the cluster knows of an endpoint its proxies know of it too.
const SETTLE: Duration = Duration::from_secs(1);
/// A wait for the router that is longer is told to people.
const TELL_AFTER: Duration = Duration::from_secs(3);

/// Since when the cluster leads to each environment's Service.
#[derive(Default)]
pub(super) struct Reach {
    since: Mutex<ByColour<Option<Instant>>>,
    /// What is waited for, and since when.
    waiting: Mutex<Option<(String, Instant)>>,
}

impl Reach {
    /// Looks at the endpoints.
    pub fn look(&self, stores: &Stores, names: &Names) {
        let mut since = self.since.lock();
        for colour in Colour::BOTH {
            let since = since.get_mut(colour);
            *since = since.filter(|_| has_endpoint(stores, names, colour));
            if since.is_none() && has_endpoint(stores, names, colour) {
                *since = Some(Instant::now());
            }
        }
    }

    /// The shares that the router can be told now, and what is missing for those that it shall have. `current` is what it does.
    pub async fn shares(
        &self,
        http: &Http,
        router: &Router,
        versions: &ByColour<Option<String>>,
        current: Option<ByColour<u8>>,
        wanted: ByColour<u8>,
    ) -> (ByColour<u8>, Option<String>) {
        let since = *self.since.lock();
        let Some((current, comes)) = current.zip(comes(current, wanted)) else { return (wanted, None) };
        // Whoever serves now is better than nobody, and nobody is no better than the one that comes.
        if since.get(comes.other()).is_none() {
            return (wanted, None);
        }
        let missing = match since.get(comes) {
            None => Some(format!("{comes} has no ready endpoint in its Service")),
            Some(since) => match (&router.probe_url, router.kind, versions.get(comes)) {
                (Some(url), RouterKind::HttpRoute | RouterKind::Istio, Some(version)) => {
                    let asked = probe::all_answered_by(http, url, router, Some(comes), version).await;
                    asked.err().map(|why| format!("{comes} is not reached through it: {why}"))
                }
                // What the cluster's proxies do follows from the endpoints alone, and is looked at afterwards.
                (_, RouterKind::Service, _) => None,
                _ => (since.elapsed() < SETTLE).then(|| format!("{comes} is ready only since a moment")),
            },
        };
        match missing {
            None => (wanted, None),
            Some(why) => (current, Some(why)),
        }
    }

    /// `missing` once it has been missing for longer than is usual.
    pub fn trouble(&self, missing: Option<String>) -> Option<String> {
        let mut waiting = self.waiting.lock();
        let Some(missing) = missing else {
            *waiting = None;
            return None;
        };
        let began = waiting.as_ref().map_or_else(Instant::now, |(_, began)| *began);
        *waiting = Some((missing.clone(), began));
        (began.elapsed() >= TELL_AFTER).then_some(missing)
    }
}

/// The side that has no reads and shall get some.
fn comes(current: Option<ByColour<u8>>, wanted: ByColour<u8>) -> Option<Colour> {
    let current = current?;
    Colour::BOTH.into_iter().find(|colour| *current.get(*colour) == 0 && *wanted.get(*colour) > 0)
}

fn has_endpoint(stores: &Stores, names: &Names, colour: Colour) -> bool {
    let pods = stores.pods(names, colour);
    let slices = stores.slices(names, &names.environment_service(colour));
    slices.iter().flat_map(|slice| slice.endpoints.iter().flatten()).any(|endpoint| {
        let ready = endpoint.conditions.as_ref().and_then(|conditions| conditions.ready) != Some(false);
        let target = endpoint.target_ref.as_ref().and_then(|target| target.name.as_deref());
        ready && pods.iter().any(|pod| Some(pod.name_any().as_str()) == target)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLUE: ByColour<u8> = ByColour { blue: 100, green: 0 };
    const TENTH: ByColour<u8> = ByColour { blue: 90, green: 10 };

    fn since(blue: Option<Duration>, green: Option<Duration>) -> Reach {
        let at = |age: Option<Duration>| age.and_then(|age| Instant::now().checked_sub(age));
        Reach { since: Mutex::new(ByColour::new(at(blue), at(green))), waiting: Mutex::default() }
    }

    async fn shares(reach: &Reach, current: Option<ByColour<u8>>, wanted: ByColour<u8>) -> (ByColour<u8>, bool) {
        shares_of(RouterKind::HttpRoute, reach, current, wanted).await
    }

    async fn shares_of(
        kind: RouterKind,
        reach: &Reach,
        current: Option<ByColour<u8>>,
        wanted: ByColour<u8>,
    ) -> (ByColour<u8>, bool) {
        let router = Router { kind, ..Router::default() };
        let versions = ByColour::new(Some("1.0.0".into()), Some("1.1.0".into()));
        let (shares, missing) = reach.shares(&Http::new(), &router, &versions, current, wanted).await;
        (shares, missing.is_some())
    }

    #[tokio::test]
    async fn nobody_is_led_to_a_side_that_the_cluster_does_not_know_yet() {
        let long = Some(Duration::from_secs(60));
        assert_eq!(shares(&since(long, None), Some(BLUE), TENTH).await, (BLUE, true));
        assert_eq!(shares(&since(long, Some(Duration::ZERO)), Some(BLUE), TENTH).await, (BLUE, true), "only just");
        let at_once = shares_of(RouterKind::Service, &since(long, Some(Duration::ZERO)), Some(BLUE), TENTH).await;
        assert_eq!(at_once, (TENTH, false), "a Service follows its endpoints at once");
        assert_eq!(shares(&since(long, long), Some(BLUE), TENTH).await, (TENTH, false));
    }

    #[tokio::test]
    async fn a_side_that_is_away_is_left_for_one_that_may_come() {
        let long = Some(Duration::from_secs(60));
        assert_eq!(shares(&since(None, None), Some(BLUE), TENTH).await, (TENTH, false));
        assert_eq!(shares(&since(long, None), None, BLUE).await, (BLUE, false), "the first shares of all");
        assert_eq!(shares(&since(long, None), Some(TENTH), BLUE).await, (BLUE, false), "nobody comes");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_usual_is_no_trouble() {
        let reach = Reach::default();
        assert_eq!(reach.trouble(Some("x".into())), None);
        tokio::time::advance(TELL_AFTER).await;
        assert_eq!(reach.trouble(Some("y".into())), Some("y".into()));
        assert_eq!(reach.trouble(None), None);
        assert_eq!(reach.trouble(Some("x".into())), None, "a new wait");
    }
}
