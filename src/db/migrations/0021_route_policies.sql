-- What a domain asks of its requests and does to its answers, before what the app's file says: base::policies, JSON, with
-- verifiers (HMAC under a key of master.key) instead of passwords. '{}': nothing of its own.
ALTER TABLE routes ADD COLUMN policies TEXT NOT NULL DEFAULT '{}';
