//! API keys, one-time sign-in tokens and sessions.
//!
//! All three are 32 random bytes behind a prefix (`zj_` key, `zl_` sign-in token, `zs_` session) and stored as SHA-256.
//! A guess is hopeless and a look-up by hash reveals nothing through its timing. Callers pass the time, so that expiry
//! is tested without waiting.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use super::{Database, StoreError};
use crate::config::Secret;
use crate::domain::{Principal, Role};

/// How long a sign-in link waits for its use.
pub const SIGN_IN_LIFETIME: SignedDuration = SignedDuration::from_mins(15);

/// How long a session lasts.
pub const SESSION_LIFETIME: SignedDuration = SignedDuration::from_hours(12);

const KEY_PREFIX: &str = "zj_";
const SIGN_IN_PREFIX: &str = "zl_";
const SESSION_PREFIX: &str = "zs_";

/// The tables of `0001_keys.sql`; cheap to clone.
#[derive(Clone, Debug)]
pub struct KeyStore {
    database: Database,
}

/// What a new key is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewKey {
    pub role: Role,
    pub school: Option<String>,
    /// Tells the keys apart for those who manage them.
    pub name: String,
}

/// A key without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    pub id: Uuid,
    pub role: Role,
    pub school: Option<String>,
    pub name: String,
    pub created_at: Timestamp,
    pub revoked_at: Option<Timestamp>,
}

/// The first administrator's key after a start.
#[derive(Clone, Debug)]
pub struct FirstAdministrator {
    pub key_id: Uuid,
    /// The key, when this start made it: to be shown once.
    pub made: Option<Secret>,
}

/// A session just opened.
#[derive(Clone, Debug)]
pub struct OpenedSession {
    pub token: Secret,
    pub caller: Caller,
}

/// Whom a bearer token belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    pub principal: Principal,
    /// The end of the session; keys have none.
    pub expires_at: Option<Timestamp>,
}

impl KeyStore {
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    /// Makes a key. The secret is in the answer and nowhere else.
    pub async fn create(&self, new: NewKey, now: Timestamp) -> Result<(ApiKey, Secret), StoreError> {
        let secret = random_secret(KEY_PREFIX);
        let key = self.insert(new, &secret, false, now).await?;
        Ok((key, secret))
    }

    /// Sees to it that an administrator can get in.
    ///
    /// `configured` replaces the first administrator's key when it differs (which ends the sessions opened with the old
    /// one). Without it, a key is made if there is no administrator's key at all.
    pub async fn ensure_first_administrator(
        &self,
        configured: Option<&Secret>,
        now: Timestamp,
    ) -> Result<FirstAdministrator, StoreError> {
        let first = sqlx::query("SELECT id, secret_hash, revoked_at FROM api_keys WHERE is_first = 1")
            .fetch_optional(self.database.pool())
            .await?;
        let new = || NewKey { role: Role::Administrator, school: None, name: "first administrator".to_owned() };
        if let Some(configured) = configured {
            let Some(row) = first else {
                let key = self.insert(new(), configured, true, now).await?;
                return Ok(FirstAdministrator { key_id: key.id, made: None });
            };
            let key_id = parse_id(row.try_get("id")?)?;
            if row.try_get::<Vec<u8>, _>("secret_hash")? != hash(configured.expose()) {
                self.replace_secret(key_id, configured).await?;
            } else if row.try_get::<Option<i64>, _>("revoked_at")?.is_some() {
                tracing::warn!("the configured first administrator's key was revoked; set another one to use it");
            }
            return Ok(FirstAdministrator { key_id, made: None });
        }
        let existing = sqlx::query(
            "SELECT id FROM api_keys WHERE role = 'administrator' AND school IS NULL AND revoked_at IS NULL
             ORDER BY is_first DESC, created_at LIMIT 1",
        )
        .fetch_optional(self.database.pool())
        .await?;
        if let Some(row) = existing {
            return Ok(FirstAdministrator { key_id: parse_id(row.try_get("id")?)?, made: None });
        }
        let secret = random_secret(KEY_PREFIX);
        let key = self.insert(new(), &secret, first.is_none(), now).await?;
        Ok(FirstAdministrator { key_id: key.id, made: Some(secret) })
    }

    /// All keys, the oldest first.
    pub async fn list(&self) -> Result<Vec<ApiKey>, StoreError> {
        let rows =
            sqlx::query("SELECT id, role, school, name, created_at, revoked_at FROM api_keys ORDER BY created_at, id")
                .fetch_all(self.database.pool())
                .await?;
        rows.iter().map(read_key).collect()
    }

