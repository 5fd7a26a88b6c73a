//! Passwords: argon2id, a bounded number of computations at once.

use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Semaphore;

/// 19 MiB, two passes, one lane: the least that OWASP recommends for argon2id.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// Computations at once: `4 * 19 MiB` of memory.
const AT_ONCE_MAX: usize = 4;
/// Requests that may wait for one.
const WAITING_MAX: usize = 64;
/// Longest password, bytes.
pub const PASSWORD_BYTES_MAX: usize = 1_024;

/// Hashes and compares passwords.
pub struct Passwords {
    permits: Semaphore,
    waiting: AtomicUsize,
}

/// Why a password was neither hashed nor compared.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    #[error("too many passwords are being checked at once ({WAITING_MAX} wait); try again")]
    Busy,
    #[error("the password cannot be hashed: {0}")]
    Hash(String),
}

impl Default for Passwords {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self { permits: Semaphore::new(cores.min(AT_ONCE_MAX)), waiting: AtomicUsize::new(0) }
    }
}

impl Passwords {
    /// The PHC string of `password`, with a salt of its own.
    ///
    /// # Errors
    /// [`PasswordError`]
    pub async fn hash(&self, password: &str) -> Result<String, PasswordError> {
        let password = password.to_owned();
        self.compute(move || hash(&password)).await?
    }

    /// Whether `password` belongs to `hash`. Without a hash it takes as long and is false: the time does not tell which
    /// names exist.
    ///
    /// # Errors
    /// [`PasswordError`]
    pub async fn verify(&self, password: &str, hash: Option<&str>) -> Result<bool, PasswordError> {
        let (password, expected) = (password.to_owned(), hash.map(str::to_owned));
        let verify = move || match expected {
            Some(expected) => Ok(Argon2::default().verify_password(password.as_bytes(), expected.as_str()).is_ok()),
            None => self::hash(&password).map(|_| false),
        };
        self.compute(verify).await?
    }

    async fn compute<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, PasswordError> {
        let _place = Place::take(&self.waiting)?;
        let _permit = self.permits.acquire().await.map_err(|error| PasswordError::Hash(error.to_string()))?;
        tokio::task::spawn_blocking(work).await.map_err(|error| PasswordError::Hash(error.to_string()))
    }
}

/// A place among those who wait; given back when dropped, also by a client that goes away.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicUsize) -> Result<Self, PasswordError> {
        let place = Place(waiting);
        if waiting.fetch_add(1, Ordering::Relaxed) >= WAITING_MAX + AT_ONCE_MAX {
            return Err(PasswordError::Busy);
        }
        Ok(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn hash(password: &str) -> Result<String, PasswordError> {
    let failed = |error: &dyn std::fmt::Display| PasswordError::Hash(error.to_string());
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(|error| failed(&error))?;
    let hasher = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    hasher.hash_password(password.as_bytes()).map(|hash| hash.to_string()).map_err(|error| failed(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_right_password_verifies() {
        let passwords = Passwords::default();
        let hash = passwords.hash("correct horse").await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert_ne!(hash, passwords.hash("correct horse").await.unwrap());
        assert!(passwords.verify("correct horse", Some(&hash)).await.unwrap());
        assert!(!passwords.verify("battery staple", Some(&hash)).await.unwrap());
        assert!(!passwords.verify("correct horse", None).await.unwrap());
    }

    #[test]
    fn the_number_that_waits_is_bounded() {
        let waiting = AtomicUsize::new(0);
        let places: Vec<_> = (0..WAITING_MAX + AT_ONCE_MAX).map(|_| Place::take(&waiting).unwrap()).collect();
        assert!(matches!(Place::take(&waiting), Err(PasswordError::Busy)));
        drop(places);
        assert_eq!(waiting.load(Ordering::Relaxed), 0);
        assert!(Place::take(&waiting).is_ok());
    }
}
