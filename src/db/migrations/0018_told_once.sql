-- Whose link it is: a link goes with the person who made it, and gives no more than they may give when it is used. NULL is
-- the box itself, which may give everything.
ALTER TABLE setup_links ADD COLUMN maker_id INTEGER REFERENCES users (id) ON DELETE CASCADE;
UPDATE setup_links SET maker_id = (SELECT id FROM users WHERE name = made_by);
-- Made by somebody who is gone, or by a program: neither may let anybody in.
DELETE FROM setup_links
WHERE used_ms IS NULL AND maker_id IS NULL
  AND made_by NOT IN ('', 'the box') AND made_by NOT GLOB 'uid [0-9]* on the box';
CREATE INDEX setup_links_by_maker ON setup_links (maker_id);

-- What tells a secret is told once: the answers that were kept for a request that is sent again are forgotten. Their keys
-- stay taken, as those of requests whose answer was lost.
UPDATE replays SET status = NULL, answer = NULL
WHERE route GLOB 'POST /api/v1/tokens'
   OR route GLOB 'POST /api/v1/users' OR route GLOB 'POST /api/v1/users/*/reset'
   OR route GLOB 'POST /api/v1/setup-link'
   OR route GLOB 'POST /api/v1/account/second-factor*'
   OR route GLOB 'POST /api/v1/apps/*/webhook-secret'
   OR route GLOB 'POST /api/v1/*/reveal';
