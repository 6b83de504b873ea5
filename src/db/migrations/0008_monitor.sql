-- monitor: what is asked whether it answers, and when it did not.
CREATE TABLE checks (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    subject    TEXT NOT NULL,                       -- "app:7"; "check" when a person added it
    name       TEXT NOT NULL,                       -- the app's, or the person's own
    origin     TEXT NOT NULL,                       -- "domain" | "person"
    url        TEXT NOT NULL,
    strict     INTEGER NOT NULL,                    -- 1: only 200 to 399 is an answer; 0: anything below 500
    active     INTEGER NOT NULL DEFAULT 1,          -- 0: not asked for now (the app is stopped)
    proven     INTEGER NOT NULL DEFAULT 0,          -- 1: it has answered at least once
    created_ms INTEGER NOT NULL,
    UNIQUE (origin, url)
) STRICT;

CREATE TABLE incidents (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    check_id  INTEGER NOT NULL REFERENCES checks (id) ON DELETE CASCADE,
    opened_ms INTEGER NOT NULL,
    closed_ms INTEGER,
    stage     TEXT NOT NULL,                        -- "dns" | "tcp" | "tls" | "http"
    why       TEXT NOT NULL
) STRICT;
CREATE INDEX incidents_by_check ON incidents (check_id, id);
CREATE UNIQUE INDEX incidents_open ON incidents (check_id) WHERE closed_ms IS NULL;
