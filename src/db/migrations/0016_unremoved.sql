-- Since when retention tries in vain to remove what lies in a store of a backup that expired or failed; NULL before the
-- first such try.
ALTER TABLE backups ADD COLUMN unremoved_ms INTEGER;
