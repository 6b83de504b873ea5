-- Rollups, written as samples arrive. step_s is the length of a slot, at_ms its
-- start; every step is kept for its own time (monitor::Step). Nothing here
-- grows with the number of requests.
CREATE TABLE box_rollups (
    step_s       INTEGER NOT NULL,
    at_ms        INTEGER NOT NULL,
    samples      INTEGER NOT NULL,
    cpu_sum      REAL NOT NULL,                     -- shares of all cores, one a sample
    cpu_max      REAL NOT NULL,
    memory_sum   INTEGER NOT NULL,                  -- bytes in use, one a sample
    memory_max   INTEGER NOT NULL,
    memory_total INTEGER NOT NULL,
    swap_max     INTEGER NOT NULL,
    disk_used    INTEGER NOT NULL,                  -- the newest
    disk_total   INTEGER NOT NULL,
    load_sum     REAL NOT NULL,
    received     INTEGER NOT NULL,                  -- bytes
    sent         INTEGER NOT NULL,
    PRIMARY KEY (step_s, at_ms)
) STRICT, WITHOUT ROWID;

-- No row: no request in that slot.
CREATE TABLE traffic_rollups (
    step_s     INTEGER NOT NULL,
    subject    TEXT NOT NULL,                       -- "app:7"
    at_ms      INTEGER NOT NULL,
    requests   INTEGER NOT NULL,
    client_errors INTEGER NOT NULL,                 -- answers 4xx
    server_errors INTEGER NOT NULL,                 -- answers 5xx
    failures   INTEGER NOT NULL,                    -- of those: the edge's own, because the upstream failed
    received   INTEGER NOT NULL,
    sent       INTEGER NOT NULL,
    latency    BLOB NOT NULL,                       -- monitor::Latency
    PRIMARY KEY (step_s, subject, at_ms)
) STRICT, WITHOUT ROWID;

CREATE TABLE check_rollups (
    step_s     INTEGER NOT NULL,
    check_id   INTEGER NOT NULL,
    at_ms      INTEGER NOT NULL,
    up         INTEGER NOT NULL,
    down       INTEGER NOT NULL,
    millis_sum INTEGER NOT NULL,                    -- of the answers
    millis_max INTEGER NOT NULL,
    PRIMARY KEY (step_s, check_id, at_ms)
) STRICT, WITHOUT ROWID;

CREATE TABLE check_last (
    check_id INTEGER PRIMARY KEY,
    at_ms    INTEGER NOT NULL,
    up       INTEGER NOT NULL,
    stage    TEXT,                                  -- where it failed
    why      TEXT,
    millis   INTEGER NOT NULL
) STRICT;
