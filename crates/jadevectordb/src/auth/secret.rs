//! Random secrets and the only form in which they are kept.

/// Characters of a login token, and of an API key after its prefix.
const SECRET_BYTES: usize = 16;
/// What every API key begins with.
pub const API_KEY_PREFIX: &str = "jadevdb_";
/// Characters of an API key that are kept in the clear, to recognise it by.
const API_KEY_SHOWN: usize = 12;

/// The machine has no randomness to give.
#[derive(Debug, thiserror::Error)]
#[error("the operating system gives no random bytes: {0}")]
pub struct NoRandomness(getrandom::Error);

/// `bytes` random bytes as hexadecimal.
///
/// # Errors
/// [`NoRandomness`]
pub fn random_hex(bytes: usize) -> Result<String, NoRandomness> {
    let mut drawn = vec![0; bytes];
    getrandom::fill(&mut drawn).map_err(NoRandomness)?;
    let digits = drawn.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    Ok(digits.map(|digit| char::from_digit(u32::from(digit), 16).unwrap_or('0')).collect())
}

/// A new login token.
///
/// # Errors
/// [`NoRandomness`]
pub fn new_token() -> Result<String, NoRandomness> {
    random_hex(SECRET_BYTES)
}

/// A new API key.
///
/// # Errors
/// [`NoRandomness`]
pub fn new_api_key() -> Result<String, NoRandomness> {
    Ok(format!("{API_KEY_PREFIX}{}", random_hex(SECRET_BYTES)?))
}

/// The part of an API key that may be shown.
pub fn shown_part(key: &str) -> &str {
    key.get(..API_KEY_SHOWN).unwrap_or(key)
}

/// BLAKE3 in hexadecimal. A plain hash is enough: the secrets have 128 random bits.
pub fn hash(secret: &str) -> String {
    blake3::hash(secret.as_bytes()).to_hex().as_str().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_have_their_shape_and_differ() {
        let (key, token) = (new_api_key().unwrap(), new_token().unwrap());
        assert_eq!((key.len(), token.len()), (40, 32));
        assert!(key.starts_with(API_KEY_PREFIX));
        assert_eq!(shown_part(&key), &key[..12]);
        assert_ne!(new_token().unwrap(), token);
        assert_eq!(hash(&token).len(), 64);
    }
}
