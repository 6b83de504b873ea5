-- The roles beside its owner that a dump names, as a list in JSON: they are made where it is restored and they are not.
-- NULL for dumps of before, and for what could not be begun.
ALTER TABLE backups ADD COLUMN roles TEXT;
