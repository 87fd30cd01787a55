-- Keys, the sign-in links made for them, and the sessions opened with those links. Secrets are stored as SHA-256 only:
-- they are 256 random bits, so a slow hash would add nothing. Times are Unix milliseconds.
CREATE TABLE api_keys (
    id          TEXT    NOT NULL PRIMARY KEY,
    secret_hash BLOB    NOT NULL UNIQUE CHECK (length(secret_hash) = 32),
    role        TEXT    NOT NULL,
    school      TEXT,
    name        TEXT    NOT NULL,
    -- 1 for the key that the server's operator sets (ZHUJIAO_ADMIN_KEY) or that the first start made.
    is_first    INTEGER NOT NULL DEFAULT 0,
    created_at  INTEGER NOT NULL,
    revoked_at  INTEGER
) STRICT;

CREATE UNIQUE INDEX api_keys_one_first ON api_keys (is_first) WHERE is_first = 1;

CREATE TABLE sign_in_tokens (
    token_hash BLOB    NOT NULL PRIMARY KEY CHECK (length(token_hash) = 32),
    key_id     TEXT    NOT NULL REFERENCES api_keys (id) ON DELETE CASCADE,
    expires_at INTEGER NOT NULL
) STRICT;

CREATE TABLE sessions (
    token_hash BLOB    NOT NULL PRIMARY KEY CHECK (length(token_hash) = 32),
    key_id     TEXT    NOT NULL REFERENCES api_keys (id) ON DELETE CASCADE,
    expires_at INTEGER NOT NULL
) STRICT;

CREATE INDEX sign_in_tokens_by_expiry ON sign_in_tokens (expires_at);
CREATE INDEX sessions_by_expiry ON sessions (expires_at);
