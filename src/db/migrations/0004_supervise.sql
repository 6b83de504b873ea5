-- The containers that should exist. The engine's labels say what does.
CREATE TABLE containers (
    id          INTEGER PRIMARY KEY,
    name        TEXT NOT NULL UNIQUE,
    kind        TEXT NOT NULL,          -- "replica", "job", "database", "scratch"
    owner       TEXT NOT NULL,          -- "app:7", "database:3"
    spec        BLOB NOT NULL,          -- JSON of the whole wish, sealed: env holds secrets
    spec_hash   TEXT NOT NULL,          -- SHA-256 of that JSON; the container's label repeats it
    desired     TEXT NOT NULL,          -- "running", "held" (by a caller of this daemon), "ended" (a job, result kept), "gone"
    grace_ms    INTEGER NOT NULL,       -- between the stop signal and SIGKILL when it is to be gone
    started_ms  INTEGER,                -- jobs: written before the start, so that none runs twice
    exit_code   INTEGER,                -- jobs: how it ended
    exit_oom    INTEGER NOT NULL DEFAULT 0,
    exit_ms     INTEGER,
    exit_errors TEXT NOT NULL DEFAULT '[]', -- jobs: last lines of standard error, JSON
    created_ms  INTEGER NOT NULL
) STRICT;
CREATE INDEX containers_by_owner ON containers (owner);

-- Networks of ours and the subnets they were given.
CREATE TABLE networks (
    name       TEXT PRIMARY KEY,
    subnet     TEXT NOT NULL UNIQUE,    -- "10.83.0.64/26"
    created_ms INTEGER NOT NULL
) STRICT;
