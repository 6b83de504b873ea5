-- How far the journal of changes is held in this file (src/db/safe): the number of its newest change.
CREATE TABLE journal (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    at  INTEGER NOT NULL
) STRICT;
INSERT INTO journal (one, at) VALUES (1, 0);

-- Times this file was made anew from a snapshot and the journal, because it was damaged, cut or gone.
CREATE TABLE recoveries (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    at_ms        INTEGER NOT NULL,
    why          TEXT NOT NULL,             -- what was wrong, a sentence
    snapshot_ms  INTEGER NOT NULL,          -- when the snapshot was made
    replayed     INTEGER NOT NULL,          -- changes of the journal that were made again
    aside        TEXT NOT NULL,             -- where the damaged file lies; "" when it was gone
    containers   INTEGER NOT NULL,          -- rows of containers are numbered from here: what runs may carry lower numbers
    told_ms      INTEGER,                   -- when the event of it was written
    confirmed_ms INTEGER                    -- when a person said that all is well
) STRICT;

-- What could not be brought back, by name.
CREATE TABLE recovery_losses (
    recovery_id INTEGER NOT NULL REFERENCES recoveries (id) ON DELETE CASCADE,
    n           INTEGER NOT NULL,
    what        TEXT NOT NULL,
    PRIMARY KEY (recovery_id, n)
) STRICT;
