//! The deploys that move their traffic now, for the list of what needs attention.

use crate::deploy::Deploys;
use crate::monitor::Switching;
use crate::wire::overview::App;

/// Those of these apps.
///
/// # Errors
/// A sentence when the database cannot be read.
pub async fn all(deploys: &Deploys, apps: &[App]) -> Result<Vec<Switching>, String> {
    let switching = deploys.switching().await.map_err(|e| e.to_string())?;
    let told = switching.into_iter().filter_map(|deploy| {
        let app = apps.iter().find(|app| app.id == deploy.app)?;
        Some(Switching {
            app: app.name.clone(),
            deploy: deploy.id,
            since: deploy.state_since,
        })
    });
    Ok(told.collect())
}
