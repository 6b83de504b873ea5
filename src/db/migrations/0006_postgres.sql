-- Managed Postgres servers.
CREATE TABLE databases (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    name            TEXT NOT NULL UNIQUE,
    version         INTEGER NOT NULL,           -- major
    image           TEXT NOT NULL,              -- "postgres:17"
    memory_bytes    INTEGER NOT NULL,
    password_sealed BLOB NOT NULL,              -- of the superuser, context "databases:<id>"
    state           TEXT NOT NULL,              -- "creating", "starting", "verifying", "ready", "failed", "removing"
    attempt         INTEGER NOT NULL DEFAULT 1, -- of its creation
    reason          TEXT,                       -- why it failed, or waits
    container_row   INTEGER,                    -- supervise's row
    server_version  TEXT,                       -- as the server said
    ready_ms        INTEGER,                    -- when it was first ready; NULL means that its volume holds nothing of the user's
    created_ms      INTEGER NOT NULL,
    changed_ms      INTEGER NOT NULL
) STRICT;

-- An app's role and database on a server.
CREATE TABLE attachments (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    database_id     INTEGER NOT NULL REFERENCES databases (id),
    app_id          INTEGER NOT NULL,
    app_name        TEXT NOT NULL,
    role            TEXT NOT NULL,              -- role and database have one name
    password_sealed BLOB NOT NULL,              -- context "attachments:<id>"
    env_name        TEXT NOT NULL,              -- "DATABASE_URL"
    state           TEXT NOT NULL,              -- "attaching", "attached", "detaching", "failed"
    reason          TEXT,
    created_ms      INTEGER NOT NULL,
    changed_ms      INTEGER NOT NULL,
    UNIQUE (database_id, app_id),
    UNIQUE (database_id, role),
    UNIQUE (app_id, env_name)
) STRICT;
