//! Everything that is left to chance in a run, drawn from its seed in the order in which it is asked for.

use parking_lot::Mutex;
use std::ops::RangeInclusive;
use std::time::Duration;

pub(super) struct Chance {
    state: Mutex<u64>,
}

/// A number that looks random and follows from `input` alone (the last steps of SplitMix64).
pub(super) fn mix(input: u64) -> u64 {
    let mut mixed = input.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

impl Chance {
    pub fn seeded(seed: u64) -> Chance {
        // Apart from what the simulated operating system gives for the same seed.
        Chance { state: Mutex::new(mix(!seed)) }
    }

    pub fn draw(&self) -> u64 {
        let mut state = self.state.lock();
        *state = state.wrapping_add(1);
        mix(*state)
    }

    /// 0 to `limit` - 1.
    pub fn below(&self, limit: u64) -> u64 {
        // The bias is far below anything that could matter here.
        if limit == 0 { 0 } else { (self.draw() >> 11) % limit }
    }

    pub fn between(&self, range: RangeInclusive<u64>) -> u64 {
        range.start() + self.below(range.end() - range.start() + 1)
    }

    pub fn ms(&self, range: RangeInclusive<u64>) -> Duration {
        Duration::from_millis(self.between(range))
    }

    /// True `parts` times out of `of`.
    pub fn hits(&self, parts: u32, of: u32) -> bool {
        parts > 0 && self.below(u64::from(of)) < u64::from(parts)
    }

    pub fn coin(&self) -> bool {
        self.hits(1, 2)
    }

    pub fn pick<'a, T>(&self, from: &'a [T]) -> Option<&'a T> {
        from.get(self.below(from.len() as u64) as usize)
    }
}
