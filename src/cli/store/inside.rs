//! Files inside the store, named by any path that leads to them.

use crate::cli::Global;
use crate::cli::session::console;
use crate::report::Failure;
use model::StorePath;
use std::path::{Path, PathBuf};
use store::{LocalStore, StoreError};

/// Opens the store that exists; one that does not is not made for a question.
pub fn open(global: &Global) -> Result<LocalStore, Failure> {
    let settings = global.store_settings()?;
    if !settings.root.join("store").is_dir() {
        return Err(Failure::new(format!("there is no store at `{}`", settings.root.display()))
            .help("`ev build` makes one; `--root` or `EVAL_ROOT` names another"));
    }
    Ok(settings.open(&console(global))?)
}

/// Returns the valid store path that a path is in, and the whole path on this machine: a logical
/// path, one on this machine, or one through a link such as `./result/bin`.
pub fn locate(store: &LocalStore, path: &Path) -> Result<(StorePath, PathBuf), Failure> {
    let text = path.display().to_string();
    let found = store.parse_any(&text).or_else(|error| {
        // The last part may be a link inside the store, which stays one.
        let (parent, name) = (path.parent().unwrap_or(Path::new("")), path.file_name());
        let start = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        let through = start.canonicalize().ok().map(|parent| name.map_or(parent.clone(), |name| parent.join(name)));
        let spellings = [through, path.canonicalize().ok()];
        let parsed =
            spellings.iter().flatten().find_map(|spelling| store.parse_any(&spelling.display().to_string()).ok());
        parsed.ok_or(error)
    });
    let (object, rest) = found.map_err(|error| match error {
        StoreError::OtherStore { .. } if !path.exists() => Failure::new(format!("`{text}` does not exist")),
        error => error.into(),
    })?;
    if !store.is_valid(&object)? {
        return Err(StoreError::NotValid { path: object }.into());
    }
    let inside = store.physical_path(&object).join(rest.trim_start_matches('/'));
    Ok((object, inside))
}
