-- Where dumps go. A dump without a target lies in data_dir/backups.
CREATE TABLE backup_targets (
    id                INTEGER PRIMARY KEY AUTOINCREMENT,
    name              TEXT NOT NULL UNIQUE,
    place             TEXT NOT NULL,              -- "s3://bucket/prefix", "dir:///path"
    endpoint          TEXT,
    region            TEXT,
    path_style        INTEGER,
    access_key_sealed BLOB,                       -- context "backup_targets:<id>:access"
    secret_key_sealed BLOB,                       -- context "backup_targets:<id>:secret"
    is_default        INTEGER NOT NULL,           -- 1 for the one that dumps go to
    created_ms        INTEGER NOT NULL,
    used_ms           INTEGER,                    -- when it was last tried
    fault             TEXT                        -- why the last try failed
) STRICT;
CREATE UNIQUE INDEX backup_targets_default ON backup_targets (is_default) WHERE is_default = 1;

-- One a database, from its birth.
CREATE TABLE backup_schedules (
    database_id INTEGER PRIMARY KEY,
    minute      INTEGER NOT NULL,                 -- of the day, box time
    next_due_ms INTEGER NOT NULL,
    alarm_ms    INTEGER,                          -- when a missing backup was last told
    created_ms  INTEGER NOT NULL
) STRICT;

-- One dump of one database on a server. Outlives the server.
CREATE TABLE backups (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    database_id    INTEGER NOT NULL,
    database_name  TEXT NOT NULL,
    logical        TEXT NOT NULL,                 -- the database's name on the server
    owner          TEXT NOT NULL,                 -- the role it belongs to there
    server_version INTEGER NOT NULL,              -- major
    expected_bytes INTEGER NOT NULL,              -- the database's size on disk
    target_id      INTEGER REFERENCES backup_targets (id), -- NULL: the box's own disk
    object_key     TEXT NOT NULL,
    upload_token   TEXT,                          -- of a multipart upload not completed
    state          TEXT NOT NULL,                 -- "queued", "running", "verifying", "stored", "failed", "expired"
    cause          TEXT NOT NULL,                 -- "schedule", "asked", "retry"
    attempt        INTEGER NOT NULL,
    reason         TEXT,
    size_bytes     INTEGER,
    sha256         TEXT,
    contents       TEXT,                          -- JSON, from pg_restore --list
    created_ms     INTEGER NOT NULL,
    due_ms         INTEGER NOT NULL,
    started_ms     INTEGER,
    finished_ms    INTEGER,
    check_state    TEXT,                          -- of "backup verify": "running", "good", "bad"
    check_note     TEXT,
    checked_ms     INTEGER
) STRICT;
CREATE INDEX backups_by_database ON backups (database_id, id);

CREATE TABLE restores (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    backup_id    INTEGER NOT NULL,
    database_id  INTEGER NOT NULL,                -- the server it goes to
    logical      TEXT NOT NULL,                   -- the name it takes there
    fresh        TEXT NOT NULL,                   -- its name until the swap
    kept         TEXT NOT NULL,                   -- the old one's name after it
    state        TEXT NOT NULL,                   -- "queued", "loading", "comparing", "swapping", "done", "failed"
    reason       TEXT,
    tables_found INTEGER,
    rows_found   INTEGER,
    created_ms   INTEGER NOT NULL,
    finished_ms  INTEGER,
    confirmed_ms INTEGER                          -- when the old one was dropped
) STRICT;
CREATE INDEX restores_by_database ON restores (database_id, id);
