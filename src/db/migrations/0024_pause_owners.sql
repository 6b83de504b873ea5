-- Who needs an app to be paused: it is, until the last of them lets it go or its time is over. `app_pauses`, one row for
-- all of them, is left to the release before, should this upgrade be undone.
CREATE TABLE app_pause_owners (
    app_id   INTEGER NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    owner    TEXT NOT NULL,             -- what kind of work, and which: 'restore:5'
    since_ms INTEGER NOT NULL,
    until_ms INTEGER NOT NULL,
    PRIMARY KEY (app_id, owner)
) STRICT;

-- Work that the upgrade cut off goes on, and lets go what it holds.
INSERT INTO app_pause_owners (app_id, owner, since_ms, until_ms)
SELECT p.app_id, 'restore:' || r.id, p.since_ms, p.until_ms
FROM app_pauses p, restores r WHERE r.state = 'swapping';
