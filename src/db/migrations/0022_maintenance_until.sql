-- Maintenance ends by itself; what is on since before ends a day from now.
ALTER TABLE apps ADD COLUMN maintenance_until_ms INTEGER;

UPDATE apps SET maintenance_until_ms = unixepoch() * 1000 + 86400000 WHERE maintenance = 1;
