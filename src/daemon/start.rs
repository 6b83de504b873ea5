//! What is read and made before a life begins: settings, folders, the program's own file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Start;
use crate::config::Config;
use crate::host::descriptors;

/// The file that this process was started from. One that was replaced meanwhile is the next to be started.
///
/// # Errors
/// That the system does not tell.
pub fn own_program() -> Result<PathBuf, String> {
    let found = std::env::current_exe()
        .map_err(|e| format!("the file that this program was started from cannot be found: {e}"))?;
    // As it was typed, if it is that: a link may lead elsewhere by the time of a handover.
    let typed = std::env::args_os().next().map(PathBuf::from);
    if let Some(typed) = typed.filter(|path| path.is_absolute())
        && std::fs::canonicalize(&typed).is_ok_and(|real| real == found)
    {
        return Ok(typed);
    }
    let text = found.to_string_lossy();
    Ok(match text.strip_suffix(" (deleted)") {
        Some(before) => PathBuf::from(before),
        None => found,
    })
}

/// The settings that a life begins with, and the folders that they name, which are made.
///
/// # Errors
/// A sentence that says what is wrong with them, or why a folder cannot be made.
pub fn read_settings(start: &Start) -> Result<Arc<Config>, String> {
    let routes_d = Config::routes_d(&start.config);
    let read = Config::load_or_kept(&start.config, &routes_d, start.data_dir.as_deref());
    let (mut config, mistake) = read.map_err(|e| e.to_string())?;
    if let Some(mistake) = mistake {
        tracing::error!(%mistake, "starting with the settings that were last in force");
    }
    if let Some(data_dir) = &start.data_dir {
        config.data_dir.clone_from(data_dir);
    }
    tell_descriptors(descriptors::raise(), &config);
    for folder in ["repos", "builds", "backups"] {
        private_folder(&config.data_dir.join(folder))?;
    }
    std::fs::create_dir_all(&config.run_dir)
        .map_err(|e| format!("{}: {e}", config.run_dir.display()))?;
    Ok(Arc::new(config))
}

/// Says so where strangers get less room than the settings say.
fn tell_descriptors(allowed: u64, config: &Config) {
    let wanted = config.limits.connections;
    let fit = descriptors::connections(wanted, allowed);
    if fit < wanted {
        tracing::warn!(
            allowed,
            "the edge takes {fit} connections at once, and not the {wanted} of limits.connections: this process may have {allowed} file descriptors, and the rest needs some. Raise LimitNOFILE of freehold.service"
        );
    }
}

fn private_folder(path: &Path) -> Result<(), String> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|e| format!("{} cannot be made: {e}", path.display()))
}
