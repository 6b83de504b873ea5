-- Which image registry an app's sign-in is for; no other is told it. What was kept without one is for Docker Hub.
ALTER TABLE apps ADD COLUMN registry_host TEXT;
UPDATE apps SET registry_host = 'docker.io' WHERE registry_user IS NOT NULL;
