CREATE TABLE users (
    id            INTEGER PRIMARY KEY,
    name          TEXT NOT NULL UNIQUE,
    role          TEXT NOT NULL,            -- "owner"
    password_hash TEXT NOT NULL,            -- argon2id, PHC string
    created_ms    INTEGER NOT NULL
) STRICT;

-- One-time links by which the first password is set; only the digest is kept.
CREATE TABLE setup_links (
    digest     TEXT PRIMARY KEY,            -- SHA-256 of the token, hex
    created_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL,
    used_ms    INTEGER
) STRICT;

CREATE TABLE sessions (
    digest     TEXT PRIMARY KEY,            -- SHA-256 of the cookie's value, hex
    user_id    INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_ms INTEGER NOT NULL,
    seen_ms    INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL,
    address    TEXT NOT NULL,
    agent      TEXT NOT NULL
) STRICT;
