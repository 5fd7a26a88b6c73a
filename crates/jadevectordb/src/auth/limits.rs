//! How often a client may try: rate limits per address, blocks after failed logins, locks after wrong passwords.
//!
//! Pure: the time is an argument, in milliseconds of any clock that does not go back. Memory is bounded: each table
//! holds a fixed number of entries, and when it is full the entry that would be meaningless soonest makes place.

mod table;

use parking_lot::Mutex;
use std::net::{IpAddr, Ipv6Addr};
use table::{Entry, Table};

/// The limits' numbers.
#[derive(Debug, Clone)]
pub struct RateLimits {
    pub login: Rate,
    pub register: Rate,
    /// Per name that was given, not per address.
    pub forgot_password: Rate,
    /// So many failed logins within the period block an address.
    pub failed_logins_max: u32,
    pub failed_logins_period_ms: u64,
    pub block_ms: u64,
    /// So many wrong passwords in a row lock an account.
    pub wrong_passwords_max: u32,
    pub lock_ms: u64,
    /// Entries of each table.
    pub entries_max: usize,
}

/// A bucket of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    pub burst: u32,
    /// One more try is allowed after so long.
    pub refill_ms: u64,
}

impl Default for RateLimits {
    fn default() -> Self {
        Self {
            login: Rate { burst: 5, refill_ms: 12_000 },
            register: Rate { burst: 3, refill_ms: 1_200_000 },
            forgot_password: Rate { burst: 3, refill_ms: 1_200_000 },
            failed_logins_max: 10,
            failed_logins_period_ms: 600_000,
            block_ms: 3_600_000,
            wrong_passwords_max: 5,
            lock_ms: 900_000,
            entries_max: 10_000,
        }
    }
}

/// Why a try is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    TooMany { retry_after_s: u64 },
    Blocked { retry_after_s: u64 },
}

/// Counts tries.
pub struct Limiter {
    rules: RateLimits,
    tables: Mutex<Tables>,
}

struct Tables {
    logins: Table<IpAddr, Bucket>,
    registrations: Table<IpAddr, Bucket>,
    forgotten: Table<u64, Bucket>,
    failures: Table<IpAddr, Failures>,
    accounts: Table<String, Failures>,
}

struct Bucket {
    rate: Rate,
    /// When the bucket is full again; each try moves it by one refill.
    full_ms: u64,
}

impl Entry for Bucket {
    fn meaningless_from_ms(&self) -> u64 {
        self.full_ms
    }
}

struct Failures {
    count: u32,
    counted_until_ms: u64,
    blocked_until_ms: u64,
}

impl Entry for Failures {
    fn meaningless_from_ms(&self) -> u64 {
        self.counted_until_ms.max(self.blocked_until_ms)
    }
}

impl Limiter {
    pub fn new(rules: RateLimits) -> Self {
        let tables = Tables {
            logins: Table::new(rules.entries_max),
            registrations: Table::new(rules.entries_max),
            forgotten: Table::new(rules.entries_max),
            failures: Table::new(rules.entries_max),
            accounts: Table::new(rules.entries_max),
        };
        Self { rules, tables: Mutex::new(tables) }
    }

    /// Counts one login from `address`.
    ///
    /// # Errors
    /// [`Refusal`] when the address is blocked or too fast.
    pub fn login(&self, address: IpAddr, now_ms: u64) -> Result<(), Refusal> {
        let mut tables = self.tables.lock();
        let address = network(address);
        if let Some(failures) = tables.failures.get(&address)
            && failures.blocked_until_ms > now_ms
        {
            return Err(Refusal::Blocked { retry_after_s: seconds(failures.blocked_until_ms - now_ms) });
        }
        try_one(&mut tables.logins, address, self.rules.login, now_ms)
    }

