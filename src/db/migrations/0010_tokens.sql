-- Tokens of programs; only the digest is kept. Made on the box they have no user and act for the owner.
CREATE TABLE tokens (
    id         INTEGER PRIMARY KEY,
    digest     TEXT NOT NULL UNIQUE,        -- SHA-256 of the token, hex
    mark       TEXT NOT NULL,               -- its first characters, to tell it from others
    name       TEXT NOT NULL,
    user_id    INTEGER REFERENCES users (id) ON DELETE CASCADE,
    verb       TEXT NOT NULL,               -- "read", "deploy" or "change"
    apps       TEXT,                        -- ids, JSON; NULL is every app of its user
    created_ms INTEGER NOT NULL,
    expires_ms INTEGER,                     -- NULL is never
    used_ms    INTEGER
) STRICT;
