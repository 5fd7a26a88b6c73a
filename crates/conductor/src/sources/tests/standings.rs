use super::*;
use evidence::Outcome;

struct Scene {
    standing: Standing,
    now: Instant,
    now_ms: u64,
}

impl Scene {
    fn of(rest: &str) -> Self {
        let standing = Standing::new(&source(&format!("command: {{program: x}}, {rest}")));
        Self { standing, now: Instant::now(), now_ms: NOW_MS }
    }

    fn hear(&mut self, answer: Result<Answer, &str>) -> (Outcome, String) {
        self.standing.hear(answer.map_err(String::from), self.now, self.now_ms);
        self.verdict()
    }

    fn value(&mut self, value: f64) -> (Outcome, String) {
        self.hear(Ok(Reading::Value(value).into()))
    }

    fn verdict(&self) -> (Outcome, String) {
        let verdict = self.standing.verdict(self.now);
        (verdict.outcome, verdict.why)
    }
}

#[test]
fn only_so_many_bad_answers_in_a_row_fail_and_broken_ones_neither_add_nor_excuse() {
    let mut scene = Scene::of("min: 0.9, max: 1, failuresInARow: 2");
    assert_eq!(scene.verdict(), (Outcome::Inconclusive, "mine: it was not asked yet".into()));
    assert_eq!(scene.value(0.95), (Outcome::Pass, "mine: 0.95; at least 0.9 and at most 1 is good".into()));
    let bad = scene.value(0.5);
    assert_eq!(bad, (Outcome::Inconclusive, "mine: 0.5; at least 0.9 and at most 1 is good; bad 1 of 2 times".into()));
    assert_eq!(scene.hear(Err("no answer")), (Outcome::Inconclusive, "mine: no answer".into()));
    assert_eq!(scene.value(1.5).0, Outcome::Fail, "one above, one below, and nothing good between them");
    assert_eq!(scene.value(1.0).0, Outcome::Pass);
    assert_eq!(scene.value(0.8).0, Outcome::Inconclusive, "they are counted anew");
    scene.standing.begin();
    assert_eq!(scene.value(0.8).0, Outcome::Inconclusive, "so they are in another rollout");
}

#[test]
fn what_is_old_absurd_or_from_a_clock_that_jumped_says_nothing() {
    let mut scene = Scene::of("max: 1, ageMsMax: 10000, failuresInARow: 1");
    for value in [f64::NAN, f64::INFINITY] {
        let (outcome, why) = scene.value(value);
        assert!(outcome == Outcome::Inconclusive && why.contains("is not a number that can be judged"), "{why}");
    }
    let at = |at_ms| Ok(Answer { reading: Reading::Value(9.0), at_ms: Some(at_ms) });
    assert_eq!(scene.hear(at(NOW_MS - 4_000)).0, Outcome::Fail);
    scene.now += Duration::from_millis(6_001);
    let stale = "mine: the last answer is 10 s old; 10 s are allowed (`ageMsMax`)";
    assert_eq!(scene.verdict(), (Outcome::Inconclusive, stale.into()), "counted from when it was measured");
    let (outcome, why) = scene.hear(at(NOW_MS - 12_000));
    assert_eq!(
        (outcome, why.as_str()),
        (Outcome::Inconclusive, "mine: the answer was measured 12 s ago; 10 s are allowed (`ageMsMax`)")
    );
    // This machine's clock went back by a minute: what was just measured seems to come from the future.
    let (outcome, why) = scene.hear(at(NOW_MS + 60_000));
    assert_eq!(
        (outcome, why.as_str()),
        (Outcome::Inconclusive, "mine: the answer was measured 60 s ahead of this machine's clock")
    );
}

#[test]
fn counters_that_began_anew_or_cannot_be_are_not_counted() {
    let mut counted = Counted::default();
    assert_eq!(counted.since(Some(counts((100, 5), (900, 9)))), None, "nobody knows since when");
    assert_eq!(counted.since(Some(counts((110, 6), (990, 9)))), Some(counts((10, 1), (90, 0))));
    assert_eq!(counted.since(None), None);
    assert_eq!(counted.since(Some(counts((120, 6), (1_080, 9)))), Some(counts((10, 0), (90, 0))), "of both stretches");
    assert_eq!(counted.since(Some(counts((130, 6), (5, 0)))), None, "the active one was restarted");
    assert_eq!(counted.since(Some(counts((140, 7), (95, 1)))), Some(counts((10, 1), (90, 1))));
    assert_eq!(counted.since(Some(counts((141, 9), (96, 1)))), None, "more events than requests");
    let mut standing = Standing::new(&source("command: {program: x}, rateMax: 0.1"));
    let now = Instant::now();
    standing.hear(Ok(Reading::Counts(counts((3, 4), (0, 0))).into()), now, NOW_MS);
    let why = standing.trouble(now).unwrap();
    assert!(why.ends_with("4 events among 3 requests: there cannot be more events than requests"), "{why}");
    assert_eq!(standing.counts(now), None);
}

#[test]
fn counters_that_stand_still_say_nothing() {
    let mut standing = Standing::new(&source("command: {program: x}, rateMax: 0.1, ageMsMax: 10000"));
    let began = Instant::now();
    let mut hear = |seconds: u64, requests: u64| {
        let now = began + Duration::from_secs(seconds);
        standing.hear(Ok(Reading::Counts(counts((requests, 0), (0, 0))).into()), now, NOW_MS);
        (standing.counts(now).is_some(), standing.trouble(now))
    };
    assert_eq!(hear(0, 5), (true, None));
    assert_eq!(hear(10, 5), (true, None));
    let still = "mine: nothing was counted for 11 s; 10 s are allowed (`ageMsMax`)";
    assert_eq!(hear(11, 5), (false, Some(still.into())));
    assert_eq!(hear(12, 6), (true, None));
}
