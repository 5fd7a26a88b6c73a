//! Users, API keys and tokens with the look-ups that authentication needs.

use super::digest::{DigestTable, RecordHash};
use super::walk::next_in;
use crate::account::{ApiKey, Token, User};
use crate::record::Op;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use wire::admin::Lsn;
use wire::snapshot::Place;

pub(super) const USERS: &str = "\u{0}users";
pub(super) const API_KEYS: &str = "\u{0}api-keys";
pub(super) const TOKENS: &str = "\u{0}tokens";

#[derive(Default)]
pub struct Accounts {
    users: BTreeMap<String, (Lsn, Arc<User>)>,
    user_ids_by_name: HashMap<String, String>,
    api_keys: BTreeMap<String, (Lsn, Arc<ApiKey>)>,
    key_ids_by_hash: HashMap<String, String>,
    tokens: BTreeMap<String, (Lsn, Arc<Token>)>,
}

impl Accounts {
    pub fn users(&self) -> Vec<Arc<User>> {
        self.users.values().map(|(_, user)| user.clone()).collect()
    }

    pub fn user(&self, user_id: &str) -> Option<Arc<User>> {
        self.users.get(user_id).map(|(_, user)| user.clone())
    }

    pub fn user_named(&self, username: &str) -> Option<Arc<User>> {
        self.user(self.user_ids_by_name.get(username)?)
    }

    pub fn api_keys(&self) -> Vec<Arc<ApiKey>> {
        self.api_keys.values().map(|(_, key)| key.clone()).collect()
    }

    pub fn api_key(&self, key_id: &str) -> Option<Arc<ApiKey>> {
        self.api_keys.get(key_id).map(|(_, key)| key.clone())
    }

    pub fn api_key_hashed(&self, key_hash: &str) -> Option<Arc<ApiKey>> {
        self.api_key(self.key_ids_by_hash.get(key_hash)?)
    }

    pub fn token_hashed(&self, token_hash: &str) -> Option<Arc<Token>> {
        self.tokens.get(token_hash).map(|(_, token)| token.clone())
    }

    pub fn tokens_of(&self, user_id: &str) -> Vec<Arc<Token>> {
        self.tokens.values().filter(|(_, token)| token.user_id == user_id).map(|(_, token)| token.clone()).collect()
    }

    pub fn live_tokens(&self, now_ms: u64) -> usize {
        self.tokens.values().filter(|(_, token)| token.expires_ms > now_ms).count()
    }

    pub fn len(&self) -> usize {
        self.users.len() + self.api_keys.len() + self.tokens.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The record behind `place`, with its place and the LSN that wrote it: users first, then keys, then tokens.
    pub fn next_after(&self, place: Option<&Place>) -> Option<(Place, Lsn, Op)> {
        let users = |after: Option<&str>| {
            let (id, (version, user)) = next_in(&self.users, after)?;
            Some((Place::User { id: id.clone() }, *version, Op::PutUser((**user).clone())))
        };
        let api_keys = |after: Option<&str>| {
            let (id, (version, key)) = next_in(&self.api_keys, after)?;
            Some((Place::ApiKey { id: id.clone() }, *version, Op::PutApiKey((**key).clone())))
        };
        let tokens = |after: Option<&str>| {
            let (id, (version, token)) = next_in(&self.tokens, after)?;
            Some((Place::Token { id: id.clone() }, *version, Op::PutToken((**token).clone())))
        };
        match place {
            None => users(None).or_else(|| api_keys(None)).or_else(|| tokens(None)),
            Some(Place::User { id }) => users(Some(id)).or_else(|| api_keys(None)).or_else(|| tokens(None)),
            Some(Place::ApiKey { id }) => api_keys(Some(id)).or_else(|| tokens(None)),
            Some(Place::Token { id }) => tokens(Some(id)),
            Some(Place::Key { .. } | Place::Database { .. } | Place::Vector { .. }) => None,
        }
    }

    /// Applies an op on accounts; returns how many records it touched.
    pub fn apply(&mut self, lsn: Lsn, op: Op, digest: &mut DigestTable) -> usize {
        match op {
            Op::PutUser(user) => self.put_user(lsn, user, digest),
            Op::PutApiKey(key) => {
                digest.add(API_KEYS, &key.key_id, hash(API_KEYS, &key.key_id, lsn, &key));
                self.key_ids_by_hash.insert(key.key_hash.clone(), key.key_id.clone());
                if let Some((version, old)) = self.api_keys.insert(key.key_id.clone(), (lsn, Arc::new(key))) {
                    digest.remove(API_KEYS, &old.key_id, hash(API_KEYS, &old.key_id, version, &*old));
                }
                1
            }
            Op::PutToken(token) => {
                self.drop_expired(token.created_ms, digest);
                self.put_token(lsn, token, digest)
            }
            Op::DropTokens { token_hashes } => self.drop_tokens(&token_hashes, digest),
            _ => 0,
        }
    }

    /// Takes in a record of a snapshot as it is: what had expired was left out when it was taken.
    pub fn restore(&mut self, lsn: Lsn, op: Op, digest: &mut DigestTable) {
        match op {
            Op::PutToken(token) => self.put_token(lsn, token, digest),
            other => self.apply(lsn, other, digest),
        };
    }

    fn put_token(&mut self, lsn: Lsn, token: Token, digest: &mut DigestTable) -> usize {
        self.drop_tokens(std::slice::from_ref(&token.token_hash), digest);
        digest.add(TOKENS, &token.token_hash, hash(TOKENS, &token.token_hash, lsn, &token));
        self.tokens.insert(token.token_hash.clone(), (lsn, Arc::new(token)));
        1
    }

    /// Drops what has expired by the time of a login, by the log's own time, so that every node drops it at the same
    /// record.
    fn drop_expired(&mut self, now_ms: u64, digest: &mut DigestTable) {
        let expired = self.tokens.iter().filter(|(_, (_, token))| token.expires_ms <= now_ms);
        let expired: Vec<String> = expired.map(|(token_hash, _)| token_hash.clone()).collect();
        self.drop_tokens(&expired, digest);
    }

    fn put_user(&mut self, lsn: Lsn, user: User, digest: &mut DigestTable) -> usize {
        digest.add(USERS, &user.user_id, hash(USERS, &user.user_id, lsn, &user));
        let (user_id, username) = (user.user_id.clone(), user.username.clone());
        if let Some((version, old)) = self.users.insert(user_id.clone(), (lsn, Arc::new(user))) {
            digest.remove(USERS, &old.user_id, hash(USERS, &old.user_id, version, &*old));
            self.user_ids_by_name.remove(&old.username);
        }
        self.user_ids_by_name.insert(username, user_id);
        1
    }

    fn drop_tokens(&mut self, token_hashes: &[String], digest: &mut DigestTable) -> usize {
        let mut dropped = 0;
        for token_hash in token_hashes {
            if let Some((version, old)) = self.tokens.remove(token_hash) {
                digest.remove(TOKENS, token_hash, hash(TOKENS, token_hash, version, &*old));
                dropped += 1;
            }
        }
        dropped
    }
}

pub(super) fn hash(space: &str, id: &str, version: Lsn, record: &impl Serialize) -> RecordHash {
    // Plain structs of strings and numbers always have a JSON form.
    let content = serde_json::to_vec(record).unwrap_or_default();
    RecordHash::of(space, id, version, &[&content])
}
