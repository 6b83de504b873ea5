//! An app with a release that serves, as far as its rows say: no engine is needed to change its settings.

use std::time::Duration;

use super::quiet::Daemon;

/// The one app that the daemon has gets a live release with the process `web`.
pub fn serving(daemon: &Daemon) {
    let state = rusqlite::Connection::open(daemon.data().join("state.db")).unwrap();
    state.busy_timeout(Duration::from_secs(60)).unwrap();
    state
        .execute_batch(
            "INSERT INTO releases (id, app_id, number, image, image_tag, settings, env, created_ms, live_ms)
                SELECT 1, id, 1, 'sha256:0', 'shop:v1', json_object('dockerfile', 'Dockerfile',
                'processes', json_object('web', json_object('min', 1, 'max', 1))), x'00', 1, 1 FROM apps;
             INSERT INTO deploys (id, app_id, state, source, cause, by_whom, created_ms, state_ms, finished_ms)
                SELECT 1, id, 'live', json_object('kind', 'image', 'reference', 'shop:1'), 'cli', 'ana', 1, 1, 1 FROM apps;
             INSERT INTO app_live (app_id, release_id, deploy_id, replicas, since_ms) SELECT id, 1, 1, '{}', 1 FROM apps;",
        )
        .unwrap();
}
