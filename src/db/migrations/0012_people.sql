-- Browsers in which somebody has signed in before: strangers' wrong tries do not slow them down.
CREATE TABLE devices (
    id         INTEGER PRIMARY KEY,
    digest     TEXT NOT NULL,                   -- SHA-256 of the cookie's value, hex
    user_id    INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_ms INTEGER NOT NULL,
    seen_ms    INTEGER NOT NULL,                -- the last sign-in
    failures   INTEGER NOT NULL DEFAULT 0,      -- wrong tries from it
    failed_ms  INTEGER NOT NULL DEFAULT 0,      -- the last of them
    UNIQUE (digest, user_id)
) STRICT;

-- When the password was last given in a session: the dangerous asks for it anew.
ALTER TABLE sessions ADD COLUMN confirmed_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sessions ADD COLUMN device_id INTEGER REFERENCES devices (id) ON DELETE SET NULL;

-- Wrong tries at an account from browsers that are not known.
ALTER TABLE users ADD COLUMN failures INTEGER NOT NULL DEFAULT 0;
ALTER TABLE users ADD COLUMN failed_ms INTEGER NOT NULL DEFAULT 0;

-- Codes of an authenticator (RFC 6238). Asked for once a first code has proved that it works.
CREATE TABLE second_factors (
    user_id    INTEGER PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    secret     BLOB NOT NULL,                   -- sealed
    created_ms INTEGER NOT NULL,
    active_ms  INTEGER,                         -- NULL until then
    last_step  INTEGER NOT NULL DEFAULT 0       -- a code works once: this and earlier steps are used up
) STRICT;

-- Instead of a code, once each; only digests are kept.
CREATE TABLE recovery_codes (
    user_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    digest  TEXT NOT NULL,
    used_ms INTEGER,
    PRIMARY KEY (user_id, digest)
) STRICT, WITHOUT ROWID;

-- The password was right and the code is still to come; gives no access.
CREATE TABLE half_sessions (
    digest     TEXT PRIMARY KEY,                -- SHA-256 of the cookie's value, hex
    user_id    INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    expires_ms INTEGER NOT NULL,
    tries      INTEGER NOT NULL DEFAULT 0
) STRICT;

-- A deploy token belongs to one app and not to a person, and goes with it.
ALTER TABLE tokens ADD COLUMN app_id INTEGER REFERENCES apps (id) ON DELETE CASCADE;
