-- apps: what the user deploys, and its settings. Ids are never used twice:
-- they stand in labels, networks and folders.
CREATE TABLE apps (
    id                INTEGER PRIMARY KEY AUTOINCREMENT,
    name              TEXT NOT NULL UNIQUE,
    created_ms        INTEGER NOT NULL,
    git_url           TEXT,                         -- never taken from a payload
    git_branch        TEXT NOT NULL DEFAULT 'main',
    git_token         BLOB,                         -- sealed "app:<id>:git_token"
    git_key           BLOB,                         -- sealed "app:<id>:git_key"
    registry_user     TEXT,
    registry_password BLOB,                         -- sealed "app:<id>:registry_password"
    webhook_secret    BLOB NOT NULL,                -- sealed "app:<id>:webhook_secret"
    maintenance       INTEGER NOT NULL DEFAULT 0,
    removing          INTEGER NOT NULL DEFAULT 0    -- being removed; nothing new starts
) STRICT;

CREATE TABLE app_env (
    app_id INTEGER NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    name   TEXT NOT NULL,
    value  BLOB NOT NULL,                           -- sealed "app_env:<app>:<name>"
    set_ms INTEGER NOT NULL,
    PRIMARY KEY (app_id, name)
) STRICT, WITHOUT ROWID;

-- Overrides of what freehold.toml says; NULL leaves it.
CREATE TABLE app_scale (
    app_id       INTEGER NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    process      TEXT NOT NULL,
    min          INTEGER,
    max          INTEGER,
    memory_bytes INTEGER,
    nano_cpus    INTEGER,
    PRIMARY KEY (app_id, process)
) STRICT, WITHOUT ROWID;

CREATE TABLE routes (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    app_id     INTEGER NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    host       TEXT NOT NULL,
    path       TEXT NOT NULL,                       -- "/" or "/api"
    process    TEXT NOT NULL DEFAULT 'web',
    created_ms INTEGER NOT NULL,
    UNIQUE (host, path)
) STRICT;
CREATE INDEX routes_by_app ON routes (app_id);

-- deploy: the work that makes a release live.
CREATE TABLE deploys (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    app_id      INTEGER NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    state       TEXT NOT NULL,                      -- deploy::State
    source      TEXT NOT NULL,                      -- deploy::Source, JSON without secrets
    cause       TEXT NOT NULL,                      -- "webhook", "cli", "dashboard", "rollback", …
    by_whom     TEXT NOT NULL,
    delivery    TEXT,                               -- the webhook's delivery id
    commit_id   TEXT,
    title       TEXT,                               -- the commit's first line
    image       TEXT,                               -- the engine's id of what was built or pulled
    release_id  INTEGER REFERENCES releases (id) ON DELETE SET NULL,
    returns_to  INTEGER REFERENCES releases (id) ON DELETE SET NULL, -- live before the switch
    cancel      INTEGER NOT NULL DEFAULT 0,         -- somebody asked to stop it
    error       TEXT,
    created_ms  INTEGER NOT NULL,
    started_ms  INTEGER,
    state_ms    INTEGER NOT NULL,                   -- since when it is in this state
    switched_ms INTEGER,
    finished_ms INTEGER
) STRICT;
CREATE INDEX deploys_by_app ON deploys (app_id, id);
CREATE INDEX deploys_by_delivery ON deploys (app_id, delivery) WHERE delivery IS NOT NULL;

-- How long each state took, for the page and the benchmark.
CREATE TABLE deploy_steps (
    deploy_id  INTEGER NOT NULL REFERENCES deploys (id) ON DELETE CASCADE,
    state      TEXT NOT NULL,
    begun_ms   INTEGER NOT NULL,
    PRIMARY KEY (deploy_id, state)
) STRICT, WITHOUT ROWID;

-- An immutable image with the settings it was made for.
CREATE TABLE releases (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    app_id     INTEGER NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    number     INTEGER NOT NULL,
    image      TEXT NOT NULL,                       -- the engine's id
    image_tag  TEXT NOT NULL,                       -- our own tag that keeps it
    settings   TEXT NOT NULL,                       -- deploy::AppFile, JSON
    env        BLOB NOT NULL,                       -- sealed "release:<app>:<number>", JSON map
    commit_id  TEXT,
    title      TEXT,
    created_ms INTEGER NOT NULL,
    live_ms    INTEGER,                             -- when it first became live; NULL: never was
    gone_ms    INTEGER,                             -- when its image was collected
    UNIQUE (app_id, number)
) STRICT;

-- What runs and gets traffic: written by the switch, read by routing.
CREATE TABLE app_live (
    app_id     INTEGER PRIMARY KEY REFERENCES apps (id) ON DELETE CASCADE,
    release_id INTEGER NOT NULL REFERENCES releases (id),
    deploy_id  INTEGER NOT NULL,                    -- whose containers they are
    replicas   TEXT NOT NULL,                       -- JSON: process -> names of its containers
    stopped    INTEGER NOT NULL DEFAULT 0,
    since_ms   INTEGER NOT NULL
) STRICT;

-- What git hosts told us, the newest 50 an app.
CREATE TABLE deliveries (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    app_id    INTEGER NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    at_ms     INTEGER NOT NULL,
    host      TEXT NOT NULL,                        -- "github", "gitlab", …
    delivery  TEXT,
    event     TEXT NOT NULL,
    status    INTEGER NOT NULL,                     -- what was answered
    reason    TEXT NOT NULL,
    deploy_id INTEGER
) STRICT;
CREATE INDEX deliveries_by_app ON deliveries (app_id, id);

-- Traffic held while something of the app is exchanged; ends by itself at its deadline.
CREATE TABLE app_pauses (
    app_id   INTEGER PRIMARY KEY REFERENCES apps (id) ON DELETE CASCADE,
    since_ms INTEGER NOT NULL,
    until_ms INTEGER NOT NULL
) STRICT;
