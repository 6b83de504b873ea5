-- What was answered to a POST with an Idempotency-Key, to be answered again: kept for a day.
CREATE TABLE replays (
    caller      TEXT NOT NULL,          -- "user 3", "token 7 …", "local 0"
    key         TEXT NOT NULL,          -- as it was sent
    route       TEXT NOT NULL,          -- method and path
    fingerprint TEXT NOT NULL,          -- SHA-256 of query and body
    status      INTEGER,                -- NULL while it is being done
    answer      BLOB,                   -- headers and body, sealed with master.key: it may tell a secret
    created_ms  INTEGER NOT NULL,
    PRIMARY KEY (caller, key, route)
) STRICT;
CREATE INDEX replays_by_age ON replays (created_ms);