    /// Revokes a key and ends its sessions. False when no such key was in use.
    pub async fn revoke(&self, id: Uuid, now: Timestamp) -> Result<bool, StoreError> {
        let mut transaction = self.database.pool().begin().await?;
        let revoked = sqlx::query("UPDATE api_keys SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL")
            .bind(now.as_millisecond())
            .bind(id.to_string())
            .execute(&mut *transaction)
            .await?
            .rows_affected();
        end_sessions(&mut transaction, id).await?;
        transaction.commit().await?;
        Ok(revoked > 0)
    }

    /// Whom a key or session token belongs to; `None` when it is unknown, revoked or expired.
    pub async fn caller(&self, token: &str, now: Timestamp) -> Result<Option<Caller>, StoreError> {
        let row = if token.starts_with(SESSION_PREFIX) {
            sqlx::query(
                "SELECT k.id, k.role, k.school, s.expires_at FROM sessions s JOIN api_keys k ON k.id = s.key_id
                 WHERE s.token_hash = ? AND s.expires_at > ? AND k.revoked_at IS NULL",
            )
            .bind(hash(token))
            .bind(now.as_millisecond())
        } else {
            sqlx::query(
                "SELECT id, role, school, NULL AS expires_at FROM api_keys
                 WHERE secret_hash = ? AND revoked_at IS NULL",
            )
            .bind(hash(token))
        }
        .fetch_optional(self.database.pool())
        .await?;
        row.as_ref().map(read_caller).transpose()
    }

    /// Makes a one-time token that opens a session as this key.
    pub async fn create_sign_in(&self, key_id: Uuid, now: Timestamp) -> Result<Secret, StoreError> {
        let token = random_secret(SIGN_IN_PREFIX);
        sqlx::query("INSERT INTO sign_in_tokens (token_hash, key_id, expires_at) VALUES (?, ?, ?)")
            .bind(hash(token.expose()))
            .bind(key_id.to_string())
            .bind(after(now, SIGN_IN_LIFETIME)?.as_millisecond())
            .execute(self.database.pool())
            .await?;
        Ok(token)
    }

    /// Uses a sign-in token up and opens a session; `None` when it is unknown, used, expired or its key revoked.
    pub async fn open_session(&self, sign_in: &str, now: Timestamp) -> Result<Option<OpenedSession>, StoreError> {
        let mut transaction = self.database.pool().begin().await?;
        // Deleting is what makes it single-use: of two concurrent callers one gets the row.
        let used = sqlx::query("DELETE FROM sign_in_tokens WHERE token_hash = ? AND expires_at > ? RETURNING key_id")
            .bind(hash(sign_in))
            .bind(now.as_millisecond())
            .fetch_optional(&mut *transaction)
            .await?;
        let Some(used) = used else { return Ok(None) };
        let key_id: String = used.try_get("key_id")?;
        let expires_at = after(now, SESSION_LIFETIME)?.as_millisecond();
        let row =
            sqlx::query("SELECT id, role, school, ? AS expires_at FROM api_keys WHERE id = ? AND revoked_at IS NULL")
                .bind(expires_at)
                .bind(&key_id)
                .fetch_optional(&mut *transaction)
                .await?;
        let opened = match row {
            None => None,
            Some(row) => {
                let token = random_secret(SESSION_PREFIX);
                sqlx::query("INSERT INTO sessions (token_hash, key_id, expires_at) VALUES (?, ?, ?)")
                    .bind(hash(token.expose()))
                    .bind(&key_id)
                    .bind(expires_at)
                    .execute(&mut *transaction)
                    .await?;
                Some(OpenedSession { token, caller: read_caller(&row)? })
            }
        };
        transaction.commit().await?;
        Ok(opened)
    }

    /// Removes what has expired; the server calls it at start.
    pub async fn delete_expired(&self, now: Timestamp) -> Result<(), StoreError> {
        for statement in
            ["DELETE FROM sign_in_tokens WHERE expires_at <= ?", "DELETE FROM sessions WHERE expires_at <= ?"]
        {
            sqlx::query(statement).bind(now.as_millisecond()).execute(self.database.pool()).await?;
        }
        Ok(())
    }

