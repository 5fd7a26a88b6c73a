//! The one account that a new history begins with. There is no built-in password.

use super::{ADMIN, secret};
use crate::account::User;
use crate::engine::{Condition, Node, Standing, WriteError};
use crate::record::Op;
use wire::document::Mode;

/// Shortest password outside of development.
pub const PASSWORD_CHARS_MIN: usize = 8;
const ROLES: [&str; 3] = [ADMIN, "developer", "user"];

/// What was created.
#[derive(Debug, PartialEq, Eq)]
pub struct FirstAdmin {
    pub username: String,
    /// Set when the password was not given from outside: it must be shown to a person now, it is kept nowhere.
    pub generated_password: Option<String>,
}

/// Why there is no first account.
#[derive(Debug, thiserror::Error)]
pub enum FirstAdminError {
    #[error(
        "the first administrator's password has {chars} characters, it needs at least {PASSWORD_CHARS_MIN}: \
         set JADEVECTORDB_ADMIN_PASSWORD or JADEVECTORDB_ADMIN_PASSWORD_FILE, or neither to have one generated"
    )]
    TooShort { chars: usize },
    #[error("the first administrator's password cannot be hashed: {0}")]
    Hash(#[from] super::password::PasswordError),
    #[error("the first administrator's password cannot be generated: {0}")]
    Generate(#[from] secret::NoRandomness),
    #[error("the first administrator cannot be written: {0}")]
    Write(WriteError),
}

/// Creates user `admin` if this node is primary of a history without users. In development only when a password is
/// `given`: registration is open there.
///
/// # Errors
/// [`FirstAdminError`]
pub async fn ensure_first_admin(node: &Node, given: Option<String>) -> Result<Option<FirstAdmin>, FirstAdminError> {
    let open = node.config().mode == Mode::Development;
    if node.standing() != Standing::Primary || !node.store().users().is_empty() || (open && given.is_none()) {
        return Ok(None);
    }
    if let Some(chars) = given.as_ref().map(|password| password.chars().count())
        && !open
        && chars < PASSWORD_CHARS_MIN
    {
        return Err(FirstAdminError::TooShort { chars });
    }
    let (password, generated_password) = match given {
        Some(password) => (password, None),
        None => {
            let password = secret::random_hex(12)?;
            (password.clone(), Some(password))
        }
    };
    let user = User {
        user_id: secret::random_hex(8)?,
        username: ADMIN.into(),
        email: format!("{ADMIN}@jadevectordb.local"),
        password_hash: super::password::Passwords::default().hash(&password).await?,
        roles: ROLES.map(str::to_owned).to_vec(),
        is_active: true,
        must_change_password: true,
        created_ms: node.config().surroundings.clock.now_ms(),
    };
    match node.write_if(Op::PutUser(user), Condition::UsernameFree(ADMIN.into())).await {
        Ok(_) => Ok(Some(FirstAdmin { username: ADMIN.into(), generated_password })),
        // Somebody else was first, or another node became the primary meanwhile: it is not ours to create.
        Err(WriteError::Conflict(_) | WriteError::NotPrimary) => Ok(None),
        Err(error) => Err(FirstAdminError::Write(error)),
    }
}
