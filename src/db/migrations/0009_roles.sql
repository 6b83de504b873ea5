-- Which apps a developer is for.
CREATE TABLE user_apps (
    user_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    app_id  INTEGER NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    PRIMARY KEY (user_id, app_id)
) STRICT, WITHOUT ROWID;

-- A link sets the password of the user it is for, and makes the user where there is none yet.
ALTER TABLE setup_links ADD COLUMN user_name TEXT NOT NULL DEFAULT 'owner';
ALTER TABLE setup_links ADD COLUMN role TEXT NOT NULL DEFAULT 'owner';  -- of a user to be made
ALTER TABLE setup_links ADD COLUMN apps TEXT NOT NULL DEFAULT '[]';     -- ids, JSON; of a developer to be made
ALTER TABLE setup_links ADD COLUMN made_by TEXT NOT NULL DEFAULT '';
