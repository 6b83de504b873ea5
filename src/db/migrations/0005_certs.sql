-- The box's own certificate authority; one row, made once. Its key is sealed.
CREATE TABLE box_ca (
    id         INTEGER PRIMARY KEY CHECK (id = 1),
    root_pem   TEXT NOT NULL,
    key_sealed BLOB NOT NULL,
    created_ms INTEGER NOT NULL
) STRICT;

-- Our accounts with ACME servers. The key is stored before the server hears of it.
CREATE TABLE acme_accounts (
    id         INTEGER PRIMARY KEY,
    directory  TEXT NOT NULL UNIQUE,
    key_sealed BLOB NOT NULL,
    url        TEXT,                    -- NULL until the server knows the key
    contact    TEXT,                    -- the address the server was last given
    created_ms INTEGER NOT NULL
) STRICT;

-- Names that need a certificate now, where it comes from and how that goes.
CREATE TABLE certificate_names (
    host        TEXT PRIMARY KEY,       -- "shop.example.com", "*.example.com", "@box" for the box's address
    source      TEXT NOT NULL,          -- "acme", "internal", "files"
    cert_path   TEXT,                   -- of "files"
    key_path    TEXT,
    failures    INTEGER NOT NULL DEFAULT 0,
    error       TEXT,                   -- a sentence, of the last try
    warning     TEXT,                   -- a sentence; nothing failed yet
    next_try_ms INTEGER,                -- after a failure
    told_days   INTEGER,                -- the last notice before expiry: 14, 7, 3, 0
    added_ms    INTEGER NOT NULL
) STRICT;

-- The certificate in service, one a name and source; kept when the name goes, in case it comes back.
CREATE TABLE certificates (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    host          TEXT NOT NULL,
    source        TEXT NOT NULL,        -- "acme", "internal"
    directory     TEXT,                 -- of "acme"
    chain_pem     TEXT NOT NULL,
    key_sealed    BLOB NOT NULL,
    not_before_ms INTEGER NOT NULL,
    not_after_ms  INTEGER NOT NULL,
    issuer        TEXT NOT NULL,
    issued_ms     INTEGER NOT NULL,
    ari_at_ms     INTEGER,              -- when the server suggests to renew (RFC 9773)
    ari_check_ms  INTEGER,              -- when to ask it again; NULL: it does not say
    UNIQUE (host, source)
) STRICT;

-- Orders: key and request are here before the server is asked for anything.
CREATE TABLE certificate_orders (
    id         INTEGER PRIMARY KEY,
    host       TEXT NOT NULL,
    directory  TEXT NOT NULL,
    state      TEXT NOT NULL,           -- "prepared" … "issued", "failed"
    key_sealed BLOB NOT NULL,
    csr        BLOB NOT NULL,
    url        TEXT,                    -- from "ordered" on
    error      TEXT,
    created_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX certificate_orders_by_host ON certificate_orders (host, id);

-- What port 80 answers under /.well-known/acme-challenge/ while an order is open.
CREATE TABLE certificate_challenges (
    token    TEXT PRIMARY KEY,
    answer   TEXT NOT NULL,
    order_id INTEGER NOT NULL REFERENCES certificate_orders (id) ON DELETE CASCADE
) STRICT;
