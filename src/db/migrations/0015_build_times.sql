-- When builds of ours ran. The engine's build cache names no owner: what came into it meanwhile is ours to take away, and
-- nothing else. A row goes when nothing of its time is left in the cache.
CREATE TABLE build_times (
    id        INTEGER PRIMARY KEY,
    deploy_id INTEGER NOT NULL,         -- no reference: cache outlives the deploy's row
    begun_ms  INTEGER NOT NULL,
    ended_ms  INTEGER                   -- NULL while it runs, or when the daemon died in it
) STRICT;
