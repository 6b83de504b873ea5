-- Whether settings were changed while the app was stopped: its start brings them. A rollback's release, stopped and
-- started, keeps its own.
ALTER TABLE app_live ADD COLUMN settings_changed INTEGER NOT NULL DEFAULT 0 CHECK (settings_changed IN (0, 1));
