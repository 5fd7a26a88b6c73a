//! Users, API keys and login tokens: records in the same log as the vectors, so that nobody is logged out by a switch.
//!
//! Secrets never stand here: passwords as argon2 strings, keys and tokens as BLAKE3 hashes in hexadecimal.

use serde::{Deserialize, Serialize};

/// A person or program that may log in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    pub user_id: String,
    pub username: String,
    #[serde(default)]
    pub email: String,
    /// PHC string (`$argon2id$...`).
    pub password_hash: String,
    #[serde(default)]
    pub roles: Vec<String>,
    #[serde(default = "yes")]
    pub is_active: bool,
    #[serde(default)]
    pub must_change_password: bool,
    /// Milliseconds since 1970.
    pub created_ms: u64,
}

/// A long-lived credential of a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKey {
    pub key_id: String,
    /// BLAKE3 of the key, hexadecimal.
    pub key_hash: String,
    /// First characters of the key, to recognise it by.
    pub key_prefix: String,
    pub user_id: String,
    #[serde(default)]
    pub description: String,
    #[serde(default)]
    pub permissions: Vec<String>,
    #[serde(default = "yes")]
    pub is_active: bool,
    pub created_ms: u64,
    /// 0: never.
    #[serde(default)]
    pub expires_ms: u64,
}

/// What a login gave out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// BLAKE3 of the token, hexadecimal.
    pub token_hash: String,
    pub user_id: String,
    pub created_ms: u64,
    pub expires_ms: u64,
}

fn yes() -> bool {
    true
}