    /// Counts a login that was refused for what it said; true when this one blocks the address.
    pub fn login_failed(&self, address: IpAddr, now_ms: u64) -> bool {
        let rules = &self.rules;
        let mut tables = self.tables.lock();
        count(
            &mut tables.failures,
            network(address),
            (rules.failed_logins_max, rules.failed_logins_period_ms, rules.block_ms),
            now_ms,
        )
    }

    /// Counts one registration from `address`.
    ///
    /// # Errors
    /// [`Refusal::TooMany`]
    pub fn register(&self, address: IpAddr, now_ms: u64) -> Result<(), Refusal> {
        try_one(&mut self.tables.lock().registrations, network(address), self.rules.register, now_ms)
    }

    /// Counts one forgotten password of `name`.
    ///
    /// # Errors
    /// [`Refusal::TooMany`]
    pub fn forgot_password(&self, name: &str, now_ms: u64) -> Result<(), Refusal> {
        let digest = blake3::hash(name.as_bytes());
        let short = digest.as_bytes().first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        try_one(&mut self.tables.lock().forgotten, short, self.rules.forgot_password, now_ms)
    }

    /// Counts a wrong password of an account; true when this one locks it.
    pub fn wrong_password(&self, user_id: &str, now_ms: u64) -> bool {
        let rules = &self.rules;
        let mut tables = self.tables.lock();
        count(
            &mut tables.accounts,
            user_id.to_owned(),
            (rules.wrong_passwords_max, rules.lock_ms, rules.lock_ms),
            now_ms,
        )
    }

    /// Forgets the wrong passwords of an account: the right one was given, or it has another now.
    pub fn forgive(&self, user_id: &str) {
        self.tables.lock().accounts.remove(&user_id.to_owned());
    }

    pub fn is_locked(&self, user_id: &str, now_ms: u64) -> bool {
        let tables = self.tables.lock();
        tables.accounts.get(&user_id.to_owned()).is_some_and(|failures| failures.blocked_until_ms > now_ms)
    }

    pub fn locked_accounts(&self, now_ms: u64) -> usize {
        self.tables.lock().accounts.values().filter(|failures| failures.blocked_until_ms > now_ms).count()
    }
}

fn try_one<K: std::hash::Hash + Eq + Clone>(
    table: &mut Table<K, Bucket>,
    key: K,
    rate: Rate,
    now_ms: u64,
) -> Result<(), Refusal> {
    let bucket = table.entry(key, now_ms, || Bucket { rate, full_ms: now_ms });
    let full_ms = bucket.full_ms.max(now_ms) + bucket.rate.refill_ms;
    let room_ms = u64::from(bucket.rate.burst) * bucket.rate.refill_ms;
    let taken_ms = full_ms - now_ms;
    if taken_ms > room_ms {
        return Err(Refusal::TooMany { retry_after_s: seconds(taken_ms - room_ms) });
    }
    bucket.full_ms = full_ms;
    Ok(())
}

fn count<K: std::hash::Hash + Eq + Clone>(
    table: &mut Table<K, Failures>,
    key: K,
    (max, period_ms, block_ms): (u32, u64, u64),
    now_ms: u64,
) -> bool {
    let begin = || Failures { count: 0, counted_until_ms: now_ms + period_ms, blocked_until_ms: 0 };
    let failures = table.entry(key, now_ms, begin);
    if failures.counted_until_ms <= now_ms {
        failures.count = 0;
        failures.counted_until_ms = now_ms + period_ms;
    }
    failures.count += 1;
    if failures.count < max || failures.blocked_until_ms > now_ms {
        return false;
    }
    failures.count = 0;
    failures.blocked_until_ms = now_ms + block_ms;
    true
}

/// One client: an IPv4 address, or the /64 network of an IPv6 address, in which a client may choose freely.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(six) => IpAddr::V6(Ipv6Addr::from_bits(six.to_bits() & !u128::from(u64::MAX))),
        four => four,
    }
}

fn seconds(ms: u64) -> u64 {
    ms.div_ceil(1000).max(1)
}

#[cfg(test)]
mod tests;