    async fn insert(&self, new: NewKey, secret: &Secret, is_first: bool, now: Timestamp) -> Result<ApiKey, StoreError> {
        let id = Uuid::now_v7();
        sqlx::query(
            "INSERT INTO api_keys (id, secret_hash, role, school, name, is_first, created_at)
             VALUES (?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(id.to_string())
        .bind(hash(secret.expose()))
        .bind(role_id(new.role))
        .bind(&new.school)
        .bind(&new.name)
        .bind(is_first)
        .bind(now.as_millisecond())
        .execute(self.database.pool())
        .await?;
        let created_at = read_time(now.as_millisecond())?;
        Ok(ApiKey { id, role: new.role, school: new.school, name: new.name, created_at, revoked_at: None })
    }

    async fn replace_secret(&self, id: Uuid, secret: &Secret) -> Result<(), StoreError> {
        let mut transaction = self.database.pool().begin().await?;
        sqlx::query("UPDATE api_keys SET secret_hash = ?, revoked_at = NULL WHERE id = ?")
            .bind(hash(secret.expose()))
            .bind(id.to_string())
            .execute(&mut *transaction)
            .await?;
        end_sessions(&mut transaction, id).await?;
        transaction.commit().await?;
        Ok(())
    }
}

/// The name of a role in the database, on the wire and on the command line.
pub fn role_id(role: Role) -> &'static str {
    match role {
        Role::Administrator => "administrator",
        Role::Teacher => "teacher",
        Role::Student => "student",
        Role::Counsellor => "counsellor",
        Role::Guardian => "guardian",
        Role::Integrator => "integrator",
    }
}

/// The reverse of [`role_id`].
pub fn role_from_id(id: &str) -> Option<Role> {
    [Role::Administrator, Role::Teacher, Role::Student, Role::Counsellor, Role::Guardian, Role::Integrator]
        .into_iter()
        .find(|role| role_id(*role) == id)
}

async fn end_sessions(transaction: &mut sqlx::SqliteTransaction<'_>, key: Uuid) -> Result<(), StoreError> {
    for statement in ["DELETE FROM sign_in_tokens WHERE key_id = ?", "DELETE FROM sessions WHERE key_id = ?"] {
        sqlx::query(statement).bind(key.to_string()).execute(&mut **transaction).await?;
    }
    Ok(())
}

fn random_secret(prefix: &str) -> Secret {
    let bytes: [u8; 32] = rand::random();
    Secret::new(format!("{prefix}{}", BASE64_URL_SAFE_NO_PAD.encode(bytes)))
}

fn hash(secret: &str) -> Vec<u8> {
    Sha256::digest(secret.as_bytes()).to_vec()
}

fn after(now: Timestamp, lifetime: SignedDuration) -> Result<Timestamp, StoreError> {
    now.checked_add(lifetime).map_err(|error| StoreError::Corrupt(format!("the clock: {error}")))
}

fn parse_id(text: String) -> Result<Uuid, StoreError> {
    text.parse().map_err(|_| StoreError::Corrupt(format!("key id `{text}`")))
}

fn parse_role(text: String) -> Result<Role, StoreError> {
    role_from_id(&text).ok_or_else(|| StoreError::Corrupt(format!("role `{text}`")))
}

fn read_time(milliseconds: i64) -> Result<Timestamp, StoreError> {
    Timestamp::from_millisecond(milliseconds).map_err(|error| StoreError::Corrupt(error.to_string()))
}

fn read_key(row: &SqliteRow) -> Result<ApiKey, StoreError> {
    Ok(ApiKey {
        id: parse_id(row.try_get("id")?)?,
        role: parse_role(row.try_get("role")?)?,
        school: row.try_get("school")?,
        name: row.try_get("name")?,
        created_at: read_time(row.try_get("created_at")?)?,
        revoked_at: row.try_get::<Option<i64>, _>("revoked_at")?.map(read_time).transpose()?,
    })
}

fn read_caller(row: &SqliteRow) -> Result<Caller, StoreError> {
    let principal = Principal {
        key_id: parse_id(row.try_get("id")?)?,
        role: parse_role(row.try_get("role")?)?,
        school: row.try_get("school")?,
    };
    let expires_at = row.try_get::<Option<i64>, _>("expires_at")?.map(read_time).transpose()?;
    Ok(Caller { principal, expires_at })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn start() -> Timestamp {
        time("2026-09-01T08:00:00Z")
    }

    async fn store() -> KeyStore {
        KeyStore::new(Database::in_memory().await.unwrap())
    }

    fn teacher() -> NewKey {
        NewKey { role: Role::Teacher, school: Some("no-1".to_owned()), name: "王老师".to_owned() }
    }

    #[tokio::test]
    async fn a_key_is_its_callers_until_it_is_revoked() {
        let store = store().await;
        let (key, secret) = store.create(teacher(), start()).await.unwrap();
        let caller = store.caller(secret.expose(), start()).await.unwrap().unwrap();
        let expected = Principal { key_id: key.id, role: Role::Teacher, school: Some("no-1".to_owned()) };
        assert_eq!(caller, Caller { principal: expected, expires_at: None });
        assert_eq!(store.list().await.unwrap(), std::slice::from_ref(&key));

        assert_eq!(store.caller("zj_unknown", start()).await.unwrap(), None);
        assert!(store.revoke(key.id, start()).await.unwrap());
        assert!(!store.revoke(key.id, start()).await.unwrap());
        assert_eq!(store.caller(secret.expose(), start()).await.unwrap(), None);
        assert_eq!(store.list().await.unwrap()[0].revoked_at, Some(start()));
    }

    #[tokio::test]
    async fn the_secret_is_not_stored() {
        let store = store().await;
        let (_, secret) = store.create(teacher(), start()).await.unwrap();
        let row = sqlx::query("SELECT secret_hash FROM api_keys").fetch_one(store.database.pool()).await.unwrap();
        let stored: Vec<u8> = row.get("secret_hash");
        assert_ne!(stored, secret.expose().as_bytes());
        assert_eq!(stored.len(), 32);
    }

    #[tokio::test]
    async fn a_sign_in_token_opens_one_session() {
        let store = store().await;
        let (key, _) = store.create(teacher(), start()).await.unwrap();
        let token = store.create_sign_in(key.id, start()).await.unwrap();
        let session = store.open_session(token.expose(), start()).await.unwrap().unwrap();
        assert_eq!(session.caller.expires_at, Some(time("2026-09-01T20:00:00Z")));
        assert!(store.open_session(token.expose(), start()).await.unwrap().is_none());

        let caller = store.caller(session.token.expose(), time("2026-09-01T19:59:59Z")).await.unwrap();
        assert_eq!(caller, Some(session.caller));
        assert_eq!(store.caller(session.token.expose(), time("2026-09-01T20:00:00Z")).await.unwrap(), None);
        // Neither token opens the other's door.
        assert_eq!(store.caller(token.expose(), start()).await.unwrap(), None);
        assert!(store.open_session(session.token.expose(), start()).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_sign_in_token_expires() {
        let store = store().await;
        let (key, _) = store.create(teacher(), start()).await.unwrap();
        let token = store.create_sign_in(key.id, start()).await.unwrap();
        assert!(store.open_session(token.expose(), time("2026-09-01T08:15:00Z")).await.unwrap().is_none());
        store.delete_expired(time("2026-09-01T08:15:00Z")).await.unwrap();
        assert!(store.open_session(token.expose(), start()).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn revoking_a_key_ends_its_sessions_and_links() {
        let store = store().await;
        let (key, _) = store.create(teacher(), start()).await.unwrap();
        let first = store.create_sign_in(key.id, start()).await.unwrap();
        let second = store.create_sign_in(key.id, start()).await.unwrap();
        let session = store.open_session(first.expose(), start()).await.unwrap().unwrap();
        store.revoke(key.id, start()).await.unwrap();
        assert_eq!(store.caller(session.token.expose(), start()).await.unwrap(), None);
        assert!(store.open_session(second.expose(), start()).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn the_first_start_makes_one_administrators_key() {
        let store = store().await;
        let first = store.ensure_first_administrator(None, start()).await.unwrap();
        let secret = first.made.unwrap();
        let caller = store.caller(secret.expose(), start()).await.unwrap().unwrap();
        assert_eq!(caller.principal.role, Role::Administrator);

        let second = store.ensure_first_administrator(None, start()).await.unwrap();
        assert!(second.made.is_none());
        assert_eq!(second.key_id, first.key_id);

        store.revoke(first.key_id, start()).await.unwrap();
        assert!(store.ensure_first_administrator(None, start()).await.unwrap().made.is_some());
    }

    #[tokio::test]
    async fn a_configured_key_replaces_the_first_one() {
        let store = store().await;
        let made = store.ensure_first_administrator(None, start()).await.unwrap().made.unwrap();
        let configured = Secret::new("an-operators-own-key");
        let first = store.ensure_first_administrator(Some(&configured), start()).await.unwrap();
        assert!(first.made.is_none());
        assert_eq!(store.caller(made.expose(), start()).await.unwrap(), None);
        assert!(store.caller(configured.expose(), start()).await.unwrap().is_some());

        // A restart changes nothing, and does not bring a revoked key back.
        store.ensure_first_administrator(Some(&configured), start()).await.unwrap();
        store.revoke(first.key_id, start()).await.unwrap();
        store.ensure_first_administrator(Some(&configured), start()).await.unwrap();
        assert_eq!(store.caller(configured.expose(), start()).await.unwrap(), None);
        assert_eq!(store.list().await.unwrap().len(), 1);
    }

    #[test]
    fn every_role_has_an_id() {
        for id in ["administrator", "teacher", "student", "counsellor", "guardian", "integrator"] {
            let role = role_from_id(id).unwrap();
            assert_eq!(role_id(role), id);
            assert_eq!(serde_json::to_value(role).unwrap(), id);
        }
    }
}
