//! Results as people read them. Every function is pure, so that each text has a test that shows it.

pub mod health;
mod info;
pub mod page;
mod phase;
pub mod plot;
mod report;
pub mod table;
mod verified;

pub use info::{info, role};
pub use phase::name as phase_name;
pub use report::report;
pub use verified::{is_compared, verified};

/// A span of time: `350 ms`, `4.2 s`, `75 s`, `12 min`, `3 h`.
pub fn span(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..10_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        10_000..120_000 => format!("{} s", ms / 1_000),
        120_000..7_200_000 => format!("{} min", ms / 60_000),
        _ => format!("{} h", ms / 3_600_000),
    }
}

/// Time of day in UTC: `14:03:22`.
pub fn time_of_day(at_ms: u64) -> String {
    let second = at_ms / 1_000 % 86_400;
    format!("{:02}:{:02}:{:02}", second / 3_600, second / 60 % 60, second % 60)
}

/// A sentence with the beginnings of its digests, instead of their 64 characters.
pub fn short_digests(sentence: &str) -> String {
    let short = |word: &str| match word.len() {
        64 if word.bytes().all(|byte| byte.is_ascii_hexdigit()) => format!("{}…", &word[..12]),
        _ => word.to_string(),
    };
    sentence.split(' ').map(short).collect::<Vec<_>>().join(" ")
}

/// A sentence without its numbers and their units of time: two of the same shape say the same thing.
pub fn shape(sentence: &str) -> String {
    let plain: String = sentence.chars().filter(|c| !c.is_ascii_digit() && !matches!(c, '.' | ',')).collect();
    plain.replace(" ms", " s").replace(" min", " s")
}

#[cfg(test)]
mod tests;
