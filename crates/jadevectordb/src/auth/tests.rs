use super::*;
use crate::account::{ApiKey, Token};
use crate::record::Op;

const NOW: u64 = 1_000_000;

fn store() -> Store {
    let store = Store::new(wire::document::Index::default());
    let user = |user_id: &str, roles: &[&str], is_active| {
        Op::PutUser(User {
            user_id: user_id.into(),
            username: user_id.into(),
            email: String::new(),
            password_hash: String::new(),
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
            is_active,
            must_change_password: false,
            created_ms: 1,
        })
    };
    let key = |key: &str, user_id: &str, is_active, expires_ms| {
        Op::PutApiKey(ApiKey {
            key_id: key.into(),
            key_hash: secret::hash(key),
            key_prefix: String::new(),
            user_id: user_id.into(),
            description: String::new(),
            permissions: vec![],
            is_active,
            created_ms: 1,
            expires_ms,
        })
    };
    let token = Op::PutToken(Token {
        token_hash: secret::hash("login"),
        user_id: "ada".into(),
        created_ms: 1,
        expires_ms: NOW + 1,
    });
    let ops = [
        user("ada", &["user", "admin"], true),
        user("bob", &["user"], true),
        user("gone", &["admin"], false),
        key("jadevdb_bob", "bob", true, 0),
        key("jadevdb_revoked", "bob", false, 0),
        key("jadevdb_expired", "bob", true, NOW),
        key("jadevdb_gone", "gone", true, 0),
        token,
    ];
    for (lsn, op) in (1..).zip(ops) {
        store.apply(lsn, op);
    }
    store
}

#[test]
fn only_live_credentials_of_active_users_are_good() {
    let (store, auth) = (store(), Auth::new(RateLimits::default()));
    let who = |secret: &str, now| {
        let caller = auth.identify(&store, Mode::Production, secret, now)?;
        Some((caller.user_id().to_owned(), caller.is_admin(), caller.token_hash().is_some()))
    };
    assert_eq!(who("login", NOW), Some(("ada".into(), true, true)));
    assert_eq!(who("login", NOW + 1), None);
    assert_eq!(who("jadevdb_bob", NOW), Some(("bob".into(), false, false)));
    for refused in ["jadevdb_revoked", "jadevdb_expired", "jadevdb_gone", "jadevdb_", "", "admin"] {
        assert_eq!(who(refused, NOW), None, "{refused}");
    }
    assert!(auth.identify(&store, Mode::Development, "jadevdb_bob", NOW).is_some_and(|bob| bob.is_admin()));
    assert_eq!(auth.usage("jadevdb_bob").unwrap().count.load(Ordering::Relaxed), 2);
}

#[test]
fn a_credential_is_read_from_three_places_exactly() {
    let read = |name: &'static str, value: &str| {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        credential(&headers).map(str::to_owned)
    };
    assert_eq!(read("authorization", "Bearer abc").as_deref(), Some("abc"));
    assert_eq!(read("authorization", "ApiKey abc").as_deref(), Some("abc"));
    assert_eq!(read("x-api-key", "abc").as_deref(), Some("abc"));
    for refused in ["bearer abc", "Bearer", "Bearer ", "Basic abc", "abc"] {
        assert_eq!(read("authorization", refused), None, "{refused}");
    }
}

#[test]
fn moments_are_written_in_utc() {
    assert_eq!(iso(1_766_000_000_999), "2025-12-17T19:33:20Z");
    assert_eq!(iso(u64::MAX), "");
}
