-- What the installation knows of itself: installation id, schema-independent marks.
CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

-- What happened, for the activity lists and alerts.
CREATE TABLE events (
    id      INTEGER PRIMARY KEY,
    at_ms   INTEGER NOT NULL,
    kind    TEXT NOT NULL,              -- "deploy.live", "backup.failed"
    level   TEXT NOT NULL,              -- "info", "warning", "error"
    subject TEXT NOT NULL,              -- "app:7", "database:3", "box"
    message TEXT NOT NULL,              -- a sentence for a person
    data    TEXT NOT NULL DEFAULT '{}'  -- JSON, no secrets
) STRICT;
CREATE INDEX events_by_subject ON events (subject, id);

-- What is to be done: one at a time per key, taken up again after a crash.
CREATE TABLE jobs (
    id          INTEGER PRIMARY KEY,
    kind        TEXT NOT NULL,          -- "deploy", "backup"
    key         TEXT NOT NULL,          -- "app:7": jobs of one key run one after another
    payload     TEXT NOT NULL,          -- JSON, no secrets
    state       TEXT NOT NULL,          -- "queued", "running", "done", "failed", "cancelled"
    attempts    INTEGER NOT NULL DEFAULT 0,
    run_at_ms   INTEGER NOT NULL,
    created_ms  INTEGER NOT NULL,
    started_ms  INTEGER,
    finished_ms INTEGER,
    error       TEXT
) STRICT;
CREATE INDEX jobs_open ON jobs (state, run_at_ms) WHERE state IN ('queued', 'running');
