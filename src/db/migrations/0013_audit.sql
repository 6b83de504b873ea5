-- Who did what, from where, and what it changed. Two tables, so that nothing is ever written over: the intent before
-- the work, the outcome after it. An intent without an outcome was cut off. Nothing is removed; a row is small.
CREATE TABLE audit (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    at_ms        INTEGER NOT NULL,
    who_kind     TEXT NOT NULL,           -- "user", "token", "local", "webhook", "nobody", "file"
    who_id       INTEGER,                 -- row of the user or token, uid on the box
    who          TEXT NOT NULL,           -- the name
    via          TEXT NOT NULL,           -- the token's name, the delivery's id
    address      TEXT NOT NULL,           -- where from; "" on the box itself
    request      TEXT NOT NULL,           -- the request's id at the edge
    action       TEXT NOT NULL,           -- "app.env.change"
    subject_kind TEXT NOT NULL,           -- "app", "database", …; "" for the box
    subject_id   INTEGER,
    subject      TEXT NOT NULL            -- the name
) STRICT;
CREATE INDEX audit_by_subject ON audit (subject, id);
CREATE INDEX audit_by_time ON audit (at_ms);

CREATE TABLE audit_outcomes (
    audit_id  INTEGER PRIMARY KEY REFERENCES audit (id),
    at_ms     INTEGER NOT NULL,
    status    INTEGER NOT NULL,           -- as answered over HTTP
    detail    TEXT NOT NULL,              -- a sentence; "" when all went well
    was       TEXT NOT NULL,              -- JSON: what differs, before; secrets masked
    became    TEXT NOT NULL               -- JSON: what differs, after; secrets masked
) STRICT;

CREATE TRIGGER audit_stays BEFORE UPDATE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit log is only added to'); END;
CREATE TRIGGER audit_is_kept BEFORE DELETE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit log is only added to'); END;
CREATE TRIGGER audit_outcomes_stay BEFORE UPDATE ON audit_outcomes
BEGIN SELECT RAISE(ABORT, 'the audit log is only added to'); END;
CREATE TRIGGER audit_outcomes_are_kept BEFORE DELETE ON audit_outcomes
BEGIN SELECT RAISE(ABORT, 'the audit log is only added to'); END;
-- INSERT OR REPLACE removes a row without asking the triggers above.
CREATE TRIGGER audit_is_not_replaced BEFORE INSERT ON audit
WHEN EXISTS (SELECT 1 FROM audit WHERE id = NEW.id)
BEGIN SELECT RAISE(ABORT, 'the audit log is only added to'); END;
CREATE TRIGGER audit_outcomes_are_not_replaced BEFORE INSERT ON audit_outcomes
WHEN EXISTS (SELECT 1 FROM audit_outcomes WHERE audit_id = NEW.audit_id)
BEGIN SELECT RAISE(ABORT, 'the audit log is only added to'); END;
