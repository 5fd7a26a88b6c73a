//! Who is asking, and may they: credentials, roles, passwords, limits.
//!
//! | file | what it holds |
//! |---|---|
//! | `secret` | random keys and tokens, and their hashes |
//! | `password` | argon2, bounded |
//! | `limits` | rate limits, blocks and locks |
//! | `audit` | what happened to accounts |
//! | `first_admin` | the one account of a new history |

pub mod audit;
pub mod first_admin;
pub mod limits;
pub mod password;
pub mod secret;

pub use first_admin::{FirstAdmin, FirstAdminError, ensure_first_admin};
pub use limits::RateLimits;

use crate::account::User;
use crate::store::Store;
use audit::Audit;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use limits::Limiter;
use parking_lot::RwLock;
use password::Passwords;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::time::Instant;
use wire::document::Mode;

/// The role that may do everything.
pub const ADMIN: &str = "admin";
/// How long a login is good for, milliseconds.
pub const TOKEN_MS: u64 = 3_600_000;
/// Logins of one user at the same time; the oldest ends when one more begins.
pub const TOKENS_PER_USER_MAX: usize = 1_000;

/// What a route asks of its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    Open,
    /// Any user.
    User,
    Admin,
}

/// Who is asking.
#[derive(Debug, Clone, Default)]
pub struct Caller {
    user: Option<Arc<User>>,
    /// Of the login that was used, if it was one.
    token_hash: Option<String>,
    admin: bool,
}

impl Caller {
    pub fn user(&self) -> Option<&Arc<User>> {
        self.user.as_ref()
    }

    pub fn user_id(&self) -> &str {
        self.user.as_ref().map_or("", |user| &user.user_id)
    }

    pub fn token_hash(&self) -> Option<&str> {
        self.token_hash.as_deref()
    }

    pub fn is_admin(&self) -> bool {
        self.admin
    }
}

/// Everything about accounts that is this process's own and not in the log.
pub struct Auth {
    pub limiter: Limiter,
    pub passwords: Passwords,
    pub audit: Audit,
    usage: RwLock<HashMap<String, Arc<Usage>>>,
    started: Instant,
}

/// How an API key was used on this node since it started.
#[derive(Debug, Default)]
pub struct Usage {
    pub count: AtomicU64,
    /// Milliseconds since 1970; 0 is never.
    pub last_ms: AtomicU64,
}

impl Auth {
    pub fn new(limits: RateLimits) -> Self {
        Self {
            limiter: Limiter::new(limits),
            passwords: Passwords::default(),
            audit: Audit::default(),
            usage: RwLock::default(),
            started: Instant::now(),
        }
    }

    /// The clock of the limits: milliseconds since the start.
    pub fn limits_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    /// The user behind a login token or an API key, if it is good at `now_ms`.
    pub fn identify(&self, store: &Store, mode: Mode, secret: &str, now_ms: u64) -> Option<Caller> {
        let hash = secret::hash(secret);
        let (user_id, token_hash) = if secret.starts_with(secret::API_KEY_PREFIX) {
            let key = store.api_key_hashed(&hash)?;
            let expired = key.expires_ms != 0 && key.expires_ms <= now_ms;
            if !key.is_active || expired {
                return None;
            }
            self.note_use(&key.key_id, now_ms);
            (key.user_id.clone(), None)
        } else {
            let token = store.token_hashed(&hash).filter(|token| token.expires_ms > now_ms)?;
            (token.user_id.clone(), Some(hash))
        };
        let user = store.user(&user_id).filter(|user| user.is_active)?;
        // As in the original, whoever may use a development node may do everything there.
        let admin = mode == Mode::Development || user.roles.iter().any(|role| role == ADMIN);
        Some(Caller { user: Some(user), token_hash, admin })
    }

    pub fn usage(&self, key_id: &str) -> Option<Arc<Usage>> {
        self.usage.read().get(key_id).cloned()
    }

    fn note_use(&self, key_id: &str, now_ms: u64) {
        let known = self.usage(key_id);
        let usage = known.unwrap_or_else(|| self.usage.write().entry(key_id.to_owned()).or_default().clone());
        usage.count.fetch_add(1, Ordering::Relaxed);
        usage.last_ms.store(now_ms, Ordering::Relaxed);
    }
}

/// The secret that a request carries: `Authorization: Bearer X`, `Authorization: ApiKey X` or `X-API-Key: X`.
pub fn credential(headers: &HeaderMap) -> Option<&str> {
    let given = match headers.get(AUTHORIZATION) {
        Some(value) => {
            let value = value.to_str().ok()?;
            value.strip_prefix("Bearer ").or_else(|| value.strip_prefix("ApiKey "))?
        }
        None => headers.get("x-api-key")?.to_str().ok()?,
    };
    (!given.is_empty()).then_some(given)
}

/// `2026-01-31T12:00:00Z`; empty when the moment has no such form.
pub fn iso(ms: u64) -> String {
    let seconds = i64::try_from(ms / 1000).ok();
    seconds.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok()).map_or(String::new(), |at| at.to_string())
}

#[cfg(test)]
mod tests;
